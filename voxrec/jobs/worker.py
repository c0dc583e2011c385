"""The job worker: claims due jobs from the queue, runs their handlers and records the outcome."""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Generic, Protocol, TypeAlias, TypeVar
from uuid import UUID

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from voxrec.clock import utc_now
from voxrec.deferreds import AsyncEvent, Backoff, MinimumInterval
from voxrec.errors import DeliveryError, StoreUnavailable, VoxrecError
from voxrec.sanitize import hide_addresses, sanitize_line

_POLL_INTERVAL: Final = 30.0  # seconds; a notification is lost if its connection is
_MIN_DELAY: Final = 1.0  # seconds between two claims; a job that is due but locked elsewhere must not cause a busy loop


class QueuedJob(Protocol):
    """What the worker reads of a job."""

    @property
    def kind(self) -> str:
        """The key of the handler."""

    @property
    def label(self) -> str:
        """The job in log messages."""

    @property
    def recording_id(self) -> UUID | None:
        """The Recording that the job is about."""

    @property
    def attempts(self) -> int:
        """The number of attempts, including the current one."""

    @property
    def last_error(self) -> str | None:
        """Why the last attempt failed."""


J = TypeVar("J", bound=QueuedJob)
JobHandler: TypeAlias = Callable[[J], Awaitable[None]]


class Jobs(Protocol[J]):
    """The queue's repository. Every method raises `StoreUnavailable` while PostgreSQL is unavailable.

    The last four return False if the lease has expired and another worker has claimed the job since.
    """

    async def claim(self, kinds: Collection[str], lease: timedelta, limit: int) -> tuple[list[J], datetime | None]:
        """Claim up to ``limit`` due jobs for ``lease``, and count an attempt of each.

        Return also when the next job is due; None if there is none, or if the limit was reached.
        """

    async def extend_lease(self, job: J, lease: timedelta) -> bool:
        """Extend the lease to ``lease`` from now."""

    async def mark_done(self, job: J) -> bool:
        """Mark the job as done."""

    async def retry(self, job: J, error: str, due_at: datetime) -> bool:
        """Release the job; it becomes due again at ``due_at``."""

    async def dead_letter(self, job: J, error: str) -> bool:
        """Mark the job as a dead letter, which is only retried on request."""


