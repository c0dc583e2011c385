"""How a request reaches Asterisk: over HTTP always, over the event websocket where Asterisk offers it."""

import re
from collections.abc import Callable, Mapping
from itertools import count
from typing import Any, NamedTuple, Protocol
from urllib.parse import quote

import msgspec
from autobahn.exception import Disconnected
from treq.client import HTTPClient
from twisted.internet.defer import CancelledError, Deferred, fail
from twisted.internet.defer import TimeoutError as DeferredTimeoutError
from twisted.internet.error import ConnectError, ConnectionClosed
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.python.failure import Failure
from twisted.web.client import RequestTransmissionFailed, ResponseFailed, ResponseNeverReceived
from twisted.web.http_headers import Headers

from voxrec.ari.events import RestResponse
from voxrec.errors import AsteriskUnavailable, VoxrecError

_JSON = Headers({"Content-Type": ["application/json"]})
_PLAIN = re.compile(r"[A-Za-z0-9_.~/-]*")  # what `quote` leaves as it is
_LOST = (ConnectError, ConnectionClosed, ResponseFailed, ResponseNeverReceived, RequestTransmissionFailed)


class AriRefusal(VoxrecError):
    """Asterisk answered, and said no; ``ari_status`` is its HTTP status."""

    status = 502
    code = "asterisk-refused"

    def __init__(self, request: str, ari_status: int, reason: str) -> None:
        super().__init__(f"Asterisk refused {request}: {ari_status} {reason}")
        self.ari_status = ari_status
        self.reason = reason

    @property
    def gone(self) -> bool:
        """What the request spoke of does not exist, or no longer: the channel hung up, say."""
        return self.ari_status == 404


class Transport(Protocol):
    """One way to Asterisk."""

    def request(
        self, method: str, path: tuple[str, ...], query: Mapping[str, str], body: object | None = None
    ) -> Deferred[bytes]:
        """Send one request, now and not when somebody waits for it; the Deferred gives the body of the answer.

        ``path`` holds the unescaped segments below ``/ari``. Fails with `AriRefusal` or `AsteriskUnavailable`; after
        the latter nobody knows whether Asterisk did it, which is why voxrec chooses all ids itself.
        """
        ...


def _uri(path: tuple[str, ...]) -> str:
    uri = "/".join(path)
    if _PLAIN.fullmatch(uri) and uri.count("/") == len(path) - 1:
        return uri
    return "/".join(quote(segment, safe="") for segment in path)


def _checked(request: str, status: int, body: bytes, phrase: str) -> bytes:
    if 200 <= status < 300:
        return body
    try:
        message = msgspec.json.decode(body, type=dict[str, Any]).get("message") or phrase
    except msgspec.DecodeError:
        message = phrase
    raise AriRefusal(request, status, str(message))


class TimedTransport:
    """A way with a watch: ``took`` is told the way's name, ok, refused or lost, and the seconds of each request."""

    def __init__(self, clock: IReactorTime, took: Callable[[str, str, float], None], name: str, way: Transport) -> None:
        self._clock = clock
        self._took = took
        self._name = name
        self._way = way

    def request(
        self, method: str, path: tuple[str, ...], query: Mapping[str, str], body: object | None = None
    ) -> Deferred[bytes]:
        """See `Transport.request`."""
        began = self._clock.seconds()
        return self._way.request(method, path, query, body).addBoth(self._answered, began)

    def _answered(self, answer: bytes | Failure, began: float) -> bytes | Failure:
        outcome = "ok"
        if isinstance(answer, Failure):
            outcome = "refused" if answer.check(AriRefusal) else "lost"
        self._took(self._name, outcome, max(0.0, self._clock.seconds() - began))
        return answer


