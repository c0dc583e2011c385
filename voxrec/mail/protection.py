"""Protects a complete message: signs it, and encrypts it to the certificates of its recipients."""

from dataclasses import dataclass

from voxrec.mail.header_protection import encrypted_payload, signed_payload, split_message
from voxrec.mail.smime import encrypt_smime
from voxrec.mail.smime_signature import Signer
from voxrec.model import CertificateType


class ProtectionError(Exception):
    """A message cannot be protected, so that it must not be sent. The message gives the reason."""


@dataclass(frozen=True, slots=True)
class Encryption:
    """How a message is encrypted: by ``type``, to certificates in PEM or ASCII armor."""

    type: CertificateType
    certificates: tuple[str, ...]


def protect(message: bytes, encryption: Encryption | None, signer: Signer | None, *, hide_subject: bool) -> bytes:
    """Return a message, which has CRLF line ends, signed and encrypted. Blocks: run it in a thread.

    ``encryption`` or ``signer`` None: it is not encrypted, or not signed. ``hide_subject``: only recipients of an
    encrypted message see its subject, which contains the parties of the call. Raises ProtectionError.
    """
    headers, body = split_message(message)
    try:
        if encryption is None:
            entity = b"" if signer is None else signer.sign(signed_payload(headers, body))
            return message if signer is None else b"".join([*headers.general, entity])
        outer = headers.with_hidden_subject() if hide_subject else headers
        payload = encrypted_payload(headers, outer, body)
        entity = encrypt_smime(payload if signer is None else signer.sign(payload), encryption.certificates)
    except (ValueError, TypeError) as error:
        raise ProtectionError(f"the message cannot be protected: {error}") from error
    return b"".join([*outer.general, entity])
