"""Tests of voxrec.jobs.worker."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from random import Random
from typing import Any, Final, cast
from uuid import UUID, uuid4

from msgspec.structs import replace
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import Clock, deferLater
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.database import DatabaseTestCase, reactor, until
from tests.jobs.fake_jobs import FakeJobs
from voxrec.config import Queue
from voxrec.deferreds import Backoff
from voxrec.errors import AudioError, DeliveryError, StoreUnavailable
from voxrec.jobs.worker import JobHandler, Worker
from voxrec.model import Job, JobKind, JobState
from voxrec.postgres.pool import Pool
from voxrec.store.jobs import ClaimedJobs, JobFilter, Jobs

NOT_DONE: Final = JobFilter(states=[JobState.PENDING, JobState.RUNNING])
SETTINGS: Final[dict[str, Any]] = {
    "concurrency": 2,
    "lease": timedelta(minutes=10),
    "backoff": Backoff(first=10, limit=100, jitter=0),
    "max_attempts": 40,
}


class ControlledHandler:
    """A handler that records its jobs; the test decides when each of them ends, and how."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.open: list[Deferred[None]] = []

    async def __call__(self, job: Job) -> None:
        self.jobs.append(job)
        waiting: Deferred[None] = Deferred()
        self.open.append(waiting)
        await waiting

    def finish(self) -> None:
        self.open.pop(0).callback(None)

    def fail(self, error: Exception) -> None:
        self.open.pop(0).errback(error)


class WorkerTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.clock.advance(1_000_000)
        self.jobs = FakeJobs(self.clock)
        self.mail = ControlledHandler()
        self.events: list[LogEvent] = []

    def start_worker(self, handlers: Mapping[str, JobHandler[Job]] | None = None, **settings: Any) -> Worker[Job]:
        worker = Worker(
            self.clock,
            self.jobs,
            handlers or {JobKind.MAIL: self.mail},
            logger=Logger("worker", observer=cast("ILogObserver", self.events.append)),
            **{**SETTINGS, **settings},
        )
        worker.startService()
        self.addCleanup(self.stop_worker, worker)
        return worker

    def stop_worker(self, worker: Worker[Job]) -> None:
        if worker.running:
            stopped = worker.stopService()
            self.clock.advance(60)
            self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def logged(self, level: LogLevel) -> list[str]:
        return [formatEvent(event) for event in self.events if event["log_level"] is level]

    def seconds_until(self, due: datetime) -> float:
        return due.timestamp() - self.clock.seconds()

    def advance_in_steps(self, seconds: int) -> None:
        for _ in range(seconds):
            self.clock.advance(1)


