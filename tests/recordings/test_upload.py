"""Tests of voxrec.recordings.upload, with a real PostgreSQL and a real S3 server."""

import errno
import os
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from functools import partial
from itertools import count
from pathlib import Path
from threading import Event
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import msgspec
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.internet.threads import blockingCallFromThread, deferToThread

from tests import s3_server
from tests.archive.hostile_server import HostileServer, error
from tests.database import DatabaseTestCase, reactor, until
from tests.lossy_proxy import LossyProxy
from tests.store.samples import NOON, profile, recording
from tests.subtest import subtest
from voxrec.archive.interface import ArchiveUnavailable, ObjectLock
from voxrec.archive.s3 import S3Store
from voxrec.archive.s3_archive import S3Archive
from voxrec.deferreds import Backoff
from voxrec.errors import DeliveryError, StoreUnavailable
from voxrec.jobs.worker import Worker
from voxrec.model import Job, JobKind, JobState, Profile, Recording, RecordingState, StoredObject
from voxrec.postgres.pool import Pool
from voxrec.recordings.erase import Eraser
from voxrec.recordings.upload import Uploader, UploadSettings
from voxrec.sandbox.seaweedfs import SeaweedFS, client_of
from voxrec.store import upload_queue
from voxrec.store.jobs import Jobs
from voxrec.store.profiles import Profiles
from voxrec.store.recordings import Recordings
from voxrec.store.upload_queue import UploadQueue
from voxrec.store.upload_records import UploadRecords
from voxrec.threads import SharedThreads

AUDIO = b"the audio of a call"
LEASE = timedelta(minutes=1)


def _sends_audio(method: bytes, data: bytes) -> bool:
    """Return whether data begins a request with this method that stores an object, or completes its parts."""
    return data.startswith(method) and b"?uploads" not in data.partition(b"\r\n")[0]


