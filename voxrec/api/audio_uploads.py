"""Uploaded audio: what it is said to be, and what it is."""

from pathlib import Path
from typing import Final

from voxrec.audio.convert import measure_duration
from voxrec.audio.probe import AudioInfo, probe
from voxrec.errors import AudioError, InvalidInput
from voxrec.web.problems import UnsupportedMedia
from voxrec.web.request import Request, Upload

TAKEN: Final = ("application/octet-stream", "audio/*")
_ACCEPT: Final = {"Accept": ", ".join(TAKEN)}


class NotAudio(InvalidInput):
    """The body cannot be read as audio, or not to its end, or is longer than it may be."""

    code = "not-audio"


def audio_upload(request: Request) -> Upload:
    """The body of a request that brings audio; UnsupportedMedia where it says that it is something else."""
    kind = request.headers.get("content-type", TAKEN[0]).partition(";")[0].strip().lower()
    if kind != TAKEN[0] and not kind.startswith("audio/"):
        raise UnsupportedMedia("The body must be audio, and Content-Type must say so.", _ACCEPT)
    if request.headers.get("content-encoding", "identity").strip().lower() != "identity":
        raise UnsupportedMedia("The body must not be compressed.", {"Accept-Encoding": "identity"})
    assert request.upload is not None, "the route takes files"
    return request.upload


def examined(path: Path, channels: int, most: float) -> tuple[AudioInfo, float]:
    """What libsndfile finds in a file, and its seconds; it is read to its end. Blocks: run it in a thread.

    NotAudio where it cannot be read, has more than so many channels, a rate that no sound has, or more than ``most``
    seconds.
    """
    try:
        info = probe(path)
        if info.channels > channels:
            raise NotAudio(f"The audio has {info.channels} channels; at most {channels} are allowed.")
        if not 4000 <= info.rate <= 192_000:
            raise NotAudio(f"The audio has {info.rate} samples a second; 4000 to 192000 are allowed.")
        return info, measure_duration(path, most)
    except AudioError as fault:
        reason = fault.detail.removeprefix(f"{path}: ")
        raise NotAudio(f"The body is not audio that can be read: it {_sentence(reason)}") from fault


def _sentence(reason: str) -> str:
    """The reasons of the audio room are predicates; libsndfile's are sentences of their own."""
    if reason[:1].islower():
        return f"{reason}."
    return f"was refused: {reason}."
