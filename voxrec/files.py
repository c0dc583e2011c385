"""Opens files in directories to which another account can write: no symbolic links, FIFOs or devices.

Also creates directories with a mode that does not depend on the umask.
"""

import errno
import os
import stat
from collections.abc import Sequence
from pathlib import Path


class NotARegularFile(OSError):
    """The path is a symbolic link, a directory, a FIFO, a socket or a device."""


def open_regular(path: Path) -> int:
    """Open a regular file for reading, without following a link, and return its descriptor.

    Does not block, whatever the path is. Raises `NotARegularFile`, and OSError.
    """
    # the status is read first, because opening a device may have an effect
    if not stat.S_ISREG(path.lstat().st_mode):
        raise _not_regular(path)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO):  # it was replaced by a link or a socket
            raise _not_regular(path) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise _not_regular(path)
    return descriptor


def is_regular(path: Path) -> bool:
    """Return whether ``path`` is a regular file and not a link to one; False if it does not exist."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except FileNotFoundError:
        return False


def make_directory(directory: Path, mode: int) -> None:
    """Create ``directory`` and its missing parents with exactly ``mode``; existing directories are not changed."""
    missing = []
    for path in (directory, *directory.parents):
        if path.exists():
            break
        missing.append(path)
    for path in reversed(missing):
        path.mkdir(exist_ok=True)
        path.chmod(mode)
    if not missing and not directory.is_dir():
        raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), str(directory))


def sync_directory(directory: Path) -> None:
    """Write the entries of a directory to the disk: what was created, renamed or deleted in it. Raises OSError."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def open_subdirectory(root: Path, parts: Sequence[str], mode: int) -> int:
    """Open the directory ``parts`` below ``root``, without following a link there, and return its descriptor.

    Missing directories are created with exactly ``mode``, durably. Raises OSError.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
    descriptor = os.open(root, flags)
    for part in parts:
        parent = descriptor
        try:
            created = _make_in(parent, part)
            descriptor = os.open(part, flags | os.O_NOFOLLOW, dir_fd=parent)
            if created:
                os.fchmod(descriptor, mode)
                os.fsync(parent)
        finally:
            os.close(parent)
    return descriptor


def _make_in(parent: int, name: str) -> bool:
    """Create a directory that only this account can enter yet. Return False if it exists."""
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        return False
    return True


def _not_regular(path: Path) -> NotARegularFile:
    return NotARegularFile(errno.EINVAL, "is not a regular file", str(path))
