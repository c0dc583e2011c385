"""Tests of voxrec.jobs.worker."""

from collections.abc import Mapping
from datetime import datetime, timedelta
from random import Random
from typing import Any, cast
from uuid import UUID, uuid4

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.logger import ILogObserver, LogEvent, Logger, LogLevel, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from tests.database import DatabaseTestCase, reactor
from tests.jobs.queue import Queue
from voxrec.errors import AudioError, DeliveryError, StoreUnavailable
from voxrec.jobs.worker import Backoff, Handler, Worker
from voxrec.model import Job, JobKind, JobState
from voxrec.store.jobs import Claimed, JobFilter, Jobs

STEADY = Backoff(first=10, limit=100, jitter=0)


class Recorder:
    """A handler that notes what it was given, and waits until the test says what comes of it."""

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
        self.queue = Queue(self.clock)
        self.mail = Recorder()
        self.events: list[LogEvent] = []

    def worker(self, handlers: Mapping[JobKind, Handler] | None = None, **settings: Any) -> Worker:
        worker = Worker(
            self.clock,
            self.queue,
            handlers or {JobKind.MAIL: self.mail},
            logger=Logger("worker", observer=cast("ILogObserver", self.events.append)),
            **{"backoff": STEADY, **settings},
        )
        worker.startService()
        self.addCleanup(self.stop, worker)
        return worker

    def stop(self, worker: Worker) -> None:
        if worker.running:
            stopped = worker.stopService()
            self.clock.advance(60)
            self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def told(self, level: LogLevel) -> list[str]:
        return [formatEvent(event) for event in self.events if event["log_level"] is level]

    def seconds_until(self, due: datetime) -> float:
        return due.timestamp() - self.clock.seconds()