class ClaimTests(WorkerTestCase):
    def test_due_job_is_run_at_start(self) -> None:
        self.jobs.add()
        self.start_worker()
        self.assertEqual([(job.id.int, job.attempts) for job in self.mail.jobs], [(1, 1)])
        self.mail.finish()
        self.assertEqual(self.jobs.completed, [1])

    def test_outcome_of_each_attempt_is_reported(self) -> None:
        ended: list[tuple[str, str]] = []
        for _ in range(3):
            self.jobs.add()
        self.start_worker(on_attempt_ended=lambda kind, outcome: ended.append((kind, outcome)), concurrency=3)
        self.mail.finish()
        self.mail.fail(DeliveryError("later", permanent=False))
        self.mail.fail(DeliveryError("never", permanent=True))
        self.assertEqual(ended, [("mail", "done"), ("mail", "retry"), ("mail", "dead")])

    def test_jobs_that_end_within_the_claim_interval_are_followed_by_one_claim(self) -> None:
        for _ in range(8):
            self.jobs.add()
        self.start_worker(concurrency=4, claim_interval=0.01)
        claims = self.jobs.claims
        for _ in range(3):
            self.mail.finish()
        self.clock.advance(0)
        self.mail.finish()
        self.assertEqual(self.jobs.claims, claims)
        self.clock.advance(0.01)
        self.assertEqual(self.jobs.claims, claims + 1)
        self.assertEqual(len(self.mail.jobs), 8)

    def test_stop_during_the_claim_interval(self) -> None:
        self.jobs.add()
        worker = self.start_worker(claim_interval=0.01)
        self.mail.finish()
        worker.wake()
        self.jobs.add()
        stopped = worker.stopService()
        self.clock.advance(0.01)
        self.successResultOf(stopped)
        self.assertEqual(len(self.mail.jobs), 1)

    def test_wake_claims_at_once(self) -> None:
        worker = self.start_worker()
        self.jobs.add()
        self.assertEqual(self.mail.jobs, [])
        worker.wake()
        self.assertEqual(len(self.mail.jobs), 1)

    def test_queue_is_polled_every_30_seconds(self) -> None:
        self.start_worker()
        self.jobs.add()
        self.clock.advance(29)
        self.assertEqual(self.mail.jobs, [])
        self.clock.advance(1)
        self.assertEqual(len(self.mail.jobs), 1)

    def test_next_claim_is_when_the_next_job_is_due(self) -> None:
        self.jobs.add(due_in=7)
        self.start_worker()
        self.clock.advance(6.9)
        self.assertEqual(self.mail.jobs, [])
        self.clock.advance(0.1)
        self.assertEqual(len(self.mail.jobs), 1)

    def test_kind_without_handler_is_not_claimed(self) -> None:
        self.jobs.add(JobKind.FINISH)
        self.start_worker()
        self.clock.advance(30)
        self.assertEqual(self.mail.jobs, [])

    def test_due_job_that_is_locked_causes_no_busy_loop(self) -> None:
        async def claim_nothing(*_: object) -> ClaimedJobs:
            self.jobs.claims += 1
            return ClaimedJobs([], self.jobs.now)

        self.patch(self.jobs, "claim", claim_nothing)
        self.jobs.add()
        self.start_worker()
        for _ in range(100):
            self.clock.advance(0.1)
        self.assertLessEqual(self.jobs.claims, 12)
        self.assertEqual(self.mail.jobs, [])

    def test_concurrency_is_limited(self) -> None:
        for _ in range(5):
            self.jobs.add()
        self.start_worker(concurrency=2)
        self.assertEqual([job.id.int for job in self.mail.jobs], [1, 2])
        self.mail.finish()
        self.assertEqual([job.id.int for job in self.mail.jobs], [1, 2, 3])
        while self.mail.open:
            self.mail.finish()
        self.assertEqual(sorted(self.jobs.completed), [1, 2, 3, 4, 5])

    def test_one_claim_fills_all_slots(self) -> None:
        for _ in range(5):
            self.jobs.add()
        self.start_worker(concurrency=3)
        self.assertEqual([job.id.int for job in self.mail.jobs], [1, 2, 3])
        self.assertEqual(self.jobs.claims, 1)

    def test_wake_during_a_claim_causes_another_claim(self) -> None:
        """The result of the claim may lack a job that was added in the meantime."""
        query: Deferred[None] = Deferred()
        claim = self.jobs.claim

        async def slow_claim(*args: Any) -> ClaimedJobs:
            claimed = await claim(*args)
            await query
            return claimed

        self.patch(self.jobs, "claim", slow_claim)
        worker = self.start_worker()
        self.jobs.add()
        worker.wake()
        query.callback(None)
        self.assertEqual(len(self.mail.jobs), 1)

    def test_job_is_run_by_the_handler_of_its_kind(self) -> None:
        finish = ControlledHandler()
        self.jobs.add(JobKind.FINISH)
        self.jobs.add(JobKind.MAIL)
        self.start_worker({JobKind.FINISH: finish, JobKind.MAIL: self.mail})
        self.assertEqual(([job.id.int for job in finish.jobs], [job.id.int for job in self.mail.jobs]), ([1], [2]))

    def test_thousand_jobs_with_synchronous_handler(self) -> None:
        async def handler(_: Job) -> None:
            """Return at once."""

        for _ in range(1000):
            self.jobs.add()
        self.start_worker({JobKind.MAIL: handler})
        self.clock.advance(0)
        self.assertEqual(len(self.jobs.completed), 1000)


