"""Write-ahead journal of Recording snapshots, so that a call depends neither on PostgreSQL nor on the network.

A snapshot is appended to a segment file and synced in a thread, then applied to PostgreSQL in the same order: at once,
or with those of the 0.1 s after the last statement. The applied position is saved about once a second: after a crash
some snapshots are applied a second time, which has no effect.

Snapshots contain numbers and names. Each is deleted from the disk within a few seconds after it was applied: while
snapshots are written, a new segment is started every 10 s, and segments that are applied completely are deleted.

With asynchronous replication, a standby that is promoted lacks what the primary committed last. With ``retention``,
snapshots are therefore kept for that time after they were applied, and `RecordingJournal.replay` applies them again.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Final, ParamSpec, TypeVar
from uuid import UUID

import msgspec
import psycopg2
from twisted.application.service import Service
from twisted.internet.base import ReactorBase
from twisted.internet.defer import CancelledError, Deferred, TimeoutError  # noqa: A004
from twisted.internet.interfaces import IDelayedCall
from twisted.internet.task import LoopingCall, deferLater
from twisted.internet.threads import deferToThreadPool
from twisted.logger import Logger
from twisted.python.failure import Failure
from twisted.python.threadpool import ThreadPool

from voxrec.deferreds import Backoff, MinimumInterval, SingleFlight
from voxrec.errors import StoreUnavailable
from voxrec.journal.batches import batches
from voxrec.journal.rejected import RejectedLines
from voxrec.journal.segments import Line, Segments
from voxrec.journal.snapshots import SnapshotStore, decode_snapshot, latest_snapshots
from voxrec.model import Job, Recording
from voxrec.postgres.errors import describe_error
from voxrec.postgres.pool import Pool

P = ParamSpec("P")
T = TypeVar("T")

_READ_SIZE: Final = 65536  # bytes read from a segment at a time
_MEMORY_LIMIT: Final = 1000  # lines kept in memory until they are applied; beyond, they are read from the disk
_ROTATION_DELAY: Final = 10.0  # seconds after writing the first line of a segment until another segment is started
_EXPIRY_INTERVAL: Final = 30.0  # seconds between two deletions of segments that were kept
_APPLY_INTERVAL: Final = 0.1  # seconds between two statements, unless PostgreSQL is behind
_SAVE_DELAY: Final = 1.0  # seconds after applying a line until the position is saved
_FLUSH_TIMEOUT: Final = 10.0  # seconds that stopService waits for the disk, and for PostgreSQL
_RETRY_BACKOFF: Final = Backoff(first=0.16, limit=5.0, factor=1.6, jitter=0.0)


class RecordingJournal(Service):
    """The journal of this process, in a directory of its own.

    While ``available_slots`` returns a positive number, the FINISH job of a call that has ended is claimed for
    ``lease`` in the statement that stores its last snapshot. ``on_claimed`` receives the job and that snapshot, which
    saves the job worker from querying both. ``pending`` is the number of snapshots that PostgreSQL has not stored.
    ``node`` is the name of this node, which has recorded the calls. ``retention``: seconds for which snapshots are kept
    after they were applied.
    """

    name = "journal"
    _log = Logger()

    def __init__(
        self,
        reactor: ReactorBase,
        directory: Path,
        recordings: SnapshotStore,
        pool: Pool,
        *,
        available_slots: Callable[[], int] = lambda: 0,
        lease: timedelta = timedelta(minutes=10),
        on_claimed: Callable[[Job, Recording], object] = lambda _job, _recording: None,
        node: str | None = None,
        retention: float = 0.0,
    ) -> None:
        self._reactor = reactor
        self._segments = Segments(directory, retention)
        self._retention = retention
        self._expiry = LoopingCall(self._expire)
        self._expiry.clock = reactor
        self._replay_due = False
        self.rejected_lines = RejectedLines(directory / "rejected")
        """The snapshots that PostgreSQL refused for good."""
        # A thread pool of its own: audio can keep the reactor's threads busy for minutes.
        self._threads = ThreadPool(0, 2, "journal")
        self._recordings = recordings
        self._pool = pool
        self._available_slots = available_slots
        self._lease = lease
        self._on_claimed = on_claimed
        self._node = node
        self._queue: list[bytes] = []  # lines that are not on the disk
        self._writer = SingleFlight(self._write_queue, self._writer_failed)
        self._applier = SingleFlight(self._apply_lines, self._applier_failed)
        self._interval = MinimumInterval(reactor, _APPLY_INTERVAL)
        self._retry_delay: Deferred[None] | None = None  # of the applier, until it tries again
        self._read_from_disk = True  # the next lines to apply must be read from the disk
        self._next_lines: list[Line] = []  # otherwise: the next lines to apply, as the writer wrote them
        self._save_due = False
        self._save_timer: IDelayedCall | None = None
        self._rotation_due = False
        self._rotation_timer: IDelayedCall | None = None
        self._is_open = False
        self._stopping = False
        self.pending = 0

    def startService(self) -> Deferred[None]:
        """Open the directory, and start with the snapshots that an earlier run left.

        Fails with ConfigError if another process uses the directory.
        """
        super().startService()
        return Deferred.fromCoroutine(self._start())

    def stopService(self) -> Deferred[None]:
        """Write everything to the disk and wait a few seconds for PostgreSQL; the next start applies the rest."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _start(self) -> None:
        self._threads.start()
        try:
            remaining = await self._defer_to_thread(self._segments.open)
            await self._defer_to_thread(self.rejected_lines.import_former_file)
        except BaseException:
            self._threads.stop()
            raise
        self._is_open = True
        self.pending += remaining
        if remaining:
            self._log.info("applying {count} lines of the journal that an earlier run left", count=remaining)
        self._applier.request()
        self._writer.request()
        if self._retention:
            self._expiry.start(_EXPIRY_INTERVAL, now=False)

    async def _stop(self) -> None:
        if not await self._finishes(self._writer):
            self._log.critical("the journal could not be written: {count} lines are lost", count=len(self._queue))
        if self._pool.ready:
            await self._finishes(self._applier)
        self._stopping = True
        if self._expiry.running:
            self._expiry.stop()
        if self._retry_delay is not None:
            self._retry_delay.cancel()
        await self._finishes(self._applier)
        for timer in (self._save_timer, self._rotation_timer):
            if timer is not None:
                timer.cancel()
        self._save_timer = self._rotation_timer = None
        if self._is_open:
            self._is_open = False
            await self._defer_to_thread(self._save_and_close)
            self._threads.stop()

    def append(self, recording: Recording) -> None:
        """Append a snapshot of a call's Recording. Return at once; the disk is written in the background."""
        self._queue.append(msgspec.json.encode(recording) + b"\n")
        self.pending += 1
        if self._is_open:
            self._writer.request()

    async def when_applied(self) -> None:
        """Wait until PostgreSQL has stored the snapshots that are on the disk now."""
        await self._applier.wait()

    async def latest(self, recording_ids: Collection[UUID]) -> Mapping[UUID, Recording]:
        """Return the last snapshot of each of these Recordings that is on the disk, applied or not.

        It is for the time in which PostgreSQL, which has them all, is not available. Raises OSError.
        """
        if not self._is_open:
            return {}
        return await self._defer_to_thread(latest_snapshots, self._segments.lines(), recording_ids, self._node)

    async def replay(self) -> None:
        """Apply all snapshots again that are kept, and wait until that is done or the journal stops.

        Those that PostgreSQL has are ignored. Call it when a standby has been promoted.
        """
        if self._is_open:
            self._replay_due = True
            self._applier.request()
            await self._applier.wait()

    # Writing to the disk

    async def _write_queue(self) -> None:
        failures = 0
        if self._rotation_due:
            self._rotation_due = False
            await self._rotate()
        while self._queue:
            batch, self._queue = self._queue, []
            try:
                lines = await self._defer_to_thread(self._segments.append, b"".join(batch))
            except OSError as error:
                # Not deferreds.retry: the next attempt also writes the lines that were added meanwhile.
                self._queue[:0] = batch
                failures += 1
                if failures == 1:
                    self._log.critical("the journal cannot be written, retrying: {error}", error=error)
                await deferLater(self._reactor, _RETRY_BACKOFF.delay(failures))
            else:
                failures = 0
                self._hold_in_memory(lines)
                self._applier.request()
                self._schedule_rotation()

    def _schedule_rotation(self) -> None:
        if self._rotation_timer is None and not self._stopping:
            self._rotation_timer = self._reactor.callLater(_ROTATION_DELAY, self._rotate_later)

    def _rotate_later(self) -> None:
        self._rotation_timer = None
        if self.pending > _MEMORY_LIMIT:  # PostgreSQL is behind: many small segments would only slow down reading them
            self._schedule_rotation()
            return
        self._rotation_due = True
        self._writer.request()

    async def _rotate(self) -> None:
        """Start a new segment, and let the applier go on to it, which deletes those before it."""
        try:
            await self._defer_to_thread(self._segments.rotate)
        except OSError as error:
            self._log.error("a new segment of the journal cannot be started, retrying: {error}", error=error)
            self._schedule_rotation()
        self._read_from_disk = True
        self._applier.request()

    def _writer_failed(self, failure: Failure) -> None:
        self._log.failure("writing the journal failed", failure)

    # Applying to PostgreSQL

    async def _apply_lines(self) -> None:
        """Apply lines until none is left, and save the position when that is due."""
        failures = 0
        while not self._stopping:
            try:
                if self._replay_due:
                    self._replay_due = False
                    await self._rewind()
                if self._save_due:
                    self._save_due = False
                    await self._defer_to_thread(self._segments.save_position)
                if self._next_lines and not self._read_from_disk:
                    await self._interval.wait()  # snapshots of several calls are one statement
                if not (lines := await self._take_next_lines()):
                    return
                await self._apply(lines)
                failures = 0
            except OSError as error:
                self._read_from_disk = True
                if (failures := failures + 1) == 1:
                    self._log.error("reading the journal failed, retrying: {error}", error=error)
                await self._wait_to_retry(failures)

    def _applier_failed(self, failure: Failure) -> None:
        self._log.failure("applying the journal failed", failure)

    def _hold_in_memory(self, lines: Sequence[Line]) -> None:
        """Save the disk from reading the lines just written, unless there are too many of them."""
        if not self._read_from_disk:
            self._next_lines += lines
            self._read_from_disk = len(self._next_lines) > _MEMORY_LIMIT

    async def _take_next_lines(self) -> list[Line]:
        lines, self._next_lines = self._next_lines, []
        if not self._read_from_disk:
            return lines
        self._read_from_disk = False  # before reading: if nothing is found, lines written meanwhile are the next
        lines = await self._defer_to_thread(self._segments.read, _READ_SIZE)
        self._read_from_disk = bool(lines)
        return lines

    async def _apply(self, lines: Sequence[Line]) -> None:
        for batch in batches(lines):
            if self._stopping or not await self._apply_batch(batch):
                break
            self._segments.mark_applied(batch[-1].end)
            # a failing disk may have made the writer write a line twice
            self.pending = max(0, self.pending - len(batch))
            if self._save_timer is None:
                self._save_timer = self._reactor.callLater(_SAVE_DELAY, self._save_later)

    async def _rewind(self) -> None:
        self._read_from_disk = True
        self._next_lines = []
        lines = await self._defer_to_thread(self._segments.rewind)
        self.pending += lines
        self._log.info("applying {count} lines of the journal again, because PostgreSQL has failed over", count=lines)

    def _expire(self) -> None:
        self._save_due = True
        self._applier.request()

    def _save_later(self) -> None:
        self._save_timer = None
        self._expire()

    def _save_and_close(self) -> None:
        try:
            self._segments.save_position()
            self._segments.delete_applied()
        except OSError as error:
            self._log.warn(
                "the position in the journal could not be saved; the next start applies some lines again: {error}",
                error=error,
            )
        finally:
            self._segments.close()

    async def _apply_batch(self, batch: Sequence[Line]) -> bool:
        """Store lines or reject them, and return True; return False if the journal is stopping.

        Not deferreds.retry: each kind of error has its own consequence.
        """
        failures = 0
        while True:
            try:
                await self._record(batch)
            except StoreUnavailable:
                failures += 1  # the pool logs it
            except psycopg2.Error as error:
                if isinstance(error, psycopg2.IntegrityError):
                    return await self._apply_one_by_one(batch, error)
                if not failures:
                    self._log.error(
                        "PostgreSQL rejects snapshots of recordings, retrying: {error}", error=describe_error(error)
                    )
                failures += 1  # not the fault of a line: a table or a privilege is missing
            except Exception as error:
                return await self._apply_one_by_one(batch, error)
            else:
                return True
            if not await self._wait_to_retry(failures):
                return False

    async def _apply_one_by_one(self, batch: Sequence[Line], error: Exception) -> bool:
        """Find the line that caused an error and reject it; store the others."""
        if len(batch) == 1:
            return await self._reject(batch[0], error)
        for line in batch:
            if not await self._apply_batch([line]):
                return False
        return True

    async def _record(self, batch: Sequence[Line]) -> None:
        decoded = [decode_snapshot(line.text, self._node) for line in batch]
        snapshots = await self._recordings.with_earlier_timelines(decoded)
        by_id = {snapshot.id: snapshot for snapshot in snapshots}
        for job in await self._recordings.record(*snapshots, claim_limit=self._available_slots(), lease=self._lease):
            self._on_claimed(job, by_id[job.recording_id])

    async def _reject(self, line: Line, error: Exception) -> bool:
        path = await self._defer_to_thread(self.rejected_lines.add, line.text)
        self._log.error(
            "a line of the journal can never be applied; moved it to {path}: {error}",
            path=path,
            error=describe_error(error),
        )
        return True

    async def _wait_to_retry(self, failures: int) -> bool:
        """Wait until it is time to retry and PostgreSQL is available; return False if the journal is stopping."""
        if self._stopping:
            return False
        self._retry_delay = Deferred.fromCoroutine(self._delay(failures))
        try:
            await self._retry_delay
        except (CancelledError, StoreUnavailable):
            return False
        finally:
            self._retry_delay = None
        return True

    async def _delay(self, failures: int) -> None:
        await deferLater(self._reactor, _RETRY_BACKOFF.delay(failures))
        await self._pool.when_ready()

    async def _defer_to_thread(self, function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return await deferToThreadPool(self._reactor, self._threads, function, *args, **kwargs)

    async def _finishes(self, task: SingleFlight) -> bool:
        """Wait for a task in progress; return whether it ended in time."""
        if not task.running:
            return True
        try:
            await Deferred.fromCoroutine(task.wait()).addTimeout(_FLUSH_TIMEOUT, self._reactor)
        except TimeoutError:
            return False
        return True
