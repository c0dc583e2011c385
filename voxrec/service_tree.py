"""What a service tree is built of: parts that start one after the other and stop in reverse."""

from collections.abc import Awaitable, Callable
from typing import Any

from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred
from twisted.internet.endpoints import serverFromString
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.web.server import Site

AGAIN = 5.0  # seconds until what could not be had is asked for again: a port, a database

Start = Callable[[], Awaitable[object] | None]


class CoroutineService(Service):
    """A collaborator in the tree: coroutines that start and stop it."""

    def __init__(self, name: str, start: Start, stop: Start) -> None:
        self.name = name
        self._start = start
        self._stop = stop

    def startService(self) -> Deferred[object]:
        """Start it; done when it has started."""
        super().startService()
        return maybeDeferred(self._start)

    def stopService(self) -> Deferred[object]:
        """Stop it; done when it has stopped."""
        super().stopService()
        return maybeDeferred(self._stop)


class SequentialMultiService(MultiService):
    """Starts its services one after the other, each when the one before is there; stops them in reverse."""

    _log = Logger()

    def __init__(self) -> None:
        super().__init__()
        self._starting: Deferred[None] | None = None
        self._started: list[IService] = []

    def startService(self) -> Deferred[None]:
        """Start all; done when all have started, failed with the first that cannot."""
        Service.startService(self)
        self._starting = Deferred.fromCoroutine(self._start_all())
        return self._starting

    async def _start_all(self) -> None:
        for service in self:
            self._started.append(service)
            await maybeDeferred(service.startService)

    def stopService(self) -> Deferred[None]:
        """Stop what was started, however far that came; done when all have stopped."""
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop_all())

    async def _stop_all(self) -> None:
        if self._starting is not None:
            self._starting.cancel()
        while self._started:
            service = self._started.pop()
            try:
                await maybeDeferred(service.stopService)
            except Exception:
                self._log.failure("{name} did not stop cleanly", name=service.name)


class RetryingServerService(Service):
    """REST's port; one that is taken is asked for again, since its owner may be about to end."""

    name = "rest"
    _log = Logger()

    def __init__(self, reactor: Any, description: str, site: Site) -> None:
        self._reactor = reactor
        self._description = description
        self._site = site
        self._port: IListeningPort | None = None
        self._again: Deferred[None] | None = None

    async def _listen(self) -> None:
        complained = False
        while True:
            try:
                self._port = await serverFromString(self._reactor, self._description).listen(self._site)
            except (CannotListenError, OSError) as error:
                if not complained:
                    complained = True
                    self._log.error("REST: cannot listen, trying on: {error}", error=error)
            else:
                self._log.info("REST: listening on {address}", address=self._port.getHost())
                return
            await deferLater(self._reactor, AGAIN)

    def startService(self) -> None:
        """Begin to listen, or to try."""
        super().startService()
        self._again = Deferred.fromCoroutine(self._listen())
        self._again.addErrback(lambda failure: failure.trap(CancelledError) and None)

    async def _stop(self) -> None:
        if self._again is not None:
            self._again.cancel()
        if self._port is not None:
            await maybeDeferred(self._port.stopListening)

    def stopService(self) -> Deferred[None]:
        """Listen no more."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())
