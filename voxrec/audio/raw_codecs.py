"""Codecs that libsndfile lacks (G.722) or supports in .au files only (G.726 at 32 kbit/s)."""

import io
import os
import struct
from pathlib import Path
from typing import BinaryIO, Final

import numpy as np
from G722 import G722
from numpy.typing import NDArray

from voxrec.audio.formats import G722 as G722_SUBTYPE
from voxrec.audio.formats import RAW

G722_RATE: Final = 16000  # Hz; each byte is two samples (ITU-T G.722)
_BITS_PER_SECOND: Final = 64000
_CHUNK_SIZE: Final = 8192  # bytes coded at once, a few milliseconds; between chunks other threads can run
_G721_ENCODING: Final = 23  # AUDIO_FILE_ENCODING_ADPCM_G721 in a .au header
_AU_HEADER: Final = struct.Struct(">4s5I")


class G722Reader:
    """Decodes a ``.g722`` file, with the interface of `soundfile.SoundFile`."""

    samplerate: Final = G722_RATE
    channels: Final = 1
    format: Final = RAW
    subtype: Final = G722_SUBTYPE

    def __init__(self, file: BinaryIO) -> None:
        self.frames = os.fstat(file.fileno()).st_size * 2
        self._file = file
        self._codec = G722(G722_RATE, _BITS_PER_SECOND)

    def read(self, frames: int, dtype: str = "int16", always_2d: bool = True) -> NDArray[np.int16]:  # noqa: ARG002
        """Return up to ``frames`` (an even number) samples, shaped (frames, 1)."""
        chunks = []
        bytes_left = frames // 2
        while bytes_left and (encoded := self._file.read(min(bytes_left, _CHUNK_SIZE))):
            bytes_left -= len(encoded)
            chunks.append(np.frombuffer(self._codec.decode(encoded), dtype=np.int16))
        samples = np.concatenate(chunks) if chunks else np.zeros(0, dtype=np.int16)
        return samples[:, np.newaxis]


class G722Writer:
    """Encodes to a ``.g722`` file. With an odd number of samples the last one, half a byte, is dropped."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._codec = G722(G722_RATE, _BITS_PER_SECOND)
        self._odd_sample = np.zeros(0, dtype=np.int16)

    def write(self, samples: NDArray[np.int16]) -> None:
        """Encode a block of one channel."""
        pending = np.concatenate((self._odd_sample, samples.reshape(-1)))
        even = len(pending) - len(pending) % 2
        self._odd_sample = pending[even:]
        for start in range(0, even, 2 * _CHUNK_SIZE):
            self._file.write(self._codec.encode(pending[start : min(start + 2 * _CHUNK_SIZE, even)]))


class AuHeaderFile(io.RawIOBase):
    """Presents a headerless file of G.726 at 32 kbit/s to libsndfile as a .au file, which has a header.

    libsndfile packs its nibbles as RFC 3551 section 4.5.4 does, and so does Asterisk's ``g726-32``.
    """

    def __init__(self, path: Path, mode: str, rate: int) -> None:
        self._file: BinaryIO = path.open(f"{mode}b")  # type: ignore[assignment]
        size = os.fstat(self._file.fileno()).st_size
        self._header = _AU_HEADER.pack(b".snd", _AU_HEADER.size, size, _G721_ENCODING, rate, 1)
        self._position = 0

    def readable(self) -> bool:
        """Return whether the file is open for reading."""
        return self._file.readable()

    def writable(self) -> bool:
        """Return whether the file is open for writing."""
        return self._file.writable()

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position, including the header."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position, including the header."""
        length = len(self._header) + os.fstat(self._file.fileno()).st_size
        self._position = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: length}[whence]
        return self._position

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read into ``buffer``, first from the header and then from the file."""
        start = self._position
        header_part = self._header[start : start + len(buffer)]
        buffer[: len(header_part)] = header_part
        count = len(header_part)
        if count < len(buffer):
            self._file.seek(start + count - len(self._header))
            data = self._file.read(len(buffer) - count)
            buffer[count : count + len(data)] = data
            count += len(data)
        self._position += count
        return count

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write what lies beyond the header, and discard what belongs to the header."""
        in_header = min(max(len(self._header) - self._position, 0), len(data))
        if in_header < len(data):
            self._file.seek(self._position + in_header - len(self._header))
            self._file.write(data[in_header:])
        self._position += len(data)
        return len(data)

    def flush(self) -> None:
        """Write buffered data to the operating system."""
        if not self._file.closed:
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()
