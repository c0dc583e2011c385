"""Bulk actions after a kill -9 of the daemon at each step: each Recording is deleted once, with one audit entry."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater

from tests.crashing_process import run_until_crash
from tests.database import DatabaseTestCase, reactor
from tests.recordings.crashing_bulk_actions import CRASH_POINTS, LONG_LEASE, make_worker
from tests.store.samples import recording
from tests.subtest import subtest
from voxrec.model import BulkAction, BulkActionKind, BulkActionState, BulkItemState, RecordingState
from voxrec.store.bulk_actions import BulkActionQueue, BulkActions, NewBulkAction
from voxrec.store.recordings import Recordings


class CrashRecoveryTests(DatabaseTestCase):
    timeout = 180

    async def confirmed(self) -> BulkAction:
        """Add three Recordings, and a confirmed bulk action that deletes them."""
        recordings, self.actions = Recordings(self.pool), BulkActions(self.pool)
        ids = [(await recordings.create(recording(state=RecordingState.COMPLETED))).id for _ in range(3)]
        new = NewBulkAction(
            action=BulkActionKind.DELETE,
            created_by="anna",
            user_id=None,
            token_id=None,
            profile_ids=None,
            address="::1",
            reason=None,
            lifetime=timedelta(hours=1),
        )
        return await self.actions.confirm((await self.actions.create(new, dict.fromkeys(ids))).id)

    async def finish(self, action_id: UUID) -> BulkAction:
        worker = make_worker(self.pool, LONG_LEASE)
        worker.startService()
        try:
            while (done := await self.actions.get(action_id)).state is not BulkActionState.COMPLETED:
                await deferLater(reactor, 0.05)
                worker.wake()
        finally:
            await worker.stopService()
        return done

    async def test_a_daemon_that_is_killed(self) -> None:
        for step in CRASH_POINTS:
            with subtest(step):
                action = await self.confirmed()
                await run_until_crash("tests.recordings.crashing_bulk_actions", step, self.dsn)
                done = await self.finish(action.id)
                self.assertEqual((done.total, done.done, done.skipped, done.failed), (3, 3, 0, 0))
                items = await self.actions.items(action.id, BulkItemState.DONE, 10, None)
                self.assertEqual(len(items), 3)
                ids = [item.recording_id for item in items]
                rows = await self.pool.query("SELECT count(*) FROM audit WHERE target_id = ANY(%s)", (ids,))
                self.assertEqual(rows, [(3,)])
                self.assertEqual(await Recordings(self.pool).existing_ids(ids), set())

    async def test_a_daemon_that_stops(self) -> None:
        """It does not wait for the other Recordings, and its successor continues; that is no failed attempt."""
        action = await self.confirmed()
        worker = make_worker(self.pool, LONG_LEASE)
        stopped: Deferred[None] = Deferred()
        apply = BulkActionQueue.apply

        async def apply_and_stop(*args: Any) -> None:
            await apply(*args)
            if worker.running:
                worker.stopService().chainDeferred(stopped)

        self.patch(BulkActionQueue, "apply", apply_and_stop)
        worker.startService()
        await stopped.addTimeout(60, reactor)
        interrupted = await self.actions.get(action.id)
        self.assertEqual((interrupted.state, interrupted.done), (BulkActionState.PENDING, 1))
        self.assertEqual(await self.pool.query("SELECT attempts FROM bulk_actions"), [(0,)])
        self.assertEqual((await self.finish(action.id)).done, 3)
