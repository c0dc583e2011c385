"""The values of ``recordFormat``: every name that Asterisk can record a G.711 call under, and a few of the wider world.

A name of Asterisk's means the very file that Asterisk would have written, suffix included (``core show file formats``).
The table holds what the installed libsndfile can write (MP3 came with 1.1), so a name found here is a promise.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import soundfile

from voxrec.errors import FieldError, InvalidInput

RAW: Final = "RAW"  # libsndfile's word for samples without a header
G722: Final = "G722"
G726: Final = "G721_32"  # libsndfile's word: G.726 at 32 kbit/s was G.721 before
_OWN: Final = frozenset({G722, G726})  # see voxrec.audio.raw_codecs


@dataclass(frozen=True, slots=True)
class Format:
    """One kind of file: its name in a Profile, libsndfile's container and subtype, and how the world calls it.

    ``rates`` are those that it can have, in Hz and rising; without any it can have every rate. ``channels`` is how many
    it can hold.
    """

    name: str
    container: str
    subtype: str
    suffix: str
    media_type: str
    rates: tuple[int, ...] = ()
    channels: int = 2

    @property
    def headerless(self) -> bool:
        """Whether a file of it does not say what it is, so that its reader must be told."""
        return self.container == RAW

    def rate_for(self, rate: int) -> int:
        """Return ``rate`` where it can have it, else the next higher one, else its highest."""
        rates = self.rates or (rate,)
        return next((known for known in rates if known >= rate), rates[-1])


def _telephone(
    name: str, subtype: str, kind: str, *, container: str = RAW, suffix: str = "", rate: int = 8000
) -> Format:
    """One channel at one rate."""
    return Format(name, container, subtype, suffix or name, f"audio/{kind}", (rate,), 1)


WAV: Final = Format("wav", "WAV", "PCM_16", "wav", "audio/wav")

# Asterisk has more names, which it can only play (spx), or has no codec for (g723, g729, ilbc, siren7, siren14, g719).
# Under g726-16, -24 and -40 it writes and reads the 32 kbit/s of g726-32: such files are noise to everybody else.
_KNOWN: Final = (
    WAV,
    Format("wav16", "WAV", "PCM_16", "wav16", "audio/wav", (16000,)),
    _telephone("WAV", "GSM610", "wav", container="WAV"),  # Microsoft's GSM, not 16 bits: that is wav
    _telephone("wav49", "GSM610", "wav", container="WAV", suffix="WAV"),
    _telephone("gsm", "GSM610", "x-gsm"),
    *(_telephone(name, "ULAW", "basic") for name in ("ulaw", "ul", "mu", "ulw", "pcm")),  # RFC 2046 section 4.3
    *(_telephone(name, "ALAW", "x-alaw-basic") for name in ("alaw", "al", "alw")),
    _telephone("au", "ULAW", "x-au", container="AU"),
    *(_telephone(name, "PCM_16", "x-sln") for name in ("sln", "slin", "raw")),
    *(
        _telephone(f"sln{rate // 1000}", "PCM_16", "x-sln", rate=rate)
        for rate in (12000, 16000, 24000, 32000, 44100, 48000, 96000, 192000)
    ),
    _telephone("g722", G722, "G722", rate=16000),
    _telephone("g726-32", G726, "G726-32"),  # RFC 3551 section 4.5.4
    _telephone("vox", "VOX_ADPCM", "x-vox"),
    Format("ogg", "OGG", "VORBIS", "ogg", "audio/ogg"),  # RFC 5334
    Format("vorbis", "OGG", "VORBIS", "ogg", "audio/ogg"),
    # RFC 7845 section 9; the rates of RFC 6716 section 2
    Format("opus", "OGG", "OPUS", "opus", "audio/ogg; codecs=opus", (8000, 12000, 16000, 24000, 48000)),
    Format("flac", "FLAC", "PCM_16", "flac", "audio/flac"),  # RFC 9639
    Format(  # RFC 3003; the rates of MPEG-1, 2 and 2.5 layer III
        *("mp3", "MP3", "MPEG_LAYER_III", "mp3", "audio/mpeg"),
        rates=(8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
    ),
)

FORMATS: Final[Mapping[str, Format]] = MappingProxyType(
    {
        known.name: known
        for known in _KNOWN
        if known.subtype in _OWN or soundfile.check_format(known.container, known.subtype)
    }
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
        fault = FieldError("recordFormat", f"{name!r} is not known; allowed: {', '.join(FORMATS)}")
        raise InvalidInput(str(fault), [fault]) from None