class Taking(WorkerTestCase):
    def test_what_is_due_at_the_start(self) -> None:
        self.queue.add()
        self.worker()
        self.assertEqual([(job.id.int, job.attempts) for job in self.mail.jobs], [(1, 1)])
        self.mail.finish()
        self.assertEqual(self.queue.finished, [1])

    def test_attempts_are_counted(self) -> None:
        ended: list[tuple[str, str]] = []
        for _ in range(3):
            self.queue.add()
        self.worker(ended=lambda *told: ended.append(told), concurrency=3)
        self.mail.finish()
        self.mail.fail(DeliveryError("later", permanent=False))
        self.mail.fail(DeliveryError("never", permanent=True))
        self.assertEqual(ended, [("mail", "done"), ("mail", "retry"), ("mail", "dead")])

    def test_a_poke(self) -> None:
        worker = self.worker()
        self.queue.add()
        self.assertEqual(self.mail.jobs, [])
        worker.poke()
        self.assertEqual(len(self.mail.jobs), 1)

    def test_without_a_poke_within_half_a_minute(self) -> None:
        self.worker()
        self.queue.add()
        self.clock.advance(29)
        self.assertEqual(self.mail.jobs, [])
        self.clock.advance(1)
        self.assertEqual(len(self.mail.jobs), 1)

    def test_when_the_next_one_is_due(self) -> None:
        self.queue.add(within=7)
        self.worker()
        self.clock.advance(6.9)
        self.assertEqual(self.mail.jobs, [])
        self.clock.advance(0.1)
        self.assertEqual(len(self.mail.jobs), 1)

    def test_what_is_not_ours_is_left_alone(self) -> None:
        self.queue.add(JobKind.FINISH)
        self.worker()
        self.clock.advance(30)
        self.assertEqual(self.mail.jobs, [])

    def test_what_is_due_but_locked_does_not_make_it_spin(self) -> None:
        async def locked(*_: object) -> Claimed:
            self.queue.claims += 1
            return Claimed([], self.queue.now)

        self.patch(self.queue, "claim", locked)
        self.queue.add()
        self.worker()
        for _ in range(100):
            self.clock.advance(0.1)
        self.assertLessEqual(self.queue.claims, 12)
        self.assertEqual(self.mail.jobs, [])

    def test_a_few_at_a_time(self) -> None:
        for _ in range(5):
            self.queue.add()
        self.worker(concurrency=2)
        self.assertEqual([job.id.int for job in self.mail.jobs], [1, 2])
        self.mail.finish()
        self.assertEqual([job.id.int for job in self.mail.jobs], [1, 2, 3])
        while self.mail.open:
            self.mail.finish()
        self.assertEqual(sorted(self.queue.finished), [1, 2, 3, 4, 5])

    def test_as_many_at_once_as_there_is_room_for(self) -> None:
        for _ in range(5):
            self.queue.add()
        self.worker(concurrency=3)
        self.assertEqual([job.id.int for job in self.mail.jobs], [1, 2, 3])
        self.assertEqual(self.queue.claims, 1)

    def test_a_poke_while_the_queue_is_asked(self) -> None:
        """What was put in meanwhile, the answer may not know of."""
        asked: Deferred[None] = Deferred()
        claim = self.queue.claim

        async def slow(*args: Any) -> Claimed:
            claimed = await claim(*args)
            await asked
            return claimed

        self.patch(self.queue, "claim", slow)
        worker = self.worker()
        self.queue.add()
        worker.poke()
        asked.callback(None)
        self.assertEqual(len(self.mail.jobs), 1)

    def test_each_kind_to_its_handler(self) -> None:
        finish = Recorder()
        self.queue.add(JobKind.FINISH)
        self.queue.add(JobKind.MAIL)
        self.worker({JobKind.FINISH: finish, JobKind.MAIL: self.mail})
        self.assertEqual(([job.id.int for job in finish.jobs], [job.id.int for job in self.mail.jobs]), ([1], [2]))

    def test_a_thousand_that_are_done_at_once(self) -> None:
        async def handler(_: Job) -> None:
            """Has nothing to wait for."""

        for _ in range(1000):
            self.queue.add()
        self.worker({JobKind.MAIL: handler})
        self.clock.advance(0)
        self.assertEqual(len(self.queue.finished), 1000)

    def test_the_lease_is_extended_while_a_handler_runs(self) -> None:
        self.queue.add()
        self.worker(lease=timedelta(seconds=60))
        for _ in range(60):
            self.clock.advance(10)
            self.assertGreater(self.seconds_until(self.queue.leases[1]), 35)
        self.assertEqual(len(self.mail.jobs), 1)
        self.mail.finish()
        self.assertEqual(self.queue.leases, {})

    def test_a_job_that_somebody_else_took_over(self) -> None:
        self.queue.add()
        self.worker(lease=timedelta(seconds=60))
        self.queue.rows[1] = replace(self.queue.rows[1], attempts=2)
        self.mail.fail(DeliveryError("too late", permanent=True))
        self.assertIs(self.queue.rows[1].state, JobState.PENDING)
        self.assertEqual(self.told(LogLevel.error), [])
        (told,) = self.told(LogLevel.warn)
        self.assertIn("took longer than its lease: somebody else has it", told)

    def test_a_lease_that_ran_out_elsewhere(self) -> None:
        self.queue.add()
        self.queue.leases[1] = self.queue.now + timedelta(seconds=12)
        self.worker()
        self.clock.advance(11)
        self.assertEqual(self.mail.jobs, [])
        self.clock.advance(1)
        self.assertEqual(len(self.mail.jobs), 1)

    def test_an_extension_that_fails_is_tried_again(self) -> None:
        self.queue.add()
        self.worker(lease=timedelta(seconds=60))
        self.queue.down = True
        self.clock.advance(20)
        self.queue.down = False
        self.clock.advance(20)
        self.assertEqual(self.seconds_until(self.queue.leases[1]), 60)


class TakingWhatIsClaimed(WorkerTestCase):
    def claimed(self) -> Job:
        number = self.queue.add(JobKind.FINISH)
        return self.queue._take(self.queue.rows[number], timedelta(minutes=1))

    def test_it_is_done_by_the_handler_that_comes_with_it(self) -> None:
        worker, known = self.worker(concurrency=2), Recorder()
        self.assertEqual(worker.room, 2)
        worker.take(self.claimed(), known)
        worker.take(self.claimed(), known)
        self.assertEqual(worker.room, 0)
        known.finish()
        known.fail(DeliveryError("not yet", permanent=False))
        self.assertEqual(worker.room, 2)
        self.assertEqual(self.queue.finished, [1])
        self.assertEqual(self.queue.rows[2].last_error, "not yet")

    def test_what_comes_while_it_stops_is_given_back(self) -> None:
        worker, known = self.worker(), Recorder()
        self.successResultOf(worker.stopService())
        self.assertEqual(worker.room, 0)
        worker.take(self.claimed(), known)
        self.assertEqual(known.jobs, [])
        self.assertEqual(self.queue.leases, {})
        self.assertIs(self.queue.rows[1].state, JobState.PENDING)


