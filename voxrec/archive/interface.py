"""The interface of every archive, whatever its storage."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol
from uuid import UUID

from voxrec.errors import Unavailable


class ArchiveUnavailable(Unavailable):
    """The archive cannot be read or written now: a full disk, a missing mount, or a permission error."""

    code = "archive-unavailable"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file in the archive. ``path`` identifies it within the archive; ``size`` is in bytes, ``sha256`` in hex."""

    path: str
    size: int
    sha256: str


class Archive(Protocol):
    """Storage for finished recordings. Every method is idempotent and raises `ArchiveUnavailable`."""

    def put(self, source: Path, recording_id: UUID, started_at: datetime, suffix: str) -> StoredFile:
        """Move ``source`` into the archive. When this returns, the file is stored durably and ``source`` is gone."""

    def locate(self, path: str) -> Path:
        """Return a local file with the content. Raises NotFound if the archive has no such file."""

    def delete(self, path: str) -> None:
        """Delete the file, if it exists."""

    def list_before(self, time: datetime) -> dict[str, UUID]:
        """Return the paths of all files stored before ``time``, complete or not, and the Recordings in their names."""

    def quarantine(self, path: str) -> None:
        """Move the file to the quarantine, if it exists."""

    def list_quarantined(self) -> dict[str, UUID]:
        """Return the paths of all files in the quarantine, and the Recordings in their names."""

    def was_quarantined_before(self, path: str, time: datetime) -> bool:
        """Return whether a file in the quarantine was moved there before ``time``."""

    def delete_quarantined(self, path: str) -> None:
        """Delete a file in the quarantine, if it exists."""

    def count_quarantined(self) -> int:
        """Return the number of files in the quarantine."""
