"""The envelope sender of a mail to one recipient, to which a mail server returns what it cannot deliver (VERP).

``bounces+<token>@example.org``: the token names the delivery and its attempt, and is signed, so that only those who
have received the mail can report about it. It is in base32, since some mail servers change the case of addresses.
"""

import hmac
import re
from base64 import b32decode, b32encode
from dataclasses import dataclass
from struct import Struct
from typing import Final, Self
from uuid import UUID

from voxrec.mailaddress import MAX_LOCAL_PART, encode_mail_address

_TOKEN: Final = Struct(">16sHH10s")  # id of the delivery, number of the attempt, number of the key, signature
_TOKEN_LENGTH: Final = 48  # characters of base32, without padding
_TEXT: Final = re.compile(rf"[A-Za-z2-7]{{{_TOKEN_LENGTH}}}")
_SIGNATURE_SIZE: Final = 10  # bytes; RFC 2104 section 5 requires 80 bits at least
_SEPARATOR: Final = "+"
_MAX_ATTEMPT: Final = 0xFFFF

MAX_MAILBOX: Final = MAX_LOCAL_PART - _TOKEN_LENGTH - len(_SEPARATOR)
"""Maximum length of the local part of the configured address."""


@dataclass(frozen=True, slots=True)
class BounceToken:
    """A token as received; nothing in it can be believed before `BounceKey.verify`."""

    delivery_id: UUID
    attempt: int
    key_id: int
    signature: bytes

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the token in ``text``; None if it does not have the form of one."""
        if not _TEXT.fullmatch(text):
            return None
        delivery_id, attempt, key_id, signature = _TOKEN.unpack(b32decode(text.upper()))
        return cls(UUID(bytes=delivery_id), attempt, key_id, signature)


@dataclass(frozen=True, slots=True)
class BounceKey:
    """A key that signs and verifies tokens, and its number."""

    id: int
    secret: bytes

    def sign(self, delivery_id: UUID, attempt: int) -> str:
        """Return the token of an attempt of a delivery."""
        attempt = min(attempt, _MAX_ATTEMPT)
        token = _TOKEN.pack(delivery_id.bytes, attempt, self.id, self._signature(delivery_id, attempt))
        return b32encode(token).decode("ascii").lower()

    def verify(self, token: BounceToken) -> bool:
        """Return whether this key has signed a token, in a time that does not depend on the signature."""
        return hmac.compare_digest(self._signature(token.delivery_id, token.attempt), token.signature)

    def _signature(self, delivery_id: UUID, attempt: int) -> bytes:
        return hmac.digest(self.secret, delivery_id.bytes + attempt.to_bytes(2, "big"), "sha256")[:_SIGNATURE_SIZE]


@dataclass(frozen=True, slots=True)
class BounceMailbox:
    """The configured address, to which tokens are added. Its domain is in its ASCII form."""

    local_part: str
    domain: str

    @classmethod
    def parse(cls, address: str) -> Self:
        """Return the mailbox of a valid address."""
        local_part, _, domain = encode_mail_address(address).rpartition("@")
        return cls(local_part, domain)

    def address(self, token: str) -> str:
        """Return the envelope sender with a token."""
        return f"{self.local_part}{_SEPARATOR}{token}@{self.domain}"

    def token_in(self, address: str) -> BounceToken | None:
        """Return the token in an address of this mailbox; None if it is another address, or has no token."""
        local_part, _, domain = address.rpartition("@")
        mailbox, _, text = local_part.partition(_SEPARATOR)
        if domain.lower() != self.domain.lower() or mailbox.lower() != self.local_part.lower():
            return None
        return BounceToken.parse(text)
