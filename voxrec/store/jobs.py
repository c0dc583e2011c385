"""The durable job queue in PostgreSQL, shared by several daemons.

A job is claimed for the time of a lease. If a daemon dies, its leases expire and the jobs are claimed by others. All
times are PostgreSQL's, so the daemons' clocks need not agree.
"""

# ruff: noqa: S608 - only names of columns are formatted into statements; values are parameters

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from voxrec.cursor import Cursor
from voxrec.error_codes import ProblemReason
from voxrec.errors import Conflict
from voxrec.model import Job, JobKind, JobState, StoredObject
from voxrec.postgres.statement import PreparedStatement, Row
from voxrec.postgres.transaction import Transaction
from voxrec.store.deliveries import confirm, reopen
from voxrec.store.keyset import Conditions, fetch_page
from voxrec.store.repository import ScopedRepository, no_check

_FIELDS: Final = msgspec.structs.fields(Job)
_JSON_KEYS: Final = tuple(field.encode_name for field in _FIELDS)
_STATE: Final = """
    CASE WHEN done_at IS NOT NULL THEN 'done' WHEN dead AND unconfirmed THEN 'unconfirmed' WHEN dead THEN 'dead'
         WHEN leased_until > now() THEN 'running' ELSE 'pending' END
"""

JOB_COLUMNS: Final = ", ".join(_STATE if field.name == "state" else field.name for field in _FIELDS)
"""The select list for `job_from_row`."""

# A claim is counted in ``claims``, which identifies its holder. Unlike ``attempts``, it is never reset.
_HELD_BY_CLAIM: Final = "id = %s AND claims = %s AND leased_until IS NOT NULL"
# The next due time is computed only if all due jobs were claimed, so that not every claim reads a long queue.
_CLAIM: Final = PreparedStatement(f"""
    WITH due AS MATERIALIZED (
        SELECT id FROM jobs
        WHERE done_at IS NULL AND NOT dead AND kind = ANY(%s) AND due_at <= now()
          AND (leased_until IS NULL OR leased_until <= now())
          AND (node IS NULL OR node = %s)
        ORDER BY due_at, created_at LIMIT %s FOR UPDATE SKIP LOCKED
    ), claimed AS (
        UPDATE jobs
        SET attempts = attempts + 1, claims = claims + 1, leased_until = now() + %s::interval, leased_by = %s
        FROM due WHERE jobs.id = due.id RETURNING jobs.*
    ), others AS (
        SELECT min(greatest(due_at, leased_until)) AS next_due FROM jobs
        WHERE (SELECT count(*) FROM due) < %s
          AND done_at IS NULL AND NOT dead AND kind = ANY(%s) AND id NOT IN (SELECT id FROM due)
          AND (node IS NULL OR node = %s)
    )
    SELECT next_due, {JOB_COLUMNS} FROM others LEFT JOIN claimed ON TRUE ORDER BY due_at, created_at
""")
# The ids are a parameter of their own, so that the index is used.
_MARK_DONE: Final = PreparedStatement("""
    UPDATE jobs SET done_at = now(), leased_until = NULL, last_error = NULL
    FROM unnest(%s::uuid[], %s::integer[]) AS claim (job_id, number)
    WHERE id = job_id AND claims = number AND leased_until IS NOT NULL AND id = ANY(%s::uuid[])
    RETURNING id, claims
""")
# The change of due_at notifies the workers.
_RELEASE_LEASES: Final = """
    UPDATE jobs SET leased_until = NULL, leased_by = NULL, due_at = now()
    WHERE leased_by = %s AND done_at IS NULL AND leased_until > now()
"""
_CLOSE_OTHER_JOBS: Final = """
    UPDATE jobs SET done_at = coalesce(done_at, now()), leased_until = NULL, dead = FALSE, last_error = NULL
    WHERE recording_id = %s AND kind NOT IN ('erase', 'erase-legs') AND (done_at IS NULL OR last_error IS NOT NULL)
"""
_ENQUEUE_ERASE: Final = """
    INSERT INTO jobs (kind, recording_id, path, node, stored_object)
    SELECT * FROM (
        VALUES ('erase', %s, %s, NULL, %s::jsonb), ('erase-legs', %s, %s, %s, NULL)
    ) AS new (kind, id, path, node, stored_object)
    WHERE kind = 'erase' OR node IN (SELECT name FROM nodes WHERE lost_at IS NULL)
    ON CONFLICT (recording_id, kind) DO UPDATE
    SET path = coalesce(excluded.path, jobs.path), node = excluded.node,
        stored_object = coalesce(excluded.stored_object, jobs.stored_object), due_at = now(), leased_until = NULL,
        dead = FALSE, done_at = NULL, attempts = 0
"""
_SELECT: Final = f"SELECT {JOB_COLUMNS} FROM jobs"
_SELECT_NOT_DONE: Final = f"SELECT {JOB_COLUMNS} FROM (SELECT * FROM jobs WHERE done_at IS NULL) AS jobs"
_RESTART: Final = f"""
    UPDATE jobs SET dead = FALSE, attempts = 0, due_at = now(), leased_until = NULL WHERE id = %s
    RETURNING {JOB_COLUMNS}
"""
_CLOSE: Final = f"""
    UPDATE jobs SET dead = FALSE, done_at = now(), last_error = NULL WHERE id = %s RETURNING {JOB_COLUMNS}
"""
_SET_UNCONFIRMED: Final = f"UPDATE jobs SET unconfirmed = %s WHERE {_HELD_BY_CLAIM} AND unconfirmed <> %s"
_ENDED: Final = frozenset({JobState.DEAD, JobState.UNCONFIRMED})
_PURGE_ERASED: Final = """
    DELETE FROM jobs
    WHERE (recording_id IN (SELECT recording_id FROM jobs WHERE kind = 'erase' AND done_at < now() - %s)
           OR kind = 'erase-legs')
      AND done_at < now() - %s
      AND NOT EXISTS (SELECT FROM recordings WHERE recordings.id = jobs.recording_id)
"""
# Jobs of a deleted Recording belong to no Profile.
_OF_PROFILES: Final = "EXISTS (SELECT FROM recordings WHERE recordings.id = jobs.recording_id AND profile_id = ANY(%s))"


