"""Tests of voxrec.store.recording_lookup."""

from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.database import DatabaseTestCase
from tests.store.samples import recording
from voxrec.store.recording_lookup import RecordingLookup
from voxrec.store.recordings import Recordings


class RecordingLookupTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.clock = Clock()
        self.recordings = Recordings(self.pool)
        self.applied: Deferred[None] = Deferred()
        self.lookup = RecordingLookup(self.clock, self.pool, self.when_applied, self.recordings)

    async def when_applied(self) -> None:
        await self.applied

    async def test_recordings_are_read_after_the_journal_was_applied(self) -> None:
        first, second = recording(), recording()
        await self.recordings.create(first)
        found = Deferred.fromCoroutine(self.lookup([first.id, second.id, uuid4()]))
        self.assertNoResult(found)
        await self.recordings.create(second)
        self.applied.callback(None)
        self.assertEqual(await found, {first.id: first, second.id: second})

    async def test_nothing_is_found_in_time(self) -> None:
        found = Deferred.fromCoroutine(self.lookup([uuid4()]))
        self.clock.advance(3)
        self.assertEqual(self.successResultOf(found), {})

    async def test_nothing_is_found_without_postgresql(self) -> None:
        await self.pool.stopService()
        waiting = Deferred.fromCoroutine(self.lookup([uuid4()]))
        self.clock.advance(3)
        self.assertEqual(await waiting, {})
