"""Reading: an open sound file and its samples in blocks, with libsndfile's errors put into words."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray

from voxrec.audio.formats import G722, G726, RAW, Format
from voxrec.audio.pcm_wav import HEADER, plain_source
from voxrec.audio.raw_codecs import BehindAuHeader, G722Source
from voxrec.errors import AudioError

BLOCK: Final = 1 << 18  # frames: about half a minute of telephone audio, a few megabytes on the way through
_SYSTEM_ERROR: Final = 2  # SF_ERR_SYSTEM (sndfile.h): the operating system's trouble, not the file's

Samples = NDArray[np.int16]


class Sound(Protocol):
    """An open sound file, as `soundfile.SoundFile` is one. ``format`` and ``subtype`` in libsndfile's words."""

    @property
    def frames(self) -> int:
        """How many it says it has."""

    @property
    def samplerate(self) -> int:
        """Frames a second."""

    @property
    def channels(self) -> int:
        """Samples in a frame."""

    @property
    def format(self) -> str:
        """The container."""

    @property
    def subtype(self) -> str:
        """How samples are coded."""

    def read(self, frames: int, dtype: str, always_2d: bool) -> Any:
        """Return up to ``frames`` more."""


@contextmanager
def opened(path: Path, form: Format | None = None) -> Iterator[Sound]:
    """Open ``path`` to read; ``form`` is what it is where it is headerless, and does not count where it is not.

    Raises AudioFault where the file itself is at fault. What another attempt can cure (permissions, a dead disk)
    stays an OSError: nobody may take a file that could not be read for one that holds nothing.
    """
    try:
        # opened and looked at here, since libsndfile keeps the errno to itself
        file = path.open("rb", buffering=0)
    except FileNotFoundError:
        raise AudioError(f"{path}: is missing") from None
    with file:
        header = file.read(HEADER)
        if not header:
            raise AudioError(f"{path}: is empty")
        headerless = form is not None and form.headerless
        if not headerless and (plain := plain_source(file, header)):
            yield plain
            return
        file.seek(0)
        if form is not None and form.subtype == G722:
            yield G722Source(BufferedReader(file))
            return
        try:
            sound = _opened(file, path, form)
        except soundfile.LibsndfileError as error:
            raise explained(path, error) from error
        with sound:
            yield sound


def _opened(file: FileIO, path: Path, form: Format | None) -> soundfile.SoundFile:
    if form is None or not form.headerless:
        return soundfile.SoundFile(file.fileno(), closefd=False)
    (rate,) = form.rates
    if form.subtype == G726:
        return soundfile.SoundFile(BehindAuHeader(path, "r", rate))
    return soundfile.SoundFile(file.fileno(), "r", rate, 1, form.subtype, endian_of(form), RAW, closefd=False)


def endian_of(form: Format) -> str | None:
    """Asterisk writes linear samples as its machine has them, and that is little-endian nearly everywhere."""
    return "LITTLE" if form.headerless and form.subtype == "PCM_16" else None


def blocks(sound: Sound, path: Path, frames: int = BLOCK) -> Iterator[Samples]:
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
    return AudioError(f"{path}: {error.error_string.rstrip('.')}")
