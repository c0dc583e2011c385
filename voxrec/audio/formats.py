"""The values of ``recordFormat``, and what libsndfile makes of each.

The table holds what the installed libsndfile can write (MP3 came with 1.1), so a name found here is a promise.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import soundfile

from voxrec.errors import FieldFault, InvalidInput


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of file: its name in a Profile, libsndfile's container and subtype, and how the world calls it."""

    name: str
    container: str
    subtype: str
    suffix: str
    media_type: str


WAV: Final = Format("wav", "WAV", "PCM_16", "wav", "audio/wav")

_KNOWN: Final = (
    WAV,
    Format("flac", "FLAC", "PCM_16", "flac", "audio/flac"),  # RFC 9639
    Format("ogg", "OGG", "VORBIS", "ogg", "audio/ogg"),  # RFC 5334
    Format("opus", "OGG", "OPUS", "opus", "audio/ogg; codecs=opus"),  # RFC 7845, section 9
    Format("mp3", "MP3", "MPEG_LAYER_III", "mp3", "audio/mpeg"),  # RFC 3003
    # G.711 in WAV: half the size of PCM, and exactly what came over most trunks
    Format("ulaw", "WAV", "ULAW", "wav", "audio/wav"),
    Format("alaw", "WAV", "ALAW", "wav", "audio/wav"),
)

FORMATS: Final[Mapping[str, Format]] = MappingProxyType(
    {known.name: known for known in _KNOWN if soundfile.check_format(known.container, known.subtype)}
)


_FAMILIES: Final = {"WAV": "wav", "WAVEX": "wav", "RF64": "wav", "FLAC": "flac", "MP3": "mp3"}


def recognised(container: str, subtype: str) -> Format | None:
    """The format of a file that libsndfile describes so; None where it is none of those known here.

    A WAV file is one whatever its samples are.
    """
    for known in FORMATS.values():
        if (known.container, known.subtype) == (container, subtype):
            return known
    return FORMATS.get(_FAMILIES.get(container, ""))


def media_type(container: str) -> str:
    """How the world calls libsndfile's ``container``."""
    known = next((form for form in _KNOWN if form.container == container), None)
    return "application/octet-stream" if known is None else known.media_type.partition(";")[0]


def named(name: str) -> Format:
    """Return the format that a Profile means by ``name``; InvalidInput, listing those known, where there is none."""
    try:
        return FORMATS[name]
    except KeyError:
        fault = FieldFault("recordFormat", f"{name!r} is not known; allowed: {', '.join(FORMATS)}")
        raise InvalidInput(str(fault), [fault]) from None
