"""A service that keeps one connection open: connects, waits until it is closed, and connects again."""

from abc import abstractmethod
from typing import Final

from twisted.application.service import Service
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime

from voxrec.deferreds import AsyncEvent, Backoff

RECONNECT_BACKOFF: Final = Backoff(first=0.15, limit=11.25, jitter=1 / 3)
"""0.1 to 0.2 s after the first failure, at most 7.5 to 15 s: daemons that lost one server do not reconnect in step."""


class ReconnectingService(Service):
    """Base class of a service that connects again whenever its connection is closed or could not be opened.

    ``backoff`` is the delay after consecutive failures; `connected` resets it. `voxrec.deferreds.retry` ends with the
    first success, whereas an attempt that succeeds here lasts until the connection is closed, and is repeated as well.
    """

    def __init__(self, clock: IReactorTime, backoff: Backoff = RECONNECT_BACKOFF) -> None:
        self._backoff = backoff
        self._loop: Deferred[None] | None = None
        self._failures = 0
        self._retry = AsyncEvent(clock)

    @abstractmethod
    async def connect_until_closed(self) -> str:
        """Connect, wait until the connection is closed, and return why. Raises if it cannot be opened.

        Is cancelled when the service stops; the connection must be closed when this returns or raises.
        """

    @abstractmethod
    def connection_failed(self, reason: str) -> None:
        """Handle that the connection could not be opened; another attempt follows."""

    @abstractmethod
    def connection_closed(self, reason: str) -> None:
        """Handle that the connection was closed, but not by `stopService`; it is opened again."""

    def connected(self) -> None:
        """Reset the delay: the connection can be used."""
        self._failures = 0

    def retry_now(self) -> None:
        """Attempt to connect at once, if the service waits, and reset the delay."""
        self._failures = 0
        self._retry.set()

    def startService(self) -> None:
        """Start to connect."""
        super().startService()
        self._loop = Deferred.fromCoroutine(self._stay_connected())

    def stopService(self) -> Deferred[None] | None:
        """Cancel the attempt or the connection; the Deferred fires when it is closed."""
        loop = self.stop_reconnecting()
        if loop is not None:
            loop.cancel()
        return loop

    def stop_reconnecting(self) -> Deferred[None] | None:
        """Do as `stopService`, but leave it to the caller to close the connection."""
        super().stopService()
        loop, self._loop = self._loop, None
        return loop

    async def _stay_connected(self) -> None:
        while self.running:
            try:
                reason = await self.connect_until_closed()
            except Exception as error:  # CancelledError after stopService
                if self.running:
                    self._failures += 1
                    self.connection_failed(str(error) or type(error).__name__)
            else:
                if self.running:
                    self.connection_closed(reason)
            if self.running:
                try:
                    await self._retry.wait(self._backoff.delay(self._failures + 1))
                except CancelledError:
                    return
