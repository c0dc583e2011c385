"""Checks the certificate and the private key that sign mails."""

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from voxrec.config import Config
from voxrec.doctor.finding import Finding, failed, ok, warning
from voxrec.mail.certificate_facts import date_text
from voxrec.mail.smime_certificate import certificate_addresses
from voxrec.mail.smime_signature import SigningError, load_signer
from voxrec.mailaddress import caseless_mailbox_key
from voxrec.model.recipient_certificate import EXPIRY_NOTICE

_CHECK: Final = "mail signature"


def check_mail_signature(config: Config) -> Iterator[Finding]:
    """Check that the files can be used, that the certificate is valid, and that it names the sender of mails."""
    settings, now = config.mail, datetime.now(UTC)
    if not settings.signing_certificate:
        return
    try:
        signer = load_signer(Path(settings.signing_certificate), Path(settings.signing_key))
    except SigningError as error:
        yield failed(_CHECK, error.detail, "correct mail.signing_certificate, mail.signing_key or their files")
        return
    expiry = date_text(signer.expires_at)
    if signer.expires_at <= now:
        yield failed(_CHECK, f"the certificate expired on {expiry}", "renew it; recipients see invalid signatures")
        return
    addresses = certificate_addresses(signer.certificate)
    if caseless_mailbox_key(settings.sender) not in map(caseless_mailbox_key, addresses):
        named = ", ".join(addresses) or "no mail address"
        yield warning(
            _CHECK,
            f"the certificate names {named}, not mail.sender {settings.sender}",
            "use a certificate for mail.sender; mail programs warn of other senders",
        )
    if signer.expires_at - EXPIRY_NOTICE <= now:
        yield warning(_CHECK, f"the certificate expires on {expiry}", "renew it, and reload voxrec")
    else:
        yield ok(_CHECK, f"the certificate is valid until {expiry}")
