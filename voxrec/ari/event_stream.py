"""The ARI event websocket: connects, reconnects, and delivers the events in order.

The listener handles an event inside `dataReceived`. Once the handling of a burst has taken a time slice of a few
milliseconds, the remaining events wait in a bounded queue, so that the rest of the reactor is not blocked. If the queue
overflows, the connection is dropped and opened again, and the listener reconciles its state with Asterisk.
"""

from base64 import b64encode
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Final, Protocol, cast
from urllib.parse import urlencode, urlsplit, urlunsplit

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import (
    IReactorTCP,
    IReactorTime,
    IStreamClientEndpoint,
    ITransport,
    IWriteDescriptor,
)
from twisted.internet.ssl import optionsForClientTLS
from twisted.logger import Logger

from voxrec.ari.events import Event, InvalidMessage, RestResponse, decode_message
from voxrec.ari.transport import WebsocketTransport
from voxrec.deferreds import Backoff
from voxrec.errors import AsteriskUnavailable
from voxrec.reconnection import RECONNECT_BACKOFF, ReconnectingService

_TIME_SLICE: Final = 0.005  # seconds of event handling before the reactor runs other work
_MESSAGE_LIMIT: Final = 1_048_576  # bytes; the largest events of Asterisk have a few KiB


class EventStreamListener(Protocol):
    """Receives what happens on an `EventStream`."""

    def stream_connected(self, transport: WebsocketTransport) -> None:
        """Handle an opened websocket. Events since the last connection are lost.

        ``transport`` sends requests over this websocket until it closes.
        """
        ...

    def event_received(self, event: Event) -> None:
        """Handle an event."""
        ...

    def stream_disconnected(self) -> None:
        """Handle a closed websocket."""
        ...


