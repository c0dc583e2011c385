"""Thread pools for blocking functions, and the type of the function that runs code in one of them."""

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
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
