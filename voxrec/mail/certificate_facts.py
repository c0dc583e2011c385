"""What voxrec reads from the certificate of a recipient, and the error for one that it cannot use."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from voxrec.error_codes import FieldErrorCode
from voxrec.errors import InvalidValue
from voxrec.mailaddress import caseless_mailbox_key
from voxrec.model import CertificateType


class InvalidCertificateError(InvalidValue):
    """A certificate to which voxrec cannot encrypt. The message completes "the certificate ..."."""


@dataclass(frozen=True, slots=True)
class CertificateFacts:
    """A valid certificate in PEM, and what it says: the attributes of a RecipientCertificate that follow from it."""

    type: CertificateType
    certificate: str
    subject: str
    issuer: str
    serial_number: str
    addresses: tuple[str, ...]
    fingerprint: str
    algorithm: str
    starts_at: datetime
    expires_at: datetime

    def require_address(self, address: str) -> None:
        """Raise `InvalidCertificateError` unless the certificate names the address, or none at all."""
        if self.addresses and caseless_mailbox_key(address) not in map(caseless_mailbox_key, self.addresses):
            raise InvalidCertificateError(
                f"is for {', '.join(self.addresses)}, not for {address}; set otherAddressAllowed if that is intended",
                FieldErrorCode.CERTIFICATE_OTHER_ADDRESS,
                {"addresses": list(self.addresses), "address": address},
            )


def date_text(time: datetime) -> str:
    """Return a time for messages, in UTC."""
    return f"{time:%Y-%m-%d %H:%M} UTC"


def distinct(addresses: Sequence[str]) -> tuple[str, ...]:
    """Return each address once."""
    by_mailbox: dict[str, str] = {}
    for address in addresses:
        by_mailbox.setdefault(caseless_mailbox_key(address), address)
    return tuple(by_mailbox.values())
