"""An SMTP server on the loopback interface that stores each mail as a file and can inject faults.

``python -m voxrec.sandbox.mailbox DIRECTORY PORT`` runs it as a program.
"""

import argparse
import email
import email.policy
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from email.message import EmailMessage
from pathlib import Path

from twisted.internet import reactor as global_reactor
from twisted.internet.address import IPv4Address
from twisted.internet.defer import Deferred, maybeDeferred, succeed
from twisted.internet.interfaces import IAddress, IListeningPort, IReactorTCP, IReactorTime, ITCPTransport
from twisted.internet.protocol import Protocol
from twisted.mail.smtp import ESMTP, Address, IMessage, IMessageDelivery, SMTPBadRcpt, SMTPFactory, User
from zope.interface import implementer

from voxrec.sandbox.process import wait_until

LOOPBACK = "127.0.0.1"
REJECTED, GREYLISTED, UNAVAILABLE = 550, 451, 421
ENVELOPE_LINES = 3

_NAME = re.compile(r"(\d+)\.eml")


@dataclass
class Faults:
    """Faults to inject. A number is the count of further times that the fault occurs."""

    reject: frozenset[str] = frozenset()
    """Recipients to reject permanently (550)."""
    greylist: int = 0
    """Number of recipients to reject temporarily (451)."""
    unavailable: int = 0
    """Number of connections to greet with 421 and close."""
    drop: int = 0
    """Number of messages during whose DATA to abort the connection."""
    hang: int = 0
    """Number of connections to accept without sending anything."""

    def consume(self, fault: str) -> bool:
        """Return whether ``fault`` (greylist, unavailable, drop or hang) is to occur now, and count it if so."""
        remaining: int = getattr(self, fault)
        if remaining > 0:
            setattr(self, fault, remaining - 1)
        return remaining > 0


