"""The values of ``recordFormat``: the formats in which Asterisk can record a G.711 call, and common others.

A format named as in Asterisk (``core show file formats``) is the file that Asterisk would write, including the suffix.
The table has only formats that the installed libsndfile can write (MP3 since 1.1).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import soundfile

from voxrec.error_codes import FieldErrorCode
from voxrec.errors import FieldError, InvalidInput

RAW: Final = "RAW"  # libsndfile's container for samples without a header
G722: Final = "G722"  # not in libsndfile
G726: Final = "G721_32"  # libsndfile's subtype for G.726 at 32 kbit/s, which was G.721 before
_IMPLEMENTED_HERE: Final = frozenset({G722, G726})  # see voxrec.audio.raw_codecs

PLAYABLE: Final = frozenset({"wav", "wav16", "mp3", "ogg", "vorbis", "opus", "flac"})
"""The formats that browsers play."""
PLAYER_FORMAT: Final = "wav"
"""The format of the copy for a player, of a Recording in another format."""


@dataclass(frozen=True, slots=True)
class AudioFormat:
    """A file format: its name in a Profile, libsndfile's container and subtype, file name suffix and media type.

    ``rates`` are the supported sample rates in Hz, in ascending order; empty means any. ``channels`` is the maximum.
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
        """Whether files have no header, so that a reader needs to know the format."""
        return self.container == RAW

    def rate_for(self, rate: int) -> int:
        """Return ``rate`` if it is supported, else the next higher supported rate, else the highest."""
        rates = self.rates or (rate,)
        return next((supported for supported in rates if supported >= rate), rates[-1])


def _mono(
    name: str, subtype: str, media_subtype: str, *, container: str = RAW, suffix: str = "", rate: int = 8000
) -> AudioFormat:
    """Return a format with one channel and one sample rate."""
    return AudioFormat(name, container, subtype, suffix or name, f"audio/{media_subtype}", (rate,), 1)


WAV: Final = AudioFormat("wav", "WAV", "PCM_16", "wav", "audio/wav")

# Asterisk has more formats, which it can only play (spx) or has no codec for (g723, g729, ilbc, siren7, siren14, g719).
# As g726-16, -24 and -40 it writes and reads the 32 kbit/s of g726-32: to other programs such files are noise.
_ALL_FORMATS: Final = (
    WAV,
    AudioFormat("wav16", "WAV", "PCM_16", "wav16", "audio/wav", (16000,)),
    _mono("WAV", "GSM610", "wav", container="WAV"),  # Microsoft GSM; 16-bit PCM is "wav"
    _mono("wav49", "GSM610", "wav", container="WAV", suffix="WAV"),
    _mono("gsm", "GSM610", "x-gsm"),
    *(_mono(name, "ULAW", "basic") for name in ("ulaw", "ul", "mu", "ulw", "pcm")),  # RFC 2046 section 4.3
    *(_mono(name, "ALAW", "x-alaw-basic") for name in ("alaw", "al", "alw")),
    _mono("au", "ULAW", "x-au", container="AU"),
    *(_mono(name, "PCM_16", "x-sln") for name in ("sln", "slin", "raw")),
    *(
        _mono(f"sln{rate // 1000}", "PCM_16", "x-sln", rate=rate)
        for rate in (12000, 16000, 24000, 32000, 44100, 48000, 96000, 192000)
    ),
    _mono("g722", G722, "G722", rate=16000),
    _mono("g726-32", G726, "G726-32"),  # RFC 3551 section 4.5.4
    _mono("vox", "VOX_ADPCM", "x-vox"),
    AudioFormat("ogg", "OGG", "VORBIS", "ogg", "audio/ogg"),  # RFC 5334
    AudioFormat("vorbis", "OGG", "VORBIS", "ogg", "audio/ogg"),
    # RFC 7845 section 9; the rates of RFC 6716 section 2
    AudioFormat("opus", "OGG", "OPUS", "opus", "audio/ogg; codecs=opus", (8000, 12000, 16000, 24000, 48000)),
    AudioFormat("flac", "FLAC", "PCM_16", "flac", "audio/flac"),  # RFC 9639
    AudioFormat(  # RFC 3003; the rates of MPEG-1, 2 and 2.5 layer III
        *("mp3", "MP3", "MPEG_LAYER_III", "mp3", "audio/mpeg"),
        rates=(8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000),
    ),
)

FORMATS: Final[Mapping[str, AudioFormat]] = MappingProxyType(
    {
        audio_format.name: audio_format
        for audio_format in _ALL_FORMATS
        if audio_format.subtype in _IMPLEMENTED_HERE
        or soundfile.check_format(audio_format.container, audio_format.subtype)
    }
)

_FORMAT_NAME_OF_CONTAINER: Final = {"WAV": "wav", "WAVEX": "wav", "RF64": "wav", "FLAC": "flac", "MP3": "mp3"}


def find_format(container: str, subtype: str) -> AudioFormat | None:
    """Return the format with this libsndfile container and subtype, or None if it is not in the table.

    Every WAV file is ``wav``, whatever the encoding of its samples.
    """
    for audio_format in FORMATS.values():
        if (audio_format.container, audio_format.subtype) == (container, subtype):
            return audio_format
    return FORMATS.get(_FORMAT_NAME_OF_CONTAINER.get(container, ""))


def media_type_of(container: str) -> str:
    """Return the media type of a libsndfile container, without parameters."""
    for audio_format in _ALL_FORMATS:
        if audio_format.container == container:
            return audio_format.media_type.partition(";")[0]
    return "application/octet-stream"


def get_format(name: str) -> AudioFormat:
    """Return the format with this ``recordFormat`` name. Raises InvalidInput, with the allowed names, for others."""
    try:
        return FORMATS[name]
    except KeyError:
        message = f"unknown format {name!r}; expected one of {', '.join(FORMATS)}"
        error = FieldError("recordFormat", message, FieldErrorCode.NOT_ONE_OF, {"allowed": list(FORMATS)})
        raise InvalidInput(str(error), [error]) from None
