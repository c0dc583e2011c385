"""The durable queue: what is owed to a Recording. Several daemons share it; each job is done by one of them.

A job is claimed for a lease. A daemon that dies lets its lease run out, and then the job is claimed again. All times
are PostgreSQL's own, so that the daemons' clocks need not agree.
"""

# ruff: noqa: S608 - what is put into the statements are names of columns, all our own; values are parameters

from collections.abc import AsyncIterator, Callable, Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from voxrec.cursor import Cursor
from voxrec.errors import Conflict, NotFound
from voxrec.model import Job, JobKind, JobState
from voxrec.postgres.database import Database
from voxrec.postgres.statement import PreparedStatement, Row
from voxrec.postgres.transaction import Transaction
from voxrec.store.deliveries import reopen_refused
from voxrec.store.keyset import Conditions, iterate_pages, newest

_KEYS: Final = tuple(field.encode_name for field in msgspec.structs.fields(Job))
_STATE: Final = """
    CASE WHEN done_at IS NOT NULL THEN 'done' WHEN dead THEN 'dead'
         WHEN leased_until > now() THEN 'running' ELSE 'pending' END
"""
_COLUMNS: Final = {"state": _STATE}
JOB_COLUMNS: Final = ", ".join(_COLUMNS.get(field.name, field.name) for field in msgspec.structs.fields(Job))
_MINE: Final = "id = %s AND claims = %s AND leased_until IS NOT NULL"
# What is still to come is looked for only where all that is due was taken: a long queue is not read for each few of it.
_CLAIM: Final = PreparedStatement(f"""
    WITH due AS MATERIALIZED (
        SELECT id FROM jobs
        WHERE done_at IS NULL AND NOT dead AND kind = ANY(%s) AND due_at <= now()
          AND (leased_until IS NULL OR leased_until <= now())
        ORDER BY due_at, created_at LIMIT %s FOR UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE jobs SET attempts = attempts + 1, claims = claims + 1, leased_until = now() + %s::interval
        FROM due WHERE jobs.id = due.id RETURNING jobs.*
    ), others AS (
        SELECT min(greatest(due_at, leased_until)) AS next_due FROM jobs
        WHERE (SELECT count(*) FROM due) < %s
          AND done_at IS NULL AND NOT dead AND kind = ANY(%s) AND id NOT IN (SELECT id FROM due)
    )
    SELECT next_due, {JOB_COLUMNS} FROM others LEFT JOIN claimed ON TRUE ORDER BY due_at, created_at
""")
_DONE: Final = PreparedStatement(
    f"UPDATE jobs SET done_at = now(), leased_until = NULL, last_error = NULL WHERE {_MINE}"
)
_OWE_ERASING: Final = """
    INSERT INTO jobs (kind, recording_id, path) VALUES ('erase', %s, %s)
    ON CONFLICT (recording_id, kind) DO UPDATE
    SET path = coalesce(excluded.path, jobs.path), due_at = now(), leased_until = NULL, dead = FALSE, done_at = NULL,
        attempts = 0
"""
_EXCUSE: Final = """
    UPDATE jobs SET done_at = now(), leased_until = NULL, dead = FALSE
    WHERE recording_id = %s AND kind <> 'erase' AND done_at IS NULL
"""
_SELECT: Final = f"SELECT {JOB_COLUMNS} FROM jobs"
_SELECT_UNDONE: Final = f"SELECT {JOB_COLUMNS} FROM (SELECT * FROM jobs WHERE done_at IS NULL) AS jobs"
_RESTART: Final = f"""
    UPDATE jobs SET dead = FALSE, attempts = 0, due_at = now(), leased_until = NULL WHERE id = %s
    RETURNING {JOB_COLUMNS}
"""
_FORGET: Final = """
    DELETE FROM jobs
    WHERE recording_id IN (SELECT recording_id FROM jobs WHERE kind = 'erase' AND done_at < now() - %s)
      AND done_at IS NOT NULL
      AND NOT EXISTS (SELECT FROM recordings WHERE recordings.id = jobs.recording_id)
"""
# What belongs to these Profiles. The files of a deleted Recording belong to nobody any more.
_OF_PROFILES: Final = "EXISTS (SELECT FROM recordings WHERE recordings.id = jobs.recording_id AND profile_id = ANY(%s))"


@dataclass(frozen=True, kw_only=True)
class JobFilter:
    """Which jobs are wanted, of those that are not done: all where nothing is given."""

    kinds: Collection[JobKind] = ()
    states: Collection[JobState] = ()
    recording_id: UUID | None = None

    def conditions(self) -> Conditions:
        """The same, for PostgreSQL."""
        where = Conditions()
        where.add("kind = ANY(%s)", [kind.value for kind in self.kinds] or None)
        where.add(f"{_STATE} = ANY(%s)", [state.value for state in self.states] or None)
        where.add("recording_id = %s", self.recording_id)
        return where


ALL_JOBS: Final = JobFilter()


class ClaimedJobs(NamedTuple):
    """What was taken, and when there is more.

    ``next_due`` is when one of the others can be claimed, in the past where somebody else is about to; None: when one
    is put in, or, where as many were taken as were wanted, perhaps at once.
    """

    jobs: list[Job]
    next_due: datetime | None


def _unchecked(_job: Job) -> None:
    pass


async def enqueue_erase(transaction: Transaction, recording_id: UUID, path: str | None) -> None:
    """Put the job into the queue that deletes a Recording's files, as part of the Recording's own deletion.

    Nothing else is owed to it any more. An id that was deleted, given again and deleted again is erased again.
    """
    await transaction.execute(_EXCUSE, (recording_id,))
    await transaction.execute(_OWE_ERASING, (recording_id, path))


