"""Where an interrupted export continues. Blocking: call the functions in a thread."""

import fcntl
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct

from voxrec.cursor import Cursor
from voxrec.files import sync_directory

_SUFFIX: Final = ".checkpoint"


class Progress(Struct):
    """What an export has written: numbers of Recordings, bytes of audio, and Recordings that are missing.

    ``after`` is the position in the list of Recordings; None: its beginning.
    """

    recordings: int = 0
    bytes: int = 0
    missing: int = 0
    after: Cursor | None = None


class Checkpoint(Struct, frozen=True):
    """The sizes of the files of an attempt, by the suffix of their names, and what was written up to there."""

    sizes: dict[str, int]
    progress: Progress


def save_checkpoint(part: Path, checkpoint: Checkpoint) -> None:
    """Save the checkpoint of the attempt that writes the file ``part``, in place of its former one. Raises OSError."""
    new = part.with_name(f"{part.name}{_SUFFIX}.new")
    with new.open("wb") as file:
        file.write(msgspec.json.encode(checkpoint))
        file.flush()
        os.fsync(file.fileno())
    new.rename(part.with_name(f"{part.name}{_SUFFIX}"))
    sync_directory(part.parent)


def take_over(target: Path, part: Path, lists: Iterable[str]) -> Checkpoint | None:
    """Rename the files of an earlier attempt to those of the attempt that writes ``part``, and return its checkpoint.

    None: there is no usable checkpoint, or its process still writes, which has the file locked. Raises OSError.
    """
    for former in target.parent.glob(f"{target.name}.*.part"):
        checkpoint = _load(former)
        if checkpoint is None or not _is_complete(former, checkpoint, lists) or _is_locked(former):
            continue
        for suffix in (*checkpoint.sizes, _SUFFIX):
            former.with_name(f"{former.name}{suffix}").rename(part.with_name(f"{part.name}{suffix}"))
        return checkpoint
    return None


def _load(part: Path) -> Checkpoint | None:
    try:
        return msgspec.json.decode(part.with_name(f"{part.name}{_SUFFIX}").read_bytes(), type=Checkpoint)
    except (OSError, msgspec.MsgspecError):
        return None


def _is_complete(part: Path, checkpoint: Checkpoint, lists: Iterable[str]) -> bool:
    """Return whether all files have what the checkpoint says. They may have more, which was not saved."""
    if {*checkpoint.sizes} != {"", *(f".{name}" for name in lists)}:
        return False
    try:
        return all(
            part.with_name(f"{part.name}{suffix}").stat().st_size >= size for suffix, size in checkpoint.sizes.items()
        )
    except OSError:
        return False


def _is_locked(part: Path) -> bool:
    with part.open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            return True
    return False
