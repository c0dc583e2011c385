"""Validation of uploaded audio: its declared media type, and its content."""

from pathlib import Path
from typing import Final

from voxrec.audio.convert import measure_duration
from voxrec.audio.probe import AudioInfo, probe
from voxrec.errors import AudioError, InvalidInput
from voxrec.web.body import OCTET_STREAM

ACCEPTED_TYPES: Final = (OCTET_STREAM, "audio/*")
_MIN_RATE: Final = 4000  # samples per second
_MAX_RATE: Final = 192_000


class NotAudio(InvalidInput):
    """The body is not complete audio in a supported format, within the permitted duration and number of channels."""

    code = "not-audio"


def inspect_audio(path: Path, max_channels: int, max_duration: float) -> tuple[AudioInfo, float]:
    """Decode a whole file and return its properties and its duration in seconds. Blocks: run it in a thread.

    Raises NotAudio if the file cannot be decoded, or exceeds ``max_channels``, ``max_duration`` in seconds, or the
    range of sample rates.
    """
    try:
        info = probe(path)
        if info.channels > max_channels:
            raise NotAudio(f"The audio has {info.channels} channels; at most {max_channels} are allowed.")
        if not _MIN_RATE <= info.rate <= _MAX_RATE:
            raise NotAudio(f"The audio has a sample rate of {info.rate} Hz; {_MIN_RATE} to {_MAX_RATE} are allowed.")
        return info, measure_duration(path, max_duration)
    except AudioError as error:
        raise NotAudio(
            f"The uploaded audio cannot be used: {_clause(error.detail.removeprefix(f'{path}: '))}"
        ) from error


def _clause(reason: str) -> str:
    """Return a reason as a clause. Those of voxrec.audio are predicates; those of libsndfile are sentences."""
    return f"it {reason}." if reason[:1].islower() else reason.rstrip(".") + "."
