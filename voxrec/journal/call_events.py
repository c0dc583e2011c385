"""The file that holds events of calls while PostgreSQL is unavailable, so that a crash does not lose them.

It has one event per line, contains numbers and names, and is deleted once PostgreSQL has stored its events.
"""

import os
from collections.abc import Sequence
from pathlib import Path

from voxrec.threads import DeferToThread


class CallEventFile:
    """The file. Writing and deleting it runs in threads, because a disk may be slow."""

    def __init__(self, path: Path, defer_to_thread: DeferToThread) -> None:
        self._path = path
        self._defer_to_thread = defer_to_thread

    def load(self) -> list[bytes]:
        """Return the lines that an earlier run left, without a last one that is incomplete. Raises OSError."""
        try:
            content = self._path.read_bytes()
        except FileNotFoundError:
            return []
        *lines, _incomplete = content.split(b"\n")
        return [line for line in lines if line]

    async def append(self, lines: Sequence[bytes]) -> None:
        """Write lines and sync them. Raises OSError."""
        await self._defer_to_thread(self._append, b"".join(line + b"\n" for line in lines))

    async def clear(self) -> None:
        """Delete the file. Raises OSError."""
        await self._defer_to_thread(self._path.unlink, missing_ok=True)

    def _append(self, content: bytes) -> None:
        descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "ab") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
