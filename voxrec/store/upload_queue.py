"""The jobs that upload audio, fair among buckets: a bucket that fails or is slow does not delay the others."""

# ruff: noqa: S608 - only names of columns are formatted into statements; values are parameters

import json
from collections import Counter
from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

from twisted.internet.interfaces import IReactorTime

from voxrec.model import Job, Recording
from voxrec.postgres.database import Database
from voxrec.postgres.statement import PreparedStatement
from voxrec.postgres.transaction import Transaction
from voxrec.store.jobs import JOB_COLUMNS, ClaimedJobs, Jobs, job_from_row
from voxrec.store.row_batcher import RowBatcher

_PENDING: Final = "kind = 'upload' AND done_at IS NULL AND NOT dead"
_BUCKET: Final = "coalesce(target, '')"
_UNCLAIMED: Final = f"""
    {_PENDING} AND (leased_until IS NULL OR leased_until <= now()) AND (node IS NULL OR node = %s)
"""
# ``bucket`` finds the buckets with uploads by one index probe each. They take turns, and each of them has a limited
# number of uploads on this node: a parameter maps buckets to the number of those that run. The cost depends on the
# number of buckets, not on that of jobs. Jobs of busy buckets count for the next due time, so that the worker claims
# again when one of them has ended.
_CLAIM: Final = PreparedStatement(f"""
    WITH RECURSIVE bucket AS (
        (SELECT {_BUCKET} AS name FROM jobs WHERE {_PENDING} ORDER BY {_BUCKET} LIMIT 1)
        UNION ALL
        SELECT (SELECT {_BUCKET} FROM jobs WHERE {_PENDING} AND {_BUCKET} > bucket.name ORDER BY {_BUCKET} LIMIT 1)
        FROM bucket WHERE bucket.name IS NOT NULL
    ), candidate AS MATERIALIZED (
        SELECT due.id, due.due_at, due.created_at,
               row_number() OVER (PARTITION BY bucket.name ORDER BY due.due_at, due.created_at) AS turn
        FROM bucket CROSS JOIN LATERAL (
            SELECT id, due_at, created_at FROM jobs
            WHERE {_UNCLAIMED} AND {_BUCKET} = bucket.name AND due_at <= now()
            ORDER BY due_at, created_at
            LIMIT greatest(0, %s::integer - coalesce((%s::jsonb ->> bucket.name)::integer, 0))
            FOR UPDATE SKIP LOCKED
        ) AS due
        WHERE bucket.name IS NOT NULL
    ), claimed AS (
        UPDATE jobs
        SET attempts = attempts + 1, claims = claims + 1, leased_until = now() + %s::interval, leased_by = %s
        WHERE id = ANY (ARRAY(SELECT id FROM candidate ORDER BY turn, due_at, created_at LIMIT %s::integer))
        RETURNING jobs.*
    ), others AS (
        SELECT due.due_at AS next_due FROM bucket CROSS JOIN LATERAL (
            SELECT due_at FROM jobs
            WHERE {_UNCLAIMED} AND {_BUCKET} = bucket.name AND id <> ALL (ARRAY(SELECT id FROM claimed))
            ORDER BY due_at LIMIT 1
        ) AS due
        WHERE bucket.name IS NOT NULL
        UNION ALL
        SELECT min(leased_until) FROM jobs WHERE {_PENDING} AND leased_until > now()
    )
    SELECT (SELECT min(next_due) FROM others), {JOB_COLUMNS}
    FROM (SELECT) AS always LEFT JOIN claimed ON TRUE ORDER BY due_at, created_at
""")
# The lock of an object was changed while the job ran if its due time is not that of the claim: then it is due again.
_MARK_DONE: Final = """
    WITH locked AS MATERIALIZED (
        SELECT id FROM jobs WHERE id = ANY (%s::uuid[]) FOR UPDATE {wait}
    )
    UPDATE jobs
    SET leased_until = NULL, leased_by = NULL, last_error = NULL,
        done_at = CASE WHEN due_at = claimed_due THEN now() END,
        due_at = CASE WHEN due_at = claimed_due THEN due_at ELSE clock_timestamp() END
    FROM unnest(%s::uuid[], %s::bigint[], %s::timestamptz[]) AS ended (job_id, claim, claimed_due)
    WHERE id = job_id AND claims = claim AND leased_until IS NOT NULL AND id IN (SELECT id FROM locked)
    RETURNING id
"""
_MARK_ONE_DONE: Final = PreparedStatement(_MARK_DONE.format(wait=""))
_MARK_SEVERAL_DONE: Final = PreparedStatement(_MARK_DONE.format(wait="SKIP LOCKED"))
_ENQUEUE: Final = """
    INSERT INTO jobs (kind, recording_id, target, node)
    SELECT 'upload', %s, (SELECT archive_bucket FROM profiles WHERE id = %s), %s
    ON CONFLICT DO NOTHING
"""
# A part of the backlog: those that were due first, from a due time on, so that none is read twice.
_MAKE_DUE: Final = f"""
    WITH waiting AS (
        SELECT id, due_at FROM jobs
        WHERE {_PENDING} AND {_BUCKET} = %s AND due_at > now() AND due_at >= %s AND last_error IS NOT NULL
        ORDER BY due_at LIMIT %s FOR UPDATE SKIP LOCKED
    ), due AS (
        UPDATE jobs SET due_at = now() WHERE id = ANY (ARRAY(SELECT id FROM waiting))
    )
    SELECT count(*), max(due_at) FROM waiting
"""
_BATCH: Final = 5000


