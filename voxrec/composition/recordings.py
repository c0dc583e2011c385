"""Recordings after the call: the archive, finishing, erasing and retention."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from voxrec.archive.local import LocalArchive
from voxrec.composition.database import Database
from voxrec.composition.environment import Environment
from voxrec.composition.s3 import S3Services, build_s3
from voxrec.recordings.erase import Eraser
from voxrec.recordings.finish import Finisher
from voxrec.recordings.results import FinishedResults
from voxrec.recordings.retention import RetentionSweeper
from voxrec.store.batched_finishing import BatchedResults
from voxrec.threads import limit_concurrency


@dataclass(frozen=True)
class RecordingFiles:
    """The archive, and the job handlers and services that work on the files of Recordings.

    ``work_directory`` contains files in progress; it is on the file system of the archive, so that archiving a file is
    a rename. ``spool`` is the directory to which Asterisk records.
    """

    archive: LocalArchive
    s3: S3Services | None
    work_directory: Path
    spool: Path
    finisher: Finisher
    eraser: Eraser
    retention: RetentionSweeper


def build_recording_files(env: Environment, database: Database) -> RecordingFiles:
    """Build the archive and what works on it."""
    work_directory = env.config.archive_directory / ".work"
    s3 = build_s3(env, database, work_directory) if env.config.s3.bucket else None
    archive = LocalArchive(env.config.archive_directory, env.defer_to_thread) if s3 is None else s3.archive
    spool = Path(env.config.asterisk.recordings)
    defer_to_thread = limit_concurrency(env.defer_to_thread, env.config.queue.concurrency)
    return RecordingFiles(
        archive=archive,
        s3=s3,
        work_directory=work_directory,
        spool=spool,
        finisher=Finisher(
            env.reactor,
            BatchedResults(env.reactor, database.recordings),
            archive,
            spool,
            work_directory,
            defer_to_thread,
            node=env.config.node_name,
            has_peers=partial(database.nodes.has_peers, env.config.node_name),
            results=FinishedResults(
                Path(env.config.data_directory, "finished"),
                # the claim of a finish job that was done may be the last that a standby has of it
                database.replay + env.config.queue.lease if database.replay else 0.0,
            ),
            uploads=s3 is not None and env.config.s3.uploads,
        ),
        eraser=Eraser(
            database.recordings,
            archive,
            spool,
            work_directory,
            env.defer_to_thread,
            delete_object=None if s3 is None else s3.delete_object,
        ),
        retention=RetentionSweeper(env.reactor, database.recordings),
    )
