"""Reading: an open sound file and its samples in blocks, with libsndfile's errors put into words."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import numpy as np
import soundfile
from numpy.typing import NDArray

from voxrec.errors import AudioFault

BLOCK: Final = 1 << 18  # frames: about half a minute of telephone audio, a few megabytes on the way through
_SYSTEM_ERROR: Final = 2  # SF_ERR_SYSTEM (sndfile.h): the operating system's trouble, not the file's

Samples = NDArray[np.int16]


@contextmanager
def opened(path: Path) -> Iterator[soundfile.SoundFile]:
    """Open ``path`` to read.

    Raises AudioFault where the file itself is at fault. What another attempt can cure (permissions, a dead disk)
    stays an OSError: nobody may take a file that could not be read for one that holds nothing.
    """
    try:
        # libsndfile keeps the errno to itself, so a plain open goes first
        with path.open("rb") as file:
            holds_bytes = bool(file.read(1))
    except FileNotFoundError:
        raise AudioFault(f"{path}: is missing") from None
    if not holds_bytes:
        raise AudioFault(f"{path}: is empty")
    try:
        sound = soundfile.SoundFile(path)
    except soundfile.LibsndfileError as error:
        raise explained(path, error) from error
    with sound:
        yield sound


def blocks(sound: soundfile.SoundFile, path: Path, frames: int = BLOCK) -> Iterator[Samples]:
    """Yield the samples from here to the end, each block shaped (at most ``frames``, channels)."""
    while True:
        try:
            block: Samples = sound.read(frames, dtype="int16", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise explained(path, error) from error
        if len(block) == 0:
            return
        yield block


def explained(path: Path, error: soundfile.LibsndfileError) -> Exception:
    """Tell trouble of the operating system (OSError) from trouble of the file (AudioFault)."""
    if error.code == _SYSTEM_ERROR:
        return OSError(errno.EIO, "the system refused to read or write (a full disk, often)", str(path))
    return AudioFault(f"{path}: {error.error_string.rstrip('.')}")
