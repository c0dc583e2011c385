"""What has expired goes, and nothing else."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from twisted.internet.task import Clock

from tests.database import DatabaseTestCase
from voxrec.errors import NotFound
from voxrec.model import JobKind, Recording, RecordingState
from voxrec.recordings import retention
from voxrec.recordings.retention import Retention
from voxrec.store.jobs import Jobs
from voxrec.store.recordings import Recordings

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


class RetentionTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.recordings = Recordings(self.pool)
        self.clock = Clock()
        self.clock.advance(NOON.timestamp())

    async def kept(self, expires_at: datetime | None, **fields: Any) -> UUID:
        recording = Recording(
            id=uuid4(),
            profile_id=uuid4(),
            state=RecordingState.COMPLETED,
            path="2026/11/23/x.wav",
            expires_at=expires_at,
            created_at=NOON - timedelta(days=30),
            updated_at=NOON - timedelta(days=30),
            **fields,
        )
        return (await self.recordings.create(recording)).id

    async def test_what_has_expired_goes_with_its_files(self) -> None:
        expired = await self.kept(NOON)
        stays = [
            await self.kept(NOON + timedelta(seconds=1)),
            await self.kept(None),
            await self.kept(NOON - timedelta(days=1), legal_hold=True),
        ]
        await Retention(self.clock, self.recordings).sweep()
        with self.assertRaises(NotFound):
            await self.recordings.get(expired)
        for one in stays:
            self.assertEqual((await self.recordings.get(one)).id, one)
        ((job,), _) = await Jobs(self.pool).claim([JobKind.ERASE], timedelta(minutes=1))
        self.assertEqual(job.recording_id, expired)

    async def test_more_than_one_batch(self) -> None:
        for _ in range(7):
            await self.kept(NOON - timedelta(days=1))
        self.patch(retention, "_BATCH", 3)
        await Retention(self.clock, self.recordings).sweep()
        self.assertEqual(await self.recordings.page(), [])

    async def test_without_postgresql_it_comes_back_later(self) -> None:
        await self.pool.stop()
        await Retention(self.clock, self.recordings).sweep()
