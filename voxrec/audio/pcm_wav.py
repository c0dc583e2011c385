"""16-bit samples as they lie in a file, without libsndfile: the WAV files that Asterisk writes, and headerless ones.

Nearly every file here is one of these, and to finish a short call libsndfile took as long as all the rest: not for the
samples, but to open and close its files.
"""

import os
import struct
from collections.abc import Iterable
from io import FileIO
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from numpy.typing import NDArray

from voxrec.errors import AudioError

_LAYOUT: Final = struct.Struct("<4sI4s4sIHHIIHH4sI")  # RIFF, a fmt chunk of 16 bytes, and data to the end
_MEASURES: Final = struct.Struct("<22xHI")  # of these: the channels and the rate
HEADER: Final = _LAYOUT.size  # bytes
LONGEST: Final = 0xFFFFFFFF - (HEADER - 8)  # bytes of samples: the RIFF size counts all but the first 8
_SAMPLE: Final = 2  # bytes
_PCM: Final = 1  # WAVE_FORMAT_PCM
_CHANNELS: Final = 2  # at most
_RATE: Final = 192_000  # at most


class PlainSource:
    """Reads such a WAV file as `soundfile.SoundFile` reads others."""

    format: Final = "WAV"
    subtype: Final = "PCM_16"

    def __init__(self, file: FileIO, rate: int, channels: int, frames: int) -> None:
        self.samplerate = rate
        self.channels = channels
        self.frames = frames
        self._file = file
        self._left = frames
        self.seek(0)

    def seek(self, frame: int) -> None:
        """Let ``frame``, up to the last, be the next one that is read."""
        self._file.seek(HEADER + frame * self.channels * _SAMPLE)
        self._left = self.frames - frame

    def read(self, frames: int, dtype: str = "int16", always_2d: bool = True) -> NDArray[np.int16]:  # noqa: ARG002
        """Return up to ``frames`` more, shaped (frames, channels)."""
        samples = np.empty((min(frames, self._left), self.channels), dtype="<i2")
        # a part of a frame, of a file that was cut just now, is none
        read = _filled(self._file, samples) // (self.channels * _SAMPLE)
        self._left -= read
        return samples[:read].astype(np.int16, copy=False)


def plain_source(file: FileIO, header: bytes) -> PlainSource | None:
    """Return the reader of an open WAV file that begins with ``header`` (HEADER bytes); None where it needs another.

    It is one if its header could not be any other: one or two channels of 16-bit PCM that end where the file does, as
    both its sizes say, and no other chunk.
    """
    if len(header) < HEADER:
        return None
    channels, rate = _MEASURES.unpack_from(header)
    size = os.fstat(file.fileno()).st_size - HEADER
    if not (1 <= channels <= _CHANNELS and 1 <= rate <= _RATE and size <= LONGEST):
        return None
    frames, part = divmod(size, channels * _SAMPLE)
    if part or header != _header(rate, channels, size):
        return None
    return PlainSource(file, rate, channels, frames)


def write_wav(given: Iterable[NDArray[np.int16]], output: Path, rate: int, channels: int) -> None:
    """Write blocks shaped (frames, channels) as such a WAV file: what libsndfile would write, to the byte.

    The header comes last. Raises AudioFault where a WAV file cannot hold them all (RIFF has 32 bits for a size), and
    OSError.
    """
    with output.open("wb") as file:
        file.seek(HEADER)
        size = 0
        for block in given:
            size += block.size * _SAMPLE
            if size > LONGEST:
                raise AudioError(f"{output}: is longer than a WAV file can be, which is 4 GiB")
            _write(block, file)
        file.seek(0)
        file.write(_header(rate, channels, size))


def write_raw(given: Iterable[NDArray[np.int16]], output: Path) -> None:
    """Write blocks as samples alone, little-endian. Raises OSError."""
    with output.open("wb") as file:
        for block in given:
            _write(block, file)


def _write(block: NDArray[np.int16], file: BinaryIO) -> None:
    file.write(np.ascontiguousarray(block, dtype="<i2").data)


def _header(rate: int, channels: int, size: int) -> bytes:
    frame = channels * _SAMPLE
    form = (16, _PCM, channels, rate, rate * frame, frame, 8 * _SAMPLE)
    return _LAYOUT.pack(b"RIFF", HEADER - 8 + size, b"WAVE", b"fmt ", *form, b"data", size)


def _filled(file: FileIO, samples: NDArray[np.int16]) -> int:
    """Read as many bytes as there is room for, or are left; a single read(2) may give fewer."""
    if samples.size == 0:
        return 0
    room = samples.data.cast("B")
    filled = 0
    while filled < len(room) and (count := file.readinto(room[filled:])):
        filled += count
    return filled
