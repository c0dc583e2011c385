"""What is sent to and read from an S3 store: parts of files, and the bodies of objects."""

import hashlib
import io
import os
from collections.abc import Callable
from contextlib import suppress
from typing import Any, BinaryIO, Final

from voxrec.archive.interface import FileDamaged, StoreError
from voxrec.archive.s3_errors import translate_errors

_BLOCK_SIZE: Final = 1 << 20  # bytes


class ObjectReader:
    """The bytes of an object, in order. ``length`` bytes are expected."""

    def __init__(self, raw: Any, length: int, uri: str) -> None:
        self._raw = raw
        self._remaining = length
        self._uri = uri

    def read(self, size: int) -> bytes:
        """Return the next ``size`` bytes at most; b"" at the end. Raises StoreError, also if the body ends early."""
        wanted = min(size, self._remaining)
        if not wanted:
            return b""
        with translate_errors(f"read {self._uri}"):
            block: bytes = self._raw.read(wanted)
        if not block:
            raise StoreError(f"read {self._uri}: {self._remaining} bytes are missing", "Truncated")
        self._remaining -= len(block)
        return block

    def close(self) -> None:
        """Close the connection if the object was not read completely."""
        with suppress(Exception):  # the connection is of no use any more
            self._raw.close()


class FileSection(io.RawIOBase):
    """A part of a file as the body of a request: read in blocks, and again for another attempt.

    Several threads can read parts of one file at the same time, since its own position is not used.
    """

    def __init__(self, file: BinaryIO, start: int, length: int, check: Callable[[], None]) -> None:
        super().__init__()
        self._descriptor = file.fileno()
        self._start = start
        self._length = length
        self._position = 0
        self._check = check

    def __len__(self) -> int:
        """Return the number of bytes."""
        return self._length

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def tell(self) -> int:
        """Return the position within the part."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Change the position within the part."""
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._length}[whence]
        self._position = min(max(base + offset, 0), self._length)
        return self._position

    def read(self, size: int = -1) -> bytes:
        """Return the next ``size`` bytes; raises what ``check`` raises."""
        self._check()
        remaining = self._length - self._position
        wanted = remaining if size < 0 else min(size, remaining)
        block = os.pread(self._descriptor, wanted, self._start + self._position)
        self._position += len(block)
        return block


class HashedFile(FileSection):
    """A file as the body of a request, which is hashed while it is read."""

    def __init__(self, file: BinaryIO, length: int, check: Callable[[], None]) -> None:
        super().__init__(file, 0, length, check)
        self._sha256 = hashlib.sha256()
        self._hashed = 0

    def read(self, size: int = -1) -> bytes:
        """Return and hash the next ``size`` bytes; raises what ``check`` raises."""
        if self._position == 0:  # it is read for the first time, or for another attempt
            self._sha256, self._hashed = hashlib.sha256(), 0
        in_order = self._hashed == self._position
        block = super().read(size)
        if in_order:
            self._sha256.update(block)
            self._hashed += len(block)
        return block

    def digest(self) -> bytes | None:
        """Return the SHA-256 of the content; None unless all of it was read."""
        return self._sha256.digest() if self._hashed == self._length else None


def digest_of(file: BinaryIO, start: int, length: int, check: Callable[[], None]) -> bytes:
    """Return the SHA-256 of a part of a file; raises what ``check`` raises, which is called for each block."""
    digest = hashlib.sha256()
    section = FileSection(file, start, length, check)
    while block := section.read(_BLOCK_SIZE):
        digest.update(block)
    return digest.digest()


def require_content(file: BinaryIO, digest: bytes | None, sha256: str) -> None:
    """Raise FileDamaged if the digest of a file is known, and differs from that of the Recording, which is in hex."""
    if digest is not None and digest.hex() != sha256:
        raise FileDamaged(f"{file.name} has the SHA-256 {digest.hex()}; the Recording has {sha256}")
