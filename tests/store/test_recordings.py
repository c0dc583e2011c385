"""Tests of voxrec.store.recordings."""

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
from tests.store.explaining import explain
from tests.store.samples import NOON, later, profile, recording
from voxrec.cursor import Cursor
from voxrec.errors import Conflict, InvalidInput, NotFound
from voxrec.model import JobKind, Recording, RecordingState, SideVerdict, TimelineEntry, Verdict
from voxrec.postgres.pool import Pool
from voxrec.postgres.statement import Row
from voxrec.store import metadata_index
from voxrec.store import recording_filter as module
from voxrec.store.jobs import JobFilter, Jobs
from voxrec.store.profiles import Profiles
from voxrec.store.recording_filter import RecordingFilter
from voxrec.store.recordings import Recordings

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
    tags=("complaint", 'VIP\'s, "best"'),
    legal_hold=True,
    expires_at=later(86400),
    path="2026/05/x.opus",
)


class RecordingsTestCase(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.recordings = Recordings(self.pool)
        self.jobs = Jobs(self.pool)

    async def enqueued_kinds(self, of: UUID) -> list[JobKind]:
        return [job.kind for job in await self.jobs.page(JobFilter(recording_id=of))]


class RecordingsTests(RecordingsTestCase):
    async def test_every_field_is_stored(self) -> None:
        for new in (FULL, recording()):
            self.assertEqual(await self.recordings.create(new), new)
            self.assertEqual(await self.recordings.get(new.id), new)

    async def test_id_in_use(self) -> None:
        await self.recordings.create(FULL)
        with self.assertRaises(Conflict) as caught:
            await self.recordings.create(recording(id=FULL.id))
        self.assertEqual([fault.field for fault in caught.exception.field_errors], ["id"])

    async def test_unknown_recording(self) -> None:
        unknown = uuid4()
        for attempt in (
            self.recordings.get(unknown),
            self.recordings.delete(unknown),
            self.recordings.update(unknown, lambda known: known),
            self.recordings.complete(recording(id=unknown), [JobKind.MAIL]),
        ):
            with self.assertRaisesRegex(NotFound, str(unknown)):
                await attempt
        self.assertEqual(await self.enqueued_kinds(unknown), [])

    async def test_update_and_delete(self) -> None:
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

    async def test_live_recordings_of_a_node_without_news(self) -> None:
        quiet = recording(state=RecordingState.RECORDING, node="a", updated_at=later(1))
        others = (
            recording(state=RecordingState.RECORDING, node="a", updated_at=later(2)),
            recording(state=RecordingState.RECORDING, node="b", updated_at=later(1)),
            recording(state=RecordingState.PROCESSING, node="a", updated_at=later(1)),
        )
        for each in (quiet, *others):
            await self.recordings.create(each)
        found = await self.recordings.live_since_before(later(2), "a")
        self.assertEqual([each.id for each in found], [quiet.id])

    async def test_expired(self) -> None:
        over = await self.recordings.create(recording(expires_at=later(10)))
        await self.recordings.create(recording(expires_at=later(10), legal_hold=True))
        await self.recordings.create(recording(expires_at=later(11)))
        await self.recordings.create(recording())
        self.assertEqual(await self.recordings.expired(later(10)), [over])


class PageTests(RecordingsTestCase):
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
        for filters in (
            RecordingFilter(profile_id=FULL.profile_id),
            RecordingFilter(states=[RecordingState.COMPLETED, RecordingState.FAILED]),
            RecordingFilter(from_="+493012345"),
            RecordingFilter(to="+4930200"),
            RecordingFilter(since=NOON),
            RecordingFilter(since=NOON, until=later(0.000001)),
            RecordingFilter(metadata={"case": 17}),
            RecordingFilter(metadata={"tags": ["b"]}, states=[RecordingState.COMPLETED]),
        ):
            self.assertEqual(await self.recordings.page(filters), [FULL], filters)
        for filters in (
            RecordingFilter(profile_id=uuid4()),
            RecordingFilter(metadata={"case": "17"}),
            RecordingFilter(since=NOON, until=NOON),
        ):
            self.assertEqual(await self.recordings.page(filters), [], filters)
        self.assertEqual(len(await self.recordings.page(RecordingFilter(metadata={}))), 4)

    async def test_combined_filters(self) -> None:
        """The result does not depend on the index that is used."""
        profiles = [uuid4() for _ in range(3)]
        states = (RecordingState.COMPLETED, RecordingState.FAILED, RecordingState.ABSENT)
        stored = [
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
        for each in stored:
            await self.recordings.create(each)
        stored.sort(key=lambda each: (each.created_at, each.id), reverse=True)
        choices = product(
            (None, profiles[0]),
            (None, frozenset(profiles[:1]), frozenset(profiles[:2]), frozenset[UUID]()),
            ((), states[:1], states[1:2], states[1:] * 2, states[:2]),
            (None, "+1"),
            ({}, {"tags": [3]}, {"site": {"city": "Hamburg"}, "tags": [3, "all"]}),
            (None, later(-10)),
        )
        for number, (profile_id, only, filtered_states, from_, metadata, until) in enumerate(choices):
            self.patch(module, "_MAX_INDEX_ENTRIES", (10_000, 6)[number % 2])
            filters = RecordingFilter(
                profile_id=profile_id, states=filtered_states, from_=from_, metadata=metadata, until=until
            )
            expected = [
                each
                for each in stored
                if (profile_id is None or each.profile_id == profile_id)
                and (only is None or each.profile_id in only)
                and (not filtered_states or each.state in filtered_states)
                and (from_ is None or each.from_ == from_)
                and ("tags" not in metadata or 3 in each.metadata["tags"])
                and (until is None or each.created_at < until)
            ]
            store = self.recordings.scoped_to(only)
            found = [each async for page in store.pages(filters, 6) for each in page]
            self.assertEqual(found, expected, (filters, only))

    async def test_time_index_is_used_only_without_another_index(self) -> None:
        """Otherwise it would scan all newer Recordings when the matches are old."""
        for filters, index in (
            (RecordingFilter(), "recordings_newest_first"),
            (RecordingFilter(since=NOON, states=[RecordingState.COMPLETED]), "recordings_newest_first"),
            (RecordingFilter(profile_id=uuid4()), "recordings_profile"),
            (RecordingFilter(profile_id=uuid4(), states=[RecordingState.COMPLETED]), "recordings_profile"),
            (RecordingFilter(from_="+1", since=NOON), "recordings_from"),
            (RecordingFilter(to="+1"), "recordings_to"),
            (RecordingFilter(states=[RecordingState.FAILED]), "recordings_not_completed"),
            (RecordingFilter(states=[RecordingState.FAILED, RecordingState.ABSENT]), "recordings_not_completed"),
            (RecordingFilter(metadata={"a": 1}), "recording_marks_pkey"),
            (RecordingFilter(tags=["VIP"]), "recording_marks_pkey"),
        ):
            explaining = Explaining(self.dsn)
            await Recordings(cast("Pool", explaining)).page(filters)
            self.assertIn(index, explaining.indexes, filters)
            if index != "recordings_newest_first":
                self.assertNotIn("recordings_newest_first", explaining.indexes, filters)


class Explaining:
    """A Database that explains statements as PostgreSQL would plan them with too many rows to read or sort all."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        self.indexes: list[str] = []

    async def query(self, sql: str, params: Sequence[object] = ()) -> list[Row]:
        """Explain a statement and return no rows."""
        with closing(psycopg2.connect(self._dsn)) as connection, connection.cursor() as cursor:
            for way in ("seqscan", "sort", "bitmapscan"):
                cursor.execute(f"SET enable_{way} = off")
            cursor.execute(explain(sql, "FORMAT JSON"), tuple(params))
            self.indexes += re.findall(r'"Index Name": "(\w+)"', json.dumps(cursor.fetchall()))
        return []


class MetadataFilterTests(RecordingsTestCase):
    """Filters by metadata."""

    async def found(self, filters: dict[str, Any]) -> list[UUID]:
        return [each.id for each in await self.recordings.page(RecordingFilter(metadata=filters))]

    async def index_rows(self) -> int:
        ((count,),) = await self.pool.query("SELECT count(*) FROM recording_marks")
        return cast("int", count)

    async def test_containment(self) -> None:
        """The result is that of ``@>``, which does not use the metadata index."""
        documents: list[dict[str, Any]] = [
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
        for thing in documents:
            await self.recordings.create(recording(metadata=thing))
        queries: list[dict[str, Any]] = [
            *documents,
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
        for filters in queries:
            rows = await self.pool.query(
                "SELECT id FROM recordings WHERE metadata @> %s::jsonb ORDER BY created_at DESC, id DESC",
                (msgspec.json.encode(filters).decode(),),
            )
            self.assertEqual(await self.found(filters), [row[0] for row in rows], filters)

    async def test_update_of_metadata(self) -> None:
        stored = await self.recordings.create(recording(metadata={"case": 1, "kept": True}))
        await self.recordings.update(
            stored.id, lambda old: msgspec.structs.replace(old, metadata={"case": 2, "kept": True})
        )
        self.assertEqual([await self.found({"case": case}) for case in (1, 2)], [[], [stored.id]])
        self.assertEqual(await self.found({"kept": True}), [stored.id])
        await self.recordings.update(stored.id, lambda old: msgspec.structs.replace(old, metadata={}))
        self.assertEqual(await self.index_rows(), 0)

    async def test_only_the_first_snapshot_stores_metadata(self) -> None:
        snapshot = recording(metadata={"case": 1})
        await self.recordings.record(snapshot)
        await self.recordings.record(msgspec.structs.replace(snapshot, metadata={"case": 2}, updated_at=later(1)))
        self.assertEqual([await self.found({"case": case}) for case in (1, 2)], [[snapshot.id], []])

    async def test_delete_removes_the_index_rows(self) -> None:
        stored = await self.recordings.create(recording(metadata={"case": 1, "tags": ["a", {"b": None}]}))
        await self.recordings.delete(stored.id)
        self.assertEqual(await self.index_rows(), 0)

    async def test_rarest_term_is_used(self) -> None:
        self.patch(metadata_index, "COMMON_TERM_ROWS", 3)
        profile_id = uuid4()
        for n in range(5):
            await self.recordings.create(recording(profile_id=profile_id, metadata={"site": "Hamburg", "case": n}))
        for metadata, has_alternative, term in (
            ({"site": "Hamburg"}, False, '["site","Hamburg"]'),
            ({"site": "Hamburg"}, True, None),
            ({"site": "Hamburg", "case": 2}, False, '["case",2]'),
            ({"site": "Hamburg", "case": 2}, True, '["case",2]'),
            ({}, True, None),
        ):
            terms = metadata_index.index_terms(cast("dict[str, Any]", metadata))
            index = metadata_index.MetadataIndex(self.pool, terms, None, None, None)
            self.assertEqual(await index.rarest_term(has_alternative=has_alternative), term)
        filters = RecordingFilter(profile_id=profile_id, metadata={"site": "Hamburg"})
        self.assertEqual(len(await self.recordings.page(filters)), 5)


class RecordTests(RecordingsTestCase):
    """`Recordings.record` accepts snapshots in any order and any number of times."""

    def snapshots_of_call(self) -> list[Recording]:
        first = recording(metadata={"from": "call"})
        return [
            first,
            msgspec.structs.replace(first, state=RecordingState.PAUSED, updated_at=later(1)),
            msgspec.structs.replace(first, state=RecordingState.RECORDING, updated_at=later(2)),
            msgspec.structs.replace(
                first, state=RecordingState.PROCESSING, updated_at=later(3), ended_at=later(3), hangup_cause=16
            ),
        ]

    async def test_snapshots_in_order(self) -> None:
        snapshots = self.snapshots_of_call()
        for snapshot in snapshots:
            self.assertEqual(await self.enqueued_kinds(snapshot.id), [])
            await self.recordings.record(snapshot)
            self.assertEqual(await self.recordings.get(snapshot.id), snapshot)
        self.assertEqual(await self.enqueued_kinds(snapshots[0].id), [JobKind.FINISH])

    async def test_snapshots_in_any_order(self) -> None:
        for order in permutations(self.snapshots_of_call()):
            for snapshot in order:
                await self.recordings.record(snapshot)
            newest = max(order, key=lambda each: each.updated_at)
            self.assertEqual(await self.recordings.get(newest.id), newest)
            self.assertEqual(await self.enqueued_kinds(newest.id), [JobKind.FINISH])
            await self.recordings.delete(newest.id)
            await self.pool.execute("DELETE FROM jobs")

    async def test_repetition_after_completion(self) -> None:
        snapshots = self.snapshots_of_call()
        for snapshot in snapshots:
            await self.recordings.record(snapshot)
        await self.recordings.complete(
            msgspec.structs.replace(snapshots[-1], state=RecordingState.COMPLETED, updated_at=later(4)), [JobKind.MAIL]
        )
        completed = await self.recordings.get(snapshots[-1].id)
        self.assertEqual((completed.state, completed.updated_at), (RecordingState.COMPLETED, later(4)))
        for snapshot in snapshots:
            await self.recordings.record(snapshot)
        self.assertEqual(await self.recordings.get(completed.id), completed)
        self.assertEqual(sorted(await self.enqueued_kinds(completed.id)), [JobKind.FINISH, JobKind.MAIL])

    async def test_several_snapshots_are_stored_all_or_none(self) -> None:
        one, other = self.snapshots_of_call(), self.snapshots_of_call()
        await self.recordings.record(one[0], other[-1])
        self.assertEqual((await self.recordings.get(one[0].id)).state, RecordingState.RECORDING)
        self.assertEqual(await self.enqueued_kinds(other[0].id), [JobKind.FINISH])
        with self.assertRaises(InvalidInput):
            await self.recordings.record(one[-1], recording(from_name="\0"))
        self.assertEqual((await self.recordings.get(one[0].id)).state, RecordingState.RECORDING)

    async def test_new_finish_jobs_are_claimed_up_to_the_limit(self) -> None:
        jobs, ended = Jobs(self.pool), [self.snapshots_of_call()[-1] for _ in range(3)]
        claimed = await self.recordings.record(
            self.snapshots_of_call()[0], *ended, claim_limit=2, lease=timedelta(minutes=1)
        )
        self.assertEqual([(job.kind, job.state, job.attempts) for job in claimed], [("finish", "running", 1)] * 2)
        (rest,) = (await jobs.claim([JobKind.FINISH], timedelta(minutes=1), limit=9)).jobs
        self.assertEqual({job.recording_id for job in (*claimed, rest)}, {one.id for one in ended})
        self.assertEqual(await self.recordings.record(*ended, claim_limit=2), [], "a repetition has no effect")
        self.assertTrue(await jobs.mark_done(claimed[0]))
        self.assertTrue(await jobs.retry(claimed[1], "not yet", later(0)))

    async def test_repetition_after_deletion(self) -> None:
        snapshots = self.snapshots_of_call()
        for snapshot in snapshots:
            await self.recordings.record(snapshot)
        await self.recordings.delete(snapshots[0].id)
        for snapshot in snapshots:
            await self.recordings.record(snapshot)
        with self.assertRaises(NotFound):
            await self.recordings.get(snapshots[0].id)

    async def test_change_of_a_user_does_not_hide_snapshots(self) -> None:
        snapshots = self.snapshots_of_call()
        await self.recordings.record(snapshots[0])
        # Later than the snapshots of the call that have not been stored yet.
        changes: dict[str, Any] = {"metadata": {"by": "user"}, "tags": ("VIP",), "legal_hold": True}
        await self.recordings.update(
            snapshots[0].id, lambda old: msgspec.structs.replace(old, **changes, updated_at=later(60))
        )
        for snapshot in snapshots[1:]:
            await self.recordings.record(snapshot)
        stored = await self.recordings.get(snapshots[0].id)
        self.assertEqual(stored.state, RecordingState.PROCESSING)
        self.assertEqual((stored.metadata, stored.tags, stored.legal_hold), ({"by": "user"}, ("VIP",), True))
        self.assertEqual(stored.updated_at, later(60))
        self.assertEqual(await self.enqueued_kinds(stored.id), [JobKind.FINISH])

    async def test_snapshot_of_the_end_counts_after_the_clock_was_set_back(self) -> None:
        snapshots = self.snapshots_of_call()
        await self.recordings.record(snapshots[2])
        end = msgspec.structs.replace(snapshots[3], updated_at=later(-3600))
        await self.recordings.record(end)
        stored = await self.recordings.get(end.id)
        self.assertEqual(stored.state, RecordingState.PROCESSING)
        self.assertEqual(stored.updated_at, snapshots[2].updated_at)
        self.assertEqual(await self.enqueued_kinds(end.id), [JobKind.FINISH])

    async def test_recording_that_was_created_before_the_call(self) -> None:
        created = await self.recordings.create(
            recording(state=RecordingState.PENDING, metadata={"by": "user"}, updated_at=later(60))
        )
        snapshot = msgspec.structs.replace(
            created, state=RecordingState.RECORDING, metadata={}, created_at=later(1), updated_at=later(1)
        )
        await self.recordings.record(snapshot)
        stored = await self.recordings.get(created.id)
        self.assertEqual(stored.state, RecordingState.RECORDING)
        self.assertEqual((stored.metadata, stored.created_at), ({"by": "user"}, created.created_at))

    async def test_failed_call_enqueues_nothing(self) -> None:
        await self.recordings.record(recording(id=FULL.id, state=RecordingState.FAILED))
        self.assertEqual(await self.enqueued_kinds(FULL.id), [])

    async def test_concurrent_daemons(self) -> None:
        snapshots = self.snapshots_of_call()
        await gatherResults(
            [Deferred.fromCoroutine(self.recordings.record(snapshot)) for snapshot in [*snapshots, *snapshots[::-1]]]
        )
        self.assertEqual(await self.recordings.get(snapshots[0].id), snapshots[-1])
        self.assertEqual(await self.enqueued_kinds(snapshots[0].id), [JobKind.FINISH])

    async def test_value_that_cannot_be_stored(self) -> None:
        with self.assertRaises(InvalidInput):
            await self.recordings.record(recording(from_name="\0"))


class EventSequenceTests(RecordingsTestCase):
    """The number of messages about a Recording, which the statements count, and triggers for all others."""

    async def sequence(self, recording_id: UUID) -> int:
        ((number,),) = await self.pool.query("SELECT event_sequence FROM recordings WHERE id = %s", (recording_id,))
        return int(number)

    async def test_each_state_with_a_message_is_counted_once(self) -> None:
        snapshot = recording(state=RecordingState.RECORDING)
        for number, (state, expected) in enumerate(
            (
                (RecordingState.RECORDING, 1),
                (RecordingState.RECORDING, 1),
                (RecordingState.PAUSED, 2),
                (RecordingState.RECORDING, 3),
                (RecordingState.PROCESSING, 3),
            )
        ):
            await self.recordings.record(msgspec.structs.replace(snapshot, state=state, updated_at=later(number)))
            self.assertEqual(await self.sequence(snapshot.id), expected, state)
        for _ in range(2):  # the job may run again
            await self.recordings.complete(msgspec.structs.replace(snapshot, state=RecordingState.COMPLETED))
            self.assertEqual(await self.sequence(snapshot.id), 4)

    async def test_statements_of_an_earlier_version(self) -> None:
        created = await self.recordings.create(recording(state=RecordingState.RECORDING))
        self.assertEqual(await self.sequence(created.id), 1)
        for state, expected in (("paused", 2), ("paused", 2), ("processing", 2), ("failed", 3)):
            await self.pool.execute("UPDATE recordings SET state = %s WHERE id = %s", (state, created.id))
            self.assertEqual(await self.sequence(created.id), expected, state)


class CompleteTests(RecordingsTestCase):
    async def test_values_of_users_are_kept(self) -> None:
        started = recording(state=RecordingState.PROCESSING, metadata={"by": "call"})
        await self.recordings.record(started)
        changes: dict[str, Any] = {"metadata": {"by": "user"}, "tags": ("VIP",), "legal_hold": True}
        await self.recordings.update(
            started.id, lambda old: msgspec.structs.replace(old, **changes, updated_at=later(9))
        )
        await self.recordings.complete(
            msgspec.structs.replace(started, state=RecordingState.COMPLETED, size=1, updated_at=later(5))
        )
        completed = await self.recordings.get(started.id)
        self.assertEqual((completed.metadata, completed.tags, completed.legal_hold), ({"by": "user"}, ("VIP",), True))
        self.assertEqual((completed.size, completed.updated_at), (1, later(9)))

    async def test_follow_up_jobs_are_enqueued_once(self) -> None:
        await self.recordings.create(FULL)
        await self.recordings.complete(FULL, [JobKind.MAIL])
        ((job,), _) = await self.jobs.claim([JobKind.MAIL], lease=timedelta(minutes=1))
        await self.jobs.mark_done(job)
        await self.recordings.complete(FULL, [JobKind.MAIL])
        self.assertEqual((await self.jobs.claim([JobKind.MAIL], lease=timedelta(minutes=1))).jobs, [])

    async def test_mail_is_enqueued_if_the_profile_has_an_address(self) -> None:
        """It is also enqueued if the Profile was deleted: the job logs that."""
        profiles = Profiles(self.pool)
        for email, kinds in (("a@example.org", [JobKind.MAIL]), (None, [])):
            owner = await profiles.create(profile(email=email))
            stored = await self.recordings.create(recording(profile_id=owner.id))
            await self.recordings.complete(
                msgspec.structs.replace(stored, state=RecordingState.COMPLETED), [JobKind.MAIL]
            )
            self.assertEqual(await self.enqueued_kinds(stored.id), kinds)
