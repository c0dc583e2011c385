"""Checks of the mail relay, without sending a mail."""

import smtplib
import ssl
from collections.abc import Iterator
from typing import Final
from uuid import uuid4

from voxrec.bounce_address import BounceKey, BounceMailbox
from voxrec.config import Bounces, Config, Mail
from voxrec.doctor.finding import Finding, failed, ok
from voxrec.mailaddress import encode_mail_address, needs_smtputf8

_TIMEOUT: Final = 10.0  # seconds
_REFUSED: Final = 400  # replies of SMTP from this code on are negative


def check_mail(config: Config) -> Iterator[Finding]:
    """Check that the relay is reachable, its TLS and authentication work, and that it accepts the sender."""
    settings = config.mail
    try:
        relay = _connect(settings)
    except ssl.SSLError as error:
        yield failed("mail tls", f"{settings.host}: {error}", "check mail.tls, mail.port and mail.ca_file")
        return
    except (OSError, smtplib.SMTPException) as error:
        yield failed(
            "mail relay", f"{settings.host}:{settings.port}: {error}", "check mail.host, mail.port and the firewall"
        )
        return
    try:
        relay.ehlo(settings.helo_domain)
        yield ok("mail relay", f"{settings.host}:{settings.port} responds")
        yield from _check_session(relay, config)
    finally:
        relay.close()


def _check_session(relay: smtplib.SMTP, config: Config) -> Iterator[Finding]:
    settings = config.mail
    if settings.tls == "starttls":
        try:
            relay.starttls(context=_tls_context(settings))
            relay.ehlo(settings.helo_domain)
        except (ssl.SSLError, smtplib.SMTPException) as error:
            yield failed("mail tls", str(error), "check mail.tls and mail.ca_file")
            return
    yield ok("mail tls", settings.tls)
    if settings.user:
        try:
            relay.login(settings.user, settings.password)
        except smtplib.SMTPException as error:
            yield failed("mail authentication", str(error), "check mail.user and mail.password")
            return
        yield ok("mail authentication", f"{settings.user} is accepted")
    sender, options = encode_mail_address(settings.sender), []
    if needs_smtputf8(settings.sender):
        if not relay.has_extn("smtputf8"):
            detail = f"{settings.sender} needs the extension SMTPUTF8, which the relay does not offer"
            yield failed("mail sender", detail, "set mail.sender to an address with only ASCII before the @")
            return
        options = ["SMTPUTF8"]
    code, reply = relay.mail(sender, options)
    relay.rset()
    if code >= _REFUSED:
        text = reply.decode("utf-8", "replace")
        yield failed("mail sender", f"{settings.sender}: {code} {text}", "set mail.sender to an address of your domain")
    else:
        yield ok("mail sender", f"{settings.sender} is accepted")
    if config.bounces.address:
        yield from _check_bounces(relay, config.bounces)


def _check_bounces(relay: smtplib.SMTP, settings: Bounces) -> Iterator[Finding]:
    """Check that the relay accepts bounce addresses as sender, and returns mail to the LMTP server of this node.

    The address has a token, but no valid signature: what arrives at voxrec is refused.
    """
    address = BounceMailbox.parse(settings.address).address(BounceKey(0, b"").sign(uuid4(), 1))
    code, reply = relay.mail(address)
    relay.rset()
    if code >= _REFUSED:
        text = reply.decode("utf-8", "replace")
        remedy = "set bounces.address to a domain from which the relay accepts mail"
        yield failed("bounce address", f"{settings.address}: {code} {text}", remedy)
    else:
        yield ok("bounce address", f"{settings.address} is accepted as sender")


def _connect(settings: Mail) -> smtplib.SMTP:
    if settings.tls == "implicit":
        context = _tls_context(settings)
        return smtplib.SMTP_SSL(settings.host, settings.port, settings.helo_domain, timeout=_TIMEOUT, context=context)
    return smtplib.SMTP(settings.host, settings.port, settings.helo_domain, timeout=_TIMEOUT)


def _tls_context(settings: Mail) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=settings.ca_file or None)
