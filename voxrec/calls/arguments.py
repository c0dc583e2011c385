"""What the dialplan tells of a caller: the arguments of Stasis behind ``incoming`` (etc/asterisk/extensions.conf).

Each is ``Name=value`` with the value as URIENCODE writes it: a header of the INVITE that goes on to the far end, or
``codecs``, what the caller offers.
"""

import re
from collections.abc import Iterator
from typing import Final
from urllib.parse import unquote

from voxrec import sipuri

CODECS: Final = "codecs"
_HEADER: Final = re.compile(r"[A-Za-z0-9!%'*+_`~.-]{1,64}")
_LONGEST: Final = 1024  # characters of a header's value
# What the far end's request has of its own, whatever a dialplan gives.
_OURS: Final = frozenset(
    {"via", "from", "to", "call-id", "cseq", "contact", "route", "record-route", "max-forwards", "content-length",
     "content-type", "authorization", "proxy-authorization"}
)  # fmt: skip
_NARROW: Final = re.compile(r"(ulaw|alaw|gsm|g729|g723|g726\w*|ilbc|speex|adpcm|slin|lpc10|amr)$", re.IGNORECASE)


def headers_of(args: tuple[str, ...]) -> dict[str, str]:
    """The headers that go on to the far end: those with a value, none that could hide another one."""
    return {
        name: value[:_LONGEST]
        for name, value in _pairs(args)
        if value and name.lower() != CODECS and name.lower() not in _OURS and _HEADER.fullmatch(name)
    }


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


def is_wideband(args: tuple[str, ...]) -> bool:
    """Whether the codec that the caller will be answered with, the first, carries more than 8 kHz."""
    for name, value in _pairs(args):
        if name.lower() == CODECS:
            first = value.strip("() ").split("|")[0]
            return bool(first) and not _NARROW.fullmatch(first)
    return False


def _pairs(args: tuple[str, ...]) -> Iterator[tuple[str, str]]:
    for arg in args:
        name, equals, value = arg.partition("=")
        text = unquote(value).strip()
        if equals and not any(ord(character) < 32 or ord(character) == 127 for character in text):
            yield name.strip(), text
