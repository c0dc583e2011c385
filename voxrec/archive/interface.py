"""What every archive can do, whatever it is made of."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Protocol
from uuid import UUID

from voxrec.errors import Unavailable


class ArchiveUnavailable(Unavailable):
    """The archive cannot take or give a file now: a full disk, a mount that is gone, a refused permission."""

    code = "archive-unavailable"


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that the archive has taken. ``path`` is what the archive knows it by; ``size`` in bytes."""

    path: str
    size: int
    sha256: str


class Archive(Protocol):
    """A place for finished recordings. Every method may be repeated without harm."""

    def put(self, source: Path, recording_id: UUID, started_at: datetime, suffix: str) -> StoredFile:
        """Take ``source`` over: when this returns, the archive has it for good and ``source`` is gone."""

    def locate(self, relative: str) -> Path:
        """Return a local file with the content; NotFound where the archive has no such file."""

    def delete(self, relative: str) -> None:
        """Forget the file, if it is there."""

    def put_before(self, moment: datetime) -> dict[str, UUID]:
        """Return each file put there before ``moment``, whole or not, with the Recording that it is named after."""

    def set_aside(self, relative: str) -> None:
        """Keep the file where it is in nobody's way; one that is gone is no fault."""

    def count_aside(self) -> int:
        """Return how many files were set aside and are still there."""
