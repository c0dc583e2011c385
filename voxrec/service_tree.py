"""Service classes of the service tree: services that start one after the other, and a server that retries to listen."""

import errno
import os
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeAlias

from twisted.application.service import IService, MultiService, Service
from twisted.internet.defer import CancelledError, Deferred, maybeDeferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.interfaces import IListeningPort, IProtocolFactory
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxrec.certificate import CertificateError, ReloadableEndpoint
from voxrec.deferreds import Backoff, retry
from voxrec.errors import ConfigError

RETRY_BACKOFF: Final = Backoff(first=5.0, limit=5.0, jitter=0.0)
"""Constant delay between attempts to listen on a port, or to reach the database, while the daemon starts."""

Action: TypeAlias = Callable[[], Awaitable[object] | None]


class CoroutineService(Service):
    """A service that is started and stopped by two functions, which may return an awaitable."""

    def __init__(self, name: str, start: Action, stop: Action) -> None:
        self.name = name
        self._start = start
        self._stop = stop

    def startService(self) -> Deferred[object]:
        """Start; the Deferred fires when the start is complete."""
        super().startService()
        return maybeDeferred(self._start)

    def stopService(self) -> Deferred[object]:
        """Stop; the Deferred fires when the stop is complete."""
        super().stopService()
        return maybeDeferred(self._stop)


class SequentialMultiService(MultiService):
    """Starts its services one after the other, in the order in which they were added, and stops them in reverse order.

    `MultiService` starts all of them at once, and does not wait.
    """

    _log = Logger()

    def __init__(self) -> None:
        super().__init__()
        self._start_in_progress: Deferred[None] | None = None
        self._started: list[IService] = []

    def startService(self) -> Deferred[None]:
        """Start all services.

        The Deferred fires when all have started, and fails with the first error; the remaining services are then not
        started.
        """
        Service.startService(self)
        self._start_in_progress = Deferred.fromCoroutine(self._start_all())
        return self._start_in_progress

    async def _start_all(self) -> None:
        for service in self:
            self._started.append(service)
            await maybeDeferred(service.startService)

    def stopService(self) -> Deferred[None]:
        """Cancel a start in progress, and stop the services that were started; the Deferred never fails."""
        Service.stopService(self)
        return Deferred.fromCoroutine(self._stop_all())

    async def _stop_all(self) -> None:
        if self._start_in_progress is not None:
            self._start_in_progress.cancel()
        while self._started:
            service = self._started.pop()
            try:
                await maybeDeferred(service.stopService)
            except Exception:
                self._log.failure("the service {name} failed to stop; stopping the others", name=service.name)


class OnDemandService(Service):
    """Holds a service that something else starts after the tree has started; stops it with the tree."""

    def __init__(self, name: str, service: Service) -> None:
        self.name = name
        self._service = service

    def ensure_started(self) -> None:
        """Start the service, unless it is running, or the tree is not."""
        if self.running and not self._service.running:
            self._service.startService()

    def ensure_stopped(self) -> None:
        """Stop the service if it is running, without waiting for it."""
        if self._service.running:
            self._service.stopService()

    def stopService(self) -> Deferred[None]:
        """Stop the service if it is running; the Deferred fires when it has stopped."""
        super().stopService()
        return maybeDeferred(self._service.stopService) if self._service.running else succeed(None)


class ListeningForbidden(ConfigError):
    """This process lacks the privilege to listen on the configured address; a retry does not help."""

    code = "listening-forbidden"


class RetryingServerService(Service):
    """Listens on a Twisted server endpoint; while the port is in use, it retries.

    The process that has the port may be the previous voxrec, which is about to stop. ``error`` is set if listening has
    failed for good.

    Parameters: ``description`` is the server endpoint string; ``label`` is the prefix of the log messages.
    """

    _log = Logger()

    def __init__(self, reactor: Any, description: str, factory: IProtocolFactory, label: str) -> None:
        self._reactor = reactor
        self._description = description
        self._endpoint = ReloadableEndpoint(reactor, description)
        self._factory = factory
        self.name = self._label = label
        self._port: IListeningPort | None = None
        self._listening: Deferred[None] | None = None
        self.error: ConfigError | None = None

    @property
    def listening(self) -> bool:
        """Whether clients can connect."""
        return self._port is not None

    @property
    def address(self) -> str:
        """The server endpoint string."""
        return self._description

    def startService(self) -> None:
        """Start to listen; does not wait until that succeeds."""
        super().startService()
        self._listening = Deferred.fromCoroutine(self._listen())
        self._listening.addErrback(self._listening_failed)

    def stopService(self) -> Deferred[None]:
        """Stop listening."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop_listening())

    def reload_certificate(self) -> None:
        """Read the TLS certificate again, if there is one. If it is invalid, the previous one stays in use."""
        try:
            if self._endpoint.reload_certificate():
                self._log.info("{label}: the TLS certificate was read again", label=self._label)
        except CertificateError as error:
            self._log.error("{label}: {error}; the previous certificate stays in use", label=self._label, error=error)

    async def _listen(self) -> None:
        self._port = port = await retry(
            self._reactor,
            self._try_to_listen,
            on=(CannotListenError, OSError),
            backoff=RETRY_BACKOFF,
            report=self._log_error,
        )
        self._log.info("{label}: listening on {address}", label=self._label, address=port.getHost())

    async def _try_to_listen(self) -> IListeningPort:
        try:
            port: IListeningPort = await self._endpoint.listen(self._factory)
        except (CannotListenError, PermissionError) as error:
            cause = error.socketError if isinstance(error, CannotListenError) else error
            if isinstance(cause, OSError) and cause.errno in (errno.EACCES, errno.EPERM):
                raise ListeningForbidden(
                    f"{self._label}: this process may not listen on {self._description}: {os.strerror(cause.errno)}. "
                    "Ports below 1024 need the capability CAP_NET_BIND_SERVICE (AmbientCapabilities= and "
                    "CapabilityBoundingSet= in the unit), and the private key must be readable; or use a higher port"
                ) from error
            raise
        return port

    def _listening_failed(self, failure: Failure) -> None:
        if isinstance(failure.value, ListeningForbidden):
            self.error = failure.value
            self._log.error("{label} is not available: {error}", label=self._label, error=failure.value)
        else:
            failure.trap(CancelledError)

    def _log_error(self, error: Exception, delay: float) -> None:
        self._log.error(
            "{label}: cannot listen; retrying every {delay:g} s: {error}",
            label=self._label,
            delay=delay,
            error=error,
        )

    async def _stop_listening(self) -> None:
        if self._listening is not None:
            self._listening.cancel()
        if self._port is not None:
            port, self._port = self._port, None
            await maybeDeferred(port.stopListening)
