"""Sends one message to the mail relay and returns the reply for each recipient. It does not retry."""

from dataclasses import replace
from typing import Any

from twisted.internet import ssl
from twisted.internet.defer import CancelledError
from twisted.internet.endpoints import HostnameEndpoint, wrapClientTLS
from twisted.internet.interfaces import IDelayedCall, IStreamClientEndpoint
from twisted.internet.protocol import Factory

from voxrec.certificate import CertificateError, trust_root
from voxrec.errors import DeliveryError
from voxrec.mail.envelope import Envelope, Refusal, Relay, SendResult
from voxrec.mail.smtp_session import Session, VerifyingSession, describe_error
from voxrec.mailaddress import MailAddressError, check_mail_address, is_mail_address
from voxrec.sanitize import sanitize_line

__all__ = ["Refusal", "Relay", "SendResult", "send", "verify"]


async def send(reactor: Any, relay: Relay, sender: str, recipients: list[str], message: bytes) -> SendResult:
    """Send ``message`` (7 bit, or with headers in UTF-8; any line ends) with these envelope addresses.

    Raises `DeliveryError` if the relay made no decision about the message: connection failed, timeout, connection lost,
    TLS not offered or failed, authentication failed. These errors are temporary, because they can be corrected at the
    relay or in the settings while the message waits. Only an invalid ``sender`` is a permanent error. An invalid
    recipient is refused without being sent, and does not affect the others; likewise one that needs SMTPUTF8, if the
    relay does not offer it.

    If the connection fails after the whole message was sent, the relay may have accepted it: there is no error then,
    but the result is unconfirmed.
    """
    if not is_mail_address(sender):
        raise DeliveryError(f"invalid sender address {sanitize_line(sender)!r}", permanent=True)
    valid, refused = _check_recipients(recipients)
    if not valid:
        return SendResult((), refused, "")
    result = await _run_session(reactor, relay, Envelope(sender, valid, message))
    return replace(result, refused=refused + result.refused)


async def verify(reactor: Any, relay: Relay, sender: str, recipients: list[str]) -> SendResult:
    """Ask the relay by RCPT whether it accepts mail for these recipients, and end the session without a message.

    A relay that accepts an address need not know whether its mailbox exists. Raises `DeliveryError` as `send` does.
    """
    if not is_mail_address(sender):
        raise DeliveryError(f"invalid sender address {sanitize_line(sender)!r}", permanent=True)
    valid, refused = _check_recipients(recipients)
    if not valid:
        return SendResult((), refused, "")
    result = await _run_session(reactor, relay, Envelope(sender, valid, b""), VerifyingSession)
    return replace(result, refused=refused + result.refused)


def _check_recipients(recipients: list[str]) -> tuple[list[str], tuple[Refusal, ...]]:
    """Return the valid addresses, and refusals of the others, which an earlier version of voxrec may have stored."""
    valid, refused = [], []
    for recipient in recipients:
        try:
            check_mail_address(recipient)
        except MailAddressError as error:
            refused.append(Refusal(recipient, f"not sent: the address {error}", permanent=True))
        else:
            valid.append(recipient)
    return valid, tuple(refused)


async def _run_session(
    reactor: Any, relay: Relay, envelope: Envelope, session_type: type[Session] = Session
) -> SendResult:
    address = f"{relay.host}:{relay.port}"
    context = _tls_context(relay)
    session = session_type(reactor, relay, envelope, context if relay.tls == "starttls" else None)
    endpoint: IStreamClientEndpoint = HostnameEndpoint(reactor, relay.host, relay.port, timeout=relay.timeout)
    if relay.tls == "implicit":
        endpoint = wrapClientTLS(context, endpoint)
    try:
        # the endpoint's timeout is for each address, and not for the name resolution
        await endpoint.connect(Factory.forProtocol(lambda: session)).addTimeout(relay.deadline, reactor)
    except CancelledError:
        raise
    except Exception as error:
        raise DeliveryError(f"{address}: connection failed: {describe_error(error)}", permanent=False) from error
    deadline: IDelayedCall = reactor.callLater(
        relay.deadline, session.fail, f"session exceeded its deadline of {relay.deadline:g} s"
    )
    try:
        result = await session.outcome
    except DeliveryError as error:
        raise DeliveryError(f"{address}: {error.detail}", permanent=error.permanent) from error
    finally:
        if deadline.active():
            deadline.cancel()
    return replace(result, reply=f"{address}: {result.reply}") if result.unconfirmed else result


def _tls_context(relay: Relay) -> Any:
    """Return a TLS context that verifies the relay's certificate and host name, or None without TLS."""
    if relay.tls == "none":
        return None
    try:
        authorities = trust_root(relay.ca_file)
    except CertificateError as error:
        raise DeliveryError(error.detail, permanent=False) from error
    return ssl.optionsForClientTLS(relay.host, trustRoot=authorities)
