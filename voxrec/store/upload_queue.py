"""The jobs that upload audio, fair among buckets: a bucket that fails or is slow does not delay the others."""

# ruff: noqa: S608 - only names of columns are formatted into statements; values are parameters

from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from voxrec.errors import StoreUnavailable
from voxrec.model import Job, Recording
from voxrec.postgres.database import Database
from voxrec.postgres.statement import PreparedStatement
from voxrec.postgres.transaction import Transaction
from voxrec.store.jobs import JOB_COLUMNS, ClaimedJobs, Jobs, job_from_row

_CLAIMABLE: Final = """
    kind = 'upload' AND done_at IS NULL AND NOT dead AND (node IS NULL OR node = %s)
"""
# Jobs of busy buckets count for the next due time, so that the worker claims again when one of them has ended.
_CLAIM: Final = PreparedStatement(f"""
    WITH due AS MATERIALIZED (
        SELECT id FROM jobs
        WHERE {_CLAIMABLE} AND due_at <= now() AND (leased_until IS NULL OR leased_until <= now())
          AND coalesce(target, '') <> ALL(%s)
        ORDER BY due_at, created_at LIMIT 1 FOR UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE jobs SET attempts = attempts + 1, claims = claims + 1, leased_until = now() + %s::interval
        FROM due WHERE jobs.id = due.id RETURNING jobs.*
    ), others AS (
        SELECT min(greatest(due_at, leased_until)) AS next_due FROM jobs
        WHERE (SELECT count(*) FROM due) = 0 AND {_CLAIMABLE}
    )
    SELECT next_due, {JOB_COLUMNS} FROM others LEFT JOIN claimed ON TRUE
""")
_ENQUEUE: Final = """
    INSERT INTO jobs (kind, recording_id, target, node)
    SELECT 'upload', %s, (SELECT archive_bucket FROM profiles WHERE id = %s), %s
    ON CONFLICT DO NOTHING
"""
_MAKE_DUE: Final = """
    UPDATE jobs SET due_at = now()
    WHERE kind = 'upload' AND done_at IS NULL AND NOT dead AND due_at > now() AND last_error IS NOT NULL
      AND coalesce(target, '') = %s
"""


class UploadQueue:
    """The queue of the upload worker. At most ``per_target`` jobs of one bucket run on this node at the same time."""

    def __init__(self, database: Database, jobs: Jobs, per_target: int) -> None:
        self._database = database
        self._jobs = jobs
        self._per_target = per_target
        self._running: dict[UUID, str] = {}

    async def claim(self, _kinds: Collection[str], lease: timedelta, limit: int) -> ClaimedJobs:
        """Claim at most ``limit`` due uploads, see `Jobs.claim`."""
        claimed: list[Job] = []
        while len(claimed) < limit:
            node = self._jobs.node
            try:
                ((next_due, *row),) = await self._database.returning(_CLAIM, (node, self._busy(), lease, node))
            except StoreUnavailable:
                if not claimed:
                    raise
                break  # what is claimed must run: until it has ended, it counts for its bucket
            if row[0] is None:
                return ClaimedJobs(claimed, next_due)
            job = job_from_row(tuple(row))
            self._running[job.id] = job.target or ""
            claimed.append(job)
        return ClaimedJobs(claimed, None)

    def _busy(self) -> list[str]:
        running = list(self._running.values())
        return [target for target in {*running} if running.count(target) >= self._per_target]

    async def extend_lease(self, job: Job, lease: timedelta) -> bool:
        """See `Jobs.extend_lease`."""
        return await self._jobs.extend_lease(job, lease)

    async def mark_done(self, job: Job) -> bool:
        """See `Jobs.mark_done`."""
        self._ended(job)
        return await self._jobs.mark_done(job)

    async def retry(self, job: Job, error: str, due_at: datetime) -> bool:
        """See `Jobs.retry`."""
        self._ended(job)
        return await self._jobs.retry(job, error, due_at)

    async def dead_letter(self, job: Job, error: str) -> bool:
        """See `Jobs.dead_letter`."""
        self._ended(job)
        return await self._jobs.dead_letter(job, error)

    def _ended(self, job: Job) -> None:
        """Do not count a job any more. It has ended, whether its outcome can be stored or not."""
        self._running.pop(job.id, None)

    async def make_due(self, target: str | None) -> int:
        """Make the uploads to a bucket due that have failed before: it works again. Return their number."""
        return await self._database.execute(_MAKE_DUE, (target or "",))


async def enqueue_upload(transaction: Transaction, recording: Recording, node: str | None) -> None:
    """Enqueue the upload of a Recording, as part of the transaction that stores its path in the archive."""
    await transaction.execute(_ENQUEUE, (recording.id, recording.profile_id, node))
