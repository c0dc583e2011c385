"""Reads the X.509 certificate of a recipient, and checks that S/MIME can encrypt to it (RFC 8550, RFC 8551).

The library parses some parts of a certificate only when they are read, with errors of several types.
"""

import re
from collections.abc import Iterator
from datetime import datetime
from typing import Final, TypeVar

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID, ObjectIdentifier, PublicKeyAlgorithmOID

from voxrec.error_codes import FieldErrorCode
from voxrec.mail.certificate_facts import CertificateFacts, InvalidCertificateError, date_text, distinct
from voxrec.mail.smime import encrypt_smime
from voxrec.mailaddress import is_mail_address
from voxrec.model import CertificateType
from voxrec.sanitize import sanitize_line

E = TypeVar("E", bound=x509.ExtensionType)
MIN_RSA_BITS: Final = 2048  # RFC 8551 section 4.2
_MAX_RSA_BITS: Final = 16_384
_MAX_NAME: Final = 255  # characters of a subject, an issuer or a serial number
_SMTP_UTF8_MAILBOX: Final = ObjectIdentifier("1.3.6.1.5.5.7.8.9")  # RFC 9598
_UTF8_STRING: Final = 0x0C
_MAX_ADDRESSES: Final = 100
# what is within has no hyphen, so that the time is linear in the length of the text
_PEM: Final = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----")
_DAMAGED: Final = (
    ValueError,
    TypeError,
    UnsupportedAlgorithm,
    x509.DuplicateExtension,
    x509.InvalidVersion,
    x509.UnsupportedGeneralNameType,
)


def read_smime_certificate(data: bytes, now: datetime) -> CertificateFacts:
    """Return what a certificate in PEM or DER says. Of a chain in PEM, it is the one of the recipient.

    Raises InvalidCertificateError if it is none, or if voxrec cannot encrypt to it now.
    """
    try:
        return _read(_parse(data), now)
    except InvalidCertificateError:
        raise
    except _DAMAGED:
        raise InvalidCertificateError(
            "is damaged, or no X.509 certificate; expected one in PEM or DER", FieldErrorCode.CERTIFICATE_DAMAGED
        ) from None


def _read(certificate: x509.Certificate, now: datetime) -> CertificateFacts:
    algorithm = _check_key(certificate)
    _check_usage(certificate)
    starts_at, expires_at = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if expires_at <= now:
        raise InvalidCertificateError(
            f"expired on {date_text(expires_at)}; expected a valid one",
            FieldErrorCode.CERTIFICATE_EXPIRED,
            {"time": expires_at.isoformat()},
        )
    if starts_at > now:
        raise InvalidCertificateError(
            f"is not valid before {date_text(starts_at)}; upload it then",
            FieldErrorCode.CERTIFICATE_NOT_YET_VALID,
            {"time": starts_at.isoformat()},
        )
    addresses = certificate_addresses(certificate)
    if len(addresses) > _MAX_ADDRESSES:
        raise InvalidCertificateError(
            f"names {len(addresses)} mail addresses; expected at most {_MAX_ADDRESSES}",
            FieldErrorCode.CERTIFICATE_ADDRESSES,
            {"number": len(addresses), "maximum": _MAX_ADDRESSES},
        )
    text = certificate.public_bytes(Encoding.PEM).decode("ascii")
    _check_encryption(text)
    return CertificateFacts(
        CertificateType.SMIME,
        text,
        sanitize_line(certificate.subject.rfc4514_string(), _MAX_NAME),
        sanitize_line(certificate.issuer.rfc4514_string(), _MAX_NAME),
        sanitize_line(f"{certificate.serial_number:x}", _MAX_NAME),
        addresses,
        certificate.fingerprint(SHA256()).hex(),
        algorithm,
        starts_at,
        expires_at,
    )


def _parse(data: bytes) -> x509.Certificate:
    if b"-----BEGIN" not in data:
        return x509.load_der_x509_certificate(data)
    certificates = [x509.load_pem_x509_certificate(text) for text in _PEM.findall(data)]
    if len(certificates) > 1:
        certificates = [one for one in certificates if not _is_authority(one)]
    if not certificates:
        raise InvalidCertificateError(
            "is missing: expected BEGIN CERTIFICATE of the recipient, not of an authority",
            FieldErrorCode.CERTIFICATE_MISSING,
        )
    if len(certificates) > 1:
        raise InvalidCertificateError(
            f"is not unique: there are {len(certificates)}; expected that of the recipient",
            FieldErrorCode.CERTIFICATE_NOT_UNIQUE,
            {"number": len(certificates)},
        )
    return certificates[0]


