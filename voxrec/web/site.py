"""The HTTP server in front of the resource: limits on what clients use before they are authenticated."""

import re
from collections import deque
from collections.abc import Callable
from functools import partial
from typing import Any, Final, Protocol

from twisted.internet.address import IPv4Address, IPv6Address
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress, IDelayedCall, IReactorTime
from twisted.web.http import HTTPChannel, combinedLogFormatter, datetimeToLogString
from twisted.web.http import Request as HTTPRequest
from twisted.web.iweb import IAccessLogFormatter
from twisted.web.resource import IResource
from twisted.web.server import Request as ServerRequest
from twisted.web.server import Site
from zope.interface import provider

from voxrec.errors import VoxrecError
from voxrec.web.auth import Principal
from voxrec.web.channel import Deadlines, LimitedChannel
from voxrec.web.connections import Admission, Connection, ConnectionLimits, Connections
from voxrec.web.headers import headers_of, peer_host
from voxrec.web.proxies import TrustedProxies
from voxrec.web.request_target import decoded_path
from voxrec.web.uploads import RefusedBody, UploadFile, body_too_large

REQUESTS_PER_TURN: Final = 2  # requests that are processed in one iteration of the reactor
IDLE_TIMEOUT: Final = 60.0  # seconds without data after which a connection is closed, within a request or between two
_SMALL_BODY: Final = 65_536  # bytes
_LOGGED_LENGTH: Final = 500  # bytes of a URL, a method and a header in the access log
_LINK_TOKEN: Final = re.compile(rb"(/(?:l|%6c)/)[^/]+", re.IGNORECASE)  # of an expiring link; as secret as a password
_DEADLINE_CHECK_INTERVAL: Final = 1.0  # seconds


@provider(IAccessLogFormatter)
def format_log_line(_timestamp: str, request: HTTPRequest) -> str:
    """Return the line of a request in the combined log format, without queries, which have numbers, and secrets."""
    # the timestamp comes from the reactor, whose clock is for intervals (voxrec.clock)
    line: str = combinedLogFormatter(datetimeToLogString(), _LoggedRequest(request))
    return line


class _LoggedRequest:
    """A request as the access log shows it."""

    def __init__(self, request: HTTPRequest) -> None:
        self._request = request
        self.uri = _abbreviated(_without_secrets(request.uri))
        self.method = _abbreviated(request.method)

    def getHeader(self, name: bytes) -> bytes | None:
        """Return a header; the referrer is a URL, like that of the request."""
        value = self._request.getHeader(name)
        if value is None:
            return None
        return _abbreviated(_without_secrets(value) if name == b"referer" else value)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._request, name)


def _without_secrets(url: bytes) -> bytes:
    return _LINK_TOKEN.sub(rb"\1***", url.partition(b"?")[0])


def _abbreviated(text: bytes) -> bytes:
    """Return text of a client cut off, so that it cannot fill the log faster than others."""
    return text if len(text) <= _LOGGED_LENGTH else text[:_LOGGED_LENGTH] + b"..."


class UploadPolicy(Protocol):
    """Decides which requests upload files, and who may."""

    def upload_for(self, method: str, path: str) -> UploadFile | None:
        """Return the file that the body is written to, or None for other requests."""

    async def admit(self, http_request: ServerRequest, method: str, path: str) -> Principal:
        """Return the principal. Raises VoxrecError if the request is refused before its body is received."""


