"""The S3 archive: the store, its threads, and the worker that uploads."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Final

from twisted.application.service import IService, Service

from voxrec.archive.s3_settings import RETENTION_MODES, settings_of
from voxrec.composition.database import Database
from voxrec.composition.environment import Environment
from voxrec.config import S3
from voxrec.deferreds import Backoff
from voxrec.jobs.worker import Worker
from voxrec.model import Job, JobKind, Profile, Recording, StoredObject
from voxrec.postgres.transaction import Transaction
from voxrec.recordings.object_sweep import ObjectSweeper
from voxrec.recordings.upload import Uploader, UploadSettings
from voxrec.service_tree import OnDemandService
from voxrec.store.stored_objects import StoredObjects
from voxrec.store.upload_queue import UploadQueue, enqueue_upload
from voxrec.store.upload_records import UploadRecords
from voxrec.threads import SharedThreads, WorkerThreads

if TYPE_CHECKING:
    from voxrec.archive.s3 import S3Store
    from voxrec.archive.s3_archive import S3Archive

_LEASE: Final = timedelta(seconds=30)  # extended while an upload runs; if its node is lost, another one waits this long
_DOWNLOAD_THREADS: Final = 16
_JOBS_PER_UPLOAD: Final = 8
"""Jobs that run for each upload that is permitted at the same time: one is sent, others are prepared or concluded.

With fewer, threads are idle while small files are claimed and concluded; a statement is about several of them.
"""
_CLAIM_INTERVAL: Final = 0.01  # seconds, in which several small files are uploaded
_UNLIMITED: Final = sys.maxsize  # an upload is never given up


class StopFlag(Service):
    """Is set when voxrec begins to stop, so that uploads in progress end at once, and are continued later."""

    name = "S3 stop"
    stopping = False

    def startService(self) -> None:
        """Clear the flag."""
        super().startService()
        self.stopping = False

    def stopService(self) -> None:
        """Set the flag."""
        self.stopping = True
        super().stopService()


@dataclass(frozen=True)
class S3Services:
    """What the S3 archive consists of.

    ``worker_service`` starts once PostgreSQL is available. Downloads and uploads have threads of their own, so that a
    store that does not respond delays neither the other direction nor anything else.
    """

    store: "S3Store"
    archive: "S3Archive"
    uploader: Uploader
    queue: UploadQueue
    worker: Worker[Job]
    worker_service: OnDemandService
    objects: StoredObjects
    sweeper: ObjectSweeper
    stop_flag: StopFlag
    upload_threads: SharedThreads
    download_threads: WorkerThreads
    node: str | None
    """The only node that can upload what it stores, because it does not share its archive; None: any node."""

    @property
    def services(self) -> Sequence[IService]:
        """What runs, in the order of its start."""
        return self.download_threads, self.upload_threads, self.worker_service, self.stop_flag

    def database_recovered(self) -> None:
        """Claim due uploads: PostgreSQL is available (again), and notifications may have been lost."""
        self.worker_service.ensure_started()
        self.worker.wake()

    async def enqueue(self, transaction: Transaction, recording: Recording) -> None:
        """Enqueue the upload of a Recording in the transaction that stores it."""
        await enqueue_upload(transaction, recording, self.node)

    async def check(self, profile: Profile) -> str:
        """Write, read and delete an object where Recordings of a Profile are stored; return where."""
        bucket, prefix = await self.objects.place_of(profile.id)
        await self.download_threads.defer(self.store.check, bucket, prefix)
        return f"s3://{bucket}/{prefix}"

    async def delete_object(self, stored: StoredObject) -> None:
        """Delete all versions of an object. Raises StoreError."""
        await self.download_threads.defer(self.store.delete, stored)


def build_s3(env: Environment, database: Database, work_directory: Path) -> S3Services:
    """Build the S3 archive. boto3 is loaded only here, so that installations without S3 do not need the memory."""
    from voxrec.archive.s3 import S3Store
    from voxrec.archive.s3_archive import S3Archive

    settings = env.config.s3
    upload_threads = SharedThreads(
        env.reactor, "S3 uploads", settings.concurrency, per_user=settings.concurrency_per_bucket
    )
    download_threads = WorkerThreads(env.reactor, "S3 downloads", _DOWNLOAD_THREADS)
    stop_flag = StopFlag()
    connections = settings.concurrency * settings.parts_per_upload + _DOWNLOAD_THREADS
    store = S3Store(settings_of(settings, connections), lambda: stop_flag.stopping)
    archive = S3Archive(
        env.config.archive_directory,
        store,
        work_directory,
        download_threads.defer,
        database.recordings.get,
        shared=env.config.archive.shared,
        redirect_seconds=settings.redirect_seconds if settings.download == "redirect" else None,
        defer_local_to_thread=env.defer_to_thread,
    )
    node = None if env.config.archive.shared else env.config.node_name
    objects = StoredObjects(database.pool, settings.bucket, settings.prefix)
    database.recordings.upload_node = node
    queue = UploadQueue(env.reactor, database.pool, database.jobs, _JOBS_PER_UPLOAD * settings.concurrency_per_bucket)
    uploader = Uploader(
        UploadRecords(
            env.reactor,
            database.pool,
            database.recordings,
            bucket=settings.bucket,
            prefix=settings.prefix,
            uploads=settings.uploads,
        ),
        archive,
        store,
        upload_settings(settings),
        upload_threads.defer_for,
        env.defer_to_thread,
        bucket_recovered=queue.make_due,
        on_upload=env.metrics.jobs.count_upload,
    )
    worker = Worker(
        env.reactor,
        queue,
        {JobKind.UPLOAD: uploader},
        concurrency=_JOBS_PER_UPLOAD * settings.concurrency,
        lease=_LEASE,
        backoff=Backoff(first=settings.retry_first, limit=settings.retry_limit),
        max_attempts=_UNLIMITED,
        claim_interval=_CLAIM_INTERVAL,
        on_attempt_ended=env.metrics.jobs.count_attempt,
    )
    return S3Services(
        store=store,
        archive=archive,
        uploader=uploader,
        queue=queue,
        worker=worker,
        worker_service=OnDemandService("upload worker", worker),
        objects=objects,
        sweeper=ObjectSweeper(
            env.reactor,
            objects,
            database.jobs.deleted_recordings,
            store,
            download_threads.defer,
        ),
        stop_flag=stop_flag,
        upload_threads=upload_threads,
        download_threads=download_threads,
        node=node,
    )


def upload_settings(settings: S3) -> UploadSettings:
    """Return how Recordings are stored."""
    return UploadSettings(
        uploads=settings.uploads,
        keep_local=settings.keep_local,
        holds=settings.object_lock != "off",
        retention=settings.object_lock in RETENTION_MODES,
    )