class UploadTestCase(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.base = base = self.make_base()
        self.spool, self.root = base / "spool", base / "archive"
        self.spool.mkdir(parents=True)
        self.root.mkdir()
        self.recordings, self.profiles, self.jobs = Recordings(self.pool), Profiles(self.pool), Jobs(self.pool)
        self.queue = UploadQueue(reactor, self.pool, self.jobs, per_target=2)
        self.bucket = s3_server.new_bucket()
        self.use(s3_server.store())

    def make_base(self) -> Path:
        return Path(self.mktemp()).absolute()

    def use(self, store: S3Store, **settings: Any) -> None:
        self.store = store
        self.archive = S3Archive(self.root, store, self.root / ".work", deferToThread, self.recordings.get)
        place = {"bucket": settings.pop("bucket", self.bucket), "prefix": settings.pop("prefix", "calls/")}
        self.outcomes: list[tuple[str, int]] = []
        self.uploader = Uploader(
            self.records(**place, uploads=settings.get("uploads", True)),
            self.archive,
            store,
            UploadSettings(**settings),
            lambda _bucket, *call: deferToThread(*call),
            deferToThread,
            bucket_recovered=self.queue.make_due,
            on_upload=lambda outcome, size: self.outcomes.append((outcome, size)),
        )

    def records(self, *, bucket: str, prefix: str, uploads: bool) -> UploadRecords:
        return UploadRecords(reactor, self.pool, self.recordings, bucket=bucket, prefix=prefix, uploads=uploads)

    async def complete(self, owner: Profile | None = None, audio: bytes = AUDIO, **fields: Any) -> Recording:
        """Complete a Recording as the finish job does, with an upload to follow."""
        owner = owner or await self.profiles.create(profile())
        ended = await self.recordings.create(recording(profile_id=owner.id, state=RecordingState.PROCESSING, **fields))
        source = self.spool / str(ended.id)
        source.write_bytes(audio)
        stored = self.archive.put(source, ended.id, NOON, "wav")
        completed = msgspec.structs.replace(
            ended, state=RecordingState.COMPLETED, path=stored.path, size=stored.size, sha256=stored.sha256
        )
        await self.recordings.complete(completed, [JobKind.UPLOAD])
        return completed

    async def claim(self) -> Job:
        ((job,), _) = await self.queue.claim((), LEASE, 1)
        return job

    async def run_next(self) -> None:
        job = await self.claim()
        await self.uploader(job)
        await self.queue.mark_done(job)

    async def failure_of(self, attempt: Awaitable[None]) -> DeliveryError:
        try:
            await attempt
        except DeliveryError as failure:
            return failure
        raise self.failureException("the attempt did not fail")

    def files(self) -> list[str]:
        return [str(path.relative_to(self.root)) for path in self.root.rglob("*") if path.is_file()]

    async def object_of(self, recording_id: UUID) -> StoredObject:
        stored = (await self.recordings.get(recording_id)).stored_object
        assert stored is not None
        return stored

    def head(self, stored: StoredObject) -> dict[str, Any]:
        head: dict[str, Any] = s3_server.client().head_object(Bucket=stored.bucket, Key=stored.key)
        return head


class UploaderTests(UploadTestCase):
    async def test_local_file_is_removed_once_the_store_has_confirmed_the_checksum(self) -> None:
        completed = await self.complete()
        await self.run_next()
        stored = await self.object_of(completed.id)
        self.assertEqual((stored.bucket, stored.key), (self.bucket, f"calls/{completed.path}"))
        self.assertIsNotNone(stored.stored_at)
        self.assertEqual(self.head(stored)["ContentType"], "audio/wav")
        self.assertEqual(self.files(), [])
        self.assertEqual(self.outcomes, [("stored", len(AUDIO))])
        async with await self.archive.obtain(await self.recordings.get(completed.id)) as copy:
            self.assertEqual(copy.read_bytes(), AUDIO)
        self.assertEqual(self.files(), [])  # the copy was removed

    async def test_recording_does_not_change_for_clients(self) -> None:
        completed = await self.complete()
        before = await self.recordings.get(completed.id)
        await self.run_next()
        after = await self.recordings.get(completed.id)
        self.assertEqual(msgspec.structs.replace(after, stored_object=None), before)

    async def test_local_file_is_kept_if_that_is_set(self) -> None:
        self.use(self.store, keep_local=True)
        completed = await self.complete()
        await self.run_next()
        self.assertEqual(self.files(), [completed.path])
        self.assertIsNone(await self.archive.remote_audio(await self.recordings.get(completed.id)))

    async def test_bucket_and_prefix_of_the_profile(self) -> None:
        own = s3_server.new_bucket()
        for prefix, expected in ((None, "calls/"), ("", ""), ("team/a/", "team/a/")):
            owner = await self.profiles.create(profile(archive_bucket=own, archive_prefix=prefix))
            completed = await self.complete(owner)
            job = await self.claim()
            self.assertEqual(job.target, own)
            await self.uploader(job)
            await self.queue.mark_done(job)
            stored = await self.object_of(completed.id)
            self.assertEqual((stored.bucket, stored.key), (own, f"{expected}{completed.path}"))

    async def test_profile_was_deleted(self) -> None:
        owner = await self.profiles.create(profile())
        completed = await self.complete(owner)
        await self.profiles.delete(owner.id)
        await self.run_next()
        self.assertEqual((await self.object_of(completed.id)).bucket, self.bucket)

    async def test_damaged_file_is_not_uploaded(self) -> None:
        completed = await self.complete()
        (self.root / (completed.path or "")).write_bytes(b"damaged")
        failure = await self.failure_of(self.uploader(await self.claim()))
        self.assertTrue(failure.permanent)
        self.assertIn("the local file is damaged", failure.detail)
        self.assertEqual(s3_server.keys(self.bucket), [])
        self.assertEqual(self.files(), [completed.path])

    async def test_local_archive_is_not_mounted(self) -> None:
        completed = await self.complete()
        self.root.rename(self.root.with_suffix(".unmounted"))
        failure = await self.failure_of(self.uploader(await self.claim()))
        self.assertFalse(failure.permanent)
        self.assertIn(f"has no file {completed.path}", failure.detail)


class InterruptionTests(UploadTestCase):
    async def test_process_died_before_the_row_was_changed(self) -> None:
        self.bucket = s3_server.new_bucket(versions=True)
        self.use(s3_server.store())
        completed = await self.complete()
        target = StoredObject(bucket=self.bucket, key=f"calls/{completed.path}")
        await self.recordings.set_stored_object(completed.id, target)
        self.store.upload(self.root / (completed.path or ""), target, completed.sha256, "audio/wav", ObjectLock())
        await self.run_next()
        self.assertIsNotNone((await self.object_of(completed.id)).stored_at)
        self.assertEqual(s3_server.versions(self.bucket), [target.key])  # it was not uploaded twice
        self.assertEqual((self.files(), self.outcomes), ([], []))

    async def test_object_of_a_process_that_died_is_incomplete(self) -> None:
        completed = await self.complete()
        target = StoredObject(bucket=self.bucket, key=f"calls/{completed.path}")
        await self.recordings.set_stored_object(completed.id, target)
        s3_server.client().put_object(Bucket=self.bucket, Key=target.key, Body=b"other")
        await self.run_next()
        async with await self.archive.obtain(await self.recordings.get(completed.id)) as copy:
            self.assertEqual(copy.read_bytes(), AUDIO)

    async def test_process_died_before_the_local_file_was_removed(self) -> None:
        self.use(self.store, keep_local=True)
        completed = await self.complete()
        job = await self.claim()
        await self.uploader(job)
        self.use(self.store)
        await self.uploader(job)
        self.assertEqual(self.files(), [])
        self.assertEqual((await self.recordings.get(completed.id)).size, len(AUDIO))

    async def test_failover_lost_the_row_of_an_upload_whose_local_file_is_gone(self) -> None:
        completed = await self.complete()
        job = await self.claim()
        await self.uploader(job)
        await self.recordings.set_stored_object(completed.id, None)
        await self.uploader(job)
        async with await self.archive.obtain(await self.recordings.get(completed.id)) as copy:
            self.assertEqual(copy.read_bytes(), AUDIO)

    async def test_deletion_during_the_upload(self) -> None:
        completed = await self.complete()
        upload = self.store.upload

        def delete_first(*args: Any) -> StoredObject:
            stored = upload(*args)
            threads_call(partial(self.recordings.delete, completed.id))
            return stored

        self.patch(self.store, "upload", delete_first)
        await self.uploader(await self.claim())
        self.assertEqual(s3_server.versions(self.bucket), [])

    async def test_recording_was_deleted_before(self) -> None:
        completed = await self.complete()
        job = await self.claim()
        await self.recordings.delete(completed.id)
        await self.uploader(job)
        self.assertEqual(s3_server.keys(self.bucket), [])

    async def test_bucket_of_the_profile_was_corrected_after_a_failure(self) -> None:
        owner = await self.profiles.create(profile(archive_bucket="no-such-bucket"))
        completed = await self.complete(owner)
        job = await self.claim()
        await self.failure_of(self.uploader(job))
        await self.profiles.update(owner.id, lambda old: msgspec.structs.replace(old, archive_bucket=self.bucket))
        await self.uploader(job)
        self.assertEqual((await self.object_of(completed.id)).bucket, self.bucket)


class ErasureTests(UploadTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.use_eraser()

    def use_eraser(self) -> None:
        async def delete_object(stored: StoredObject) -> None:
            await deferToThread(self.store.delete, stored)

        self.eraser = Eraser(
            self.recordings, self.archive, self.spool, self.root / ".work", deferToThread, delete_object
        )

    async def erase(self) -> None:
        ((job,), _) = await self.jobs.claim((JobKind.ERASE,), LEASE)
        await self.eraser(job)

    async def test_object_is_deleted_with_all_versions(self) -> None:
        self.bucket = s3_server.new_bucket(versions=True)
        self.use(s3_server.store())
        self.use_eraser()
        completed = await self.complete()
        await self.run_next()
        stored = await self.object_of(completed.id)
        s3_server.client().put_object(Bucket=self.bucket, Key=stored.key, Body=b"another version")
        await self.recordings.delete(completed.id)
        await self.erase()
        self.assertEqual(s3_server.versions(self.bucket), [])

    async def test_upload_that_was_not_confirmed(self) -> None:
        completed = await self.complete()
        target = StoredObject(bucket=self.bucket, key=f"calls/{completed.path}")
        await self.recordings.set_stored_object(completed.id, target)
        s3_server.client().put_object(Bucket=self.bucket, Key=target.key, Body=AUDIO)
        await self.recordings.delete(completed.id)
        await self.erase()
        self.assertEqual((s3_server.keys(self.bucket), self.files()), ([], []))

    async def test_store_is_down(self) -> None:
        completed = await self.complete()
        await self.run_next()
        await self.recordings.delete(completed.id)
        self.store = S3Store(s3_server.settings("http://127.0.0.1:1", timeout=1.0))
        failure = await self.failure_of(self.erase())
        self.assertFalse(failure.permanent)

    async def test_locked_object_is_tried_again_later(self) -> None:
        self.bucket = s3_server.new_bucket(object_lock=True)
        self.use(s3_server.store(), holds=True)
        self.use_eraser()
        completed = await self.complete(legal_hold=True)
        await self.run_next()
        await self.recordings.delete(completed.id)
        failure = await self.failure_of(self.erase())
        self.assertEqual((failure.permanent, failure.retry_after), (False, 21_600.0))
        self.assertIn("locked", failure.detail)


class LockTests(UploadTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.bucket = s3_server.new_bucket(object_lock=True)
        self.use(s3_server.store(retention="GOVERNANCE"), holds=True, retention=True)

    async def change(self, recording_id: UUID, **fields: Any) -> None:
        await self.recordings.update(recording_id, lambda old: msgspec.structs.replace(old, **fields))

    async def test_legal_hold_is_mirrored_when_it_is_set_and_cleared(self) -> None:
        completed = await self.complete()
        await self.run_next()
        for hold, expected in ((True, "ON"), (False, "OFF")):
            await self.change(completed.id, legal_hold=hold)
            await self.run_next()
            self.assertEqual(self.head(await self.object_of(completed.id))["ObjectLockLegalHoldStatus"], expected)

    async def test_legal_hold_of_a_recording_that_is_not_uploaded_yet(self) -> None:
        completed = await self.complete(legal_hold=True)
        await self.run_next()
        self.assertEqual(self.head(await self.object_of(completed.id))["ObjectLockLegalHoldStatus"], "ON")

    async def test_legal_hold_that_is_set_during_the_upload(self) -> None:
        completed = await self.complete()
        upload = self.store.upload

        def hold_first(*args: Any) -> StoredObject:
            stored = upload(*args)
            threads_call(partial(self.change, completed.id, legal_hold=True))
            return stored

        self.patch(self.store, "upload", hold_first)
        await self.uploader(await self.claim())
        self.assertEqual(self.head(await self.object_of(completed.id))["ObjectLockLegalHoldStatus"], "ON")

    async def test_legal_hold_that_is_set_during_the_upload_starts_no_second_one(self) -> None:
        """A second upload of the same object would abort the first one, if it is in parts."""
        completed = await self.complete()
        job = await self.claim()
        await self.recordings.set_stored_object(
            completed.id, StoredObject(bucket=self.bucket, key=f"calls/{completed.path}")
        )
        await self.change(completed.id, legal_hold=True)
        self.assertEqual((await self.queue.claim((), LEASE, 1)).jobs, [])
        await self.uploader(job)
        self.assertTrue(await self.queue.mark_done(job))
        self.assertEqual(self.head(await self.object_of(completed.id))["ObjectLockLegalHoldStatus"], "ON")

    async def test_legal_hold_that_is_set_when_the_upload_has_ended_but_its_job_has_not(self) -> None:
        completed = await self.complete()
        job = await self.claim()
        await self.uploader(job)
        await self.change(completed.id, legal_hold=True)
        self.assertTrue(await self.queue.mark_done(job))
        await self.run_next()
        self.assertEqual(self.head(await self.object_of(completed.id))["ObjectLockLegalHoldStatus"], "ON")
        self.assertEqual((await self.queue.claim((), LEASE, 1)).jobs, [])

    async def test_lease_of_a_process_that_died_does_not_delay_a_legal_hold(self) -> None:
        completed = await self.complete()
        await self.run_next()
        await self.pool.execute("UPDATE jobs SET done_at = NULL, leased_until = now() - interval '1 s'")
        await self.change(completed.id, legal_hold=True)
        await self.run_next()
        self.assertEqual(self.head(await self.object_of(completed.id))["ObjectLockLegalHoldStatus"], "ON")

    async def test_retention_until_the_recording_expires(self) -> None:
        expires_at = datetime.now(UTC).replace(microsecond=0) + timedelta(days=3)
        completed = await self.complete(expires_at=expires_at)
        await self.run_next()
        self.assertEqual(self.head(await self.object_of(completed.id))["ObjectLockRetainUntilDate"], expires_at)
        await self.change(completed.id, expires_at=expires_at + timedelta(days=1))
        await self.run_next()
        head = self.head(await self.object_of(completed.id))
        self.assertEqual(head["ObjectLockRetainUntilDate"], expires_at + timedelta(days=1))

    async def test_other_changes_cause_no_job(self) -> None:
        completed = await self.complete()
        await self.run_next()
        await self.change(completed.id, metadata={"case": "7"})
        self.assertEqual((await self.queue.claim((), LEASE, 1)).jobs, [])


class OutageTests(UploadTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.worker = Worker(
            reactor,
            self.queue,
            {JobKind.UPLOAD: lambda job: self.uploader(job)},
            concurrency=4,
            lease=LEASE,
            backoff=Backoff(first=3600.0, limit=3600.0),
            max_attempts=10**9,
        )

    async def tearDown(self) -> None:  # type: ignore[override]
        if self.worker.running:
            await self.worker.stopService()
        await super().tearDown()

    async def state(self) -> list[tuple[JobState, int, str | None]]:
        return [(job.state, job.attempts, job.last_error) for job in await self.jobs.page()]

    async def test_what_failed_is_caught_up_as_soon_as_the_store_works(self) -> None:
        self.use(S3Store(s3_server.settings("http://127.0.0.1:1", timeout=1.0)))
        failed = [await self.complete() for _ in range(5)]
        self.worker.startService()

        async def all_failed() -> bool:
            return all(error is not None and state is JobState.PENDING for state, _, error in await self.state())

        await until_async(all_failed)
        self.assertEqual(sorted(self.files()), sorted(each.path or "" for each in failed))
        self.assertIn("Could not connect", self.uploader.failures[self.bucket])
        self.use(s3_server.store())
        self.uploader.failures[self.bucket] = "down"
        await self.complete()  # the others are due in an hour

        def uploaded() -> bool:
            self.worker.wake()  # as the notifications of PostgreSQL do
            return not self.files()

        await until(uploaded, 30.0)
        self.assertEqual(len(s3_server.keys(self.bucket)), 6)
        self.assertEqual(self.uploader.failures, {})

    async def test_delay_that_the_store_demands(self) -> None:
        with HostileServer(error(503, "SlowDown", "Retry-After: 1800\r\n")) as server:
            self.use(S3Store(s3_server.settings(server.url)))
            await self.complete()
            failure = await self.failure_of(self.uploader(await self.claim()))
        self.assertEqual((failure.permanent, failure.retry_after), (False, 1800.0))

    async def test_store_is_killed_during_an_upload_in_parts(self) -> None:
        """It is attempted again when the store is back; nothing of the first attempt remains."""
        weed = SeaweedFS(self.base / "store")
        self.addCleanup(weed.kill)
        weed.start()
        client = client_of(weed)
        client.create_bucket(Bucket=self.bucket)
        reads = count()

        def kill_in_the_middle() -> bool:
            if next(reads) == 150:  # of blocks of the file: within the second part of three
                weed.kill()
            return False

        self.use(S3Store(s3_server.settings(weed.endpoint, part_size=5 * 2**20, timeout=5.0), kill_in_the_middle))
        completed = await self.complete(audio=bytes(17 * 2**20))
        job = await self.claim()
        self.assertFalse((await self.failure_of(self.uploader(job))).permanent)
        self.assertEqual(self.files(), [completed.path])
        weed.start()
        await self.uploader(job)
        self.assertEqual(self.files(), [])
        self.assertEqual(self.store.facts(await self.object_of(completed.id)).size, 17 * 2**20)
        self.assertNotIn("Uploads", client.list_multipart_uploads(Bucket=self.bucket))

    async def test_answer_of_the_store_is_lost(self) -> None:
        """The next attempt finds the object, and sends nothing."""
        port = urlsplit(s3_server.server().endpoint).port
        assert port is not None
        for size, request in ((1000, b"PUT "), (17 * 2**20, b"POST ")):
            with subtest(request):
                proxy = LossyProxy(port, partial(_sends_audio, request))
                proxy.listen(reactor)
                self.addCleanup(proxy.stop)
                endpoint = f"http://127.0.0.1:{proxy.listening_port}"
                self.use(S3Store(s3_server.settings(endpoint, part_size=5 * 2**20)))
                completed = await self.complete(audio=bytes(size))
                job = await self.claim()
                self.assertFalse((await self.failure_of(self.uploader(job))).permanent)
                self.assertEqual(self.files(), [completed.path])
                sent, proxy.lossy = proxy.matching, False
                await self.uploader(job)
                self.assertEqual((proxy.matching, self.files()), (sent, []))
                stored = s3_server.store().facts(await self.object_of(completed.id))
                self.assertEqual((stored.size, stored.sha256), (size, completed.sha256))

    async def test_disk_is_full_when_an_object_is_copied(self) -> None:
        completed = await self.complete()
        await self.run_next()
        self.patch(self.store, "fetch", _disk_full)
        try:
            await self.archive.obtain(await self.recordings.get(completed.id))
        except ArchiveUnavailable as error:
            self.assertIn("No space left on device", error.detail)
        else:
            self.fail("the copy was made")
        self.assertEqual(self.files(), [])


def _disk_full(*_: object) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class FairnessTests(UploadTestCase):
    async def test_busy_bucket_does_not_delay_another_one(self) -> None:
        busy = await self.profiles.create(profile(archive_bucket="busy"))
        for _ in range(5):
            await self.complete(busy)
        other = await self.complete()
        jobs, next_due = await self.queue.claim((), LEASE, 4)
        self.assertEqual([job.target for job in jobs], ["busy", "busy", None])
        self.assertEqual(jobs[2].recording_id, other.id)
        assert next_due is not None
        self.assertLessEqual(next_due, datetime.now(UTC))  # so the worker claims again when one of them has ended
        await self.queue.retry(jobs[0], "down", datetime.now(UTC) + timedelta(hours=1))
        self.assertEqual([job.target for job in (await self.queue.claim((), LEASE, 4)).jobs], ["busy"])

    async def test_busy_bucket_occupies_no_more_threads_than_it_may(self) -> None:
        """Further jobs of it prepare their uploads, and then wait without a thread."""
        threads = SharedThreads(reactor, "uploads", 4, per_user=2)
        threads.startService()
        self.addCleanup(threads.stopService)
        self.patch(self.uploader, "_defer_for_bucket", threads.defer_for)
        profiles = [await self.profiles.create(profile(archive_bucket=f"busy{number}")) for number in range(2)]
        in_progress: list[str] = []
        end = Event()
        self.addCleanup(end.set)

        def upload(_source: Path, target: StoredObject, *_args: Any) -> StoredObject:
            in_progress.append(target.bucket)
            self.assertTrue(end.wait(30))
            return msgspec.structs.replace(target, stored_at=NOON)

        self.patch(self.store, "upload", upload)
        for owner in (*[profiles[0]] * 4, profiles[1]):
            await self.complete(owner)
        queue = UploadQueue(reactor, self.pool, self.jobs, per_target=4)
        jobs = (await queue.claim((), LEASE, 5)).jobs
        uploads = gatherResults([Deferred.fromCoroutine(self.uploader(job)) for job in jobs])
        await until(lambda: len(in_progress) == 3)
        self.assertEqual(sorted(in_progress), ["busy0", "busy0", "busy1"])
        end.set()
        await uploads
        self.assertEqual(sorted(in_progress), ["busy0"] * 4 + ["busy1"])

    async def test_upload_of_another_node(self) -> None:
        self.recordings.upload_node = "a"
        await self.complete()
        self.jobs.node = "b"
        self.assertEqual((await self.queue.claim((), LEASE, 1)).jobs, [])
        self.jobs.node = "a"
        self.assertEqual(len((await self.queue.claim((), LEASE, 1)).jobs), 1)

    async def test_job_whose_outcome_cannot_be_stored_does_not_count(self) -> None:
        for _ in range(2):
            await self.complete()
        queue = UploadQueue(reactor, ReadOnlyDatabase(self.pool), self.jobs, per_target=1)  # type: ignore[arg-type]
        (job,) = (await queue.claim((), LEASE, 2)).jobs
        with self.assertRaises(StoreUnavailable):
            await queue.mark_done(job)
        self.assertEqual(len((await queue.claim((), LEASE, 2)).jobs), 1)

    async def test_cost_of_a_claim_does_not_depend_on_the_backlog_of_a_busy_bucket(self) -> None:
        busy = await self.profiles.create(profile(archive_bucket="busy"))
        for _ in range(2):
            await self.complete(busy)
        self.assertEqual(len((await self.queue.claim((), LEASE, 4)).jobs), 2)
        await self.enqueue_many("busy", due_in="-1 hour")
        other = await self.complete()
        self.assertLess(await self.rows_read(upload_queue._CLAIM, (None, 2, '{"busy": 2}', LEASE, None, 4, None)), 100)
        await self.pool.execute("UPDATE jobs SET leased_until = NULL WHERE target IS NULL")  # EXPLAIN has claimed it
        jobs, next_due = await self.queue.claim((), LEASE, 4)
        self.assertEqual([job.recording_id for job in jobs], [other.id])
        assert next_due is not None
        self.assertLessEqual(next_due, datetime.now(UTC))

    async def test_backlog_becomes_due_in_batches(self) -> None:
        await self.enqueue_many("down", due_in="1 hour", count=2001)
        await self.enqueue_many("other", due_in="30 min", count=10)
        self.patch(upload_queue, "_BATCH", 500)
        self.assertEqual(await self.queue.make_due("down"), 2001)
        rows = await self.pool.query("SELECT target, due_at <= now(), count(*) FROM jobs GROUP BY 1, 2 ORDER BY 1")
        self.assertEqual(rows, [("down", True, 2001), ("other", False, 10)])
        self.assertEqual(await self.queue.make_due("down"), 0)

    async def test_part_of_a_backlog_is_found_by_the_index(self) -> None:
        await self.enqueue_many("down", due_in="1 hour")
        await self.enqueue_many("other", due_in="1 hour")
        start = datetime.min.replace(tzinfo=UTC)
        self.assertLess(await self.rows_read(upload_queue._MAKE_DUE, ("down", start, 50)), 500)

    async def enqueue_many(self, bucket: str, due_in: str, count: int = 5000) -> None:
        await self.pool.execute(
            "INSERT INTO jobs (kind, recording_id, target, due_at, last_error) "
            "SELECT 'upload', gen_random_uuid(), %s, now() + %s::interval + number * interval '1 ms', 'down' "
            "FROM generate_series(1, %s) AS number",
            (bucket, due_in, count),
        )
        await self.pool.execute("ANALYZE jobs")

    async def rows_read(self, sql: str, params: tuple[object, ...]) -> int:
        """Return the number of rows that the plan of a statement has read from tables and indexes."""
        ((plans,),) = await self.pool.returning(f"EXPLAIN (ANALYZE, FORMAT JSON) {sql}", params)
        return sum(_rows_of_scans(each["Plan"]) for each in plans)


def _rows_of_scans(plan: dict[str, Any]) -> int:
    removed = plan.get("Rows Removed by Filter", 0) + plan.get("Rows Removed by Index Recheck", 0)
    own = (plan["Actual Rows"] + removed) * plan["Actual Loops"] if "Relation Name" in plan else 0
    return int(own) + sum(map(_rows_of_scans, plan.get("Plans", ())))


class ReadOnlyDatabase:
    """A database that is lost when the outcome of a job is to be stored."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def returning(self, sql: str, params: tuple[object, ...]) -> list[Any]:
        if sql is not upload_queue._CLAIM:
            raise StoreUnavailable("lost")
        return await self._pool.returning(sql, params)


def threads_call(work: Callable[[], Any]) -> None:
    """Run a coroutine function of the reactor's thread from another thread, and wait until it has ended."""
    blockingCallFromThread(reactor, lambda: Deferred.fromCoroutine(work()))


async def until_async(condition: Callable[[], Any], timeout: float = 30.0) -> None:
    deadline = reactor.seconds() + timeout
    while not await condition():
        assert reactor.seconds() < deadline, "the condition is not met in time"
        await deferLater(reactor, 0.05)
