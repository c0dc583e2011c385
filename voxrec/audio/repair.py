"""WAV headers that were never finished.

Asterisk writes the two sizes of a WAV header when it closes the file (formats/format_wav.c): after a crash they are 0,
or, where the recording was appended to an older one, those of the older one. The samples are all there.
"""

import os
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final

from voxrec.audio.pcm_wav import HEADER, plain_source

_CHUNK: Final = struct.Struct("<4sI")
_SIZE: Final = struct.Struct("<I")
_LARGEST: Final = 0xFFFFFFFF  # what a RIFF size can say
_RIFF_SIZE_AT: Final = 4


@dataclass(frozen=True, slots=True)
class _Layout:
    """Where the samples begin, what the header says, and how long the file really is; all in bytes."""

    samples_at: int
    frame: int
    riff_size: int
    data_size: int
    length: int

    @property
    def held(self) -> int:
        return self.length - self.samples_at

    @property
    def data_fits(self) -> bool:
        # a chunk of odd length is padded to an even one, which many writers forget; none holds a part of a frame
        return self.data_size % self.frame == 0 and self.held in (self.data_size, _even(self.data_size))

    @property
    def riff_fits(self) -> bool:
        return self.riff_size in (self.length - 8, self.samples_at + self.data_size - 8)


def needs_repair(path: Path) -> bool:
    """Whether ``repair`` would change the file."""
    return _wrong_layout(path) is not None


def repair(path: Path) -> bool:
    """Set the RIFF and data sizes of a WAV file from its length; True where something was changed.

    A sample that was cut in its middle goes. What is right stays untouched to the byte, as does a file with more chunks
    behind its data, and anything that is not a WAV file with a whole header (probe says why). May be repeated.
    """
    layout = _wrong_layout(path)
    if layout is None:
        return False
    _write_sizes(path, layout)
    return True


def _wrong_layout(path: Path) -> _Layout | None:
    with path.open("rb", buffering=0) as file:
        if plain_source(file, file.read(HEADER)):
            return None
        layout = _read_layout(file)
        if layout is None or layout.length - 8 > _LARGEST:
            return None
        if (layout.data_fits and layout.riff_fits) or _chunks_follow(file, layout):
            return None
        return layout


def _even(size: int) -> int:
    return size + (size & 1)


def _read_layout(file: BinaryIO) -> _Layout | None:
    """None where the file is not a WAV file, or ends before its first sample could stand."""
    length = file.seek(0, os.SEEK_END)
    file.seek(0)
    head = file.read(12)
    if len(head) < 12 or head[:4] != b"RIFF" or head[8:] != b"WAVE":
        return None
    frame = 0
    at = 12
    while at + _CHUNK.size <= length:
        file.seek(at)
        name, size = _CHUNK.unpack(file.read(_CHUNK.size))
        at += _CHUNK.size
        if name == b"data":
            riff_size = _SIZE.unpack_from(head, _RIFF_SIZE_AT)[0]
            return _Layout(at, frame, riff_size, size, length) if frame else None
        if name == b"fmt ":
            fmt = file.read(16)
            frame = int.from_bytes(fmt[12:14], "little") if len(fmt) == 16 else 0  # nBlockAlign
        at += _even(size)
    return None


def _chunks_follow(file: BinaryIO, layout: _Layout) -> bool:
    """Whether what stands behind the data is a chain of chunks that ends with the file, and not samples.

    Chunk names are printable: without that rule digital silence would read as a chain of empty chunks.
    """
    at = layout.samples_at + _even(layout.data_size)
    while at + _CHUNK.size <= layout.length:
        file.seek(at)
        name, size = _CHUNK.unpack(file.read(_CHUNK.size))
        if not all(0x20 <= byte < 0x7F for byte in name):
            return False
        at += _CHUNK.size + size
        if at == layout.length:
            return True
        at += size & 1
        if at == layout.length:
            return True
    return False


def _write_sizes(path: Path, layout: _Layout) -> None:
    whole = layout.held - layout.held % layout.frame
    if layout.data_fits:
        # only the RIFF size is wrong; the pad byte, where there is one, is not a sample
        whole = layout.data_size
    with path.open("r+b") as file:
        length = file.truncate(layout.samples_at + whole)
        if whole & 1:
            file.seek(length)
            length += file.write(b"\0")
        file.seek(layout.samples_at - _SIZE.size)
        file.write(_SIZE.pack(whole))
        file.seek(_RIFF_SIZE_AT)
        file.write(_SIZE.pack(length - 8))
