"""Transports for ARI requests: HTTP always, the event websocket where Asterisk supports requests on it."""

import re
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, Final, Protocol
from urllib.parse import quote

import msgspec
from autobahn.exception import Disconnected
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.client import RequestTransmissionFailed, ResponseFailed, ResponseNeverReceived
from twisted.web.http_headers import Headers

from voxrec.ari.events import RestResponse
from voxrec.errors import AsteriskUnavailable, VoxrecError
from voxrec.pending_requests import PendingRequests

_JSON_HEADERS = Headers({"Content-Type": ["application/json"]})
_UNRESERVED_PATH = re.compile(r"[A-Za-z0-9_.~/-]*")  # `quote` changes none of these characters
_CONNECTION_ERRORS = (ConnectError, ConnectionClosed, ResponseFailed, ResponseNeverReceived, RequestTransmissionFailed)


# Reasons with other statuses than 404, of addChannel, answer and snoop. A snoop can also fail because Asterisk has no
# file descriptors left, but then so does everything else.
_CHANNEL_GONE: Final = frozenset(
    {
        "Channel not found",
        "Channel not in Stasis application",
        "Failed to answer channel",
        "Snoop channel could not be created",
    }
)
# Asterisk 16 can list a bridge for ever that was destroyed while a channel left it: a report of its state that is
# published after that of its end stays in the cache (`ast_ari_bridges_list` and `find_bridge` in resource_bridges.c).
_BRIDGE_GONE: Final = "Bridge not in Stasis application"


class AriResponseError(VoxrecError):
    """Asterisk answered a request with an error status. ``ari_status`` is that HTTP status."""

    status = 502
    code = "asterisk-refused"

    def __init__(self, request: str, ari_status: int, reason: str) -> None:
        super().__init__(f"Asterisk refused {request}: {ari_status} {reason}")
        self.ari_status = ari_status
        self.reason = reason

    @property
    def not_found(self) -> bool:
        """Whether the channel, bridge, playback or recording of the request does not exist (any more)."""
        return self.ari_status == 404 or self.reason == _BRIDGE_GONE

    @property
    def channel_gone(self) -> bool:
        """Whether a channel of the request has ended meanwhile: an ordinary race with a party that hangs up."""
        return self.ari_status == 404 or self.reason in _CHANNEL_GONE


class Transport(Protocol):
    """Carries ARI requests to Asterisk."""

    def request(
        self, method: str, path: tuple[str, ...], query: Mapping[str, str], body: object | None = None
    ) -> Deferred[bytes]:
        """Send one request immediately, and return a Deferred of the response body.

        ``path`` contains the unescaped path segments below ``/ari``; ``body`` is encoded as JSON. The Deferred fails
        with `AriResponseError` if Asterisk answers with an error status, and with `AsteriskUnavailable` if no response
        arrives. In the second case the request may have been executed, which is why voxrec chooses all ids itself: the
        request can be repeated.
        """
        ...


def _encode_path(path: tuple[str, ...]) -> str:
    uri = "/".join(path)
    if _UNRESERVED_PATH.fullmatch(uri) and uri.count("/") == len(path) - 1:
        return uri
    return "/".join(quote(segment, safe="") for segment in path)


def _require_success(request: str, status: int, body: bytes, reason_phrase: str) -> bytes:
    if 200 <= status < 300:
        return body
    try:
        message = msgspec.json.decode(body, type=dict[str, Any]).get("message") or reason_phrase
    except msgspec.DecodeError:
        message = reason_phrase
    raise AriResponseError(request, status, str(message))


class TimedTransport:
    """Measures the response time of the requests of another transport.

    ``observe`` is called after each request with the name of the transport, the outcome (``ok``, ``refused`` for an
    error status, ``lost`` for no response) and the duration in seconds.
    """

    def __init__(
        self, clock: IReactorTime, observe: Callable[[str, str, float], None], name: str, transport: Transport
    ) -> None:
        self._clock = clock
        self._observe = observe
        self._name = name
        self._transport = transport

    def request(
        self, method: str, path: tuple[str, ...], query: Mapping[str, str], body: object | None = None
    ) -> Deferred[bytes]:
        """See `Transport.request`."""
        sent_at = self._clock.seconds()
        return self._transport.request(method, path, query, body).addBoth(self._completed, sent_at)

    def _completed(self, result: bytes | Failure, sent_at: float) -> bytes | Failure:
        outcome = "ok"
        if isinstance(result, Failure):
            outcome = "refused" if result.check(AriResponseError) else "lost"
        self._observe(self._name, outcome, max(0.0, self._clock.seconds() - sent_at))
        return result


