"""The files of the journal: numbered segments of lines, and how far they have been applied. Blocking.

A line is kept from the return of ``append`` on, whatever happens to the process or the machine; it may be read again
after a crash, but never is one left out. A new run never writes behind what an old one left, so that a line that a
crash has cut off can only be the last of its segment.
"""

import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Final, NamedTuple

from twisted.logger import Logger

from voxrec.errors import ConfigError

_SEGMENT_LIMIT: Final = 4_000_000  # bytes, after which the next line begins a new segment
_SUFFIX: Final = ".jsonl"


class Position(NamedTuple):
    """Where in the journal: a byte of a segment."""

    segment: int
    offset: int


class Line(NamedTuple):
    """A line, without its end, and the position behind it."""

    text: bytes
    end: Position


class Segments:
    """The journal in a directory that one process has for itself.

    ``append`` may run in one thread while ``read`` and ``save`` run in another, and ``applied`` while neither of these
    does; each in one at a time.
    """

    _log = Logger()

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._position_file = directory / "position"
        self._rejected = directory / "journal.rejected"
        self._lock = -1
        self._writing = -1  # file descriptor of the segment that grows
        self._end = Position(0, 0)
        self._applied = self._saved = Position(0, 0)

    def open(self) -> int:
        """Take the directory, and return how many lines are still to be applied.

        ConfigError where another process has it.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = os.open(self._directory / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            self.close()
            raise ConfigError(f"the journal {self._directory} is in use by another voxrec") from error
        present = self._present()
        self._applied = self._saved = self._last_position(present)
        self._end = Position(max([self._applied.segment, *present]), 0)
        self._begin_segment()
        before = self._bytes(Position(self._applied.segment, 0), self._applied.offset).count(b"\n")
        left = [segment for segment in present if segment >= self._applied.segment]
        return -before + sum(self._bytes(Position(segment, 0)).count(b"\n") for segment in left)

    def close(self) -> None:
        """Give the directory back."""
        self._leave_segment()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def append(self, lines: bytes) -> list[Line]:
        """Keep whole lines, each with its line feed, and return them as `read` would.

        OSError where that fails: then they have to be given again.
        """
        if self._writing < 0 or self._end.offset > _SEGMENT_LIMIT:
            self._begin_segment()
        try:
            written = 0
            while written < len(lines):
                written += os.write(self._writing, lines[written:])
            os.fdatasync(self._writing)
        except OSError:
            # What of it has reached the disk is unknown, and no further write would tell: leave this segment.
            with suppress(OSError):
                os.ftruncate(self._writing, self._end.offset)
            self._leave_segment()
            raise
        start, self._end = self._end, Position(self._end.segment, self._end.offset + len(lines))
        return _lines(lines, start)

    def read(self, limit: int) -> list[Line]:
        """The next lines that are to be applied, about ``limit`` bytes of them. None: all have been."""
        while True:
            growing, synchronised = self._end
            data = self._bytes(self._applied, limit)
            cut = len(data) == limit
            if self._applied.segment == growing:
                data = data[: synchronised - self._applied.offset]
            if whole := data.rfind(b"\n") + 1:
                return _lines(data[:whole], self._applied)
            if cut:
                limit *= 2  # a line longer than that
            elif self._applied.segment >= growing:
                return []
            else:
                if data:
                    self._log.warn("a line that was cut off by a crash is dropped: {data!r}", data=data[:200])
                self.applied(Position(self._next_after(self._applied.segment), 0))
                self.save()

    def applied(self, position: Position) -> None:
        """Take it that everything before ``position`` has been applied. Does not touch the disk: see `save`."""
        self._applied = position

    def save(self) -> None:
        """Write down how far the lines have been applied; remove the segments that are done with."""
        position = self._applied
        if position == self._saved:
            return
        if position.segment > self._saved.segment:
            for segment in self._present():
                if segment < position.segment:
                    self._path(segment).unlink()
        new = self._position_file.with_suffix(".new")
        # Not synchronised: an older position, or none, costs nothing but applying some lines again.
        new.write_text(f"{position.segment} {position.offset}\n")
        new.replace(self._position_file)
        self._saved = position

    def reject(self, line: bytes) -> Path:
        """Set a line aside that can never be applied; returns the file that has it now."""
        with self._rejected.open("ab") as file:
            file.write(line + b"\n")
            file.flush()
            os.fsync(file.fileno())
        return self._rejected

    def _begin_segment(self) -> None:
        self._leave_segment()
        number = self._end.segment + 1
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        self._writing = os.open(self._path(number), flags, 0o600)
        self._end = Position(number, 0)
        try:
            _synchronise(self._directory)
        except OSError:
            self._leave_segment()
            raise

    def _leave_segment(self) -> None:
        if self._writing >= 0:
            os.close(self._writing)
            self._writing = -1

    def _path(self, segment: int) -> Path:
        return self._directory / f"{segment:08}{_SUFFIX}"

    def _present(self) -> list[int]:
        return sorted(int(path.stem) for path in self._directory.glob(f"*{_SUFFIX}"))

    def _next_after(self, segment: int) -> int:
        return min(later for later in self._present() if later > segment)

    def _bytes(self, position: Position, limit: int = -1) -> bytes:
        try:
            with self._path(position.segment).open("rb") as file:
                file.seek(position.offset)
                return file.read(limit)
        except FileNotFoundError:
            return b""

    def _last_position(self, present: list[int]) -> Position:
        """Where the last run got to. Where that cannot be told, the beginning: applying again does no harm."""
        try:
            position = Position(*map(int, self._position_file.read_text().split()))
        except (OSError, ValueError, TypeError):
            return Position(present[0] if present else 0, 0)
        if not present:
            return Position(position.segment, 0)
        if position.segment in present and position.offset <= self._path(position.segment).stat().st_size:
            return position
        return Position(present[0], 0)


def _lines(data: bytes, start: Position) -> list[Line]:
    found = []
    offset = start.offset
    for text in data.splitlines(keepends=True):
        offset += len(text)
        found.append(Line(text[:-1], Position(start.segment, offset)))
    return found


def _synchronise(directory: Path) -> None:
    """A new file outlives a power failure only when its directory has been written too."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
