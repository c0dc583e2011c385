"""The quarantine for files that belong to no Recording: a subdirectory of the directory in which they were found.

A file in it may be the only copy, so it is deleted only after a long time, or with the Recording of its name.
"""

import os
import re
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Final
from uuid import UUID

from voxrec.files import open_subdirectory

QUARANTINE_DIRECTORY: Final = "orphans"
_MODE: Final = 0o750
_ID: Final = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")


def quarantine_file(root: Path, path: str) -> None:
    """Rename ``root/path`` to ``root/orphans/path``, with a number appended if that exists.

    No symbolic link is followed below ``root``: another account may be able to write to it. Raises FileNotFoundError
    if the file does not exist, and OSError.
    """
    *directories, name = path.split("/")
    directory = open_subdirectory(root, (QUARANTINE_DIRECTORY, *directories), _MODE)
    try:
        target, number = name, 0
        while _exists(target, directory):  # rename(2) would replace it
            number += 1
            target = f"{name}.{number}"
        os.rename(root / path, target, dst_dir_fd=directory)
    finally:
        os.close(directory)


def _exists(name: str, directory: int) -> bool:
    try:
        os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def count_quarantined_files(root: Path) -> int:
    """Return the number of files in the quarantine below ``root``."""
    if (root / QUARANTINE_DIRECTORY).is_symlink():
        return 0
    return sum(len(files) for _, _, files in os.walk(root / QUARANTINE_DIRECTORY))


def list_quarantined_files(root: Path) -> dict[str, UUID]:
    """Return the paths of files in the quarantine below ``root``, relative to it, with the Recordings in their names.

    Links are files; they are not followed. Files without an id in their name are left out.
    """
    quarantine = root / QUARANTINE_DIRECTORY
    if quarantine.is_symlink():
        return {}
    return {
        str(Path(directory, name).relative_to(quarantine)): UUID(match[0])
        for directory, _, names in os.walk(quarantine)
        for name in names
        if (match := _ID.search(name))
    }


def delete_quarantined_file(root: Path, path: str) -> None:
    """Delete a file of the quarantine, if it exists; no symbolic link is followed below ``root``. Raises OSError."""
    *directories, name = path.split("/")
    directory = open_subdirectory(root, (QUARANTINE_DIRECTORY, *directories), _MODE)
    try:
        with suppress(FileNotFoundError):
            os.unlink(name, dir_fd=directory)
    finally:
        os.close(directory)


def was_quarantined_before(root: Path, path: str, time: datetime) -> bool:
    """Return whether a file of the quarantine was moved there before ``time``."""
    return unchanged_since(root / QUARANTINE_DIRECTORY / path, time)


def unchanged_since(path: Path, time: datetime) -> bool:
    """Return whether a file was created, renamed to this path and last changed before ``time``; False if it is gone.

    Uses the ctime, which a rename sets, too.
    """
    try:
        return path.lstat().st_ctime < time.timestamp()
    except FileNotFoundError:
        return False