class LeaseTests(WorkerTestCase):
    def test_lease_is_extended_while_the_handler_runs(self) -> None:
        self.jobs.add()
        self.start_worker(lease=timedelta(seconds=60))
        for _ in range(60):
            self.clock.advance(10)
            self.assertGreater(self.seconds_until(self.jobs.leases[1]), 35)
        self.assertEqual(len(self.mail.jobs), 1)
        self.mail.finish()
        self.assertEqual(self.jobs.leases, {})

    def test_outcome_is_discarded_if_another_worker_claimed_the_job(self) -> None:
        self.jobs.add()
        self.start_worker(lease=timedelta(seconds=60))
        self.jobs.rows[1] = replace(self.jobs.rows[1], attempts=2)
        self.mail.fail(DeliveryError("too late", permanent=True))
        self.assertIs(self.jobs.rows[1].state, JobState.PENDING)
        self.assertEqual(self.logged(LogLevel.error), [])
        (warning,) = self.logged(LogLevel.warn)
        self.assertIn("ran longer than its lease and was claimed by another worker", warning)

    def test_job_is_claimed_when_another_workers_lease_expires(self) -> None:
        self.jobs.add()
        self.jobs.leases[1] = self.jobs.now + timedelta(seconds=12)
        self.start_worker()
        self.clock.advance(11)
        self.assertEqual(self.mail.jobs, [])
        self.clock.advance(1)
        self.assertEqual(len(self.mail.jobs), 1)

    def test_failed_extension_is_retried(self) -> None:
        self.jobs.add()
        self.start_worker(lease=timedelta(seconds=60))
        self.jobs.unavailable = True
        self.clock.advance(20)
        self.jobs.unavailable = False
        self.clock.advance(20)
        self.assertEqual(self.seconds_until(self.jobs.leases[1]), 60)


class RunClaimedTests(WorkerTestCase):
    def claimed_job(self) -> Job:
        return self.jobs.claim_one(self.jobs.add(JobKind.FINISH), timedelta(minutes=1))

    def test_job_is_run_by_the_handler_passed_with_it(self) -> None:
        worker, handler = self.start_worker(concurrency=2), ControlledHandler()
        self.assertEqual(worker.available_slots, 2)
        worker.run_claimed(self.claimed_job(), handler)
        worker.run_claimed(self.claimed_job(), handler)
        self.assertEqual(worker.available_slots, 0)
        handler.finish()
        handler.fail(DeliveryError("not yet", permanent=False))
        self.assertEqual(worker.available_slots, 2)
        self.assertEqual(self.jobs.completed, [1])
        self.assertEqual(self.jobs.rows[2].last_error, "not yet")

    def start_with_more_claims_than_slots(self) -> tuple[Worker[Job], ControlledHandler]:
        """Start two jobs of the queue and two that were claimed for `run_claimed` meanwhile, with two slots."""
        for _ in range(2):
            self.jobs.add()
        claimed = [self.claimed_job() for _ in range(2)]
        worker, handler = self.start_worker(concurrency=2), ControlledHandler()
        for job in claimed:
            worker.run_claimed(job, handler)
        return worker, handler

    def test_job_claimed_at_the_same_time_as_others_waits_for_a_slot(self) -> None:
        worker, handler = self.start_with_more_claims_than_slots()
        self.assertEqual((len(self.mail.jobs), len(handler.jobs)), (2, 0))
        self.mail.finish()
        self.assertEqual(len(handler.jobs), 1)
        self.mail.finish()
        self.assertEqual(len(handler.jobs), 2)
        handler.finish()
        handler.finish()
        self.assertEqual(self.jobs.completed, [1, 2, 3, 4])
        self.assertEqual(worker.available_slots, 2)

    def test_nothing_is_claimed_while_jobs_wait_for_slots(self) -> None:
        worker, _ = self.start_with_more_claims_than_slots()
        self.jobs.add()
        claims = self.jobs.claims
        worker.wake()
        self.mail.finish()  # three of the four are left, for two slots
        self.assertEqual(self.jobs.claims, claims)
        self.assertEqual(self.events, [])

    def test_waiting_job_keeps_its_lease(self) -> None:
        self.start_with_more_claims_than_slots()
        self.clock.advance(SETTINGS["lease"].total_seconds() / 3)
        leases = [self.seconds_until(self.jobs.leases[number]) for number in (3, 4)]
        self.assertEqual(leases, [SETTINGS["lease"].total_seconds()] * 2)

    def test_waiting_job_is_released_when_the_worker_stops(self) -> None:
        worker, handler = self.start_with_more_claims_than_slots()
        stopped = worker.stopService()
        self.mail.finish()
        self.mail.finish()
        self.successResultOf(stopped)
        self.assertEqual(handler.jobs, [])
        self.assertEqual(self.jobs.completed, [1, 2])
        self.assertEqual(self.jobs.leases, {})

    def test_job_is_released_if_the_worker_is_stopped(self) -> None:
        worker, handler = self.start_worker(), ControlledHandler()
        self.successResultOf(worker.stopService())
        self.assertEqual(worker.available_slots, 0)
        worker.run_claimed(self.claimed_job(), handler)
        self.assertEqual(handler.jobs, [])
        self.assertEqual(self.jobs.leases, {})
        self.assertIs(self.jobs.rows[1].state, JobState.PENDING)