class _Protocol(WebSocketClientProtocol):
    """Passes everything to its stream. Autobahn does not wait for Deferreds, so the methods are synchronous."""

    stream: "EventStream"
    socket: IWriteDescriptor | None = None

    def onOpen(self) -> None:
        self.socket = IWriteDescriptor(self.transport, None)  # None with TLS
        self.stream.websocket_opened(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: ARG002, N803 - Autobahn's names
        self.stream.message_received(payload)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:  # noqa: ARG002, N803
        self.stream.websocket_closed(f"{reason or 'no reason given'} (code {code})")

    # Autobahn's implementations of these two methods format a debug message even if it is not logged, which takes 5 %
    # of the CPU time of a call.

    def dataReceived(self, data: bytes) -> None:
        self.stream.start_time_slice()
        self._dataReceived(data)

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:  # noqa: N802
        if sync or chopsize or self.send_queue:
            super().sendData(data, sync, chopsize)
        else:
            cast("ITransport", self.transport).write(data)
            if self.socket is not None:
                # Write now and not in the next turn of the reactor: a caller waits for the result of the request.
                # The reactor handles what the socket does not accept, and reports errors.
                self.socket.doWrite()


class _Factory(WebSocketClientFactory):
    def __init__(
        self, stream: "EventStream", reactor: IReactorTime, url: str, user: str, password: str, app: str
    ) -> None:
        parts = urlsplit(url)
        scheme = "wss" if parts.scheme == "https" else "ws"
        query = urlencode({"app": app, "subscribeAll": "false"})
        # in a header, because URLs are logged
        credentials = b64encode(f"{user}:{password}".encode()).decode()
        super().__init__(
            urlunsplit((scheme, parts.netloc, f"{parts.path.rstrip('/')}/events", query, "")),
            headers={"Authorization": f"Basic {credentials}"},
            reactor=reactor,
        )
        self._stream = stream

    def buildProtocol(self, addr: object) -> _Protocol:  # noqa: ARG002
        protocol = _Protocol()
        protocol.factory = self
        protocol.stream = self._stream
        return protocol


async def _connect_at_once() -> None:
    pass


class EventStream(ReconnectingService):
    """Keeps one event websocket open while the service runs.

    A failed attempt to connect, which includes a rejected password (401), is repeated after the delay of ``backoff``.
    An opened websocket resets the delay.

    Parameters: ``url`` is the address of ARI (``http://host:8088/ari``); ``app`` the name of the Stasis application;
    ``request_timeout``, ``ping_interval`` and ``ping_timeout`` are seconds; ``queue_limit`` is the number of unhandled
    events at which the connection is dropped. ``before_connect`` is awaited before each attempt to connect.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        endpoint: IStreamClientEndpoint,
        listener: EventStreamListener,
        *,
        url: str,
        user: str,
        password: str,
        app: str,
        request_timeout: float,
        ping_interval: float,
        ping_timeout: float,
        queue_limit: int,
        backoff: Backoff = RECONNECT_BACKOFF,
        before_connect: Callable[[], Awaitable[object]] = _connect_at_once,
    ) -> None:
        super().__init__(reactor, backoff)
        self._reactor = reactor
        self._endpoint = endpoint
        self._listener = listener
        self._request_timeout = request_timeout
        self._queue_limit = queue_limit
        self._before_connect = before_connect
        self._queue: deque[Event] = deque()
        self._time_slice_end = 0.0
        self._protocol: _Protocol | None = None
        self._transport: WebsocketTransport | None = None
        self._disconnected: Deferred[str] | None = None
        self._last_logged_error = ""
        self._factory = _Factory(self, reactor, url, user, password, app)
        self._factory.setProtocolOptions(
            autoPingInterval=ping_interval,
            autoPingTimeout=ping_timeout,
            maxMessagePayloadSize=_MESSAGE_LIMIT,
            openHandshakeTimeout=request_timeout,
            closeHandshakeTimeout=1,
            tcpNoDelay=True,
            utf8validateIncoming=False,  # msgspec validates it
        )

    def stopService(self) -> Deferred[None] | None:
        """Close the websocket and do not reconnect; the Deferred fires when it is closed."""
        if self._protocol is None:
            return super().stopService()
        self._protocol.sendClose()
        return self.stop_reconnecting()

    def connection_failed(self, reason: str) -> None:
        """Log an error, but only once while it stays the same."""
        if reason != self._last_logged_error:
            self._last_logged_error = reason
            self._log.error("ARI: cannot open the event websocket; retrying: {reason}", reason=reason)

    def connection_closed(self, reason: str) -> None:
        """Log that the websocket closed."""
        self._log.warn("ARI: the event websocket closed; reconnecting: {reason}", reason=reason)

    async def connect_until_closed(self) -> str:
        """Connect, wait until the websocket closes, and return the reason."""
        await self._before_connect()
        disconnected: Deferred[str] = Deferred()
        self._disconnected = disconnected
        protocol = await self._endpoint.connect(self._factory)
        try:
            return await disconnected
        except CancelledError:
            self._disconnected = None
            cast("_Protocol", protocol).dropConnection(abort=True)
            raise

    def drop_connection(self) -> None:
        """Close the websocket, and connect again."""
        if self._protocol is not None:
            self._protocol.dropConnection(abort=True)

    def websocket_opened(self, protocol: _Protocol) -> None:
        """Handle an opened websocket; the protocol calls this."""
        self._protocol = protocol
        self.connected()
        self._last_logged_error = ""
        self._transport = WebsocketTransport(self._reactor, protocol.sendMessage, self._request_timeout)
        self._listener.stream_connected(self._transport)

    def websocket_closed(self, reason: str) -> None:
        """Handle a websocket that closed or could not be opened; the protocol calls this."""
        was_open, self._protocol = self._protocol is not None, None
        self._queue.clear()
        if self._transport is not None:
            self._transport.connection_lost(reason)
            self._transport = None
        if was_open:
            self._listener.stream_disconnected()
        disconnected, self._disconnected = self._disconnected, None
        if disconnected is not None and not disconnected.called:
            if was_open:
                disconnected.callback(reason)
            else:
                disconnected.errback(AsteriskUnavailable(reason))

    def message_received(self, data: bytes) -> None:
        """Handle one websocket message; the protocol calls this."""
        try:
            message = decode_message(data)
        except InvalidMessage as error:
            self._log.warn("ARI: ignoring an invalid message: {error}", error=error)
            return
        if isinstance(message, RestResponse):
            if self._transport is not None:
                self._transport.response_received(message)
        elif message is not None:
            self._handle_or_queue(message)

    def start_time_slice(self) -> None:
        """Start a new time slice; the protocol calls this when the reactor delivers data."""
        self._time_slice_end = self._reactor.seconds() + _TIME_SLICE

    def _handle_or_queue(self, event: Event) -> None:
        """Handle an event now, or queue it if the time slice is over or other events are queued before it."""
        if not self._queue:
            if self._reactor.seconds() < self._time_slice_end:
                self._handle(event)
                return
            self._reactor.callLater(0, self._handle_queue)
        elif len(self._queue) >= self._queue_limit:
            self._log.error(
                "ARI: {limit} events are queued; reconnecting to read the state of Asterisk instead",
                limit=self._queue_limit,
            )
            self._queue.clear()
            if self._protocol is not None:
                self._protocol.dropConnection(abort=True)
            return
        self._queue.append(event)

    def _handle_queue(self) -> None:
        """Handle queued events for one time slice."""
        self.start_time_slice()
        while self._queue and self._reactor.seconds() < self._time_slice_end:
            self._handle(self._queue.popleft())
        if self._queue:
            self._reactor.callLater(0, self._handle_queue)

    def _handle(self, event: Event) -> None:
        try:
            self._listener.event_received(event)
        except Exception:
            # without its fields, which contain numbers and names
            self._log.failure("ARI: handling a {type} event failed", type=type(event).__name__)


def endpoint_for(reactor: IReactorTCP, url: str, timeout: float) -> IStreamClientEndpoint:
    """Return the client endpoint for the ARI at ``url``, with TLS for https. ``timeout`` is in seconds."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    secure = parts.scheme == "https"
    endpoint = HostnameEndpoint(reactor, host, parts.port or (443 if secure else 80), timeout=timeout)
    return wrapClientTLS(optionsForClientTLS(host), endpoint) if secure else endpoint
