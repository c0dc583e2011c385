"""Recognizes the former process of this node on this machine, whose name this process takes over without waiting.

After a crash, the row of the node has the former process for some seconds, and another process must not take the name:
it may run on another machine. But a process that holds the lock of the same journal directory proves that the one that
held it before has ended. A copy of the directory, as of a virtual machine, proves nothing: its lock is another file, or
the machine was started anew.
"""

from contextlib import suppress
from pathlib import Path
from typing import Final
from uuid import UUID

import msgspec

_BOOT_ID: Final = Path("/proc/sys/kernel/random/boot_id")


class _Process(msgspec.Struct, frozen=True, kw_only=True):
    """A process that has held the lock: its instance, and what identifies the lock."""

    instance: UUID
    boot: str
    device: int
    inode: int


def replace_former_instance(path: Path, lock: Path, instance: UUID) -> UUID | None:
    """Store this process in the file ``path``, and return the instance of the former one if it has certainly ended.

    This process holds ``lock``. Raises OSError. Blocks: run it in a thread.
    """
    status = lock.stat()
    own = _Process(instance=instance, boot=_BOOT_ID.read_text().strip(), device=status.st_dev, inode=status.st_ino)
    former = None
    with suppress(FileNotFoundError, msgspec.DecodeError):
        former = msgspec.json.decode(path.read_bytes(), type=_Process)
    new = path.with_suffix(".new")
    new.write_bytes(msgspec.json.encode(own))
    new.replace(path)
    if former is None or (former.boot, former.device, former.inode) != (own.boot, own.device, own.inode):
        return None
    return former.instance
