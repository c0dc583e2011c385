"""One conversation with the mail relay, and what it said about each recipient. Never tries again by itself."""

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

_MAILBOX = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]{1,64}@[A-Za-z0-9.:\[\]-]{1,189}")  # RFC 5321 section 4.5.3.1
_CERTIFICATE = re.compile(rb"-----BEGIN CERTIFICATE-----.+?-----END CERTIFICATE-----", re.DOTALL)
_AFTER_DATA: Final = 600.0  # RFC 5321 section 4.5.3.2.6: giving up earlier makes duplicates
_MISSING: Final[dict[type[object], str]] = {  # for these Twisted makes up a code and a reply
    smtp.AUTHRequiredError: "authentication that we know",
    smtp.EHLORequiredError: "ESMTP, and so neither TLS nor authentication",
    smtp.TLSRequiredError: "STARTTLS",
}
_DONE: Final = Failure(ConnectionDone())
_GOODBYE: Final = 5.0  # seconds for the relay to answer QUIT; nothing depends on it any more
_ABOUT_ACCESS: Final = frozenset((530, 534, 535, 538))  # RFC 4954: who we are, not what we send
_TOO_MANY: Final = 552  # to RCPT, RFC 5321 section 4.5.3.1.10: to be read as 452


@dataclass(frozen=True, slots=True)
class Relay:
    """The mail server that takes what voxrec sends.

    ``timeout``: seconds of silence after which it counts as gone; ``deadline``: seconds for a whole conversation.
    Certificates are always verified: against ``ca_file`` (PEM, one or more) where given, which may be the relay's own
    self-signed one, else against the system's authorities. An empty ``username`` means no authentication.
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
    """A recipient that the relay did not take, and its reply; ``permanent`` says that asking again cannot help."""

    recipient: str
    reply: str
    permanent: bool


@dataclass(frozen=True, slots=True)
class SendResult:
    """What became of each recipient; ``reply`` is the relay's last word (its queue id, mostly)."""

    accepted: tuple[str, ...]
    refused: tuple[Refusal, ...]
    reply: str


async def send(reactor: Any, relay: Relay, sender: str, recipients: list[str], message: bytes) -> SendResult:
    """Hand ``message`` (7 bit, any line ends) to the relay for ``recipients``; ``sender`` is the envelope's.

    Raises a `DeliveryError` where the relay said nothing about the message itself: not reached, silent, gone in the
    middle, TLS missing or failing, access denied. That is never permanent, since all of it can be put right at the
    relay or in the settings while the message waits. Only a ``sender`` that cannot be one is.
    """
    if not _MAILBOX.fullmatch(sender):
        raise DeliveryError(f"{sanitize_line(sender)!r} cannot be a sender's address", permanent=True)
    impossible = tuple(
        Refusal(one, "not an address that SMTP can carry", permanent=True)
        for one in recipients
        if not _MAILBOX.fullmatch(one)
    )
    possible = [one for one in recipients if _MAILBOX.fullmatch(one)]
    if not possible:
        return SendResult((), impossible, "")
    result = await _converse(reactor, relay, _Envelope(sender, possible, message))
    return SendResult(result.accepted, impossible + result.refused, result.reply)


@dataclass(frozen=True, slots=True)
class _Envelope:
    sender: str
    recipients: list[str]
    message: bytes = field(repr=False)


async def _converse(reactor: Any, relay: Relay, envelope: _Envelope) -> SendResult:
    where = f"{relay.host}:{relay.port}"
    context = _context(relay)
    session = _Session(reactor, relay, envelope, context if relay.tls == "starttls" else None)
    endpoint: IStreamClientEndpoint = HostnameEndpoint(reactor, relay.host, relay.port, timeout=relay.timeout)
    if relay.tls == "implicit":
        endpoint = wrapClientTLS(context, endpoint)
    try:
        await endpoint.connect(Factory.forProtocol(lambda: session))
    except CancelledError:
        raise
    except Exception as error:
        raise DeliveryError(f"{where} cannot be reached: {_told(error)}", permanent=False) from error
    deadline: IDelayedCall = reactor.callLater(relay.deadline, session.give_up, "took too long altogether")
    try:
        return await session.outcome
    except DeliveryError as fault:
        raise DeliveryError(f"{where}: {fault.detail}", permanent=fault.permanent) from fault
    finally:
        if deadline.active():
            deadline.cancel()


