"""The durable queue: the job worker, and the journal, which passes the finish jobs of ended calls to it directly."""

from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Final

from twisted.internet.defer import DeferredSemaphore

from voxrec.composition.database import Database
from voxrec.composition.environment import Environment
from voxrec.composition.recordings import RecordingFiles
from voxrec.composition.s3 import S3Services
from voxrec.deferreds import Backoff
from voxrec.jobs.worker import Worker
from voxrec.journal.recording_journal import RecordingJournal
from voxrec.mail.mailer import Mailer
from voxrec.model import Job, JobKind, Recording
from voxrec.service_tree import OnDemandService
from voxrec.store.batched_finishing import BatchedJobs

_JOBS_PER_THREAD: Final = 16
"""Jobs that run for each one that may use the files at the same time: the others wait for that, or for a commit."""


@dataclass(frozen=True)
class Queue:
    """The job workers, whose services start once PostgreSQL is available, and the journal of Recordings.

    Mails have a worker of their own: a relay that does not respond must not delay the finishing of Recordings.
    """

    worker: Worker[Job]
    worker_service: OnDemandService
    mail_worker: Worker[Job]
    mail_worker_service: OnDemandService
    journal: RecordingJournal
    s3: S3Services | None = None

    def database_recovered(self) -> None:
        """Claim due jobs: PostgreSQL is available (again), and notifications may have been lost."""
        for service, worker in (
            (self.worker_service, self.worker),
            (self.mail_worker_service, self.mail_worker),
        ):
            service.ensure_started()
            worker.wake()
        if self.s3 is not None:
            self.s3.database_recovered()

    def job_changed(self, kind: str) -> None:
        """Claim due jobs: PostgreSQL notified of a new or changed job."""
        if kind == JobKind.MAIL:
            self.mail_worker.wake()
        elif kind != JobKind.UPLOAD:
            self.worker.wake()
        elif self.s3 is not None:
            self.s3.worker.wake()


def build_queue(env: Environment, database: Database, files: RecordingFiles, mailer: Mailer) -> Queue:
    """Build the worker and the journal."""
    settings = env.config.queue
    lease = timedelta(seconds=settings.lease)
    make_worker = partial(
        Worker[Job],
        env.reactor,
        lease=lease,
        backoff=Backoff(first=settings.retry_first, limit=settings.retry_limit),
        max_attempts=settings.attempts,
        on_attempt_ended=env.metrics.jobs.count_attempt,
    )
    mail_worker = make_worker(jobs=database.jobs, concurrency=settings.concurrency, handlers={JobKind.MAIL: mailer})
    erasing = DeferredSemaphore(settings.concurrency)
    worker = make_worker(
        jobs=BatchedJobs(env.reactor, database.jobs),
        concurrency=_JOBS_PER_THREAD * settings.concurrency,
        handlers={
            JobKind.FINISH: files.finisher,
            JobKind.ERASE: partial(erasing.run, files.eraser),
            JobKind.ERASE_LEGS: partial(erasing.run, files.eraser.erase_from_spool),
        },
    )

    def finish_claimed(job: Job, recording: Recording) -> None:
        worker.run_claimed(job, lambda _job: files.finisher.finish(recording))

    journal = RecordingJournal(
        env.reactor,
        Path(env.config.data_directory, "journal"),
        database.recordings,
        database.pool,
        available_slots=lambda: worker.available_slots,
        lease=lease,
        on_claimed=finish_claimed,
        node=env.config.node_name,
        retention=database.replay,
    )
    return Queue(
        worker,
        OnDemandService("worker", worker),
        mail_worker,
        OnDemandService("mail worker", mail_worker),
        journal,
        files.s3,
    )
