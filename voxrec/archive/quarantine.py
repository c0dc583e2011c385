"""The quarantine for files that belong to no Recording: a subdirectory of the directory in which they were found.

Nothing here deletes a file, because it may be the only copy.
"""

from datetime import datetime
from pathlib import Path
from typing import Final

QUARANTINE_DIRECTORY: Final = "orphans"
_MODE: Final = 0o750


def quarantine_file(root: Path, path: str) -> None:
    """Rename ``root/path`` to ``root/orphans/path``, with a number appended if that exists.

    Raises FileNotFoundError if the file does not exist.
    """
    target = root / QUARANTINE_DIRECTORY / path
    target.parent.mkdir(mode=_MODE, parents=True, exist_ok=True)
    number = 0
    while target.exists():  # rename(2) would replace it
        number += 1
        target = root / QUARANTINE_DIRECTORY / f"{path}.{number}"
    (root / path).rename(target)


def count_quarantined_files(root: Path) -> int:
    """Return the number of files in the quarantine below ``root``."""
    return sum(path.is_file() for path in (root / QUARANTINE_DIRECTORY).rglob("*"))


def unchanged_since(path: Path, time: datetime) -> bool:
    """Return whether a file was created, renamed to this path and last changed before ``time``; False if it is gone.

    Uses the ctime, which a rename sets, too.
    """
    try:
        return path.lstat().st_ctime < time.timestamp()
    except FileNotFoundError:
        return False
