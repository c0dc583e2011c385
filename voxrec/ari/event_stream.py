"""The event websocket: connect, stay connected, hand every event over in order.

The protocol does nothing itself. An event is acted on as it comes; where many come at once, those that take longer than
a slice of a few milliseconds wait in a bounded queue, so that neither Asterisk nor the rest of the reactor waits. Where
the queue overflows, the connection is dropped and made anew, and whoever listens reconciles.
"""

import random
from base64 import b64encode
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast
from urllib.parse import urlencode, urlsplit, urlunsplit

from autobahn.twisted.websocket import WebSocketClientFactory, WebSocketClientProtocol
from twisted.application.service import Service
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
from twisted.internet.task import deferLater
from twisted.logger import Logger

from voxrec.ari.events import Event, NotAnEvent, RestResponse, decode
from voxrec.ari.transport import WebsocketTransport
from voxrec.errors import AsteriskUnavailable

_SLICE = 0.005  # seconds of events worked off before the reactor turns to others
_MESSAGE_LIMIT = 1_048_576  # bytes; Asterisk's own largest events are a few KiB
_FIRST_DELAY, _LONGEST_DELAY = 0.2, 15.0  # seconds between attempts to connect


class StreamOwner(Protocol):
    """Who acts on what the stream brings."""

    def stream_up(self, requester: WebsocketTransport) -> None:
        """The websocket is open; events of before are lost."""
        ...

    def stream_event(self, event: Event) -> None:
        """Something happened in Asterisk."""
        ...

    def stream_down(self) -> None:
        """The websocket is closed."""
        ...


class _Protocol(WebSocketClientProtocol):
    """Calls its stream and does nothing else; Autobahn never awaits, so these stay synchronous."""

    stream: "EventStream"
    writer: IWriteDescriptor | None = None

    def onOpen(self) -> None:
        # with TLS the transport is none
        self.writer = IWriteDescriptor(self.transport, None)
        self.stream.opened(self)

    def onMessage(self, payload: bytes, isBinary: bool) -> None:  # noqa: ARG002, N803 - Autobahn's names
        self.stream.received(payload)

    def onClose(self, wasClean: bool, code: int | None, reason: str | None) -> None:  # noqa: ARG002, N803
        self.stream.closed(f"{reason or 'no reason given'} (code {code})")

    # Autobahn's own two colour the arguments of a debug message, read or not: a twentieth of what a call costs.

    def dataReceived(self, data: bytes) -> None:
        self.stream.slice_begins()
        self._dataReceived(data)

    def sendData(self, data: bytes, sync: bool = False, chopsize: int | None = None) -> None:  # noqa: N802
        if sync or chopsize or self.send_queue:
            super().sendData(data, sync, chopsize)
        else:
            cast("ITransport", self.transport).write(data)
            if self.writer is not None:
                # now, and not when the reactor comes to it: a caller waits for what this asks for. What fails here, or
                # does not fit, the reactor meets again.
                self.writer.doWrite()


class _Factory(WebSocketClientFactory):
    def __init__(
        self, stream: "EventStream", reactor: IReactorTime, url: str, user: str, password: str, app: str
    ) -> None:
        parts = urlsplit(url)
        scheme = "wss" if parts.scheme == "https" else "ws"
        query = urlencode({"app": app, "subscribeAll": "false"})
        # the password goes into a header, since addresses end in logs
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


