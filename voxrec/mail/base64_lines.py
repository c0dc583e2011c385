"""Base64 in lines (RFC 2045 section 6.8), in small blocks.

The encoder of the email package would hold the GIL for a quarter of a second per 20 MB, which disturbs calls.
"""

import io
from binascii import b2a_base64
from collections.abc import Iterator
from typing import BinaryIO, Final

_BYTES_PER_LINE: Final = 57
_LINES_PER_BLOCK: Final = 1024


def encode_base64(file: BinaryIO) -> Iterator[bytes]:
    """Yield the content of a file as lines of 76 characters, in blocks of lines, so that other threads can run."""
    while block := file.read(_BYTES_PER_LINE * _LINES_PER_BLOCK):
        starts = range(0, len(block), _BYTES_PER_LINE)
        lines = (b2a_base64(block[start : start + _BYTES_PER_LINE], newline=False) for start in starts)
        yield b"\r\n".join([*lines, b""])


def encode_base64_bytes(data: bytes) -> Iterator[bytes]:
    """Yield data as `encode_base64` does."""
    return encode_base64(io.BytesIO(data))
