"""Snapshots that can never be applied to PostgreSQL, for an operator to look into. Blocking.

Each is a file with the id of its Recording in its name, so that it can be deleted with the Recording.
"""

import os
import secrets
import time
from collections.abc import Collection, Iterator
from datetime import timedelta
from pathlib import Path
from uuid import UUID

from voxrec.journal.recording_id import recording_id_of

_FORMER_FILE = "journal.rejected"  # of earlier versions, next to the directory
_ID_LENGTH = 36


class RejectedLines:
    """The directory of rejected lines; it is created with the first one."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def add(self, line: bytes) -> Path:
        """Store a line durably and return its file, which only this user can read."""
        self._directory.mkdir(mode=0o700, exist_ok=True)
        path = self._directory / f"{recording_id_of(line) or 'unknown'}-{secrets.token_hex(4)}.json"
        with os.fdopen(os.open(path, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())
        return path

    def recording_ids(self) -> set[UUID]:
        """Return the ids of the Recordings of all lines that have one."""
        return {recording_id for path in self._files() if (recording_id := _id_in_name(path)) is not None}

    def delete(self, recording_ids: Collection[UUID]) -> None:
        """Delete the lines of these Recordings."""
        for path in self._files():
            if _id_in_name(path) in recording_ids:
                path.unlink(missing_ok=True)

    def delete_older_than(self, age: timedelta) -> None:
        """Delete the lines that were rejected longer than ``age`` ago."""
        for path in self._files():
            if time.time() - path.stat().st_mtime > age.total_seconds():
                path.unlink(missing_ok=True)

    def import_former_file(self) -> None:
        """Divide the file in which earlier versions stored all rejected lines."""
        former = self._directory.with_name(_FORMER_FILE)
        if former.exists():
            for line in former.read_bytes().splitlines():
                self.add(line)
            former.unlink()

    def _files(self) -> Iterator[Path]:
        return self._directory.glob("*.json")


def _id_in_name(path: Path) -> UUID | None:
    try:
        return UUID(path.name[:_ID_LENGTH])
    except ValueError:
        return None
