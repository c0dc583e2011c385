"""Repository and queue of bulk exports. A lease works as in `voxrec.store.jobs`."""

# ruff: noqa: S608 - only names of columns are formatted into statements; values are parameters

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Self
from uuid import UUID

import msgspec

from voxrec.cursor import Cursor
from voxrec.errors import NotFound
from voxrec.model import Export, ExportFormat, ExportQuery, ExportState
from voxrec.postgres.database import Database
from voxrec.postgres.statement import Row
from voxrec.postgres.transaction import Transaction
from voxrec.store.columns import Columns
from voxrec.store.keyset import Conditions, fetch_page
from voxrec.store.repository import PagedTable
from voxrec.store.transaction_hook import NO_HOOK, TransactionHook

KIND: Final = "export"
_COLUMNS: Final = Columns(Export, jsonb=frozenset({"query"}), exclude=frozenset({"file_url"}))
_SELECT: Final = f"SELECT {_COLUMNS.column_list} FROM exports"
_INSERT: Final = f"""
    INSERT INTO exports (created_by, user_id, token_id, profile_ids, description, format, audio, query, bulk_action_id)
    VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) RETURNING {_COLUMNS.column_list}
"""
# If nodes have archives of their own, what was written is on the disk of one node: it may continue first.
_DUE_AT: Final = """
    greatest(due_at, leased_until)
        + CASE WHEN %s OR node IS NULL OR node = %s THEN interval '0' ELSE interval '10 minutes' END
"""
_CLAIM: Final = f"""
    UPDATE exports
    SET state = 'running', attempts = attempts + 1, claims = claims + 1, leased_until = now() + %s::interval,
        started_at = coalesce(started_at, now()), node = %s
    WHERE id = ANY (ARRAY(
        SELECT id FROM exports
        WHERE state IN ('pending', 'running') AND {_DUE_AT} <= now() ORDER BY created_at LIMIT %s
        FOR UPDATE SKIP LOCKED))
    RETURNING {_COLUMNS.column_list}, attempts, claims
"""
_NEXT_DUE: Final = f"SELECT min({_DUE_AT}) FROM exports WHERE state IN ('pending', 'running')"
# Only attempts without progress count: restarts must not end a large export.
_REPORT: Final = """
    recordings = %s, bytes = %s, missing = %s, attempts = CASE WHEN reached < %s THEN 0 ELSE attempts END,
    reached = greatest(reached, %s)
"""
_STATISTICS: Final = """
    SELECT count(*) FILTER (WHERE NOT active), count(*) FILTER (WHERE active),
           coalesce(extract(epoch FROM now() - min(created_at)), 0)::float8
    FROM (
        SELECT created_at, state = 'running' AND leased_until > now() AS active
        FROM exports WHERE state IN ('pending', 'running')
    ) AS unfinished
"""
_HELD: Final = "id = %s AND claims = %s AND state = 'running'"


@dataclass(frozen=True, slots=True)
class NewExport:
    """An export to create. ``profile_ids``: those that the creating token is limited to.

    ``bulk_action_id``: it contains the Recordings of this bulk action instead of those of ``query``.
    """

    created_by: str
    user_id: UUID | None
    token_id: UUID | None
    profile_ids: frozenset[UUID] | None
    description: str | None
    format: ExportFormat
    audio: bool
    query: ExportQuery
    bulk_action_id: UUID | None = None


@dataclass(frozen=True, slots=True)
class ExportStatistics:
    """The number of exports that wait, and that are written now, and the age of the oldest of both in seconds."""

    waiting: int
    running: int
    oldest_age: float


@dataclass(frozen=True, slots=True)
class ExportedFile:
    """The complete file of an export. ``missing``: the number of Recordings that the manifest names."""

    recordings: int
    bytes: int
    missing: int
    size: int
    sha256: str


