"""Validation of uploaded audio: its declared media type, and its content."""

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from voxrec.audio.completeness import is_truncated
from voxrec.audio.convert import measure_duration
from voxrec.audio.meter import Meter
from voxrec.audio.probe import AudioInfo, probe
from voxrec.error_codes import ProblemReason
from voxrec.errors import AudioError, InvalidInput
from voxrec.web.body import OCTET_STREAM

ACCEPTED_TYPES: Final = (OCTET_STREAM, "audio/*")
_MIN_RATE: Final = 4000  # samples per second
_MAX_RATE: Final = 192_000


class NotAudio(InvalidInput):
    """The body is not complete audio in a supported format, within the permitted duration and number of channels."""

    code = "not-audio"


@dataclass(frozen=True, slots=True)
class UploadedAudio:
    """Audio that was decoded completely. ``duration`` is in seconds; ``meters`` measured the channels, in order.

    ``truncated``: the file ends before the end of its audio.
    """

    info: AudioInfo
    duration: float
    meters: tuple[Meter, ...]
    truncated: bool


def inspect_audio(path: Path, max_channels: int, max_duration: float) -> UploadedAudio:
    """Decode a whole file and return its properties. Blocks: run it in a thread.

    Raises NotAudio if the file cannot be decoded, or exceeds ``max_channels``, ``max_duration`` in seconds, or the
    range of sample rates.
    """
    try:
        info = probe(path)
        if info.channels > max_channels:
            raise NotAudio(
                f"The audio has {info.channels} channels; at most {max_channels} are allowed.",
                reason=ProblemReason.AUDIO_CHANNELS,
                params={"maximum": max_channels},
            )
        if not _MIN_RATE <= info.rate <= _MAX_RATE:
            raise NotAudio(
                f"The audio has a sample rate of {info.rate} Hz; {_MIN_RATE} to {_MAX_RATE} are allowed.",
                reason=ProblemReason.AUDIO_SAMPLE_RATE,
                params={"minimum": _MIN_RATE, "maximum": _MAX_RATE},
            )
        meters = tuple(Meter(info.rate) for _ in range(info.channels))
        duration = measure_duration(path, max_duration, meters)
        return UploadedAudio(info, duration, meters, truncated=is_truncated(path))
    except AudioError as error:
        raise NotAudio(
            f"The uploaded audio cannot be used: {_clause(error.detail.removeprefix(f'{path}: '))}",
            reason=ProblemReason.AUDIO_UNUSABLE,
        ) from error


def _clause(reason: str) -> str:
    """Return a reason as a clause. Those of voxrec.audio are predicates; those of libsndfile are sentences."""
    return f"it {reason}." if reason[:1].islower() else reason.rstrip(".") + "."
