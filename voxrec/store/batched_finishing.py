"""What jobs store when they end, together with other jobs that end at about the same time."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from twisted.internet.interfaces import IReactorTime

from voxrec.batching import Batcher
from voxrec.model import Job, JobKind, Recording
from voxrec.store.jobs import ClaimedJobs, Jobs
from voxrec.store.recording_results import RecordingResult
from voxrec.store.recordings import Recordings
from voxrec.store.row_batcher import RowBatcher

BATCH_INTERVAL: Final = 0.1
"""Seconds from the start of a statement to that of the next one of its kind."""


class BatchedResults:
    """The Recordings of a node's finish jobs."""

    def __init__(self, clock: IReactorTime, recordings: Recordings) -> None:
        self._recordings = recordings
        self._batcher = RowBatcher(clock, self._complete_several, self._complete_one, BATCH_INTERVAL)

    async def get(self, recording_id: UUID) -> Recording:
        """See `Recordings.get`."""
        return await self._recordings.get(recording_id)

    async def complete(self, recording: Recording, follow_up: Sequence[JobKind]) -> None:
        """See `Recordings.complete`."""
        await self._batcher.change(RecordingResult(recording, follow_up))

    async def _complete_several(self, results: Sequence[RecordingResult]) -> list[bool | None]:
        by_id = {result.recording.id: result for result in results}  # a statement cannot change a row twice
        stored = await self._recordings.complete_unlocked(by_id.values())
        return [result.recording.id in stored or None for result in results]

    async def _complete_one(self, result: RecordingResult) -> bool:
        await self._recordings.complete(result.recording, result.follow_up)
        return True


class BatchedJobs:
    """The queue of a worker that ends many jobs per second. The methods are those of `Jobs`."""

    def __init__(self, clock: IReactorTime, jobs: Jobs) -> None:
        self._jobs = jobs
        self._batcher: Batcher[Job, bool] = Batcher(clock, jobs.mark_all_done, interval=BATCH_INTERVAL)

    async def claim(self, kinds: Collection[str], lease: timedelta, limit: int) -> ClaimedJobs:
        """See `Jobs.claim`."""
        return await self._jobs.claim(kinds, lease, limit)

    async def extend_lease(self, job: Job, lease: timedelta) -> bool:
        """See `Jobs.extend_lease`."""
        return await self._jobs.extend_lease(job, lease)

    async def mark_done(self, job: Job) -> bool:
        """See `Jobs.mark_done`."""
        return await self._batcher.request(job)

    async def retry(self, job: Job, error: str, due_at: datetime) -> bool:
        """See `Jobs.retry`."""
        return await self._jobs.retry(job, error, due_at)

    async def dead_letter(self, job: Job, error: str) -> bool:
        """See `Jobs.dead_letter`."""
        return await self._jobs.dead_letter(job, error)
