"""Protects a complete message: signs it, and encrypts it to the certificates of its recipients."""

from dataclasses import dataclass

from cryptography.exceptions import UnsupportedAlgorithm

from voxrec.mail.header_protection import encrypted_payload, signed_payload, split_message
from voxrec.mail.smime import encrypt_smime
from voxrec.mail.smime_signature import Signer


class ProtectionError(Exception):
    """A message cannot be encrypted to a certificate, so that it must not be sent. The message gives the reason."""


class TransientProtectionError(Exception):
    """A message cannot be protected for a reason that is not in the certificate of a recipient.

    Such a reason is this machine, or the certificate that signs. It must not be sent; a later attempt may succeed.
    """


@dataclass(frozen=True, slots=True)
class Encryption:
    """How a message is encrypted: by S/MIME, to certificates in PEM."""

    certificates: tuple[str, ...]


def protect(message: bytes, encryption: Encryption | None, signer: Signer | None, *, hide_subject: bool) -> bytes:
    """Return a message, which has CRLF line ends, signed and encrypted. Blocks: run it in a thread.

    ``encryption`` or ``signer`` None: it is not encrypted, or not signed. ``hide_subject``: only recipients of an
    encrypted message see its subject, which contains the parties of the call. Raises ProtectionError,
    TransientProtectionError.
    """
    headers, body = split_message(message)
    if encryption is None:
        if signer is None:
            return message
        return b"".join([*headers.general, _sign(signed_payload(headers, body), signer)])
    outer = headers.with_hidden_subject() if hide_subject else headers
    payload = encrypted_payload(headers, outer, body)
    if signer is not None:
        payload = _sign(payload, signer)
    try:
        entity = encrypt_smime(payload, encryption.certificates)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise ProtectionError(f"the message cannot be encrypted: {error}") from error
    return b"".join([*outer.general, entity])


def _sign(payload: bytes, signer: Signer) -> bytes:
    try:
        return signer.sign(payload)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:  # until mail.signing_certificate is corrected
        raise TransientProtectionError(f"the message cannot be signed: {error}") from error