def _context(relay: Relay) -> Any:
    """Who is believed to be the relay: the holder of a certificate for its host name, from a trusted authority."""
    if relay.tls == "none":
        return None
    if relay.ca_file is None:
        return ssl.optionsForClientTLS(relay.host)
    try:
        found = _CERTIFICATE.findall(relay.ca_file.read_bytes())
        authorities = [ssl.Certificate.loadPEM(one) for one in found]
    except (OSError, CertificateError) as error:
        raise DeliveryError(f"{relay.ca_file} cannot be read: {_told(error)}", permanent=False) from error
    if not authorities:
        raise DeliveryError(f"{relay.ca_file} holds no certificate", permanent=False)
    return ssl.optionsForClientTLS(relay.host, trustRoot=ssl.trustRootFromCertificates(authorities))


class _Session(smtp.ESMTPClient):
    """The client's side of one conversation about one message.

    Twisted's ready-made sender loses the result when the connection drops in the middle, keeps the credentials in the
    log that it puts into every error, takes a 2xx before the end of the data for success, and does not say what the
    relay answered. So the protocol is Twisted's and the judgement is ours. ``outcome`` fires when the connection is
    gone.
    """

    debug = False  # the log would hold the credentials

    def __init__(self, clock: IReactorTime, relay: Relay, envelope: _Envelope, context: Any) -> None:
        secret = relay.password.encode() if relay.username else None
        super().__init__(secret, context, relay.helo_domain)
        self.outcome: Deferred[SendResult] = Deferred(lambda _: self._abort())
        self._patience = relay.timeout
        self.requireAuthentication = bool(relay.username)
        self.requireTransportSecurity = relay.tls != "none"
        self.heloFallback = True  # Twisted itself does not where either of the two is required
        self._clock = clock
        self._envelope = envelope
        self._begun = False
        self._transferring = False
        self._sent_whole = False
        self._at_line_start = True
        self._verdict: SendResult | DeliveryError | None = None
        for authenticator in _authenticators(relay):
            self.registerAuthenticator(authenticator)

    # What Twisted asks for.

    def connectionMade(self) -> None:
        """Begin to wait for the greeting."""
        super().connectionMade()
        self.setTimeout(self._patience)
        self.transport.setTcpNoDelay(True)  # type: ignore[union-attr] # else 40 ms at each short letter's end

    def callLater(self, period: float, func: Any) -> IDelayedCall:  # noqa: N802 - Twisted's name
        """Let the inherited timeout run on the clock that we were given."""
        return self._clock.callLater(period, func)

    def getMailFrom(self) -> str:
        """Return the envelope's sender."""
        return self._envelope.sender

    def getMailTo(self) -> list[str]:
        """Return the envelope's recipients."""
        return self._envelope.recipients

    def getMailData(self) -> io.BytesIO:
        """Return the message, to be read in chunks."""
        self._transferring = True
        return io.BytesIO(self._envelope.message)

    def transformChunk(self, chunk: bytes) -> bytes:  # noqa: N802 - Twisted's name
        """Put the chunk on the wire: CRLF, and a second dot before one that begins a line (RFC 5321 section 4.5.2).

        Twisted's own does not see a dot at the start of a chunk, and makes CRCRLF of CRLF.
        """
        self.resetTimeout()
        wire = chunk.replace(b"\r", b"").replace(b"\n", b"\r\n").replace(b"\n.", b"\n..")
        if self._at_line_start and wire.startswith(b"."):
            wire = b"." + wire
        if wire:
            self._at_line_start = wire.endswith(b"\n")
        return wire

    def finishedFileTransfer(self, _lastsent: object) -> None:  # noqa: N802 - Twisted's name
        """End the data; from here on the relay may have the message whatever else happens."""
        self._transferring = False
        self._sent_whole = True
        self.setTimeout(max(_AFTER_DATA, self._patience))
        self.sendLine(b"." if self._at_line_start else b"\r\n.")

    # What Twisted tells.

    def esmtpState_starttls(self, code: int, resp: bytes) -> None:  # noqa: N802 - Twisted's name
        """Refuse words that came in clear behind the relay's consent: they would be taken as said under TLS."""
        if self.clearLineBuffer():
            self._settle(DeliveryError("sent more in clear after agreeing to STARTTLS", permanent=False))
            self._abort()
            return
        super().esmtpState_starttls(code, resp)

    def smtpState_msgSent(self, code: int, resp: bytes | str) -> None:
        """Judge: Twisted comes here with the relay's last word about the message, good or bad."""
        self._settle(self._judge(code, _text(code, resp)))
        self._hang_up()

    def sendError(self, exc: Exception) -> None:
        """Note what went wrong before the relay said anything about the message."""
        self._settle(DeliveryError(_told(exc), permanent=False))
        self._hang_up()

    def timeoutConnection(self) -> None:
        """Stop waiting for the relay."""
        self.give_up("did not answer in time")

    def lineLengthExceeded(self, _line: bytes) -> None:
        """Stop listening to what is not SMTP."""
        self.give_up("answered with a line too long for SMTP")

    def connectionLost(self, reason: Failure = _DONE) -> None:
        """Hand over the verdict; a connection that ends without one was dropped."""
        super().connectionLost(reason)
        self._settle(DeliveryError(f"closed the connection: {_told(reason.value)}", permanent=False))
        if not self.outcome.called:
            if isinstance(self._verdict, SendResult):
                self.outcome.callback(self._verdict)
            elif self._verdict is not None:
                self.outcome.errback(self._verdict)

    # Ours.

    def give_up(self, why: str) -> None:
        """End the conversation now. A verdict already there stands."""
        self._settle(DeliveryError(why, permanent=False))
        self._abort()

    def _settle(self, verdict: SendResult | DeliveryError) -> None:
        if self._verdict is None:  # the first word counts: what follows comes from taking the conversation down
            self._verdict = verdict

    def _judge(self, code: int, reply: str) -> SendResult | DeliveryError:
        refused = tuple(
            Refusal(recipient, _text(said, resp), permanent=_permanent(said) and said != _TOO_MANY)
            for recipient, said, resp in self.toAddressesResult
            if said not in smtp.SUCCESS
        )
        if not self.successAddresses and refused:
            return SendResult((), refused, refused[-1].reply)
        if code in smtp.SUCCESS and self._sent_whole:
            return SendResult(tuple(self.successAddresses), refused, reply)
        if not 400 <= code <= 599:
            return DeliveryError(f"lost its place in the conversation: {reply}", permanent=False)
        # MAIL FROM (then nobody has been named yet) or the data was refused: it holds for everyone left.
        left = self.successAddresses or self._envelope.recipients
        everyone = tuple(Refusal(one, reply, permanent=_permanent(code)) for one in left)
        return SendResult((), refused + everyone, reply)

    def _hang_up(self) -> None:
        if self._transferring:  # QUIT would become part of the message
            self._abort()
            return
        self.setTimeout(_GOODBYE)
        self._failresponse = self.smtpState_disconnect
        self._disconnectFromServer()

    def _abort(self) -> None:
        if self.transport is not None:
            self.transport.abortConnection()  # type: ignore[attr-defined] # TCP's and TLS's have it


def _authenticators(relay: Relay) -> list[Any]:
    user = relay.username.encode()
    plain = [smtp.PLAINAuthenticator(user), smtp.LOGINAuthenticator(user)]
    digest = smtp.CramMD5ClientAuthenticator(user)
    # Under TLS the plain ones work everywhere; without it a digest at least hides the password.
    return [digest, *plain] if relay.tls == "none" else [*plain, digest]


def _permanent(code: int) -> bool:
    return 500 <= code <= 599 and code not in _ABOUT_ACCESS


def _text(code: int, resp: bytes | str) -> str:
    said = resp.decode("utf-8", "backslashreplace") if isinstance(resp, bytes) else resp
    return sanitize_line(f"{code} {said}" if code > 0 else said)


def _told(error: BaseException | None) -> str:
    """One line about an error, for the log and the person who reads it; str() of Twisted's would tell too much."""
    if missing := _MISSING.get(type(error)):
        return f"does not offer {missing}"
    if isinstance(error, smtp.SMTPClientError):
        text = _text(error.code, error.resp)
        return f"answered {text}" if error.code > 0 else text
    return sanitize_line(f"{type(error).__name__}: {error}")
