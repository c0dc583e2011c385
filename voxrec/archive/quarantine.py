"""The quarantine for files that belong to no Recording: a subdirectory of the directory in which they were found.

Nothing here deletes a file, because it may be the only copy.
"""

import os
from datetime import datetime
from pathlib import Path
from typing import Final

from voxrec.files import open_subdirectory

QUARANTINE_DIRECTORY: Final = "orphans"
_MODE: Final = 0o750


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


def unchanged_since(path: Path, time: datetime) -> bool:
    """Return whether a file was created, renamed to this path and last changed before ``time``; False if it is gone.

    Uses the ctime, which a rename sets, too.
    """
    try:
        return path.lstat().st_ctime < time.timestamp()
    except FileNotFoundError:
        return False
