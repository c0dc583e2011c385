"""What the calls say, kept on the local disk until PostgreSQL has it: neither needs to be there when a call ends.

A line is written and synchronised in a thread, then applied through ``Recordings.record`` in the order of the lines;
with PostgreSQL up that is a matter of milliseconds. How far that has got is written down now and then: after a crash
some lines are applied again, which changes nothing.
"""

from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final, ParamSpec, TypeVar

import msgspec
import psycopg2
from twisted.application.internet import backoffPolicy
from twisted.internet.base import ReactorBase
from twisted.internet.defer import CancelledError, Deferred, TimeoutError  # noqa: A004
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.threadpool import ThreadPool

from voxrec.deferreds import shielded
from voxrec.errors import StoreUnavailable
from voxrec.journal.segments import Line, Segments
from voxrec.model import Job, Recording
from voxrec.postgres.pool import Pool
from voxrec.store.recordings import Recordings

P = ParamSpec("P")
T = TypeVar("T")

_CHUNK: Final = 65536  # bytes read at a time
_REMEMBERED: Final = 1000  # lines that wait in memory; where there are more, they are read from the disk again
_AT_ONCE: Final = 100  # lines that are one statement, at most
_SAVE: Final = 1.0  # seconds until the disk, too, knows how far PostgreSQL has got
_FLUSH: Final = 10.0  # seconds that stop() gives to each, the disk and PostgreSQL


