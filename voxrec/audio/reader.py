"""Open audio files and read them in blocks of samples."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader, FileIO
from pathlib import Path
from typing import Any, Final, Protocol

import numpy as np
import soundfile
from numpy.typing import NDArray

from voxrec.audio.formats import G722, G726, RAW, AudioFormat
from voxrec.audio.pcm_wav import HEADER_SIZE, open_pcm_wav
from voxrec.audio.raw_codecs import AuHeaderFile, G722Reader
from voxrec.errors import AudioError
from voxrec.files import NotARegularFile, open_regular

BLOCK_FRAMES: Final = 1 << 18  # about half a minute of telephone audio; a block needs a few megabytes while processed
_SF_ERR_SYSTEM: Final = 2  # sndfile.h: the operating system reported the error

Samples = NDArray[np.int16]


class AudioReader(Protocol):
    """An open audio file, with the interface of `soundfile.SoundFile`."""

    @property
    def frames(self) -> int:
        """The number of frames according to the header."""

    @property
    def samplerate(self) -> int:
        """The sample rate in Hz."""

    @property
    def channels(self) -> int:
        """The number of channels."""

    @property
    def format(self) -> str:
        """The container, by libsndfile's name."""

    @property
    def subtype(self) -> str:
        """The encoding of the samples, by libsndfile's name."""

    def read(self, frames: int, dtype: str, always_2d: bool) -> Any:
        """Return up to ``frames`` frames from the current position."""


@contextmanager
def open_audio(path: Path, audio_format: AudioFormat | None = None) -> Iterator[AudioReader]:
    """Open ``path`` for reading. ``audio_format`` is required for files without a header, and ignored for others.

    Raises AudioError if the file is missing, empty, a link or not valid audio. An error that may be temporary
    (permissions, a failing disk) is an OSError, so that an unreadable file is not taken for one without audio.
    """
    try:
        # not opened by libsndfile, because it does not report errno
        file = FileIO(open_regular(path), "rb")
    except FileNotFoundError:
        raise AudioError(f"{path}: is missing") from None
    except NotARegularFile:
        raise AudioError(f"{path}: is not a regular file") from None
    with file:
        header = file.read(HEADER_SIZE)
        if not header:
            raise AudioError(f"{path}: is empty")
        headerless = audio_format is not None and audio_format.headerless
        if not headerless and (pcm_wav := open_pcm_wav(file, header)):
            yield pcm_wav
            return
        file.seek(0)
        if audio_format is not None and audio_format.subtype == G722:
            yield G722Reader(BufferedReader(file))
            return
        try:
            sound_file = _open_with_libsndfile(file, path, audio_format)
        except soundfile.LibsndfileError as error:
            raise translate_error(path, error) from error
        with sound_file:
            yield sound_file


def _open_with_libsndfile(file: FileIO, path: Path, audio_format: AudioFormat | None) -> soundfile.SoundFile:
    if audio_format is None or not audio_format.headerless:
        return soundfile.SoundFile(file.fileno(), closefd=False)
    (rate,) = audio_format.rates
    if audio_format.subtype == G726:
        return soundfile.SoundFile(AuHeaderFile(path, "r", rate))
    return soundfile.SoundFile(
        file.fileno(), "r", rate, 1, audio_format.subtype, byte_order(audio_format), RAW, closefd=False
    )


def byte_order(audio_format: AudioFormat) -> str | None:
    """Return libsndfile's byte order for a format; None for its default.

    Asterisk writes linear samples in the byte order of its machine, which is little-endian on all common ones.
    """
    return "LITTLE" if audio_format.headerless and audio_format.subtype == "PCM_16" else None


def read_blocks(reader: AudioReader, path: Path, frames: int = BLOCK_FRAMES) -> Iterator[Samples]:
    """Yield the samples from the current position to the end, in blocks shaped (at most ``frames``, channels).

    Raises AudioError if the file is damaged, and OSError.
    """
    while True:
        try:
            block: Samples = reader.read(frames, dtype="int16", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise translate_error(path, error) from error
        if len(block) == 0:
            return
        yield block


def translate_error(path: Path, error: soundfile.LibsndfileError) -> Exception:
    """Return an OSError for an error of the operating system, and an AudioError for an invalid file."""
    if error.code == _SF_ERR_SYSTEM:
        return OSError(
            errno.EIO, "the operating system failed to read or write (often because of a full disk)", str(path)
        )
    return AudioError(f"{path}: {error.error_string.rstrip('.')}")
