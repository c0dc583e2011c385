"""Moves the headers of a message into its protected part (RFC 9788), and hides the subject of an encrypted one.

Mail programs that do not know RFC 9788 show the headers outside. The texts of mails repeat what the subject says, so
that nothing is missing there.
"""

import re
from dataclasses import dataclass
from typing import Final

HIDDEN_SUBJECT: Final = b"[...]"  # RFC 9788 section 3.2.1
_FIELD: Final = re.compile(rb"[^\r\n]+(?:\r\n[ \t][^\r\n]*)*\r\n")
_STRUCTURAL: Final = (b"content-", b"mime-version:")  # RFC 9788 section 1.1.1


@dataclass(frozen=True, slots=True)
class Headers:
    """The headers of a message: each with its line end. ``structural`` are those of its MIME structure."""

    general: tuple[bytes, ...]
    structural: tuple[bytes, ...]

    def with_hidden_subject(self) -> "Headers":
        """Return the headers of an encrypted message for everyone on its way."""
        hidden = b"Subject: " + HIDDEN_SUBJECT + b"\r\n"
        general = tuple(hidden if field.lower().startswith(b"subject:") else field for field in self.general)
        return Headers(general, self.structural)


def split_message(message: bytes) -> tuple[Headers, bytes]:
    """Return the headers of a message, and its body, which begins after the empty line."""
    end = message.index(b"\r\n\r\n") + 2
    fields = _FIELD.findall(message[:end])
    general = tuple(field for field in fields if not field.lower().startswith(_STRUCTURAL))
    structural = tuple(field for field in fields if field.lower().startswith(_STRUCTURAL))
    return Headers(general, structural), message[end + 2 :]


def signed_payload(headers: Headers, body: bytes) -> bytes:
    """Return the part of a message that a signature protects, with all its headers."""
    return b"".join([*headers.general, *_marked(headers.structural, b"clear"), b"\r\n", body])


def encrypted_payload(headers: Headers, outer: Headers, body: bytes) -> bytes:
    """Return the part of a message that is encrypted, with all its headers; ``outer`` are those that everyone sees."""
    visible = (b"HP-Outer: " + field for field in outer.general)
    return b"".join([*headers.general, *visible, *_marked(headers.structural, b"cipher"), b"\r\n", body])


def _marked(structural: tuple[bytes, ...], protection: bytes) -> list[bytes]:
    """Mark the content type; ``protected-headers`` is for mail programs that know the drafts before RFC 9788."""
    parameters = b';\r\n hp="' + protection + b'";\r\n protected-headers="v1"\r\n'
    return [
        field.removesuffix(b"\r\n") + parameters if field.lower().startswith(b"content-type:") else field
        for field in structural
    ]
