"""Lists of Recordings for random filters, orders and pages, compared with the same filters in Python."""

# ruff: noqa: S311 - random test data

from collections.abc import Callable, Mapping
from random import Random
from typing import Any, Final
from uuid import UUID

from tests.database import DatabaseTestCase
from tests.store.samples import later, recording
from tests.subtest import subtest
from voxrec.model import Position, Recording, RecordingSort, RecordingState, Verdict, VerdictFilter
from voxrec.store import recording_pages
from voxrec.store.recording_columns import COLUMNS
from voxrec.store.recording_filter import RecordingFilter
from voxrec.store.recordings import Recordings
from voxrec.store.search_index import index_new_recordings

COUNT: Final = 400
PROFILES: Final = [UUID(f"{number:08d}-1111-4111-8111-111111111111") for number in range(1, 4)]
WORDS: Final = ("everybody", "often", "rare", "Everyone")
FREQUENCIES: Final = (0.9, 0.3, 0.02, 0.01)
STATES: Final = (RecordingState.COMPLETED, RecordingState.FAILED, RecordingState.ABSENT)
OPTIONS: Final[Mapping[str, tuple[Any, ...]]] = {
    "profile_id": tuple(PROFILES),
    "states": ([RecordingState.FAILED], [RecordingState.FAILED, RecordingState.ABSENT], [RecordingState.COMPLETED]),
    "from_": ("+491", "+492"),
    "to": ("+493",),
    "since": (later(-COUNT // 4), later(-COUNT // 2), later(-5)),
    "until": (later(-COUNT // 8), later(-COUNT + 30)),
    "metadata": ({"site": "Hamburg"}, {"case": 1}, {"site": "Hamburg", "case": 2}),
    "tags": (["common"], ["scarce"], ["common", "scarce"]),
    "search": ("every", "often", "rare", "every rare", "e ev eve ever every o often rare", "nobody"),
    "verdict": tuple(VerdictFilter),
    "min_duration": (50.0, 99.5, 101.0),
    "max_duration": (0.0, 40.0),
    "node": ("pbx-1", "pbx-2"),
    "legal_hold": (True, False),
    "sort": tuple(RecordingSort),
}
CHECKS: Final[Mapping[str, Callable[[Recording, Any], bool]]] = {
    "profile_id": lambda each, value: each.profile_id == value,
    "states": lambda each, value: each.state in value,
    "from_": lambda each, value: each.from_ == value,
    "to": lambda each, value: each.to == value,
    "since": lambda each, value: each.created_at >= value,
    "until": lambda each, value: each.created_at < value,
    "metadata": lambda each, value: value.items() <= each.metadata.items(),
    "tags": lambda each, value: {*value} <= {*each.tags},
    "search": lambda each, value: all(
        any(word.startswith(searched) for word in (each.from_name or "").lower().split()) for searched in value.split()
    ),
    "verdict": lambda each, value: each.verdict is not None and each.verdict.ok == (value is VerdictFilter.OK),
    "min_duration": lambda each, value: each.duration is not None and each.duration >= value,
    "max_duration": lambda each, value: each.duration is not None and each.duration <= value,
    "node": lambda each, value: each.node == value,
    "legal_hold": lambda each, value: each.legal_hold == value,
    "sort": lambda _each, _value: True,
}
KEYS: Final[Mapping[str, Callable[[Recording], tuple[Any, UUID]]]] = {
    "createdAt": lambda each: (each.created_at, each.id),
    "duration": lambda each: (-1 if each.duration is None else each.duration, each.id),
    "size": lambda each: (-1 if each.size is None else each.size, each.id),
}


def random_recording(random: Random, number: int) -> Recording:
    """Return a Recording with values of different frequencies; durations follow the time, sizes the Profile."""
    profile_id = random.choices(PROFILES, (60, 35, 5))[0]
    duration = random.choice([None, *(number * 100 / COUNT + random.randrange(3) for _ in range(9))])
    return recording(
        id=UUID(int=random.getrandbits(128), version=4),
        profile_id=profile_id,
        state=random.choices(STATES, (90, 8, 2))[0],
        created_at=later(-(number // 2)),  # two at the same time
        from_=random.choices(["+491", "+492", None], (80, 5, 15))[0],
        to=random.choice(["+493", None]),
        from_name=" ".join(
            word for word, frequency in zip(WORDS, FREQUENCIES, strict=True) if random.random() < frequency
        ),
        metadata={"site": random.choice(["Hamburg", "Berlin"]), "case": random.randrange(30)},
        tags=tuple(tag for tag, share in (("common", 0.8), ("scarce", 0.05)) if random.random() < share),
        verdict=random.choice([None, *[Verdict(ok=True)] * 8, Verdict(ok=False)]),
        duration=duration,
        size=None if duration is None else 1000 * PROFILES.index(profile_id) + random.randrange(3),
        node=random.choices(["pbx-1", "pbx-2", None], (90, 3, 7))[0],
        legal_hold=random.random() < 0.04,
    )


def expected(recordings: list[Recording], filters: Mapping[str, Any]) -> list[UUID]:
    """Return the ids of the list for some filters."""
    sort = filters.get("sort", RecordingSort.NEWEST)
    matches = [each for each in recordings if all(CHECKS[name](each, value) for name, value in filters.items())]
    return [each.id for each in sorted(matches, key=KEYS[sort.field], reverse=sort.descending)]


class RandomListTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.random = Random(1)
        self.all = [random_recording(self.random, number) for number in range(COUNT)]
        await self.pool.execute(
            f"INSERT INTO recordings ({COLUMNS.column_list})"  # noqa: S608
            f" SELECT {COLUMNS.column_list} FROM jsonb_populate_recordset(NULL::recordings, %s)",
            (COLUMNS.json_rows(self.all),),
        )
        await self.pool.execute("SELECT voxrec_index_text(id) FROM recordings")
        await index_new_recordings(self.pool)
        self.recordings = Recordings(self.pool)

    async def listed(self, filters: RecordingFilter, recordings: Recordings, limit: int) -> list[UUID]:
        """Return the ids of all pages."""
        ids: list[UUID] = []
        after: Position | None = None
        while page := await recordings.page(filters, limit, after):
            ids += [each.id for each in page]
            if len(page) < limit:
                break
            after = filters.sort.position_of(page[-1])
        return ids

    def random_filters(self) -> dict[str, Any]:
        names = self.random.sample(sorted(OPTIONS), self.random.randrange(1, 5))
        return {name: self.random.choice(OPTIONS[name]) for name in names}

    async def test_random_lists(self) -> None:
        ends: set[str] = set()
        for number in range(250):
            self.patch(recording_pages, "FIRST_TURN", self.random.choice([4, 30, 500]))
            self.patch(recording_pages, "_LAST_TURN", self.random.choice([20, 100, 1000]))
            filters = self.random_filters()
            with subtest(f"{number} {filters}"):
                limit = self.random.choice([3, 20, 500])
                found = await self.listed(RecordingFilter(**filters), self.recordings, limit)
                self.assertEqual(found, expected(self.all, filters))
                ends.add("empty" if not found else "full" if len(found) > limit else "one page")
        self.assertEqual(ends, {"empty", "full", "one page"})

    async def test_random_lists_of_some_profiles(self) -> None:
        scoped = self.recordings.scoped_to(frozenset(PROFILES[1:]))
        visible = [each for each in self.all if each.profile_id in PROFILES[1:]]
        for number in range(60):
            self.patch(recording_pages, "FIRST_TURN", self.random.choice([4, 30]))
            filters = self.random_filters()
            with subtest(f"{number} {filters}"):
                found = await self.listed(RecordingFilter(**filters), scoped, self.random.choice([3, 50]))
                self.assertEqual(found, expected(visible, filters))
