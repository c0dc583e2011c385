"""What an audio file says about itself."""

from dataclasses import dataclass
from pathlib import Path

from voxrec.audio.formats import Format
from voxrec.audio.source import opened


@dataclass(frozen=True, slots=True)
class AudioInfo:
    """A file's measures. ``rate`` in frames per second; ``container`` and ``subtype`` in libsndfile's words."""

    frames: int
    rate: int
    channels: int
    container: str
    subtype: str

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.frames / self.rate


def probe(path: Path, form: Format | None = None) -> AudioInfo:
    """Read the header of ``path``, or count its bytes where it is headerless, as ``form`` then says.

    A whole header without a frame behind it is not a fault. Raises AudioFault, naming file and reason, where the file
    is missing, empty, cut in its header or unknown.
    """
    with opened(path, form) as sound:
        return AudioInfo(
            frames=sound.frames,
            rate=sound.samplerate,
            channels=sound.channels,
            container=sound.format,
            subtype=sound.subtype,
        )
