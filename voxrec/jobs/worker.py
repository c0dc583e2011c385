"""The durable queue's worker: takes each job that is due, hands it to its handler, and writes down what came of it."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from random import Random
from typing import Final, Protocol

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from voxrec.errors import DeliveryError, StoreUnavailable, VoxrecError
from voxrec.model import Job, JobKind
from voxrec.sanitize import sanitize_line
from voxrec.store.jobs import Claimed

Handler = Callable[[Job], Awaitable[None]]

_POLL: Final = 30.0  # seconds; a notification can be lost together with its connection
_LEAST_REST: Final = 1.0  # seconds; what is due but leased, or locked by another daemon, must not make us spin


class Jobs(Protocol):
    """The queue's table, as voxrec.store has it. Everything here may raise `StoreUnavailable`.

    The last four say whether the job was still ours: a lease that ran out gives it to somebody else.
    """

    async def claim(self, kinds: Collection[JobKind], lease: timedelta, limit: int) -> Claimed:
        """Take up to ``limit`` of the jobs that have been due for longest, for ``lease``; count the attempts."""

    async def extend(self, job: Job, lease: timedelta) -> bool:
        """Keep it for as long as ``lease`` from now."""

    async def done(self, job: Job) -> bool:
        """Have it done for good."""

    async def retry(self, job: Job, error: str, due_at: datetime) -> bool:
        """Give it back, to be done later."""

    async def bury(self, job: Job, error: str) -> bool:
        """Keep it as a dead letter."""


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait after a failure, in seconds: ``first``, then twice as long each time, at most ``limit``.

    ``jitter`` is the part by which each wait is randomly shortened or stretched, so that a hundred mails that failed
    together do not come back together.
    """

    first: float = 5.0
    limit: float = 7200.0
    jitter: float = 0.2
    random: Random = field(default_factory=Random)

    def delay(self, attempts: int) -> float:
        """Return the seconds to wait after ``attempts`` failures in a row."""
        doublings = min(attempts - 1, 64)  # beyond it a float would overflow long after the limit is reached
        return min(self.first * 2.0**doublings, self.limit) * self.random.uniform(1 - self.jitter, 1 + self.jitter)