@dataclass(frozen=True, kw_only=True)
class JobFilter:
    """Filters of a list of the jobs that are not done; an empty one matches everything."""

    kinds: Collection[JobKind] = ()
    states: Collection[JobState] = ()
    recording_id: UUID | None = None

    def conditions(self) -> Conditions:
        """Return the filters as SQL."""
        conditions = Conditions()
        conditions.add("kind = ANY(%s)", [kind.value for kind in self.kinds] or None)
        conditions.add(f"{_STATE} = ANY(%s)", [state.value for state in self.states] or None)
        conditions.add("recording_id = %s", self.recording_id)
        return conditions


ALL_JOBS: Final = JobFilter()


class ClaimedJobs(NamedTuple):
    """The result of a claim.

    ``next_due`` is when another job can be claimed; it is in the past if another daemon is claiming that job now. It is
    None if there is no other job, and also if the claim reached its limit: then more jobs may be due.
    """

    jobs: list[Job]
    next_due: datetime | None


class Jobs(ScopedRepository[Job, JobFilter]):
    """The queue.

    A scope limits what users see and change, not what a worker claims. ``extend_lease``, ``mark_done``, ``retry`` and
    ``dead_letter`` return False if the job is not held by this claim any more: its lease has expired, and it was
    claimed again or restarted.
    """

    _resource = "job"
    _no_filters = ALL_JOBS
    node: str | None = None
    """The node whose jobs can be claimed, apart from those of no node; None: only the latter."""
    instance: UUID | None = None
    """This process, as `release_leases` of its successor names it."""

    async def claim(self, kinds: Collection[str], lease: timedelta, limit: int = 1) -> ClaimedJobs:
        """Claim at most ``limit`` jobs for the time of the lease: those that have been due for longest.

        Jobs of other nodes are not claimed, nor considered in ``next_due``.
        """
        names = list(map(str, kinds))
        params = (names, self.node, limit, lease, self.instance, limit, names, self.node)
        rows = await self._database.returning(_CLAIM, params)
        return ClaimedJobs([job_from_row(tuple(row)) for _, *row in rows if row[0] is not None], rows[0][0])

    async def extend_lease(self, job: Job, lease: timedelta) -> bool:
        """Let the lease end ``lease`` from now."""
        return await self._update_claimed("leased_until = now() + %s", (lease,), job)

    async def release_leases(self, instance: UUID) -> int:
        """Make the jobs due that a process had claimed, which has certainly ended. Return their number."""
        return await self._database.execute(_RELEASE_LEASES, (instance,))

    async def mark_done(self, job: Job) -> bool:
        """Mark a job as done. It remains in the table, so that it is never enqueued again."""
        (lease_held,) = await self.mark_all_done([job])
        return lease_held

    async def mark_all_done(self, jobs: Sequence[Job]) -> list[bool]:
        """Do as `mark_done` for several jobs, all or none, and return the results in the same order."""
        ids = [job.id for job in jobs]
        params = (ids, [job.claims for job in jobs], ids)
        done = set(await self._database.returning(_MARK_DONE, params))
        return [(job.id, job.claims) in done for job in jobs]

    async def retry(self, job: Job, error: str, due_at: datetime) -> bool:
        """Release a job that failed; it can be claimed again from ``due_at`` on."""
        return await self._update_claimed("leased_until = NULL, last_error = %s, due_at = %s", (error, due_at), job)

    async def dead_letter(self, job: Job, error: str) -> bool:
        """Release a job that failed permanently; it is not claimed again unless it is restarted."""
        return await self._update_claimed("leased_until = NULL, last_error = %s, dead = TRUE", (error,), job)

    async def _update_claimed(self, assignments: str, params: tuple[object, ...], job: Job) -> bool:
        sql = f"UPDATE jobs SET {assignments} WHERE {_HELD_BY_CLAIM}"
        return bool(await self._database.execute(sql, (*params, job.id, job.claims)))

    async def restart(self, job_id: UUID, check: Callable[[Job], None] = no_check) -> Job:
        """Make a job due now that is not done, with its attempts reset, unless ``check`` raises; return it.

        A restarted MAIL job also retries the recipients that were refused; one that is unconfirmed, also those whose
        mail is. Raises NotFound, and Conflict if the job is running or done.
        """

        async def work(transaction: Transaction) -> Job:
            job = await self._lock(transaction, job_id)
            check(job)
            if job.state in (JobState.RUNNING, JobState.DONE):
                detail = f"Job {job_id} is {job.state}: only a job that waits or has failed can be restarted."
                raise Conflict(detail, reason=ProblemReason.JOB_NOT_DEAD)
            if job.kind is JobKind.MAIL:
                await reopen(transaction, job.recording_id, unconfirmed=job.state is JobState.UNCONFIRMED)
            return self._require_found(await transaction.query(_RESTART, (job_id,)), job_id)

        return await self._database.transaction(work)

    async def confirm(self, job_id: UUID, check: Callable[[Job], None] = no_check) -> Job:
        """Take the mails of an unconfirmed job for delivered, unless ``check`` raises; return the job, which is done.

        Raises NotFound, and Conflict if the job is not unconfirmed.
        """

        async def work(transaction: Transaction) -> Job:
            job = await self._lock(transaction, job_id)
            check(job)
            if job.state is not JobState.UNCONFIRMED:
                detail = f"Job {job_id} is {job.state}: only an unconfirmed job can be set to done."
                raise Conflict(detail, reason=ProblemReason.JOB_NOT_UNCONFIRMED)
            await confirm(transaction, job.recording_id)
            return self._require_found(await transaction.query(_CLOSE, (job_id,)), job_id)

        return await self._database.transaction(work)

    async def set_unconfirmed(self, job: Job, *, unconfirmed: bool) -> None:
        """Store whether the job, if it becomes dead, has failed only because mails are unconfirmed."""
        await self._database.execute(_SET_UNCONFIRMED, (unconfirmed, job.id, job.claims, unconfirmed))

    async def delete(self, job_id: UUID, check: Callable[[Job], None] = no_check) -> None:
        """Delete a dead or unconfirmed job unless ``check`` raises.

        Raises NotFound, and Conflict if the job is neither or its kind is FINISH: the Recording would never be
        completed.
        """

        async def work(transaction: Transaction) -> None:
            job = await self._lock(transaction, job_id)
            check(job)
            if job.state not in _ENDED:
                detail = f"Job {job_id} is {job.state}: only a dead or unconfirmed job can be deleted."
                raise Conflict(detail, reason=ProblemReason.JOB_NOT_DEAD)
            if job.kind is JobKind.FINISH:
                raise Conflict(
                    f"Recording {job.recording_id} needs job {job_id}: restart the job, or delete the recording.",
                    reason=ProblemReason.JOB_NEEDED,
                )
            await transaction.execute("DELETE FROM jobs WHERE id = %s", (job_id,))

        await self._database.transaction(work)

    async def deleted_recordings(self, recording_ids: Collection[UUID]) -> set[UUID]:
        """Return those of the ids whose Recording was deleted, as far as that is still known (see `purge_erased`)."""
        rows = await self._database.query(
            "SELECT recording_id FROM jobs WHERE recording_id = ANY(%s) AND kind = 'erase'", (list(recording_ids),)
        )
        return {recording_id for (recording_id,) in rows}

    async def purge_erased(self, age: timedelta) -> int:
        """Delete the done jobs of Recordings erased longer than ``age`` ago, and return their number.

        Other done jobs remain, so that they are never enqueued again.
        """
        return await self._database.execute(_PURGE_ERASED, (age, age))

    async def _fetch_page(self, filters: JobFilter, limit: int, after: Cursor | None) -> list[Row]:
        conditions = filters.conditions()
        conditions.add(_OF_PROFILES, self._scope())
        return await fetch_page(self._database, _SELECT_NOT_DONE, conditions, limit, after)

    def _select_by_id(self, resource_id: UUID) -> tuple[str, tuple[object, ...]]:
        conditions = Conditions()
        conditions.add(_OF_PROFILES, self._scope())
        conditions.add("id = %s", resource_id)
        return f"{_SELECT} WHERE {conditions}", tuple(conditions.params)

    def _scope(self) -> list[UUID] | None:
        return None if self._profile_ids is None else list(self._profile_ids)

    def _from_row(self, row: Row) -> Job:
        return job_from_row(row)


async def enqueue_erase(
    transaction: Transaction, recording_id: UUID, path: str | None, node: str | None, stored: StoredObject | None = None
) -> None:
    """Enqueue the jobs that delete a Recording's files, as part of the transaction that deletes the Recording.

    Any node deletes its file at ``path`` in the archive, and the ``stored`` object; only the one that recorded it has
    the files of the parties, and its audio if each node has an archive of its own, unless that node is lost, or not
    known any more.
    Its other jobs are closed, without their errors, which may name recipients. If the id was deleted before and reused,
    its ERASE job is enqueued again.
    """
    await transaction.execute(_CLOSE_OTHER_JOBS, (recording_id,))
    stored_json = None if stored is None else msgspec.json.encode(stored).decode()
    await transaction.execute(_ENQUEUE_ERASE, (recording_id, path, stored_json, recording_id, path, node))


def job_from_row(row: Row) -> Job:
    """Return the Job for a row of JOB_COLUMNS."""
    return msgspec.convert(dict(zip(_JSON_KEYS, row, strict=True)), Job)
