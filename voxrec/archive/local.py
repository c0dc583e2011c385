"""An archive on a file system: YYYY/MM/DD/<recording>.<suffix>, by the UTC day on which the call began."""

import errno
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Final
from uuid import UUID

from voxrec.archive.interface import ArchiveUnavailable, StoredFile
from voxrec.archive.quarantine import count_aside, set_aside, untouched_since
from voxrec.errors import NotFound

FILE_MODE: Final = 0o640
DIRECTORY_MODE: Final = 0o750
_BLOCK: Final = 1 << 20
_DAYS: Final = "[0-9][0-9][0-9][0-9]/[0-9][0-9]/[0-9][0-9]/*"
_NAMED: Final = re.compile(r"\.?([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\..+")
_SUFFIX: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]{0,11}")


class LocalArchive:
    """Finished files below ``root``, which must exist: a root that is missing is a mount that is missing."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def put(self, source: Path, recording_id: UUID, started_at: datetime, suffix: str) -> StoredFile:
        """Move ``source`` into the archive and return what it is there.

        The name appears only when the bytes are on the disk, by one rename, also over an earlier file of the same
        recording. On the archive's file system nothing is copied. Raises ArchiveUnavailable; then ``source`` is still
        there and nothing new stays behind.
        """
        if started_at.tzinfo is None or not _SUFFIX.fullmatch(suffix):
            raise ValueError(f"no place in the archive for {started_at!r}, {suffix!r}")
        relative = f"{started_at.astimezone(UTC):%Y/%m/%d}/{recording_id}.{suffix}"
        target = self._root / relative
        with _unavailable(f"cannot archive {source} as {relative}"):
            self._make_directories(target.parent)
            try:
                return StoredFile(relative, *_renamed(source, target))
            except OSError as error:
                if error.errno != errno.EXDEV:
                    raise
            return StoredFile(relative, *_copied(source, target))

    def locate(self, relative: str) -> Path:
        """Return where the file is; NotFound where there is none, or ``relative`` leads anywhere else.

        The archive makes no symbolic links below its root, so one that is met there is not followed.
        """
        with _unavailable(f"cannot look for {relative} in the archive"):
            path = self._inside(relative)
            there = path.is_file()
        if not there:
            raise NotFound(f"the archive has no file {relative!r}")
        return path

    def delete(self, relative: str) -> None:
        """Remove the file; one that is gone already is no fault. NotFound where ``relative`` leaves the root."""
        with _unavailable(f"cannot delete {relative} from the archive"):
            path = self._inside(relative)
            try:
                path.unlink()
            except FileNotFoundError:
                return
            _sync_directory(path.parent)

    def put_before(self, moment: datetime) -> dict[str, UUID]:
        """Return the files of that age by their path, also those whose copying ended half way."""
        with _unavailable("cannot look through the archive"):
            _require_root(self._root)
            return {
                str(path.relative_to(self._root)): UUID(named[1])
                for path in self._root.glob(_DAYS)
                if (named := _NAMED.fullmatch(path.name)) and path.is_file() and untouched_since(path, moment)
            }

    def set_aside(self, relative: str) -> None:
        """Move the file to the same place below ``orphans``."""
        with _unavailable(f"cannot set {relative} aside"), suppress(FileNotFoundError):
            set_aside(self._root, relative)

    def count_aside(self) -> int:
        """Count the files below ``orphans``."""
        with _unavailable("cannot look through the archive"):
            return count_aside(self._root)

    def _inside(self, relative: str) -> Path:
        parts = relative.split("/")
        if "\0" not in relative and not {"", ".", ".."} & set(parts):
            path = self._root.joinpath(*parts)
            if not any(step.is_symlink() for step in (path, *path.parents[: len(parts) - 1])):
                return path
        raise NotFound(f"the archive has no file {relative!r}")

    def _make_directories(self, directory: Path) -> None:
        """Make what is missing below the root, each with its mode whatever the umask, and on the disk."""
        if directory.is_dir():
            return
        missing = [d for d in (directory, *directory.parents) if d.is_relative_to(self._root) and not d.exists()]
        _require_root(self._root)
        for new in reversed(missing):
            new.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
            new.chmod(DIRECTORY_MODE)
            _sync_directory(new.parent)


def _require_root(root: Path) -> None:
    if not root.exists():
        raise FileNotFoundError(errno.ENOENT, "the archive's root is missing", str(root))


@contextmanager
def _unavailable(what: str) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ArchiveUnavailable(f"{what}: {error}") from error


def _renamed(source: Path, target: Path) -> tuple[int, str]:
    """Move on one file system; OSError EXDEV, before anything has changed for the target, where there are two."""
    if source.stat().st_dev != target.parent.stat().st_dev:
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    digest = hashlib.sha256()
    with source.open("rb") as file:
        for block in _blocks(file):
            digest.update(block)
        os.fchmod(file.fileno(), FILE_MODE)
        os.fsync(file.fileno())
        size = file.tell()
    # two mounts of one file system have the same st_dev and still refuse
    source.rename(target)
    _sync_directory(target.parent)
    return size, digest.hexdigest()


def _copied(source: Path, target: Path) -> tuple[int, str]:
    _discard_leftovers(target)
    digest = hashlib.sha256()
    descriptor, name = tempfile.mkstemp(prefix=_leftover_prefix(target), dir=target.parent)
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as copy, source.open("rb") as file:
            for block in _blocks(file):
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
    _sync_directory(target.parent)
    source.unlink()
    return size, digest.hexdigest()


def _leftover_prefix(target: Path) -> str:
    return f".{target.name}."


def _discard_leftovers(target: Path) -> None:
    """Remove what an earlier copy of the same recording left when its process died."""
    for leftover in target.parent.glob(f"{_leftover_prefix(target)}*"):
        leftover.unlink(missing_ok=True)


def _blocks(file: BinaryIO) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block


def _sync_directory(directory: Path) -> None:
    """Put a directory's names on the disk: fsync of a file alone does not (fsync(2))."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
