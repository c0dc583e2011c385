"""Recipient certificates: the public keys to which mails are encrypted."""

import enum
from datetime import datetime, timedelta
from typing import Annotated, Final
from uuid import UUID

from msgspec import Meta, Struct

from voxrec.errors import FieldError
from voxrec.mailaddress import MailAddressError, check_mail_address
from voxrec.model.fields import Timestamp, Uuid4, doc

MAX_CERTIFICATE_LENGTH: Final = 262_144  # characters, with the chain of the certificate
EXPIRY_NOTICE: Final = timedelta(days=30)
"""Time before the expiry of a certificate from which voxrec warns of it."""


class CertificateType(enum.StrEnum):
    """Standard by which a recipient certificate encrypts.

    - ``smime``: S/MIME (RFC 8551), by an X.509 certificate
    """

    SMIME = "smime"


class MailEncryption(enum.StrEnum):
    """When mails are encrypted.

    - ``none``: never
    - ``optional``: if the recipient has a valid certificate; other recipients receive the mail unencrypted
    - ``notice``: always, except for a notice without audio and link to recipients without a valid certificate
    - ``required``: always; without a valid certificate of the recipient, the delivery fails
    """

    NONE = "none"
    OPTIONAL = "optional"
    NOTICE = "notice"
    REQUIRED = "required"


class CertificateValidity(enum.StrEnum):
    """Whether mails are encrypted to a recipient certificate.

    - ``valid``: it is valid for longer than 30 days
    - ``expiring``: it is valid, and expires within 30 days
    - ``expired``: it has expired
    """

    VALID = "valid"
    EXPIRING = "expiring"
    EXPIRED = "expired"


class MailProtection(enum.StrEnum):
    """What happens to the mails to a recipient.

    - ``encrypted``: they are encrypted
    - ``unencrypted``: they are sent unencrypted
    - ``notice``: a notice without audio and link is sent instead
    - ``refused``: they are not sent, and their deliveries fail
    """

    ENCRYPTED = "encrypted"
    UNENCRYPTED = "unencrypted"
    NOTICE = "notice"
    REFUSED = "refused"


MailAddress = Annotated[
    str,
    Meta(
        max_length=255,
        description="Mail address of the recipient.",
        examples=["desk@example.org"],
        extra_json_schema={"format": "mail-address"},
    ),
]
CertificateText = Annotated[
    str,
    Meta(
        min_length=1,
        max_length=MAX_CERTIFICATE_LENGTH,
        description="X.509 certificate in PEM, or in DER encoded in base64.",
    ),
]


class RecipientCertificate(Struct, frozen=True, kw_only=True, rename="camel"):
    """The certificate of a recipient, to which mails are encrypted: of one Profile, or of all."""

    id: Annotated[Uuid4, doc("Id of the recipient certificate, a UUID of version 4.")]
    profile_id: Annotated[UUID | None, doc("Profile whose mails use the certificate. Null: those of all Profiles.")] = (
        None
    )
    address: MailAddress
    other_address_allowed: Annotated[
        bool, doc("Whether the certificate may name other mail addresses than that of the recipient.")
    ] = False
    type: Annotated[CertificateType, doc("Standard by which the certificate encrypts.")]
    certificate: Annotated[str, doc("The certificate in PEM.")]
    subject: Annotated[str, doc("Name of the holder: the subject of the certificate.")]
    issuer: Annotated[
        str | None, doc("Name of the authority that has issued the certificate. Null: stored by an earlier version.")
    ] = None
    serial_number: Annotated[
        str | None, doc("Serial number that the issuer has given, in hexadecimal. Null: stored by an earlier version.")
    ] = None
    addresses: Annotated[tuple[str, ...], doc("Mail addresses in the certificate.")]
    fingerprint: Annotated[str, doc("SHA-256 digest of the certificate, in hexadecimal.")]
    algorithm: Annotated[str, Meta(description="Algorithm and size of the public key.", examples=["RSA 3072"])]
    starts_at: Annotated[
        datetime | None, doc("Time from which the certificate is valid. Null: stored by an earlier version.")
    ] = None
    expires_at: Annotated[datetime, doc("Time after which the certificate is not used.")]
    created_at: Annotated[Timestamp, doc("Time of creation.")]
    updated_at: Annotated[Timestamp, doc("Time of the last change.")]

    def expired(self, now: datetime) -> bool:
        """Return whether the certificate cannot be used any more."""
        return validity_at(self.expires_at, now) is CertificateValidity.EXPIRED

    def expires_soon(self, now: datetime) -> bool:
        """Return whether voxrec warns of the expiry."""
        return validity_at(self.expires_at, now) is not CertificateValidity.VALID


class MailRecipient(Struct, frozen=True, kw_only=True, rename="camel"):
    """A recipient of the mails of a Profile, and what happens to a mail that is sent now."""

    address: Annotated[str, doc("Mail address, as the Profile has it.")]
    protection: Annotated[MailProtection, doc("What happens to the mails.")]
    certificate_ids: Annotated[
        tuple[UUID, ...],
        doc("Ids of the recipient certificates to which mails are encrypted, as far as the client may read them."),
    ] = ()
    expires_at: Annotated[
        datetime | None,
        doc("Time until which mails can be encrypted, or at which that has ended. Null: there is no certificate."),
    ] = None
    validity: Annotated[CertificateValidity | None, doc("Validity by `expiresAt`. Null: there is no certificate.")] = (
        None
    )


def validity_at(expires_at: datetime, now: datetime) -> CertificateValidity:
    """Return the validity of a certificate that expires at some time."""
    if expires_at <= now:
        return CertificateValidity.EXPIRED
    return CertificateValidity.EXPIRING if expires_at - EXPIRY_NOTICE <= now else CertificateValidity.VALID


def address_errors(address: str) -> list[FieldError]:
    """Return an error unless the address of a recipient certificate is one mail address."""
    try:
        check_mail_address(address)
    except MailAddressError as error:
        return [FieldError.of("address", error, f"invalid email address {address!r}: it {error}")]
    return []
