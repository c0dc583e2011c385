"""Read and write 16-bit PCM without libsndfile: the WAV files that Asterisk writes, and files without a header.

Nearly every file here is one of these. For a short call, opening and closing files with libsndfile takes as long as all
the rest of finishing (see ``bench/finish.py``).
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

_HEADER: Final = struct.Struct("<4sI4s4sIHHIIHH4sI")  # RIFF, a fmt chunk of 16 bytes, and the header of the data chunk
_CHANNELS_AND_RATE: Final = struct.Struct("<22xHI")  # these two fields of the header
HEADER_SIZE: Final = _HEADER.size  # bytes
MAX_DATA_SIZE: Final = 0xFFFFFFFF - (HEADER_SIZE - 8)  # bytes of samples: the RIFF size counts all but the first 8
_SAMPLE_SIZE: Final = 2  # bytes
_PCM: Final = 1  # WAVE_FORMAT_PCM
_MAX_CHANNELS: Final = 2
_MAX_RATE: Final = 192_000  # Hz


class PcmWavReader:
    """Reads a 16-bit PCM WAV file, with the interface of `soundfile.SoundFile`. Made by `open_pcm_wav`."""

    format: Final = "WAV"
    subtype: Final = "PCM_16"

    def __init__(self, file: FileIO, rate: int, channels: int, frames: int) -> None:
        self.samplerate = rate
        self.channels = channels
        self.frames = frames
        self._file = file
        self._frames_left = frames
        self.seek(0)

    def seek(self, frame: int) -> None:
        """Set the position to ``frame``, which must not be beyond the end."""
        self._file.seek(HEADER_SIZE + frame * self.channels * _SAMPLE_SIZE)
        self._frames_left = self.frames - frame

    def read(self, frames: int, dtype: str = "int16", always_2d: bool = True) -> NDArray[np.int16]:  # noqa: ARG002
        """Return up to ``frames`` frames, shaped (frames, channels)."""
        samples = np.empty((min(frames, self._frames_left), self.channels), dtype="<i2")
        # an incomplete last frame, of a file that was truncated after it was opened, is dropped
        count = _read_into(self._file, samples) // (self.channels * _SAMPLE_SIZE)
        self._frames_left -= count
        return samples[:count].astype(np.int16, copy=False)


def open_pcm_wav(file: FileIO, header: bytes) -> PcmWavReader | None:
    """Return a reader for an open file that starts with ``header`` (HEADER_SIZE bytes), or None if it needs libsndfile.

    A file qualifies if it has one or two channels of 16-bit PCM, both of its sizes match the size of the file, and it
    has no other chunk.
    """
    if len(header) < HEADER_SIZE:
        return None
    channels, rate = _CHANNELS_AND_RATE.unpack_from(header)
    size = os.fstat(file.fileno()).st_size - HEADER_SIZE
    if not (1 <= channels <= _MAX_CHANNELS and 1 <= rate <= _MAX_RATE and size <= MAX_DATA_SIZE):
        return None
    frames, remainder = divmod(size, channels * _SAMPLE_SIZE)
    if remainder or header != _pack_header(rate, channels, size):
        return None
    return PcmWavReader(file, rate, channels, frames)


def write_wav(blocks: Iterable[NDArray[np.int16]], output: Path, rate: int, channels: int) -> None:
    """Write blocks shaped (frames, channels) as a 16-bit PCM WAV file, byte for byte as libsndfile would.

    The header is written last. Raises AudioError if the samples exceed the 4 GiB of a WAV file, and OSError.
    """
    with output.open("wb") as file:
        file.seek(HEADER_SIZE)
        size = 0
        for block in blocks:
            size += block.size * _SAMPLE_SIZE
            if size > MAX_DATA_SIZE:
                raise AudioError(f"{output}: exceeds the maximum size of a WAV file, 4 GiB")
            _write_block(block, file)
        file.seek(0)
        file.write(_pack_header(rate, channels, size))


def write_raw(blocks: Iterable[NDArray[np.int16]], output: Path) -> None:
    """Write blocks as little-endian samples without a header. Raises OSError."""
    with output.open("wb") as file:
        for block in blocks:
            _write_block(block, file)


def _write_block(block: NDArray[np.int16], file: BinaryIO) -> None:
    file.write(np.ascontiguousarray(block, dtype="<i2").data)


def make_header(rate: int, channels: int, size: int) -> bytes:
    """Return the header of a file with ``size`` bytes of samples. Raises AudioError if that is more than 4 GiB."""
    if size > MAX_DATA_SIZE:
        raise AudioError(f"{size} bytes of samples exceed the maximum size of a WAV file, 4 GiB")
    return _pack_header(rate, channels, size)


def _pack_header(rate: int, channels: int, size: int) -> bytes:
    frame_size = channels * _SAMPLE_SIZE
    fmt = (16, _PCM, channels, rate, rate * frame_size, frame_size, 8 * _SAMPLE_SIZE)
    return _HEADER.pack(b"RIFF", HEADER_SIZE - 8 + size, b"WAVE", b"fmt ", *fmt, b"data", size)


def _read_into(file: FileIO, samples: NDArray[np.int16]) -> int:
    """Fill ``samples`` from the file and return the number of bytes read, which is only less at the end of the file."""
    if samples.size == 0:
        return 0
    buffer = samples.data.cast("B")
    filled = 0
    while filled < len(buffer) and (count := file.readinto(buffer[filled:])):  # read(2) may return less
        filled += count
    return filled
