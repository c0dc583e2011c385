"""Repository of Recordings. Snapshots of calls, results of finishing and users' changes do not overwrite each other."""

# ruff: noqa: S608 - only names of columns are formatted into statements; values are parameters

from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import partial
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from voxrec.cursor import Cursor
from voxrec.model import (
    AuditEntry,
    Job,
    JobKind,
    JobState,
    Neighbors,
    Position,
    Recording,
    RecordingState,
    StoredObject,
)
from voxrec.postgres.statement import PreparedStatement, Row
from voxrec.postgres.transaction import Transaction
from voxrec.store.audit import insert_entry
from voxrec.store.earlier_timelines import is_continuation, with_earlier_timeline
from voxrec.store.jobs import JOB_COLUMNS, enqueue_erase, job_from_row
from voxrec.store.keyset import iterate_pages
from voxrec.store.recording_columns import COLUMNS, KEPT, recording_from_row
from voxrec.store.recording_filter import ALL_RECORDINGS, RecordingFilter
from voxrec.store.recording_pages import RecordingPages
from voxrec.store.recording_results import RecordingResult, store_result, store_results
from voxrec.store.repository import ScopedRepository, apply_change, no_check
from voxrec.store.transaction_hook import NO_HOOK, TransactionHook

_SELECT: Final = f"SELECT {COLUMNS.column_list} FROM recordings"
_GET: Final = PreparedStatement(f"{_SELECT} WHERE id = %s")
_INSERT: Final = f"""
    INSERT INTO recordings ({COLUMNS.column_list}) VALUES ({COLUMNS.placeholders}) ON CONFLICT (id) DO NOTHING
    RETURNING {COLUMNS.column_list}
"""
_UPDATE: Final = f"""
    UPDATE recordings SET ({COLUMNS.column_list}) = ROW ({COLUMNS.placeholders}) WHERE id = %s
    RETURNING {COLUMNS.column_list}
"""
# Once a FINISH job exists, the call has ended and its snapshots are ignored, even if the Recording was deleted. Before
# that, a newer snapshot replaces an older one, and a snapshot of the end replaces all others, whatever the clock did.
# OFFSET 0 makes PostgreSQL look up each job, instead of joining all of them while the table seems to be small.
_RECORD: Final = PreparedStatement(f"""
    WITH stored AS (
        INSERT INTO recordings AS old ({COLUMNS.column_list}, snapshot_at, event_sequence)
        SELECT {COLUMNS.column_list}, updated_at, (state NOT IN ('pending', 'processing'))::integer
        FROM jsonb_populate_recordset(NULL::recordings, %s) AS snapshot
        WHERE NOT EXISTS (SELECT FROM jobs WHERE recording_id = snapshot.id AND kind = 'finish' OFFSET 0)
        ON CONFLICT (id) DO UPDATE
        SET {COLUMNS.upsert_assignments(keep=KEPT)},
            node = coalesce(old.node, excluded.node),
            updated_at = greatest(old.updated_at, excluded.updated_at),
            snapshot_at = greatest(old.snapshot_at, excluded.snapshot_at),
            event_sequence = old.event_sequence
                + (excluded.state <> old.state AND excluded.state NOT IN ('pending', 'processing'))::integer
        WHERE old.state IN ('pending', 'recording', 'paused')
          AND (old.snapshot_at IS NULL
               OR old.snapshot_at <= excluded.snapshot_at
               OR excluded.state NOT IN ('pending', 'recording', 'paused'))
        RETURNING id, state, node
    ), ended AS (
        SELECT id, node, (row_number() OVER () <= %s)::integer AS claims FROM stored WHERE state = 'processing'
    )
    INSERT INTO jobs (kind, recording_id, node, attempts, claims, leased_until, leased_by)
    SELECT 'finish', id, node, claims, claims, CASE claims WHEN 1 THEN now() + %s::interval END, %s::uuid FROM ended
    ON CONFLICT DO NOTHING
    RETURNING {JOB_COLUMNS}
""")
_NOT_BEING_ERASED: Final = """
    NOT EXISTS (SELECT FROM jobs WHERE recording_id = file.id AND kind IN ('erase', 'erase-legs') AND done_at IS NULL)
"""
_UNREFERENCED_PATHS: Final = f"""
    SELECT file.path FROM unnest(%s::text[], %s::uuid[]) AS file (path, id)
    WHERE NOT EXISTS (
        SELECT FROM recordings
        WHERE id = file.id AND (path = file.path OR state NOT IN ('completed', 'failed', 'absent'))
    ) AND {_NOT_BEING_ERASED}
"""
_MISSING_IDS: Final = f"""
    SELECT file.id FROM unnest(%s::uuid[]) AS file (id)
    WHERE NOT EXISTS (SELECT FROM recordings WHERE id = file.id) AND {_NOT_BEING_ERASED}
"""
_SET_STORED_OBJECT: Final = PreparedStatement(f"""
    UPDATE recordings SET stored_object = %s::jsonb WHERE id = %s RETURNING {COLUMNS.column_list}
""")
_OF_BULK_ACTION: Final = f"""
    SELECT position, {COLUMNS.column_list}
    FROM (SELECT position, recording_id FROM bulk_action_items
          WHERE action_id = %s AND position > %s AND state <> 'skipped' AND position > coalesce(
              (SELECT position FROM bulk_action_items WHERE action_id = %s AND recording_id = %s), 0)) AS item
    JOIN recordings ON id = recording_id
    WHERE %s::uuid[] IS NULL OR profile_id = ANY(%s::uuid[])
    ORDER BY position LIMIT %s
"""
_SUMMARY: Final = "id, state, legal_hold, created_at"


