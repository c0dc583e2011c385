"""The SMTP client: sends one message to the mail relay and returns the reply for each recipient. It does not retry."""

import io
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal

from OpenSSL.crypto import Error as CertificateError
from twisted.internet import ssl
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IDelayedCall, IReactorTime, IStreamClientEndpoint
from twisted.internet.protocol import Factory
from twisted.mail import smtp
from twisted.python.failure import Failure

from voxrec.errors import DeliveryError
from voxrec.sanitize import sanitize_line

_MAILBOX: Final = re.compile(
    r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.:\[\]-]{1,189}"
)  # RFC 5321 section 4.5.3.1
_CERTIFICATE: Final = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_DATA_END_TIMEOUT: Final = 600.0  # seconds; a shorter one causes duplicates (RFC 5321 section 4.5.3.2.6)
_MISSING_EXTENSIONS: Final[dict[type[object], str]] = {  # Twisted invents a code and a reply for these errors
    smtp.AUTHRequiredError: "a supported authentication mechanism",
    smtp.EHLORequiredError: "ESMTP, which TLS and authentication require",
    smtp.TLSRequiredError: "STARTTLS",
}
_CONNECTION_DONE: Final = Failure(ConnectionDone())
_QUIT_TIMEOUT: Final = 5.0  # seconds; the result is known by then
_AUTHENTICATION_CODES: Final = frozenset((530, 534, 535, 538))  # RFC 4954; not about the message
_TOO_MANY_RECIPIENTS: Final = 552  # in reply to RCPT temporary, as 452 (RFC 5321 section 4.5.3.1.10)


@dataclass(frozen=True, slots=True)
class Relay:
    """The SMTP server that accepts mail from voxrec.

    ``timeout`` is the idle timeout: the session fails when the relay sends nothing for that many seconds. ``deadline``
    limits the whole session, in seconds. An empty ``username`` means no authentication. Certificates are always
    verified: against ``ca_file`` (one or more PEM certificates, which may be self-signed) if set, otherwise against the
    system's certificate authorities.
    """

    host: str
    port: int = 25
    tls: Literal["none", "starttls", "implicit"] = "none"
    username: str = ""
    password: str = field(default="", repr=False)
    timeout: float = 60.0
    helo_domain: str = "localhost"
    ca_file: Path | None = None
    deadline: float = 1800.0


@dataclass(frozen=True, slots=True)
class Refusal:
    """A recipient that the relay did not accept, with its reply. If ``permanent``, a retry cannot succeed."""

    recipient: str
    reply: str
    permanent: bool


@dataclass(frozen=True, slots=True)
class SendResult:
    """The result for each recipient. ``reply`` is the relay's last reply, which usually has its queue id."""

    accepted: tuple[str, ...]
    refused: tuple[Refusal, ...]
    reply: str


async def send(reactor: Any, relay: Relay, sender: str, recipients: list[str], message: bytes) -> SendResult:
    """Send ``message`` (7 bit, any line ends) with these envelope addresses.

    Raises `DeliveryError` if the relay made no decision about the message: connection failed, timeout, connection lost,
    TLS not offered or failed, authentication failed. These errors are temporary, because they can be corrected at the
    relay or in the settings while the message waits. Only an invalid ``sender`` is a permanent error.
    """
    if not _MAILBOX.fullmatch(sender):
        raise DeliveryError(f"invalid sender address {sanitize_line(sender)!r}", permanent=True)
    valid = [recipient for recipient in recipients if _MAILBOX.fullmatch(recipient)]
    refused = tuple(
        Refusal(recipient, "not a valid SMTP address", permanent=True)
        for recipient in recipients
        if recipient not in valid
    )
    if not valid:
        return SendResult((), refused, "")
    result = await _run_session(reactor, relay, _Envelope(sender, valid, message))
    return SendResult(result.accepted, refused + result.refused, result.reply)


@dataclass(frozen=True, slots=True)
class _Envelope:
    sender: str
    recipients: list[str]
    message: bytes = field(repr=False)


