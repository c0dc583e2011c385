"""Thread pools for blocking functions, and the type of the function that runs code in one of them."""

from collections import Counter, defaultdict, deque
from collections.abc import Awaitable, Callable, Hashable
from functools import partial
from threading import Lock
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, DeferredSemaphore
from twisted.internet.threads import deferToThread, deferToThreadPool
from twisted.python.threadpool import ThreadPool

DeferToThread = Callable[..., Awaitable[Any]]
"""Has the signature of ``twisted.internet.threads.deferToThread``: the function to run, then its arguments."""


async def run_in_this_thread(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """Run a function now: a `DeferToThread` for commands, in which it may block."""
    return function(*args, **kwargs)


class WorkerThreads(Service):
    """A pool of at most ``size`` threads of its own, so that its work does not delay that of other pools."""

    def __init__(self, reactor: Any, name: str, size: int) -> None:
        self.name = name
        self._reactor = reactor
        self._pool = ThreadPool(0, size, name)

    def startService(self) -> None:
        """Start to run what was deferred so far, and what will be."""
        super().startService()
        self._pool.start()

    def stopService(self) -> Deferred[None]:
        """Stop; the Deferred fires when the threads have ended."""
        super().stopService()
        return deferToThread(self._pool.stop)

    def defer(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Deferred[Any]:
        """Run a function in a thread; the Deferred fires with its result."""
        return deferToThreadPool(self._reactor, self._pool, function, *args, **kwargs)


class SharedThreads(WorkerThreads):
    """Threads that several users share, such as remote hosts. Each of them occupies ``per_user`` at most.

    When a function ends, its thread starts the next one of its user, which does not wait for the reactor, unless
    functions of other users have waited for longer.
    """

    def __init__(self, reactor: Any, name: str, size: int, per_user: int) -> None:
        super().__init__(reactor, name, size)
        self._per_user = per_user
        self._lock = Lock()
        self._running = Counter[Hashable]()
        self._waiting = defaultdict[Hashable, deque[Callable[[], None]]](deque)

    def defer_for(self, user: Hashable, function: Callable[..., Any], *args: Any) -> Deferred[Any]:
        """Run a function in a thread, once ``user`` may occupy one more; the Deferred fires with its result."""
        outcome: Deferred[Any] = Deferred()

        def ended(succeeded: bool, result: Any) -> None:
            self._reactor.callFromThread(outcome.callback if succeeded else outcome.errback, result)
            self._start_next(user)

        def start() -> None:
            self._pool.callInThreadWithCallback(ended, function, *args)

        with self._lock:
            if self._running[user] == self._per_user:
                self._waiting[user].append(start)
                return outcome
            self._running[user] += 1
        start()
        return outcome

    def _start_next(self, user: Hashable) -> None:
        """Start what waits for the end of another function of the same user."""
        with self._lock:
            if self._waiting[user]:
                start = self._waiting[user].popleft()
            else:
                self._running[user] -= 1
                if not self._running[user]:
                    del self._running[user], self._waiting[user]
                return
        start()


def limit_concurrency(defer_to_thread: DeferToThread, limit: int) -> DeferToThread:
    """Return a function that runs at most ``limit`` functions at the same time in the threads of another one."""
    return partial(DeferredSemaphore(limit).run, defer_to_thread)
