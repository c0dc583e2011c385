"""Checks whether the mails of a Profile can be encrypted to its recipients, and until when."""

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

import msgspec

from voxrec.mail.certificate_facts import date_text
from voxrec.mail.recipient_groups import (
    encryption_of,
    mail_recipient,
    missing_reason,
    of_recipient,
    usable_certificates,
)
from voxrec.model import (
    CheckName,
    CheckState,
    MailEncryption,
    MailRecipient,
    Profile,
    ProfileCheck,
    RecipientCertificate,
    mail_addresses,
)

_CONSEQUENCES: Final = {
    MailEncryption.OPTIONAL: "its mails are sent unencrypted",
    MailEncryption.NOTICE: "it receives notices without audio and link",
    MailEncryption.REQUIRED: "it receives no mails",
}
_UPLOAD: Final = "upload its certificate: PUT /recipient-certificates"


class Certificates(Protocol):
    """The repository method that the check needs."""

    async def of_recipients(self, profile_id: UUID, recipients: Sequence[str]) -> list[RecipientCertificate]:
        """Return the certificates of some recipients for the mails of a Profile."""


class EncryptionCheck:
    """Looks for a valid certificate of each recipient."""

    def __init__(
        self, certificates: Certificates, default: Callable[[], MailEncryption], now: Callable[[], datetime]
    ) -> None:
        """``default`` returns when mails are encrypted unless their Profile says it."""
        self._certificates = certificates
        self._default = default
        self._now = now

    async def recipients(self, profile: Profile, may_access: Callable[[UUID | None], bool]) -> Sequence[MailRecipient]:
        """Return what happens to a mail to each address of the Profile now.

        The certificates of a Profile (None: those of all Profiles) that the client may not access are not named.
        """
        addresses, mode = _addresses(profile), encryption_of(profile, self._default())
        certificates = await self._certificates.of_recipients(profile.id, addresses)
        named = {one.id for one in certificates if may_access(one.profile_id)}
        recipients = [mail_recipient(address, mode, certificates, self._now()) for address in addresses]
        return [
            msgspec.structs.replace(one, certificate_ids=tuple(id_ for id_ in one.certificate_ids if id_ in named))
            for one in recipients
        ]

    async def __call__(self, profile: Profile) -> Sequence[ProfileCheck]:
        """Return a row for each address."""
        addresses, mode = _addresses(profile), encryption_of(profile, self._default())
        if not addresses:
            return [_row(None, CheckState.SKIPPED, "the Profile has no email, so no mail is sent")]
        if mode is MailEncryption.NONE:
            return [_row(None, CheckState.SKIPPED, "mails are not encrypted (mailEncryption, mail.encryption)")]
        certificates = await self._certificates.of_recipients(profile.id, addresses)
        now = self._now()
        return [_check(address, mode, certificates, now) for address in addresses]


def _addresses(profile: Profile) -> list[str]:
    return [*dict.fromkeys(mail_addresses(profile.email))]


def _check(
    address: str, mode: MailEncryption, certificates: Sequence[RecipientCertificate], now: datetime
) -> ProfileCheck:
    usable = usable_certificates(address, certificates, now)
    if not usable:
        detail = f"{missing_reason(address, certificates, now)}; {_CONSEQUENCES[mode]}"
        if mode is MailEncryption.OPTIONAL and not of_recipient(address, certificates):
            return _row(address, CheckState.SKIPPED, detail)
        state = CheckState.FAILED if mode is MailEncryption.REQUIRED else CheckState.WARNING
        return _row(address, state, detail, _UPLOAD)
    until = date_text(max(one.expires_at for one in usable))
    detail = f"mails are encrypted by S/MIME until {until}: {', '.join(one.subject for one in usable)}"
    if all(one.expires_soon(now) for one in usable):
        return _row(address, CheckState.WARNING, detail, "upload the next certificate before this one expires")
    return _row(address, CheckState.OK, detail)


def _row(target: str | None, state: CheckState, detail: str, advice: str | None = None) -> ProfileCheck:
    return ProfileCheck(name=CheckName.ENCRYPTION, target=target, state=state, detail=detail, advice=advice)
