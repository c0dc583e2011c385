"""Bulk exports: the directory of their files, the worker that writes them, and their deletion."""

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from typing import Final

from twisted.internet.defer import Deferred

from voxrec.api.audio.audio_files import AudioDamaged, FileSection, open_audio
from voxrec.api.recordings.recording_representation import recording_with_notes
from voxrec.archive.interface import Archive
from voxrec.composition.database import Database
from voxrec.composition.environment import Environment
from voxrec.composition.recordings import RecordingFiles
from voxrec.deferreds import Backoff
from voxrec.errors import NotFound
from voxrec.exports.exporter import AudioStream, Exporter, ExportSettings
from voxrec.exports.files import ExportDirectory
from voxrec.jobs.worker import Worker
from voxrec.model import Recording
from voxrec.service_tree import OnDemandService
from voxrec.store.exports import KIND, ClaimedExport, ExportQueue, Exports
from voxrec.store.recordings import Recordings
from voxrec.threads import DeferToThread, WorkerThreads

DIRECTORY: Final = ".exports"
"""The directory in the archive; with a dot, as that of files in progress."""
_LEASE: Final = timedelta(minutes=2)  # after a crash, an export is continued when it has passed
_ATTEMPTS: Final = 10
_LISTED: Final = timedelta(days=30)  # after its end


@dataclass(frozen=True)
class ExportServices:
    """``worker_service`` starts once PostgreSQL is available; ``threads`` write the files."""

    directory: ExportDirectory
    worker: Worker[ClaimedExport]
    worker_service: OnDemandService
    threads: WorkerThreads

    def database_recovered(self) -> None:
        """Begin with what is due: PostgreSQL is available (again)."""
        self.worker_service.ensure_started()
        self.worker.wake()


class _ExportWorker(Worker[ClaimedExport]):
    """A worker that does not wait for its exports when it stops: they are continued later."""

    exporter: Exporter

    def stopService(self) -> Deferred[None]:
        """End the exports that are being written, and stop."""
        self.exporter.stop()
        return super().stopService()


class ExportCleanUp:
    """Deletes the files of exports that have expired, failed or were deleted, also by other nodes."""

    def __init__(self, exports: Exports, directory: ExportDirectory, defer_to_thread: DeferToThread) -> None:
        self._exports = exports
        self._directory = directory
        self._defer_to_thread = defer_to_thread

    async def clean_up(self) -> None:
        """Delete what is not needed any more. Raises StoreUnavailable, and OSError."""
        await self._exports.expire(_LISTED)
        ids = await self._defer_to_thread(self._directory.list_ids)
        for export_id in await self._exports.without_files(ids):
            await self._defer_to_thread(self._directory.delete, export_id)
        for export_id in ids - await self._exports.unfinished(ids):  # another node has completed it
            await self._defer_to_thread(self._directory.delete_incomplete, export_id)


def build_exports(env: Environment, database: Database, files: RecordingFiles) -> ExportServices:
    """Build the worker and the exporter."""
    settings = env.config.exports
    threads = WorkerThreads(env.reactor, "exports", 1)
    directory = ExportDirectory(env.config.archive_directory / DIRECTORY)

    exporter = Exporter(
        env.reactor,
        ExportQueue(database.pool, database.exports, env.config.node_name, shared=env.config.archive.shared),
        database.recordings,
        directory,
        partial(_open_stream, database.recordings, files.archive, threads.defer),
        recording_with_notes(env.config.rest.public_url.rstrip("/")),
        database.notes.of_recordings,
        ExportSettings(timedelta(days=settings.days), settings.rate, settings.min_free),
        threads.defer,
        env.metrics.jobs.count_exported_bytes,
    )
    worker = _ExportWorker(
        env.reactor,
        exporter,
        {KIND: exporter.export},
        concurrency=1,
        lease=_LEASE,
        backoff=Backoff(first=env.config.queue.retry_first, limit=env.config.queue.retry_limit),
        max_attempts=_ATTEMPTS,
        on_attempt_ended=lambda _kind, outcome: env.metrics.jobs.count_export(outcome),
    )
    worker.exporter = exporter
    return ExportServices(directory, worker, OnDemandService("export worker", worker), threads)


async def _open_stream(
    recordings: Recordings, archive: Archive, defer_to_thread: DeferToThread, recording: Recording
) -> AudioStream:
    """Return the audio of a Recording. Raises NotFound, AudioDamaged, and ArchiveUnavailable."""
    size = recording.size or 0
    if (remote := await archive.remote_audio(recording)) is not None:
        return await remote.open(0, size)
    if recording.path is None:
        raise NotFound(f"Recording {recording.id} has no audio.")
    try:
        descriptor: int = await defer_to_thread(open_audio, archive, recording, recording.path)
    except AudioDamaged:  # or it was uploaded, and removed here, since the row was read
        remote = await archive.remote_audio(await recordings.get(recording.id))
        if remote is None:
            raise
        return await remote.open(0, size)
    return FileSection(descriptor, 0, size, defer_to_thread)
