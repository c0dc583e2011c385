"""The handler of exports: reads the Recordings page by page, and writes their audio and lists into one file."""

import errno
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol, Self
from uuid import UUID

from twisted.internet.task import deferLater
from twisted.logger import Logger

from voxrec.audio.formats import FORMATS
from voxrec.clock import utc_now
from voxrec.cursor import Cursor
from voxrec.errors import DeliveryError, Unavailable, VoxrecError
from voxrec.exports.checkpoint import Progress
from voxrec.exports.files import ExportDirectory, ExportFile
from voxrec.exports.spreadsheet import recording_row
from voxrec.model import Export, Note, Recording
from voxrec.store.exports import ClaimedExport, ExportedFile
from voxrec.store.recording_filter import RecordingFilter
from voxrec.threads import DeferToThread

ERASED: Final = "erased"
DAMAGED: Final = "audio missing or damaged"
ERASED_LATER: Final = "erased after it was copied"
_PAGE: Final = 50  # Recordings between two reports of progress
_CHECKPOINT_BYTES: Final = 64_000_000  # of audio, which is written again after an interruption at most
_CHECKPOINT_SECONDS: Final = 10.0  # a checkpoint waits for the disk several times
_ID_BATCH: Final = 1000


class AudioStream(Protocol):
    """The audio of a Recording in blocks."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Return the blocks."""

    async def aclose(self) -> None:
        """Release what it is read from."""


OpenAudio = Callable[[Recording], Awaitable[AudioStream]]
"""Returns the audio of a Recording. Raises a VoxrecError if it is missing, Unavailable if it may come back."""


class Recordings(Protocol):
    """The repository of Recordings."""

    def scoped_to(self, profile_ids: frozenset[UUID] | None, /) -> Self:
        """Return a repository of the Recordings of these Profiles."""

    async def page(self, filters: RecordingFilter, limit: int, after: Cursor | None, /) -> list[Recording]:
        """Return the matching Recordings after a position, newest first."""

    def of_bulk_action(self, action_id: UUID, size: int, after: UUID | None, /) -> AsyncIterator[list[Recording]]:
        """Iterate over the Recordings of a bulk action, after one of them."""

    async def existing_ids(self, recording_ids: Collection[UUID], /) -> set[UUID]:
        """Return those of the ids whose Recordings exist."""


class Queue(Protocol):
    """The stored queue, see `voxrec.store.exports.ExportQueue`."""

    async def claim(
        self, kinds: Collection[str], lease: timedelta, limit: int, /
    ) -> tuple[list[ClaimedExport], datetime | None]:
        """Claim due exports, and return when another one is due."""

    async def extend_lease(self, job: ClaimedExport, lease: timedelta, /) -> bool:
        """Extend a claim."""

    async def report_progress(self, job: ClaimedExport, recordings: int, bytes_: int, missing: int, /) -> bool:
        """Store the progress. False: the export was deleted."""

    async def complete(self, job: ClaimedExport, file: ExportedFile, lifetime: timedelta, /) -> bool:
        """Store that the file is complete. False: the export was deleted."""

    async def retry(self, job: ClaimedExport, error: str, due_at: datetime, /) -> bool:
        """Let an export be repeated."""

    async def release(self, job: ClaimedExport, /) -> bool:
        """Let an export be continued at once. The attempt does not count."""

    async def dead_letter(self, job: ClaimedExport, error: str, /) -> bool:
        """Let an export fail."""


@dataclass(frozen=True, slots=True)
class ExportSettings:
    """``rate``: bytes of audio per second, 0: no limit. ``min_free``: bytes that the file system keeps free."""

    lifetime: timedelta = timedelta(days=7)
    rate: int = 0
    min_free: int = 0


class _Deleted(Exception):
    """The export was deleted, or another process works on it."""


class _Stopped(Exception):
    """The daemon stops."""


