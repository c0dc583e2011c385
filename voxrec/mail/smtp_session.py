"""The protocol of one SMTP session: sends one message, and decides about each recipient from the relay's replies.

The relay is not trusted: the length of its replies, their number and the time that they take are limited.
"""

import io
import re
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.mail import smtp
from twisted.python.failure import Failure

from voxrec.errors import DeliveryError
from voxrec.loopback import is_loopback_address
from voxrec.mail.envelope import Envelope, Refusal, Relay, SendResult
from voxrec.mailaddress import encode_mail_address
from voxrec.sanitize import sanitize_line

_DATA_END_TIMEOUT: Final = 600.0  # seconds; a shorter one causes duplicates (RFC 5321 section 4.5.3.2.6)
_MISSING_EXTENSIONS: Final[dict[type[object], str]] = {  # Twisted invents a code and a reply for these errors
    smtp.AUTHRequiredError: "a supported authentication mechanism",
    smtp.EHLORequiredError: "ESMTP, which TLS and authentication require",
    smtp.TLSRequiredError: "STARTTLS",
}
_CONNECTION_DONE: Final = Failure(ConnectionDone())
_QUIT_TIMEOUT: Final = 5.0  # seconds; the result is known by then
_AUTHENTICATION_CODES: Final = frozenset((530, 534, 535, 538))  # RFC 4954; not about the message
_EXCEEDED_STORAGE: Final = 552  # RFC 1870 and RFC 5321: the message is too large, or the mailbox is full
# RFC 3463: message too big for the system (X.3.4), message length exceeds the recipient's limit (X.2.3)
_TOO_LARGE_STATUS: Final = re.compile(r"[45]\.(?:3\.4|2\.3)\b")
_MAX_LINE: Final = 16_384  # bytes in a line of a reply; RFC 5321 section 4.5.3.1.5 allows 512
_MAX_REPLY_LINES: Final = 100  # a reply to EHLO has about ten
_MAX_RECEIVED: Final = 1 << 20  # bytes in a session
_MAX_CHALLENGES: Final = 4  # of an authentication; LOGIN has two
_SMTPUTF8: Final = b"SMTPUTF8"
_SMTPUTF8_MISSING: Final = (
    "not sent: characters other than ASCII before the @ of an address need a mail relay with SMTPUTF8 (RFC 6531); this "
    "relay does not offer it"
)
_SIZE_LIMIT: Final = re.compile(rb"[0-9]{1,20}")  # RFC 1870 section 3


