"""The id of a recording directory, by which the disk of a node is recognized."""

import os
from contextlib import suppress
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

_FILE: Final = ".voxrec-node"


def read_spool_id(spool: Path) -> UUID | None:
    """Return the id in the directory, or None if it has none. Raises OSError."""
    with suppress(FileNotFoundError, ValueError):
        return UUID((spool / _FILE).read_text(encoding="ascii").strip())
    return None


def read_or_create_spool_id(spool: Path) -> UUID:
    """Return the id in the directory, which gets one if it has none. Raises OSError. Blocks: run it in a thread."""
    if (found := read_spool_id(spool)) is not None:
        return found
    path, spool_id = spool / _FILE, uuid4()
    temporary = path.with_suffix(f".{spool_id}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o640)
        try:
            os.write(descriptor, f"{spool_id}\n".encode("ascii"))
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
    return spool_id
