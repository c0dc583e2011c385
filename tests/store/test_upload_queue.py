"""Tests of voxrec.store.upload_queue: the ends of jobs; tests/recordings/test_upload.py tests the rest."""

from datetime import timedelta
from uuid import uuid4

from twisted.internet.defer import Deferred, gatherResults

from tests.database import DatabaseTestCase, reactor, until
from voxrec.model import Job, JobKind
from voxrec.postgres.transaction import Transaction
from voxrec.store.jobs import Jobs
from voxrec.store.upload_queue import UploadQueue

MINUTE = timedelta(minutes=1)


class MarkDoneTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.queue = UploadQueue(reactor, self.pool, Jobs(self.pool), per_target=10)

    async def claim(self, number: int, lease: timedelta = MINUTE) -> list[Job]:
        await self.enqueue(*((JobKind.UPLOAD, uuid4()) for _ in range(number)))
        return (await self.queue.claim((), lease, number)).jobs

    async def mark_done(self, *jobs: Job) -> list[bool]:
        return await gatherResults([Deferred.fromCoroutine(self.queue.mark_done(job)) for job in jobs])

    async def test_only_jobs_that_are_held_are_marked(self) -> None:
        lost = await self.claim(1)
        await self.pool.execute("UPDATE jobs SET claims = claims + 1", ())
        self.assertEqual(await self.mark_done(*lost, *await self.claim(2)), [False, True, True])
        self.assertEqual(await self.mark_done(*lost), [False])

    async def test_due_time_that_another_transaction_changes_meanwhile(self) -> None:
        """The job is due again. It delays the end of no other one."""
        changed, other = await self.claim(2)
        locked: list[object] = []
        release: Deferred[None] = Deferred()

        async def change(transaction: Transaction) -> None:
            sql = "UPDATE jobs SET due_at = clock_timestamp() WHERE id = %s RETURNING id"
            locked.extend(await transaction.query(sql, (changed.id,)))
            await release

        changing = Deferred.fromCoroutine(self.pool.transaction(change))
        await until(lambda: bool(locked))
        waiting, ended = (Deferred.fromCoroutine(self.queue.mark_done(job)) for job in (changed, other))
        self.assertTrue(await ended)
        self.assertNoResult(waiting)
        release.callback(None)
        await changing
        self.assertTrue(await waiting)
        self.assertEqual([job.id for job in (await self.queue.claim((), MINUTE, 2)).jobs], [changed.id])