class RestSite(Site):
    """Serves ``resource`` within limits.

    - A body of more than ``body_limit`` bytes is refused as soon as that is known, and nothing of it is kept. Uploads,
      which ``upload_policy`` recognises, are written to files, and only received after the client is authenticated.
    - ``connection_limits`` limits how many connections are open, and ``deadlines`` the time that clients have to send a
      request. Requests whose path begins with ``reserved_prefix`` are answered nevertheless.
    - Each iteration of the reactor starts at most REQUESTS_PER_TURN requests, in the order of their arrival. Otherwise
      a burst of requests would delay the signalling of calls and the responses to earlier requests.
    - The request line and the headers are limited by Twisted (16 KiB and 500 headers, see `HTTPChannel`).

    ``idle_timeout`` is in seconds. ``trusted_proxies`` tell the address of the client. With ``access_log``, each
    request is logged. ``on_refusal`` is called with the method, which may be any text, and the status of a request that
    a connection refuses before ``resource`` sees it.
    """

    displayTracebacks = False  # noqa: N815 - Twisted's name

    def __init__(
        self,
        resource: IResource,
        *,
        body_limit: int,
        reactor: IReactorTime,
        upload_policy: UploadPolicy | None = None,
        on_refusal: Callable[[str, int], None] = lambda _method, _status: None,
        idle_timeout: float = IDLE_TIMEOUT,
        connection_limits: ConnectionLimits = ConnectionLimits(),  # noqa: B008 - immutable
        deadlines: Deadlines = Deadlines(),  # noqa: B008 - immutable
        reserved_prefix: str = "/health/",
        trusted_proxies: TrustedProxies = TrustedProxies(),  # noqa: B008 - immutable
        access_log: bool = False,
    ) -> None:
        request_factory = partial(_LimitedRequest, body_limit, upload_policy)
        super().__init__(
            resource,
            requestFactory=request_factory,
            logFormatter=format_log_line,
            timeout=idle_timeout,
            reactor=reactor,
            parsePOSTFormSubmission=False,
        )
        self.protocol = LimitedChannel  # type: ignore[assignment] # Twisted's default only negotiates HTTP/2
        self._reactor = reactor
        self._queue: deque[_LimitedRequest] = deque()
        self._started_in_turn = 0
        self._access_log = access_log
        self._on_refusal = on_refusal
        self._connections = Connections(connection_limits)
        self._deadline_check: IDelayedCall | None = None
        self.deadlines = deadlines
        self.reserved_prefix = reserved_prefix
        self.trusted_proxies = trusted_proxies

    def configure(
        self,
        connection_limits: ConnectionLimits,
        deadlines: Deadlines,
        trusted_proxies: TrustedProxies,
        *,
        access_log: bool,
    ) -> None:
        """Change the limits, the proxies, and whether requests are logged. Open connections stay open."""
        self.trusted_proxies = trusted_proxies
        self._connections.limits = connection_limits
        self.deadlines = deadlines
        self._access_log = access_log

    def acceptableProtocols(self) -> list[bytes]:  # noqa: N802
        """Offer HTTP/1.1 only: the limits of this class do not apply to Twisted's HTTP/2."""
        return [b"http/1.1"]

    def log(self, request: HTTPRequest) -> None:
        """Log a request if the access log is enabled."""
        if self._access_log:
            super().log(request)

    def request_refused(self, request: HTTPRequest) -> None:
        """Log and count a request that its connection has refused."""
        self.log(request)
        self._on_refusal(request.method.decode("latin-1"), request.code)

    def enqueue(self, http_request: "_LimitedRequest") -> None:
        """Process a request now, or in one of the next iterations of the reactor."""
        self._queue.append(http_request)
        if not self._started_in_turn:
            self._reactor.callLater(0, self._next_turn)
        if self._started_in_turn < REQUESTS_PER_TURN:
            self._start_next()

    def _next_turn(self) -> None:
        self._started_in_turn = 0
        while self._queue and self._started_in_turn < REQUESTS_PER_TURN:
            self._start_next()
        if self._started_in_turn:
            self._reactor.callLater(0, self._next_turn)

    def _start_next(self) -> None:
        self._started_in_turn += 1
        self._queue.popleft().start()

    @property
    def connection_count(self) -> int:
        """The number of open connections."""
        return len(self._connections)

    def seconds(self) -> float:
        """Return the time in seconds."""
        return self._reactor.seconds()

    def connection_opened(self, connection: Connection) -> Admission:
        """Count a connection, unless there are too many."""
        if self._deadline_check is None:
            self._deadline_check = self._reactor.callLater(_DEADLINE_CHECK_INTERVAL, self._check_deadlines)
        return self._connections.open(connection)

    def connection_closed(self, connection: Connection) -> None:
        """Count a connection that has ended."""
        self._connections.close(connection)
        if self._deadline_check is not None and not len(self._connections):
            self._deadline_check.cancel()
            self._deadline_check = None

    def _check_deadlines(self) -> None:
        self._deadline_check = self._reactor.callLater(_DEADLINE_CHECK_INTERVAL, self._check_deadlines)
        now = self.seconds()
        for connection in tuple(self._connections):
            connection.check_deadline(now)