class RetryTests(WorkerTestCase):
    def test_failed_job_is_retried_with_back_off_and_its_error_is_stored(self) -> None:
        self.jobs.add()
        self.start_worker()
        for delay in (10, 20, 40, 80, 100, 100):
            self.mail.fail(DeliveryError("the relay\r\nis \x1b busy", permanent=False))
            self.assertEqual(self.seconds_until(self.jobs.rows[1].due_at), delay)
            self.assertEqual(self.jobs.rows[1].last_error, r"the relay is \x1b busy")
            self.advance_in_steps(delay)
        self.assertEqual(self.mail.jobs[-1].attempts, 7)
        self.assertEqual(self.events, [])

    def test_permanent_error_makes_a_dead_letter(self) -> None:
        self.jobs.add()
        self.start_worker()
        self.mail.fail(DeliveryError("no such user\nann@example.org", permanent=True))
        self.assertIs(self.jobs.rows[1].state, JobState.DEAD)
        self.assertEqual(self.jobs.rows[1].last_error, "no such user ann@example.org")
        job = f"job {UUID(int=1)} (mail of recording {UUID(int=1)})"
        self.assertEqual(
            self.logged(LogLevel.error), [f"{job} failed after 1 attempt and is not retried: no such user <address>"]
        )

    def test_last_attempt_makes_a_dead_letter(self) -> None:
        self.jobs.add()
        self.start_worker(max_attempts=2)
        self.mail.fail(AudioError("empty"))
        self.advance_in_steps(10)
        self.mail.fail(AudioError("empty"))
        self.assertIs(self.jobs.rows[1].state, JobState.DEAD)
        self.assertEqual(len(self.logged(LogLevel.error)), 1)

    def test_job_that_kills_the_process_becomes_a_dead_letter(self) -> None:
        self.jobs.add(attempts=3)
        self.start_worker(max_attempts=3)
        self.assertEqual(self.mail.jobs, [])
        self.assertIs(self.jobs.rows[1].state, JobState.DEAD)
        self.assertEqual(self.jobs.rows[1].last_error, "the process died in each attempt")

    def test_traceback_of_unexpected_exception_is_logged_once(self) -> None:
        self.jobs.add()
        self.start_worker()
        self.mail.fail(ZeroDivisionError("by zero"))
        self.assertEqual(self.jobs.rows[1].last_error, "ZeroDivisionError: by zero")
        self.advance_in_steps(10)
        self.mail.fail(ZeroDivisionError("by zero"))
        self.assertEqual(len(self.logged(LogLevel.critical)), 1)
        self.assertIn("log_failure", self.events[0])

    def test_attempts_with_default_settings_span_59_hours(self) -> None:
        """As etc/voxrec.yaml and the documentation of `Worker` say."""
        settings = Queue()
        self.assertEqual(settings.attempts, 40)
        steady = Backoff(first=settings.retry_first, limit=settings.retry_limit, jitter=0)
        jittered = Backoff(first=settings.retry_first, limit=settings.retry_limit, random=Random(1))  # noqa: S311
        hours = {
            backoff: sum(backoff.delay(attempt) for attempt in range(1, settings.attempts)) / 3600
            for backoff in (steady, jittered)
        }
        self.assertEqual(round(hours[steady]), 59)
        self.assertTrue(55 < hours[jittered] < 63, hours)