@dataclass(frozen=True, slots=True)
class ClaimedExport:
    """An export that this process works on."""

    export: Export
    attempts: int
    claims: int
    kind: str = KIND
    recording_id: UUID | None = None

    @property
    def label(self) -> str:
        """The export in log messages."""
        return f"export {self.export.id}"

    @property
    def last_error(self) -> str | None:
        """Why the last attempt failed."""
        return self.export.error


class Exports(PagedTable[Export, None]):
    """The exports, or those of some Profiles only: a token sees the exports that contain nothing but what it may read.

    ``public_url`` is the URL of voxrec, without a slash at its end. Methods raise StoreUnavailable.
    """

    _no_filters = None

    def __init__(self, database: Database, public_url: str, profile_ids: frozenset[UUID] | None = None) -> None:
        super().__init__(database)
        self._public_url = public_url
        self._profile_ids = profile_ids

    def scoped_to(self, profile_ids: frozenset[UUID] | None) -> Self:
        """Return a repository of the exports of these Profiles only; None stands for all."""
        return self if profile_ids is None else type(self)(self._database, self._public_url, profile_ids)

    async def create(self, new: NewExport, hook: TransactionHook[Export] = NO_HOOK) -> Export:
        """Insert an export, run ``hook``, and return the export."""

        async def work(transaction: Transaction) -> Export:
            export = await self._insert(transaction, new)
            await hook(transaction, export)
            return export

        return await self._database.transaction(work)

    async def create_in(self, new: NewExport, transaction: Transaction) -> UUID:
        """Insert an export in a transaction of the caller, and return its id."""
        return (await self._insert(transaction, new)).id

    async def _insert(self, transaction: Transaction, new: NewExport) -> Export:
        profile_ids = None if new.profile_ids is None else sorted(new.profile_ids)
        query = msgspec.json.encode(new.query).decode()
        creator = (new.created_by, new.user_id, new.token_id, profile_ids)
        values = (*creator, new.description, new.format.value, new.audio, query, new.bulk_action_id)
        (row,) = await transaction.query(_INSERT, values)
        return self._from_row(row)

    async def get(self, export_id: UUID) -> Export:
        """Return an export. Raises NotFound."""
        rows = await self._database.query(f"{_SELECT} WHERE id = %s", (export_id,))
        if rows and self._in_scope(export := self._from_row(rows[0])):
            return export
        raise NotFound(f"There is no export {export_id}.")

    async def delete(self, export_id: UUID) -> None:
        """Delete an export; the process that writes its file notices it. Raises NotFound."""
        await self.get(export_id)
        await self._database.execute("DELETE FROM exports WHERE id = %s", (export_id,))

    async def count_unfinished(self) -> int:
        """Return the number of exports that are pending or running."""
        ((count,),) = await self._database.query("SELECT count(*) FROM exports WHERE state IN ('pending', 'running')")
        return int(count)

    async def statistics(self) -> ExportStatistics:
        """Return the statistics for the metrics."""
        (row,) = await self._database.query(_STATISTICS)
        return ExportStatistics(*row)

    async def unfinished(self, export_ids: Collection[UUID]) -> set[UUID]:
        """Return those of the ids whose exports are pending or running."""
        rows = await self._database.query(
            "SELECT id FROM exports WHERE id = ANY (%s) AND state IN ('pending', 'running')", (list(export_ids),)
        )
        return {export_id for (export_id,) in rows}

    async def expire(self, age: timedelta) -> None:
        """Mark the exports whose time has passed as expired, and delete those that ended longer than ``age`` ago."""
        await self._database.execute(
            "UPDATE exports SET state = 'expired' WHERE state = 'completed' AND expires_at <= now()"
        )
        await self._database.execute("DELETE FROM exports WHERE finished_at < now() - %s::interval", (age,))

    async def without_files(self, export_ids: Collection[UUID]) -> set[UUID]:
        """Return those of the ids whose exports have no file, and will have none."""
        rows = await self._database.query(
            "SELECT file.id FROM unnest(%s::uuid[]) AS file (id) WHERE NOT EXISTS ("
            "SELECT FROM exports WHERE id = file.id AND state IN ('pending', 'running', 'completed'))",
            (list(export_ids),),
        )
        return {export_id for (export_id,) in rows}

    async def _fetch_page(self, _filters: None, limit: int, after: Cursor | None) -> list[Row]:
        conditions = Conditions()
        profile_ids = None if self._profile_ids is None else list(self._profile_ids)
        conditions.add("profile_ids <@ %s::uuid[]", profile_ids)  # not true for NULL, which stands for all Profiles
        return await fetch_page(self._database, _SELECT, conditions, limit, after)

    def _from_row(self, row: Row) -> Export:
        export = _COLUMNS.from_row(row, fileUrl=None)
        if export.state is not ExportState.COMPLETED:
            return export
        return msgspec.structs.replace(export, file_url=f"{self._public_url}/exports/{export.id}/file")

    def _in_scope(self, export: Export) -> bool:
        if self._profile_ids is None:
            return True
        return export.profile_ids is not None and self._profile_ids.issuperset(export.profile_ids)