def _is_authority(certificate: x509.Certificate) -> bool:
    constraints = _extension(certificate, x509.BasicConstraints)
    return constraints is not None and constraints.ca


def _check_key(certificate: x509.Certificate) -> str:
    """Return the algorithm of the public key, if the library can encrypt to it."""
    try:
        key = certificate.public_key()
    except (ValueError, UnsupportedAlgorithm):
        raise InvalidCertificateError(
            "has an invalid public key, or one of an unknown algorithm; expected RSA", FieldErrorCode.CERTIFICATE_KEY
        ) from None
    if certificate.public_key_algorithm_oid == PublicKeyAlgorithmOID.RSASSA_PSS:
        raise InvalidCertificateError(
            "has an RSASSA-PSS key, which can only sign; expected an RSA key", FieldErrorCode.CERTIFICATE_KEY
        )
    if not isinstance(key, rsa.RSAPublicKey):
        kind = f"elliptic curve key ({key.curve.name})" if isinstance(key, ec.EllipticCurvePublicKey) else "other key"
        raise InvalidCertificateError(
            f"has an {kind}; voxrec encrypts only to RSA keys. Expected an RSA certificate",
            FieldErrorCode.CERTIFICATE_KEY,
        )
    if not MIN_RSA_BITS <= key.key_size <= _MAX_RSA_BITS:
        raise InvalidCertificateError(
            f"has an RSA key of {key.key_size} bits; expected {MIN_RSA_BITS} to {_MAX_RSA_BITS} bits",
            FieldErrorCode.CERTIFICATE_KEY_SIZE,
            {"bits": key.key_size, "minimum": MIN_RSA_BITS, "maximum": _MAX_RSA_BITS},
        )
    return f"RSA {key.key_size}"


def _check_usage(certificate: x509.Certificate) -> None:
    """Check the key usages (RFC 8550 sections 4.4.2 and 4.4.4). Without the extensions, all are permitted."""
    usage = _extension(certificate, x509.KeyUsage)
    if usage is not None and not usage.key_encipherment:
        raise InvalidCertificateError(
            "is not for encryption: its key usage lacks keyEncipherment", FieldErrorCode.CERTIFICATE_PURPOSE
        )
    extended = _extension(certificate, x509.ExtendedKeyUsage)
    permitted = {ExtendedKeyUsageOID.EMAIL_PROTECTION, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE}
    if extended is not None and permitted.isdisjoint(extended):
        raise InvalidCertificateError(
            "is not for mail: its extended key usage lacks emailProtection", FieldErrorCode.CERTIFICATE_PURPOSE
        )


def _check_encryption(text: str) -> None:
    """Encrypt to the certificate: some keys, such as one with an even modulus, fail only then."""
    try:
        encrypt_smime(b"\r\n", (text,))
    except _DAMAGED:
        raise InvalidCertificateError(
            "has a public key to which nothing can be encrypted", FieldErrorCode.CERTIFICATE_KEY
        ) from None


def certificate_addresses(certificate: x509.Certificate) -> tuple[str, ...]:
    """Return the mail addresses that a certificate names."""
    return distinct([*_addresses(certificate)])


def _addresses(certificate: x509.Certificate) -> Iterator[str]:
    names = _extension(certificate, x509.SubjectAlternativeName)
    for name in names or ():
        if isinstance(name, x509.RFC822Name):
            yield from filter(is_mail_address, [name.value])
        elif isinstance(name, x509.OtherName) and name.type_id == _SMTP_UTF8_MAILBOX:
            yield from filter(is_mail_address, [_utf8_string(name.value)])
    for attribute in certificate.subject.get_attributes_for_oid(NameOID.EMAIL_ADDRESS):
        yield from filter(is_mail_address, [str(attribute.value)])


def _utf8_string(der: bytes) -> str:
    """Return a UTF8String in DER; a mail address has less than 256 octets, whose length is one or two octets."""
    content = der[3:] if der[1:2] == b"\x81" else der[2:]
    return content.decode("utf-8", "replace") if der[:1] == bytes([_UTF8_STRING]) else ""


def _extension(certificate: x509.Certificate, kind: type[E]) -> E | None:
    try:
        return certificate.extensions.get_extension_for_class(kind).value
    except x509.ExtensionNotFound:
        return None
    except _DAMAGED:
        raise InvalidCertificateError(
            "is damaged: its extensions cannot be read", FieldErrorCode.CERTIFICATE_DAMAGED
        ) from None
