"""An archive on a local file system: YYYY/MM/DD/<recording>.<suffix>, by the UTC day on which the call started."""

import errno
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import AbstractAsyncContextManager, contextmanager, nullcontext, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final
from uuid import UUID

from voxrec.archive.interface import ArchiveUnavailable, RemoteAudio, StoredFile
from voxrec.archive.quarantine import (
    count_quarantined_files,
    delete_quarantined_file,
    list_quarantined_files,
    quarantine_file,
    unchanged_since,
    was_quarantined_before,
)
from voxrec.errors import NotFound
from voxrec.files import sync_directory
from voxrec.model import Recording
from voxrec.threads import DeferToThread, run_in_this_thread

FILE_MODE: Final = 0o640
DIRECTORY_MODE: Final = 0o750
_BLOCK_SIZE: Final = 1 << 20  # bytes
_FILES_OF_ALL_DAYS: Final = "[0-9][0-9][0-9][0-9]/[0-9][0-9]/[0-9][0-9]/*"
_FILE_NAME: Final = re.compile(
    r"\.?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\..+"
)  # with a dot: an incomplete copy
_SUFFIX: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,11}")


class LocalArchive:
    """Stores files below ``root``.

    ``root`` must exist: a missing root is usually a missing mount, so it is not created. ``defer_to_thread`` runs what
    `obtain` does on the file system, which may not respond; by default this blocks.
    """

    def __init__(self, root: Path, defer_to_thread: DeferToThread = run_in_this_thread) -> None:
        self._root = root
        self._defer_local_to_thread = defer_to_thread

    @property
    def root(self) -> Path:
        """The directory of the files."""
        return self._root

    def put(self, source: Path, recording_id: UUID, started_at: datetime, suffix: str) -> StoredFile:
        """Move ``source`` into the archive and return the stored file.

        The file is written to disk before its name appears, by one rename; an earlier file of the same recording is
        replaced. If ``source`` is on the archive's file system, nothing is copied. Raises ArchiveUnavailable; then
        ``source`` still exists and no new file remains. Raises ValueError if ``started_at`` has no time zone, or
        ``suffix`` is not a file name suffix.
        """
        if started_at.tzinfo is None or not _SUFFIX.fullmatch(suffix):
            raise ValueError(f"cannot make a path from start time {started_at!r} and suffix {suffix!r}")
        return self.put_at(source, f"{started_at.astimezone(UTC):%Y/%m/%d}/{recording_id}.{suffix}")

    def put_at(self, source: Path, path: str) -> StoredFile:
        """Move ``source`` to a path that `put` has returned before, and do as `put`."""
        target = self._resolve(path)
        with _translate_errors(f"cannot archive {source} as {path}"):
            self._make_directories(target.parent)
            try:
                return StoredFile(path, *_move(source, target))
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
            return StoredFile(path, *_copy(source, target))

    def locate(self, path: str) -> Path:
        """Return the file's location. Raises NotFound if there is none, or ``path`` is outside the archive.

        The archive creates no symbolic links below its root, so links are not followed.
        """
        with _translate_errors(f"cannot locate {path} in the archive"):
            location = self._resolve(path)
            exists = location.is_file()
        if not exists:
            raise NotFound(f"the archive has no file {path!r}")
        return location

    async def obtain(self, recording: Recording) -> AbstractAsyncContextManager[Path]:
        """Return the file of a Recording. Raises NotFound if there is none."""
        return nullcontext(await self._defer_local_to_thread(self.locate, recording.path or ""))

    async def remote_audio(self, recording: Recording) -> RemoteAudio | None:  # noqa: ARG002 - of the interface
        """Return None: everything is local."""
        return None

    def delete(self, path: str) -> None:
        """Delete the file, if it exists. Raises NotFound if ``path`` is outside the archive."""
        with _translate_errors(f"cannot delete {path} from the archive"):
            location = self._resolve(path)
            try:
                location.unlink()
            except FileNotFoundError:
                return
            sync_directory(location.parent)

    def list_before(self, time: datetime) -> dict[str, UUID]:
        """Return the paths of all files stored before ``time``, also incomplete copies, with their Recordings."""
        with _translate_errors("cannot list the files of the archive"):
            _require_root(self._root)
            return {
                str(location.relative_to(self._root)): UUID(match[1])
                for location in self._root.glob(_FILES_OF_ALL_DAYS)
                if (match := _FILE_NAME.fullmatch(location.name))
                and location.is_file()
                and unchanged_since(location, time)
            }

    def quarantine(self, path: str) -> None:
        """Move the file to the same path below ``orphans``, if it exists."""
        with _translate_errors(f"cannot move {path} to the quarantine"), suppress(FileNotFoundError):
            quarantine_file(self._root, path)

    def list_quarantined(self) -> dict[str, UUID]:
        """Return the paths of all files below ``orphans``, and the Recordings in their names."""
        with _translate_errors("cannot list the quarantined files of the archive"):
            return list_quarantined_files(self._root)

    def was_quarantined_before(self, path: str, time: datetime) -> bool:
        """Return whether a file below ``orphans`` was moved there before ``time``."""
        with _translate_errors(f"cannot examine {path} in the quarantine"):
            return was_quarantined_before(self._root, path, time)

    def delete_quarantined(self, path: str) -> None:
        """Delete a file below ``orphans``, if it exists."""
        with _translate_errors(f"cannot delete {path} from the quarantine"):
            delete_quarantined_file(self._root, path)

    def count_quarantined(self) -> int:
        """Return the number of files below ``orphans``."""
        with _translate_errors("cannot list the quarantined files of the archive"):
            return count_quarantined_files(self._root)

    def _resolve(self, path: str) -> Path:
        parts = path.split("/")
        if "\0" not in path and not {"", ".", ".."} & set(parts):
            location = self._root.joinpath(*parts)
            if not any(step.is_symlink() for step in (location, *location.parents[: len(parts) - 1])):
                return location
        raise NotFound(f"the archive has no file {path!r}")

    def _make_directories(self, directory: Path) -> None:
        """Make missing directories below the root durably, with a mode that does not depend on the umask."""
        if directory.is_dir():
            return
        missing = [d for d in (directory, *directory.parents) if d.is_relative_to(self._root) and not d.exists()]
        _require_root(self._root)
        for new in reversed(missing):
            new.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
            new.chmod(DIRECTORY_MODE)
            sync_directory(new.parent)


