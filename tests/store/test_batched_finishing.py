"""Tests of voxrec.store.batched_finishing."""

from datetime import timedelta
from uuid import uuid4

import msgspec
from twisted.internet.defer import Deferred, gatherResults

from tests.database import DatabaseTestCase, reactor
from tests.store.samples import later, recording
from voxrec.errors import InvalidInput, NotFound
from voxrec.model import Job, JobKind, Recording, RecordingState
from voxrec.postgres.transaction import Transaction
from voxrec.store.batched_finishing import BatchedJobs, BatchedResults
from voxrec.store.jobs import Jobs
from voxrec.store.recordings import Recordings

MINUTE = timedelta(minutes=1)


class BatchedFinishingTestCase(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.recordings, self.jobs = Recordings(self.pool), Jobs(self.pool)

    async def end_calls(self, number: int) -> list[Recording]:
        """Store calls that have ended, with their jobs."""
        ended = [recording(state=RecordingState.PROCESSING, ended_at=later(n)) for n in range(number)]
        await self.recordings.record(*ended)
        return ended

    async def transactions(self) -> int:
        """Return the number of transactions that have changed Recordings and jobs."""
        sql = "SELECT count(DISTINCT xmin::text) FROM (SELECT xmin FROM {} UNION ALL SELECT xmin FROM {}) AS changed"
        ((number,),) = await self.pool.query(sql.format("recordings", "jobs"))
        return int(number)


class BatchedResultsTests(BatchedFinishingTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.results = BatchedResults(reactor, self.recordings)

    async def complete(self, *results: Recording) -> list[str]:
        """Complete Recordings at the same time, and return the outcome of each."""

        async def outcome(result: Recording) -> str:
            try:
                await self.results.complete(result, [JobKind.MAIL] if result.size else [])
            except (NotFound, InvalidInput) as error:
                return type(error).__name__
            return "stored"

        return await gatherResults([Deferred.fromCoroutine(outcome(result)) for result in results])

    async def test_results_of_several_recordings_are_one_transaction(self) -> None:
        ended = await self.end_calls(20)
        completed = [
            msgspec.structs.replace(each, state=RecordingState.COMPLETED, size=n, updated_at=later(100))
            for n, each in enumerate(ended)
        ]
        self.assertEqual(await self.complete(*completed), ["stored"] * 20)
        for each in completed:
            self.assertEqual(await self.results.get(each.id), each)
        mails = (await self.jobs.claim([JobKind.MAIL], MINUTE, 100)).jobs
        self.assertCountEqual([job.recording_id for job in mails], [each.id for each in completed[1:]])
        events = await self.pool.query("SELECT data ->> 'id' FROM events WHERE type = 'recording.completed'")
        self.assertCountEqual([id_ for (id_,) in events], [str(each.id) for each in completed])
        # those of the ends of the calls, the results, and the claim of the mails
        self.assertEqual(await self.transactions(), 3)

    async def test_the_outcome_of_each_recording_is_its_own(self) -> None:
        first, deleted, invalid, last = await self.end_calls(4)
        await self.recordings.delete(deleted.id)
        results = [
            first,
            deleted,
            msgspec.structs.replace(invalid, state=RecordingState.COMPLETED, path="a\0b"),
            msgspec.structs.replace(last, state=RecordingState.ABSENT),
        ]
        self.assertEqual(await self.complete(*results), ["stored", "NotFound", "InvalidInput", "stored"])
        states = [(await self.recordings.get(each.id)).state for each in (first, invalid, last)]
        self.assertEqual(states, [RecordingState.PROCESSING, RecordingState.PROCESSING, RecordingState.ABSENT])

    async def test_a_recording_that_is_locked_delays_no_other(self) -> None:
        locked, other = await self.end_calls(2)
        locking: Deferred[None] = Deferred()
        unlocking: Deferred[None] = Deferred()

        async def lock(transaction: Transaction) -> None:
            await self.recordings.get_in(locked.id, transaction)
            locking.callback(None)
            await unlocking

        holding = Deferred.fromCoroutine(self.pool.transaction(lock))
        await locking
        results = [msgspec.structs.replace(each, state=RecordingState.COMPLETED) for each in (locked, other)]
        waiting, stored = (Deferred.fromCoroutine(self.results.complete(result, [])) for result in results)
        await stored
        self.assertFalse(waiting.called)
        unlocking.callback(None)
        await gatherResults([holding, waiting])
        self.assertEqual((await self.recordings.get(locked.id)).state, RecordingState.COMPLETED)

    async def test_the_same_recording_twice(self) -> None:
        _, ended = await self.end_calls(2)
        completed = msgspec.structs.replace(ended, state=RecordingState.COMPLETED)
        self.assertEqual(await self.complete(recording(), completed, completed), ["NotFound", "stored", "stored"])


class BatchedJobsTests(BatchedFinishingTestCase):
    async def mark_done(self, *jobs: Job) -> list[bool]:
        batched = BatchedJobs(reactor, self.jobs)
        return await gatherResults([Deferred.fromCoroutine(batched.mark_done(job)) for job in jobs])

    async def test_several_jobs_are_marked_as_done_in_one_transaction(self) -> None:
        await self.enqueue(*((JobKind.FINISH, uuid4()) for _ in range(20)))
        claimed = (await self.jobs.claim([JobKind.FINISH], MINUTE, 20)).jobs
        self.assertEqual(await self.mark_done(*claimed), [True] * 20)
        self.assertEqual(await self.jobs.page(), [])
        self.assertEqual(await self.transactions(), 1)

    async def test_a_job_that_was_claimed_again_is_not_marked_as_done(self) -> None:
        await self.enqueue(*((JobKind.FINISH, uuid4()) for _ in range(3)))
        expired = (await self.jobs.claim([JobKind.FINISH], timedelta(seconds=-1), 2)).jobs
        claimed = (await self.jobs.claim([JobKind.FINISH], MINUTE, 3)).jobs
        self.assertEqual(await self.mark_done(*expired, *claimed), [False] * 2 + [True] * 3)
