"""An HTTP connection with absolute deadlines: a client that sends slowly does not keep it open."""

import math
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final, Protocol

from twisted.internet.interfaces import ITCPTransport
from twisted.internet.protocol import connectionDone
from twisted.internet.tcp import Server
from twisted.python.failure import Failure
from twisted.web.http import HTTPChannel, datetimeToString
from twisted.web.http import Request as HTTPRequest

from voxrec.errors import VoxrecError
from voxrec.web.connections import LOCAL, Admission, Connection, ConnectionState
from voxrec.web.errors import BadRequest, HeadersTooLarge, RequestTimeout, TooManyRequests, UriTooLong
from voxrec.web.headers import COMMON_HEADERS, peer_host
from voxrec.web.login_throttle import source_of
from voxrec.web.problems import problem_response
from voxrec.web.proxies import TrustedProxies
from voxrec.web.request_target import origin_form
from voxrec.web.uploads import UploadFile

HEAD_TIMEOUT: Final = 20.0  # seconds
BODY_TIMEOUT: Final = 60.0  # seconds
UPLOAD_RATE: Final = 4096  # bytes per second
_CLOSE_TIMEOUT: Final = 30.0  # seconds in which a client has to receive the rest of a response before it is aborted


@dataclass(frozen=True, slots=True, kw_only=True)
class Deadlines:
    """How long a client may take to send a request.

    - ``head``: seconds from the connection, or from the first byte of a further request, to the end of the headers;
    - ``body``: seconds from there to the end of the body;
    - ``upload_rate``: bytes per second for which the body of an authenticated upload has another second.
    """

    head: float = HEAD_TIMEOUT
    body: float = BODY_TIMEOUT
    upload_rate: float = UPLOAD_RATE


class ChannelSite(Protocol):
    """The site that a connection belongs to."""

    deadlines: Deadlines
    reserved_prefix: str
    """The path prefix of requests that are answered even if there are too many connections."""
    trusted_proxies: TrustedProxies
    """Their connections are not limited by address, because they have many clients."""

    def seconds(self) -> float:
        """Return the time in seconds."""

    def connection_opened(self, connection: Connection, /) -> Admission:
        """Count a connection, unless there are too many."""

    def connection_closed(self, connection: Connection, /) -> None:
        """Count a connection that has ended."""

    def request_refused(self, request: HTTPRequest, /) -> None:
        """Log and count a request that a connection has refused before it was complete."""