def _require_root(root: Path) -> None:
    if not root.exists():
        raise FileNotFoundError(errno.ENOENT, "the archive's root directory is missing", str(root))


@contextmanager
def _translate_errors(message: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ArchiveUnavailable(f"{message}: {error}") from error


def _move(source: Path, target: Path) -> tuple[int, str]:
    """Rename ``source`` and return size and SHA-256. Raises OSError EXDEV if the file systems differ."""
    if source.stat().st_dev != target.parent.stat().st_dev:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    digest = hashlib.sha256()
    with source.open("rb") as file:
        for block in _read_blocks(file):
            digest.update(block)
        os.fchmod(file.fileno(), FILE_MODE)
        os.fsync(file.fileno())
        size = file.tell()
    # fails with EXDEV, too, between two mounts of one file system, which have the same st_dev
    source.rename(target)
    sync_directory(target.parent)
    return size, digest.hexdigest()


def _copy(source: Path, target: Path) -> tuple[int, str]:
    """Copy ``source``, delete it, and return size and SHA-256."""
    _delete_incomplete_copies(target)
    digest = hashlib.sha256()
    descriptor, name = tempfile.mkstemp(prefix=_copy_prefix(target), dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as copy, source.open("rb") as file:
            for block in _read_blocks(file):
                digest.update(block)
                copy.write(block)
            os.fchmod(copy.fileno(), FILE_MODE)
            copy.flush()
            os.fsync(copy.fileno())
            size = copy.tell()
        temporary.rename(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(target.parent)
    source.unlink()
    return size, digest.hexdigest()


def _copy_prefix(target: Path) -> str:
    return f".{target.name}."


def _delete_incomplete_copies(target: Path) -> None:
    """Delete copies of the same recording that were left by a process that died."""
    for copy in target.parent.glob(f"{_copy_prefix(target)}*"):
        copy.unlink(missing_ok=True)


def _read_blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(_BLOCK_SIZE):
        yield block