class Exporter:
    """The handler of exports, and the queue of the worker that calls it.

    The file is complete before its row says so. The attempt after an interruption continues where the last checkpoint
    was saved: after 10 s, or 64 MB of audio.
    """

    _log = Logger()

    def __init__(
        self,
        clock: Any,
        queue: Queue,
        recordings: Recordings,
        directory: ExportDirectory,
        open_audio: OpenAudio,
        represent: Callable[[Recording, Sequence[Note]], bytes],
        notes_of: Callable[[Collection[UUID]], Awaitable[Mapping[UUID, Sequence[Note]]]],
        settings: ExportSettings,
        defer_to_thread: DeferToThread,
        on_bytes: Callable[[int], None] = lambda _count: None,
    ) -> None:
        """``represent`` returns the JSON of a Recording, as the REST API has it, with its notes.

        ``notes_of`` returns the notes about several Recordings. ``on_bytes`` is called with the number of bytes of
        audio that were written.
        """
        self._clock = clock
        self._queue = queue
        self._recordings = recordings
        self._directory = directory
        self._open_audio = open_audio
        self._represent = represent
        self._notes_of = notes_of
        self._settings = settings
        self._defer_to_thread = defer_to_thread
        self._on_bytes = on_bytes
        self._files: dict[tuple[UUID, int], ExportedFile] = {}
        self._stopping = False
        self._interrupted: set[tuple[UUID, int]] = set()

    def stop(self) -> None:
        """End the exports that are being written; they are continued by this node, or by another one."""
        self._stopping = True

    async def export(self, job: ClaimedExport) -> None:
        """Write the file of an export.

        Raises DeliveryError: a permanent one if the disk is full, StoreUnavailable while PostgreSQL is not available.
        """
        try:
            self._files[job.export.id, job.claims] = await self._write(job)
        except _Stopped:
            self._interrupted.add((job.export.id, job.claims))
            raise DeliveryError("voxrec was stopped", permanent=False) from None
        except _Deleted:
            self._log.info("{job} was deleted; so is what was written of its file", job=job.label)
        except OSError as error:
            full = _is_full(error)
            detail = "the file system of the archive is full" if full else f"the file cannot be written: {error}"
            raise DeliveryError(detail, permanent=full) from error

    async def _write(self, job: ClaimedExport) -> ExportedFile:
        export = job.export
        file: ExportFile = await self._defer_to_thread(ExportFile, self._directory, export, job.claims)
        try:
            return await self._write_file(job, file)
        except BaseException as error:
            final = isinstance(error, _Deleted) or getattr(error, "permanent", False) or _is_full(error)
            await self._defer_to_thread(file.abandon if final else file.suspend)
            raise

    async def _write_file(self, job: ClaimedExport, file: ExportFile) -> ExportedFile:
        export = job.export
        progress = Progress() if file.checkpoint is None else copy(file.checkpoint.progress)
        pace = _Pace(self._clock.seconds(), progress.bytes, self._clock.seconds(), progress.bytes)
        await self._report(job, progress)
        recordings = self._recordings.scoped_to(None if export.profile_ids is None else frozenset(export.profile_ids))
        async for page in _pages(recordings, export, progress.after):
            notes = await self._notes_of([recording.id for recording in page])
            for recording in page:
                await self._add(file, export, recording, notes.get(recording.id, []), progress, pace)
                progress.after = Cursor.after(recording)
                if pace.is_checkpoint_due(self._clock.seconds(), progress.bytes):
                    await self._save(file, progress, pace)
            await self._report(job, progress)
        await self._save(file, progress, pace)
        await self._name_erased(file, progress)
        await self._report(job, progress)
        await self._defer_to_thread(file.end, self._manifest(export, progress), self._now())
        while await self._defer_to_thread(file.hash_next):
            self._require_running()
        size, sha256 = await self._defer_to_thread(file.publish)
        return ExportedFile(progress.recordings, progress.bytes, progress.missing, size, sha256)

    async def _save(self, file: ExportFile, progress: Progress, pace: "_Pace") -> None:
        await self._defer_to_thread(file.save, progress)
        pace.saved_at, pace.saved_bytes = self._clock.seconds(), progress.bytes

    def _require_running(self) -> None:
        """Raise _Stopped if the daemon stops."""
        if self._stopping:
            raise _Stopped

    async def _add(
        self,
        file: ExportFile,
        export: Export,
        recording: Recording,
        notes: Sequence[Note],
        progress: Progress,
        pace: "_Pace",
    ) -> None:
        self._require_running()
        name = None
        if export.audio and recording.path is not None:
            name = _member_name(recording)
            problem = await self._add_audio(file, recording, name, progress, pace)
            if problem is not None:
                progress.missing += 1
                await self._defer_to_thread(file.add_missing, recording.id, problem)
                if problem == ERASED:  # nothing of it may remain
                    return
                name = None
        row = recording_row(recording, name, notes)
        await self._defer_to_thread(file.add_recording, recording.id, self._represent(recording, notes), row)
        progress.recordings += 1

    async def _add_audio(
        self, file: ExportFile, recording: Recording, name: str, progress: Progress, pace: "_Pace"
    ) -> str | None:
        """Add the audio of a Recording, and return why it is missing, or None."""
        size = recording.size or 0
        await self._require_space(size)
        try:
            stream = await self._open_audio(recording)
        except Unavailable:
            raise
        except VoxrecError:
            return DAMAGED if await self._recordings.existing_ids([recording.id]) else ERASED
        try:
            await self._defer_to_thread(file.begin_audio, name, size, recording.started_at or recording.created_at)
            written = 0
            try:
                async for block in stream:
                    await self._defer_to_thread(file.write, block)
                    written += len(block)
                    progress.bytes += len(block)
                    self._on_bytes(len(block))
                    self._require_running()
                    await self._limit_rate(progress.bytes, pace)
            except Unavailable:
                raise
            except VoxrecError:  # it became shorter
                await self._defer_to_thread(file.end_audio, size - written)
                return DAMAGED
            await self._defer_to_thread(file.end_audio, size - written)
        finally:
            await stream.aclose()
        return None

    async def _limit_rate(self, written: int, pace: "_Pace") -> None:
        if self._settings.rate:
            ahead = pace.started + (written - pace.begun_at) / self._settings.rate - self._clock.seconds()
            if ahead > 0:
                await deferLater(self._clock, ahead)

    async def _require_space(self, size: int) -> None:
        """Raise DeliveryError if ``size`` bytes more would leave less space than calls and finished Recordings need."""
        free: int = await self._defer_to_thread(self._directory.free_bytes)
        if free - size < self._settings.min_free:
            raise DeliveryError(
                f"the file system of the archive has {free} bytes free; exports leave {self._settings.min_free} "
                "(exports.min_free)",
                permanent=True,
            )

    async def _report(self, job: ClaimedExport, progress: Progress) -> None:
        """Store the progress. Raises _Deleted."""
        if not await self._queue.report_progress(job, progress.recordings, progress.bytes, progress.missing):
            raise _Deleted

    async def _name_erased(self, file: ExportFile, progress: Progress) -> None:
        """Name in the manifest what was erased since it was copied, so that the receiver can delete it."""
        start = 0
        while ids := await self._defer_to_thread(file.recording_ids, start, _ID_BATCH):
            start += len(ids)
            existing = await self._recordings.existing_ids(ids)
            for recording_id in ids:
                if recording_id not in existing:
                    progress.missing += 1
                    await self._defer_to_thread(file.add_missing, recording_id, ERASED_LATER)

    def _manifest(self, export: Export, progress: Progress) -> dict[str, Any]:
        return {
            "id": str(export.id),
            "createdAt": self._now().isoformat(),
            "description": export.description,
            "recordings": progress.recordings,
            "audioBytes": progress.bytes,
        }

    def _now(self) -> datetime:
        return utc_now(self._clock)

    # The queue of the worker

    async def claim(
        self, kinds: Collection[str], lease: timedelta, limit: int
    ) -> tuple[list[ClaimedExport], datetime | None]:
        """See `voxrec.jobs.worker.Jobs`."""
        return await self._queue.claim(kinds, lease, limit)

    async def extend_lease(self, job: ClaimedExport, lease: timedelta) -> bool:
        """See `voxrec.jobs.worker.Jobs`."""
        return await self._queue.extend_lease(job, lease)

    async def mark_done(self, job: ClaimedExport) -> bool:
        """Store that the file is complete. If the export was deleted, the hourly clean-up deletes the file."""
        file = self._files.get((job.export.id, job.claims))
        if file is None:  # deleted
            return True
        await self._queue.complete(job, file, self._settings.lifetime)
        del self._files[job.export.id, job.claims]
        return True

    async def retry(self, job: ClaimedExport, error: str, due_at: datetime) -> bool:
        """See `voxrec.jobs.worker.Jobs`. What the stop of the daemon has interrupted is due at once."""
        return await self._release_interrupted(job) or await self._queue.retry(job, error, due_at)

    async def dead_letter(self, job: ClaimedExport, error: str) -> bool:
        """See `voxrec.jobs.worker.Jobs`."""
        return await self._release_interrupted(job) or await self._queue.dead_letter(job, error)

    async def _release_interrupted(self, job: ClaimedExport) -> bool:
        key = (job.export.id, job.claims)
        if key not in self._interrupted:
            return False
        await self._queue.release(job)
        self._interrupted.discard(key)
        return True


