"""Requests to an identity provider, within limits: it may be away, slow or hostile."""

from collections.abc import Mapping
from io import BytesIO
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlencode

import msgspec
from twisted.internet.defer import CancelledError, Deferred, TimeoutError  # noqa: A004
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IProtocol, IProtocolFactory, IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.client import (
    URI,
    Agent,
    BrowserLikePolicyForHTTPS,
    FileBodyProducer,
    HTTPConnectionPool,
    ResponseDone,
)
from twisted.web.http import PotentialDataLoss
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory
from zope.interface import implementer

from voxrec.certificate import CertificateError, trust_root
from voxrec.limited_connection import MAX_RECEIVED, LimitedConnection, LimitedConnectionFactory
from voxrec.oidc.errors import ProviderSignInError, Reason
from voxrec.sanitize import sanitize_line

FORM: Final = "application/x-www-form-urlencoded"
_CLOSED: Final = Failure(ConnectionDone())
_SUCCESS: Final = 200
_SERVER_ERRORS: Final = 500


class ProviderHttp:
    """Sends requests, each on a connection of its own, and returns JSON objects. It follows no redirect.

    ``timeout`` is the maximum duration of a request in seconds, from the name look-up to the end of the response. At
    most `voxrec.limited_connection.MAX_RECEIVED` bytes are received, and they are not decompressed.
    """

    def __init__(self, reactor: Any, timeout: float, ca_file: Path | None = None) -> None:
        self._reactor = reactor
        self._timeout = timeout
        self._ca_file = ca_file
        self._tls_policy: BrowserLikePolicyForHTTPS | None = None

    async def get(self, url: str, headers: Mapping[str, str] | None = None) -> dict[str, Any]:
        """Return the JSON object at a URL. Raises ProviderSignInError."""
        return await self._request(b"GET", url, headers or {}, None)

    async def post(self, url: str, fields: Mapping[str, str], headers: Mapping[str, str]) -> dict[str, Any]:
        """Send a form, and return the JSON object of the response. Raises ProviderSignInError."""
        body = urlencode(fields).encode()
        return await self._request(b"POST", url, {"Content-Type": FORM, **headers}, body)

    async def _request(self, method: bytes, url: str, headers: Mapping[str, str], body: bytes | None) -> dict[str, Any]:
        endpoints = _Endpoints(self._reactor, self._policy())
        try:
            exchange = Deferred.fromCoroutine(self._exchange(endpoints, method, url, headers, body))
            status, content = await exchange.addTimeout(self._timeout, self._reactor)
        except ProviderSignInError:
            raise
        except Exception as error:
            description = self._describe(error, endpoints.limit_reached)
            reason = Reason.INVALID_ANSWER if endpoints.limit_reached else Reason.UNAVAILABLE
            raise ProviderSignInError(reason, f"{url}: {description}") from error
        finally:
            endpoints.abort()
        return _json_object(url, status, content)

    async def _exchange(
        self, endpoints: "_Endpoints", method: bytes, url: str, headers: Mapping[str, str], body: bytes | None
    ) -> tuple[int, bytes]:
        agent = Agent.usingEndpointFactory(
            self._reactor, endpoints, HTTPConnectionPool(self._reactor, persistent=False)
        )
        fields = Headers({"Accept": ["application/json"], "User-Agent": ["voxrec"]})
        for name, value in headers.items():
            fields.addRawHeader(name, value)
        producer = None if body is None else FileBodyProducer(BytesIO(body))
        response = await agent.request(method, url.encode("ascii"), fields, producer)
        body_received: Deferred[bytes] = Deferred()
        response.deliverBody(_Collector(body_received))
        return response.code, await body_received

    def _policy(self) -> BrowserLikePolicyForHTTPS:
        if self._tls_policy is None:
            try:
                self._tls_policy = BrowserLikePolicyForHTTPS(trust_root(self._ca_file))
            except CertificateError as error:
                raise ProviderSignInError(Reason.UNAVAILABLE, f"oidc.ca_file: {error.detail}") from error
        return self._tls_policy

    def _describe(self, error: Exception, limit_reached: bool) -> str:
        if limit_reached:
            return f"the provider sent more than {MAX_RECEIVED} bytes"
        reasons = [reason.value for reason in getattr(error, "reasons", ()) if isinstance(reason, Failure)]
        causes = reasons or [error]
        if any(isinstance(cause, CancelledError | TimeoutError) for cause in causes):
            return f"no response within {self._timeout:g} s"
        return sanitize_line("; ".join(f"{type(cause).__name__}: {cause}" for cause in causes))