class EventStream(Service):
    """Keeps one event websocket open for as long as the service runs.

    ``url`` is ARI's HTTP address (``http://host:8088/ari``). Attempts back off with jitter, also where Asterisk answers
    but refuses (401), and start anew once the websocket opened.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: IReactorTime,
        endpoint: IStreamClientEndpoint,
        owner: StreamOwner,
        *,
        url: str,
        user: str,
        password: str,
        app: str,
        request_timeout: float,
        ping_interval: float,
        ping_timeout: float,
        queue_limit: int,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._reactor = reactor
        self._endpoint = endpoint
        self._owner = owner
        self._request_timeout = request_timeout
        self._queue_limit = queue_limit
        self._jitter = jitter
        self._queue: deque[Event] = deque()
        self._slice_ends = 0.0
        self._protocol: _Protocol | None = None
        self._requester: WebsocketTransport | None = None
        self._ended: Deferred[str] | None = None
        self._loop: Deferred[None] | None = None
        self._failures = 0
        self._last_complaint = ""
        self._factory = _Factory(self, reactor, url, user, password, app)
        self._factory.setProtocolOptions(
            autoPingInterval=ping_interval,
            autoPingTimeout=ping_timeout,
            maxMessagePayloadSize=_MESSAGE_LIMIT,
            openHandshakeTimeout=request_timeout,
            closeHandshakeTimeout=1,
            tcpNoDelay=True,
            utf8validateIncoming=False,  # msgspec looks at it in any case
        )

    def startService(self) -> None:
        """Begin to connect."""
        super().startService()
        self._loop = Deferred.fromCoroutine(self._run())

    def stopService(self) -> Deferred[None] | None:
        """Close the websocket and stay away; done when it is closed."""
        super().stopService()
        loop, self._loop = self._loop, None
        if loop is None:
            return None
        if self._protocol is not None:
            self._protocol.sendClose()
        else:
            loop.cancel()
        return loop

    async def _run(self) -> None:
        while self.running:
            try:
                reason = await self._connection()
            except CancelledError:
                return
            except Exception as error:
                reason = str(error) or type(error).__name__
                self._failures += 1
                self._complain(reason)
            else:
                if self.running:
                    self._log.warn("Asterisk: the event websocket closed: {reason}", reason=reason)
            if not self.running:
                return
            try:
                await deferLater(self._reactor, self._delay())
            except CancelledError:
                return

    def _delay(self) -> float:
        """Full jitter over the upper half: many daemons must not come back in step."""
        longest = min(_LONGEST_DELAY, _FIRST_DELAY * 2 ** min(self._failures, 16))
        return float(longest * (0.5 + self._jitter() / 2))

    def _complain(self, reason: str) -> None:
        """One clear line for each new reason, not one for each attempt."""
        if reason != self._last_complaint:
            self._last_complaint = reason
            self._log.error("Asterisk: cannot open the event websocket, trying on: {reason}", reason=reason)

    async def _connection(self) -> str:
        """Connect, and stay until the websocket closes; give back why it did."""
        ended: Deferred[str] = Deferred()
        self._ended = ended
        protocol = await self._endpoint.connect(self._factory)
        try:
            return await ended
        except CancelledError:
            self._ended = None
            cast("_Protocol", protocol).dropConnection(abort=True)
            raise

    def opened(self, protocol: _Protocol) -> None:
        """Called by the protocol: the websocket is open."""
        self._protocol = protocol
        self._failures = 0
        self._last_complaint = ""
        self._requester = WebsocketTransport(self._reactor, protocol.sendMessage, self._request_timeout)
        self._owner.stream_up(self._requester)

    def closed(self, reason: str) -> None:
        """Called by the protocol: the websocket closed, or never opened."""
        opened, self._protocol = self._protocol is not None, None
        self._queue.clear()
        if self._requester is not None:
            self._requester.lost(reason)
            self._requester = None
        if opened:
            self._owner.stream_down()
        ended, self._ended = self._ended, None
        if ended is not None and not ended.called:
            if opened:
                ended.callback(reason)
            else:
                ended.errback(AsteriskUnavailable(reason))

    def received(self, text: bytes) -> None:
        """Called by the protocol: one message."""
        try:
            message = decode(text)
        except NotAnEvent as error:
            self._log.warn("Asterisk: passed over an event that does not fit: {error}", error=error)
            return
        if isinstance(message, RestResponse):
            if self._requester is not None:
                self._requester.answered(message)
        elif message is not None:
            self._take(message)

    def slice_begins(self) -> None:
        """Called by the protocol: something came, and the reactor has done other things since the last slice."""
        self._slice_ends = self._reactor.seconds() + _SLICE

    def _take(self, event: Event) -> None:
        """Act on an event now, unless others wait before it or the slice is over."""
        if not self._queue:
            if self._reactor.seconds() < self._slice_ends:
                self._act_on(event)
                return
            self._reactor.callLater(0, self._work_off)
        elif len(self._queue) >= self._queue_limit:
            self._log.error("Asterisk: {limit} events wait; connecting anew to catch up", limit=self._queue_limit)
            self._queue.clear()
            if self._protocol is not None:
                self._protocol.dropConnection(abort=True)
            return
        self._queue.append(event)

    def _work_off(self) -> None:
        self.slice_begins()
        while self._queue and self._reactor.seconds() < self._slice_ends:
            self._act_on(self._queue.popleft())
        if self._queue:
            self._reactor.callLater(0, self._work_off)

    def _act_on(self, event: Event) -> None:
        try:
            self._owner.stream_event(event)
        except Exception:
            self._log.failure("Asterisk: an event could not be acted on: {event}", event=event)


def endpoint_for(reactor: IReactorTCP, url: str, timeout: float) -> IStreamClientEndpoint:
    """Where the websocket of the ARI at ``url`` connects to; with TLS where the address is https."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    secure = parts.scheme == "https"
    endpoint = HostnameEndpoint(reactor, host, parts.port or (443 if secure else 80), timeout=timeout)
    return wrapClientTLS(optionsForClientTLS(host), endpoint) if secure else endpoint
