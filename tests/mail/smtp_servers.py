"""Fixtures: SMTP servers on loopback: the one of twisted.mail, and one with scripted replies."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

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

from tests.certificates import make_pem

reactor = cast("ReactorBase", installed_reactor)
USER, PASSWORD = "voxrec", "s3cret-\u00fc"


class Mailbox:
    """The messages received, as (envelope recipient, message with CRLF), and the replies to give.

    ``secure`` has an entry for each MAIL command: whether it was received under TLS. ``closes_at_data_end``: messages
    are received, but the connection is closed instead of a reply.
    """

    def __init__(self) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self.secure: list[bool] = []
        self.refusals: dict[str, tuple[int, str]] = {}
        self.reply_to_data_end: tuple[int, bytes] | None = None
        self.closes_at_data_end = False


@implementer(smtp.IMessage)
class _Message:
    def __init__(self, mailbox: Mailbox, recipient: str) -> None:
        self._mailbox = mailbox
        self._recipient = recipient
        self._lines: list[bytes] = []

    def lineReceived(self, line: bytes) -> None:
        self._lines.append(line)

    def eomReceived(self) -> Deferred[None]:
        self._mailbox.messages.append((self._recipient, b"".join(line + b"\r\n" for line in self._lines)))
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

    def validateTo(self, user: smtp.User) -> Callable[[], _Message]:
        recipient = str(user.dest)
        if recipient in self._mailbox.refusals:
            raise smtp.SMTPServerError(*self._mailbox.refusals[recipient])
        return lambda: _Message(self._mailbox, recipient)


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
        if self.mailbox.closes_at_data_end:
            cast("Any", self.transport).loseConnection()
        elif self.mailbox.reply_to_data_end is None:
            super()._messageHandled(results)
        else:
            self.sendCode(*self.mailbox.reply_to_data_end)


class _ScriptedServer(LineOnlyReceiver):
    """Replies to each command, by its first word, with an entry of ``replies``.

    An empty reply sends nothing, and None closes the connection. Further entries are ``greeting``, ``line`` (each line
    of the message) and ``end`` (of the message). The commands are appended to ``commands``.
    """

    delimiter = b"\r\n"
    MAX_LENGTH = 1 << 20

    def __init__(self, replies: Mapping[str, bytes | None], commands: list[str]) -> None:
        self._replies = replies
        self._commands = commands
        self._in_data = False

    def connectionMade(self) -> None:
        self._reply("greeting", b"220 scripted\r\n")

    def lineReceived(self, line: bytes) -> None:
        if self._in_data:
            self._in_data = line != b"."
            if not self._in_data:
                self._reply("end", b"250 queued\r\n")
            elif "line" in self._replies:
                self._reply("line", b"")
            return
        command = line.split(b" ")[0].split(b":")[0].decode().upper()
        self._in_data = command == "DATA" and (self._replies.get("DATA", b"354") or b"").startswith(b"354")
        self._reply(command, {"DATA": b"354 go on\r\n", "QUIT": b"221 bye\r\n"}.get(command, b"250 fine\r\n"))

    def _reply(self, command: str, default: bytes) -> None:
        self._commands.append(command)
        reply = self._replies.get(command, default)
        assert self.transport is not None
        if reply is None:
            self.transport.loseConnection()
        else:
            self.transport.write(reply)


class _TrackingFactory(WrappingFactory):
    """Tracks its connections, so that a test can wait until they are closed."""

    def __init__(self, wrapped: Factory[Any]) -> None:
        super().__init__(wrapped)
        self.noisy = False

    async def close_connections(self) -> None:
        for connection in list(self.protocols):
            connection.transport.abortConnection()
        while self.protocols:
            await deferLater(reactor, 0.01)


@dataclass(frozen=True)
class ServerCertificate:
    """A self-signed certificate: the server's TLS context, and the CA file for clients."""

    context: ssl.CertificateOptions
    ca_file: Path


def make_certificate(directory: Path, host: str = "localhost") -> ServerCertificate:
    private, public = make_pem(host)
    ca_file = directory / f"{host}.pem"
    ca_file.write_bytes(b"text before the certificate\n" + public)
    return ServerCertificate(ssl.PrivateCertificate.loadPEM(public + private).options(), ca_file)


class RelayTestCase(TestCase):
    """Starts SMTP servers on loopback and stops them after the test."""

    async def listen(self, factory: Factory[Any], tls: ssl.CertificateOptions | None = None) -> int:
        """Listen on a free port and return it."""
        tracking = _TrackingFactory(factory)
        endpoint: IStreamServerEndpoint = TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1")
        if tls is not None:
            endpoint = SSL4ServerEndpoint(reactor, 0, tls, interface="127.0.0.1")
        port = await endpoint.listen(tracking)
        self.addCleanup(lambda: Deferred.fromCoroutine(tracking.close_connections()))
        self.addCleanup(port.stopListening)
        return cast("int", port.getHost().port)  # type: ignore[attr-defined] # it is a TCP address

    async def start_relay(
        self,
        mailbox: Mailbox,
        *,
        starttls: ssl.CertificateOptions | None = None,
        implicit: ssl.CertificateOptions | None = None,
        mechanisms: Mapping[bytes, Any] = MappingProxyType({}),
    ) -> int:
        """Start the server of twisted.mail. With ``mechanisms`` it requires authentication by one of them."""
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
        factory.protocol = protocol  # type: ignore[assignment] # any callable can be used
        return await self.listen(factory, implicit)

    async def start_scripted_server(
        self, replies: Mapping[str, bytes | None], commands: list[str] | None = None
    ) -> int:
        """Start a server with scripted replies."""
        return await self.listen(
            Factory.forProtocol(lambda: _ScriptedServer(replies, [] if commands is None else commands))
        )
