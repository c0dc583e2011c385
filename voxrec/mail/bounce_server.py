"""The LMTP server (RFC 2033) through which the mail server of this machine passes on what was returned.

It accepts one recipient in each message: a bounce address that voxrec has signed. Such an address is of one mail, so
that a mail server has no reason to send more. Clients may also speak SMTP, whose replies are the same then.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IAddress, IDelayedCall
from twisted.internet.protocol import ServerFactory
from twisted.logger import Logger
from twisted.mail import smtp
from twisted.python.failure import Failure
from zope.interface import implementer

from voxrec.bounce_address import BounceToken
from voxrec.errors import VoxrecError

KEPT_BYTES: Final = 262_144
"""The beginning of a message that is read; the report comes before the returned mail (RFC 6522 section 3)."""
MAX_BYTES: Final = 104_857_600
"""Maximum size of a message: a mail server may return the whole mail with its audio."""
MAX_CONNECTIONS: Final = 20
MAX_MESSAGES: Final = 600
"""Maximum number of messages in a minute, of all clients; further ones are refused until later."""
_CLOSED: Final = Failure(ConnectionDone())
_MINUTE: Final = 60.0  # seconds
_TIMEOUT: Final = 300  # seconds (RFC 5321 section 4.5.3.2.7)
_MAX_SESSION: Final = 3600.0  # seconds; the timeout never ends a client that sends a line now and then
_MAX_LINE: Final = 65_536  # bytes; some servers return lines that are longer than RFC 5321 permits


class Intake(Protocol):
    """What handles the messages, see `voxrec.mail.bounces.BounceIntake`."""

    async def find_token(self, address: str) -> BounceToken | None:
        """Return the token of an envelope recipient; None unless voxrec has signed it."""

    async def receive(self, token: BounceToken, data: bytes) -> None:
        """Store what a message reports."""


class _Refused(Exception):
    """A message that is not accepted, with the reply to its end."""

    def __init__(self, code: int, text: bytes) -> None:
        super().__init__(code, text)
        self.code = code
        self.text = text


@implementer(smtp.IMessage)
class _Message:
    """A message while it is received. Only its beginning is kept."""

    def __init__(self, intake: Intake, token: BounceToken) -> None:
        self._intake = intake
        self._token = token
        self._lines: list[bytes] = []
        self._size = 0

    def lineReceived(self, line: bytes) -> None:
        """Keep a line."""
        if self._size < KEPT_BYTES:
            self._lines.append(line)
        self._size += len(line) + 2

    def eomReceived(self) -> Deferred[None]:
        """Pass the message on. The Deferred fires when what it reports is stored."""
        return Deferred.fromCoroutine(self._receive())

    async def _receive(self) -> None:
        if self._size > MAX_BYTES:
            raise _Refused(552, b"5.3.4 the message is too large")
        try:
            await self._intake.receive(self._token, b"\n".join([*self._lines, b""]))
        except VoxrecError:
            raise _Refused(451, b"4.3.0 the report cannot be stored now; try again later") from None

    def connectionLost(self) -> None:
        """Forget an incomplete message."""
        self._lines.clear()


class BounceProtocol(smtp.SMTP):
    """A session of LMTP."""

    noisy = False  # Twisted would log the addresses
    timeout = _TIMEOUT
    MAX_LENGTH = _MAX_LINE
    _log = Logger()

    def __init__(
        self, clock: Any, intake: Intake, count_message: Callable[[], bool], on_closed: Callable[[], None]
    ) -> None:
        """``count_message`` returns False if too many messages were received."""
        super().__init__()
        self._clock = clock
        self._intake = intake
        self._count_message = count_message
        self._on_closed = on_closed
        self._has_recipient = False
        self._end: IDelayedCall | None = None

    def connectionMade(self) -> None:
        """Begin the session, whose time is limited."""
        super().connectionMade()
        self._end = self.callLater(_MAX_SESSION, self.transport.abortConnection)  # type: ignore[union-attr]

    def connectionLost(self, reason: Failure = _CLOSED) -> None:
        """Forget an incomplete message."""
        super().connectionLost(reason)
        if self._end is not None and self._end.active():
            self._end.cancel()
        self._on_closed()

    def callLater(self, period: float, func: Any) -> IDelayedCall:  # noqa: N802 - Twisted's name
        """Run the inherited timeout on the clock that was passed in."""
        delayed: IDelayedCall = self._clock.callLater(period, func)
        return delayed

    def greeting(self) -> bytes:
        """Return the text of the greeting."""
        return b"voxrec LMTP: only returned mail"

    def do_LHLO(self, rest: bytes) -> None:  # noqa: N802 - Twisted's name
        """Reply with the extensions. Reports may be international (RFC 6533)."""
        self._helo = (rest, b"")
        self._from, self._to, self._has_recipient = None, [], False
        self.sendCode(250, b"voxrec\n8BITMIME\nENHANCEDSTATUSCODES\nSMTPUTF8\nSIZE %d" % MAX_BYTES)

    do_EHLO = do_HELO = do_LHLO  # noqa: N815 - Twisted's names

    def do_NOOP(self, _rest: bytes) -> None:  # noqa: N802 - Twisted's name
        """Do nothing."""
        self.sendCode(250, b"2.0.0 OK")

    def do_RSET(self, rest: bytes) -> None:  # noqa: N802 - Twisted's name
        """Abort the transaction."""
        self._has_recipient = False
        super().do_RSET(rest)

    def validateFrom(self, _helo: object, origin: smtp.Address) -> smtp.Address:
        """Refuse what is not a report: that has no sender (RFC 3464 section 2), so that nothing is ever returned."""
        self._has_recipient = False
        if bytes(origin):
            raise smtp.SMTPServerError(550, "5.7.1 only reports are accepted here: MAIL FROM:<>")
        if not self._count_message():
            raise smtp.SMTPServerError(451, "4.7.1 too many messages; try again later")
        return origin

    def validateTo(self, user: smtp.User) -> Deferred[Callable[[], _Message]]:
        """Accept a bounce address that voxrec has signed."""
        return Deferred.fromCoroutine(self._validate_recipient(bytes(user.dest).decode("ascii", "replace")))

    async def _validate_recipient(self, address: str) -> Callable[[], _Message]:
        if self._has_recipient:
            raise smtp.SMTPServerError(452, "4.5.3 one recipient in each message")
        self._has_recipient = True
        try:
            token = await self._intake.find_token(address)
        except VoxrecError:
            self._has_recipient = False
            raise smtp.SMTPServerError(451, "4.3.0 the address cannot be verified now; try again later") from None
        if token is None:
            self._has_recipient = False
            raise smtp.SMTPServerError(550, "5.1.1 unknown address")
        return lambda: _Message(self._intake, token)

    def receivedHeader(self, _helo: object, _origin: object, _recipients: object) -> bytes:
        """Add no header."""
        return b""

    def lineLengthExceeded(self, _line: bytes) -> None:
        """Close the connection: what follows is not a command."""
        self.sendCode(500, b"5.5.2 line too long")
        self.transport.loseConnection()  # type: ignore[union-attr]

    def _messageHandled(self, results: Sequence[tuple[bool, Any]]) -> None:  # noqa: N802 - Twisted's name
        """Reply to the end of the message. Twisted's own reply is 550 also if a later attempt can succeed."""
        self._has_recipient = False
        for success, result in results:
            if success:
                continue
            if isinstance(result, Failure) and isinstance(result.value, _Refused):
                self.sendCode(result.value.code, result.value.text)
            else:
                self._log.failure("a returned mail could not be handled; its server tries again", result)
                self.sendCode(451, b"4.3.0 internal error; try again later")
            return
        self.sendCode(250, b"2.0.0 the report is stored")


class BounceFactory(ServerFactory):
    """Accepts a limited number of connections and messages."""

    def __init__(self, clock: Any, intake: Intake) -> None:
        self._clock = clock
        self._intake = intake
        self._connections = 0
        self._times: deque[float] = deque()

    def buildProtocol(self, _addr: IAddress | None) -> BounceProtocol | None:
        """Return the protocol of a connection; None, which closes it, if there are too many."""
        if self._connections >= MAX_CONNECTIONS:
            return None
        self._connections += 1
        return BounceProtocol(self._clock, self._intake, self._count_message, self._connection_closed)

    def _connection_closed(self) -> None:
        self._connections -= 1

    def _count_message(self) -> bool:
        now = self._clock.seconds()
        while self._times and now - self._times[0] >= _MINUTE:
            self._times.popleft()
        if len(self._times) >= MAX_MESSAGES:
            return False
        self._times.append(now)
        return True
