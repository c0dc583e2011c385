"""Reads the certificate of a recipient that a client uploads, in whichever form."""

import base64
import binascii
from datetime import datetime
from typing import Final

from voxrec.error_codes import FieldErrorCode
from voxrec.mail.certificate_facts import CertificateFacts, InvalidCertificateError
from voxrec.mail.smime_certificate import read_smime_certificate

_SEQUENCE: Final = 0x30
_INTEGER: Final = 0x02
_LONG_FORM: Final = 0x80
_PRIVATE_KEY: Final = (
    "contains a private key, which must not be shared. It was not stored. Expected only the public certificate; "
    "consider the private key as disclosed if the connection was not encrypted"
)


def read_certificate(text: str, now: datetime) -> CertificateFacts:
    """Return what a certificate in PEM, or in base64 of its binary form, says.

    Raises InvalidCertificateError; its message contains nothing of a private key that was uploaded by mistake.
    """
    data = _decode(text)
    if b"PRIVATE KEY" in data or _has_version(data):
        raise InvalidCertificateError(_PRIVATE_KEY, FieldErrorCode.CERTIFICATE_PRIVATE_KEY)
    return read_smime_certificate(data, now)


def certificate_text(data: bytes) -> str:
    """Return the content of a file, which is text or binary, in the form that `read_certificate` expects."""
    if b"-----BEGIN" in data or (data.isascii() and b"\0" not in data):
        return data.decode("ascii", "replace")
    return base64.b64encode(data).decode()


def _decode(text: str) -> bytes:
    stripped = text.strip()
    if "-----BEGIN" in stripped:
        return stripped.encode()
    try:
        return base64.b64decode("".join(stripped.split()), validate=True)
    except (binascii.Error, ValueError):
        raise InvalidCertificateError(
            "is neither PEM (-----BEGIN CERTIFICATE-----) nor base64; expected an X.509 certificate",
            FieldErrorCode.CERTIFICATE_DAMAGED,
        ) from None


def _has_version(data: bytes) -> bool:
    """Return whether DER begins with a version number, as private keys (RFC 5958, RFC 8017) and PKCS #12 do."""
    if len(data) < 2 or data[0] != _SEQUENCE:
        return False
    length_octets = data[1] & ~_LONG_FORM if data[1] & _LONG_FORM else 0
    return data[2 + length_octets : 3 + length_octets] == bytes([_INTEGER])
