"""Does the work of a node that does not return, with its disk attached to another machine."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import UTC, timedelta
from pathlib import Path
from typing import Any, Final, ParamSpec, TypeVar
from uuid import UUID

import msgspec
from twisted.internet.defer import Deferred, execute
from twisted.internet.interfaces import IReactorTime

from voxrec.archive.interface import Archive
from voxrec.clock import utc_now
from voxrec.errors import Conflict, Unavailable, VoxrecError
from voxrec.journal.segments import Segments
from voxrec.model import Job, JobKind, Recording
from voxrec.postgres.blocking_database import BlockingDatabase, run_to_completion
from voxrec.recordings.erase import Eraser
from voxrec.recordings.finish import Finisher
from voxrec.recordings.orphans import LEG_NAME
from voxrec.store.jobs import Jobs
from voxrec.store.node_failures import NodeFailures
from voxrec.store.recordings import Recordings

P = ParamSpec("P")
T = TypeVar("T")

_READ_SIZE: Final = 65536  # bytes of the journal at a time
_LEASE: Final = timedelta(hours=1)
_KINDS: Final = (JobKind.FINISH, JobKind.ERASE_LEGS)

OpenDatabase = Callable[[], AbstractContextManager[BlockingDatabase]]
"""Opens a transaction that is committed at the end of the block."""


@dataclass
class Adoption:
    """Adopts a node with its former recording directory ``spool`` and its ``journal``. Blocks.

    Nothing is deleted before what replaces it is stored, so an interrupted adoption can be repeated.
    """

    clock: IReactorTime
    node: str
    spool: Path
    journal: Path
    archive: Archive
    work_directory: Path
    database: OpenDatabase
    report: Callable[[str], None] = lambda _line: None
    uploads: bool = False
    """Whether the daemons are to upload what is finished to S3."""
    failed: list[str] = field(default_factory=list)
    """The jobs that failed, with the reason."""

    def run(self, spool_id: Callable[[Path], UUID | None]) -> int:
        """Adopt the node, and return the number of jobs done.

        ``spool_id`` returns the id in a recording directory, None if it has none. Raises NotFound, Conflict if the node
        is running or the directory is not that of the node, ConfigError if its journal is in use, and OSError.
        """
        self._require_disk(spool_id)
        self._apply_journal()
        with self.database() as database:
            run_to_completion(NodeFailures(database).begin_adoption(self.node, self._recordings_with_files()))
        done = 0
        while self._run_next_job():
            done += 1
        with self.database() as database:
            run_to_completion(NodeFailures(database).end_adoption(self.node))
        return done - len(self.failed)

    def _require_disk(self, spool_id: Callable[[Path], UUID | None]) -> None:
        if not self.spool.is_dir():
            raise Conflict(f"{self.spool} is not a directory.")
        if not self.journal.is_dir():
            raise Conflict(f"{self.journal} is not a directory.")
        with self.database() as database:
            expected = run_to_completion(NodeFailures(database).spool_id(self.node))
        found = spool_id(self.spool)
        if expected is not None and found != expected:
            raise Conflict(
                f"{self.spool} is not the recording directory of node {self.node}: its .voxrec-node has "
                f"{found or 'no id'} instead of {expected}."
            )

    def _apply_journal(self) -> None:
        segments = Segments(self.journal)
        lines = segments.open()
        self.report(f"applying {lines} lines of the journal")
        try:
            while batch := segments.read(_READ_SIZE):
                snapshots = [msgspec.json.decode(line.text, type=Recording) for line in batch]
                named = [each if each.node else msgspec.structs.replace(each, node=self.node) for each in snapshots]
                for snapshot in named:
                    with self.database() as database:
                        recordings = Recordings(database)
                        complete = run_to_completion(recordings.with_earlier_timelines([snapshot]))
                        run_to_completion(recordings.record(*complete))
                segments.mark_applied(batch[-1].end)
                segments.save_position()
        finally:
            segments.close()

    def _recordings_with_files(self) -> set[UUID]:
        return {UUID(match[1]) for path in self.spool.iterdir() if (match := LEG_NAME.fullmatch(path.name))}

    def _run_next_job(self) -> bool:
        """Run a job that is due; return whether there was one."""
        with self.database() as database:
            jobs = Jobs(database)
            jobs.node = self.node
            claimed = run_to_completion(jobs.claim(_KINDS, _LEASE)).jobs
        if not claimed:
            return False
        (job,) = claimed
        try:
            with self.database() as database:
                self._require_former_disk(database, job)
                run_to_completion(self._handler(database, job.kind)(job))
                run_to_completion(Jobs(database).mark_done(job))
        except (VoxrecError, OSError) as error:
            reason = error.detail if isinstance(error, VoxrecError) else str(error)
            self.failed.append(f"{job.kind} of recording {job.recording_id}: {reason}")
            with self.database() as database:
                due_at = utc_now(self.clock) + _LEASE
                run_to_completion(Jobs(database).retry(job, reason, due_at))
        else:
            self.report(f"{job.kind} of recording {job.recording_id}: done")
        return True

    def _require_former_disk(self, database: BlockingDatabase, job: Job) -> None:
        """Raise Unavailable if the job is about a Recording on the disk with which the node was started since."""
        since = run_to_completion(NodeFailures(database).new_disk_since(self.node))
        if since is not None and job.kind is JobKind.FINISH:
            recording = run_to_completion(Recordings(database).get(job.recording_id))
            if recording.created_at >= since:
                time = f"{since.astimezone(UTC):%Y-%m-%d %H:%M:%S} UTC"
                raise Unavailable(f"it was recorded on the disk that node {self.node} has had since {time}")

    def _handler(self, database: BlockingDatabase, kind: JobKind) -> Callable[[Job], Any]:
        recordings = Recordings(database)
        if kind is JobKind.FINISH:
            return Finisher(
                self.clock,
                recordings,
                self.archive,
                self.spool,
                self.work_directory,
                _call_directly,
                node=self.node,
                has_peers=_has_peers,
                uploads=self.uploads,
            )
        return Eraser(recordings, self.archive, self.spool, self.work_directory, _call_directly).erase_from_spool


async def _has_peers() -> bool:
    return True


def _call_directly(function: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> Deferred[T]:
    return execute(function, *args, **kwargs)
