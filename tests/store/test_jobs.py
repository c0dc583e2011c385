"""The queue: one of several daemons gets a job, and none is forgotten."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

from twisted.internet.defer import Deferred, gatherResults

from tests.postgres import DatabaseTestCase, reactor, until
from voxrec.errors import Conflict, NotFound
from voxrec.model import Job, JobKind
from voxrec.store.jobs import JobFilter, Jobs, owe
from voxrec.store.listener import JOBS_CHANNEL, Listener
from voxrec.store.pool import Pool

MINUTE = timedelta(minutes=1)
OVER = timedelta(seconds=-1)  # a lease that has run out already
BOTH = (JobKind.FINISH, JobKind.MAIL)


class Queue(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.jobs = Jobs(self.pool)

    async def put(self, *kinds: JobKind) -> UUID:
        recording_id = uuid4()
        await self.pool.transaction(lambda transaction: owe(transaction, recording_id, kinds))
        return recording_id

    async def claim(self, kinds: Sequence[JobKind] = BOTH, lease: timedelta = MINUTE) -> Job:
        job = await self.jobs.claim(kinds, lease)
        assert job is not None
        return job

    async def test_from_claim_to_done(self) -> None:
        recording_id = await self.put(JobKind.FINISH)
        job = await self.claim()
        self.assertEqual((job.kind, job.recording_id, job.attempts), (JobKind.FINISH, recording_id, 1))
        self.assertIsNone(await self.jobs.claim(BOTH, MINUTE))
        self.assertTrue(await self.jobs.extend(job, MINUTE))
        self.assertTrue(await self.jobs.done(job))
        self.assertFalse(await self.jobs.done(job))
        self.assertEqual(await self.jobs.page(), [])
        self.assertIsNone(await self.jobs.next_due())

    async def test_what_was_done_is_not_owed_again(self) -> None:
        recording_id = await self.put(JobKind.FINISH)
        await self.jobs.done(await self.claim())
        await self.pool.transaction(lambda transaction: owe(transaction, recording_id, BOTH))
        self.assertEqual((await self.claim()).kind, JobKind.MAIL)
        self.assertIsNone(await self.jobs.claim(BOTH, MINUTE))

    async def test_only_the_kinds_asked_for(self) -> None:
        await self.put(JobKind.FINISH)
        self.assertIsNone(await self.jobs.claim([JobKind.MAIL], MINUTE))
        self.assertIsNone(await self.jobs.next_due([JobKind.MAIL]))
        self.assertIsNotNone(await self.jobs.next_due([JobKind.FINISH]))

    async def test_two_daemons_get_different_ones(self) -> None:
        for _ in range(20):
            await self.put(JobKind.FINISH)
        other_pool = Pool(reactor, self.dsn, size=4)
        other_pool.start()
        others = Jobs(other_pool)
        claims = [Deferred.fromCoroutine(queue.claim(BOTH, MINUTE)) for _ in range(12) for queue in (self.jobs, others)]
        claimed = [job for job in await gatherResults(claims) if job is not None]
        self.assertEqual(len({job.id for job in claimed}), len(claimed))
        self.assertEqual(len(claimed), 20)
        await other_pool.stop()

    async def test_one_that_is_being_claimed_is_not_waited_for(self) -> None:
        await self.put(JobKind.FINISH)
        second = await self.put(JobKind.FINISH)
        in_the_middle: Deferred[None] = Deferred()

        async def work(transaction: object) -> None:
            await transaction.query("SELECT id FROM jobs ORDER BY id LIMIT 1 FOR UPDATE")  # type: ignore[attr-defined]
            await in_the_middle

        slow = Deferred.fromCoroutine(self.pool.transaction(work))
        self.assertEqual((await self.claim()).recording_id, second)
        in_the_middle.callback(None)
        await slow

    async def test_a_lease_that_ran_out(self) -> None:
        await self.put(JobKind.FINISH)
        lost = await self.claim(lease=OVER)
        job = await self.claim()
        self.assertEqual((job.id, job.attempts), (lost.id, 2))
        self.assertFalse(await self.jobs.extend(lost, MINUTE))
        self.assertFalse(await self.jobs.done(lost))
        self.assertFalse(await self.jobs.retry(lost, "late", datetime.now(UTC)))
        self.assertFalse(await self.jobs.bury(lost, "late"))
        self.assertTrue(await self.jobs.done(job))

    async def test_a_lease_that_ran_out_but_nobody_noticed(self) -> None:
        await self.put(JobKind.FINISH)
        self.assertTrue(await self.jobs.done(await self.claim(lease=OVER)))
        self.assertIsNone(await self.jobs.claim(BOTH, MINUTE))

    async def test_again_later(self) -> None:
        await self.put(JobKind.FINISH)
        due = datetime.now(UTC) + MINUTE
        self.assertTrue(await self.jobs.retry(await self.claim(), "disk full", due))
        self.assertIsNone(await self.jobs.claim(BOTH, MINUTE))
        self.assertEqual(await self.jobs.next_due(), due)
        (job,) = await self.jobs.page()
        self.assertEqual((job.last_error, job.due_at, job.dead), ("disk full", due, False))

    async def test_next_due_is_the_end_of_the_lease(self) -> None:
        await self.put(JobKind.FINISH)
        await self.claim()
        due = await self.jobs.next_due()
        assert due is not None
        self.assertTrue(55 < (due - datetime.now(UTC)).total_seconds() <= 60)

    async def test_dead_and_alive_again(self) -> None:
        await self.put(JobKind.MAIL)
        job = await self.claim()
        self.assertTrue(await self.jobs.bury(job, "no such mailbox"))
        self.assertIsNone(await self.jobs.claim(BOTH, MINUTE))
        self.assertIsNone(await self.jobs.next_due())
        (dead,) = await self.jobs.page(JobFilter(dead=True, kind=JobKind.MAIL))
        self.assertEqual((dead.id, dead.last_error), (job.id, "no such mailbox"))
        revived = await self.jobs.revive(job.id)
        self.assertEqual((revived.attempts, revived.dead), (0, False))
        self.assertEqual((await self.claim()).id, job.id)
        with self.assertRaises(Conflict):
            await self.jobs.revive(job.id)
        with self.assertRaises(NotFound):
            await self.jobs.revive(4711)

    async def test_pages(self) -> None:
        for _ in range(5):
            await self.put(JobKind.FINISH)
        first = await self.jobs.page(limit=3)
        second = await self.jobs.page(limit=3, after=first[-1].id)
        ids = [job.id for job in first + second]
        self.assertEqual(ids, sorted(ids, reverse=True))
        self.assertEqual((len(first), len(second)), (3, 2))

    async def test_forgetting(self) -> None:
        await self.put(JobKind.FINISH, JobKind.MAIL)
        await self.jobs.done(await self.claim())
        self.assertEqual(await self.jobs.forget(MINUTE), 0)
        self.assertEqual(await self.jobs.forget(OVER), 1)
        self.assertEqual(len(await self.jobs.page()), 1)

    async def test_the_daemons_are_told(self) -> None:
        told: list[str] = []
        listening: list[bool] = []
        listener = Listener(reactor, self.dsn, {JOBS_CHANNEL: told.append}, lambda: listening.append(True))
        listener.start()
        await until(lambda: listening)
        await self.put(JobKind.FINISH)
        await until(lambda: told == ["finish"])
        job = await self.claim()
        await self.jobs.retry(job, "x", datetime.now(UTC))
        await until(lambda: told == ["finish", "finish"])
        await self.jobs.done(await self.claim())
        await listener.stop()