class Failing(WorkerTestCase):
    def test_comes_back_later_with_the_reason(self) -> None:
        self.queue.add()
        self.worker()
        for pause in (10, 20, 40, 80, 100, 100):
            self.mail.fail(DeliveryError("the relay\r\nis \x1b busy", permanent=False))
            self.assertEqual(self.seconds_until(self.queue.rows[1].due_at), pause)
            self.assertEqual(self.queue.rows[1].last_error, r"the relay is \x1b busy")
            for _ in range(pause):
                self.clock.advance(1)
        self.assertEqual(self.mail.jobs[-1].attempts, 7)
        self.assertEqual(self.events, [])

    def test_for_good(self) -> None:
        self.queue.add()
        self.worker()
        self.mail.fail(DeliveryError("no such user\nat all", permanent=True))
        self.assertIs(self.queue.rows[1].state, JobState.DEAD)
        self.assertEqual(self.queue.rows[1].last_error, "no such user at all")
        self.assertEqual(
            self.told(LogLevel.error),
            [f"job {UUID(int=1)} (mail of recording {UUID(int=1)}) is given up after 1 attempt: no such user at all"],
        )

    def test_too_often(self) -> None:
        self.queue.add()
        self.worker(attempts=2)
        self.mail.fail(AudioError("empty"))
        for _ in range(10):
            self.clock.advance(1)
        self.mail.fail(AudioError("empty"))
        self.assertIs(self.queue.rows[1].state, JobState.DEAD)
        self.assertEqual(len(self.told(LogLevel.error)), 1)

    def test_by_taking_the_process_down_each_time(self) -> None:
        self.queue.add(attempts=3)
        self.worker(attempts=3)
        self.assertEqual(self.mail.jobs, [])
        self.assertIs(self.queue.rows[1].state, JobState.DEAD)
        self.assertEqual(self.queue.rows[1].last_error, "voxrec ended in each attempt")

    def test_a_defect_shows_its_traceback_once(self) -> None:
        self.queue.add()
        self.worker()
        self.mail.fail(ZeroDivisionError("by zero"))
        self.assertEqual(self.queue.rows[1].last_error, "ZeroDivisionError: by zero")
        for _ in range(10):
            self.clock.advance(1)
        self.mail.fail(ZeroDivisionError("by zero"))
        self.assertEqual(len(self.told(LogLevel.critical)), 1)
        self.assertIn("log_failure", self.events[0])

    def test_the_defaults_span_three_days(self) -> None:
        backoff = Backoff(random=Random(1))  # noqa: S311 - to be the same each time
        days = sum(backoff.delay(attempt) for attempt in range(1, 48)) / 86400
        self.assertTrue(2.8 < days < 3.4, days)

    def test_pauses_are_spread_and_never_overflow(self) -> None:
        backoff = Backoff(first=10, limit=100, jitter=0.2, random=Random(1))  # noqa: S311 - likewise
        pauses = {backoff.delay(1) for _ in range(100)}
        self.assertTrue(min(pauses) >= 8)
        self.assertTrue(max(pauses) <= 12)
        self.assertEqual(len(pauses), 100)
        self.assertTrue(80 <= backoff.delay(1_000_000) <= 120)


class WithoutTheStore(WorkerTestCase):
    def test_one_line_when_it_goes_and_one_when_it_comes(self) -> None:
        self.queue.down = True
        self.worker()
        for _ in range(300):
            self.clock.advance(1)
        self.assertEqual(
            self.told(LogLevel.warn),
            ["the queue waits for the database: PostgreSQL does not answer: connection refused"],
        )
        self.queue.add()
        self.queue.down = False
        for _ in range(40):
            self.clock.advance(1)
        self.assertEqual(self.told(LogLevel.info), ["the queue has its database again"])
        self.assertEqual(len(self.mail.jobs), 1)

    def test_what_was_done_is_written_down_when_it_is_back(self) -> None:
        self.queue.add()
        self.worker()
        self.queue.down = True
        self.mail.finish()
        for _ in range(100):
            self.clock.advance(1)
        self.queue.down = False
        for _ in range(40):
            self.clock.advance(1)
        self.assertEqual(self.queue.finished, [1])
        self.assertEqual(len(self.mail.jobs), 1)

    def test_a_handler_that_needs_it_comes_back(self) -> None:
        self.queue.add()
        self.worker()
        self.mail.fail(StoreUnavailable("away"))
        self.assertEqual(self.queue.rows[1].last_error, "away")
        self.assertIs(self.queue.rows[1].state, JobState.PENDING)

    def test_a_defect_in_the_store_does_not_end_the_worker(self) -> None:
        claim = self.queue.claim
        self.patch(self.queue, "claim", lambda *_: 1 / 0)
        self.worker()
        self.assertEqual(len(self.told(LogLevel.critical)), 1)
        self.patch(self.queue, "claim", claim)
        self.queue.add()
        self.clock.advance(30)
        self.assertEqual(len(self.mail.jobs), 1)


