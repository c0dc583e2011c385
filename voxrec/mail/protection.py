"""Protects a complete message: encrypts it to the certificates of its recipients."""

from dataclasses import dataclass

from voxrec.mail.header_protection import encrypted_payload, split_message
from voxrec.mail.smime import encrypt_smime
from voxrec.model import CertificateType


class ProtectionError(Exception):
    """A message cannot be protected, so that it must not be sent. The message gives the reason."""


@dataclass(frozen=True, slots=True)
class Encryption:
    """How a message is encrypted: by ``type``, to certificates in PEM or ASCII armor."""

    type: CertificateType
    certificates: tuple[str, ...]


def protect(message: bytes, encryption: Encryption, *, hide_subject: bool) -> bytes:
    """Return a message, which has CRLF line ends, encrypted. Blocks: run it in a thread.

    ``hide_subject``: only recipients see the subject, which contains the parties of the call. Raises ProtectionError.
    """
    headers, body = split_message(message)
    outer = headers.with_hidden_subject() if hide_subject else headers
    payload = encrypted_payload(headers, outer, body)
    try:
        entity = encrypt_smime(payload, encryption.certificates)
    except (ValueError, TypeError) as error:
        raise ProtectionError(f"the message cannot be encrypted: {error}") from error
    return b"".join([*outer.general, entity])