class ExportQueue:
    """The queue of exports, for `voxrec.jobs.worker`.

    ``node`` is the name of this node; ``shared``: all nodes have the same archive.
    """

    def __init__(self, database: Database, exports: Exports, node: str, *, shared: bool = True) -> None:
        self._database = database
        self._exports = exports
        self._node = node
        self._shared = shared

    async def claim(
        self, _kinds: Collection[str], lease: timedelta, limit: int
    ) -> tuple[list[ClaimedExport], datetime | None]:
        """See `voxrec.jobs.worker.Jobs`."""
        rows = await self._database.returning(_CLAIM, (lease, self._node, self._shared, self._node, limit))
        ((next_due,),) = await self._database.query(_NEXT_DUE, (self._shared, self._node))
        claimed = [ClaimedExport(self._exports._from_row(tuple(row[:-2])), row[-2], row[-1]) for row in rows]  # noqa: SLF001 - same module
        return claimed, next_due

    async def extend_lease(self, job: ClaimedExport, lease: timedelta) -> bool:
        """See `voxrec.jobs.worker.Jobs`."""
        return await self._update(job, "leased_until = now() + %s::interval", lease)

    async def report_progress(self, job: ClaimedExport, recordings: int, bytes_: int, missing: int) -> bool:
        """Store how much was written; return False if the export was deleted or another process works on it."""
        position = recordings + missing
        return await self._update(job, _REPORT, recordings, bytes_, missing, position, position)

    async def complete(self, job: ClaimedExport, file: ExportedFile, lifetime: timedelta) -> bool:
        """Store that the file can be downloaded for ``lifetime``; return False if the export was deleted."""
        return await self._update(
            job,
            "state = 'completed', error = NULL, leased_until = NULL, finished_at = now(), recordings = %s, bytes = %s, "
            "missing = %s, size = %s, sha256 = %s, expires_at = now() + %s::interval",
            *(file.recordings, file.bytes, file.missing, file.size, file.sha256, lifetime),
        )

    async def retry(self, job: ClaimedExport, error: str, due_at: datetime) -> bool:
        """See `voxrec.jobs.worker.Jobs`."""
        return await self._update(job, "state = 'pending', leased_until = NULL, error = %s, due_at = %s", error, due_at)

    async def release(self, job: ClaimedExport) -> bool:
        """Let an export be continued at once, by any node that can. The attempt does not count."""
        assignments = "state = 'pending', leased_until = NULL, due_at = now(), attempts = greatest(attempts - 1, 0)"
        return await self._update(job, assignments)

    async def dead_letter(self, job: ClaimedExport, error: str) -> bool:
        """See `voxrec.jobs.worker.Jobs`."""
        return await self._update(job, "state = 'failed', leased_until = NULL, error = %s, finished_at = now()", error)

    async def _update(self, job: ClaimedExport, assignments: str, *values: object) -> bool:
        statement = f"UPDATE exports SET {assignments} WHERE {_HELD}"
        return bool(await self._database.execute(statement, (*values, job.export.id, job.claims)))