class LimitedChannel(HTTPChannel):
    """A connection.

    It has a state and a deadline, at which `check_deadline` ends it. The site calls that every second: starting a timer
    for each request would take longer than routing it.
    """

    site: ChannelSite
    transport: ITCPTransport
    state = ConnectionState.RECEIVING_HEAD

    def __init__(self) -> None:
        super().__init__()
        self.source = LOCAL
        self._admission = Admission.GRANTED
        self._state_since = 0.0
        self._deadline = math.inf
        self._received_anything = False
        self._are_headers_handled = False  # of the current request
        self._drops_input = False  # the client may still be sending what is not wanted

    def connectionMade(self) -> None:
        """Start, unless there are too many connections."""
        super().connectionMade()
        peer = peer_host(self.transport.getPeer())
        self.source = LOCAL if self.site.trusted_proxies.trust(peer) else source_of(peer)
        self._enter(ConnectionState.RECEIVING_HEAD, self.site.deadlines.head)
        self._admission = self.site.connection_opened(self)
        if self._admission is Admission.REFUSED:
            self.abort()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        """Clean up."""
        self._deadline = math.inf
        self.site.connection_closed(self)
        super().connectionLost(reason)

    def abort(self) -> None:
        """Close the connection now."""
        self.transport.abortConnection()

    def check_deadline(self, now: float) -> None:
        """End a connection whose deadline has passed."""
        if now < self._deadline:
            return
        if self.state is ConnectionState.RECEIVING_BODY:
            self._deadline = self._state_since + self.site.deadlines.body + self._upload_allowance()
            if now < self._deadline:
                return
        if self.state is ConnectionState.CLOSING or not self._received_anything:
            self.abort()
        else:
            self.refuse(RequestTimeout("The request was not received in time."))

    def refuse(self, error: VoxrecError) -> None:
        """Respond with an error before the request is complete, and close the connection, unless it is closing."""
        if self.state is ConnectionState.CLOSING:
            return
        self._enter(ConnectionState.CLOSING, _CLOSE_TIMEOUT)
        self._drops_input = True
        response = problem_response(error)
        request = self._current_request()
        request.code = response.status
        body = response.body if isinstance(response.body, bytes) else b""
        request.sentLength = 0 if request.method == b"HEAD" else len(body)
        head = {
            **{name.decode("ascii"): value.decode("ascii") for name, value in COMMON_HEADERS.items()},
            **response.headers,
            "Content-Length": str(len(body)),
            "Connection": "close",
            "Date": datetimeToString().decode("ascii"),
        }
        lines = [f"HTTP/1.1 {response.status} {HTTPStatus(response.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in head.items()]
        self.transport.write("\r\n".join([*lines, "", ""]).encode() + body[: request.sentLength])
        self.site.request_refused(request)
        self.loseConnection()

    def _current_request(self) -> HTTPRequest:
        """Return the request that is being received, with what is known of it; "-" for what is not."""
        request: HTTPRequest = self.requests[-1] if self.requests else self.requestFactory(self, 0)
        request.method = getattr(self, "_command", b"-")
        request.uri = getattr(self, "_path", b"-")
        request.clientproto = getattr(self, "_version", b"-")
        return request

    def loseConnection(self) -> None:  # noqa: N802
        """Close the connection after the response.

        If the client may still be sending, only this direction is closed, until the client closes the other one or the
        deadline passes. Otherwise the connection would be reset, and the client might lose the response (RFC 9112
        section 9.6). TLS waits for the client by itself.
        """
        transport = self.transport
        if self._drops_input and isinstance(transport, Server):
            transport.unregisterProducer()
            transport.resumeProducing()
            transport.loseWriteConnection()
        else:
            super().loseConnection()

    def is_permitted(self, path: str) -> bool:
        """Return whether this connection may be used for a request, and refuse the request if not."""
        if self._admission is Admission.RESERVED and not path.startswith(self.site.reserved_prefix):
            self.refuse(TooManyRequests("There are too many connections. Retry later.", {"Retry-After": "5"}))
        return self.state is not ConnectionState.CLOSING

    def dataReceived(self, data: bytes) -> None:
        """Receive a part of a request."""
        if self.state is ConnectionState.CLOSING or self._drops_input:
            return
        self._received_anything = True
        if self.state is ConnectionState.IDLE:
            self._enter(ConnectionState.RECEIVING_HEAD, self.site.deadlines.head)
        super().dataReceived(data)

    def headerReceived(self, line: bytes) -> bool:  # noqa: N802
        """Handle a header, and return whether it is valid."""
        try:
            return bool(super().headerReceived(line))
        except ValueError:  # a Content-Length of more digits than int() parses
            self._respondToBadRequestAndDisconnect()
            return False

    def lineLengthExceeded(self, _line: bytes) -> None:
        """Respond to a request line or a header that is too long; Twisted would close the connection."""
        if self.requests:
            self._refuse_headers()
        else:
            self.refuse(UriTooLong(f"The method and the URL have more than {self.MAX_LENGTH} bytes."))

    def allHeadersReceived(self) -> None:  # noqa: N802
        """Wait for the body, unless it is refused already."""
        self._enter(ConnectionState.RECEIVING_BODY, self.site.deadlines.body)
        self._path = origin_form(self._path)
        self._are_headers_handled = False
        super().allHeadersReceived()
        self._are_headers_handled = True
        if self._must_process_refused_body():
            self._stop_receiving()
            self.length = 0  # Twisted processes the request when this method returns

    def process_refused_body(self) -> None:
        """Process the current request now if its body is refused, and close the connection afterwards."""
        if self._must_process_refused_body():
            self._stop_receiving()
            self.allContentReceived()

    def _must_process_refused_body(self) -> bool:
        is_receiving = self._are_headers_handled and self.state is ConnectionState.RECEIVING_BODY
        return is_receiving and bool(self.requests[-1].is_body_refused)

    def _stop_receiving(self) -> None:
        """Drop what the client still sends; the current request is the last one of the connection."""
        self._drops_input = True
        self.persistent = 0
        self.requests[-1].responseHeaders.setRawHeaders(b"Connection", [b"close"])

    def _send100Continue(self) -> None:  # noqa: N802
        """Let the request decide whether the client is to send the body (RFC 9110 section 10.1.1)."""
        self.requests[-1].continue_expected()

    def ask_for_body(self) -> None:
        """Ask the client to send the body, unless it has sent the body already."""
        if self.state is ConnectionState.RECEIVING_BODY:
            super()._send100Continue()

    def checkPersistence(self, request: HTTPRequest, version: bytes) -> bool:  # noqa: N802
        """Return whether another request may follow: not on a reserved connection."""
        if self._admission is not Admission.RESERVED:
            return bool(super().checkPersistence(request, version))
        request.responseHeaders.setRawHeaders(b"Connection", [b"close"])
        return False

    def lineReceived(self, line: bytes) -> None:
        """Receive a line of the headers, unless the request was refused."""
        if self.state is not ConnectionState.CLOSING:
            super().lineReceived(line)

    def rawDataReceived(self, data: bytes) -> None:  # noqa: N802
        """Receive a part of the body, unless the request was refused."""
        if self.state is not ConnectionState.CLOSING:
            super().rawDataReceived(data)
            self.process_refused_body()

    def allContentReceived(self) -> None:  # noqa: N802
        """Process the request, which is complete."""
        if self.state is not ConnectionState.CLOSING:
            self._enter(ConnectionState.RESPONDING, math.inf)
            super().allContentReceived()

    def requestDone(self, request: HTTPRequest) -> None:  # noqa: N802
        """Write the rest of the response now, not in the next iteration of the reactor, after other requests."""
        if self.persistent:
            self._enter(ConnectionState.IDLE, math.inf)
        else:
            self._enter(ConnectionState.CLOSING, _CLOSE_TIMEOUT)
        super().requestDone(request)
        transport = self.transport
        if isinstance(transport, Server) and not transport.disconnecting and not transport.disconnected:
            transport.doWrite()  # the reactor handles an error when it calls this itself

    def timeoutConnection(self) -> None:
        """Close a connection that was idle for too long."""
        self._enter(ConnectionState.CLOSING, _CLOSE_TIMEOUT)
        super().timeoutConnection()

    def _respondToBadRequestAndDisconnect(self) -> None:  # noqa: N802
        """Respond to what is not HTTP, for example an unknown Transfer-Encoding; Twisted would send no body."""
        if self._receivedHeaderSize > self.totalHeadersSize or self._receivedHeaderCount > self.maxHeaders:
            self._refuse_headers()
        else:
            self.refuse(BadRequest("The request is not valid HTTP/1.1."))

    def _refuse_headers(self) -> None:
        size, count = self.totalHeadersSize, self.maxHeaders
        self.refuse(HeadersTooLarge(f"The URL and at most {count} headers may have {size} bytes together."))

    def _enter(self, state: ConnectionState, timeout: float) -> None:
        self.state = state
        self._state_since = self.site.seconds()
        self._deadline = self._state_since + timeout

    def _upload_allowance(self) -> float:
        """Return the additional seconds for the part of an upload that was received."""
        content = self.requests[-1].content if self.requests else None
        return content.size / self.site.deadlines.upload_rate if isinstance(content, UploadFile) else 0.0
