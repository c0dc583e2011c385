"""The AMI connection as a service: connects, logs in, reconnects, and detects a peer that does not respond."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import Final, Protocol
from urllib.parse import urlsplit

from twisted.internet.defer import Deferred, fail
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IReactorTCP, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.ssl import optionsForClientTLS
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from voxrec.ami.messages import login_key
from voxrec.ami.protocol import AmiProtocol, AmiResponse, AmiResponseError
from voxrec.deferreds import Backoff, shielded
from voxrec.errors import AsteriskUnavailable, CommandNotSent
from voxrec.reconnection import RECONNECT_BACKOFF, ReconnectingService

MODULE: Final = "app_mixmonitor.so"
"""The module of Asterisk that voxrec controls through AMI."""

_NO_CHANNEL: Final = "voxrec-no-channel"
_PORT: Final = 5038
_TLS_PORT: Final = 5039


class AmiLoginError(AsteriskUnavailable):
    """Asterisk does not accept the user, or the user may not use MixMonitor."""


class AmiListener(Protocol):
    """Receives the changes of an `AmiConnection`."""

    def ami_connected(self) -> None:
        """Handle that actions can be sent."""
        ...

    def ami_disconnected(self) -> None:
        """Handle that actions fail from now on."""
        ...


class _Factory(Factory):
    def __init__(self, clock: IReactorTime, timeout: float) -> None:
        self._clock = clock
        self._timeout = timeout

    def buildProtocol(self, addr: object) -> AmiProtocol:  # noqa: ARG002
        return AmiProtocol(self._clock, self._timeout)


async def _nothing() -> None:
    """Do nothing before a connection becomes ready."""


class AmiConnection(ReconnectingService):
    """Keeps one AMI connection open while the service runs.

    The connection is ready when Asterisk has accepted the user, who may use MixMonitor, has loaded its module, and has
    searched for a channel: while a channel is blocked, that takes until it is not, in all sessions. A failed attempt is
    repeated after the delay of ``backoff``, which a ready connection resets.

    Parameters: ``request_timeout``, ``ping_interval`` and ``ping_timeout`` are seconds. ``request_timeout`` limits each
    action, the wait for the banner and the login; a ping is sent if no action waits for a response. ``before_ready`` is
    awaited after each login: it makes sure that what was sent on former connections cannot matter any more. If it
    raises, the attempt has failed.
    """

    name = "AMI connection"
    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        endpoint: IStreamClientEndpoint,
        *,
        user: str,
        password: str,
        request_timeout: float,
        ping_interval: float,
        ping_timeout: float,
        backoff: Backoff = RECONNECT_BACKOFF,
        before_ready: Callable[[], Awaitable[None]] = _nothing,
    ) -> None:
        super().__init__(clock, backoff)
        self._before_ready = before_ready
        self._clock = clock
        self._endpoint = endpoint
        self._user = user
        self._password = password
        self._request_timeout = request_timeout
        self._ping_interval = ping_interval
        self._ping_timeout = ping_timeout
        self._factory = _Factory(clock, request_timeout)
        self._listener: AmiListener | None = None
        self._protocol: AmiProtocol | None = None
        self._problem = "not connected yet"
        self._version = 0

    @property
    def ready(self) -> bool:
        """Whether actions can be sent."""
        return self._protocol is not None

    @property
    def version(self) -> int:
        """The major version of AMI of the last connection: 5 for Asterisk 16, 7 for 18, 11 for 22."""
        return self._version

    @property
    def problem(self) -> str | None:
        """Why the connection is not ready; None if it is."""
        return None if self.ready else self._problem

    def set_listener(self, listener: AmiListener) -> None:
        """Set the receiver of changes, before the service starts."""
        self._listener = listener

    def action(self, action: str, fields: Mapping[str, str]) -> Deferred[AmiResponse]:
        """Send an action; see `AmiProtocol.action`. Fails with `CommandNotSent` if the connection is not ready."""
        if self._protocol is None:
            return fail(CommandNotSent(f"the AMI action {action} cannot be sent: {self._problem}"))
        return self._protocol.action(action, fields)

    def retry_now(self) -> None:
        """Attempt to connect at once, for Asterisk responds elsewhere; does nothing if the connection is ready."""
        if not self.ready:
            super().retry_now()

    def drop(self, reason: str) -> None:
        """Close the connection, so that ``before_ready`` is awaited before anything else is sent."""
        if self._protocol is not None:
            self._protocol.close(reason)

    def connection_failed(self, reason: str) -> None:
        """Log a problem, but only once while it stays the same."""
        if reason != self._problem:
            self._problem = reason
            self._log.error("AMI: cannot connect, so calls cannot be recorded; retrying: {reason}", reason=reason)

    def connection_closed(self, reason: str) -> None:
        """Log that the connection closed."""
        self._problem = f"the connection closed: {reason}"
        self._log.warn("AMI: the connection closed; reconnecting: {reason}", reason=reason)

    async def connect_until_closed(self) -> str:
        """Connect, log in, wait until the connection closes, and return the reason."""
        protocol = await self._endpoint.connect(self._factory)
        assert isinstance(protocol, AmiProtocol)
        try:
            await self._log_in(protocol)
            await self._search_channel(protocol)
            await self._before_ready()
            self._became_ready(protocol)
            await self._wait_until_closed(protocol)
        finally:
            self._became_unavailable()
            protocol.close("voxrec closed the connection")
            await shielded(protocol.closed)
        return protocol.close_reason

    async def _log_in(self, protocol: AmiProtocol) -> None:
        try:
            self._version = await protocol.greeted.addTimeout(self._request_timeout, self._clock)
        except DeferredTimeoutError:
            raise AsteriskUnavailable(f"the peer sent no banner of AMI within {self._request_timeout:g} s") from None
        challenge = await protocol.action("Challenge", {"AuthType": "MD5"})
        key = login_key(challenge.fields.get("Challenge", ""), self._password)
        login = {"Username": self._user, "AuthType": "MD5", "Key": key, "Events": "off"}
        try:
            await protocol.action("Login", login)
        except AmiResponseError as error:
            raise AmiLoginError(f"Asterisk refuses the login of the AMI user {self._user}: {error.message}") from None
        try:
            await protocol.action("ModuleCheck", {"Module": MODULE})
        except AmiResponseError as error:
            raise AmiLoginError(self._explain_refusal(error.message)) from None

    async def _search_channel(self, protocol: AmiProtocol) -> None:
        """Let Asterisk search for a channel that does not exist. Raises if it does not respond."""
        with suppress(AmiResponseError):
            await protocol.action("StopMixMonitor", {"Channel": _NO_CHANNEL})

    def _explain_refusal(self, message: str) -> str:
        if message == "Permission denied":
            return f"the AMI user {self._user} may not use MixMonitor; expected write = system in manager.conf"
        return f"{MODULE} is not loaded in Asterisk: {message}"

    async def _wait_until_closed(self, protocol: AmiProtocol) -> None:
        """Return when the connection has closed, which it does if Asterisk does not respond to a ping."""

        def ping() -> None:
            if protocol.is_idle:
                protocol.action("Ping", {}, limit=self._ping_timeout).addErrback(lambda _: None)

        pings = LoopingCall(ping)
        pings.clock = self._clock
        pings.start(self._ping_interval, now=False)
        try:
            await shielded(protocol.closed)
        finally:
            pings.stop()

    def _became_ready(self, protocol: AmiProtocol) -> None:
        self._protocol = protocol
        self.connected()
        self._problem = ""
        if self._listener is not None:
            self._listener.ami_connected()

    def _became_unavailable(self) -> None:
        if self._protocol is not None:
            self._protocol = None
            if self._listener is not None:
                self._listener.ami_disconnected()


def default_port(url: str) -> int:
    """Return the port of AMI for a URL that names none."""
    return _TLS_PORT if urlsplit(url).scheme == "tls" else _PORT


def endpoint_for(reactor: IReactorTCP, url: str, timeout: float) -> IStreamClientEndpoint:
    """Return the client endpoint for ``url``: tcp://host:port or tls://host:port. ``timeout`` is in seconds."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    secure = parts.scheme == "tls"
    endpoint = HostnameEndpoint(reactor, host, parts.port or default_port(url), timeout=timeout)
    return wrapClientTLS(optionsForClientTLS(host), endpoint) if secure else endpoint