class _LimitedRequest(ServerRequest):
    """A request whose body is limited. It knows whether it can be answered before its body was received."""

    channel: Any
    content: Any

    def __init__(
        self, body_limit: int, upload_policy: UploadPolicy | None, channel: HTTPChannel, queued: object
    ) -> None:
        super().__init__(channel, queued)
        self._site: RestSite = self.channel.site
        self._client_address: IAddress | None = None
        self._is_secure: bool | None = None
        self._body_limit = body_limit
        self._remaining = body_limit
        self._content_length: int | None = None
        self._is_continue_expected = False
        self._upload_policy = upload_policy

    def process(self) -> None:
        """Queue the request, which has been received."""
        self.channel.site.enqueue(self)

    def start(self) -> None:
        """Process the request, unless the client has disconnected."""
        if self.channel is not None:
            super().process()

    def getClientAddress(self) -> IAddress:
        """Return the address of the client, which may be behind trusted proxies."""
        if self._client_address is None:
            self._client_address = self._find_client_address()
        return self._client_address

    def _find_client_address(self) -> IAddress:
        peer: IAddress = super().getClientAddress()
        if not self._trusted_proxies:
            return peer
        before = peer_host(peer)
        host = self._trusted_proxies.client_address(before, headers_of(self))
        if host == before:
            return peer
        return IPv6Address("TCP", host, 0) if ":" in host else IPv4Address("TCP", host, 0)

    def isSecure(self) -> bool:  # noqa: N802
        """Return whether the client sent the request over TLS, to voxrec or to a trusted proxy."""
        if self._is_secure is None:  # Klein and voxrec ask several times
            self._is_secure = super().isSecure() or self._is_proxied_securely()
        return self._is_secure

    def _is_proxied_securely(self) -> bool:
        if not self._trusted_proxies:
            return False
        return self._trusted_proxies.is_secure(peer_host(super().getClientAddress()), headers_of(self))

    @property
    def _trusted_proxies(self) -> TrustedProxies:
        return self._site.trusted_proxies

    def gotLength(self, length: int | None) -> None:  # noqa: N802
        """Prepare for the body: the headers have been received."""
        # The request itself learns its method and path after the body; the channel knows them, as it does the headers.
        method = self.channel._command.decode("latin-1")  # noqa: SLF001
        path = _path_of(self.channel._path)  # noqa: SLF001
        if not self.channel.is_permitted(path):
            return
        upload = None if self._upload_policy is None else self._upload_policy.upload_for(method, path)
        if self._upload_policy is None or upload is None:
            if length is not None and length > self._body_limit:
                self._refuse_body()
            else:
                super().gotLength(length)
            return
        self.content = upload
        self._content_length = length
        if length is not None:
            upload.set_content_length(length)
        self.channel.transport.pauseProducing()
        Deferred.fromCoroutine(self._admit(self._upload_policy, upload, method, path))

    async def _admit(self, policy: UploadPolicy, upload: UploadFile, method: str, path: str) -> None:
        try:
            upload.set_admission(await policy.admit(self, method, path))
        except VoxrecError as error:
            upload.set_admission(error)
        except Exception as error:
            upload.set_admission(_UnexpectedError(error))
        if getattr(self, "channel", None) is not None:
            self.channel.transport.resumeProducing()
            if self._is_continue_expected:
                self._ask_for_body()
            self.channel.process_refused_body()

    def continue_expected(self) -> None:
        """Handle ``Expect: 100-continue``: ask for the body, unless it would be refused."""
        self._is_continue_expected = True
        self._ask_for_body()

    def _ask_for_body(self) -> None:
        is_known = not isinstance(self.content, UploadFile) or self.content.is_admission_known
        if is_known and not self.is_body_refused:
            self.channel.ask_for_body()

    def handleContentChunk(self, data: bytes) -> None:  # noqa: N802
        """Keep a part of the body, unless the body is too large."""
        if isinstance(self.content, UploadFile):
            self.content.write(data)
        elif len(data) > self._remaining:
            self._refuse_body()
        else:
            self._remaining -= len(data)
            super().handleContentChunk(data)

    def _refuse_body(self) -> None:
        if self.content is not None:
            self.content.close()
        self.content = RefusedBody(body_too_large(self._body_limit))
        self._remaining = 0

    @property
    def is_body_refused(self) -> bool:
        """Whether to answer the request without the rest of its body.

        A small body is received nevertheless, so that the connection can be used for another request.
        """
        if not isinstance(self.content, UploadFile):
            return isinstance(self.content, RefusedBody)
        is_refused = self.content.is_admission_known and self.content.refusal is not None
        is_small = self._content_length is not None and self._content_length <= _SMALL_BODY
        return is_refused and (self._is_continue_expected or not is_small)


def _path_of(target: bytes) -> str:
    """Return the decoded path of a request; empty if no route can match it."""
    try:
        return decoded_path(target.partition(b"?")[0])
    except VoxrecError:
        return ""


class _UnexpectedError(VoxrecError):
    """An error that is a defect of voxrec."""

    def __init__(self, error: Exception) -> None:
        super().__init__(f"{type(error).__name__}: {error}")
        self.__cause__ = error