class Stopping(WorkerTestCase):
    def test_idle(self) -> None:
        worker = self.worker()
        self.successResultOf(worker.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_waits_for_what_is_under_way_and_takes_no_more(self) -> None:
        for _ in range(3):
            self.queue.add()
        worker = self.worker(concurrency=2)
        stopped = worker.stopService()
        self.mail.finish()
        self.assertNoResult(stopped)
        self.mail.finish()
        self.successResultOf(stopped)
        self.assertEqual(self.queue.finished, [1, 2])
        self.assertEqual(len(self.mail.jobs), 2)

    def test_not_for_ever(self) -> None:
        self.queue.add()
        worker = self.worker(lease=timedelta(seconds=60))
        stopped = worker.stopService()
        self.clock.advance(19)
        self.assertNoResult(stopped)
        self.clock.advance(1)
        self.successResultOf(stopped)
        self.assertEqual(self.clock.getDelayedCalls(), [])
        self.assertLessEqual(self.seconds_until(self.queue.leases[1]), 60)

    def test_does_not_wait_for_a_store_that_is_away(self) -> None:
        self.queue.add()
        worker = self.worker()
        self.queue.down = True
        self.mail.finish()
        self.successResultOf(worker.stopService())
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_gives_back_what_it_was_about_to_begin(self) -> None:
        asked: Deferred[None] = Deferred()
        claim = self.queue.claim

        async def slow(*args: Any) -> Claimed:
            await asked
            return await claim(*args)

        self.patch(self.queue, "claim", slow)
        worker = self.worker()
        self.queue.add()
        stopped = worker.stopService()
        self.assertNoResult(stopped)
        asked.callback(None)
        self.successResultOf(stopped)
        self.assertEqual(self.mail.jobs, [])
        self.assertEqual(self.queue.leases, {})

    def test_and_starting_again(self) -> None:
        worker = self.worker()
        self.successResultOf(worker.stopService())
        self.queue.add()
        worker.startService()
        self.assertEqual(len(self.mail.jobs), 1)
        self.mail.finish()


class OnTheRealQueue(DatabaseTestCase):
    async def test_fail_come_back_finish(self) -> None:
        recording_id = uuid4()
        attempts: list[Job] = []
        finished: Deferred[None] = Deferred()

        async def handler(job: Job) -> None:
            attempts.append(job)
            if len(attempts) == 1:
                raise DeliveryError("not yet", permanent=False)
            finished.callback(None)

        await self.owe((JobKind.MAIL, recording_id))
        jobs = Jobs(self.pool)
        worker = Worker(reactor, jobs, {JobKind.MAIL: handler}, backoff=Backoff(first=0.1, jitter=0))
        worker.startService()
        try:
            await finished.addTimeout(20, reactor)
        finally:
            await worker.stopService()
        self.assertEqual([(job.recording_id, job.attempts) for job in attempts], [(recording_id, 1), (recording_id, 2)])
        self.assertEqual(attempts[1].last_error, "not yet")
        self.assertEqual(await jobs.page(), [])

    async def test_a_dead_letter(self) -> None:
        async def handler(_: Job) -> None:
            raise DeliveryError("no such user", permanent=True)

        await self.owe((JobKind.MAIL, uuid4()))
        jobs = Jobs(self.pool)
        worker = Worker(reactor, jobs, {JobKind.MAIL: handler})
        worker.startService()
        while not (dead := await jobs.page(JobFilter(states=[JobState.DEAD]))):
            await deferLater(reactor, 0.05)
        await worker.stopService()
        self.assertEqual([(job.attempts, job.last_error) for job in dead], [(1, "no such user")])
