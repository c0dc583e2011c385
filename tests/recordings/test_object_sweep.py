"""Tests of voxrec.recordings.object_sweep, with a real PostgreSQL and a real S3 server."""

from datetime import timedelta
from uuid import UUID, uuid4

from twisted.internet.task import Clock
from twisted.internet.threads import deferToThread
from twisted.logger import capturedLogs, formatEvent

from tests import s3_server
from tests.database import DatabaseTestCase
from tests.store.samples import profile, recording
from voxrec.archive.s3 import S3Store
from voxrec.model import RecordingState, StoredObject
from voxrec.recordings import object_sweep
from voxrec.recordings.object_sweep import ObjectSweeper
from voxrec.store.jobs import Jobs
from voxrec.store.profiles import Profiles
from voxrec.store.recordings import Recordings
from voxrec.store.stored_objects import StoredObjects

DAY = timedelta(days=1).total_seconds()


class ObjectSweeperTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.recordings, self.profiles, self.jobs = Recordings(self.pool), Profiles(self.pool), Jobs(self.pool)
        self.bucket = s3_server.new_bucket()
        self.clock = Clock()
        self.clock.advance((s3_server.now() + timedelta(days=2)).timestamp())
        self.sweeper = self.make_sweeper(s3_server.store())

    def make_sweeper(self, store: S3Store) -> ObjectSweeper:
        return ObjectSweeper(
            self.clock,
            StoredObjects(self.pool, self.bucket, "calls/"),
            self.jobs.deleted_recordings,
            store,
            deferToThread,
        )

    def put(self, recording_id: UUID, prefix: str = "calls/", bucket: str | None = None) -> str:
        key = f"{prefix}2026/05/06/{recording_id}.wav"
        s3_server.client().put_object(Bucket=bucket or self.bucket, Key=key, Body=b"audio")
        return key

    async def test_object_of_a_recording(self) -> None:
        stored = await self.recordings.create(recording(state=RecordingState.COMPLETED))
        key = self.put(stored.id)
        await self.recordings.set_stored_object(stored.id, StoredObject(bucket=self.bucket, key=key))
        await self.sweeper.sweep()
        self.assertEqual((s3_server.keys(self.bucket), self.sweeper.count), ([key], 0))

    async def test_object_of_a_deleted_recording_is_deleted(self) -> None:
        deleted = await self.recordings.create(recording(state=RecordingState.COMPLETED))
        await self.recordings.delete(deleted.id)
        self.put(deleted.id)
        await self.sweeper.sweep()
        self.assertEqual(len(s3_server.keys(self.bucket)), 1)  # its erase job is still to run
        ((job,), _) = await self.jobs.claim(("erase",), timedelta(minutes=1))
        await self.jobs.mark_done(job)
        self.clock.advance(DAY)
        await self.sweeper.sweep()
        self.assertEqual(s3_server.keys(self.bucket), [])

    async def test_unknown_object_is_reported(self) -> None:
        key = self.put(uuid4())
        s3_server.client().put_object(Bucket=self.bucket, Key="calls/other.txt", Body=b"of another program")
        await self.sweeper.sweep()
        self.assertEqual((s3_server.keys(self.bucket), self.sweeper.count), ([key, "calls/other.txt"], 1))

    async def test_the_log_is_limited(self) -> None:
        self.patch(object_sweep, "_MAX_LOGGED", 2)
        for _ in range(3):
            self.put(uuid4())
        with capturedLogs() as events:
            await self.sweeper.sweep()
        lines = [formatEvent(event) for event in events if "no Recording" in formatEvent(event)]
        self.assertEqual(len(lines), 3)
        self.assertEqual(
            lines[-1], f"3 objects in s3://{self.bucket}/calls/ belong to no Recording; 2 of them were logged"
        )
        self.assertEqual(self.sweeper.count, 3)

    async def test_buckets_of_profiles(self) -> None:
        own = s3_server.new_bucket()
        await self.profiles.create(profile(archive_bucket=own, archive_prefix=""))
        self.put(uuid4(), "", own)
        await self.sweeper.sweep()
        self.assertEqual(self.sweeper.count, 1)

    async def test_new_object_is_left_alone(self) -> None:
        self.put(uuid4())
        self.clock.rightNow -= 2 * DAY
        await self.sweeper.sweep()
        self.assertEqual(self.sweeper.count, 0)

    async def test_store_is_down(self) -> None:
        sweeper = self.make_sweeper(S3Store(s3_server.settings("http://127.0.0.1:1", timeout=1.0)))
        await sweeper.sweep()
        self.assertEqual(sweeper.count, 0)
