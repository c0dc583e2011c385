"""Mail relays for the tests, on loopback: a real one (twisted.mail's), and one that says what it is told to say."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from twisted.cred.checkers import AllowAnonymousAccess, InMemoryUsernamePasswordDatabaseDontUse
from twisted.cred.portal import IRealm, Portal
from twisted.internet import reactor as installed_reactor
from twisted.internet import ssl
from twisted.internet.base import ReactorBase
from twisted.internet.defer import Deferred, succeed
from twisted.internet.endpoints import SSL4ServerEndpoint, TCP4ServerEndpoint
from twisted.internet.interfaces import ISSLTransport, IStreamServerEndpoint
from twisted.internet.protocol import Factory
from twisted.internet.task import deferLater
from twisted.mail import smtp
from twisted.protocols.basic import LineOnlyReceiver
from twisted.protocols.policies import WrappingFactory
from twisted.trial.unittest import TestCase
from zope.interface import implementer

reactor = cast("ReactorBase", installed_reactor)
USER, PASSWORD = "voxrec", "s3cret-\u00fc"


class Mailbox:
    """What arrived: (envelope recipients, message with CRLF) for each message; and how the clients came."""

    def __init__(self) -> None:
        self.letters: list[tuple[str, bytes]] = []
        self.secure: list[bool] = []
        self.refusals: dict[str, tuple[int, str]] = {}
        self.after_data: tuple[int, bytes] | None = None


@implementer(smtp.IMessage)
class _Letter:
    def __init__(self, mailbox: Mailbox, recipient: str) -> None:
        self._mailbox = mailbox
        self._recipient = recipient
        self._lines: list[bytes] = []

    def lineReceived(self, line: bytes) -> None:
        self._lines.append(line)

    def eomReceived(self) -> Deferred[None]:
        self._mailbox.letters.append((self._recipient, b"".join(line + b"\r\n" for line in self._lines)))
        return succeed(None)

    def connectionLost(self) -> None:
        pass


@implementer(smtp.IMessageDelivery)
class _Delivery:
    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    def receivedHeader(self, _helo: object, _origin: object, _recipients: object) -> bytes:
        return b""

    def validateFrom(self, _helo: object, origin: smtp.Address) -> smtp.Address:
        return origin

    def validateTo(self, user: smtp.User) -> Callable[[], _Letter]:
        recipient = str(user.dest)
        if recipient in self._mailbox.refusals:
            raise smtp.SMTPServerError(*self._mailbox.refusals[recipient])
        return lambda: _Letter(self._mailbox, recipient)


@implementer(IRealm)
class _Realm:
    def __init__(self, mailbox: Mailbox) -> None:
        self._mailbox = mailbox

    def requestAvatar(self, _avatar_id: object, _mind: object, *_interfaces: object) -> tuple[Any, Any, Any]:  # noqa: N802
        return smtp.IMessageDelivery, _Delivery(self._mailbox), lambda: None


class _Server(smtp.ESMTP):
    mailbox: Mailbox
    noisy = False

    def do_MAIL(self, rest: bytes) -> None:  # noqa: N802
        self.mailbox.secure.append(self.startedTLS or ISSLTransport.providedBy(self.transport))
        super().do_MAIL(rest)

    def _messageHandled(self, results: Any) -> None:  # noqa: N802
        if self.mailbox.after_data is None:
            super()._messageHandled(results)
        else:
            self.sendCode(*self.mailbox.after_data)


class _Script(LineOnlyReceiver):
    """Answers each command by its first word from ``answers``; an empty answer is silence, None hangs up."""

    delimiter = b"\r\n"
    MAX_LENGTH = 1 << 20

    def __init__(self, answers: Mapping[str, bytes | None], heard: list[str]) -> None:
        self._answers = answers
        self._heard = heard
        self._in_data = False

    def connectionMade(self) -> None:
        self._answer("greeting", b"220 scripted\r\n")

    def lineReceived(self, line: bytes) -> None:
        if self._in_data:
            self._in_data = line != b"."
            if not self._in_data:
                self._answer("end", b"250 queued\r\n")
            elif "line" in self._answers:
                self._answer("line", b"")
            return
        word = line.split(b" ")[0].split(b":")[0].decode().upper()
        self._in_data = word == "DATA" and (self._answers.get("DATA", b"354") or b"").startswith(b"354")
        self._answer(word, {"DATA": b"354 go on\r\n", "QUIT": b"221 bye\r\n"}.get(word, b"250 fine\r\n"))

    def _answer(self, word: str, usual: bytes) -> None:
        self._heard.append(word)
        answer = self._answers.get(word, usual)
        assert self.transport is not None
        if answer is None:
            self.transport.loseConnection()
        else:
            self.transport.write(answer)


class _Tracking(WrappingFactory):
    """Knows its connections, so that a test can wait for them to end."""

    def __init__(self, wrapped: Factory[Any]) -> None:
        super().__init__(wrapped)
        self.noisy = False

    async def emptied(self) -> None:
        for connection in list(self.protocols):
            connection.transport.abortConnection()
        while self.protocols:
            await deferLater(reactor, 0.01)


@dataclass(frozen=True)
class Identity:
    """A certificate for localhost, self-made, and where it is as a CA file."""

    context: ssl.CertificateOptions
    ca_file: Path


def identity(directory: Path, host: str = "localhost") -> Identity:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, host)])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    public = certificate.public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    ca_file = directory / f"{host}.pem"
    ca_file.write_bytes(b"the relay's own:\n" + public)
    return Identity(ssl.PrivateCertificate.loadPEM(public + private).options(), ca_file)


class RelayTestCase(TestCase):
    """Starts relays on loopback, and sees to it that nothing of them is left."""

    async def listen(self, factory: Factory[Any], tls: ssl.CertificateOptions | None = None) -> int:
        """Return the port."""
        tracking = _Tracking(factory)
        endpoint: IStreamServerEndpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        if tls is not None:
            endpoint = SSL4ServerEndpoint(reactor, 0, tls, interface="127.0.0.1")
        port = await endpoint.listen(tracking)
        self.addCleanup(lambda: Deferred.fromCoroutine(tracking.emptied()))
        self.addCleanup(port.stopListening)
        return cast("int", port.getHost().port)  # type: ignore[attr-defined] # it is TCP

    async def start_relay(
        self,
        mailbox: Mailbox,
        *,
        starttls: ssl.CertificateOptions | None = None,
        implicit: ssl.CertificateOptions | None = None,
        mechanisms: Mapping[bytes, Any] = MappingProxyType({}),
    ) -> int:
        """Start twisted.mail's server; where there are ``mechanisms``, it takes mail only from who uses one."""
        portal = Portal(_Realm(mailbox))
        if mechanisms:
            users = InMemoryUsernamePasswordDatabaseDontUse()
            users.addUser(USER.encode(), PASSWORD.encode())
            portal.registerChecker(users)
        else:
            portal.registerChecker(AllowAnonymousAccess())

        def protocol() -> _Server:
            server = _Server(chal=dict(mechanisms), contextFactory=starttls)
            server.mailbox = mailbox
            return server

        factory = smtp.SMTPFactory(portal)
        factory.domain = b"relay.test"
        factory.protocol = protocol  # type: ignore[assignment] # any callable will do
        return await self.listen(factory, implicit)

    async def start_script(self, answers: Mapping[str, bytes | None], heard: list[str] | None = None) -> int:
        """Start a relay that answers as told."""
        return await self.listen(Factory.forProtocol(lambda: _Script(answers, [] if heard is None else heard)))