class RecordingSummary(NamedTuple):
    """What decides whether a bulk action applies to a Recording."""

    id: UUID
    state: RecordingState
    legal_hold: bool


class Recordings(ScopedRepository[Recording, RecordingFilter]):
    """The table of Recordings. A scope limits what users see and change, not the snapshots of calls."""

    _resource = "recording"
    _no_filters = ALL_RECORDINGS
    upload_node: str | None = None
    """The only node that can upload what it completes, because it does not share its archive; None: any node."""
    instance: UUID | None = None
    """This process, as `Jobs.release_leases` of its successor names it."""

    def pages(self, filters: RecordingFilter | None = None, size: int = 500) -> AsyncIterator[list[Recording]]:
        """Iterate over all matching Recordings in their order, in pages of ``size``."""
        used = self._no_filters if filters is None else filters
        return iterate_pages(lambda after: self.page(used, size, after), size, used.sort.position_of)

    async def page(
        self, filters: RecordingFilter | None = None, limit: int = 500, after: Position | None = None
    ) -> list[Recording]:
        """Return at most ``limit`` matching Recordings after a position, in the order of ``filters``."""
        rows = await self._fetch_page(self._no_filters if filters is None else filters, limit, after)
        return [self._from_row(row) for row in rows]

    async def of_bulk_action(
        self, action_id: UUID, size: int, after: UUID | None = None
    ) -> AsyncIterator[list[Recording]]:
        """Iterate over the existing Recordings of a bulk action after one, in their order, in pages of ``size``."""
        profile_ids = None if self._profile_ids is None else list(self._profile_ids)
        position = 0
        while rows := await self._database.query(
            _OF_BULK_ACTION, (action_id, position, action_id, after, profile_ids, profile_ids, size)
        ):
            yield [self._from_row(row[1:]) for row in rows]
            position = rows[-1][0]

    async def summaries(self, filters: RecordingFilter, limit: int) -> AsyncIterator[list[RecordingSummary]]:
        """Iterate over what bulk actions need of all matching Recordings, in pages of ``limit``."""
        after: Position | None = None
        while rows := await self._fetch_columns(_SUMMARY, filters, limit, after):
            yield [RecordingSummary(row[0], RecordingState(row[1]), row[2]) for row in rows]
            if len(rows) < limit:
                return
            after = Cursor(rows[-1][3], rows[-1][0])

    async def neighbors(self, recording: Recording, filters: RecordingFilter) -> Neighbors:
        """Return the matching Recordings before and after one, which need not match itself."""
        position = filters.sort.position_of(recording)
        following = await self.page(filters, 1, position)
        preceding = await self.page(replace(filters, sort=filters.sort.reverse), 1, position)
        return Neighbors(next(iter(preceding), None), next(iter(following), None))

    async def get_many(self, recording_ids: Collection[UUID]) -> list[Recording]:
        """Return those of the Recordings that exist, in no particular order."""
        rows = await self._database.query(f"{_SELECT} WHERE id = ANY(%s)", (list(recording_ids),))
        return [self._from_row(row) for row in rows]

    async def expired(self, now: datetime, limit: int = 500) -> list[Recording]:
        """Return the Recordings that expired before ``now`` and have no legal hold, the longest expired first."""
        rows = await self._database.query(
            f"{_SELECT} WHERE expires_at <= %s AND NOT legal_hold ORDER BY expires_at LIMIT %s", (now, limit)
        )
        return [self._from_row(row) for row in rows]

    async def live_since_before(self, time: datetime, node: str) -> list[Recording]:
        """Return the live Recordings of a node of which nothing has been reported since ``time``."""
        rows = await self._database.query(
            # the first condition is the predicate of the index
            f"{_SELECT} WHERE state <> 'completed' AND state IN ('recording', 'paused') AND updated_at < %s "
            "AND node = %s",
            (time, node),
        )
        return [self._from_row(row) for row in rows]

    async def unreferenced_paths(self, files: Mapping[str, UUID]) -> list[str]:
        """Return the paths of archived files that nothing refers to. ``files`` maps paths to the ids in their names.

        A path is referenced if it is the audio of its Recording, may become that, or is still to be erased.
        """
        rows = await self._database.query(_UNREFERENCED_PATHS, (list(files), list(files.values())))
        return [path for (path,) in rows]

    async def missing_ids(self, recording_ids: Collection[UUID]) -> set[UUID]:
        """Return the ids that belong neither to a Recording nor to a deleted one whose files are still to be erased."""
        rows = await self._database.query(_MISSING_IDS, (list(recording_ids),))
        return {recording_id for (recording_id,) in rows}

    async def existing_ids(self, recording_ids: Collection[UUID]) -> set[UUID]:
        """Return those of the ids whose Recordings exist."""
        rows = await self._database.query("SELECT id FROM recordings WHERE id = ANY(%s)", (list(recording_ids),))
        return {recording_id for (recording_id,) in rows}

    async def held_ids(self, recording_ids: Collection[UUID]) -> set[UUID]:
        """Return those of the ids whose Recordings have a legal hold."""
        rows = await self._database.query(
            "SELECT id FROM recordings WHERE id = ANY(%s) AND legal_hold", (list(recording_ids),)
        )
        return {recording_id for (recording_id,) in rows}

    async def create(self, recording: Recording, hook: TransactionHook[Recording] = NO_HOOK) -> Recording:
        """Insert a Recording, run ``hook``, and return the Recording as stored. Raises Conflict if its id is in use."""
        if not self._in_scope(recording):
            raise self._not_found(recording.id)

        async def work(transaction: Transaction) -> Recording:
            if not (rows := await transaction.query(_INSERT, COLUMNS.params(recording))):
                raise self._collision([self._id_in_use(recording.id)])
            stored = self._from_row(rows[0])
            await hook(transaction, stored)
            return stored

        return await self._database.transaction(work)

    async def update(self, recording_id: UUID, change: Callable[[Recording], Recording]) -> Recording:
        """Replace a Recording by ``change(old)``, which locks it, and return the Recording as stored.

        If ``change`` raises, nothing is stored. The id and the creation time are retained. Raises NotFound.
        """
        return await self._database.transaction(partial(self.update_in, recording_id, change))

    async def get_in(self, recording_id: UUID, transaction: Transaction) -> Recording:
        """Return a Recording, and lock it until the transaction of the caller ends. Raises NotFound."""
        return await self._lock(transaction, recording_id)

    async def update_in(
        self, recording_id: UUID, change: Callable[[Recording], Recording], transaction: Transaction
    ) -> Recording:
        """Do as `update` in a transaction of the caller."""
        old = await self._lock(transaction, recording_id)
        return await self._replace(transaction, apply_change(change, old))

    async def update_async(
        self,
        recording_id: UUID,
        change: Callable[[Recording], Awaitable[Recording]],
        hook: TransactionHook[Recording] = NO_HOOK,
    ) -> Recording:
        """Do as `update` with a coroutine function, and run ``hook``.

        The lock and a connection are held until ``change`` returns.
        """

        async def work(transaction: Transaction) -> Recording:
            old = await self._lock(transaction, recording_id)
            new = await change(old)
            stored = await self._replace(transaction, apply_change(lambda _: new, old))
            await hook(transaction, stored)
            return stored

        return await self._database.transaction(work)

    async def delete(
        self,
        recording_id: UUID,
        check: Callable[[Recording], None] = no_check,
        audit_entry: Callable[[Recording], AuditEntry] | None = None,
    ) -> None:
        """Delete a Recording unless ``check`` raises, and enqueue the job that deletes its files. Raises NotFound.

        Triggers remove its data from events, stored responses and webhooks. ``audit_entry`` returns the entry that is
        inserted in the same transaction.
        """
        await self._database.transaction(partial(self.delete_in, recording_id, check, audit_entry))

    async def expire(
        self, recording_id: UUID, check: Callable[[Recording], None], audit_entry: Callable[[Recording], AuditEntry]
    ) -> None:
        """Do as `delete`, and report the deletion to webhooks as ``recording.expired``."""

        async def work(transaction: Transaction) -> None:
            await transaction.query("SELECT set_config('voxrec.expired', 'on', TRUE)")
            await self.delete_in(recording_id, check, audit_entry, transaction)

        await self._database.transaction(work)

    async def delete_in(
        self,
        recording_id: UUID,
        check: Callable[[Recording], None],
        audit_entry: Callable[[Recording], AuditEntry] | None,
        transaction: Transaction,
    ) -> None:
        """Do as `delete` in a transaction of the caller."""
        old = await self._lock(transaction, recording_id)
        check(old)
        await transaction.execute("DELETE FROM recordings WHERE id = %s", (recording_id,))
        await enqueue_erase(transaction, recording_id, old.path, old.node, old.stored_object)
        if audit_entry is not None:
            await insert_entry(transaction, audit_entry(old))

    async def with_earlier_timelines(self, snapshots: Sequence[Recording]) -> Sequence[Recording]:
        """Return snapshots for `record`, with what their timelines lack (`voxrec.store.earlier_timelines`)."""
        if not any(map(is_continuation, snapshots)):
            return snapshots
        stored = {each.id: each for each in await self.get_many([each.id for each in snapshots])}
        return [
            with_earlier_timeline(each, stored[each.id]) if is_continuation(each) and each.id in stored else each
            for each in snapshots
        ]

    async def record(
        self, *snapshots: Recording, claim_limit: int = 0, lease: timedelta = timedelta(minutes=1)
    ) -> list[Job]:
        """Store snapshots that calls took of their Recordings, all or none; the state PROCESSING enqueues FINISH.

        A snapshot that is a repetition, is older than the stored one, or comes after the end of its call has no effect.
        ``metadata``, ``tags`` and ``legal_hold`` are stored with the first snapshot only; after that they are the
        users'.

        Claim up to ``claim_limit`` of the new FINISH jobs for ``lease``, and return them.
        """
        rows = await self._database.returning(
            _RECORD, (COLUMNS.json_rows(snapshots), claim_limit, lease, self.instance)
        )
        return [job for row in rows if (job := job_from_row(row)).state is JobState.RUNNING]

    async def complete(self, recording: Recording, follow_up: Sequence[JobKind] = ()) -> None:
        """Store the result of finishing a Recording, and enqueue the jobs that follow. Raises NotFound.

        See `voxrec.store.recording_results.store_result`.
        """
        if not await store_result(self._database, RecordingResult(recording, follow_up), self.upload_node):
            raise self._not_found(recording.id)

    async def complete_unlocked(self, results: Collection[RecordingResult]) -> set[UUID]:
        """Do as `complete` for different Recordings, all or none, and return the ids of those that were completed.

        The others do not exist, or another transaction has locked them.
        """
        return await store_results(self._database, results, self.upload_node)

    async def set_stored_object(self, recording_id: UUID, stored: StoredObject | None) -> Recording:
        """Store where the audio is, or will be, in S3, and return the Recording. Raises NotFound.

        The Recording does not change for REST clients: neither its representation nor ``updatedAt``.
        """
        stored_json = None if stored is None else msgspec.json.encode(stored).decode()
        rows = await self._database.returning(_SET_STORED_OBJECT, (stored_json, recording_id))
        if not rows:
            raise self._not_found(recording_id)
        return self._from_row(rows[0])

    async def _replace(self, transaction: Transaction, new: Recording) -> Recording:
        # The stored Recording is returned: jsonb normalises values, such as 1e2 to 100.
        rows = await transaction.query(_UPDATE, (*COLUMNS.params(new), new.id))
        return self._from_row(rows[0])

    async def _fetch_page(self, filters: RecordingFilter, limit: int, after: Position | None) -> list[Row]:
        return await self._fetch_columns(COLUMNS.column_list, filters, limit, after)

    async def _fetch_columns(
        self, columns: str, filters: RecordingFilter, limit: int, after: Position | None
    ) -> list[Row]:
        profile_ids = self._matching_profiles(filters)
        if profile_ids is not None and not profile_ids:
            return []
        return await RecordingPages(self._database, columns, filters, profile_ids).fetch(limit, after)

    def _matching_profiles(self, filters: RecordingFilter) -> frozenset[UUID] | None:
        if filters.profile_id is None:
            return self._profile_ids
        requested = frozenset([filters.profile_id])
        return requested if self._profile_ids is None else requested & self._profile_ids

    def _select_by_id(self, resource_id: UUID) -> tuple[str, tuple[object, ...]]:
        return _GET, (resource_id,)

    def _from_row(self, row: Row) -> Recording:
        return recording_from_row(row)

    def _in_scope(self, resource: Recording) -> bool:
        return self._profile_ids is None or resource.profile_id in self._profile_ids