@dataclass(slots=True)
class _Pace:
    """When an attempt began and saved its last checkpoint, and the numbers of bytes at these times."""

    started: float
    begun_at: int
    saved_at: float
    saved_bytes: int

    def is_checkpoint_due(self, now: float, written: int) -> bool:
        """Return whether so much was done since the last checkpoint that another one is saved."""
        return now - self.saved_at >= _CHECKPOINT_SECONDS or written - self.saved_bytes >= _CHECKPOINT_BYTES


def _is_full(error: BaseException) -> bool:
    return isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)


async def _pages(recordings: Recordings, export: Export, after: Cursor | None) -> AsyncIterator[list[Recording]]:
    """Yield the Recordings of an export after a position. Those that were created after it do not belong to it."""
    if export.bulk_action_id is not None:
        last = None if after is None else after.id
        async for page in recordings.of_bulk_action(export.bulk_action_id, _PAGE, last):
            yield page
        return
    filters = RecordingFilter.of_query(export.query, export.created_at)
    while page := await recordings.page(filters, _PAGE, after):
        yield page
        after = Cursor.after(page[-1])


def _member_name(recording: Recording) -> str:
    """Return the name of the audio: by the UTC day of the call; valid on every file system."""
    audio_format = FORMATS.get(recording.format)
    suffix = "audio" if audio_format is None else audio_format.suffix
    day = (recording.started_at or recording.created_at).astimezone(UTC)
    return f"audio/{day:%Y-%m-%d}/{recording.id}.{suffix}"