class Worker(Service, Generic[J]):
    """Runs due jobs, a limited number of them concurrently.

    A job is done when its handler returns. When the handler raises, the job is retried after a back-off delay; if the
    error is permanent, or ``max_attempts`` is reached, it becomes a dead letter with the error as the reason. With the
    default settings (40 attempts, 5 s doubled up to 2 h) the attempts span 59 hours.
    """

    name = "worker"

    def __init__(
        self,
        clock: IReactorTime,
        jobs: Jobs[J],
        handlers: Mapping[str, JobHandler[J]],
        *,
        concurrency: int,
        lease: timedelta,
        backoff: Backoff,
        max_attempts: int,
        stop_timeout: float = 20.0,
        claim_interval: float = 0.0,
        on_attempt_ended: Callable[[str, str], None] = lambda _kind, _outcome: None,
        logger: Logger | None = None,
    ) -> None:
        """Create a worker for the kinds of jobs in ``handlers``.

        ``concurrency`` is the maximum number of jobs that run at the same time. ``lease`` is the duration of a claim,
        extended every third of it while the handler runs. ``backoff`` is the delay before a retry. ``stop_timeout`` is
        how long `stopService` waits for running handlers, in seconds. The starts of two claims are at least
        ``claim_interval`` seconds apart, so that one statement fills the slots of all jobs that end meanwhile.
        ``on_attempt_ended`` is called with the kind of a job and the outcome of an attempt: done, retry or dead.
        """
        self._clock = clock
        self._jobs = jobs
        self._handlers = dict(handlers)
        self._concurrency = concurrency
        self._lease = lease
        self._backoff = backoff
        self._max_attempts = max_attempts
        self._stop_timeout = stop_timeout
        self._claim_interval = MinimumInterval(clock, claim_interval)
        self._on_attempt_ended = on_attempt_ended
        self._log = logger or Logger()
        self._running_jobs: set[_RunningJob[J]] = set()
        self._handler_slots = DeferredSemaphore(concurrency)
        self._store = _StoreStatus(self._log, Backoff(first=1.0, limit=_POLL_INTERVAL, random=backoff.random))
        self._claiming = False
        self._more_due = True  # the last claim may have left due jobs in the queue
        self._wake = AsyncEvent(clock)
        self._drained = AsyncEvent(clock)
        self._lease_extension = LoopingCall(self._extend_leases)
        self._lease_extension.clock = clock

    def startService(self) -> None:
        """Start to claim jobs."""
        super().startService()
        self._drained = AsyncEvent(self._clock)
        self._claiming = True
        if not self._lease_extension.running:
            self._lease_extension.start(self._lease.total_seconds() / 3, now=False)
        Deferred.fromCoroutine(self._claim_until_stopped()).addErrback(
            lambda failure: self._log.failure("the job worker failed; no job runs until voxrec is restarted", failure)
        )

    def stopService(self) -> Deferred[None]:
        """Stop claiming, and wait up to ``stop_timeout`` for running handlers.

        A job whose handler is still running then is claimed by another worker once its lease has expired.
        """
        super().stopService()
        self._wake.set()
        for running_job in tuple(self._running_jobs):  # waking one can remove it from the set
            running_job.wake.set()
        return Deferred.fromCoroutine(self._drain())

    def wake(self) -> None:
        """Claim due jobs now. Call this when PostgreSQL notifies of a new job, or is available again."""
        self._wake.set()

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of jobs that this worker executes."""
        return tuple(self._handlers)

    @property
    def available_slots(self) -> int:
        """The number of jobs that `run_claimed` would start at once; 0 while the worker is stopped."""
        return max(0, self._concurrency - len(self._running_jobs)) if self.running else 0

    def run_claimed(self, job: J, handler: JobHandler[J]) -> None:
        """Run a job that its creator has claimed already, with a handler that has the job's data at hand.

        It waits for a slot if the worker itself has claimed jobs since the creator looked at `available_slots`. If the
        worker is stopped, the job is released.
        """
        if self.running:
            self._start(job, handler)
        else:
            Deferred.fromCoroutine(self._release(job)).addErrback(
                lambda failure: self._log.failure(
                    "{job} could not be released; it is retried when its lease has expired", failure, job=job.label
                )
            )

    # Claiming.

    async def _claim_until_stopped(self) -> None:
        while self.running:
            await self._claim_interval.wait()
            if self.running:
                await self._wake.wait(await self._claim_due())
        self._claiming = False
        self._check_drained()

    async def _claim_due(self) -> float:
        """Start due jobs while slots are available, and return the seconds until the next claim."""
        self._more_due = True
        try:
            while slots := self.available_slots:
                jobs, next_due = await self._jobs.claim(self.kinds, self._lease, slots)
                self._store.on_success()
                for job in jobs:
                    if self.running:
                        self._start(job, self._handlers[job.kind])
                    else:
                        await self._release(job)
                if len(jobs) < slots:
                    self._more_due = next_due is not None and next_due <= utc_now(self._clock)
                    return self._delay_until(next_due)
        except StoreUnavailable as error:
            return self._store.on_failure(error)
        except Exception:  # an unexpected error must not stop the queue for good
            self._log.failure("claiming jobs failed; retrying in {delay:.0f} s", delay=_POLL_INTERVAL)
        return _POLL_INTERVAL  # all slots are taken: a job that ends wakes the worker earlier

    async def _release(self, job: J) -> None:
        await self._jobs.retry(job, job.last_error or "voxrec was stopped", self._time_in(0))

    def _delay_until(self, due_at: datetime | None) -> float:
        if due_at is None:
            return _POLL_INTERVAL
        return min(max((due_at - utc_now(self._clock)).total_seconds(), _MIN_DELAY), _POLL_INTERVAL)

    def _time_in(self, seconds: float) -> datetime:
        return utc_now(self._clock) + timedelta(seconds=seconds)

    # Running.

    def _start(self, job: J, handler: JobHandler[J]) -> None:
        running_job = _RunningJob(job, AsyncEvent(self._clock))
        self._running_jobs.add(running_job)
        ended = Deferred.fromCoroutine(self._run_in_slot(running_job, handler))
        ended.addErrback(
            lambda failure: self._log.failure(
                "the outcome of {job} could not be stored; it runs again when its lease has expired",
                failure,
                job=job.label,
            )
        )
        ended.addBoth(lambda _: self._on_job_ended(running_job))

    def _on_job_ended(self, running_job: "_RunningJob[J]") -> None:
        self._running_jobs.discard(running_job)
        if self._more_due:
            self._wake.set()
        self._check_drained()

    async def _extend_leases(self) -> None:
        for running_job in tuple(self._running_jobs):
            try:
                await self._jobs.extend_lease(running_job.job, self._lease)
            except StoreUnavailable:
                return  # the next extension comes before any lease expires
            except Exception:
                self._log.failure("the lease of {job} could not be extended; retrying", job=running_job.job.label)

    async def _run_in_slot(self, running_job: "_RunningJob[J]", handler: JobHandler[J]) -> None:
        # Two claims can be under way at the same time, each of them for all slots: the worker's, and one for
        # `run_claimed`. Jobs for which there is no slot then keep their leases, and wait here.
        await self._handler_slots.acquire()
        try:
            if self.running:
                await self._run(running_job, handler)
            else:
                await self._release(running_job.job)
        finally:
            self._handler_slots.release()

    async def _run(self, running_job: "_RunningJob[J]", handler: JobHandler[J]) -> None:
        job = running_job.job
        if job.attempts > self._max_attempts:  # the process died in each attempt, before it could store an outcome
            reason = job.last_error or "the process died in each attempt"
            self._on_attempt_ended(job.kind, "dead")
            await self._store_outcome(running_job, lambda: self._dead_letter(job, reason))
            return
        try:
            await handler(job)
        except Exception as error:
            await self._handle_failure(running_job, error)
        else:
            self._on_attempt_ended(job.kind, "done")
            await self._store_outcome(running_job, lambda: self._jobs.mark_done(job))

    async def _handle_failure(self, running_job: "_RunningJob[J]", error: Exception) -> None:
        job = running_job.job
        reason = self._failure_reason(job, error)
        permanent = isinstance(error, DeliveryError) and error.permanent
        if permanent or job.attempts >= self._max_attempts:
            self._on_attempt_ended(job.kind, "dead")
            await self._store_outcome(running_job, lambda: self._dead_letter(job, reason))
        else:
            self._on_attempt_ended(job.kind, "retry")
            retry_after = error.retry_after if isinstance(error, DeliveryError) else 0.0
            due_at = self._time_in(max(self._backoff.delay(job.attempts), retry_after))
            await self._store_outcome(running_job, lambda: self._jobs.retry(job, reason, due_at))
            self._more_due = True

    def _failure_reason(self, job: J, error: Exception) -> str:
        if isinstance(error, VoxrecError):
            return sanitize_line(error.detail)
        if job.attempts == 1:  # an error in the program: one traceback per job is enough
            self._log.failure("{job} raised an unexpected exception", job=job.label)
        return sanitize_line(f"{type(error).__name__}: {error}")

    async def _dead_letter(self, job: J, reason: str) -> bool:
        lease_held = await self._jobs.dead_letter(job, reason)
        if lease_held:
            self._log.error(
                "{job} failed after {attempts} and is not retried: {reason}",
                job=job.label,
                attempts="1 attempt" if job.attempts == 1 else f"{job.attempts} attempts",
                reason=hide_addresses(reason),
                recording_id=job.recording_id,
            )
        return lease_held

    async def _store_outcome(self, running_job: "_RunningJob[J]", store: Callable[[], Awaitable[bool]]) -> None:
        """Call ``store`` until PostgreSQL is available, so that a job that is done is not run again."""
        while True:
            try:
                lease_held = await store()
            except StoreUnavailable as error:
                delay = self._store.on_failure(error)
                if not self.running:
                    return
                await running_job.wake.wait(delay)
            else:
                self._store.on_success()
                if not lease_held:
                    self._log.warn(
                        "{job} ran longer than its lease and was claimed by another worker; its outcome is discarded",
                        job=running_job.job.label,
                    )
                return

    # Stopping.

    async def _drain(self) -> None:
        self._check_drained()
        await self._drained.wait(self._stop_timeout)
        self._lease_extension.stop()  # handlers that are still running have until their lease expires

    def _check_drained(self) -> None:
        if not (self.running or self._claiming or self._running_jobs):
            self._drained.set()


class _StoreStatus:
    """Logs when PostgreSQL becomes unavailable and available again, and computes the delay between attempts."""

    def __init__(self, log: Logger, backoff: Backoff) -> None:
        self._log = log
        self._backoff = backoff
        self._failures = 0

    def on_failure(self, error: StoreUnavailable) -> float:
        """Count a failure, and return the seconds until the next attempt."""
        self._failures += 1
        if self._failures == 1:
            self._log.warn(
                "the job worker waits for PostgreSQL, retrying: {reason}", reason=sanitize_line(error.detail)
            )
        return self._backoff.delay(self._failures)

    def on_success(self) -> None:
        """Reset the back-off."""
        if self._failures:
            self._failures = 0
            self._log.info("PostgreSQL is available again; the job worker continues")


@dataclass(frozen=True, slots=True, eq=False)
class _RunningJob(Generic[J]):
    """A job that waits for a slot, whose handler runs, or whose outcome is being stored.

    ``wake`` ends the delay between two attempts to store it.
    """

    job: J
    wake: AsyncEvent
