"""Reads the caller's identity from P-Asserted-Identity (RFC 3325), of which Asterisk reads a single SIP URI only.

The header has one or two values: a SIP URI, a tel URI, or both (section 9.1); they can also be in two header lines.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final
from urllib.parse import unquote

from voxrec.calls.signalling.dialled import without_separators

_QUOTED_PAIR: Final = re.compile(r"\\(.)", re.DOTALL)
_QUOTED_STRING: Final = re.compile(r'"((?:[^"\\]|\\.)*)"', re.DOTALL)
_PHONE_NUMBER: Final = re.compile(r"\+?[0-9]+")


@dataclass(frozen=True, slots=True)
class Identity:
    """A caller: its number, or the user of its SIP URI, and its display name, which may be empty."""

    number: str
    name: str


@dataclass(frozen=True, slots=True)
class _Value:
    scheme: str
    user: str
    name: str


def asserted_identity(headers: Iterable[str]) -> Identity | None:
    """Return the identity in the values of all P-Asserted-Identity headers of an INVITE; None if there is none.

    Its number is that of the SIP URI, or of the tel URI if the former is none; a name belongs to both.
    """
    values = [value for header in headers for part in _split(header) if (value := _parse(part)) is not None]
    sip = next((value for value in values if value.scheme != "tel"), None)
    tel = next((value for value in values if value.scheme == "tel"), None)
    if sip is not None and (tel is None or _PHONE_NUMBER.fullmatch(sip.user)):
        number = sip.user
    elif tel is not None:
        number = tel.user
    else:
        return None
    return Identity(number, next((value.name for value in (sip, tel) if value is not None and value.name), ""))


def _split(header: str) -> Iterator[str]:
    """Split a list at its commas, except for those in quoted strings and URIs."""
    start, quoted, in_uri, escaped = 0, False, False, False
    for position, character in enumerate(header):
        if escaped:
            escaped = False
        elif quoted:
            escaped, quoted = character == "\\", character != '"'
        elif character == '"' and not in_uri:
            quoted = True
        elif character in "<>":
            in_uri = character == "<"
        elif character == "," and not in_uri:
            yield header[start:position]
            start = position + 1
    yield header[start:]


def _parse(value: str) -> _Value | None:
    name, uri = _name_and_uri(value.strip())
    if not name.isprintable():
        name = ""
    scheme, colon, rest = uri.partition(":")
    scheme = scheme.strip().lower()
    if not colon or scheme not in ("sip", "sips", "tel"):
        return None
    if scheme == "tel":
        user = without_separators(rest.partition(";")[0])
    elif "@" in rest:
        user = rest.rpartition("@")[0].partition(":")[0].partition(";")[0]
    else:
        return None
    user = unquote(user).strip(" ")
    return _Value(scheme, user, name) if user and user.isprintable() else None


def _name_and_uri(value: str) -> tuple[str, str]:
    """Return the display name and the URI of ``"Name" <URI>;parameters``; empty if a quotation mark is missing."""
    if (quoted := _QUOTED_STRING.match(value)) is not None:
        name, rest = _QUOTED_PAIR.sub(r"\1", quoted[1]), value[quoted.end() :]
    elif value.startswith('"'):
        return "", ""
    else:
        name, rest = (value.partition("<")[0].strip() if "<" in value else ""), value
    return name, rest.partition("<")[2].partition(">")[0] if "<" in rest else rest.partition(";")[0]
