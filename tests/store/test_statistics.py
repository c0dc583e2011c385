"""The statistics of Recordings and jobs that /metrics exports."""

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import uuid4

from tests.database import DatabaseTestCase
from voxrec.model import JobKind, JobState, Recording, RecordingState
from voxrec.store.jobs import Jobs
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
        await self.pool.execute(
            "INSERT INTO jobs (kind, recording_id, dead, unconfirmed) VALUES ('mail', gen_random_uuid(), TRUE, TRUE)"
        )
        statistics = await read_statistics(self.pool)
        self.assertEqual(statistics.recordings, {"failed": 2})
        self.assertEqual((statistics.dead, statistics.unconfirmed), ({"finish": 1}, {"mail": 1}))
        mail = statistics.pending["mail"]
        self.assertEqual((mail.count, mail.due, round(mail.oldest_age / 60)), (2, 1, 60))
        self.assertEqual(statistics.pending.get("finish", PendingJobs()), PendingJobs())

    async def test_claimed_jobs_are_due(self) -> None:
        await self.pool.execute("INSERT INTO jobs (kind, recording_id) VALUES ('mail', gen_random_uuid())")
        ((claimed,), _) = await Jobs(self.pool).claim([JobKind.MAIL], timedelta(minutes=1))
        self.assertIs(claimed.state, JobState.RUNNING)
        mail = (await read_statistics(self.pool)).pending["mail"]
        self.assertEqual((mail.count, mail.due), (1, 1))
