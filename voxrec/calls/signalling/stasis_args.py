"""Reads the arguments that the dialplan passes to Stasis (etc/asterisk/extensions.conf).

The first argument is `INBOUND` or `TRANSFERRED`. Behind `INBOUND`, each argument is ``Name=value``, with the value
encoded by URIENCODE: a header of the INVITE that is copied to the far end, ``codecs`` (the caller's codecs), or
``presentation`` (whether the caller's number may be shown), ``path`` and ``max-forwards``
(`voxrec.calls.signalling.hops`), ``attempt`` (`voxrec.model.Attempt`), ``dialog`` (Call-ID and tag of the caller),
``asserted`` (a P-Asserted-Identity of a trusted trunk), or ``request-uri`` (if it is a tel URI).
"""

import re
from functools import lru_cache
from typing import Final
from urllib.parse import unquote

from voxrec import sipuri
from voxrec.calls.signalling.dialled import dialled_numbers, subscriber_of
from voxrec.calls.signalling.hops import Hops, parse_hops
from voxrec.calls.signalling.identity import Identity, asserted_identity
from voxrec.model import Attempt

INBOUND: Final = "incoming"
"""First argument of a caller from the trunk."""
ARGS_VARIABLE: Final = "VOXREC_ARGS"
"""Variable of the caller's channel with the arguments behind `INBOUND`, separated by commas."""
TRANSFERRED: Final = "transferred"
"""First argument of a transfer; behind it are Refer-To, the name of the transferring channel, and Replaces."""
_CODECS: Final = "codecs"
_PRESENTATION: Final = "presentation"
_PATH: Final = "path"
_MAX_FORWARDS: Final = "max-forwards"
_ATTEMPT: Final = "attempt"
_DIALOG: Final = "dialog"
_ASSERTED: Final = "asserted"
_REQUEST_URI: Final = "request-uri"
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9!%'*+_`~.-]{1,64}")
_REPLACES: Final = re.compile(r"[!-:<-~]+(;[!-:<-~]+)+")
_QUOTED_PAIR: Final = re.compile(r"\\(.)")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f]")
_MAX_VALUE: Final = 1024  # characters
# Arguments that are not headers, and headers that the request to the far end has anyway.
_NOT_COPIED: Final = frozenset(
    {_CODECS, _PRESENTATION, _PATH, _MAX_FORWARDS, _ATTEMPT, _DIALOG, _ASSERTED, _REQUEST_URI, "via", "from", "to",
     "call-id", "cseq", "contact", "route",
     "record-route", "content-length", "content-type", "authorization", "proxy-authorization", "privacy",
     "x-voxrec-call", "x-voxrec-profile", "x-voxrec-dialled", "x-voxrec-path", "x-voxrec-attempt"}
)  # fmt: skip
_NARROWBAND: Final = re.compile(r"(ulaw|alaw|gsm|g729|g723|g726\w*|ilbc|speex|adpcm|slin|lpc10|amr)$", re.IGNORECASE)


def split_args(variable: str) -> tuple[str, ...]:
    """Return the arguments in the value of `ARGS_VARIABLE`, as Stasis passes them."""
    return tuple(variable.split(",")) if variable else ()


def headers_of(args: tuple[str, ...]) -> dict[str, str]:
    """Return the headers that are copied to the far end: those that have a value and cannot inject another header.

    Several headers of one name become one with comma-separated values (RFC 3261 section 7.3.1).
    """
    headers: dict[str, str] = {}
    for name, value in _pairs(args):
        if value and name.lower() not in _NOT_COPIED and _HEADER_NAME.fullmatch(name):
            joined = f"{headers[name]}, {value}" if name in headers else value
            if len(joined) <= _MAX_VALUE:
                headers[name] = joined
    return headers


def refer_target(refer_to: str) -> str | None:
    """Return the SIP URI in a Refer-To header (RFC 3515), without its header parameters; None if there is none."""
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
    """Return the value of a Replaces header (RFC 3891) if it is valid, else an empty string."""
    return replaces if len(replaces) <= _MAX_VALUE and _REPLACES.fullmatch(replaces) else ""


def is_wideband(args: tuple[str, ...]) -> bool:
    """Return whether the first codec, with which the caller will be answered, has more than 8 kHz."""
    codecs = _codecs(args)
    return bool(codecs) and is_wideband_codec(codecs[0])


def is_late_offer(args: tuple[str, ...]) -> bool:
    """Return whether the INVITE had no SDP, so that the codec is determined by the ACK: several codecs are possible."""
    return len(_codecs(args)) > 1


def is_wideband_codec(codec: str) -> bool:
    """Return whether a codec, with its name in Asterisk, has more than 8 kHz."""
    return not _NARROWBAND.fullmatch(codec)


def split_codecs(value: str) -> list[str]:
    """Return the codecs of ``CHANNEL(audionativeformat)``, for example ``(ulaw|alaw)``."""
    return [codec for codec in value.strip("() ").split("|") if codec]


def _codecs(args: tuple[str, ...]) -> list[str]:
    return next((split_codecs(value) for name, value in _pairs(args) if name.lower() == _CODECS), [])


def display_name(quoted: str) -> str:
    """Return a caller's name without the backslashes of quoted pairs, which Asterisk keeps (RFC 3261 section 25.1)."""
    return _QUOTED_PAIR.sub(r"\1", quoted)


def is_withheld(args: tuple[str, ...]) -> bool:
    """Return whether the caller withholds its number (RFC 3323; CALLERID(num-pres) in Asterisk).

    A number counts as withheld unless the arguments say that its presentation is allowed.
    """
    presentations = [value for name, value in _pairs(args) if name.lower() == _PRESENTATION]
    return not presentations or not all(value.startswith("allowed") for value in presentations)


def identity_of(args: tuple[str, ...]) -> Identity | None:
    """Return the caller's asserted identity; None if there is none, or none is trusted."""
    return asserted_identity(value for name, value in _pairs(args) if name.lower() == _ASSERTED)


def dialled_of(extension: str, args: tuple[str, ...]) -> tuple[str, ...]:
    """Return the ids or numbers that the caller may have dialled, the most likely one first."""
    uris = (subscriber_of(value) for name, value in _pairs(args) if name.lower() == _REQUEST_URI)
    return dialled_numbers(next((subscriber for subscriber in uris if subscriber is not None), extension))


def hops_of(args: tuple[str, ...]) -> Hops:
    """Return through which Profiles the call has passed, and its Max-Forwards."""
    values = {name.lower(): value for name, value in _pairs(args)}
    return parse_hops(values.get(_PATH, ""), values.get(_MAX_FORWARDS, ""))


def attempt_of(args: tuple[str, ...]) -> Attempt | None:
    """Return which attempt to pass the call to a node this is; None if no proxy has said so."""
    values = (value for name, value in _pairs(args) if name.lower() == _ATTEMPT)
    return Attempt.parse(next(values, ""))


def dialog_of(args: tuple[str, ...]) -> str:
    """Return what identifies the caller's dialog before it has a tag of ours; empty if it is not known."""
    return next((value for name, value in _pairs(args) if name.lower() == _DIALOG), "")


@lru_cache(maxsize=4)  # eight functions read the arguments of a caller, one after the other
def _pairs(args: tuple[str, ...]) -> tuple[tuple[str, str], ...]:
    parts = (arg.partition("=") for arg in args)
    decoded = ((name.strip(), unquote(value).strip()) for name, equals, value in parts if equals)
    return tuple((name, value) for name, value in decoded if not _CONTROL.search(value))
