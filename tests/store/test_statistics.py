"""The statistics of Recordings and jobs that /metrics exports."""

from datetime import UTC, datetime
from typing import Final
from uuid import uuid4

from tests.database import DatabaseTestCase
from voxrec.model import Recording, RecordingState
from voxrec.store.recordings import Recordings
from voxrec.store.statistics import PendingJobs, read_statistics

CREATED_AT: Final = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)


class StatisticsTests(DatabaseTestCase):
    async def test_recordings_and_jobs_are_counted(self) -> None:
        recordings = Recordings(self.pool)
        for state in (RecordingState.FAILED, RecordingState.FAILED, RecordingState.COMPLETED):
            await recordings.create(
                Recording(id=uuid4(), profile_id=uuid4(), state=state, created_at=CREATED_AT, updated_at=CREATED_AT)
            )
        await self.pool.execute(
            "INSERT INTO jobs (kind, recording_id, due_at, dead, done_at, created_at) VALUES "
            "('mail', gen_random_uuid(), now(), FALSE, NULL, now() - interval '1 hour'), "
            "('mail', gen_random_uuid(), now() + interval '1 day', FALSE, NULL, now()), "
            "('mail', gen_random_uuid(), now(), FALSE, now(), now()), "
            "('finish', gen_random_uuid(), now(), TRUE, NULL, now())"
        )
        statistics = await read_statistics(self.pool)
        self.assertEqual(statistics.recordings, {"failed": 2})
        self.assertEqual(statistics.dead, {"finish": 1})
        mail = statistics.pending["mail"]
        self.assertEqual((mail.count, mail.due, round(mail.oldest_age / 60)), (2, 1, 60))
        self.assertEqual(statistics.pending.get("finish", PendingJobs()), PendingJobs())
