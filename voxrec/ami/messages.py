"""Messages of AMI: encodes actions, and decodes what Asterisk sends.

A message is a sequence of lines ``Name: value``, each ended by CR LF, and an empty line (``main/manager.c``).
"""

import re
from collections.abc import Mapping
from hashlib import md5
from typing import Final

from voxrec.errors import AsteriskUnavailable, FieldError, InvalidInput

LINE_LIMIT: Final = 16_384
"""The longest line in bytes that is accepted from Asterisk. The lines of the responses that voxrec uses are shorter
than 1 KiB."""
BANNER: Final = re.compile(rb"Asterisk Call Manager/(\d{1,9})\.[0-9.]+")
"""The first line that Asterisk sends; the group is the major version of AMI."""
_MESSAGE_LINES: Final = 256
# Asterisk reads a line, with its end, into a buffer of 1024 bytes (get_input in main/manager.c of 16.28 and 22.10).
_ACTION_LINE_LIMIT: Final = 1000
_FIELD_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9-]*")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")


class AmiProtocolError(AsteriskUnavailable):
    """The peer sent something that is not AMI, or more than the bounds allow. The connection is closed."""


def encode_action(action: str, action_id: str, fields: Mapping[str, str]) -> bytes:
    """Return the bytes of an action.

    Raises `InvalidInput` for a value with a control character, because CR or LF would begin another field or action,
    and for a line that is longer than Asterisk reads.
    """
    lines = [_encode_field(name, value) for name, value in {"Action": action, "ActionID": action_id, **fields}.items()]
    return b"".join(lines) + b"\r\n"


def _encode_field(name: str, value: str) -> bytes:
    if not _FIELD_NAME.fullmatch(name):
        raise InvalidInput("invalid AMI action", [FieldError(name, "invalid name; expected letters, digits and -")])
    if _CONTROL.search(value):
        raise InvalidInput("invalid AMI action", [FieldError(name, "contains a control character; expected one line")])
    line = f"{name}: {value}\r\n".encode()
    if len(line) > _ACTION_LINE_LIMIT:
        problem = f"too long: {len(line)} bytes with the name; at most {_ACTION_LINE_LIMIT} are allowed"
        raise InvalidInput("invalid AMI action", [FieldError(name, problem)])
    return line


def login_key(challenge: str, password: str) -> str:
    """Return the ``Key`` with which the action Login answers a challenge (AuthType MD5, the only one)."""
    return md5((challenge + password).encode(), usedforsecurity=False).hexdigest()


class MessageDecoder:
    """Collects the lines of one message after the other."""

    def __init__(self) -> None:
        self._fields: dict[str, str] = {}
        self._lines = 0

    def line_received(self, line: bytes) -> dict[str, str] | None:
        """Add a line without its end. Return the fields of the message that it ends, or None.

        If a name occurs more than once, its first value counts. A line without a colon is the continuation of a value
        that contained a line feed, which Asterisk does not escape, and is ignored. Raises `AmiProtocolError` for a
        message of too many lines.
        """
        if not line:
            fields, self._fields, self._lines = self._fields, {}, 0
            return fields or None
        self._lines += 1
        if self._lines > _MESSAGE_LINES:
            raise AmiProtocolError(f"AMI: a message has more than {_MESSAGE_LINES} lines")
        name, colon, value = line.decode("utf-8", "replace").partition(":")
        if colon:
            self._fields.setdefault(name, value.lstrip(" "))
        return None
