"""The directory of export files, and the file of one export while it is written. Blocking: call them in a thread."""

import fcntl
import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from contextlib import suppress
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Final
from uuid import UUID

from voxrec.exports.checkpoint import Checkpoint, Progress, save_checkpoint, take_over
from voxrec.exports.containers import CONTAINERS
from voxrec.exports.spreadsheet import BOM, HEADER, encode_row
from voxrec.files import make_directory, sync_directory
from voxrec.model import Export

_FILE_MODE: Final = 0o640
_DIRECTORY_MODE: Final = 0o750
_BLOCK_SIZE: Final = 1 << 20  # bytes
_BLOCKS_AT_ONCE: Final = 64
_ID_SIZE: Final = 16  # bytes
_LISTS: Final = ("jsonl", "csv", "missing", "ids", "index")
_NAME: Final = re.compile(r"([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})\..+")


class ExportDirectory:
    """The directory of export files, ``<id>.zip`` or ``<id>.tar``. Incomplete files have further suffixes."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def file_of(self, export: Export) -> Path:
        """Return the path of the complete file."""
        return self._path / f"{export.id}.{export.format}"

    def create(self) -> None:
        """Create the directory, unless it exists. Raises OSError."""
        make_directory(self._path, _DIRECTORY_MODE)

    def free_bytes(self) -> int:
        """Return the free space of the file system. Raises OSError."""
        return shutil.disk_usage(self._path).free

    def list_ids(self) -> set[UUID]:
        """Return the ids of the exports of which there are files, complete or not."""
        with suppress(FileNotFoundError):
            return {UUID(match[1]) for path in self._path.iterdir() if (match := _NAME.fullmatch(path.name))}
        return set()

    def delete(self, export_id: UUID, but: Path | None = None) -> None:
        """Delete the files of an export, if there are any, except for the incomplete one ``but``, with its lists."""
        for path in self._path.glob(f"{export_id}.*"):
            if but is None or not path.name.startswith(but.name):
                path.unlink(missing_ok=True)

    def delete_incomplete(self, export_id: UUID) -> None:
        """Delete the incomplete files of an export, if there are any."""
        for path in self._path.glob(f"{export_id}.*.part*"):
            path.unlink(missing_ok=True)


class ExportFile:
    """The file of one export while it is written, and the lists that become its last members.

    It continues where an earlier attempt has saved a checkpoint, if no process writes to its files any more.
    """

    def __init__(self, directory: ExportDirectory, export: Export, attempt: int) -> None:
        """Open the files, and delete those of earlier attempts that are not continued. Raises OSError.

        ``attempt`` is unique: a process that has lost its lease must not disturb the one that has it now.
        """
        directory.create()
        self._target = directory.file_of(export)
        self._part = self._target.with_name(f"{self._target.name}.{attempt}.part")
        self.checkpoint = take_over(self._target, self._part, _LISTS)
        directory.delete(export.id, but=self._part)
        self._file = self._open("")
        # a process that takes over must know that this one does not write any more
        fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self._lists = {name: self._open(f".{name}") for name in _LISTS}
        self._lists["index"].seek(0)
        self._container = CONTAINERS[export.format](self._file, self._lists["index"])
        self._complete: BinaryIO | None = None
        self._digest = hashlib.sha256()
        if self.checkpoint is None:
            self._lists["csv"].write(BOM + encode_row(HEADER))

    def _open(self, suffix: str) -> BinaryIO:
        """Open a file at its end, or behind what the checkpoint has saved of it."""
        path = self._part.with_name(f"{self._part.name}{suffix}")
        file = path.open("wb+" if self.checkpoint is None else "rb+")
        if self.checkpoint is not None:
            file.truncate(self.checkpoint.sizes[suffix])
            file.seek(0, os.SEEK_END)
        return file

    def save(self, progress: Progress) -> None:
        """Save a checkpoint, from which a later attempt continues. Raises OSError."""
        self._lists["index"].write(self._container.take_index())
        sizes = {}
        for suffix, file in {"": self._file, **{f".{name}": file for name, file in self._lists.items()}}.items():
            file.flush()
            os.fsync(file.fileno())
            sizes[suffix] = file.tell()
        save_checkpoint(self._part, Checkpoint(sizes, progress))

    def begin_audio(self, name: str, size: int, time: datetime) -> None:
        """Begin the audio of a Recording."""
        self._container.begin(name, size, time)

    def write(self, block: bytes) -> None:
        """Write the next bytes of the audio."""
        self._container.write(block)

    def end_audio(self, padding: int = 0) -> None:
        """End the audio. ``padding`` bytes of it could not be read; zeros take their place."""
        while padding > 0:
            self._container.write(bytes(min(padding, _BLOCK_SIZE)))
            padding -= _BLOCK_SIZE
        self._container.end()

    def add_recording(self, recording_id: UUID, json_line: bytes, row: bytes) -> None:
        """Add a Recording to the lists."""
        self._lists["jsonl"].write(json_line + b"\n")
        self._lists["csv"].write(row)
        self._lists["ids"].write(recording_id.bytes)

    def add_missing(self, recording_id: UUID, reason: str) -> None:
        """Name a Recording in the manifest."""
        line = json.dumps({"id": str(recording_id), "reason": reason})
        self._lists["missing"].write(f"{line}\n".encode())

    def recording_ids(self, start: int, count: int) -> list[UUID]:
        """Return the ids of ``count`` Recordings in the file, from the number ``start``; less at its end."""
        ids = self._lists["ids"]
        ids.seek(start * _ID_SIZE)
        block = ids.read(count * _ID_SIZE)
        return [UUID(bytes=block[offset : offset + _ID_SIZE]) for offset in range(0, len(block), _ID_SIZE)]

    def end(self, manifest: dict[str, Any], now: datetime) -> None:
        """Add the lists and the manifest, and write the file to the disk. Raises OSError."""
        self._add_list("recordings.jsonl", "jsonl", now)
        self._add_list("recordings.csv", "csv", now)
        self._write_manifest(manifest, now)
        self._container.close()
        self._complete = self._part.open("rb")
        os.fsync(self._complete.fileno())

    def hash_next(self) -> bool:
        """Read the next part of the complete file for its digest; return False at its end.

        One call reads a limited part, so that a daemon that stops does not wait for a large file.
        """
        assert self._complete is not None, "hash_next() is called after end()"
        for _ in range(_BLOCKS_AT_ONCE):
            block = self._complete.read(_BLOCK_SIZE)
            if not block:
                return False
            self._digest.update(block)
        return True

    def publish(self) -> tuple[int, str]:
        """Give the file its name, and return its size and SHA-256. Raises OSError."""
        assert self._complete is not None, "publish() is called after end()"
        size = self._complete.tell()
        self._complete.close()
        self._part.chmod(_FILE_MODE)
        self._part.rename(self._target)
        sync_directory(self._target.parent)
        self.abandon()  # the lists and the checkpoint
        return size, self._digest.hexdigest()

    def suspend(self) -> None:
        """Close everything; the next attempt continues at the last checkpoint."""
        with suppress(OSError, ValueError):  # a full disk: what is buffered cannot be written
            self._container.suspend()
        for file in self._lists.values():
            with suppress(OSError, ValueError):
                file.close()
        if self._complete is not None:
            self._complete.close()

    def abandon(self) -> None:
        """Delete everything."""
        self.suspend()
        for path in self._part.parent.glob(f"{self._part.name}*"):
            path.unlink(missing_ok=True)

    def _add_list(self, member: str, name: str, now: datetime) -> None:
        file = self._lists[name]
        self._container.begin(member, file.seek(0, os.SEEK_END), now)
        _copy(file, self._container.write)
        self._container.end()

    def _write_manifest(self, manifest: dict[str, Any], now: datetime) -> None:
        """Write the manifest, whose last field lists what is missing: in a file first, since the list may be long."""
        missing = self._lists["missing"]
        missing.seek(0)
        path = self._part.with_name(f"{self._part.name}.manifest")
        with path.open("wb+") as file:
            file.write(json.dumps(manifest, indent=2).rstrip("}").rstrip().encode() + b',\n  "missing": [')
            for number, line in enumerate(missing):
                file.write((b",\n    " if number else b"\n    ") + line.rstrip())
            file.write(b"]\n}\n")
            self._container.begin("manifest.json", file.tell(), now)
            _copy(file, self._container.write)
            self._container.end()
        path.unlink()


def _copy(file: BinaryIO, write: Callable[[bytes], None]) -> None:
    file.seek(0)
    while block := file.read(_BLOCK_SIZE):
        write(block)
