"""Recordings: what the calls say never goes backwards, and what users set is never overwritten."""

import json
import re
from collections.abc import Sequence
from contextlib import closing
from datetime import timedelta
from itertools import permutations, product
from typing import Any, cast
from uuid import UUID, uuid4

import msgspec
import psycopg2
from twisted.internet.defer import Deferred, gatherResults

from tests.database import DatabaseTestCase
from tests.store.samples import NOON, later, profile, recording
from voxrec.cursor import Cursor
from voxrec.errors import Conflict, InvalidInput, NotFound
from voxrec.model import JobKind, Recording, RecordingState, SideVerdict, TimelineEntry, Verdict
from voxrec.postgres.pool import Pool
from voxrec.postgres.statement import Row
from voxrec.store import metadata_index as room
from voxrec.store import recordings as ways
from voxrec.store.jobs import JobFilter, Jobs
from voxrec.store.profiles import Profiles
from voxrec.store.recordings import RecordingFilter, Recordings

FULL = recording(
    call_id=uuid4(),
    state=RecordingState.COMPLETED,
    format="opus",
    channels=2,
    started_at=later(1),
    ended_at=later(61.5),
    duration=60.5,
    size=5_000_000_000,
    sha256="0123456789abcdef" * 4,
    from_="+493012345",
    from_name='Zoë "100%"',
    to="+4930200",
    remote_sip_uri="sip:desk@example.org",
    hangup_cause=16,
    timeline=(TimelineEntry(at=0.0, event="answered"), TimelineEntry(at=3.5, event="paused", by="callee", detail="*1")),
    verdict=Verdict(
        ok=False,
        reasons=("callee silent",),
        caller=SideVerdict(speech_seconds=20.25, level_dbfs=-23.5, clipped=True),
        callee=SideVerdict(speech_seconds=0.0, level_dbfs=None, clipped=False),
        repaired=True,
    ),
    metadata={"case": 17, "tags": ["a", "b"]},
    legal_hold=True,
    expires_at=later(86400),
    path="2026/05/x.opus",
)