class Session(smtp.ESMTPClient):
    """The protocol of a session that sends one message. ``outcome`` fires when the connection is closed.

    Twisted's ESMTPSender is not used, because it loses the result if the connection is lost, puts a log with the
    credentials into every error, takes a 2xx reply before the end of the data for success, and does not return the
    relay's replies. The commands are sent by ESMTPClient, and this class decides about the result.
    """

    debug = False  # the protocol log would contain the credentials
    MAX_LENGTH = _MAX_LINE

    def __init__(self, clock: IReactorTime, relay: Relay, envelope: Envelope, context: Any) -> None:
        secret = relay.password.encode() if relay.username else None
        super().__init__(secret, context, relay.helo_domain)
        self.outcome: Deferred[SendResult] = Deferred(lambda _: self._abort())
        self._reply_timeout = relay.timeout
        self.requireAuthentication = bool(relay.username)
        self.requireTransportSecurity = relay.tls != "none"
        self.heloFallback = True  # Twisted sets it to False if authentication or TLS is required
        self._clock = clock
        self._envelope = envelope
        self._sending_data = False
        self._data_sent = False
        self._at_line_start = True
        self._received = 0
        self._reply_lines = 0
        self._challenges = 0
        self._size_offered = False
        self._size_limit: int | None = None  # bytes
        self._extensions: frozenset[bytes] = frozenset()
        self._recipients = envelope.recipients
        self._not_sent: tuple[Refusal, ...] = ()
        self._result: SendResult | DeliveryError | None = None
        for authenticator in _authenticators(relay):
            self.registerAuthenticator(authenticator)

    # Input for ESMTPClient.

    def connectionMade(self) -> None:
        """Wait for the greeting."""
        super().connectionMade()
        self.setTimeout(self._reply_timeout)
        self.transport.setTcpNoDelay(True)  # type: ignore[union-attr] # saves 40 ms at the end of a short message

    def callLater(self, period: float, func: Any) -> IDelayedCall:  # noqa: N802 - Twisted's name
        """Run the inherited timeout on the clock that was passed in."""
        return self._clock.callLater(period, func)

    def sendLine(self, line: bytes) -> None:  # noqa: N802 - Twisted's name
        """Send a command, and wait for its reply for at most the reply timeout."""
        self._reply_lines = 0
        super().resetTimeout()
        super().sendLine(line)

    def resetTimeout(self) -> None:  # noqa: N802 - Twisted's name
        """Ignore the lines that Twisted takes for progress: a reply that never ends must not prolong its timeout."""

    def getMailFrom(self) -> str:
        """Return the envelope's sender."""
        return self._envelope.sender

    def getMailTo(self) -> list[str]:
        """Return the recipients that are sent to the relay."""
        return self._recipients

    def getMailData(self) -> io.BytesIO:
        """Return the message, to be read in chunks."""
        self._sending_data = True
        return io.BytesIO(self._envelope.message)

    def transformChunk(self, chunk: bytes) -> bytes:  # noqa: N802 - Twisted's name
        """Return the chunk with CRLF line ends and dot-stuffing (RFC 5321 section 4.5.2).

        The inherited method misses a dot at the start of a chunk, and turns CRLF into CRCRLF.
        """
        super().resetTimeout()
        encoded = chunk.replace(b"\r", b"").replace(b"\n", b"\r\n").replace(b"\n.", b"\n..")
        if self._at_line_start and encoded.startswith(b"."):
            encoded = b"." + encoded
        if encoded:
            self._at_line_start = encoded.endswith(b"\n")
        return encoded

    def finishedFileTransfer(self, _lastsent: object) -> None:  # noqa: N802 - Twisted's name
        """Send the end of the data. From here on the relay may have accepted the message, whatever else happens."""
        self._sending_data = False
        self._data_sent = True
        self.setTimeout(max(_DATA_END_TIMEOUT, self._reply_timeout))
        self.sendLine(b"." if self._at_line_start else b"\r\n.")

    # Input from the relay, and its limits.

    def dataReceived(self, data: bytes) -> None:
        """Fail if the relay sends more than every reply together can have."""
        self._received += len(data)
        if self._received > _MAX_RECEIVED:
            self.fail(f"sent more than {_MAX_RECEIVED} bytes")
        else:
            super().dataReceived(data)

    def lineReceived(self, line: bytes) -> None:
        """Fail if a reply has too many lines."""
        self._reply_lines += 1
        if self._reply_lines > _MAX_REPLY_LINES:
            self.fail(f"sent a reply of more than {_MAX_REPLY_LINES} lines")
        else:
            super().lineReceived(line)

    def lineLengthExceeded(self, _line: bytes) -> None:
        """Fail because the server does not speak SMTP."""
        self.fail("sent a line that is too long for SMTP")

    def timeoutConnection(self) -> None:
        """Fail because the relay did not complete its reply within the timeout."""
        self.fail("did not answer in time")

    # Events from ESMTPClient.

    def esmtpState_starttls(self, code: int, resp: bytes) -> None:  # noqa: N802 - Twisted's name
        """Fail if unencrypted data follows the relay's reply: it would be taken for data received under TLS."""
        if self.clearLineBuffer():
            self.fail("sent unencrypted data after its reply to STARTTLS")
            return
        super().esmtpState_starttls(code, resp)

    def tryTLS(self, code: int, resp: bytes, items: dict[bytes, bytes | None]) -> None:  # noqa: N802 - Twisted's name
        """Read the relay's extensions and its size limit. Their names have no letter case (RFC 5321 section 2.4)."""
        extensions = {name.upper(): parameters for name, parameters in items.items()}
        self._extensions = frozenset(extensions)
        self._read_size_limit(extensions)
        super().tryTLS(code, resp, extensions)

    def authenticate(self, code: int, resp: bytes, items: dict[bytes, bytes | None]) -> None:
        """Fail if the password would be sent unencrypted over a network."""
        encrypted = self._tlsMode or is_loopback_address(getattr(self.transport.getPeer(), "host", ""))  # type: ignore[union-attr]
        if self.requireAuthentication and not encrypted:
            self._finish(DeliveryError("is not encrypted, so the password is not sent", permanent=False))
        else:
            super().authenticate(code, resp, items)

    def smtpState_maybeAuthenticated(self, code: int, resp: bytes) -> None:
        """Fail if the authentication does not end."""
        self._challenges += 1
        if self._challenges > _MAX_CHALLENGES:
            self.fail(f"sent more than {_MAX_CHALLENGES} authentication challenges")
        else:
            super().smtpState_maybeAuthenticated(code, resp)

    def smtpState_from(self, _code: int, _resp: bytes) -> None:
        """Send MAIL with the size of the message, unless it exceeds the relay's limit (RFC 1870 section 6).

        Without SMTPUTF8, nothing that needs it is sent.
        """
        supported = self._envelope.recipients_for(smtputf8=_SMTPUTF8 in self._extensions)
        self._not_sent = tuple(
            Refusal(one, _SMTPUTF8_MISSING, permanent=True) for one in self._envelope.recipients if one not in supported
        )
        self._recipients = supported
        if not supported:
            self._finish(SendResult((), self._not_sent, _SMTPUTF8_MISSING))
            return
        size = self._envelope.size
        if self._size_limit is not None and size > self._size_limit:
            reply = f"the message has {size} bytes; the relay accepts at most {self._size_limit}"
            refused = tuple(Refusal(one, reply, permanent=True, too_large=True) for one in supported)
            self._finish(SendResult((), self._not_sent + refused, reply))
            return
        self._from = self._envelope.sender
        self._expected = [250]
        self._okresponse = self.smtpState_to
        self._failresponse = self.smtpTransferFailed
        sender = encode_mail_address(self._envelope.sender)
        self.sendLine(f"MAIL FROM:<{sender}>{self._mail_parameters(size)}".encode())

    def _mail_parameters(self, size: int) -> str:
        parameters = f" SIZE={size}" if self._size_offered else ""
        if b"DSN" in self._extensions:  # a returned mail then lacks the audio (RFC 3461 section 4.3)
            parameters += " RET=HDRS"
        if self._envelope.recipients_for(smtputf8=False) == self._recipients:
            return parameters
        # the body is ASCII; the headers may not be (RFC 6531 section 3.6)
        return parameters + (" BODY=8BITMIME" if b"8BITMIME" in self._extensions else "") + " SMTPUTF8"

    def smtpState_toOrData(self, code: int, resp: bytes) -> None:
        """Handle the reply to one RCPT, and send the next one; after the last one, DATA."""
        if self.lastAddress is not None:
            self.toAddressesResult.append((self.lastAddress, code, resp))
            if code in smtp.SUCCESS:
                self.successAddresses.append(self.lastAddress)
        try:
            self.lastAddress = next(self.toAddresses)
        except StopIteration:
            self._end_recipients(code, resp)
        else:
            self.sendLine(f"RCPT TO:<{encode_mail_address(self.lastAddress)}>".encode())

    def _end_recipients(self, code: int, _resp: bytes) -> None:
        if not self.successAddresses:
            self.smtpState_msgSent(code, "No recipients accepted")
            return
        self._expected = [354]
        self._okresponse = self.smtpState_data
        self.sendLine(b"DATA")

    def smtpState_msgSent(self, code: int, resp: bytes | str) -> None:
        """Handle the relay's last reply about the message, positive or negative."""
        self._finish(self._make_result(code, _format_reply(code, resp)))

    def sendError(self, exc: Exception) -> None:
        """Handle an error before the relay made a decision about the message."""
        self._finish(DeliveryError(describe_error(exc), permanent=False))

    def connectionLost(self, reason: Failure = _CONNECTION_DONE) -> None:
        """Fire ``outcome`` with the result; without one, the relay closed the connection."""
        super().connectionLost(reason)
        self._set_result(DeliveryError(f"closed the connection: {describe_error(reason.value)}", permanent=False))
        if not self.outcome.called:
            if isinstance(self._result, SendResult):
                self.outcome.callback(self._result)
            elif self._result is not None:
                self.outcome.errback(self._result)

    # The result.

    def fail(self, reason: str) -> None:
        """Abort the connection. If there is no result yet, it is a temporary error with this reason."""
        self._set_result(DeliveryError(reason, permanent=False))
        self._abort()

    def _read_size_limit(self, extensions: dict[bytes, bytes | None]) -> None:
        """Read the extension SIZE (RFC 1870 section 4): a limit of 0, or none, means that no limit is known."""
        parameters = (extensions.get(b"SIZE") or b"").split()
        limit = int(parameters[0]) if parameters and _SIZE_LIMIT.fullmatch(parameters[0]) else 0
        self._size_offered = b"SIZE" in extensions
        self._size_limit = limit or None

    def _set_result(self, result: SendResult | DeliveryError) -> None:
        if self._result is None:  # later errors are consequences of closing the connection
            if self._data_sent and isinstance(result, DeliveryError):
                result = self._unconfirmed(result)
            self._result = result

    def _unconfirmed(self, error: DeliveryError) -> SendResult:
        """Return the result of a session that failed after the end of the data.

        The relay may have accepted the message before (RFC 5321 section 6.1, RFC 1047). If a connection fails earlier,
        the relay must discard the message (RFC 5321 section 4.1.1.10).
        """
        reply = f"{error.detail}, after it had received the mail"
        return SendResult((), self._refused_recipients(), reply, unconfirmed=tuple(self.successAddresses))

    def _make_result(self, code: int, reply: str) -> SendResult | DeliveryError:
        refused = self._refused_recipients()
        if not self.successAddresses and self.toAddressesResult:
            return SendResult((), refused, refused[-1].reply)
        if code in smtp.SUCCESS and self._data_sent:
            return SendResult(tuple(self.successAddresses), refused, reply)
        if not 400 <= code <= 599:
            return DeliveryError(f"sent an unexpected reply: {reply}", permanent=False)
        # the reply to MAIL FROM, before any RCPT, or to the data: it applies to all recipients not refused before
        others = self.successAddresses or self._recipients
        return SendResult((), refused + tuple(_refusal(other, code, reply) for other in others), reply)

    def _refused_recipients(self) -> tuple[Refusal, ...]:
        return self._not_sent + tuple(
            _refusal(recipient, code, _format_reply(code, resp), in_rcpt=True)
            for recipient, code, resp in self.toAddressesResult
            if code not in smtp.SUCCESS
        )

    def _finish(self, result: SendResult | DeliveryError) -> None:
        self._set_result(result)
        if self._sending_data:  # QUIT would be part of the message
            self._abort()
            return
        self.setTimeout(_QUIT_TIMEOUT)
        self._failresponse = self.smtpState_disconnect
        self._disconnectFromServer()

    def _abort(self) -> None:
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined] # the transports of TCP and TLS have it


