"""The few helpers for Deferreds and coroutines that several packages need.

Each of them exists once, here. Times are seconds; every clock is an ``IReactorTime``.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Hashable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from random import Random
from typing import Any, Generic, TypeAlias, TypeVar

from twisted.internet.defer import CancelledError, Deferred, DeferredList, DeferredLock, ensureDeferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.python.failure import Failure

T = TypeVar("T")
K = TypeVar("K", bound=Hashable)
Operation: TypeAlias = Coroutine[Any, Any, T] | Deferred[T]
_MAX_DOUBLINGS = 64  # a float overflows beyond; the limit is reached long before


def shielded(inner: "Deferred[T]") -> "Deferred[T]":
    """Return a Deferred with the result of ``inner`` whose cancellation does not cancel ``inner``.

    Use it where the caller may go away but the operation must complete, such as a database transaction.
    """
    outer: Deferred[T] = Deferred()
    inner.addBoth(outer.callback)  # after a cancellation, Deferred ignores the one result that follows
    return outer


async def gather(*operations: Operation[Any]) -> list[Any]:
    """Run operations concurrently and return their results in order.

    Raises the first failure in argument order. The others are not cancelled; their failures are discarded.
    """
    running = [ensureDeferred(operation) for operation in operations]
    try:
        return [await operation for operation in running]
    except BaseException:
        for operation in running:
            operation.addErrback(lambda _: None)
        raise


async def gather_failures(*operations: Operation[Any]) -> list[BaseException]:
    """Run operations concurrently, wait for all of them, and return the exceptions raised, in order."""
    outcomes = await DeferredList([ensureDeferred(operation) for operation in operations], consumeErrors=True)
    return [outcome.value for succeeded, outcome in outcomes if not succeeded]


@dataclass(frozen=True, slots=True)
class Backoff:
    """Exponential back-off: ``first`` seconds, multiplied by ``factor`` after each failure, at most ``limit``.

    ``jitter`` is the fraction by which each delay is randomly shortened or lengthened, so that operations that failed
    together are not retried together.
    """

    first: float = 5.0
    limit: float = 7200.0
    factor: float = 2.0
    jitter: float = 0.2
    random: Random = field(default_factory=Random)

    def delay(self, failures: int) -> float:
        """Return the seconds to wait after ``failures`` (at least 1) consecutive failures."""
        delay = min(self.first * self.factor ** min(failures - 1, _MAX_DOUBLINGS), self.limit)
        return delay * self.random.uniform(1 - self.jitter, 1 + self.jitter) if self.jitter else delay


async def retry(
    clock: IReactorTime,
    attempt: Callable[[], Awaitable[T]],
    *,
    on: type[Exception] | tuple[type[Exception], ...],
    backoff: Backoff,
    report: Callable[[Exception, float], None] = lambda _error, _delay: None,
) -> T:
    """Call ``attempt`` until it succeeds and return its result; exceptions other than ``on`` are raised.

    ``report`` receives an error and the seconds until the next attempt, but not again while the message stays the same,
    so that a long outage is one line in the log.
    """
    failures, reported = 0, None
    while True:
        try:
            return await attempt()
        except on as error:
            failures += 1
            delay = backoff.delay(failures)
            if str(error) != reported:
                reported = str(error)
                report(error, delay)
        await deferLater(clock, delay)


class SingleFlight:
    """Runs a coroutine function in the background, at most one at a time.

    A request that arrives while it runs makes it run once more afterwards: whatever changed before the request is seen
    by a run that starts after it. ``work`` handles the errors it expects; any other is passed to ``on_error``, and the
    next request starts again.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]], on_error: Callable[[Failure], object]) -> None:
        self._work = work
        self._on_error = on_error
        self._requested = False
        self._running = False
        self._run_in_progress: Deferred[None] = Deferred()
        self._waiters: list[Deferred[None]] = []

    @property
    def running(self) -> bool:
        """Whether a run is in progress."""
        return self._running

    def request(self) -> None:
        """Run ``work`` now, or once more after the run in progress."""
        self._requested = True
        if not self._running:
            self._running = True
            self._run_in_progress = Deferred.fromCoroutine(self._run())
            self._run_in_progress.addErrback(self._failed)

    async def wait(self) -> None:
        """Wait until no run is in progress. Cancelling the wait does not cancel the run."""
        if self._running:
            waiter: Deferred[None] = Deferred()
            self._waiters.append(waiter)
            await waiter

    def cancel(self) -> None:
        """Cancel the run in progress, if any, and forget what was requested."""
        self._requested = False
        if self._running:
            self._run_in_progress.cancel()

    async def _run(self) -> None:
        try:
            while self._requested:
                self._requested = False
                await self._work()
        finally:
            self._running = False
            waiters, self._waiters = self._waiters, []
            for waiter in waiters:
                waiter.callback(None)

    def _failed(self, failure: Failure) -> None:
        self._requested = False
        if not failure.check(CancelledError):
            self._on_error(failure)


class AsyncEvent:
    """One coroutine waits, others wake it. A `set` while nothing waits ends the next `wait` at once."""

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._is_set = False
        self._waiter: Deferred[None] | None = None

    def set(self) -> None:
        """Wake the waiting coroutine, or let the next wait return at once."""
        self._is_set = True
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            waiter.callback(None)

    async def wait(self, timeout: float) -> None:
        """Return when the event is set, or after ``timeout`` seconds; the event is clear afterwards."""
        if not self._is_set:
            waiter: Deferred[None] = Deferred()
            self._waiter = waiter
            timer = self._clock.callLater(timeout, self.set)
            try:
                await waiter
            finally:
                self._waiter = None
                if timer.active():
                    timer.cancel()
        self._is_set = False


class KeyedLock(Generic[K]):
    """Locks by key: only one coroutine at a time holds the lock of a key; the others wait in order."""

    def __init__(self) -> None:
        self._locks: dict[K, DeferredLock] = {}

    @asynccontextmanager
    async def hold(self, key: K) -> AsyncIterator[None]:
        """Hold the lock of ``key`` during the context."""
        lock = self._locks.setdefault(key, DeferredLock())
        await lock.acquire()
        try:
            yield
        finally:
            lock.release()
            if not lock.locked and self._locks.get(key) is lock:
                del self._locks[key]


class MinimumInterval:
    """Keeps the starts of an operation at least ``interval`` seconds apart. After a pause it starts at once."""

    def __init__(self, clock: IReactorTime, interval: float) -> None:
        self._clock = clock
        self._interval = interval
        self._next_start = 0.0

    async def wait(self) -> None:
        """Return when the operation may start."""
        if (delay := self._next_start - self._clock.seconds()) > 0:
            await deferLater(self._clock, delay)
        self._next_start = self._clock.seconds() + self._interval
