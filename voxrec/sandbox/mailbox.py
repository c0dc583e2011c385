"""A real SMTP server on the loopback that keeps each mail as a file, and misbehaves when told to.

``python -m voxrec.sandbox.mailbox DIRECTORY PORT`` runs it alone.
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
    """How a mailbox misbehaves. A number says how many times, from now on; after that it behaves."""

    reject: frozenset[str] = frozenset()
    """Recipients that are refused for good (550)."""
    greylist: int = 0
    """Recipients to turn away for now (451)."""
    unavailable: int = 0
    """Connections to greet with 421 and close."""
    drop: int = 0
    """Messages to cut off by closing the connection in the middle of DATA."""
    hang: int = 0
    """Connections to accept and never say a word on."""

    def due(self, fault: str) -> bool:
        """Whether the fault (greylist, unavailable, drop or hang) strikes now; counts it when it does."""
        left: int = getattr(self, fault)
        if left > 0:
            setattr(self, fault, left - 1)
        return left > 0


@dataclass
class Mailbox:
    """Mails as ``1.eml``, ``2.eml``, ... in ``directory``: one for each recipient, complete as soon as it is there."""

    directory: Path
    faults: Faults = field(default_factory=Faults)
    _listening: IListeningPort | None = None
    _sessions: set["_Session"] = field(default_factory=set)

    def listen(self, reactor: IReactorTCP, port: int = 0) -> None:
        """Start to serve on a loopback port; 0 takes a free one."""
        self.directory.mkdir(parents=True, exist_ok=True)
        self._listening = reactor.listenTCP(port, self.factory(), interface=LOOPBACK)

    @property
    def port(self) -> int:
        """The TCP port that it serves on."""
        if self._listening is None:
            raise RuntimeError("this mailbox does not listen")
        address = self._listening.getHost()
        if not isinstance(address, IPv4Address):
            raise TypeError(f"a loopback port is expected, not {address!r}")
        return address.port

    async def stop(self) -> None:
        """Stop to serve, and cut what is still connected."""
        if self._listening is not None:
            await maybeDeferred(self._listening.stopListening)
            self._listening = None
        for session in list(self._sessions):
            await session.cut()

    def factory(self) -> SMTPFactory:
        """Return the factory of its sessions, for a test that connects them itself."""
        return _Factory(self)

    def paths(self) -> list[Path]:
        """Return the mails' files, in the order in which they came."""
        numbered = [
            (int(found[1]), path) for path in self.directory.glob("*.eml") if (found := _NAME.fullmatch(path.name))
        ]
        return [path for _, path in sorted(numbered)]

    def messages(self) -> list[EmailMessage]:
        """Return the mails, in the order in which they came."""
        return [_parse(path.read_bytes()) for path in self.paths()]

    async def wait_for(self, reactor: IReactorTime, count: int = 1, seconds: float = 10.0) -> list[EmailMessage]:
        """Wait until ``count`` mails are there and return all; fewer when they did not come in time."""
        await wait_until(reactor, lambda: len(self.paths()) >= count, seconds)
        return self.messages()

    def keep(self, content: bytes) -> None:
        """Write one mail under the next number, in one step."""
        taken = self.paths()
        number = int(taken[-1].stem) + 1 if taken else 1
        unfinished = self.directory / f".{number}.eml.part"
        unfinished.write_bytes(content)
        unfinished.rename(self.directory / f"{number}.eml")


@implementer(IMessage)
class _Message:
    def __init__(self, mailbox: Mailbox, session: "_Session", user: User) -> None:
        self._mailbox = mailbox
        self._session = session
        # What a real server writes on top: the envelope, which the message itself need not show.
        self._lines = [b"Return-Path: <%s>" % bytes(user.orig), b"Delivered-To: %s" % bytes(user.dest)]
        self._cut = mailbox.faults.due("drop")

    def lineReceived(self, line: bytes) -> None:
        self._lines.append(line)
        # The first line is our own Received header, written before the client is asked for its data.
        if self._cut and len(self._lines) > ENVELOPE_LINES:
            self._session.abort()

    def eomReceived(self) -> Deferred[None]:
        # What had arrived with the line at which we cut is still handed to us.
        if not self._cut:
            self._mailbox.keep(b"\r\n".join(self._lines) + b"\r\n")
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
            raise SMTPBadRcpt(user, REJECTED, "no such mailbox here")
        if self._mailbox.faults.due("greylist"):
            raise SMTPBadRcpt(user, GREYLISTED, "greylisted, come back later")
        return lambda: _Message(self._mailbox, self._session, user)


class _Session(ESMTP):
    def __init__(self, mailbox: Mailbox) -> None:
        super().__init__()
        self._mailbox = mailbox
        self._gone: Deferred[None] = Deferred()
        self.delivery = _Delivery(mailbox, self)

    def connectionMade(self) -> None:
        sessions, faults = self._mailbox._sessions, self._mailbox.faults  # noqa: SLF001
        sessions.add(self)
        if faults.due("hang"):
            return
        if faults.due("unavailable"):
            self.sendCode(UNAVAILABLE, b"closing for maintenance")
            self._transport().loseConnection()
            return
        super().connectionMade()

    def connectionLost(self, reason: object = None) -> None:
        self._mailbox._sessions.discard(self)  # noqa: SLF001
        super().connectionLost(reason)
        self._gone.callback(None)

    def abort(self) -> None:
        self._transport().abortConnection()

    def _transport(self) -> ITCPTransport:
        if not ITCPTransport.providedBy(self.transport):
            raise TypeError("SMTP is spoken over TCP here")
        transport: ITCPTransport = self.transport
        return transport

    async def cut(self) -> None:
        self.abort()
        await self._gone


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
        raise TypeError("the default policy makes an EmailMessage")
    return message


def main() -> None:
    """Serve until a signal ends it."""
    parser = argparse.ArgumentParser(prog="python -m voxrec.sandbox.mailbox", description=__doc__)
    parser.add_argument("directory", type=Path)
    parser.add_argument("port", type=int)
    parser.add_argument("--reject", action="append", default=[], metavar="ADDRESS", help="refuse this recipient (550)")
    parser.add_argument("--greylist", type=int, default=0, metavar="N", help="451 for the first N recipients")
    parser.add_argument("--unavailable", type=int, default=0, metavar="N", help="421 for the first N connections")
    parser.add_argument("--drop", type=int, default=0, metavar="N", help="cut the first N messages off")
    parser.add_argument("--hang", type=int, default=0, metavar="N", help="leave the first N connections without a word")
    options = parser.parse_args()
    faults = Faults(frozenset(options.reject), options.greylist, options.unavailable, options.drop, options.hang)
    mailbox = Mailbox(options.directory, faults)
    mailbox.listen(IReactorTCP(global_reactor), options.port)
    print(f"mail to {LOOPBACK}:{mailbox.port} lands in {options.directory}", flush=True)
    global_reactor.run()


if __name__ == "__main__":
    main()