async def _run_session(reactor: Any, relay: Relay, envelope: _Envelope) -> SendResult:
    address = f"{relay.host}:{relay.port}"
    context = _tls_context(relay)
    session = _Session(reactor, relay, envelope, context if relay.tls == "starttls" else None)
    endpoint: IStreamClientEndpoint = HostnameEndpoint(reactor, relay.host, relay.port, timeout=relay.timeout)
    if relay.tls == "implicit":
        endpoint = wrapClientTLS(context, endpoint)
    try:
        await endpoint.connect(Factory.forProtocol(lambda: session))
    except CancelledError:
        raise
    except Exception as error:
        raise DeliveryError(f"{address}: connection failed: {_describe(error)}", permanent=False) from error
    deadline: IDelayedCall = reactor.callLater(
        relay.deadline, session.fail, f"session exceeded its deadline of {relay.deadline:g} s"
    )
    try:
        return await session.outcome
    except DeliveryError as error:
        raise DeliveryError(f"{address}: {error.detail}", permanent=error.permanent) from error
    finally:
        if deadline.active():
            deadline.cancel()


def _tls_context(relay: Relay) -> Any:
    """Return a TLS context that verifies the relay's certificate and host name, or None without TLS."""
    if relay.tls == "none":
        return None
    if relay.ca_file is None:
        return ssl.optionsForClientTLS(relay.host)
    try:
        certificates = _CERTIFICATE.findall(relay.ca_file.read_bytes())
        authorities = [ssl.Certificate.loadPEM(certificate) for certificate in certificates]
    except (OSError, CertificateError) as error:
        raise DeliveryError(f"{relay.ca_file} cannot be read: {_describe(error)}", permanent=False) from error
    if not authorities:
        raise DeliveryError(f"{relay.ca_file} contains no certificate", permanent=False)
    return ssl.optionsForClientTLS(relay.host, trustRoot=ssl.trustRootFromCertificates(authorities))


