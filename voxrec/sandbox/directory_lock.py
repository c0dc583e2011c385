"""A lock that keeps the directory of a sandbox from being used by two programs, or deleted while one uses it."""

import fcntl
from pathlib import Path
from typing import TextIO

from voxrec.sandbox.errors import SandboxError


def lock_directory(directory: Path) -> TextIO:
    """Create the directory if necessary, and lock it until the returned file is closed.

    Raises SandboxError if another program holds the lock.
    """
    directory.mkdir(exist_ok=True)
    lock = (directory / "lock").open("w")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.close()
        raise SandboxError(f"{directory.absolute()} is in use, by 'make run' or 'make demo'") from None
    return lock