class UploadQueue:
    """The queue of the upload worker. At most ``per_target`` jobs of one bucket run on this node at the same time."""

    def __init__(self, clock: IReactorTime, database: Database, jobs: Jobs, per_target: int) -> None:
        self._database = database
        self._ended = RowBatcher(clock, self._mark_several_done, self._mark_one_done)
        self._jobs = jobs
        self._per_target = per_target
        self._running: dict[UUID, str] = {}  # without those that have ended, whether their outcome is stored or not

    async def claim(self, _kinds: Collection[str], lease: timedelta, limit: int) -> ClaimedJobs:
        """Claim at most ``limit`` due uploads, see `Jobs.claim`."""
        running = json.dumps(Counter(self._running.values()))
        node, instance = self._jobs.node, self._jobs.instance
        params = (node, self._per_target, running, lease, instance, limit, node)
        rows = await self._database.returning(_CLAIM, params)
        claimed = [job_from_row(tuple(row)) for _, *row in rows if row[0] is not None]
        self._running |= {job.id: job.target or "" for job in claimed}
        return ClaimedJobs(claimed, rows[0][0] if len(claimed) < limit else None)

    async def extend_lease(self, job: Job, lease: timedelta) -> bool:
        """See `Jobs.extend_lease`."""
        return await self._jobs.extend_lease(job, lease)

    async def mark_done(self, job: Job) -> bool:
        """Mark the job as done, or as due again if the lock of the object was changed since the claim.

        See `Jobs.mark_done`.
        """
        self._running.pop(job.id, None)
        return await self._ended.change(job)

    async def _mark_several_done(self, jobs: Sequence[Job]) -> list[bool | None]:
        done = await self._mark_done(_MARK_SEVERAL_DONE, jobs)
        return [job.id in done or None for job in jobs]

    async def _mark_one_done(self, job: Job) -> bool:
        return job.id in await self._mark_done(_MARK_ONE_DONE, [job])

    async def _mark_done(self, statement: str, jobs: Sequence[Job]) -> set[UUID]:
        """Return the jobs that were marked; the others are not held any more."""
        ids = [job.id for job in jobs]
        claims, due_times = [job.claims for job in jobs], [job.due_at for job in jobs]
        rows = await self._database.returning(statement, (ids, ids, claims, due_times))
        return {job_id for (job_id,) in rows}

    async def retry(self, job: Job, error: str, due_at: datetime) -> bool:
        """See `Jobs.retry`."""
        self._running.pop(job.id, None)
        return await self._jobs.retry(job, error, due_at)

    async def dead_letter(self, job: Job, error: str) -> bool:
        """See `Jobs.dead_letter`."""
        self._running.pop(job.id, None)
        return await self._jobs.dead_letter(job, error)

    async def make_due(self, target: str | None) -> int:
        """Make the uploads to a bucket due that have failed before: it works again. Return their number."""
        total: int = 0
        after = datetime.min.replace(tzinfo=UTC)
        while True:
            (row,) = await self._database.returning(_MAKE_DUE, (target or "", after, _BATCH))
            count, after = row
            total += count
            if count < _BATCH:
                return total


async def enqueue_upload(transaction: Transaction, recording: Recording, node: str | None) -> None:
    """Enqueue the upload of a Recording, as part of the transaction that stores its path in the archive."""
    await transaction.execute(_ENQUEUE, (recording.id, recording.profile_id, node))
