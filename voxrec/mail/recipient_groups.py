"""Decides for each recipient of a mail whether and how it is encrypted."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from voxrec.mail.certificate_facts import date_text
from voxrec.mail.protection import Encryption
from voxrec.mailaddress import caseless_mailbox_key
from voxrec.model import MailEncryption, MailProtection, MailRecipient, Profile, RecipientCertificate
from voxrec.model.recipient_certificate import validity_at

_WITHOUT_CERTIFICATE: Final = {
    MailEncryption.NONE: MailProtection.UNENCRYPTED,
    MailEncryption.OPTIONAL: MailProtection.UNENCRYPTED,
    MailEncryption.NOTICE: MailProtection.NOTICE,
    MailEncryption.REQUIRED: MailProtection.REFUSED,
}
"""What happens to the mails to a recipient without a valid certificate."""


@dataclass(frozen=True, slots=True)
class RecipientGroup:
    """Recipients of the same message. ``encryption`` None: it is not encrypted.

    ``notice``: it is a notice without audio and link, because it cannot be encrypted.
    """

    recipients: tuple[str, ...]
    encryption: Encryption | None = None
    notice: bool = False


@dataclass(frozen=True, slots=True)
class Grouping:
    """The groups, and the recipients to whom nothing may be sent, each with the reason."""

    groups: tuple[RecipientGroup, ...]
    refused: Mapping[str, str]


def encryption_of(profile: Profile, default: MailEncryption) -> MailEncryption:
    """Return when the mails of a Profile are encrypted; ``default`` applies unless the Profile says it."""
    return default if profile.mail_encryption is None else profile.mail_encryption


def group_recipients(
    recipients: Sequence[str],
    listed: Collection[str],
    mode: MailEncryption,
    certificates: Sequence[RecipientCertificate],
    now: datetime,
) -> Grouping:
    """Group the recipients of a mail. ``certificates`` are those of its Profile and of all Profiles.

    ``listed`` are the recipients that the headers of the mail name. An encrypted message reveals for which certificates
    it is encrypted, so that each of the others has a message of its own.
    """
    encrypted: dict[str, list[str]] = {}
    usable: dict[str, tuple[RecipientCertificate, ...]] = {}
    unencrypted: list[str] = []
    for recipient in recipients:
        chosen = () if mode is MailEncryption.NONE else usable_certificates(recipient, certificates, now)
        if chosen:
            usable[recipient] = chosen
            of_one = "" if recipient in listed else recipient
            encrypted.setdefault(of_one, []).append(recipient)
        else:
            unencrypted.append(recipient)
    groups = [_encrypted_group(members, usable) for members in encrypted.values()]
    if mode is MailEncryption.REQUIRED:
        reasons = {one: f"not sent unencrypted: {missing_reason(one, certificates, now)}" for one in unencrypted}
        return Grouping(tuple(groups), reasons)
    if unencrypted:
        groups.append(RecipientGroup(tuple(unencrypted), notice=mode is MailEncryption.NOTICE))
    return Grouping(tuple(groups), {})


def mail_recipient(
    address: str, mode: MailEncryption, certificates: Sequence[RecipientCertificate], now: datetime
) -> MailRecipient:
    """Return what happens to a mail to a recipient that is sent now; ``certificates`` as in `group_recipients`."""
    own = of_recipient(address, certificates)
    usable = () if mode is MailEncryption.NONE else usable_certificates(address, own, now)
    expires_at = max((one.expires_at for one in usable or own), default=None)
    return MailRecipient(
        address=address,
        protection=MailProtection.ENCRYPTED if usable else _WITHOUT_CERTIFICATE[mode],
        certificate_ids=tuple(one.id for one in usable),
        expires_at=expires_at,
        validity=None if expires_at is None else validity_at(expires_at, now),
    )


def usable_certificates(
    recipient: str, certificates: Sequence[RecipientCertificate], now: datetime
) -> tuple[RecipientCertificate, ...]:
    """Return the certificates to which a mail is encrypted: all valid ones of its Profile, else of all Profiles."""
    valid = [one for one in of_recipient(recipient, certificates) if not one.expired(now)]
    of_profile = [one for one in valid if one.profile_id is not None]
    return tuple(of_profile or valid)


def missing_reason(recipient: str, certificates: Sequence[RecipientCertificate], now: datetime) -> str:
    """Return why there is no usable certificate."""
    expired = [one for one in of_recipient(recipient, certificates) if one.expired(now)]
    if not expired:
        return "there is no certificate of this recipient (/recipient-certificates)"
    last = max(one.expires_at for one in expired)
    return f"the certificate of this recipient expired on {date_text(last)}"


def of_recipient(recipient: str, certificates: Sequence[RecipientCertificate]) -> list[RecipientCertificate]:
    """Return the certificates of one recipient."""
    mailbox = caseless_mailbox_key(recipient)
    return [one for one in certificates if caseless_mailbox_key(one.address) == mailbox]


def _encrypted_group(members: Sequence[str], usable: Mapping[str, tuple[RecipientCertificate, ...]]) -> RecipientGroup:
    texts = dict.fromkeys(one.certificate for member in members for one in usable[member])
    return RecipientGroup(tuple(members), Encryption(tuple(texts)))
