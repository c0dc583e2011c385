"""Tests of voxrec.certificate, with real TLS connections."""

from pathlib import Path
from typing import Any, cast

from twisted.internet import reactor as installed_reactor
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import SSL4ClientEndpoint
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.ssl import CertificateOptions
from twisted.trial.unittest import TestCase

from tests.certificates import make_pem
from voxrec.certificate import CertificateError, ReloadableEndpoint

reactor = cast("Any", installed_reactor)


class Greeter(Protocol):
    """Sends one line when the connection is open, and again for each line that it receives."""

    def connectionMade(self) -> None:
        self.transport.write(b"hello")  # type: ignore[union-attr]

    def dataReceived(self, data: bytes) -> None:
        self.transport.write(data)  # type: ignore[union-attr]


class Client(Protocol):
    """Remembers the certificate that the server presents."""

    def __init__(self) -> None:
        self.received: Deferred[bytes] = Deferred()
        self.closed: Deferred[None] = Deferred()
        self.subject = ""

    def dataReceived(self, data: bytes) -> None:
        self.subject = str(self.transport.getPeerCertificate().get_subject().CN)  # type: ignore[union-attr]
        received, self.received = self.received, Deferred()
        received.callback(data)

    def connectionLost(self, reason: object = None) -> None:
        self.closed.callback(None)


class ReloadableEndpointTests(TestCase):
    timeout = 30

    async def setUp(self) -> None:  # type: ignore[override]
        directory = Path(self.mktemp())
        self.key, self.certificate = directory / "key.pem", directory / "cert.pem"
        self.write_certificate("first")
        self.endpoint = ReloadableEndpoint(
            reactor, f"ssl:0:interface=127.0.0.1:privateKey={self.key}:certKey={self.certificate}"
        )
        factory = Factory.forProtocol(Greeter)
        factory.noisy = False
        self.port = await self.endpoint.listen(factory)
        self.clients: list[Client] = []

    async def tearDown(self) -> None:  # type: ignore[override]
        for client in self.clients:
            client.transport.loseConnection()  # type: ignore[union-attr]
            await client.closed
        await self.port.stopListening()  # type: ignore[misc]

    def write_certificate(self, name: str, *, key: bool = True) -> None:
        """Write a self-signed certificate with its key, or, without ``key``, one that does not belong to the key."""
        self.key.parent.mkdir(exist_ok=True)
        private, public = make_pem(name)
        self.certificate.write_bytes(public)
        if key:
            self.key.write_bytes(private)

    async def connect(self) -> Client:
        client = Client()
        factory = Factory.forProtocol(lambda: client)
        factory.noisy = False
        received = client.received
        address = self.port.getHost()
        await SSL4ClientEndpoint(reactor, address.host, address.port, CertificateOptions()).connect(factory)  # type: ignore[attr-defined]
        self.clients.append(client)
        self.assertEqual(await received, b"hello")
        return client

    async def test_new_connections_have_the_new_certificate_and_old_ones_continue(self) -> None:
        old = await self.connect()
        self.write_certificate("second")
        self.assertTrue(self.endpoint.reload_certificate())
        new = await self.connect()
        self.assertEqual((old.subject, new.subject), ("first", "second"))
        received = old.received
        old.transport.write(b"still here")  # type: ignore[union-attr]
        self.assertEqual(await received, b"still here")

    async def test_invalid_files_change_nothing(self) -> None:
        for break_files in (
            lambda: self.write_certificate("second", key=False),  # does not belong to the key
            lambda: self.certificate.write_text("nonsense"),
            lambda: self.certificate.unlink(),
        ):
            break_files()
            error = self.assertRaises(CertificateError, self.endpoint.reload_certificate)
            self.assertIn("cannot use the certificate of ssl:0", error.detail)
            self.assertEqual((await self.connect()).subject, "first")

    async def test_an_endpoint_without_certificate(self) -> None:
        endpoint = ReloadableEndpoint(reactor, "tcp:0:interface=127.0.0.1")
        self.assertFalse(endpoint.reload_certificate())
        port = await endpoint.listen(Factory())
        self.assertFalse(endpoint.reload_certificate())
        await port.stopListening()  # type: ignore[misc]
