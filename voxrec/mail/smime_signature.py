"""S/MIME signatures (RFC 8551 section 3.5.3): multipart/signed, with the certificate of the installation."""

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.hazmat.primitives.serialization.pkcs7 import PKCS7Options, PKCS7SignatureBuilder

from voxrec.errors import VoxrecError
from voxrec.mail.base64_lines import encode_base64_bytes

_OTHERS: Final = 0o007
_BOUNDARY: Final = b"=_signed"  # the parts within have other boundaries, and "=_" occurs in neither of their encodings
_HEAD: Final = (
    b"MIME-Version: 1.0\r\n"
    b'Content-Type: multipart/signed; protocol="application/pkcs7-signature";\r\n'
    b' micalg=sha-256; boundary="' + _BOUNDARY + b'"\r\n'
    b"\r\n"
    b"--" + _BOUNDARY + b"\r\n"
)
_SIGNATURE: Final = (
    b"\r\n--" + _BOUNDARY + b"\r\n"
    b'Content-Type: application/pkcs7-signature; name="smime.p7s"\r\n'
    b"Content-Transfer-Encoding: base64\r\n"
    b'Content-Disposition: attachment; filename="smime.p7s"\r\n'
    b"\r\n"
)


class SigningError(VoxrecError):
    """The certificate with which mails are signed cannot be used."""

    code = "mail-signature"


@dataclass(frozen=True, slots=True)
class Signer:
    """Signs messages. ``chain`` are the certificates of the authorities."""

    certificate: x509.Certificate
    chain: tuple[x509.Certificate, ...]
    key: rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey = field(repr=False)

    @property
    def expires_at(self) -> datetime:
        """The time after which recipients see the signature as invalid."""
        return self.certificate.not_valid_after_utc

    def sign(self, payload: bytes) -> bytes:
        """Return the MIME entity, with its headers, of a payload that is signed. Blocks: run it in a thread."""
        builder = PKCS7SignatureBuilder().set_data(payload).add_signer(self.certificate, self.key, SHA256())
        for authority in self.chain:
            builder = builder.add_certificate(authority)
        signature = builder.sign(Encoding.DER, [PKCS7Options.DetachedSignature, PKCS7Options.Binary])
        end = b"--" + _BOUNDARY + b"--\r\n"
        return b"".join([_HEAD, payload, _SIGNATURE, *encode_base64_bytes(signature), end])


def load_signer(certificate_file: Path, key_file: Path) -> Signer:
    """Read the certificate, which may be followed by its chain, and its private key. Raises SigningError."""
    try:
        if key_file.stat().st_mode & _OTHERS:
            raise SigningError(f"{key_file} is accessible to all users of this machine; chmod o= {key_file}")
        certificates = x509.load_pem_x509_certificates(certificate_file.read_bytes())
        key = load_pem_private_key(key_file.read_bytes(), None)
    except (OSError, ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise SigningError(f"{certificate_file} and {key_file} cannot be used: {error}") from error
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise SigningError(f"{key_file} has a key of another algorithm; expected RSA or an elliptic curve")
    if key.public_key() != certificates[0].public_key():
        raise SigningError(f"the key in {key_file} does not belong to the first certificate in {certificate_file}")
    return Signer(certificates[0], tuple(certificates[1:]), key)