class Jobs:
    """The queue in PostgreSQL. Everything raises StoreUnavailable while it does not answer.

    ``extend``, ``done``, ``retry`` and ``dead_letter`` return whether the job was still the caller's: its lease may
    have run out, and somebody else may have claimed it since.
    """

    def __init__(self, database: Database, only: frozenset[UUID] | None = None) -> None:
        self._database = database
        self._only = only

    def scoped_to(self, profile_ids: frozenset[UUID] | None) -> "Jobs":
        """The same queue as if there were no other Profiles than these; None: all of it.

        It is about what people see and do, and not about what a worker takes.
        """
        return self if profile_ids is None else Jobs(self._database, profile_ids)

    async def claim(self, kinds: Collection[JobKind], lease: timedelta, limit: int = 1) -> ClaimedJobs:
        """Take the jobs that are due the longest, at most ``limit`` of them, for the time of the lease."""
        wanted = [kind.value for kind in kinds]
        rows = await self._database.returning(_CLAIM, (wanted, limit, lease, limit, wanted))
        return ClaimedJobs([job_from_row(tuple(row)) for _, *row in rows if row[0] is not None], rows[0][0])

    async def extend_lease(self, job: Job, lease: timedelta) -> bool:
        """Go on with it: the lease begins anew."""
        return await self._settle("leased_until = now() + %s", (lease,), job)

    async def mark_done(self, job: Job) -> bool:
        """It is done, for good."""
        return bool(await self._database.execute(_DONE, (job.id, job.claims)))

    async def retry(self, job: Job, error: str, due_at: datetime) -> bool:
        """It failed, and is to be tried again at ``due_at``."""
        return await self._settle("leased_until = NULL, last_error = %s, due_at = %s", (error, due_at), job)

    async def dead_letter(self, job: Job, error: str) -> bool:
        """It failed, and trying again makes no sense unless somebody revives it."""
        return await self._settle("leased_until = NULL, last_error = %s, dead = TRUE", (error,), job)

    async def _settle(self, assignments: str, values: tuple[object, ...], job: Job) -> bool:
        sql = f"UPDATE jobs SET {assignments} WHERE {_MINE}"
        return bool(await self._database.execute(sql, (*values, job.id, job.claims)))

    async def get(self, job_id: UUID) -> Job:
        """One job, also where it is done. NotFound."""
        where = self._visible()
        where.add("id = %s", job_id)
        return _only(await self._database.query(f"{_SELECT} WHERE {where}", where.params), job_id)

    def pages(self, wanted: JobFilter = ALL_JOBS, size: int = 500) -> AsyncIterator[list[Job]]:
        """Every wanted job that is not done, newest first, ``size`` of them at a time."""
        return iterate_pages(lambda after: self.page(wanted, size, after), size)

    async def page(self, wanted: JobFilter = ALL_JOBS, limit: int = 500, after: Cursor | None = None) -> list[Job]:
        """At most ``limit`` of the wanted jobs that are not done, newest first, from behind ``after`` on."""
        where = wanted.conditions()
        where.add(_OF_PROFILES, self._limit())
        return [job_from_row(row) for row in await newest(self._database, _SELECT_UNDONE, where, limit, after)]

    async def restart(self, job_id: UUID, check: Callable[[Job], None] = _unchecked) -> Job:
        """Try it at once and as if for the first time, unless ``check`` raises: a dead one, or one that waits.

        Of a mail, whoever was refused is asked again. NotFound; Conflict where it is running or done.
        """

        async def work(transaction: Transaction) -> Job:
            job = await self._locked(transaction, job_id)
            check(job)
            if job.state not in (JobState.DEAD, JobState.PENDING):
                raise Conflict(f"Job {job_id} is {job.state}: there is nothing to start again.")
            if job.kind is JobKind.MAIL:
                await reopen_refused(transaction, job.recording_id)
            return _only(await transaction.query(_RESTART, (job_id,)), job_id)

        return await self._database.transaction(work)

    async def delete(self, job_id: UUID, check: Callable[[Job], None] = _unchecked) -> None:
        """Give a dead one up for good, unless ``check`` raises.

        NotFound; Conflict where it is not dead, and for FINISH: its Recording would never come to an end.
        """

        async def work(transaction: Transaction) -> None:
            job = await self._locked(transaction, job_id)
            check(job)
            if job.state is not JobState.DEAD:
                raise Conflict(f"Job {job_id} is {job.state}: only a dead one can be given up.")
            if job.kind is JobKind.FINISH:
                raise Conflict(f"Recording {job.recording_id} needs job {job_id}: start it again, or delete both.")
            await transaction.execute("DELETE FROM jobs WHERE id = %s", (job_id,))

        await self._database.transaction(work)

    async def _locked(self, transaction: Transaction, job_id: UUID) -> Job:
        where = self._visible()
        where.add("id = %s", job_id)
        return _only(await transaction.query(f"{_SELECT} WHERE {where} FOR UPDATE", where.params), job_id)

    def _visible(self) -> Conditions:
        where = Conditions()
        where.add(_OF_PROFILES, self._limit())
        return where

    def _limit(self) -> list[UUID] | None:
        return None if self._only is None else list(self._only)

    async def purge_erased(self, age: timedelta) -> int:
        """Remove what was done for Recordings that were erased longer than ``age`` ago; how many jobs they were.

        Other jobs that are done stay, so that nothing is done twice.
        """
        return await self._database.execute(_FORGET, (age,))


def _only(rows: list[Row], job_id: UUID) -> Job:
    if not rows:
        raise NotFound(f"There is no job {job_id}.")
    return job_from_row(rows[0])


def job_from_row(row: Row) -> Job:
    """The Job that a row of `JOB_COLUMNS` tells."""
    return msgspec.convert(dict(zip(_KEYS, row, strict=True)), Job)