def _json_object(url: str, status: int, content: bytes) -> dict[str, Any]:
    try:
        document = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        document = None
    if status >= _SERVER_ERRORS:
        raise ProviderSignInError(Reason.UNAVAILABLE, f"{url}: the provider responded with status {status}")
    if status != _SUCCESS:
        error = document.get("error") if isinstance(document, dict) else None
        described = f" and the error {sanitize_line(str(error))[:100]!r}" if error else ""
        reason = Reason.DECLINED if error == "invalid_grant" else Reason.INVALID_ANSWER
        raise ProviderSignInError(reason, f"{url}: the provider responded with status {status}{described}")
    if not isinstance(document, dict):
        raise ProviderSignInError(Reason.INVALID_ANSWER, f"{url}: the response is not a JSON object")
    return document


class _Collector(Protocol):
    """Collects a body, whose size is that of the connection at most."""

    def __init__(self, received: "Deferred[bytes]") -> None:
        self._received = received
        self._parts: list[bytes] = []

    def dataReceived(self, data: bytes) -> None:
        """Keep a part of the body."""
        self._parts.append(data)

    def connectionLost(self, reason: Failure = _CLOSED) -> None:
        """Return the body if it is complete."""
        if self._received.called:  # the time has passed
            return
        if reason.check(ResponseDone, PotentialDataLoss):
            self._received.callback(b"".join(self._parts))
        else:
            self._received.errback(reason)


@implementer(IAgentEndpointFactory)
class _Endpoints:
    """Makes the endpoint of one request, and remembers its connection."""

    def __init__(self, reactor: Any, policy: BrowserLikePolicyForHTTPS) -> None:
        self._reactor = reactor
        self._policy = policy
        self._endpoint: _LimitedEndpoint | None = None

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:  # noqa: N802
        """See `twisted.web.iweb.IAgentEndpointFactory`."""
        host = uri.host.decode("ascii")
        self._endpoint = _LimitedEndpoint(HostnameEndpoint(self._reactor, host.strip("[]"), uri.port))
        if uri.scheme != b"https":
            return self._endpoint
        return wrapClientTLS(self._policy.creatorForNetloc(uri.host, uri.port), self._endpoint)

    @property
    def limit_reached(self) -> bool:
        """Whether the provider sent too much."""
        connection = None if self._endpoint is None else self._endpoint.connection
        return connection is not None and connection.limit_reached

    def abort(self) -> None:
        """Close the connection at once."""
        if self._endpoint is not None and self._endpoint.connection is not None:
            self._endpoint.connection.abort()


@implementer(IStreamClientEndpoint)
class _LimitedEndpoint:
    """Connects to another endpoint, and limits what is received."""

    def __init__(self, endpoint: IStreamClientEndpoint) -> None:
        self._endpoint = endpoint
        self.connection: LimitedConnection | None = None

    def connect(self, factory: IProtocolFactory) -> Deferred[IProtocol]:
        """See `IStreamClientEndpoint.connect`."""
        connecting: Deferred[Any] = self._endpoint.connect(LimitedConnectionFactory(factory))
        return connecting.addCallback(self._connected)

    def _connected(self, connection: LimitedConnection) -> Any:
        self.connection = connection
        return connection.wrappedProtocol
