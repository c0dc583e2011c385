"""Moves the audio of Recordings from S3 back to the local archive. Blocking, for ``voxrec archive migrate``."""

import hashlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Protocol

from voxrec.archive.local import LocalArchive
from voxrec.errors import VoxrecError
from voxrec.model import Recording, StoredObject
from voxrec.postgres.blocking_database import BlockingDatabase, run_to_completion
from voxrec.recordings.work_files import WorkFiles
from voxrec.store.archive_migration import BEGINNING, ArchiveMigration, Position

_PAGE: Final = 100
_BLOCK_SIZE: Final = 1 << 20


class ObjectStore(Protocol):
    """The S3 store."""

    def fetch(self, stored: StoredObject, target: Path, size: int, sha256: str | None) -> None:
        """Copy an object to a file. Raises VoxrecError, also if the content differs."""

    def delete(self, stored: StoredObject) -> None:
        """Delete all versions of an object."""


@dataclass
class Download:
    """Moves everything to ``archive``, one Recording after the other, and can be interrupted and repeated.

    Each file is verified, and durable, before the row refers to it; the object is deleted after that, unless
    ``keep_objects``. ``report`` is called with the number of Recordings and bytes that are moved.
    """

    database: Callable[[], AbstractContextManager[BlockingDatabase]]
    archive: LocalArchive
    work_directory: Path
    store: ObjectStore
    keep_objects: bool = False
    report: Callable[[int, int], None] = lambda _count, _size: None
    failed: list[str] = field(default_factory=list)
    """Recordings that could not be moved, with the reason."""

    def run(self) -> int:
        """Move all, and return the number of Recordings that were moved."""
        after, count, size = BEGINNING, 0, 0
        while page := self._page(after):
            for recording in page:
                try:
                    self._move(recording)
                except (VoxrecError, OSError) as error:
                    detail = error.detail if isinstance(error, VoxrecError) else str(error)
                    self.failed.append(f"{recording.id}: {detail}")
                    continue
                count, size = count + 1, size + (recording.size or 0)
                self.report(count, size)
            after = Position(page[-1].created_at, page[-1].id)
        return count

    def _page(self, after: Position) -> list[Recording]:
        with self.database() as database:
            return run_to_completion(ArchiveMigration(database).stored_recordings(after, _PAGE))

    def _move(self, recording: Recording) -> None:
        stored, path = recording.stored_object, recording.path
        assert stored is not None, "the query returns Recordings with an object"
        assert path is not None, "the query returns Recordings with a path"
        if not self._has_file(recording, path):
            if stored.stored_at is None:
                raise VoxrecError("the upload is not confirmed, and the local archive has no file")
            with WorkFiles(self.work_directory, recording.id) as work_files:
                copy = work_files.new(f"from-s3{Path(path).suffix}")
                self.store.fetch(stored, copy, recording.size or 0, recording.sha256)
                self.archive.put_at(copy, path)
        if not self.keep_objects:
            self.store.delete(stored)
        with self.database() as database:
            run_to_completion(ArchiveMigration(database).forget_object(recording.id, stored))

    def _has_file(self, recording: Recording, path: str) -> bool:
        """Return whether the archive has the file, with the content of the Recording."""
        location = self.archive.root / path
        if not location.is_file():
            return False
        digest = hashlib.sha256()
        with location.open("rb") as file:
            while block := file.read(_BLOCK_SIZE):
                digest.update(block)
        return recording.sha256 in (None, digest.hexdigest())