class StoreOutageTests(WorkerTestCase):
    def test_outage_and_recovery_are_logged_once(self) -> None:
        self.jobs.unavailable = True
        self.start_worker()
        self.advance_in_steps(300)
        self.assertEqual(
            self.logged(LogLevel.warn),
            ["the job worker waits for PostgreSQL, retrying: PostgreSQL does not answer: connection refused"],
        )
        self.jobs.add()
        self.jobs.unavailable = False
        self.advance_in_steps(40)
        self.assertEqual(self.logged(LogLevel.info), ["PostgreSQL is available again; the job worker continues"])
        self.assertEqual(len(self.mail.jobs), 1)

    def test_outcome_is_stored_after_an_outage(self) -> None:
        self.jobs.add()
        self.start_worker()
        self.jobs.unavailable = True
        self.mail.finish()
        self.advance_in_steps(100)
        self.jobs.unavailable = False
        self.advance_in_steps(40)
        self.assertEqual(self.jobs.completed, [1])
        self.assertEqual(len(self.mail.jobs), 1)

    def test_handler_that_fails_for_an_outage_is_retried(self) -> None:
        self.jobs.add()
        self.start_worker()
        self.mail.fail(StoreUnavailable("away"))
        self.assertEqual(self.jobs.rows[1].last_error, "away")
        self.assertIs(self.jobs.rows[1].state, JobState.PENDING)

    def test_unexpected_exception_while_claiming_does_not_stop_the_worker(self) -> None:
        claim = self.jobs.claim
        self.patch(self.jobs, "claim", lambda *_: 1 / 0)
        self.start_worker()
        self.assertEqual(len(self.logged(LogLevel.critical)), 1)
        self.patch(self.jobs, "claim", claim)
        self.jobs.add()
        self.clock.advance(30)
        self.assertEqual(len(self.mail.jobs), 1)


