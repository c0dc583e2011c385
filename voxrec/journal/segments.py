"""The files of the journal: numbered segments of lines, and the position up to which they have been applied. Blocking.

A line is durable once ``append`` has returned. After a crash some lines may be read a second time, but none is left
out. A segment is deleted once all its lines have been applied and a later segment was started, by `Segments.rotate` or
because the segment is full; or some time after that, so that `Segments.rewind` can return to it. Each run writes new
segments only, so a line that a crash has cut off is always the last one of its segment.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

from twisted.logger import Logger

from voxrec.errors import ConfigError
from voxrec.files import sync_directory

_SEGMENT_SIZE: Final = 4_000_000  # bytes after which the next line starts a new segment
_SUFFIX: Final = ".jsonl"


class Position(NamedTuple):
    """A position in the journal: a byte offset in a segment."""

    segment: int
    offset: int


class Line(NamedTuple):
    """A line without its line feed, and the position after it."""

    text: bytes
    end: Position


@contextmanager
def lock_directory(directory: Path) -> Iterator[None]:
    """Run the block while no process has the journal in ``directory``, which is created if it is missing.

    Raises ConfigError if another process has locked it.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor = _lock(directory)
    try:
        yield
    finally:
        os.close(descriptor)


def _lock(directory: Path) -> int:
    descriptor = os.open(directory / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise ConfigError(f"the journal {directory} is in use by another voxrec process") from error
    return descriptor


class Segments:
    """The journal's directory, locked by one process.

    ``append`` may run in one thread while ``read`` or ``save_position`` runs in another. ``mark_applied`` may run while
    neither of these two does. Segments that are applied completely are kept for ``retention`` seconds.
    """

    _log = Logger()

    def __init__(
        self, directory: Path, retention: float = 0.0, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._directory = directory
        self._retention = retention
        self._monotonic = monotonic
        self._applied_at: dict[int, float] = {}  # when this process first knew that a segment is applied completely
        self._position_file = directory / "position"
        self._lock = -1
        self._descriptor = -1  # of the segment that is appended to
        self._end = Position(0, 0)
        self._applied = self._saved = Position(0, 0)

    def open(self) -> int:
        """Lock the directory and return the number of lines that have not been applied.

        Raises ConfigError if another process has locked it.
        """
        self._directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = _lock(self._directory)
        numbers = self._segment_numbers()
        self._applied = self._saved = self._saved_position(numbers)
        self._end = Position(max([self._applied.segment, *numbers]), 0)
        self._start_segment()
        applied_lines = self._read(Position(self._applied.segment, 0), self._applied.offset).count(b"\n")
        remaining = [number for number in numbers if number >= self._applied.segment]
        return sum(self._read(Position(number, 0)).count(b"\n") for number in remaining) - applied_lines

    def close(self) -> None:
        """Close the current segment and unlock the directory."""
        self._close_segment()
        if self._lock >= 0:
            os.close(self._lock)
            self._lock = -1

    def append(self, lines: bytes) -> list[Line]:
        """Append complete lines, each with its line feed, and return them as `read` would.

        Raises OSError if that fails; the lines must then be appended again.
        """
        if self._descriptor < 0 or self._end.offset > _SEGMENT_SIZE:
            self._start_segment()
        try:
            written = 0
            while written < len(lines):
                written += os.write(self._descriptor, lines[written:])
            os.fdatasync(self._descriptor)
        except OSError:
            # How much of it reached the disk is unknown, and a later fdatasync would not report it: abandon the
            # segment.
            with suppress(OSError):
                os.ftruncate(self._descriptor, self._end.offset)
            self._close_segment()
            raise
        start, self._end = self._end, Position(self._end.segment, self._end.offset + len(lines))
        return _split_lines(lines, start)

    def lines(self) -> Iterator[bytes]:
        """Return all lines on the disk, in order, whether they have been applied or not, without the line feeds.

        May run while other methods do. A segment that is deleted meanwhile is left out. Raises OSError.
        """
        for number in self._segment_numbers():
            *complete, _ = self._read(Position(number, 0)).split(b"\n")
            yield from complete

    def rotate(self) -> None:
        """Start a new segment if the current one has lines: it is deleted when all of them have been applied.

        Runs in the thread of ``append``. Raises OSError; the next `append` then starts a segment.
        """
        if self._end.offset:
            self._start_segment()

    def read(self, limit: int) -> list[Line]:
        """Return the next lines to apply, about ``limit`` bytes of them; an empty list if all have been applied."""
        while True:
            current, synced = self._end
            data = self._read(self._applied, limit)
            truncated = len(data) == limit
            if self._applied.segment == current:
                data = data[: synced - self._applied.offset]
            if length := data.rfind(b"\n") + 1:
                return _split_lines(data[:length], self._applied)
            if truncated:
                limit *= 2  # the line is longer than the limit
            elif self._applied.segment >= current:
                return []
            else:
                if data:
                    self._log.warn(
                        "journal segment {segment} ends with a line of {size} bytes that a crash cut off; skipping it",
                        segment=self._applied.segment,
                        size=len(data),
                    )
                self.mark_applied(Position(self._next_segment(self._applied.segment), 0))
                self.save_position()

    def mark_applied(self, position: Position) -> None:
        """Set the position up to which lines have been applied, in memory only; `save_position` writes it."""
        self._applied = position

    def save_position(self) -> None:
        """Write the applied position to the disk, and delete the segments before it."""
        position = self._applied
        if self._retention or position.segment > self._saved.segment:
            self._delete_expired(position.segment)
        if position == self._saved:
            return
        new = self._position_file.with_suffix(".new")
        # Not synced: after a power failure, an older position only means that some lines are applied again.
        new.write_text(f"{position.segment} {position.offset}\n")
        new.replace(self._position_file)
        self._saved = position

    def _delete_expired(self, before: int) -> None:
        """Delete the segments with lower numbers, whose lines are all applied, if that was long enough ago."""
        now = self._monotonic()
        for number in self._segment_numbers():
            if number < before and now - self._applied_at.setdefault(number, now) >= self._retention:
                self._path(number).unlink()
                del self._applied_at[number]

    def rewind(self) -> int:
        """Let `read` return all lines again that are still there, and return how many more that are.

        Runs when neither of ``read``, ``mark_applied`` and ``save_position`` does.
        """
        kept = [number for number in self._segment_numbers() if number < self._applied.segment]
        lines = sum(self._read(Position(number, 0)).count(b"\n") for number in kept)
        lines += self._read(Position(self._applied.segment, 0), self._applied.offset).count(b"\n")
        self._applied = Position(min([*kept, self._applied.segment]), 0)
        self.save_position()
        return lines

    def delete_applied(self) -> None:
        """Delete the current segment if nothing in it is needed; nothing can be appended after that."""
        if self._applied == self._end and not (self._retention and self._end.offset):
            self._close_segment()
            self._path(self._end.segment).unlink(missing_ok=True)

    def _start_segment(self) -> None:
        self._close_segment()
        number = self._end.segment + 1
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_APPEND | os.O_CLOEXEC
        self._descriptor = os.open(self._path(number), flags, 0o600)
        self._end = Position(number, 0)
        try:
            sync_directory(self._directory)
        except OSError:
            self._close_segment()
            raise

    def _close_segment(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _path(self, segment: int) -> Path:
        return self._directory / f"{segment:08}{_SUFFIX}"

    def _segment_numbers(self) -> list[int]:
        return sorted(int(path.stem) for path in self._directory.glob(f"*{_SUFFIX}"))

    def _next_segment(self, segment: int) -> int:
        return min(number for number in self._segment_numbers() if number > segment)

    def _read(self, position: Position, limit: int = -1) -> bytes:
        try:
            with self._path(position.segment).open("rb") as file:
                file.seek(position.offset)
                return file.read(limit)
        except FileNotFoundError:
            return b""

    def _saved_position(self, numbers: list[int]) -> Position:
        """Return the position that the last run saved; if it is unusable, the start: applying twice is harmless."""
        try:
            position = Position(*map(int, self._position_file.read_text().split()))
        except (OSError, ValueError, TypeError):
            return Position(numbers[0] if numbers else 0, 0)
        if not numbers:
            return Position(position.segment, 0)
        if position.segment in numbers and position.offset <= self._path(position.segment).stat().st_size:
            return position
        return Position(numbers[0], 0)


def _split_lines(data: bytes, start: Position) -> list[Line]:
    lines = []
    offset = start.offset
    for text in data.splitlines(keepends=True):
        offset += len(text)
        lines.append(Line(text[:-1], Position(start.segment, offset)))
    return lines
