"""Temporary files of one attempt to finish a Recording."""

import errno
import os
import secrets
import shutil
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from uuid import UUID

from voxrec.errors import Unavailable

# a full disk, an exceeded quota, a file system that the kernel has made read-only, and what libsndfile reports of these
_EXPECTED_ERRORS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO})


class WorkFilesUnavailable(Unavailable):
    """The file system of the work directory, usually that of the archive, is full or cannot be written.

    The detail has the path, and the free space.
    """


class WorkFiles:
    """Creates files with unique names in ``directory`` and deletes them on exit, unless they were moved.

    Attempts therefore never write to the same file, even if one continues after its lease has expired. Entering also
    deletes the files of earlier attempts at the same Recording whose process died.
    """

    def __init__(self, directory: Path, recording_id: UUID) -> None:
        self._directory = directory
        self._recording_prefix = f"{recording_id}-"
        self._attempt_prefix = f"{directory}/{self._recording_prefix}{secrets.token_hex(8)}-"
        self._created: list[Path] = []

    def new(self, name: str) -> Path:
        """Create an empty file that only this user can read, and return its path, which no other call returns."""
        path = Path(f"{self._attempt_prefix}{len(self._created)}-{name}")
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
        self._created.append(path)
        return path

    def __enter__(self) -> Self:
        """Create the directory and delete leftovers. Raises Unavailable if the parent directory does not exist."""
        try:
            self._directory.mkdir(mode=0o750, exist_ok=True)
        except FileNotFoundError as error:
            raise Unavailable(f"the work directory {self._directory} cannot be created: {error}") from error
        self._delete_leftovers()
        return self

    def __exit__(
        self, _type: type[BaseException] | None, error: BaseException | None, _traceback: TracebackType | None
    ) -> None:
        """Delete the files that were created and not moved. Raises WorkFilesUnavailable for an error of the disk."""
        explained = self._explain(error) if isinstance(error, OSError) else None
        for path in self._created:
            with suppress(OSError):
                path.unlink(missing_ok=True)
        if explained is not None:
            raise explained from error

    def _explain(self, error: OSError) -> WorkFilesUnavailable | None:
        if error.errno not in _EXPECTED_ERRORS:
            return None
        space = "the free space is unknown"
        with suppress(OSError):
            usage = shutil.disk_usage(self._directory)
            space = f"{usage.free:,} of {usage.total:,} bytes are free"
        return WorkFilesUnavailable(f"cannot write to {self._directory}: {error.strerror} ({space})")

    def _delete_leftovers(self) -> None:
        for leftover in self._directory.iterdir():
            if not leftover.name.startswith(self._recording_prefix):
                continue
            if leftover.is_dir() and not leftover.is_symlink():  # created by an earlier version of voxrec
                shutil.rmtree(leftover)
            else:
                leftover.unlink(missing_ok=True)