class StopTests(WorkerTestCase):
    def test_idle_worker_stops_at_once(self) -> None:
        worker = self.start_worker()
        self.successResultOf(worker.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_stop_waits_for_running_handlers_and_claims_no_more(self) -> None:
        for _ in range(3):
            self.jobs.add()
        worker = self.start_worker(concurrency=2)
        stopped = worker.stopService()
        self.mail.finish()
        self.assertNoResult(stopped)
        self.mail.finish()
        self.successResultOf(stopped)
        self.assertEqual(self.jobs.completed, [1, 2])
        self.assertEqual(len(self.mail.jobs), 2)

    def test_stop_waits_at_most_20_seconds(self) -> None:
        self.jobs.add()
        worker = self.start_worker(lease=timedelta(seconds=60))
        stopped = worker.stopService()
        self.clock.advance(19)
        self.assertNoResult(stopped)
        self.clock.advance(1)
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertLessEqual(self.seconds_until(self.jobs.leases[1]), 60)

    def test_stop_does_not_wait_for_the_store(self) -> None:
        self.jobs.add()
        worker = self.start_worker()
        self.jobs.unavailable = True
        self.mail.finish()
        self.successResultOf(worker.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_job_claimed_during_stop_is_released(self) -> None:
        query: Deferred[None] = Deferred()
        claim = self.jobs.claim

        async def slow_claim(*args: Any) -> ClaimedJobs:
            await query
            return await claim(*args)

        self.patch(self.jobs, "claim", slow_claim)
        worker = self.start_worker()
        self.jobs.add()
        stopped = worker.stopService()
        self.assertNoResult(stopped)
        query.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(self.mail.jobs, [])
        self.assertEqual(self.jobs.leases, {})

    def test_worker_can_be_started_again(self) -> None:
        worker = self.start_worker()
        self.successResultOf(worker.stopService())
        self.jobs.add()
        worker.startService()
        self.assertEqual(len(self.mail.jobs), 1)
        self.mail.finish()


class PostgresQueueTests(DatabaseTestCase):
    async def test_job_fails_is_retried_and_done(self) -> None:
        recording_id = uuid4()
        attempts: list[Job] = []
        finished: Deferred[None] = Deferred()

        async def handler(job: Job) -> None:
            attempts.append(job)
            if len(attempts) == 1:
                raise DeliveryError("not yet", permanent=False)
            finished.callback(None)

        await self.enqueue((JobKind.MAIL, recording_id))
        jobs = Jobs(self.pool)
        backoff = Backoff(first=0.1, jitter=0)
        worker = Worker(reactor, jobs, {JobKind.MAIL: handler}, **{**SETTINGS, "backoff": backoff})
        worker.startService()
        try:
            await finished.addTimeout(20, reactor)
        finally:
            await worker.stopService()
        self.assertEqual([(job.recording_id, job.attempts) for job in attempts], [(recording_id, 1), (recording_id, 2)])
        self.assertEqual(attempts[1].last_error, "not yet")
        self.assertEqual(await jobs.page(), [])

    async def test_dead_letter(self) -> None:
        async def handler(_: Job) -> None:
            raise DeliveryError("no such user", permanent=True)

        await self.enqueue((JobKind.MAIL, uuid4()))
        jobs = Jobs(self.pool)
        worker = Worker(reactor, jobs, {JobKind.MAIL: handler}, **SETTINGS)
        worker.startService()
        while not (dead := await jobs.page(JobFilter(states=[JobState.DEAD]))):
            await deferLater(reactor, 0.05)
        await worker.stopService()
        self.assertEqual([(job.attempts, job.last_error) for job in dead], [(1, "no such user")])


class SeveralWorkersTests(DatabaseTestCase):
    """Independent workers on one queue, each with its own connection pool."""

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.jobs = Jobs(self.pool)
        self.pools = [Pool(reactor, self.dsn, size=4) for _ in range(3)]
        for pool in self.pools:
            pool.startService()
            await pool.when_ready()
        self.workers: list[Worker[Job]] = []

    async def tearDown(self) -> None:  # type: ignore[override]
        await gatherResults([worker.stopService() for worker in self.workers])
        for pool in self.pools:
            await pool.stopService()
        await super().tearDown()

    def start_workers(self, handlers: list[JobHandler[Job]], **settings: Any) -> None:
        self.workers = [
            Worker(reactor, Jobs(pool), {JobKind.MAIL: handler}, **{**SETTINGS, **settings})
            for pool, handler in zip(self.pools, handlers, strict=True)
        ]
        for worker in self.workers:
            worker.startService()

    async def test_each_job_is_run_by_one_worker(self) -> None:
        running: set[UUID] = set()
        done: list[UUID] = []
        used_workers: set[int] = set()

        def make_handler(number: int) -> JobHandler[Job]:
            async def handler(job: Job) -> None:
                self.assertNotIn(job.recording_id, running)
                running.add(job.recording_id)
                used_workers.add(number)
                await self.pools[number].query("SELECT pg_sleep(0.01)")
                running.remove(job.recording_id)
                done.append(job.recording_id)

            return handler

        expected = [uuid4() for _ in range(120)]
        await self.enqueue(*((JobKind.MAIL, recording_id) for recording_id in expected))
        self.start_workers([make_handler(number) for number in range(3)], concurrency=3)
        await until(lambda: len(done) >= len(expected), timeout=30)
        self.assertEqual(sorted(done), sorted(expected))
        self.assertEqual(used_workers, {0, 1, 2}, "not every worker ran a job")

    async def test_job_longer_than_the_lease_stays_with_its_worker(self) -> None:
        started: list[Job] = []
        release: Deferred[None] = Deferred()

        async def slow_handler(job: Job) -> None:
            started.append(job)
            await release

        await self.enqueue((JobKind.MAIL, uuid4()))
        self.start_workers([slow_handler] * 3, lease=timedelta(seconds=2))
        while not await self.pool.query("SELECT 1 FROM jobs WHERE now() > created_at + interval '4 seconds'"):
            await deferLater(reactor, 0.05)
            for worker in self.workers:
                worker.wake()
        self.assertEqual(len(started), 1)
        release.callback(None)
        while await self.jobs.page(NOT_DONE):
            await deferLater(reactor, 0.02)
        self.assertEqual(len(started), 1)