class RecordingsTestCase(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.recordings = Recordings(self.pool)
        self.jobs = Jobs(self.pool)

    async def kinds_owed(self, of: UUID) -> list[JobKind]:
        return [job.kind for job in await self.jobs.page(JobFilter(recording_id=of))]


class Storing(RecordingsTestCase):
    async def test_every_field_comes_back(self) -> None:
        for given in (FULL, recording()):
            self.assertEqual(await self.recordings.create(given), given)
            self.assertEqual(await self.recordings.get(given.id), given)

    async def test_an_id_in_use(self) -> None:
        await self.recordings.create(FULL)
        with self.assertRaises(Conflict) as caught:
            await self.recordings.create(recording(id=FULL.id))
        self.assertEqual([fault.field for fault in caught.exception.field_errors], ["id"])

    async def test_an_unknown_one(self) -> None:
        nobody = uuid4()
        for attempt in (
            self.recordings.get(nobody),
            self.recordings.delete(nobody),
            self.recordings.update(nobody, lambda known: known),
            self.recordings.complete(recording(id=nobody), [JobKind.MAIL]),
        ):
            with self.assertRaisesRegex(NotFound, str(nobody)):
                await attempt
        self.assertEqual(await self.kinds_owed(nobody), [])

    async def test_a_change_and_a_removal(self) -> None:
        await self.recordings.create(FULL)
        changed = await self.recordings.update(
            FULL.id, lambda old: msgspec.structs.replace(old, legal_hold=False, updated_at=later(5))
        )
        self.assertEqual(await self.recordings.get(FULL.id), changed)
        self.assertFalse(changed.legal_hold)

        def refuse(_: Recording) -> None:
            raise Conflict("legal hold")

        with self.assertRaises(Conflict):
            await self.recordings.delete(FULL.id, refuse)
        await self.recordings.delete(FULL.id)
        with self.assertRaises(NotFound):
            await self.recordings.get(FULL.id)

    async def test_those_whose_time_is_over(self) -> None:
        over = await self.recordings.create(recording(expires_at=later(10)))
        await self.recordings.create(recording(expires_at=later(10), legal_hold=True))
        await self.recordings.create(recording(expires_at=later(11)))
        await self.recordings.create(recording())
        self.assertEqual(await self.recordings.expired(later(10)), [over])


class Listing(RecordingsTestCase):
    async def test_pages(self) -> None:
        ten = [recording(id=UUID(int=n), created_at=later(n // 2)) for n in range(10)]
        for each in ten:
            await self.recordings.create(each)
        for size in (1, 3, 5, 11):
            pages = [page async for page in self.recordings.pages(size=size)]
            self.assertEqual([each for page in pages for each in page], ten[::-1])
        self.assertEqual(await self.recordings.page(limit=2, after=Cursor.after(ten[5])), [ten[4], ten[3]])

    async def test_filters(self) -> None:
        await self.recordings.create(FULL)
        for n in range(3):
            await self.recordings.create(recording(created_at=later(-n - 1)))
        for wanted in (
            RecordingFilter(profile_id=FULL.profile_id),
            RecordingFilter(states=[RecordingState.COMPLETED, RecordingState.FAILED]),
            RecordingFilter(from_="+493012345"),
            RecordingFilter(to="+4930200"),
            RecordingFilter(since=NOON),
            RecordingFilter(since=NOON, until=later(0.000001)),
            RecordingFilter(metadata={"case": 17}),
            RecordingFilter(metadata={"tags": ["b"]}, states=[RecordingState.COMPLETED]),
        ):
            self.assertEqual(await self.recordings.page(wanted), [FULL], wanted)
        for wanted in (
            RecordingFilter(profile_id=uuid4()),
            RecordingFilter(metadata={"case": "17"}),
            RecordingFilter(since=NOON, until=NOON),
        ):
            self.assertEqual(await self.recordings.page(wanted), [], wanted)
        self.assertEqual(len(await self.recordings.page(RecordingFilter(metadata={}))), 4)

    async def test_filters_together_in_pages_of_any_length(self) -> None:
        """Whichever way PostgreSQL is led, the list is the same."""
        profiles = [uuid4() for _ in range(3)]
        states = (RecordingState.COMPLETED, RecordingState.FAILED, RecordingState.ABSENT)
        made = [
            recording(
                created_at=later(-(n // 2)),
                profile_id=profiles[n % 3],
                state=states[n % 7 % 3],
                from_=f"+{n % 2}",
                to=f"+{n % 4}",
                metadata={"site": {"city": "Hamburg"}, "tags": [n % 5, "all"]},
            )
            for n in range(40)
        ]
        for each in made:
            await self.recordings.create(each)
        made.sort(key=lambda each: (each.created_at, each.id), reverse=True)
        choices = product(
            (None, profiles[0]),
            (None, frozenset(profiles[:1]), frozenset(profiles[:2]), frozenset[UUID]()),
            ((), states[:1], states[1:2], states[1:] * 2, states[:2]),
            (None, "+1"),
            ({}, {"tags": [3]}, {"site": {"city": "Hamburg"}, "tags": [3, "all"]}),
            (None, later(-10)),
        )
        for number, (profile_id, only, wanted_states, from_, metadata, until) in enumerate(choices):
            self.patch(ways, "_MAX_INDEX_ENTRIES", (10_000, 6)[number % 2])
            wanted = RecordingFilter(
                profile_id=profile_id, states=wanted_states, from_=from_, metadata=metadata, until=until
            )
            expected = [
                each
                for each in made
                if (profile_id is None or each.profile_id == profile_id)
                and (only is None or each.profile_id in only)
                and (not wanted_states or each.state in wanted_states)
                and (from_ is None or each.from_ == from_)
                and ("tags" not in metadata or 3 in each.metadata["tags"])
                and (until is None or each.created_at < until)
            ]
            store = self.recordings.scoped_to(only)
            found = [each async for page in store.pages(wanted, 6) for each in page]
            self.assertEqual(found, expected, (wanted, only))

    async def test_by_time_postgresql_goes_only_where_nothing_else_leads(self) -> None:
        """So that it never passes by all of those that came since."""
        for wanted, index in (
            (RecordingFilter(), "recordings_newest_first"),
            (RecordingFilter(since=NOON, states=[RecordingState.COMPLETED]), "recordings_newest_first"),
            (RecordingFilter(profile_id=uuid4()), "recordings_profile"),
            (RecordingFilter(profile_id=uuid4(), states=[RecordingState.COMPLETED]), "recordings_profile"),
            (RecordingFilter(from_="+1", since=NOON), "recordings_from"),
            (RecordingFilter(to="+1"), "recordings_to"),
            (RecordingFilter(states=[RecordingState.FAILED]), "recordings_not_completed"),
            (RecordingFilter(states=[RecordingState.FAILED, RecordingState.ABSENT]), "recordings_not_completed"),
            (RecordingFilter(metadata={"a": 1}), "recording_marks_pkey"),
        ):
            explaining = Explaining(self.dsn)
            await Recordings(cast("Pool", explaining)).page(wanted)
            self.assertIn(index, explaining.indexes, wanted)
            if index != "recordings_newest_first":
                self.assertNotIn("recordings_newest_first", explaining.indexes, wanted)


class Explaining:
    """Asks PostgreSQL how it would find a page if there were too many Recordings to read or to sort them all."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self.indexes: list[str] = []

    async def query(self, sql: str, params: Sequence[object] = ()) -> list[Row]:
        """Nothing, since it is only explained."""
        with closing(psycopg2.connect(self._dsn)) as connection, connection.cursor() as cursor:
            for way in ("seqscan", "sort", "bitmapscan"):
                cursor.execute(f"SET enable_{way} = off")
            cursor.execute(f"EXPLAIN (FORMAT JSON) {sql}", tuple(params))
            self.indexes += re.findall(r'"Index Name": "(\w+)"', json.dumps(cursor.fetchall()))
        return []


class Metadata(RecordingsTestCase):
    """Recordings are found by what is in their metadata, however it came there."""

    async def found(self, wanted: dict[str, Any]) -> list[UUID]:
        return [each.id for each in await self.recordings.page(RecordingFilter(metadata=wanted))]

    async def marks(self) -> int:
        ((count,),) = await self.pool.query("SELECT count(*) FROM recording_marks")
        return cast("int", count)

    async def test_what_contains_what(self) -> None:
        """As ``@>`` has it, which is asked as well: there the marks are nowhere used."""
        things: list[dict[str, Any]] = [
            {},
            {"a": 1},
            {"a": 1.5, "b": "1"},
            {"a": 100},
            {"a": None},
            {"a": "x", "b": {"c": True, "d": {}}},
            {"a": [1, [2, 3], {"b": "x"}], "b": []},
            {"a": {"b": "x"}},
            {"a": ["b"]},
            {"a": {}},
            {"": "", "ü": 'quote"d'},
        ]
        for thing in things:
            await self.recordings.create(recording(metadata=thing))
        questions: list[dict[str, Any]] = [
            *things,
            {"a": [1]},
            {"a": [[3]]},
            {"a": [{"b": "x"}]},
            {"a": []},
            {"a": 1e2},
            {"a": 1.50},
            {"b": {}},
            {"b": {"c": True}},
            {"b": {"d": {}}},
            {"a": "b"},
            {"a": 2**70},
            {"nowhere": 1},
            dict.fromkeys("abcdefgh", 1),
        ]
        for wanted in questions:
            rows = await self.pool.query(
                "SELECT id FROM recordings WHERE metadata @> %s::jsonb ORDER BY created_at DESC, id DESC",
                (msgspec.json.encode(wanted).decode(),),
            )
            self.assertEqual(await self.found(wanted), [row[0] for row in rows], wanted)

    async def test_they_are_changed(self) -> None:
        made = await self.recordings.create(recording(metadata={"case": 1, "kept": True}))
        await self.recordings.update(
            made.id, lambda old: msgspec.structs.replace(old, metadata={"case": 2, "kept": True})
        )
        self.assertEqual([await self.found({"case": case}) for case in (1, 2)], [[], [made.id]])
        self.assertEqual(await self.found({"kept": True}), [made.id])
        await self.recordings.update(made.id, lambda old: msgspec.structs.replace(old, metadata={}))
        self.assertEqual(await self.marks(), 0)

    async def test_a_call_says_them_once(self) -> None:
        said = recording(metadata={"case": 1})
        await self.recordings.record(said)
        await self.recordings.record(msgspec.structs.replace(said, metadata={"case": 2}, updated_at=later(1)))
        self.assertEqual([await self.found({"case": case}) for case in (1, 2)], [[said.id], []])

    async def test_nothing_is_left_of_a_deleted_one(self) -> None:
        made = await self.recordings.create(recording(metadata={"case": 1, "tags": ["a", {"b": None}]}))
        await self.recordings.delete(made.id)
        self.assertEqual(await self.marks(), 0)

    async def test_of_several_the_rarest_leads(self) -> None:
        self.patch(room, "COMMON_TERM_ROWS", 3)
        desk = uuid4()
        for n in range(5):
            await self.recordings.create(recording(profile_id=desk, metadata={"site": "Hamburg", "case": n}))
        for wanted, otherwise, leading in (
            ({"site": "Hamburg"}, False, '["site","Hamburg"]'),
            ({"site": "Hamburg"}, True, None),
            ({"site": "Hamburg", "case": 2}, False, '["case",2]'),
            ({"site": "Hamburg", "case": 2}, True, '["case",2]'),
            ({}, True, None),
        ):
            marks = room.MetadataIndex(self.pool, cast("dict[str, Any]", wanted), None, None, None)
            self.assertEqual(await marks.rarest_term(has_alternative=otherwise), leading)
        of_desk = RecordingFilter(profile_id=desk, metadata={"site": "Hamburg"})
        self.assertEqual(len(await self.recordings.page(of_desk)), 5)


class WhatACallSays(RecordingsTestCase):
    """``record`` takes snapshots in any order and any number of times."""

    def call(self) -> list[Recording]:
        first = recording(metadata={"said": "by the call"})
        return [
            first,
            msgspec.structs.replace(first, state=RecordingState.PAUSED, updated_at=later(1)),
            msgspec.structs.replace(first, state=RecordingState.RECORDING, updated_at=later(2)),
            msgspec.structs.replace(
                first, state=RecordingState.PROCESSING, updated_at=later(3), ended_at=later(3), hangup_cause=16
            ),
        ]

    async def test_a_call_from_its_beginning_to_its_end(self) -> None:
        said = self.call()
        for snapshot in said:
            self.assertEqual(await self.kinds_owed(snapshot.id), [])
            await self.recordings.record(snapshot)
            self.assertEqual(await self.recordings.get(snapshot.id), snapshot)
        self.assertEqual(await self.kinds_owed(said[0].id), [JobKind.FINISH])

    async def test_any_order_comes_to_the_same(self) -> None:
        for order in permutations(self.call()):
            for snapshot in order:
                await self.recordings.record(snapshot)
            newest = max(order, key=lambda each: each.updated_at)
            self.assertEqual(await self.recordings.get(newest.id), newest)
            self.assertEqual(await self.kinds_owed(newest.id), [JobKind.FINISH])
            await self.recordings.delete(newest.id)
            await self.pool.execute("DELETE FROM jobs")

    async def test_again_after_it_was_finished(self) -> None:
        said = self.call()
        for snapshot in said:
            await self.recordings.record(snapshot)
        await self.recordings.complete(
            msgspec.structs.replace(said[-1], state=RecordingState.COMPLETED, updated_at=later(4)), [JobKind.MAIL]
        )
        settled = await self.recordings.get(said[-1].id)
        self.assertEqual((settled.state, settled.updated_at), (RecordingState.COMPLETED, later(4)))
        for snapshot in said:
            await self.recordings.record(snapshot)
        self.assertEqual(await self.recordings.get(settled.id), settled)
        self.assertEqual(sorted(await self.kinds_owed(settled.id)), [JobKind.FINISH, JobKind.MAIL])

    async def test_several_at_once_and_all_or_none(self) -> None:
        one, other = self.call(), self.call()
        await self.recordings.record(one[0], other[-1])
        self.assertEqual((await self.recordings.get(one[0].id)).state, RecordingState.RECORDING)
        self.assertEqual(await self.kinds_owed(other[0].id), [JobKind.FINISH])
        with self.assertRaises(InvalidInput):
            await self.recordings.record(one[-1], recording(from_name="\0"))
        self.assertEqual((await self.recordings.get(one[0].id)).state, RecordingState.RECORDING)

    async def test_who_has_room_claims_what_is_owed_as_it_comes(self) -> None:
        jobs, ended = Jobs(self.pool), [self.call()[-1] for _ in range(3)]
        claimed = await self.recordings.record(self.call()[0], *ended, claim_limit=2, lease=timedelta(minutes=1))
        self.assertEqual([(job.kind, job.state, job.attempts) for job in claimed], [("finish", "running", 1)] * 2)
        (rest,) = (await jobs.claim([JobKind.FINISH], timedelta(minutes=1), limit=9)).jobs
        self.assertEqual({job.recording_id for job in (*claimed, rest)}, {one.id for one in ended})
        self.assertEqual(await self.recordings.record(*ended, claim_limit=2), [], "it was said before")
        self.assertTrue(await jobs.mark_done(claimed[0]))
        self.assertTrue(await jobs.retry(claimed[1], "not yet", later(0)))

    async def test_again_after_it_was_deleted(self) -> None:
        said = self.call()
        for snapshot in said:
            await self.recordings.record(snapshot)
        await self.recordings.delete(said[0].id)
        for snapshot in said:
            await self.recordings.record(snapshot)
        with self.assertRaises(NotFound):
            await self.recordings.get(said[0].id)

    async def test_a_user_who_changes_something_meanwhile_holds_nothing_up(self) -> None:
        said = self.call()
        await self.recordings.record(said[0])
        # Later, by the clock, than what the call has said but PostgreSQL has not been told yet.
        await self.recordings.update(
            said[0].id,
            lambda old: msgspec.structs.replace(old, metadata={"by": "user"}, legal_hold=True, updated_at=later(60)),
        )
        for snapshot in said[1:]:
            await self.recordings.record(snapshot)
        stored = await self.recordings.get(said[0].id)
        self.assertEqual(stored.state, RecordingState.PROCESSING)
        self.assertEqual((stored.metadata, stored.legal_hold), ({"by": "user"}, True))
        self.assertEqual(stored.updated_at, later(60))
        self.assertEqual(await self.kinds_owed(stored.id), [JobKind.FINISH])

    async def test_the_end_counts_even_where_the_clock_went_back(self) -> None:
        said = self.call()
        await self.recordings.record(said[2])
        end = msgspec.structs.replace(said[3], updated_at=later(-3600))
        await self.recordings.record(end)
        stored = await self.recordings.get(end.id)
        self.assertEqual(stored.state, RecordingState.PROCESSING)
        self.assertEqual(stored.updated_at, said[2].updated_at)
        self.assertEqual(await self.kinds_owed(end.id), [JobKind.FINISH])

    async def test_one_that_rest_has_made_before(self) -> None:
        made = await self.recordings.create(
            recording(state=RecordingState.PENDING, metadata={"by": "user"}, updated_at=later(60))
        )
        said = msgspec.structs.replace(
            made, state=RecordingState.RECORDING, metadata={}, created_at=later(1), updated_at=later(1)
        )
        await self.recordings.record(said)
        stored = await self.recordings.get(made.id)
        self.assertEqual(stored.state, RecordingState.RECORDING)
        self.assertEqual((stored.metadata, stored.created_at), ({"by": "user"}, made.created_at))

    async def test_a_call_that_failed_owes_nothing(self) -> None:
        await self.recordings.record(recording(id=FULL.id, state=RecordingState.FAILED))
        self.assertEqual(await self.kinds_owed(FULL.id), [])

    async def test_several_daemons_at_once(self) -> None:
        said = self.call()
        await gatherResults(
            [Deferred.fromCoroutine(self.recordings.record(snapshot)) for snapshot in [*said, *said[::-1]]]
        )
        self.assertEqual(await self.recordings.get(said[0].id), said[-1])
        self.assertEqual(await self.kinds_owed(said[0].id), [JobKind.FINISH])

    async def test_what_can_never_be_stored(self) -> None:
        with self.assertRaises(InvalidInput):
            await self.recordings.record(recording(from_name="\0"))


class Settling(RecordingsTestCase):
    async def test_what_users_set_stays(self) -> None:
        begun = recording(state=RecordingState.PROCESSING, metadata={"by": "call"})
        await self.recordings.record(begun)
        await self.recordings.update(
            begun.id,
            lambda old: msgspec.structs.replace(old, metadata={"by": "user"}, legal_hold=True, updated_at=later(9)),
        )
        await self.recordings.complete(
            msgspec.structs.replace(begun, state=RecordingState.COMPLETED, size=1, updated_at=later(5))
        )
        settled = await self.recordings.get(begun.id)
        self.assertEqual((settled.metadata, settled.legal_hold), ({"by": "user"}, True))
        self.assertEqual((settled.size, settled.updated_at), (1, later(9)))

    async def test_what_follows_is_owed_once(self) -> None:
        await self.recordings.create(FULL)
        await self.recordings.complete(FULL, [JobKind.MAIL])
        ((job,), _) = await self.jobs.claim([JobKind.MAIL], lease=timedelta(minutes=1))
        await self.jobs.mark_done(job)
        await self.recordings.complete(FULL, [JobKind.MAIL])
        self.assertEqual((await self.jobs.claim([JobKind.MAIL], lease=timedelta(minutes=1))).jobs, [])

    async def test_mail_is_owed_where_the_profile_has_an_address(self) -> None:
        """Or where it is gone: somebody has to be told that nobody could be mailed to."""
        profiles = Profiles(self.pool)
        for email, owed in (("a@example.org", [JobKind.MAIL]), (None, [])):
            desk = await profiles.create(profile(email=email))
            made = await self.recordings.create(recording(profile_id=desk.id))
            await self.recordings.complete(
                msgspec.structs.replace(made, state=RecordingState.COMPLETED), [JobKind.MAIL]
            )
            self.assertEqual(await self.kinds_owed(made.id), owed)