@dataclass
class Mailbox:
    """SMTP server that stores mails as ``1.eml``, ``2.eml``, ... in ``directory``, one file for each recipient.

    A file appears under its name only when it is complete.
    """

    directory: Path
    faults: Faults = field(default_factory=Faults)
    _listening: IListeningPort | None = None
    _sessions: set["_Session"] = field(default_factory=set)

    def listen(self, reactor: IReactorTCP, port: int = 0) -> None:
        """Start to listen on a loopback port; 0 selects an unused one."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._listening = reactor.listenTCP(port, self.factory(), interface=LOOPBACK)

    @property
    def port(self) -> int:
        """The TCP port on which the server listens. Raises RuntimeError if it does not listen."""
        if self._listening is None:
            raise RuntimeError("the mailbox is not listening")
        address = self._listening.getHost()
        if not isinstance(address, IPv4Address):
            raise TypeError(f"expected an IPv4 address, got {address!r}")
        return address.port

    async def stop(self) -> None:
        """Stop listening and abort all connections."""
        if self._listening is not None:
            await maybeDeferred(self._listening.stopListening)
            self._listening = None
        for session in list(self._sessions):
            await session.disconnect()

    def factory(self) -> SMTPFactory:
        """Return the protocol factory, for a test that connects its own transports."""
        return _Factory(self)

    def paths(self) -> list[Path]:
        """Return the files of the mails in order of arrival."""
        numbered = [
            (int(match[1]), path) for path in self.directory.glob("*.eml") if (match := _NAME.fullmatch(path.name))
        ]
        return [path for _, path in sorted(numbered)]

    def messages(self) -> list[EmailMessage]:
        """Return the parsed mails in order of arrival."""
        return [_parse(path.read_bytes()) for path in self.paths()]

    async def wait_for(self, reactor: IReactorTime, count: int = 1, seconds: float = 10.0) -> list[EmailMessage]:
        """Wait until ``count`` mails have arrived, at most ``seconds``, and return all that have."""
        await wait_until(reactor, lambda: len(self.paths()) >= count, seconds)
        return self.messages()

    def store(self, content: bytes) -> None:
        """Store one mail atomically under the next number."""
        stored = self.paths()
        number = int(stored[-1].stem) + 1 if stored else 1
        unfinished = self.directory / f".{number}.eml.part"
        unfinished.write_bytes(content)
        unfinished.rename(self.directory / f"{number}.eml")


@implementer(IMessage)
class _Message:
    def __init__(self, mailbox: Mailbox, session: "_Session", user: User) -> None:
        self._mailbox = mailbox
        self._session = session
        # The envelope, which a real server records on delivery and which the message itself need not contain.
        self._lines = [b"Return-Path: <%s>" % bytes(user.orig), b"Delivered-To: %s" % bytes(user.dest)]
        self._drop = mailbox.faults.consume("drop")

    def lineReceived(self, line: bytes) -> None:
        self._lines.append(line)
        # The third line is this server's own Received header, added before the client sends any data.
        if self._drop and len(self._lines) > ENVELOPE_LINES:
            self._session.abort()

    def eomReceived(self) -> Deferred[None]:
        # Lines that arrived together with the one at which the connection was aborted are still delivered here.
        if not self._drop:
            self._mailbox.store(b"\r\n".join(self._lines) + b"\r\n")
        return succeed(None)

    def connectionLost(self) -> None:
        self._lines.clear()


@implementer(IMessageDelivery)
class _Delivery:
    def __init__(self, mailbox: Mailbox, session: "_Session") -> None:
        self._mailbox = mailbox
        self._session = session

    def receivedHeader(self, helo: tuple[bytes, bytes], origin: Address, recipients: list[User]) -> bytes:
        del origin, recipients
        return b"Received: from %s by localhost with ESMTP" % (helo[0] or b"unknown")

    def validateFrom(self, helo: tuple[bytes, bytes], origin: Address) -> Address:
        del helo
        return origin

    def validateTo(self, user: User) -> Callable[[], IMessage]:
        if str(user.dest) in self._mailbox.faults.reject:
            raise SMTPBadRcpt(user, REJECTED, "no such mailbox")
        if self._mailbox.faults.consume("greylist"):
            raise SMTPBadRcpt(user, GREYLISTED, "greylisted, try again later")
        return lambda: _Message(self._mailbox, self._session, user)


class _Session(ESMTP):
    def __init__(self, mailbox: Mailbox) -> None:
        super().__init__()
        self._mailbox = mailbox
        self._disconnected: Deferred[None] = Deferred()
        self.delivery = _Delivery(mailbox, self)

    def connectionMade(self) -> None:
        sessions, faults = self._mailbox._sessions, self._mailbox.faults  # noqa: SLF001
        sessions.add(self)
        if faults.consume("hang"):
            return
        if faults.consume("unavailable"):
            self.sendCode(UNAVAILABLE, b"closing for maintenance")
            self._transport().loseConnection()
            return
        super().connectionMade()

    def connectionLost(self, reason: object = None) -> None:
        self._mailbox._sessions.discard(self)  # noqa: SLF001
        super().connectionLost(reason)
        self._disconnected.callback(None)

    def abort(self) -> None:
        self._transport().abortConnection()

    def _transport(self) -> ITCPTransport:
        if not ITCPTransport.providedBy(self.transport):
            raise TypeError("the transport is not TCP")
        transport: ITCPTransport = self.transport
        return transport

    async def disconnect(self) -> None:
        self.abort()
        await self._disconnected


class _Factory(SMTPFactory):
    noisy = False

    def __init__(self, mailbox: Mailbox) -> None:
        super().__init__()
        self._mailbox = mailbox
        self.domain = b"localhost"

    def buildProtocol(self, addr: IAddress | None) -> Protocol:
        del addr
        session = _Session(self._mailbox)
        session.factory = self
        session.timeout = self.timeout
        session.host = self.domain
        return session


def _parse(content: bytes) -> EmailMessage:
    message = email.message_from_bytes(content, policy=email.policy.default)
    if not isinstance(message, EmailMessage):
        raise TypeError("expected an EmailMessage from the default policy")
    return message


def main() -> None:
    """Serve until a signal arrives."""
    parser = argparse.ArgumentParser(prog="python -m voxrec.sandbox.mailbox", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--reject", action="append", default=[], metavar="ADDRESS", help="reject this recipient (550)")
    parser.add_argument("--greylist", type=int, default=0, metavar="N", help="reject the first N recipients with 451")
    parser.add_argument(
        "--unavailable", type=int, default=0, metavar="N", help="refuse the first N connections with 421"
    )
    parser.add_argument("--drop", type=int, default=0, metavar="N", help="abort the first N messages")
    parser.add_argument("--hang", type=int, default=0, metavar="N", help="never respond on the first N connections")
    options = parser.parse_args()
    faults = Faults(frozenset(options.reject), options.greylist, options.unavailable, options.drop, options.hang)
    mailbox = Mailbox(options.directory, faults)
    mailbox.listen(IReactorTCP(global_reactor), options.port)
    print(f"SMTP server at {LOOPBACK}:{mailbox.port}, mails in {options.directory}", flush=True)
    global_reactor.run()


if __name__ == "__main__":
    main()
