"""The two telephone codecs that libsndfile lacks, or has under a header only: G.722, and G.726 at 32 kbit/s."""

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

G722_RATE: Final = 16000  # samples a second, two to a byte (ITU-T G.722)
_BITS_PER_SECOND: Final = 64000
_PIECE: Final = 8192  # bytes coded at once: a few milliseconds, after which other threads may run
_G721: Final = 23  # Sun's number for it in a .au header
_AU_HEADER: Final = struct.Struct(">4s5I")


class G722Source:
    """Reads a ``.g722`` file as `soundfile.SoundFile` reads others."""

    samplerate: Final = G722_RATE
    channels: Final = 1
    format: Final = RAW
    subtype: Final = G722_SUBTYPE

    def __init__(self, file: BinaryIO) -> None:
        self.frames = os.fstat(file.fileno()).st_size * 2
        self._file = file
        self._codec = G722(G722_RATE, _BITS_PER_SECOND)

    def read(self, frames: int, dtype: str = "int16", always_2d: bool = True) -> NDArray[np.int16]:  # noqa: ARG002
        """Return up to ``frames`` (even) samples more, shaped (frames, 1)."""
        pieces = []
        wanted = frames // 2
        while wanted and (coded := self._file.read(min(wanted, _PIECE))):
            wanted -= len(coded)
            pieces.append(np.frombuffer(self._codec.decode(coded), dtype=np.int16))
        samples = np.concatenate(pieces) if pieces else np.zeros(0, dtype=np.int16)
        return samples[:, np.newaxis]


class G722Sink:
    """Writes a ``.g722`` file. A last odd sample, which has no place in a byte, goes."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._codec = G722(G722_RATE, _BITS_PER_SECOND)
        self._odd = np.zeros(0, dtype=np.int16)

    def write(self, samples: NDArray[np.int16]) -> None:
        """Write one channel more."""
        given = np.concatenate((self._odd, samples.reshape(-1)))
        even = len(given) - len(given) % 2
        self._odd = given[even:]
        for start in range(0, even, 2 * _PIECE):
            self._file.write(self._codec.encode(given[start : min(start + 2 * _PIECE, even)]))


class BehindAuHeader(io.RawIOBase):
    """A headerless file of G.726 at 32 kbit/s, shown to libsndfile behind the .au header that it wants to see.

    libsndfile packs its nibbles as RFC 3551 section 4.5.4 does, and so does Asterisk's ``g726-32``.
    """

    def __init__(self, path: Path, mode: str, rate: int) -> None:
        self._file: BinaryIO = path.open(f"{mode}b")  # type: ignore[assignment]
        size = os.fstat(self._file.fileno()).st_size
        self._header = _AU_HEADER.pack(b".snd", _AU_HEADER.size, size, _G721, rate, 1)
        self._at = 0

    def readable(self) -> bool:
        """Whether it was opened to read."""
        return self._file.readable()

    def writable(self) -> bool:
        """Whether it was opened to write."""
        return self._file.writable()

    def seekable(self) -> bool:
        """Always."""
        return True

    def tell(self) -> int:
        """Where it stands, the header counted."""
        return self._at

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Move there, the header counted."""
        length = len(self._header) + os.fstat(self._file.fileno()).st_size
        self._at = offset + {os.SEEK_SET: 0, os.SEEK_CUR: self._at, os.SEEK_END: length}[whence]
        return self._at

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        """Read what fits, first of the header and then of the file."""
        start = self._at
        head = self._header[start : start + len(buffer)]
        buffer[: len(head)] = head
        count = len(head)
        if count < len(buffer):
            self._file.seek(start + count - len(self._header))
            rest = self._file.read(len(buffer) - count)
            buffer[count : count + len(rest)] = rest
            count += len(rest)
        self._at += count
        return count

    def write(self, data: bytes) -> int:  # type: ignore[override]
        """Write what lies behind the header; the header is nobody's."""
        skipped = min(max(len(self._header) - self._at, 0), len(data))
        if skipped < len(data):
            self._file.seek(self._at + skipped - len(self._header))
            self._file.write(data[skipped:])
        self._at += len(data)
        return len(data)

    def flush(self) -> None:
        """Hand everything to the system."""
        if not self._file.closed:
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()