class RecordingJournal:
    """One for each process, in a directory of its own. ``pending`` counts what PostgreSQL does not have yet.

    Where ``room`` says that this process has room for more jobs, the finish that a call's end owes is claimed in the
    same statement, for ``lease``, and handed to ``take`` together with what the call said last: nobody has to ask the
    queue and the table for what is at hand.
    """

    _log = Logger()

    def __init__(
        self,
        reactor: ReactorBase,
        directory: Path,
        recordings: Recordings,
        pool: Pool,
        *,
        available_slots: Callable[[], int] = lambda: 0,
        lease: timedelta = timedelta(minutes=10),
        on_claimed: Callable[[Job, Recording], object] = lambda _job, _recording: None,
    ) -> None:
        self._reactor = reactor
        self._segments = Segments(directory)
        self._threads = ThreadPool(0, 2, "journal")  # its own: the reactor's may be busy with audio for minutes
        self._recordings = recordings
        self._pool = pool
        self._available_slots = available_slots
        self._lease = lease
        self._on_claimed = on_claimed
        self._pause = backoffPolicy(initialDelay=0.1, maxDelay=5.0, factor=1.6, jitter=lambda: 0.0)
        self._queue: list[bytes] = []
        self._writer: Deferred[None] | None = None
        self._applier: Deferred[None] | None = None
        self._break: Deferred[None] | None = None  # the applier's, while PostgreSQL does not take a line
        self._behind = True  # the next line is to be read from the disk
        self._fresh: list[Line] = []  # where not: the lines that come next, straight from the writer
        self._more = False  # there may be lines that the applier has not seen
        self._save = False  # the disk is to know how far PostgreSQL has got
        self._save_timer: IDelayedCall | None = None
        self._open = False
        self._stopping = False
        self.pending = 0

    async def start(self) -> None:
        """Open the directory and begin with what an earlier run left. ConfigError where another voxrec has it."""
        self._threads.start()
        try:
            left = await self._defer_to_thread(self._segments.open)
        except BaseException:
            self._threads.stop()
            raise
        self._open = True
        self.pending += left
        if left:
            self._log.info("{left} lines of an earlier run are still to be applied", left=left)
        self._apply()
        self._write()

    async def stop(self) -> None:
        """Write down everything, and give PostgreSQL a moment to take it. The rest waits for the next start."""
        if self._writer is not None and not await self._within(_FLUSH, self._writer):
            self._log.critical("the journal could not be written: {count} lines are lost", count=len(self._queue))
        if self._applier is not None and self._pool.ready:
            await self._within(_FLUSH, self._applier)
        self._stopping = True
        if self._break is not None:
            self._break.cancel()
        if self._applier is not None:
            await self._within(_FLUSH, self._applier)
        if self._save_timer is not None:
            self._save_timer.cancel()
            self._save_timer = None
        if self._open:
            self._open = False
            await self._defer_to_thread(self._save_and_close)
            self._threads.stop()

    def append(self, recording: Recording) -> None:
        """Keep what a call says of its Recording. Returns at once."""
        self._queue.append(msgspec.json.encode(recording) + b"\n")
        self.pending += 1
        self._write()

    async def when_applied(self) -> None:
        """Wait until PostgreSQL has what was written so far."""
        if self._applier is not None:
            await shielded(self._applier)

    # To the disk.

    def _write(self) -> None:
        if self._open and self._writer is None and self._queue:
            self._writer = writer = Deferred.fromCoroutine(self._write_all())
            writer.addCallback(self._written)

    async def _write_all(self) -> None:
        failures = 0
        while self._queue:
            batch, self._queue = self._queue, []
            try:
                lines = await self._defer_to_thread(self._segments.append, b"".join(batch))
            except OSError as error:
                self._queue[:0] = batch
                failures += 1
                if failures == 1:
                    self._log.critical("the journal cannot be written: {error}; trying again", error=error)
                await deferLater(self._reactor, self._pause(failures))
            else:
                failures = 0
                self._remember(lines)
                self._apply()

    def _written(self, _: None) -> None:
        self._writer = None

    # To PostgreSQL.

    def _apply(self) -> None:
        self._more = True
        self._go_on()

    def _go_on(self) -> None:
        if self._applier is None:
            self._applier = applier = Deferred.fromCoroutine(self._apply_all())
            applier.addCallback(self._applied)  # not in the coroutine: PostgreSQL can have answered before it waits

    async def _apply_all(self) -> None:
        failures = 0
        while (self._more or self._save) and not self._stopping:
            try:
                if self._save:
                    self._save = False
                    await self._defer_to_thread(self._segments.save)
                self._more = False  # before the read: what is written meanwhile is more
                lines = await self._next_lines()
                self._more |= bool(lines)
                await self._apply_lines(lines)
            except OSError as error:
                self._more = self._behind = True
                failures += 1
                self._log.error("the files of the journal: {error}; trying again", error=error)
                await self._wait(failures)
            else:
                failures = 0

    def _applied(self, _: None) -> None:
        self._applier = None

    def _remember(self, lines: Sequence[Line]) -> None:
        """Spare the disk to read what was written just now, unless there is too much of it."""
        if not self._behind:
            self._fresh += lines
            self._behind = len(self._fresh) > _REMEMBERED

    async def _next_lines(self) -> list[Line]:
        fresh, self._fresh = self._fresh, []
        if not self._behind:
            return fresh
        self._behind = False  # before the read: where it finds nothing, what is written meanwhile comes next
        lines = await self._defer_to_thread(self._segments.read, _CHUNK)
        self._behind = bool(lines)
        return lines

    async def _apply_lines(self, lines: Sequence[Line]) -> None:
        for some in _at_once(lines):
            if self._stopping or not await self._apply_some(some):
                break
            self._segments.applied(some[-1].end)
            self.pending = max(0, self.pending - len(some))  # a line that a failing disk kept may come twice
            if self._save_timer is None:
                self._save_timer = self._reactor.callLater(_SAVE, self._save_soon)

    def _save_soon(self) -> None:
        self._save_timer = None
        self._save = True
        self._go_on()

    def _save_and_close(self) -> None:
        try:
            self._segments.save()
        except OSError as error:
            self._log.warn("the next start applies some lines of the journal again: {error}", error=error)
        finally:
            self._segments.close()

    async def _apply_some(self, some: Sequence[Line]) -> bool:
        """Whether they are done with: PostgreSQL has them, or never will. If not, the journal is stopping."""
        failures = 0
        while True:
            try:
                await self._record(some)
            except StoreUnavailable:
                failures += 1  # the pool has said it
            except psycopg2.Error as error:
                if isinstance(error, psycopg2.IntegrityError):
                    return await self._apply_each(some, error)
                if not failures:
                    self._log.error("PostgreSQL does not take what a call says: {error}; trying again", error=error)
                failures += 1  # no line is at fault: a missing table, a missing right
            except Exception as error:
                return await self._apply_each(some, error)
            else:
                return True
            if not await self._wait(failures):
                return False

    async def _apply_each(self, some: Sequence[Line], error: Exception) -> bool:
        """One of them can never be applied: the others are."""
        if len(some) == 1:
            return await self._reject(some[0], error)
        for one in some:
            if not await self._apply_some([one]):
                return False
        return True

    async def _record(self, some: Sequence[Line]) -> None:
        said = [msgspec.json.decode(line.text, type=Recording) for line in some]
        by_id = {recording.id: recording for recording in said}
        for job in await self._recordings.record(*said, claim_limit=self._available_slots(), lease=self._lease):
            self._on_claimed(job, by_id[job.recording_id])

    async def _reject(self, line: Line, error: Exception) -> bool:
        path = await self._defer_to_thread(self._segments.reject, line.text)
        self._log.error("a line that can never be applied was put into {path}: {error}", path=path, error=error)
        return True

    async def _wait(self, failures: int) -> bool:
        """Whether the pause passed and PostgreSQL answers. If not, the journal is stopping."""
        if self._stopping:
            return False
        self._break = Deferred.fromCoroutine(self._until_ready(failures))
        try:
            await self._break
        except (CancelledError, StoreUnavailable):
            return False
        finally:
            self._break = None
        return True

    async def _until_ready(self, failures: int) -> None:
        await deferLater(self._reactor, self._pause(failures))
        await self._pool.when_ready()

    # Waiting.

    async def _defer_to_thread(self, work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await deferToThreadPool(self._reactor, self._threads, work, *args, **kwargs)

    async def _within(self, seconds: float, task: Deferred[None]) -> bool:
        try:
            await shielded(task).addTimeout(seconds, self._reactor)
        except TimeoutError:
            return False
        return True


class _Named(msgspec.Struct):
    id: str = ""


def _at_once(lines: Sequence[Line]) -> Iterator[list[Line]]:
    """The lines in order, in parts with no two of one Recording: a statement cannot change a row twice."""
    part: list[Line] = []
    told: set[str] = set()
    for line in lines:
        recording_id = _recording_id(line)
        if recording_id in told or len(part) == _AT_ONCE:
            yield part
            part, told = [], set()
        part.append(line)
        told.add(recording_id)
    if part:
        yield part


def _recording_id(line: Line) -> str:
    try:
        return msgspec.json.decode(line.text, type=_Named).id
    except (msgspec.DecodeError, UnicodeDecodeError):
        return ""  # what is wrong with it is told where it is applied