class VerifyingSession(Session):
    """A session that ends after the replies to RCPT, without DATA: nothing is sent (RFC 5321 section 4.1.1.10)."""

    def _end_recipients(self, code: int, resp: bytes) -> None:
        self._finish(SendResult(tuple(self.successAddresses), self._refused_recipients(), _format_reply(code, resp)))


def _authenticators(relay: Relay) -> list[Any]:
    user = relay.username.encode()
    plain = [smtp.PLAINAuthenticator(user), smtp.LOGINAuthenticator(user)]
    digest = smtp.CramMD5ClientAuthenticator(user)
    # under TLS the plain mechanisms are most widely supported; without it CRAM-MD5 hides the password
    return [digest, *plain] if relay.tls == "none" else [*plain, digest]


def _refusal(recipient: str, code: int, reply: str, *, in_rcpt: bool = False) -> Refusal:
    too_large = code == _EXCEEDED_STORAGE or _TOO_LARGE_STATUS.match(reply.partition(" ")[2]) is not None
    # in reply to RCPT, 552 may also mean too many recipients: temporary, as 452 (RFC 5321 section 4.5.3.1.10)
    permanent = 500 <= code <= 599 and code not in _AUTHENTICATION_CODES and not (in_rcpt and code == _EXCEEDED_STORAGE)
    return Refusal(recipient, reply, permanent, too_large)


def _format_reply(code: int, resp: bytes | str) -> str:
    text = resp.decode("utf-8", "backslashreplace") if isinstance(resp, bytes) else resp
    return sanitize_line(f"{code} {text}" if code > 0 else text)


def describe_error(error: BaseException | None) -> str:
    """Return one line about an error. str() of Twisted's SMTP errors would include the protocol log."""
    if extension := _MISSING_EXTENSIONS.get(type(error)):
        return f"does not offer {extension}"
    if isinstance(error, smtp.SMTPClientError):
        reply = _format_reply(error.code, error.resp)
        return f"replied {reply}" if error.code > 0 else reply
    return sanitize_line(f"{type(error).__name__}: {error}")
