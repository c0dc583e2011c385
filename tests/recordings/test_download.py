"""Tests of voxrec.recordings.download and the enqueuing of uploads: ``voxrec archive migrate`` in both directions."""

from contextlib import AbstractContextManager
from functools import partial
from typing import Any

from twisted.internet.threads import deferToThread

from tests import s3_server
from tests.recordings.test_upload import AUDIO, UploadTestCase
from voxrec.archive.interface import StoreError
from voxrec.archive.local import LocalArchive
from voxrec.model import Recording, StoredObject
from voxrec.postgres.blocking_database import BlockingDatabase, blocking_transaction
from voxrec.recordings.download import Download
from voxrec.store.archive_migration import ArchiveMigration
from voxrec.store.jobs import Jobs


class ToS3Tests(UploadTestCase):
    async def test_every_recording_is_enqueued_once(self) -> None:
        before = [await self.complete() for _ in range(3)]
        await self.pool.execute("DELETE FROM jobs")  # as if S3 had not been configured then
        migration = ArchiveMigration(self.pool)
        self.assertEqual((await migration.not_uploaded()).recordings, 3)
        self.assertEqual(await migration.enqueue_uploads(2, shared=True), 2)
        self.assertEqual(await migration.enqueue_uploads(2, shared=True), 1)
        self.assertEqual(await migration.enqueue_uploads(2, shared=True), 0)
        for _ in before:
            await self.run_next()
        self.assertEqual(await migration.not_uploaded(), (0, 0, 0, None))
        self.assertEqual((await migration.stored()).recordings, 3)
        self.assertEqual(await migration.enqueue_uploads(2, shared=True), 0)

    async def test_dead_job_is_restarted(self) -> None:
        await self.complete()
        await self.queue.dead_letter(await self.claim(), "damaged")
        self.assertEqual(await ArchiveMigration(self.pool).enqueue_uploads(10, shared=True), 1)

    async def test_files_of_nodes(self) -> None:
        await self.complete(node="a")
        await self.pool.execute("DELETE FROM jobs")
        await ArchiveMigration(self.pool).enqueue_uploads(10, shared=False)
        self.assertEqual([job.node for job in await Jobs(self.pool).page()], ["a"])


class ToLocalTests(UploadTestCase):
    def transaction(self) -> AbstractContextManager[BlockingDatabase]:
        return blocking_transaction(self.dsn)

    def download(self, **options: Any) -> Download:
        return Download(self.transaction, LocalArchive(self.root), self.root / ".work", self.store, **options)

    async def uploaded(self) -> Recording:
        completed = await self.complete()
        await self.run_next()
        return completed

    async def test_files_are_verified_and_objects_deleted(self) -> None:
        moved = [await self.uploaded() for _ in range(3)]
        progress: list[tuple[int, int]] = []
        download = self.download(report=lambda count, size: progress.append((count, size)))
        self.assertEqual(await deferToThread(download.run), 3)
        self.assertEqual(sorted(self.files()), sorted(each.path or "" for each in moved))
        self.assertEqual((s3_server.keys(self.bucket), download.failed), ([], []))
        self.assertEqual(progress[-1], (3, 3 * len(AUDIO)))
        self.assertIsNone((await self.recordings.get(moved[0].id)).stored_object)
        self.assertEqual(await deferToThread(download.run), 0)

    async def test_objects_are_kept_on_request(self) -> None:
        await self.uploaded()
        await deferToThread(self.download(keep_objects=True).run)
        self.assertEqual(len(s3_server.keys(self.bucket)), 1)

    async def test_damaged_object_is_reported_and_nothing_is_deleted(self) -> None:
        damaged, other = await self.uploaded(), await self.uploaded()
        stored = await self.object_of(damaged.id)
        s3_server.client().put_object(Bucket=self.bucket, Key=stored.key, Body=b"x" * len(AUDIO))
        download = self.download()
        self.assertEqual(await deferToThread(download.run), 1)
        self.assertRegex(download.failed[0], f"{damaged.id}: .*SHA-256")
        self.assertEqual(self.files(), [other.path])
        self.assertEqual(s3_server.keys(self.bucket), [stored.key])

    async def test_interrupted_between_the_file_and_the_row(self) -> None:
        moved = await self.uploaded()
        forget = ArchiveMigration.forget_object
        self.patch(ArchiveMigration, "forget_object", partial(_fail))
        await self.assertFailure(deferToThread(self.download().run), ZeroDivisionError)
        self.patch(ArchiveMigration, "forget_object", forget)
        self.patch(self.store, "fetch", _must_not_be_called)
        self.assertEqual(await deferToThread(self.download().run), 1)
        self.assertEqual(self.files(), [moved.path])

    async def test_locked_object(self) -> None:
        await self.uploaded()

        def refuse(_stored: StoredObject) -> None:
            raise StoreError("the object is locked", "AccessDenied", refused=True)

        self.patch(self.store, "delete", refuse)
        download = self.download()
        self.assertEqual(await deferToThread(download.run), 0)
        self.assertIn("locked", download.failed[0])
        self.assertEqual(len(self.files()), 1)


async def _fail(*_: object) -> bool:
    raise ZeroDivisionError


def _must_not_be_called(*_: object) -> None:
    raise AssertionError("the file exists already")
