"""Repeats a check until it succeeds: Asterisk does not report everything that voxrec needs to know."""

from collections.abc import Awaitable, Callable
from typing import Final

from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

_FIRST_DELAY: Final = 0.01  # seconds; each delay is twice as long as the one before
_LONGEST_DELAY: Final = 1.0


class Polling:
    """At most one check in progress."""

    _log = Logger()

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._running: Deferred[None] | None = None

    def start(self, check: Callable[[], Awaitable[bool]], succeeded: Callable[[], object]) -> None:
        """Call ``check`` now and again until it returns True, then ``succeeded``, in place of any earlier check."""
        self.cancel()
        running = Deferred.fromCoroutine(self._run(check, succeeded))
        running.addErrback(self._failed)
        if not running.called:
            self._running = running

    def cancel(self) -> None:
        """Check no more."""
        running, self._running = self._running, None
        if running is not None:
            running.cancel()

    async def _run(self, check: Callable[[], Awaitable[bool]], succeeded: Callable[[], object]) -> None:
        delay = _FIRST_DELAY
        while not await check():
            await deferLater(self._clock, delay)
            delay = min(2 * delay, _LONGEST_DELAY)
        self._running = None  # what follows may start another check
        succeeded()

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("a check failed and is not repeated", failure)
