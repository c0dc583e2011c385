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
from voxrec.store import archive_migration
from voxrec.store.archive_migration import BEGINNING, ArchiveMigration, Position
from voxrec.store.jobs import Jobs


async def enqueue_all(migration: ArchiveMigration, part: int = 10) -> list[int]:
    """Enqueue the uploads of all Recordings, and return the number of those of each part."""
    position: Position | None = BEGINNING
    counts = []
    while position is not None:
        count, position = await migration.enqueue_uploads(position, part, shared=True)
        counts.append(count)
    return counts


class ToS3Tests(UploadTestCase):
    async def test_every_recording_is_enqueued_once(self) -> None:
        before = [await self.complete() for _ in range(3)]
        await self.pool.execute("DELETE FROM jobs")  # as if S3 had not been configured then
        migration = ArchiveMigration(self.pool)
        self.assertEqual((await migration.not_uploaded()).recordings, 3)
        self.assertEqual(await enqueue_all(migration, part=2), [2, 1, 0])
        self.assertEqual(await enqueue_all(migration, part=2), [0, 0, 0])
        for _ in before:
            await self.run_next()
        self.assertEqual(await migration.not_uploaded(), (0, 0, 0, None))
        self.assertEqual((await migration.stored()).recordings, 3)
        self.assertEqual(sum(await enqueue_all(migration, part=2)), 0)

    async def test_cost_of_a_part_does_not_depend_on_what_precedes_it(self) -> None:
        """Each Recording is read once, by the index that orders them."""
        await self.pool.execute("""
            INSERT INTO recordings (id, profile_id, state, format, channels, timeline, metadata, legal_hold, created_at,
                                    updated_at, path, stored_object)
            SELECT gen_random_uuid(), gen_random_uuid(), 'completed', 'wav', 1, '[]', '{}', false,
                   now() - number * interval '1 s', now(), 'path', '{"stored_at": "2026-01-01T00:00:00Z"}'
            FROM generate_series(1, 3000) AS number
        """)
        await self.pool.execute("ANALYZE recordings")
        await self.complete()
        await self.pool.execute("DELETE FROM jobs")
        migration = ArchiveMigration(self.pool)
        counts = await enqueue_all(migration, part=1000)
        self.assertEqual((sum(counts), len(counts)), (1, 5))
        plan = await self.pool.query(f"EXPLAIN {archive_migration._ENQUEUE_UPLOADS}", (*BEGINNING, 100, True))
        self.assertIn("recordings_newest_first", str(plan))

    async def test_dead_job_is_restarted(self) -> None:
        await self.complete()
        await self.queue.dead_letter(await self.claim(), "damaged")
        self.assertEqual(await enqueue_all(ArchiveMigration(self.pool)), [1, 0])

    async def test_files_of_nodes(self) -> None:
        await self.complete(node="a")
        await self.pool.execute("DELETE FROM jobs")
        await ArchiveMigration(self.pool).enqueue_uploads(BEGINNING, 10, shared=False)
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
