"""A process that writes pending exports and kills itself at a step, for tests of voxrec.exports.exporter."""

import sys
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

from twisted.internet.threads import deferToThread

from tests.crashing_process import CrashPoint, run_worker
from tests.database import reactor
from tests.recordings.crashing_daemon import after, before
from voxrec.api.audio.audio_files import FileSection, open_audio
from voxrec.api.recordings.recording_representation import recording_with_notes
from voxrec.archive.local import LocalArchive
from voxrec.deferreds import Backoff
from voxrec.exports.exporter import AudioStream, Exporter, ExportSettings
from voxrec.exports.files import ExportDirectory, ExportFile
from voxrec.jobs.worker import Worker
from voxrec.model import Recording
from voxrec.postgres.pool import Pool
from voxrec.store.exports import KIND, ClaimedExport, ExportQueue, Exports
from voxrec.store.notes import Notes
from voxrec.store.recordings import Recordings

SHORT_LEASE: Final = timedelta(seconds=2)
"""The lease of the process that dies: the test waits until it expires."""
LONG_LEASE: Final = timedelta(minutes=1)
CRASH_POINTS: Final[dict[str, CrashPoint]] = {
    "audio begun": (ExportFile, "begin_audio", after),
    "checkpoint saved": (ExportFile, "save", after),
    "lists written": (ExportFile, "end", after),
    "file complete": (ExportFile, "publish", before),
    "file published": (ExportFile, "publish", after),
    "row stored": (ExportQueue, "complete", after),
}


async def _open_stream(archive: LocalArchive, recording: Recording) -> AudioStream:
    descriptor = await deferToThread(open_audio, archive, recording, recording.path or "")
    return FileSection(descriptor, 0, recording.size or 0, deferToThread)


def make_worker(pool: Pool, archive: Path, lease: timedelta) -> Worker[ClaimedExport]:
    """Return a worker that writes to ``.exports`` in an archive."""
    exporter = Exporter(
        reactor,
        ExportQueue(pool, Exports(pool, "https://rec.example"), "here"),
        Recordings(pool),
        ExportDirectory(archive / ".exports"),
        partial(_open_stream, LocalArchive(archive)),
        recording_with_notes("https://rec.example"),
        Notes(pool).of_recordings,
        ExportSettings(),
        deferToThread,
    )
    backoff = Backoff(first=0.1, limit=0.5)
    return Worker(
        reactor, exporter, {KIND: exporter.export}, concurrency=1, lease=lease, backoff=backoff, max_attempts=10
    )


def main(step: str, dsn: str, archive: str) -> None:
    """Write exports until the process kills itself."""
    run_worker(CRASH_POINTS[step], dsn, lambda pool: make_worker(pool, Path(archive), SHORT_LEASE))


if __name__ == "__main__":
    main(*sys.argv[1:])