class HttpTransport:
    """Sends requests over HTTP/1.1 with persistent connections. Works with every Asterisk version.

    ``url`` is the address of ARI (``http://host:8088/ari``), ``timeout`` the seconds to wait for a response.
    """

    def __init__(
        self, reactor: IReactorTime, http: HTTPClient, url: str, user: str, password: str, timeout: float
    ) -> None:
        self._reactor = reactor
        self._http = http
        self._url = url.rstrip("/")
        self._credentials = (user, password)
        self._timeout = timeout

    def request(
        self, method: str, path: tuple[str, ...], query: Mapping[str, str], body: object | None = None
    ) -> Deferred[bytes]:
        """See `Transport.request`."""
        return Deferred.fromCoroutine(self._request(method, _encode_path(path), query, body))

    async def _request(self, method: str, uri: str, query: Mapping[str, str], body: object | None) -> bytes:
        try:
            response = await self._http.request(
                method,
                f"{self._url}/{uri}",
                params=dict(query),
                data=None if body is None else msgspec.json.encode(body),
                headers=_JSON_HEADERS if body is not None else None,
                auth=self._credentials,
                timeout=self._timeout,
                reactor=self._reactor,  # type: ignore[arg-type] # treq uses only its clock
            )
            content: bytes = await response.content()
        except (*_CONNECTION_ERRORS, CancelledError, DeferredTimeoutError) as error:
            raise AsteriskUnavailable(f"no response from Asterisk to {method} {uri}: {error}") from error
        return _require_success(f"{method} {uri}", response.code, content, response.phrase.decode("latin-1"))


class WebsocketTransport:
    """Sends requests over the event websocket (Asterisk 22.4 and later).

    A request takes a third of the time that it takes over HTTP, and requests are pipelined. ``send`` writes one
    websocket message, ``timeout`` is the number of seconds to wait for a response.
    """

    def __init__(self, reactor: IReactorTime, send: Callable[[bytes], None], timeout: float) -> None:
        self._send = send
        self._request_ids = count(1)
        self._pending: PendingRequests[bytes] = PendingRequests(reactor, timeout)
        self._closed = False

    def request(
        self, method: str, path: tuple[str, ...], query: Mapping[str, str], body: object | None = None
    ) -> Deferred[bytes]:
        """See `Transport.request`."""
        uri = _encode_path(path)
        request = f"{method} {uri}"
        if self._closed:
            return fail(AsteriskUnavailable(f"the websocket closed before {request} was sent"))
        request_id = str(next(self._request_ids))

        result = self._pending.add(request_id, request)
        message: dict[str, object] = {"type": "RESTRequest", "request_id": request_id, "method": method, "uri": uri}
        if query:
            message["query_strings"] = [{"name": name, "value": value} for name, value in query.items()]
        if body is not None:
            message["content_type"] = "application/json"
            message["message_body"] = msgspec.json.encode(body).decode()
        try:
            self._send(msgspec.json.encode(message))
        except Disconnected:  # the closing handshake has begun, and `connection_lost` has not been called yet
            self._pending.pop(request_id)
            return fail(AsteriskUnavailable(f"the websocket was closing before {request} was sent"))
        return result

    def response_received(self, response: RestResponse) -> None:
        """Complete the request that ``response`` belongs to. A response after the timeout is ignored."""
        pending = self._pending.pop(response.request_id)
        if pending is None:
            return
        try:
            body = _require_success(
                pending.description, response.status_code, response.message_body.encode(), response.reason_phrase
            )
        except AriResponseError as error:
            pending.result.errback(error)
        else:
            pending.result.callback(body)

    def connection_lost(self, reason: str) -> None:
        """Fail all pending requests, and every later one: the websocket closed."""
        self._closed = True
        self._pending.fail_all(f"the websocket closed: {reason}")