class HttpTransport:
    """Requests over HTTP/1.1 with keep-alive: works with every Asterisk, and in parallel."""

    def __init__(
        self, reactor: IReactorTime, http: HTTPClient, url: str, user: str, password: str, timeout: float
    ) -> None:
        self._reactor = reactor
        self._http = http
        self._url = url.rstrip("/")
        self._auth = (user, password)
        self._timeout = timeout

    def request(
        self, method: str, path: tuple[str, ...], query: Mapping[str, str], body: object | None = None
    ) -> Deferred[bytes]:
        """See `Transport.request`."""
        return Deferred.fromCoroutine(self._request(method, _uri(path), query, body))

    async def _request(self, method: str, uri: str, query: Mapping[str, str], body: object | None) -> bytes:
        try:
            response = await self._http.request(
                method,
                f"{self._url}/{uri}",
                params=dict(query),
                data=None if body is None else msgspec.json.encode(body),
                headers=_JSON if body is not None else None,
                auth=self._auth,
                timeout=self._timeout,
                reactor=self._reactor,  # type: ignore[arg-type] # only its clock is used
            )
            content: bytes = await response.content()
        except (*_LOST, CancelledError, DeferredTimeoutError) as error:
            raise AsteriskUnavailable(f"Asterisk did not answer {method} {uri}: {error}") from error
        return _checked(f"{method} {uri}", response.code, content, response.phrase.decode("latin-1"))


class _Waiting(NamedTuple):
    """Who waits for an answer, what for, and until when."""

    answer: Deferred[bytes]
    request: str
    until: float


class WebsocketTransport:
    """Requests over the event websocket (Asterisk 22.4 and later): a third of the time of HTTP, and pipelined."""

    def __init__(self, reactor: IReactorTime, send: Callable[[bytes], None], timeout: float) -> None:
        self._reactor = reactor
        self._send = send
        self._timeout = timeout
        self._ids = count(1)
        self._waiting: dict[str, _Waiting] = {}  # whoever has waited longest comes first
        self._timer: IDelayedCall | None = None  # one for all: most are answered long before
        self._lost = False

    def request(
        self, method: str, path: tuple[str, ...], query: Mapping[str, str], body: object | None = None
    ) -> Deferred[bytes]:
        """See `Transport.request`."""
        uri = _uri(path)
        request = f"{method} {uri}"
        if self._lost:
            return fail(AsteriskUnavailable(f"the websocket closed before {request} was sent"))
        request_id = str(next(self._ids))

        def cancelled(answer: Deferred[bytes]) -> None:
            self._waiting.pop(request_id, None)
            answer.errback(AsteriskUnavailable(f"nobody waits for the answer to {request} any more"))

        answer: Deferred[bytes] = Deferred(cancelled)
        self._waiting[request_id] = _Waiting(answer, request, self._reactor.seconds() + self._timeout)
        if self._timer is None:
            self._timer = self._reactor.callLater(self._timeout, self._give_up)
        message: dict[str, object] = {"type": "RESTRequest", "request_id": request_id, "method": method, "uri": uri}
        if query:
            message["query_strings"] = [{"name": name, "value": value} for name, value in query.items()]
        if body is not None:
            message["content_type"] = "application/json"
            message["message_body"] = msgspec.json.encode(body).decode()
        try:
            self._send(msgspec.json.encode(message))
        except Disconnected:  # it is closing, and nobody has heard of it yet
            del self._waiting[request_id]
            return fail(AsteriskUnavailable(f"the websocket was closing before {request} was sent"))
        return answer

    def answered(self, response: RestResponse) -> None:
        """Hand an answer to whoever waits for it; one that came too late is nobody's."""
        waiting = self._waiting.pop(response.request_id, None)
        if waiting is None:
            return
        try:
            body = _checked(
                waiting.request, response.status_code, response.message_body.encode(), response.reason_phrase
            )
        except AriRefusal as refusal:
            waiting.answer.errback(refusal)
        else:
            waiting.answer.callback(body)

    def _give_up(self) -> None:
        """Fail who has waited too long, and look again when the next one has."""
        self._timer = None
        now = self._reactor.seconds()
        for request_id, waiting in tuple(self._waiting.items()):
            if waiting.until > now:
                self._timer = self._reactor.callLater(waiting.until - now, self._give_up)
                return
            del self._waiting[request_id]
            waiting.answer.errback(
                AsteriskUnavailable(f"Asterisk did not answer {waiting.request} in {self._timeout:g} s")
            )

    def lost(self, reason: str) -> None:
        """Fail all that wait: the websocket is gone."""
        self._lost = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        waiting, self._waiting = self._waiting, {}
        for each in waiting.values():
            each.answer.errback(AsteriskUnavailable(f"the websocket closed before Asterisk answered: {reason}"))
