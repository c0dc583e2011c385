"""Sends one HTTP POST and returns the status and the beginning of the response. It follows no redirect."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import urldefrag

from twisted.internet.defer import CancelledError, Deferred, TimeoutError, succeed  # noqa: A004
from twisted.internet.endpoints import wrapClientTLS
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IConsumer, IStreamClientEndpoint
from twisted.internet.protocol import Protocol
from twisted.python.failure import Failure
from twisted.web.client import URI, Agent, BrowserLikePolicyForHTTPS, HostnameCachingHTTPSPolicy, HTTPConnectionPool
from twisted.web.http_headers import Headers
from twisted.web.iweb import IAgentEndpointFactory, IBodyProducer, IResponse
from zope.interface import implementer

from voxrec.certificate import CertificateError, trust_root
from voxrec.clock import utc_now
from voxrec.errors import DeliveryError
from voxrec.limited_connection import MAX_RECEIVED
from voxrec.retry_after import retry_after_seconds
from voxrec.sanitize import sanitize_line
from voxrec.webhooks.addresses import AddressPolicy
from voxrec.webhooks.connection import Resolve, TargetEndpoint

_EXCERPT: Final = 1000  # bytes of a response that are kept
_MAX_RETRY_AFTER: Final = 86_400.0  # seconds
_TLS_CONTEXTS: Final = 200  # hosts; reading the certificates of the system takes 20 ms
_CLOSED: Final = Failure(ConnectionDone())


@dataclass(frozen=True, slots=True)
class HttpSettings:
    """``timeout`` is the maximum duration of a request in seconds; ``ca_file`` see `voxrec.certificate.trust_root`."""

    timeout: float
    policy: AddressPolicy
    ca_file: Path | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """A response: its status, the beginning of its body as one line, and the seconds of Retry-After."""

    status: int
    text: str
    retry_after: float


class HttpClient:
    """Sends requests, each on a connection of its own.

    A receiver can neither occupy a connection for longer than the timeout nor send more than `MAX_RECEIVED` bytes.
    """

    def __init__(self, reactor: Any, settings: HttpSettings, resolve: Resolve) -> None:
        self._reactor = reactor
        self._resolve = resolve
        self.configure(settings)

    def configure(self, settings: HttpSettings) -> None:
        """Change the settings of the following requests, and read the file of certificates again."""
        self._settings = settings
        self._tls_policy: HostnameCachingHTTPSPolicy | None = None

    async def post(self, url: str, headers: Mapping[str, str], body: bytes) -> Reply:
        """Send ``body`` and return the reply, whatever its status. Raises DeliveryError if there is none."""
        endpoints = _EndpointFactory(self)
        pool = HTTPConnectionPool(self._reactor, persistent=False)
        agent = Agent.usingEndpointFactory(self._reactor, endpoints, pool)
        deadline = self._reactor.seconds() + self._settings.timeout
        fields = Headers({name: [value] for name, value in headers.items()})
        try:
            request = agent.request(b"POST", urldefrag(url).url.encode("ascii"), fields, _Body(body))
            response = await request.addTimeout(self._settings.timeout, self._reactor)
        except DeliveryError:
            raise
        except Exception as error:
            description = _describe(error, endpoints.limit_reached, self._settings.timeout)
            raise DeliveryError(description, permanent=False) from error
        beginning = _Beginning()
        response.deliverBody(beginning)
        try:
            remaining = max(0.0, deadline - self._reactor.seconds())
            await beginning.finished.addTimeout(remaining, self._reactor)
        except TimeoutError:
            pass  # the status is known
        finally:
            endpoints.abort()
        if not 100 <= response.code <= 599:  # RFC 9110 section 15
            raise DeliveryError(f"the receiver sent the invalid HTTP status {response.code}", permanent=False)
        now = utc_now(self._reactor)
        text = sanitize_line(beginning.content.decode("utf-8", "replace"))
        return Reply(response.code, text, _retry_after(response, now))

    def endpoint_for(self, uri: URI) -> tuple[TargetEndpoint, IStreamClientEndpoint]:
        """Return the endpoint of a URL, and the same with TLS if it is https. Raises DeliveryError."""
        host = uri.host.decode("ascii")
        target = TargetEndpoint(self._reactor, host, uri.port, resolve=self._resolve, policy=self._settings.policy)
        if uri.scheme != b"https":
            return target, target
        creator = self._get_tls_policy().creatorForNetloc(uri.host, uri.port)
        return target, wrapClientTLS(creator, target)

    def _get_tls_policy(self) -> HostnameCachingHTTPSPolicy:
        if self._tls_policy is None:
            try:
                authorities = trust_root(self._settings.ca_file)
            except CertificateError as error:
                raise DeliveryError(error.detail, permanent=False) from error
            self._tls_policy = HostnameCachingHTTPSPolicy(BrowserLikePolicyForHTTPS(authorities), _TLS_CONTEXTS)
        return self._tls_policy


@implementer(IAgentEndpointFactory)
class _EndpointFactory:
    """Makes the endpoint of one request, and remembers its connection."""

    def __init__(self, client: HttpClient) -> None:
        self._client = client
        self._target: TargetEndpoint | None = None

    def endpointForURI(self, uri: URI) -> IStreamClientEndpoint:  # noqa: N802
        """See `twisted.web.iweb.IAgentEndpointFactory`."""
        self._target, endpoint = self._client.endpoint_for(uri)
        return endpoint

    @property
    def limit_reached(self) -> bool:
        """Whether the receiver sent too much."""
        connection = None if self._target is None else self._target.connection
        return connection is not None and connection.limit_reached

    def abort(self) -> None:
        """Close the connection at once."""
        if self._target is not None and self._target.connection is not None:
            self._target.connection.abort()


@implementer(IBodyProducer)
class _Body:
    """A request body in memory."""

    def __init__(self, content: bytes) -> None:
        self._content = content
        self.length = len(content)

    def startProducing(self, consumer: IConsumer) -> Deferred[None]:
        """Write everything."""
        consumer.write(self._content)
        return succeed(None)

    def pauseProducing(self) -> None:  # noqa: N802
        """Do nothing: everything is written at once."""

    def resumeProducing(self) -> None:  # noqa: N802
        """Do nothing: everything is written at once."""

    def stopProducing(self) -> None:
        """Do nothing: everything is written at once."""


class _Beginning(Protocol):
    """Receives the beginning of a response body: ``content``, which has arrived when ``finished`` fires."""

    def __init__(self) -> None:
        self.content = b""
        self.finished: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        """Keep the beginning."""
        self.content += data[: _EXCERPT - len(self.content)]
        if len(self.content) >= _EXCERPT:
            self._finish()

    def connectionLost(self, _reason: Failure = _CLOSED) -> None:
        """Take what was received: the status, which is known, decides."""
        self._finish()

    def _finish(self) -> None:
        if not self.finished.called:
            self.finished.callback(None)


def _describe(error: Exception, limit_reached: bool, timeout: float) -> str:
    if limit_reached:
        return f"the receiver sent more than {MAX_RECEIVED} bytes without the end of the response's headers"
    reasons = [reason.value for reason in getattr(error, "reasons", ()) if isinstance(reason, Failure)]
    causes = reasons or [error]
    if any(isinstance(cause, CancelledError | TimeoutError) for cause in causes):
        return f"no response within {timeout:g} s"
    return sanitize_line("; ".join(f"{type(cause).__name__}: {cause}" for cause in causes))


def _retry_after(response: IResponse, now: datetime) -> float:
    """Return the delay in seconds that the response demands, at most a day."""
    values = response.headers.getRawHeaders(b"retry-after", [b""])
    return retry_after_seconds(values[-1].decode("latin-1"), now, _MAX_RETRY_AFTER) or 0.0
