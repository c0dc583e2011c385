"""Find out whether an audio file was truncated, in formats of which libsndfile reads the rest without an error.

It reports truncated FLAC, and MP3 with a header that has the number of frames, itself.
"""

import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

_UNKNOWN_SIZE: Final = 0x7FFFF000  # bytes; programs that write to a pipe put this or more, up to 0xFFFFFFFF
_BYTE_ORDERS: Final = {b"RIFF": "<", b"RF64": "<", b"BW64": "<", b"RIFX": ">", b"FORM": ">"}
_AUDIO_CHUNKS: Final = (b"data", b"SSND")  # of RIFF, and of AIFF
_OGG: Final = b"OggS"
_OGG_HEADER: Final = 27  # bytes of a page header; the last one is the number of segments
_MAX_OGG_PAGE: Final = _OGG_HEADER + 255 + 255 * 255  # bytes
_END_OF_STREAM: Final = 4  # a bit of the header type
_AU_BYTE_ORDERS: Final = {b".snd": ">", b"dns.": "<"}


def is_truncated(path: Path) -> bool:
    """Return whether a file of WAV (RIFF, RIFX, RF64), AIFF, AU or Ogg ends before the end of its audio.

    False for a header that leaves the size open, and for other formats. Raises OSError.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        magic = file.read(4)
        if magic == _OGG:
            return not _has_last_page(file, size)
        if byte_order := _AU_BYTE_ORDERS.get(magic):
            return _end_of_au(file, byte_order) > size
        if byte_order := _BYTE_ORDERS.get(magic):
            return _end_of_audio_chunk(file, byte_order) > size
    return False


def _has_last_page(file: BinaryIO, size: int) -> bool:
    """Return whether an Ogg file contains the end of a stream, completely (RFC 3533 section 6)."""
    file.seek(max(0, size - _MAX_OGG_PAGE))
    tail = file.read()
    start = tail.rfind(_OGG)
    page = tail[start:]
    if start < 0 or len(page) < _OGG_HEADER:
        return False
    segments = page[_OGG_HEADER : _OGG_HEADER + page[_OGG_HEADER - 1]]
    complete = len(page) >= _OGG_HEADER + page[_OGG_HEADER - 1] + sum(segments)
    return complete and bool(page[5] & _END_OF_STREAM)


def _end_of_au(file: BinaryIO, byte_order: str) -> int:
    header = file.read(8)
    if len(header) < 8:
        return 0
    offset, size = struct.unpack(f"{byte_order}II", header)
    return 0 if size >= _UNKNOWN_SIZE else int(offset) + int(size)


def _end_of_audio_chunk(file: BinaryIO, byte_order: str) -> int:
    size_of_data: int | None = None  # of RF64 (EBU Tech 3306), whose data chunk has the size 0xFFFFFFFF
    for chunk, size in _chunks(file, byte_order):
        start = file.tell()
        if chunk == b"ds64" and len(fields := file.read(16)) == 16:
            size_of_data = struct.unpack("<8xQ", fields)[0]
        if chunk in _AUDIO_CHUNKS:
            if size < _UNKNOWN_SIZE:
                return start + size
            return 0 if size_of_data is None else start + size_of_data
        file.seek(start + size + size % 2)
    return 0


def _chunks(file: BinaryIO, byte_order: str) -> Iterator[tuple[bytes, int]]:
    """Yield the name and size of each chunk, with the file positioned at its contents."""
    file.seek(12)
    while len(header := file.read(8)) == 8:
        name, size = struct.unpack(f"{byte_order}4sI", header)
        yield name, size
