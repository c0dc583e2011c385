"""The signed part of an expiring link: the number of a key, an id, and an HMAC-SHA256 of the id.

Forging one means to guess 128 bits (RFC 2104 section 5 permits truncation to half of the hash). A token has 36 bytes,
and thus exactly one notation in base64 without padding.
"""

import hmac
import re
from base64 import urlsafe_b64decode, urlsafe_b64encode
from dataclasses import dataclass
from struct import Struct
from typing import Final, Self
from uuid import UUID

_TOKEN: Final = Struct(">i16s16s")  # number of the key, id, signature
_TEXT: Final = re.compile(r"[A-Za-z0-9_-]{48}")


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A key and its number."""

    id: int
    secret: bytes

    def sign(self, purpose: bytes, id_: UUID) -> str:
        """Return the token of an id. A token that was signed for one ``purpose`` is not valid for another one."""
        return urlsafe_b64encode(_TOKEN.pack(self.id, id_.bytes, self._signature(purpose, id_))).decode("ascii")

    def verify(self, purpose: bytes, token: "SignedToken") -> bool:
        """Return whether this key has signed a token, in a time that does not depend on the signature."""
        return hmac.compare_digest(self._signature(purpose, token.id), token.signature)

    def _signature(self, purpose: bytes, id_: UUID) -> bytes:
        return hmac.digest(self.secret, purpose + b"\0" + id_.bytes, "sha256")[:16]


@dataclass(frozen=True, slots=True)
class SignedToken:
    """A token as received; nothing in it can be believed before `SigningKey.verify`."""

    key_id: int
    id: UUID
    signature: bytes

    @classmethod
    def parse(cls, text: str) -> Self | None:
        """Return the token in ``text``; None if it does not have the form of one."""
        if not _TEXT.fullmatch(text):
            return None
        key_id, id_, signature = _TOKEN.unpack(urlsafe_b64decode(text))
        return cls(key_id, UUID(bytes=id_), signature)
