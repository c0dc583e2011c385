"""What the dialplan tells of a caller: the arguments of Stasis behind ``incoming`` (etc/asterisk/extensions.conf).

Each is ``Name=value`` with the value as URIENCODE writes it: a header of the INVITE that goes on to the far end,
``codecs``, what the caller offers, or ``presentation``, whether its number may be shown.
"""

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote

from voxrec import sipuri

CODECS: Final = "codecs"
PRESENTATION: Final = "presentation"
_HEADER: Final = re.compile(r"[A-Za-z0-9!%'*+_`~.-]{1,64}")
_REPLACES: Final = re.compile(r"[!-:<-~]+(;[!-:<-~]+)+")
_ESCAPED: Final = re.compile(r"\\(.)")
_LONGEST: Final = 1024  # characters of a header's value
# What is no header, and what the far end's request has of its own, whatever a dialplan gives.
_NO_HEADERS: Final = frozenset(
    {CODECS, PRESENTATION, "via", "from", "to", "call-id", "cseq", "contact", "route", "record-route", "max-forwards",
     "content-length", "content-type", "authorization", "proxy-authorization"}
)  # fmt: skip
_NARROW: Final = re.compile(r"(ulaw|alaw|gsm|g729|g723|g726\w*|ilbc|speex|adpcm|slin|lpc10|amr)$", re.IGNORECASE)


def headers_of(args: tuple[str, ...]) -> dict[str, str]:
    """The headers that go on to the far end: those with a value, none that could hide another one.

    What stands in several headers of one name goes on in one, with commas (RFC 3261, section 7.3.1).
    """
    headers: dict[str, str] = {}
    for name, value in _pairs(args):
        if value and name.lower() not in _NO_HEADERS and _HEADER.fullmatch(name):
            joined = f"{headers[name]}, {value}" if name in headers else value
            if len(joined) <= _LONGEST:
                headers[name] = joined
    return headers


def refer_target(refer_to: str) -> str | None:
    """The SIP URI of a Refer-To header (RFC 3515), without the headers that it may hold; None where it is none."""
    uri = refer_to.strip()
    if "<" in uri:
        uri = uri[uri.index("<") + 1 :].partition(">")[0]
    user, at, host = uri.rpartition("@")
    uri = user + at + host.partition("?")[0]
    try:
        sipuri.parse(uri)
    except sipuri.SipUriError:
        return None
    return uri


def replaced_dialog(replaces: str) -> str:
    """The value of a Replaces header (RFC 3891) that can be sent on; empty where it is none."""
    return replaces if len(replaces) <= _LONGEST and _REPLACES.fullmatch(replaces) else ""


def is_wideband(args: tuple[str, ...]) -> bool:
    """Whether the codec that the caller will be answered with, the first, carries more than 8 kHz."""
    for name, value in _pairs(args):
        if name.lower() == CODECS:
            first = value.strip("() ").split("|")[0]
            return bool(first) and not _NARROW.fullmatch(first)
    return False


def display_name(quoted: str) -> str:
    """A caller's name as it is read: Asterisk leaves the backslashes of a quoted one in it (RFC 3261, section 25.1)."""
    return _ESCAPED.sub(r"\1", quoted)


def is_withheld(args: tuple[str, ...]) -> bool:
    """Whether the caller wants its number not to be shown (RFC 3323; CALLERID(num-pres) in Asterisk)."""
    return any(name.lower() == PRESENTATION and value.startswith("prohib") for name, value in _pairs(args))


def _pairs(args: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for arg in args:
        name, equals, value = arg.partition("=")
        text = unquote(value).strip()
        if equals and not any(ord(character) < 32 or ord(character) == 127 for character in text):
            yield name.strip(), text
