"""Repair WAV headers whose sizes were not written.

Asterisk writes the two sizes of a WAV header when it closes the file (formats/format_wav.c). After a crash they are 0,
or, if the recording was appended to an existing file, those of that file. The samples are complete.
"""

import os
import struct
from dataclasses import dataclass
from io import FileIO
from pathlib import Path
from typing import BinaryIO, Final

from voxrec.audio.pcm_wav import HEADER_SIZE, open_pcm_wav
from voxrec.errors import AudioError
from voxrec.files import NotARegularFile, open_regular

_CHUNK_HEADER: Final = struct.Struct("<4sI")
_SIZE_FIELD: Final = struct.Struct("<I")
_MAX_RIFF_SIZE: Final = 0xFFFFFFFF
_RIFF_SIZE_OFFSET: Final = 4


@dataclass(frozen=True, slots=True)
class _Layout:
    """The offset of the samples, the sizes in the header, and the size of the file; all in bytes."""

    samples_offset: int
    frame_size: int
    riff_size: int
    data_size: int
    file_size: int

    @property
    def available(self) -> int:
        """The number of bytes after the header of the data chunk."""
        return self.file_size - self.samples_offset

    @property
    def data_size_valid(self) -> bool:
        # a chunk of odd length is padded to an even one, which many writers forget; a partial frame is not valid
        return self.data_size % self.frame_size == 0 and self.available in (self.data_size, _padded(self.data_size))

    @property
    def riff_size_valid(self) -> bool:
        return self.riff_size in (self.file_size - 8, self.samples_offset + self.data_size - 8)


def needs_repair(path: Path) -> bool:
    """Return whether `repair_header` would change the file. Raises AudioError for a link, and OSError."""
    return _find_invalid_layout(path) is not None


def repair_header(path: Path) -> bool:
    """Set the RIFF and data sizes of a WAV file from the size of the file. Return whether the file was changed.

    An incomplete last frame is removed. Not changed at all: a valid file, a file with other chunks after its data, and
    anything that is not a WAV file with a complete header (`probe` reports why). Idempotent.
    """
    layout = _find_invalid_layout(path)
    if layout is None:
        return False
    _write_sizes(path, layout)
    return True


def _find_invalid_layout(path: Path) -> _Layout | None:
    """Return the layout of a WAV file whose sizes are wrong, or None."""
    try:
        descriptor = open_regular(path)
    except NotARegularFile:
        raise AudioError(f"{path}: is not a regular file") from None
    with FileIO(descriptor, "rb") as file:
        if open_pcm_wav(file, file.read(HEADER_SIZE)):
            return None
        layout = _read_layout(file)
        if layout is None or layout.file_size - 8 > _MAX_RIFF_SIZE:
            return None
        if (layout.data_size_valid and layout.riff_size_valid) or _has_trailing_chunks(file, layout):
            return None
        return layout


def _padded(size: int) -> int:
    return size + (size & 1)


def _read_layout(file: BinaryIO) -> _Layout | None:
    """Return None if the file is not a WAV file, or ends before its first sample."""
    file_size = file.seek(0, os.SEEK_END)
    file.seek(0)
    riff_header = file.read(12)
    if len(riff_header) < 12 or riff_header[:4] != b"RIFF" or riff_header[8:] != b"WAVE":
        return None
    frame_size = 0
    offset = 12
    while offset + _CHUNK_HEADER.size <= file_size:
        file.seek(offset)
        name, size = _CHUNK_HEADER.unpack(file.read(_CHUNK_HEADER.size))
        offset += _CHUNK_HEADER.size
        if name == b"data":
            riff_size = _SIZE_FIELD.unpack_from(riff_header, _RIFF_SIZE_OFFSET)[0]
            return _Layout(offset, frame_size, riff_size, size, file_size) if frame_size else None
        if name == b"fmt ":
            fmt = file.read(16)
            frame_size = int.from_bytes(fmt[12:14], "little") if len(fmt) == 16 else 0  # nBlockAlign
        offset += _padded(size)
    return None


def _has_trailing_chunks(file: BinaryIO, layout: _Layout) -> bool:
    """Return whether the data is followed by chunks up to the end of the file, and not by samples.

    Chunk names must be printable, because digital silence would otherwise be a sequence of empty chunks.
    """
    offset = layout.samples_offset + _padded(layout.data_size)
    while offset + _CHUNK_HEADER.size <= layout.file_size:
        file.seek(offset)
        name, size = _CHUNK_HEADER.unpack(file.read(_CHUNK_HEADER.size))
        if not all(0x20 <= byte < 0x7F for byte in name):
            return False
        offset += _CHUNK_HEADER.size + size
        if offset == layout.file_size:
            return True
        offset += size & 1
        if offset == layout.file_size:
            return True
    return False


def _write_sizes(path: Path, layout: _Layout) -> None:
    data_size = layout.available - layout.available % layout.frame_size
    if layout.data_size_valid:
        # only the RIFF size is wrong; a pad byte, if there is one, is not part of a sample
        data_size = layout.data_size
    with path.open("r+b") as file:
        file_size = file.truncate(layout.samples_offset + data_size)
        if data_size & 1:
            file.seek(file_size)
            file_size += file.write(b"\0")
        file.seek(layout.samples_offset - _SIZE_FIELD.size)
        file.write(_SIZE_FIELD.pack(data_size))
        file.seek(_RIFF_SIZE_OFFSET)
        file.write(_SIZE_FIELD.pack(file_size - 8))