class Worker(Service):
    """Does what is due, a few jobs at a time, until it is stopped.

    A handler that returns is done with its job. One that raises gets it back after a pause, unless the fault is
    permanent or the attempts are used up: then the job is buried, with its reason. With the defaults the attempts span
    three days: a weekend, and the day on which somebody notices.
    """

    name = "worker"

    def __init__(
        self,
        clock: IReactorTime,
        jobs: Jobs,
        handlers: Mapping[JobKind, Handler],
        *,
        concurrency: int = 2,
        lease: timedelta = timedelta(minutes=10),
        backoff: Backoff | None = None,
        attempts: int = 48,
        stop_patience: float = 20.0,
        ended: Callable[[str, str], None] = lambda _kind, _outcome: None,
        logger: Logger | None = None,
    ) -> None:
        """``stop_patience``: seconds that the handlers in flight get when the service stops.

        ``ended`` is told the kind of each job that was attempted, and what came of it: done, retry or dead.
        """
        self._clock = clock
        self._jobs = jobs
        self._handlers = dict(handlers)
        self._concurrency = concurrency
        self._lease = lease
        self._backoff = backoff or Backoff()
        self._store_backoff = Backoff(first=1.0, limit=_POLL, random=self._backoff.random)
        self._attempts = attempts
        self._stop_patience = stop_patience
        self._ended = ended
        self._log = logger or Logger()
        self._tasks: set[_Task] = set()
        self._store_failures = 0
        self._looping = False
        self._more = True  # there may be something due that was not taken
        self._alarm = _Alarm(clock)  # something to do
        self._drained = _Alarm(clock)  # nothing is left to wait for
        self._keeping = LoopingCall(self._keep_leases)
        self._keeping.clock = clock

    def startService(self) -> None:
        """Begin to take jobs."""
        super().startService()
        self._drained = _Alarm(self._clock)
        self._looping = True
        if not self._keeping.running:
            self._keeping.start(self._lease.total_seconds() / 3, now=False)
        Deferred.fromCoroutine(self._run()).addErrback(
            lambda failure: self._log.failure("the worker stopped by itself", failure)
        )

    def stopService(self) -> Deferred[None]:
        """Take no more, and wait for the handlers in flight; what is not done in time is left to its lease's end."""
        super().stopService()
        self._alarm.ring()
        for task in tuple(self._tasks):  # a ring can end its task at once
            task.alarm.ring()
        return Deferred.fromCoroutine(self._drain())

    def poke(self) -> None:
        """Look at the queue now: something was put into it, also by a handler. PostgreSQL tells of each (listener)."""
        self._alarm.ring()

    @property
    def room(self) -> int:
        """How many jobs may be claimed for `take` now; others have to wait in the queue."""
        return max(0, self._concurrency - len(self._tasks)) if self.running else 0

    def take(self, job: Job, handler: Handler) -> None:
        """Do a job that was claimed as it came into the queue, by a handler that has at hand what it is about."""
        if self.running:
            self._begin(job, handler)
        else:
            Deferred.fromCoroutine(self._give_back(job)).addErrback(
                lambda failure: self._log.failure("{job} waits for its lease's end", failure, job=_named(job))
            )

    # Taking.

    async def _run(self) -> None:
        while self.running:
            await self._alarm.wait(await self._take_what_is_due())
        self._looping = False
        self._tell_drained()

    async def _take_what_is_due(self) -> float:
        """Begin what is due, as far as there is room. Returns how many seconds to rest then."""
        self._more = True
        try:
            while self.running and (room := self._concurrency - len(self._tasks)):
                jobs, next_due = await self._jobs.claim(tuple(self._handlers), self._lease, room)
                self._store_answered()
                for job in jobs:
                    if self.running:
                        self._begin(job, self._handlers[job.kind])
                    else:
                        await self._give_back(job)
                if len(jobs) < room:
                    self._more = False
                    return self._until(next_due)
        except StoreUnavailable as fault:
            return self._store_failed(fault)
        except Exception:  # a defect must not end the queue for good
            self._log.failure("the queue cannot be read")
        return _POLL  # or until a task ends

    async def _give_back(self, job: Job) -> None:
        await self._jobs.retry(job, job.last_error or "voxrec was stopped", self._in(0))

    def _until(self, due: datetime | None) -> float:
        if due is None:
            return _POLL
        return min(max(due.timestamp() - self._clock.seconds(), _LEAST_REST), _POLL)

    def _in(self, seconds: float) -> datetime:
        return datetime.fromtimestamp(self._clock.seconds() + seconds, UTC)

    # Doing.

    def _begin(self, job: Job, handler: Handler) -> None:
        task = _Task(job, _Alarm(self._clock))
        self._tasks.add(task)
        done = Deferred.fromCoroutine(self._do(task, handler))
        done.addErrback(lambda failure: self._log.failure("what came of {job} is lost", failure, job=_named(job)))
        done.addBoth(lambda _: self._end(task))

    def _end(self, task: "_Task") -> None:
        self._tasks.discard(task)
        if self._more:
            self._alarm.ring()
        self._tell_drained()

    async def _keep_leases(self) -> None:
        for task in tuple(self._tasks):
            try:
                await self._jobs.extend(task.job, self._lease)
            except StoreUnavailable:
                return  # the next turn comes long before a lease ends
            except Exception:
                self._log.failure("the lease of {job} cannot be extended", job=_named(task.job))

    async def _do(self, task: "_Task", handler: Handler) -> None:
        job = task.job
        if job.attempts > self._attempts:  # each attempt ended with the process: nobody was left to count
            last = job.last_error or "voxrec ended in each attempt"
            self._ended(job.kind, "dead")
            await self._write_down(task, lambda: self._bury(job, last))
            return
        try:
            await handler(job)
        except Exception as error:
            reason = self._reason(job, error)
            permanent = isinstance(error, DeliveryError) and error.permanent
            dead = permanent or job.attempts >= self._attempts
            self._ended(job.kind, "dead" if dead else "retry")
            if dead:
                await self._write_down(task, lambda: self._bury(job, reason))
            else:
                due = self._in(self._backoff.delay(job.attempts))
                await self._write_down(task, lambda: self._jobs.retry(job, reason, due))
                self._more = True
        else:
            self._ended(job.kind, "done")
            await self._write_down(task, lambda: self._jobs.done(job))

    def _reason(self, job: Job, error: Exception) -> str:
        if isinstance(error, VoxrecError):
            return sanitize_line(error.detail)
        if job.attempts == 1:  # a defect: its traceback is worth telling, but once
            self._log.failure("{job} met a defect", job=_named(job))
        return sanitize_line(f"{type(error).__name__}: {error}")

    async def _bury(self, job: Job, reason: str) -> bool:
        ours = await self._jobs.bury(job, reason)
        if ours:
            self._log.error(
                "{job} is given up after {attempts}: {reason}",
                job=_named(job),
                attempts="1 attempt" if job.attempts == 1 else f"{job.attempts} attempts",
                reason=reason,
                recording_id=job.recording_id,
            )
        return ours

    async def _write_down(self, task: "_Task", step: Callable[[], Awaitable[bool]]) -> None:
        """Take ``step`` in the store, however long that is away: a job that was done must not be done again."""
        while True:
            try:
                ours = await step()
            except StoreUnavailable as fault:
                pause = self._store_failed(fault)
                if not self.running:
                    return
                await task.alarm.wait(pause)
            else:
                self._store_answered()
                if not ours:
                    self._log.warn("{job} took longer than its lease: somebody else has it", job=_named(task.job))
                return

    # Ending.

    async def _drain(self) -> None:
        self._tell_drained()
        await self._drained.wait(self._stop_patience)
        self._keeping.stop()  # who is still at it has until the lease's end

    def _tell_drained(self) -> None:
        if not (self.running or self._looping or self._tasks):
            self._drained.ring()

    # The store, in one line for each change of its state.

    def _store_failed(self, fault: StoreUnavailable) -> float:
        self._store_failures += 1
        if self._store_failures == 1:
            self._log.warn("the queue waits for the database: {reason}", reason=sanitize_line(fault.detail))
        return self._store_backoff.delay(self._store_failures)

    def _store_answered(self) -> None:
        if self._store_failures:
            self._store_failures = 0
            self._log.info("the queue has its database again")


class _Alarm:
    """Somebody waits, somebody rings. A ring that nobody waited for ends the next wait at once."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._rung = False
        self._waiting: Deferred[None] | None = None

    def ring(self) -> None:
        self._rung = True
        waiting, self._waiting = self._waiting, None
        if waiting is not None:
            waiting.callback(None)

    async def wait(self, seconds: float) -> None:
        if not self._rung:
            self._waiting = Deferred()
            timer = self._clock.callLater(seconds, self.ring)
            await self._waiting
            if timer.active():
                timer.cancel()
        self._rung = False


@dataclass(frozen=True, slots=True, eq=False)
class _Task:
    """A job in the hands of its handler, and what ends its pauses."""

    job: Job
    alarm: _Alarm


def _named(job: Job) -> str:
    return f"job {job.id} ({job.kind} of recording {job.recording_id})"
