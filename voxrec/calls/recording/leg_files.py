"""What Asterisk has done with the files of a Recording: created them, and closed them.

MixMonitor reports neither. It opens its files in a thread of its own after the response to the action, and closes them
after the channel has been destroyed. But the size in the header of a WAV file is 0 until the file is closed
(formats/format_wav.c of Asterisk 16.28 and 22.10: update_header is called by wav_close only, after all samples).
"""

import os
import struct
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol
from uuid import UUID

from voxrec.files import NotARegularFile, open_regular
from voxrec.model import LEG_SUFFIXES, Side, leg_name
from voxrec.threads import DeferToThread

_RIFF: Final = struct.Struct("<4sI")
_DATA: Final = struct.Struct("<4sI")
_DATA_OFFSET: Final = 36  # in the header that Asterisk writes
_HEADER_SIZE: Final = _DATA_OFFSET + _DATA.size
_BYTES_PER_SECOND: Final = {".wav": 16_000, ".wav16": 32_000}
_TAIL_SIZE: Final = 16_000  # bytes: one second of 16-bit samples at 8 kHz


class LegFiles(Protocol):
    """The files of Recordings, as Asterisk leaves them."""

    async def created(self, recording_id: UUID) -> frozenset[Side]:
        """Return the sides that have a file."""
        ...

    async def written(self, recording_id: UUID) -> frozenset[Side]:
        """Return the sides that have a file that Asterisk has not closed."""
        ...

    async def closed(self, recording_id: UUID, expected: Collection[Side]) -> bool:
        """Return whether all ``expected`` sides have files, and Asterisk has closed all files of the Recording."""
        ...

    async def duration(self, recording_id: UUID) -> float:
        """Return the duration of the longest file of the Recording in seconds, 0 if there is none."""
        ...

    async def silent(self, recording_id: UUID) -> Mapping[Side, bool]:
        """Return for each side that has a file whether its last second consists of zeros."""
        ...


class SpoolFiles:
    """The files of Recordings in ``directory``, Asterisk's recording directory."""

    def __init__(self, directory: Path, defer_to_thread: DeferToThread) -> None:
        self._directory = directory
        self._defer_to_thread = defer_to_thread

    async def created(self, recording_id: UUID) -> frozenset[Side]:
        """Return the sides that have a file. A directory that cannot be read has none."""
        sides: frozenset[Side] = await self._defer_to_thread(self._created, recording_id)
        return sides

    async def written(self, recording_id: UUID) -> frozenset[Side]:
        """Return the sides that have a file that Asterisk has not closed."""
        sides: frozenset[Side] = await self._defer_to_thread(self._written, recording_id)
        return sides

    async def closed(self, recording_id: UUID, expected: Collection[Side]) -> bool:
        """Return whether all ``expected`` sides have files, and Asterisk has closed all files of the Recording."""
        closed: bool = await self._defer_to_thread(self._closed, recording_id, expected)
        return closed

    async def duration(self, recording_id: UUID) -> float:
        """Return the duration of the longest file of the Recording in seconds, 0 if there is none."""
        duration: float = await self._defer_to_thread(self._duration, recording_id)
        return duration

    async def silent(self, recording_id: UUID) -> Mapping[Side, bool]:
        """Return for each side that has a file whether its last second consists of zeros."""
        silent: Mapping[Side, bool] = await self._defer_to_thread(self._silent, recording_id)
        return silent

    def _duration(self, recording_id: UUID) -> float:
        durations = [0.0]
        for side in Side:
            for path in self._paths(recording_id, side):
                with suppress(OSError):
                    durations.append(duration_of(path))
        return max(durations)

    def _silent(self, recording_id: UUID) -> Mapping[Side, bool]:
        paths = {side: self._paths(recording_id, side) for side in Side}
        return {side: ends_with_zeros(of_side[0]) for side, of_side in paths.items() if of_side}

    def _created(self, recording_id: UUID) -> frozenset[Side]:
        return frozenset(side for side in Side if self._paths(recording_id, side))

    def _written(self, recording_id: UUID) -> frozenset[Side]:
        paths = {side: self._paths(recording_id, side) for side in Side}
        return frozenset(side for side in Side if not all(is_closed(path) for path in paths[side]))

    def _closed(self, recording_id: UUID, expected: Collection[Side]) -> bool:
        paths = {side: self._paths(recording_id, side) for side in Side}
        if not all(paths[side] for side in expected):
            return False
        return all(is_closed(path) for of_side in paths.values() for path in of_side)

    def _paths(self, recording_id: UUID, side: Side) -> list[Path]:
        candidates = (self._directory / f"{leg_name(recording_id, side)}.{suffix}" for suffix in LEG_SUFFIXES)
        return [path for path in candidates if _exists(path)]


def is_closed(path: Path) -> bool:
    """Return whether Asterisk has closed a file to which it recorded. Blocks: run it in a thread.

    True for what is not a regular file, or does not exist any more; False if it cannot be read.
    """
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            header = file.read(_HEADER_SIZE)
            size = file.seek(0, 2)
    except (FileNotFoundError, NotARegularFile):
        return True
    except OSError:
        return False
    if len(header) < _HEADER_SIZE:
        return False
    riff_size = _RIFF.unpack_from(header)[1]
    data_size = _DATA.unpack_from(header, _DATA_OFFSET)[1]
    return bool(riff_size) and size in (_HEADER_SIZE + data_size, _HEADER_SIZE + data_size + data_size % 2)


def duration_of(path: Path) -> float:
    """Return the duration of a file to which Asterisk has recorded, by its size, in seconds. Raises OSError."""
    return max(0, path.lstat().st_size - _HEADER_SIZE) / _BYTES_PER_SECOND.get(path.suffix, 16_000)


def ends_with_zeros(path: Path) -> bool:
    """Return whether the last second (half a second at 16 kHz) of a file consists of zeros. Blocks.

    False for a file that is shorter, cannot be read, or is not a regular file.
    """
    try:
        with os.fdopen(open_regular(path), "rb") as file:
            size = file.seek(0, 2)
            file.seek(max(_HEADER_SIZE, size - _TAIL_SIZE))
            return not any(file.read(_TAIL_SIZE)) and size >= _HEADER_SIZE + _TAIL_SIZE
    except (OSError, NotARegularFile):
        return False


def _exists(path: Path) -> bool:
    try:
        path.lstat()
    except OSError:
        return False
    return True
