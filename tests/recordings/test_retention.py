"""Tests of voxrec.recordings.retention."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from twisted.internet.task import Clock

from tests.database import DatabaseTestCase
from voxrec.errors import NotFound
from voxrec.model import AuditOutcome, JobKind, Recording, RecordingState
from voxrec.recordings import retention as module
from voxrec.recordings.retention import RetentionSweeper
from voxrec.store.audit import Audit, AuditFilter
from voxrec.store.jobs import Jobs
from voxrec.store.recordings import Recordings

NOON = datetime(2026, 11, 23, 12, tzinfo=UTC)


class RetentionTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.recordings = Recordings(self.pool)
        self.clock = Clock()
        self.clock.advance(NOON.timestamp())

    async def create(self, expires_at: datetime | None, **fields: Any) -> UUID:
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

    async def test_expired_recording_is_deleted_with_its_files(self) -> None:
        expired = await self.create(NOON)
        not_expired = [
            await self.create(NOON + timedelta(seconds=1)),
            await self.create(None),
            await self.create(NOON - timedelta(days=1), legal_hold=True),
        ]
        await RetentionSweeper(self.clock, self.recordings).sweep()
        with self.assertRaises(NotFound):
            await self.recordings.get(expired)
        for recording_id in not_expired:
            self.assertEqual((await self.recordings.get(recording_id)).id, recording_id)
        ((job,), _) = await Jobs(self.pool).claim([JobKind.ERASE], timedelta(minutes=1))
        self.assertEqual(job.recording_id, expired)
        (entry,) = await Audit(self.pool).page(AuditFilter(target_id=expired))
        self.assertEqual((entry.who, entry.method, entry.outcome), ("retention", "RULE", AuditOutcome.DONE))
        self.assertEqual((entry.created_at, entry.reason), (NOON, "expiresAt 2026-11-23T12:00:00Z has passed"))
        self.assertEqual(len(await Audit(self.pool).page()), 1)

    async def test_several_batches(self) -> None:
        for _ in range(7):
            await self.create(NOON - timedelta(days=1))
        self.patch(module, "_BATCH_SIZE", 3)
        await RetentionSweeper(self.clock, self.recordings).sweep()
        self.assertEqual(await self.recordings.page(), [])

    async def test_legal_hold_set_during_the_sweep_is_respected(self) -> None:
        recording_id = await self.create(NOON - timedelta(days=1))
        expired = self.recordings.expired

        async def set_legal_hold_after_query(*args: Any) -> list[Recording]:
            found = await expired(*args)
            await self.pool.execute("UPDATE recordings SET legal_hold = TRUE")
            return found

        self.patch(self.recordings, "expired", set_legal_hold_after_query)
        await RetentionSweeper(self.clock, self.recordings).sweep()
        self.assertTrue((await self.recordings.get(recording_id)).legal_hold)

    async def test_sweep_without_postgresql_deletes_nothing(self) -> None:
        await self.pool.stopService()
        await RetentionSweeper(self.clock, self.recordings).sweep()

    async def test_service_sweeps_every_hour(self) -> None:
        sweeps: list[float] = []

        async def sweep() -> None:
            sweeps.append(self.clock.seconds() - NOON.timestamp())

        self.patch(RetentionSweeper, "sweep", lambda _: sweep())
        service = RetentionSweeper(self.clock, self.recordings)
        service.startService()
        self.clock.advance(3600)
        await service.stopService()
        self.clock.advance(3600)
        self.assertEqual(sweeps, [0, 3600])