class _Session(smtp.ESMTPClient):
    """The protocol of a session that sends one message. ``outcome`` fires when the connection is closed.

    Twisted's ESMTPSender is not used, because it loses the result if the connection is lost, puts a log with the
    credentials into every error, takes a 2xx reply before the end of the data for success, and does not return the
    relay's replies. The commands are sent by ESMTPClient, and this class decides about the result.
    """

    debug = False  # the protocol log would contain the credentials

    def __init__(self, clock: IReactorTime, relay: Relay, envelope: _Envelope, context: Any) -> None:
        secret = relay.password.encode() if relay.username else None
        super().__init__(secret, context, relay.helo_domain)
        self.outcome: Deferred[SendResult] = Deferred(lambda _: self._abort())
        self._idle_timeout = relay.timeout
        self.requireAuthentication = bool(relay.username)
        self.requireTransportSecurity = relay.tls != "none"
        self.heloFallback = True  # Twisted sets it to False if authentication or TLS is required
        self._clock = clock
        self._envelope = envelope
        self._sending_data = False
        self._data_sent = False
        self._at_line_start = True
        self._result: SendResult | DeliveryError | None = None
        for authenticator in _authenticators(relay):
            self.registerAuthenticator(authenticator)

    # Input for ESMTPClient.

    def connectionMade(self) -> None:
        """Wait for the greeting."""
        super().connectionMade()
        self.setTimeout(self._idle_timeout)
        self.transport.setTcpNoDelay(True)  # type: ignore[union-attr] # saves 40 ms at the end of a short message

    def callLater(self, period: float, func: Any) -> IDelayedCall:  # noqa: N802 - Twisted's name
        """Run the inherited timeout on the clock that was passed in."""
        return self._clock.callLater(period, func)

    def getMailFrom(self) -> str:
        """Return the envelope's sender."""
        return self._envelope.sender

    def getMailTo(self) -> list[str]:
        """Return the envelope's recipients."""
        return self._envelope.recipients

    def getMailData(self) -> io.BytesIO:
        """Return the message, to be read in chunks."""
        self._sending_data = True
        return io.BytesIO(self._envelope.message)

    def transformChunk(self, chunk: bytes) -> bytes:  # noqa: N802 - Twisted's name
        """Return the chunk with CRLF line ends and dot-stuffing (RFC 5321 section 4.5.2).

        The inherited method misses a dot at the start of a chunk, and turns CRLF into CRCRLF.
        """
        self.resetTimeout()
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
        self.setTimeout(max(_DATA_END_TIMEOUT, self._idle_timeout))
        self.sendLine(b"." if self._at_line_start else b"\r\n.")

    # Events from ESMTPClient.

    def esmtpState_starttls(self, code: int, resp: bytes) -> None:  # noqa: N802 - Twisted's name
        """Fail if unencrypted data follows the relay's reply: it would be taken for data received under TLS."""
        if self.clearLineBuffer():
            self._set_result(DeliveryError("sent unencrypted data after its reply to STARTTLS", permanent=False))
            self._abort()
            return
        super().esmtpState_starttls(code, resp)

    def smtpState_msgSent(self, code: int, resp: bytes | str) -> None:
        """Handle the relay's last reply about the message, positive or negative."""
        self._set_result(self._make_result(code, _format_reply(code, resp)))
        self._quit()

    def sendError(self, exc: Exception) -> None:
        """Handle an error before the relay made a decision about the message."""
        self._set_result(DeliveryError(_describe(exc), permanent=False))
        self._quit()

    def timeoutConnection(self) -> None:
        """Fail because the relay sent nothing within the idle timeout."""
        self.fail("did not answer in time")

    def lineLengthExceeded(self, _line: bytes) -> None:
        """Fail because the server does not speak SMTP."""
        self.fail("sent a line that is too long for SMTP")

    def connectionLost(self, reason: Failure = _CONNECTION_DONE) -> None:
        """Fire ``outcome`` with the result; without one, the relay closed the connection."""
        super().connectionLost(reason)
        self._set_result(DeliveryError(f"closed the connection: {_describe(reason.value)}", permanent=False))
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

    def _set_result(self, result: SendResult | DeliveryError) -> None:
        if self._result is None:  # later errors are consequences of closing the connection
            self._result = result

    def _make_result(self, code: int, reply: str) -> SendResult | DeliveryError:
        refused = tuple(
            Refusal(
                recipient,
                _format_reply(rcpt_code, resp),
                permanent=_is_permanent(rcpt_code) and rcpt_code != _TOO_MANY_RECIPIENTS,
            )
            for recipient, rcpt_code, resp in self.toAddressesResult
            if rcpt_code not in smtp.SUCCESS
        )
        if not self.successAddresses and refused:
            return SendResult((), refused, refused[-1].reply)
        if code in smtp.SUCCESS and self._data_sent:
            return SendResult(tuple(self.successAddresses), refused, reply)
        if not 400 <= code <= 599:
            return DeliveryError(f"sent an unexpected reply: {reply}", permanent=False)
        # the reply to MAIL FROM, before any RCPT, or to the data: it applies to all recipients not refused before
        others = self.successAddresses or self._envelope.recipients
        permanent = _is_permanent(code)
        return SendResult((), refused + tuple(Refusal(other, reply, permanent) for other in others), reply)

    def _quit(self) -> None:
        if self._sending_data:  # QUIT would be part of the message
            self._abort()
            return
        self.setTimeout(_QUIT_TIMEOUT)
        self._failresponse = self.smtpState_disconnect
        self._disconnectFromServer()

    def _abort(self) -> None:
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined] # the transports of TCP and TLS have it


def _authenticators(relay: Relay) -> list[Any]:
    user = relay.username.encode()
    plain = [smtp.PLAINAuthenticator(user), smtp.LOGINAuthenticator(user)]
    digest = smtp.CramMD5ClientAuthenticator(user)
    # under TLS the plain mechanisms are most widely supported; without it CRAM-MD5 hides the password
    return [digest, *plain] if relay.tls == "none" else [*plain, digest]


def _is_permanent(code: int) -> bool:
    return 500 <= code <= 599 and code not in _AUTHENTICATION_CODES


def _format_reply(code: int, resp: bytes | str) -> str:
    text = resp.decode("utf-8", "backslashreplace") if isinstance(resp, bytes) else resp
    return sanitize_line(f"{code} {text}" if code > 0 else text)


def _describe(error: BaseException | None) -> str:
    """Return one line about an error. str() of Twisted's SMTP errors would include the protocol log."""
    if extension := _MISSING_EXTENSIONS.get(type(error)):
        return f"does not offer {extension}"
    if isinstance(error, smtp.SMTPClientError):
        reply = _format_reply(error.code, error.resp)
        return f"replied {reply}" if error.code > 0 else reply
    return sanitize_line(f"{type(error).__name__}: {error}")
