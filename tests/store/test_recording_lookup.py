"""Tests of voxrec.store.recording_lookup."""

from collections.abc import Collection, Mapping
from uuid import UUID, uuid4

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from tests.database import DatabaseTestCase
from tests.store.samples import recording
from voxrec.model import Recording
from voxrec.store.recording_lookup import RecordingLookup
from voxrec.store.recordings import Recordings


class FakeJournal:
    """A journal that is applied when the test says so."""

    def __init__(self) -> None:
        self.applied: Deferred[None] = Deferred()
        self.snapshots: list[Recording] = []
        self.error: OSError | None = None

    async def when_applied(self) -> None:
        await self.applied

    async def latest(self, recording_ids: Collection[UUID]) -> Mapping[UUID, Recording]:
        if self.error is not None:
            raise self.error
        return {each.id: each for each in self.snapshots if each.id in recording_ids}


class RecordingLookupTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.clock = Clock()
        self.recordings = Recordings(self.pool)
        self.journal = FakeJournal()
        self.lookup = RecordingLookup(self.clock, self.pool, self.journal, self.recordings)

    async def test_recordings_are_read_after_the_journal_was_applied(self) -> None:
        first, second = recording(), recording()
        await self.recordings.create(first)
        found = Deferred.fromCoroutine(self.lookup([first.id, second.id, uuid4()]))
        self.assertNoResult(found)
        await self.recordings.create(second)
        self.journal.applied.callback(None)
        self.assertEqual(await found, {first.id: first, second.id: second})

    async def test_without_postgresql_they_are_those_of_the_journal(self) -> None:
        self.journal.snapshots = [recording(), recording()]
        first = self.journal.snapshots[0]
        found = Deferred.fromCoroutine(self.lookup([first.id, uuid4()]))
        with capturedLogs() as events:
            self.clock.advance(3)
        self.assertEqual(self.successResultOf(found), {first.id: first})
        self.assertIn("with the 1 of 2 recordings that the journal has", formatEvent(events[-1]))

    async def test_nothing_is_found_if_the_journal_cannot_be_read_either(self) -> None:
        self.journal.error = OSError("no such device")
        found = Deferred.fromCoroutine(self.lookup([uuid4()]))
        self.clock.advance(3)
        self.assertEqual(self.successResultOf(found), {})

    async def test_a_pool_that_is_stopped(self) -> None:
        await self.pool.stopService()
        waiting = Deferred.fromCoroutine(self.lookup([uuid4()]))
        self.clock.advance(3)
        self.assertEqual(await waiting, {})
