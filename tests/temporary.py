"""Directories of tests whose paths must be short or readable for other accounts, so that trial's own does not do.

They are removed when the process ends; those of a process that was killed, by the next one that creates a directory.
"""

import atexit
import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import Final

_PREFIX: Final = "voxrec-tests-"
_MIN_AGE: Final = 60.0  # seconds; a younger directory may not be locked yet


def temporary_directory(name: str, parent: Path | None = None) -> Path:
    """Return a new directory with ``name`` in its own name, readable for other accounts.

    It is below ``parent``, by default that for temporary files. The path of a Unix socket may have 107 bytes at most.
    """
    parent = parent or Path(tempfile.gettempdir())
    _remove_abandoned(parent)
    directory = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{name}-", dir=parent))
    directory.chmod(0o755)
    _lock(directory)
    atexit.register(_remove_own, directory, os.getpid())
    return directory


def _lock(directory: Path) -> bool:
    """Lock a directory until this process ends; return False if another process has locked it."""
    descriptor = os.open(directory, os.O_RDONLY)  # not inherited by other programs
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return False
    return True


@cache
def _remove_abandoned(parent: Path) -> None:
    """Remove the directories of processes of this account that have ended without doing so."""
    for directory in parent.glob(f"{_PREFIX}*"):
        try:
            status = directory.stat()
            if status.st_uid == os.geteuid() and status.st_ctime < time.time() - _MIN_AGE and _lock(directory):
                _remove(directory)
        except FileNotFoundError:  # another process removes it
            continue


def _remove_own(directory: Path, owner: int) -> None:
    """Remove a directory at the end of the process that has created it, not at that of one that was forked from it."""
    if os.getpid() == owner:
        _remove(directory)


def _remove(directory: Path) -> None:
    for mount in _mounts_below(directory):
        subprocess.run(["umount", "--lazy", mount], check=False)  # noqa: S603, S607
    if not _mounts_below(directory):  # else files that are mounted there would be removed
        shutil.rmtree(directory, ignore_errors=True)


def _mounts_below(directory: Path) -> list[str]:
    """Return the mount points below a directory, the last mounted first (proc(5), mountinfo)."""
    points = (line.split()[4] for line in Path("/proc/self/mountinfo").read_text().splitlines())
    return [point for point in points if point.startswith(f"{directory}/")][::-1]
