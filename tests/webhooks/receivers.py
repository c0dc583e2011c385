"""Receivers of webhooks for tests: real HTTP and HTTPS servers on loopback, honest and hostile ones."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import msgspec
from standardwebhooks.webhooks import Webhook
from twisted.internet import ssl
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import SSL4ServerEndpoint, TCP4ServerEndpoint
from twisted.internet.interfaces import IStreamServerEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.protocols.policies import WrappingFactory
from twisted.trial.unittest import TestCase
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from tests.database import reactor
from tests.mail.smtp_servers import make_certificate
from voxrec.webhooks.addresses import AddressPolicy
from voxrec.webhooks.connection import resolver
from voxrec.webhooks.http import HttpClient, HttpSettings

LOOPBACK = AddressPolicy(["127.0.0.0/8"])


class ReceivedRequest:
    """A request as the receiver got it."""

    def __init__(self, request: Request) -> None:
        self.method = request.method.decode()
        self.path = request.uri.decode()
        self.headers = {
            name.decode().lower(): values[-1].decode() for name, values in request.requestHeaders.getAllRawHeaders()
        }
        assert request.content is not None
        self.body: bytes = request.content.read()

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def unverified(self) -> Any:
        """The message, whatever its signature."""
        return msgspec.json.decode(self.body)

    def verify(self, secret: str) -> Any:
        """Return the message, if its signature is valid. Raises WebhookVerificationError."""
        return Webhook(secret).verify(self.body, self.headers)


class Receiver(Resource):
    """Answers each request with ``status`` and ``headers``. While ``hold`` is set, it keeps requests unanswered.

    While ``drops`` is set, it closes the connection instead of an answer.
    """

    isLeaf = True  # noqa: N815

    def __init__(self) -> None:
        super().__init__()
        self.status = 200
        self.headers: dict[str, str] = {}
        self.reply = b"thanks"
        self.hold = self.drops = False
        self.held: list[Request] = []
        self.requests: list[ReceivedRequest] = []
        self.statuses: Callable[[ReceivedRequest], int] | None = None

    def render(self, request: Request) -> Any:
        received = ReceivedRequest(request)
        self.requests.append(received)
        if self.drops:
            cast("Any", request.transport).abortConnection()
            return NOT_DONE_YET
        request.setResponseCode(self.status if self.statuses is None else self.statuses(received))
        for name, value in self.headers.items():
            request.responseHeaders.setRawHeaders(name, [value])
        if self.hold:
            self.held.append(request)
            return NOT_DONE_YET
        return self.reply

    def release(self) -> None:
        """Answer the requests that were kept."""
        held, self.held = self.held, []
        for request in held:
            if request.channel is not None:
                request.write(self.reply)
                request.finish()


class _ScriptedServer(Protocol):
    """Sends ``content`` when a request arrives, and repeats ``endless`` until the client closes the connection."""

    def __init__(self, content: bytes, endless: bytes, close: str) -> None:
        self._content = content
        self._endless = endless
        self._close = close
        self._connected = True

    def dataReceived(self, _data: bytes) -> None:
        transport = cast("Any", self.transport)
        if self._close == "reset":
            transport.abortConnection()
            return
        transport.write(self._content)
        if self._endless:
            self._repeat()
        elif self._close:
            transport.loseConnection()

    def _repeat(self) -> None:
        if self._connected:
            cast("Any", self.transport).write(self._endless)
            reactor.callLater(0, self._repeat)

    def connectionLost(self, *_: Any) -> None:
        self._connected = False


class _TrackingFactory(WrappingFactory):
    """Tracks its connections, so that a test can wait until they are closed. ``count`` is that of all."""

    noisy = False

    def __init__(self, wrapped: Any) -> None:
        super().__init__(wrapped)
        self.count = 0

    def registerProtocol(self, p: Any) -> None:  # noqa: N802
        self.count += 1
        super().registerProtocol(p)

    async def close_connections(self) -> None:
        for connection in list(self.protocols):
            connection.transport.abortConnection()
        while self.protocols:
            await deferLater(reactor, 0.01)


class ReceiverTestCase(TestCase):
    """Starts receivers on loopback, and stops them after the test."""

    timeout = 60

    async def listen(self, factory: Any, tls: ssl.CertificateOptions | None = None, port: int = 0) -> int:
        tracking = _TrackingFactory(factory)
        endpoint: IStreamServerEndpoint = TCP4ServerEndpoint(reactor, port, interface="127.0.0.1")
        if tls is not None:
            endpoint = SSL4ServerEndpoint(reactor, port, tls, interface="127.0.0.1")
        listening = await endpoint.listen(tracking)
        self.addCleanup(lambda: Deferred.fromCoroutine(tracking.close_connections()))
        self.addCleanup(listening.stopListening)
        self.tracking = tracking
        return cast("Any", listening.getHost()).port  # type: ignore[no-any-return] # it is a TCP address

    async def start_receiver(self, tls: ssl.CertificateOptions | None = None) -> tuple[Receiver, str]:
        """Start an honest receiver, and return it and its URL."""
        receiver = Receiver()
        site = Site(receiver)
        site.noisy = False
        port = await self.listen(site, tls)
        self.addCleanup(receiver.release)
        return receiver, f"http{'s' if tls else ''}://localhost:{port}/hook"

    async def start_hostile(self, content: bytes, *, endless: bytes = b"", close: str = "") -> str:
        """Start a receiver that answers with bytes of its own, and return its URL."""
        factory = Factory.forProtocol(lambda: _ScriptedServer(content, endless, close))
        return f"http://localhost:{await self.listen(factory)}/hook"

    def make_directory(self) -> Path:
        directory = Path(self.mktemp()).absolute()
        directory.mkdir(parents=True)
        return directory

    def certificate(self, host: str = "localhost") -> Any:
        return make_certificate(self.make_directory(), host)

    def client(
        self,
        *,
        timeout: float = 50.0,
        policy: AddressPolicy = LOOPBACK,
        ca_file: Path | None = None,
        resolve: Any = None,
    ) -> HttpClient:
        return HttpClient(reactor, HttpSettings(timeout, policy, ca_file), resolve or resolver(call_directly))


async def call_directly(function: Callable[..., Any], *args: Any) -> Any:
    return function(*args)
