"""Files that belong to nobody, as far as anybody knows: out of the way, and kept.

Nothing here deletes anything, since what seems to be a leftover may be the only copy.
"""

from datetime import datetime
from pathlib import Path
from typing import Final

ASIDE: Final = "orphans"  # below the directory in which they were found
_MODE: Final = 0o750


def set_aside(root: Path, relative: str) -> None:
    """Move ``root/relative`` to ``root/orphans/relative``, by one rename; FileNotFoundError where it is gone."""
    target = root / ASIDE / relative
    target.parent.mkdir(mode=_MODE, parents=True, exist_ok=True)
    earlier = 0
    while target.exists():  # a rename would put this one in the place of that one
        earlier += 1
        target = root / ASIDE / f"{relative}.{earlier}"
    (root / relative).rename(target)


def count_aside(root: Path) -> int:
    """How many files lie there."""
    return sum(path.is_file() for path in (root / ASIDE).rglob("*"))


def untouched_since(path: Path, moment: datetime) -> bool:
    """Whether a file came there, and was last changed, before ``moment``; its ctime, which a rename sets as well."""
    try:
        return path.lstat().st_ctime < moment.timestamp()
    except FileNotFoundError:
        return False
