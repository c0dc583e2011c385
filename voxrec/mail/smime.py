"""S/MIME messages (RFC 8551): EnvelopedData by AES-256 in CBC mode, to RSA keys.

Mail programs do not widely support AuthEnvelopedData (AES-GCM) yet, nor does the library. The structure is in DER, and
all of a message is 7 bit, so that relays need not change it.
"""

from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.ciphers.algorithms import AES256
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.hazmat.primitives.serialization.pkcs7 import PKCS7EnvelopeBuilder, PKCS7Options

from voxrec.mail.base64_lines import encode_base64_bytes

_ENVELOPED: Final = (
    b"MIME-Version: 1.0\r\n"
    b'Content-Type: application/pkcs7-mime; smime-type=enveloped-data;\r\n name="smime.p7m"\r\n'
    b"Content-Transfer-Encoding: base64\r\n"
    b'Content-Disposition: attachment; filename="smime.p7m"\r\n'
    b"\r\n"
)


def encrypt_smime(payload: bytes, certificates: Sequence[str]) -> bytes:
    """Return the MIME entity, with its headers, of a payload that is encrypted to certificates in PEM.

    Blocks: run it in a thread. Raises ValueError if a certificate cannot be used.
    """
    builder = PKCS7EnvelopeBuilder().set_data(payload).set_content_encryption_algorithm(AES256)
    for certificate in certificates:
        builder = builder.add_recipient(x509.load_pem_x509_certificate(certificate.encode()))
    enveloped = builder.encrypt(Encoding.DER, [PKCS7Options.Binary])
    return b"".join([_ENVELOPED, *encode_base64_bytes(enveloped)])
