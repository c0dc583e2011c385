"""Read the properties of an audio file."""

from dataclasses import dataclass
from pathlib import Path

from voxrec.audio.formats import AudioFormat
from voxrec.audio.reader import open_audio


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """Properties of an audio file. ``rate`` is in Hz; ``container`` and ``subtype`` are libsndfile's names."""

    frames: int
    rate: int
    channels: int
    container: str
    subtype: str

    @property
    def duration(self) -> float:
        """Duration in seconds."""
        return self.frames / self.rate


def probe(path: Path, audio_format: AudioFormat | None = None) -> AudioInfo:
    """Return the properties of ``path`` from its header, or, without one, from its size and ``audio_format``.

    A file may have a valid header and no frame. Raises AudioError, with the path and the reason, if the file is
    missing, empty, truncated within its header, or of unknown format.
    """
    with open_audio(path, audio_format) as reader:
        return AudioInfo(
            frames=reader.frames,
            rate=reader.samplerate,
            channels=reader.channels,
            container=reader.format,
            subtype=reader.subtype,
        )
