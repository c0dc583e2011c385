"""The durable queue: what is owed to a Recording. Several daemons share it; each job is done by one of them.

A job is claimed for a lease. A daemon that dies lets its lease run out, and then the job is claimed again. All times
are PostgreSQL's own, so that the daemons' clocks need not agree.
"""

# ruff: noqa: S608 - what is put into the statements are names of columns, all our own; values are parameters

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final
from uuid import UUID

from voxrec.errors import Conflict, NotFound
from voxrec.model import Job, JobKind
from voxrec.store.keyset import Conditions
from voxrec.store.link import Row
from voxrec.store.pool import Pool, Transaction

_LISTED: Final = "id, kind, recording_id, attempts, due_at, last_error, dead, path"
# The attempt is the fence: who has lost a job to somebody else knows an older number.
_MINE: Final = "id = %s AND attempts = %s AND leased_until IS NOT NULL"
_CLAIM: Final = f"""
    UPDATE jobs SET attempts = attempts + 1, leased_until = now() + %s
    WHERE id = (
        SELECT id FROM jobs
        WHERE done_at IS NULL AND NOT dead AND kind = ANY(%s) AND due_at <= now()
          AND (leased_until IS NULL OR leased_until <= now())
        ORDER BY due_at, id LIMIT 1 FOR UPDATE SKIP LOCKED
    )
    RETURNING {_LISTED}
"""
_NEXT_DUE: Final = """
    SELECT min(greatest(due_at, leased_until)) FROM jobs WHERE done_at IS NULL AND NOT dead AND kind = ANY(%s)
"""
_OWE_ERASING: Final = """
    INSERT INTO jobs (kind, recording_id, path) VALUES ('erase', %s, %s)
    ON CONFLICT (recording_id, kind) DO UPDATE
    SET path = coalesce(excluded.path, jobs.path), due_at = now(), leased_until = NULL, dead = FALSE, done_at = NULL
"""
EVERY_KIND: Final = frozenset(JobKind)


@dataclass(frozen=True, kw_only=True)
class JobFilter:
    """Which jobs are wanted: all that are not done where nothing is given."""

    kind: JobKind | None = None
    recording_id: UUID | None = None
    dead: bool | None = None

    def conditions(self) -> Conditions:
        """The same, for PostgreSQL."""
        where = Conditions()
        where.add("kind = %s", self.kind)
        where.add("recording_id = %s", self.recording_id)
        where.add("dead = %s", self.dead)
        return where


EVERY_JOB: Final = JobFilter()


async def owe(transaction: Transaction, recording_id: UUID, kinds: Iterable[JobKind]) -> None:
    """Put jobs into the queue, as part of what makes them necessary. What is or was owed already stays as it is."""
    for kind in kinds:
        await transaction.execute(
            "INSERT INTO jobs (kind, recording_id) VALUES (%s, %s) ON CONFLICT DO NOTHING", (kind.value, recording_id)
        )


async def owe_erasing(transaction: Transaction, recording_id: UUID, path: str | None) -> None:
    """Put the job into the queue that deletes a Recording's files, as part of the Recording's own deletion.

    An id that was deleted, given again and deleted again is erased again.
    """
    await transaction.execute(_OWE_ERASING, (recording_id, path))


class Jobs:
    """The queue in PostgreSQL. Everything raises StoreUnavailable while it does not answer.

    ``extend``, ``done``, ``retry`` and ``bury`` return whether the job was still the caller's: its lease may have run
    out, and somebody else may have claimed it since.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def claim(self, kinds: Collection[JobKind], lease: timedelta) -> Job | None:
        """Take the job that is due the longest, for the time of the lease. None where there is none."""
        rows = await self._pool.returning(_CLAIM, (lease, [kind.value for kind in kinds]))
        return _job(rows[0]) if rows else None

    async def extend(self, job: Job, lease: timedelta) -> bool:
        """Go on with it: the lease begins anew."""
        return await self._settle("leased_until = now() + %s", (lease,), job)

    async def done(self, job: Job) -> bool:
        """It is done, for good."""
        return await self._settle("done_at = now(), leased_until = NULL, last_error = NULL", (), job)

    async def retry(self, job: Job, error: str, due_at: datetime) -> bool:
        """It failed, and is to be tried again at ``due_at``."""
        return await self._settle("leased_until = NULL, last_error = %s, due_at = %s", (error, due_at), job)

    async def bury(self, job: Job, error: str) -> bool:
        """It failed, and trying again makes no sense unless somebody revives it."""
        return await self._settle("leased_until = NULL, last_error = %s, dead = TRUE", (error,), job)

    async def _settle(self, assignments: str, values: tuple[object, ...], job: Job) -> bool:
        sql = f"UPDATE jobs SET {assignments} WHERE {_MINE}"
        return bool(await self._pool.execute(sql, (*values, job.id, job.attempts)))

    async def next_due(self, kinds: Collection[JobKind] = EVERY_KIND) -> datetime | None:
        """When there is something to claim; in the past where there is already. None: when one is put in."""
        rows = await self._pool.query(_NEXT_DUE, ([kind.value for kind in kinds],))
        due: datetime | None = rows[0][0]
        return due

    async def page(self, wanted: JobFilter = EVERY_JOB, limit: int = 500, after: int | None = None) -> list[Job]:
        """At most ``limit`` of the wanted jobs that are not done, newest first, from behind the id ``after`` on."""
        where = wanted.conditions()
        where.add("id < %s", after)
        rows = await self._pool.query(
            f"SELECT {_LISTED} FROM jobs WHERE done_at IS NULL AND {where} ORDER BY id DESC LIMIT %s",
            (*where.params, limit),
        )
        return [_job(row) for row in rows]

    async def revive(self, job_id: int) -> Job:
        """Try a dead one again, at once and as if for the first time. NotFound; Conflict where it is not dead."""
        rows = await self._pool.returning(
            f"UPDATE jobs SET dead = FALSE, attempts = 0, due_at = now() WHERE id = %s AND dead RETURNING {_LISTED}",
            (job_id,),
        )
        if rows:
            return _job(rows[0])
        if await self._pool.query("SELECT 1 FROM jobs WHERE id = %s", (job_id,)):
            raise Conflict(f"Job {job_id} is not dead.")
        raise NotFound(f"There is no job {job_id}.")

    async def forget(self, age: timedelta) -> int:
        """Remove what was done longer than ``age`` ago and can no longer be asked for again; how many they were."""
        return await self._pool.execute("DELETE FROM jobs WHERE done_at < now() - %s", (age,))


def _job(row: Row) -> Job:
    job_id, kind, recording_id, attempts, due_at, last_error, dead, path = row
    return Job(
        id=job_id,
        kind=JobKind(kind),
        recording_id=recording_id,
        attempts=attempts,
        due_at=due_at,
        last_error=last_error,
        dead=dead,
        path=path,
    )
