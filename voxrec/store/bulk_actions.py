"""Repository and queue of bulk actions. A lease works as in `voxrec.store.jobs`."""

# ruff: noqa: S608 - only names of columns are formatted into statements; values are parameters

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, Self
from uuid import UUID

from voxrec.cursor import Cursor
from voxrec.error_codes import ProblemReason
from voxrec.errors import Conflict, NotFound
from voxrec.model import (
    BulkAction,
    BulkActionItem,
    BulkActionKind,
    BulkActionState,
    BulkItemState,
    SkipReason,
)
from voxrec.postgres.database import Database
from voxrec.postgres.statement import Row
from voxrec.postgres.transaction import Transaction
from voxrec.store.columns import Columns
from voxrec.store.keyset import Conditions, fetch_page
from voxrec.store.repository import PagedTable
from voxrec.store.transaction_hook import NO_HOOK, TransactionHook

KIND: Final = "bulk-action"
_COLUMNS: Final = Columns(BulkAction, jsonb=frozenset())
_ITEM_COLUMNS: Final = Columns(BulkActionItem, jsonb=frozenset())
_SELECT: Final = f"SELECT {_COLUMNS.column_list} FROM bulk_actions"
_SELECT_ITEMS: Final = f"SELECT {_ITEM_COLUMNS.column_list} FROM bulk_action_items"
_INSERT: Final = f"""
    INSERT INTO bulk_actions (action, created_by, user_id, token_id, profile_ids, address, reason, expires_at)
    VALUES (%s, %s, %s, %s, %s::uuid[], %s, %s, now() + %s::interval) RETURNING {_COLUMNS.column_list}
"""
_INSERT_ITEMS: Final = """
    INSERT INTO bulk_action_items (action_id, position, recording_id, state, detail)
    SELECT %s, %s + number, id, CASE WHEN reason IS NULL THEN 'pending' ELSE 'skipped' END, reason
    FROM unnest(%s::uuid[], %s::text[]) WITH ORDINALITY AS item (id, reason, number)
"""
# as `voxrec.model.principal_key`
_COUNT_PREVIEWS: Final = """
    SELECT count(*) FROM bulk_actions
    WHERE state = 'preview' AND expires_at > now() AND coalesce(token_id::text, user_id::text, created_by) = %s
"""
_INSERTED: Final = 5000  # items of one statement; its parameters block the reactor for some milliseconds
_COUNT_ITEMS: Final = f"""
    UPDATE bulk_actions SET (total, skipped) = (
        SELECT count(*), count(*) FILTER (WHERE state = 'skipped') FROM bulk_action_items WHERE action_id = %s)
    WHERE id = %s RETURNING {_COLUMNS.column_list}
"""
_WITHOUT_DELIVERIES: Final = """
    SELECT id FROM unnest(%s::uuid[]) AS wanted (id)
    WHERE NOT EXISTS (SELECT FROM deliveries WHERE recording_id = wanted.id)
      AND NOT EXISTS (
          SELECT FROM webhook_messages JOIN webhook_deliveries ON message_id = webhook_messages.id
          WHERE webhook_messages.recording_id = wanted.id)
"""
_CONFIRM: Final = f"""
    UPDATE bulk_actions SET state = 'pending', confirmed_at = now(), due_at = now()
    WHERE id = %s AND state = 'preview' AND expires_at > now() RETURNING {_COLUMNS.column_list}
"""
_CANCEL: Final = f"""
    UPDATE bulk_actions SET state = 'canceled', finished_at = now()
    WHERE id = %s AND state IN ('preview', 'pending', 'running') RETURNING {_COLUMNS.column_list}
"""
_IS_DUE: Final = "state IN ('pending', 'running') AND (leased_until IS NULL OR leased_until <= now())"
_CLAIM: Final = f"""
    UPDATE bulk_actions
    SET state = 'running', attempts = attempts + 1, claims = claims + 1, leased_until = now() + %s::interval
    WHERE id = ANY (ARRAY(
        SELECT id FROM bulk_actions WHERE {_IS_DUE} AND due_at <= now() ORDER BY confirmed_at LIMIT %s
        FOR UPDATE SKIP LOCKED))
    RETURNING {_COLUMNS.column_list}, attempts, claims, profile_ids, address
"""
_NEXT_DUE: Final = """
    SELECT min(greatest(due_at, leased_until)) FROM bulk_actions WHERE state IN ('pending', 'running')
"""
_HELD: Final = "id = %s AND claims = %s AND state = 'running'"
_ITEM_COUNTS: Final = {
    BulkItemState.DONE: "done = done + 1",
    BulkItemState.SKIPPED: "skipped = skipped + 1",
    BulkItemState.FAILED: "failed = failed + 1",
}


@dataclass(frozen=True, slots=True)
class NewBulkAction:
    """A bulk action to create. ``profile_ids``: those that the creating client is limited to."""

    action: BulkActionKind
    created_by: str
    user_id: UUID | None
    token_id: UUID | None
    profile_ids: frozenset[UUID] | None
    address: str
    reason: str | None
    lifetime: timedelta


@dataclass(frozen=True, slots=True)
class ClaimedBulkAction:
    """A bulk action that this process works on. The last fields are those of the client that created it."""

    action: BulkAction
    attempts: int
    claims: int
    profile_ids: frozenset[UUID] | None
    address: str
    kind: str = KIND
    recording_id: UUID | None = None

    @property
    def label(self) -> str:
        """The bulk action in log messages."""
        return f"bulk action {self.action.id} ({self.action.action})"

    @property
    def last_error(self) -> str | None:
        """Why the last attempt failed."""
        return self.action.error


@dataclass(frozen=True, slots=True)
class ItemResult:
    """The result of a bulk action for one Recording. ``detail``: why it was skipped, or the error."""

    state: BulkItemState
    detail: str | None = None


class BulkActionEnded(Exception):
    """The bulk action was canceled or deleted, or another process works on it."""


class BulkActions(PagedTable[BulkAction, None]):
    """The bulk actions, or those of some Profiles only. Methods raise StoreUnavailable."""

    _no_filters = None

    def __init__(self, database: Database, profile_ids: frozenset[UUID] | None = None) -> None:
        super().__init__(database)
        self._profile_ids = profile_ids

    def scoped_to(self, profile_ids: frozenset[UUID] | None) -> Self:
        """Return a repository of the bulk actions of clients with these Profiles only; None stands for all."""
        return self if profile_ids is None else type(self)(self._database, profile_ids)

    async def create(
        self,
        new: NewBulkAction,
        recordings: Mapping[UUID, SkipReason | None],
        hook: TransactionHook[BulkAction] = NO_HOOK,
    ) -> BulkAction:
        """Store the preview, run ``hook``, and return the bulk action.

        ``recordings`` has the ids of the Recordings in their order, with the reasons why they are skipped.
        """

        async def work(transaction: Transaction) -> BulkAction:
            profile_ids = None if new.profile_ids is None else sorted(new.profile_ids)
            values = (new.action.value, new.created_by, new.user_id, new.token_id, profile_ids)
            (row,) = await transaction.query(_INSERT, (*values, new.address, new.reason, new.lifetime))
            action_id = self._from_row(row).id
            ids, reasons = [*recordings], [reason and reason.value for reason in recordings.values()]
            for start in range(0, len(ids), _INSERTED):
                part = slice(start, start + _INSERTED)
                await transaction.execute(_INSERT_ITEMS, (action_id, start, ids[part], reasons[part]))
            (row,) = await transaction.query(_COUNT_ITEMS, (action_id, action_id))
            await hook(transaction, stored := self._from_row(row))
            return stored

        return await self._database.transaction(work)

    async def without_deliveries(self, recording_ids: Collection[UUID]) -> set[UUID]:
        """Return those of the ids about whose Recordings no mail or webhook was sent."""
        rows = await self._database.query(_WITHOUT_DELIVERIES, (list(recording_ids),))
        return {recording_id for (recording_id,) in rows}

    async def get(self, action_id: UUID) -> BulkAction:
        """Return a bulk action. Raises NotFound."""
        conditions = self._conditions()
        conditions.add("id = %s", action_id)
        rows = await self._database.query(f"{_SELECT} WHERE {conditions}", conditions.params)
        if not rows:
            raise NotFound(f"There is no bulk action {action_id}.")
        return self._from_row(rows[0])

    async def items(
        self, action_id: UUID, state: BulkItemState | None, limit: int, after: int | None
    ) -> list[BulkActionItem]:
        """Return at most ``limit`` Recordings of a bulk action, after a position."""
        conditions = Conditions()
        conditions.add("action_id = %s", action_id)
        conditions.add("state = %s", state and state.value)
        conditions.add("position > %s", after)
        rows = await self._database.query(
            f"{_SELECT_ITEMS} WHERE {conditions} ORDER BY position LIMIT %s", [*conditions.params, limit]
        )
        return [_ITEM_COLUMNS.from_row(row) for row in rows]

    async def count_previews(self, creator_key: UUID | str) -> int:
        """Return the number of previews of a client, see `voxrec.model.BulkAction.creator_key`."""
        ((count,),) = await self._database.query(_COUNT_PREVIEWS, (str(creator_key),))
        return int(count)

    async def confirm(self, action_id: UUID, hook: TransactionHook[BulkAction] = NO_HOOK) -> BulkAction:
        """Let the worker begin, unless it has begun already. Raises NotFound, Conflict if that is too late."""

        async def work(transaction: Transaction) -> BulkAction:
            rows = await transaction.query(_CONFIRM, (action_id,))
            stored = self._from_row(rows[0]) if rows else await self._confirmed(transaction, action_id)
            await hook(transaction, stored)
            return stored

        return await self._database.transaction(work)

    async def cancel(self, action_id: UUID, hook: TransactionHook[BulkAction] = NO_HOOK) -> BulkAction:
        """End a bulk action after the current Recording. Raises NotFound, Conflict if it has ended."""

        async def work(transaction: Transaction) -> BulkAction:
            rows = await transaction.query(_CANCEL, (action_id,))
            if not rows:
                current = await self._read(transaction, action_id)
                if current.state is not BulkActionState.CANCELED:
                    detail = f"Bulk action {action_id} is {current.state}; it cannot be canceled any more."
                    raise Conflict(detail, reason=ProblemReason.BULK_ACTION_ENDED)
                rows = await transaction.query(f"{_SELECT} WHERE id = %s", (action_id,))
            await hook(transaction, stored := self._from_row(rows[0]))
            return stored

        return await self._database.transaction(work)

    async def delete_expired(self, age: timedelta) -> None:
        """Delete previews that were not confirmed, and what ended longer than ``age`` ago."""
        await self._database.execute(
            "DELETE FROM bulk_actions WHERE (state = 'preview' AND expires_at <= now()) "
            "OR finished_at < now() - %s::interval",
            (age,),
        )

    async def _confirmed(self, transaction: Transaction, action_id: UUID) -> BulkAction:
        current = await self._read(transaction, action_id)
        if current.state is BulkActionState.PREVIEW:
            detail = f"The preview of bulk action {action_id} has expired; create another one."
            raise Conflict(detail, reason=ProblemReason.PREVIEW_EXPIRED)
        if current.state in (BulkActionState.CANCELED, BulkActionState.FAILED):
            detail = f"Bulk action {action_id} is {current.state}; create another one."
            raise Conflict(detail, reason=ProblemReason.BULK_ACTION_ENDED)
        return current

    async def _read(self, transaction: Transaction, action_id: UUID) -> BulkAction:
        rows = await transaction.query(f"{_SELECT} WHERE id = %s FOR UPDATE", (action_id,))
        if not rows:
            raise NotFound(f"There is no bulk action {action_id}.")
        return self._from_row(rows[0])

    def _conditions(self) -> Conditions:
        conditions = Conditions()
        # not true for NULL, which stands for all Profiles
        conditions.add("profile_ids <@ %s::uuid[]", None if self._profile_ids is None else list(self._profile_ids))
        return conditions

    async def _fetch_page(self, _filters: None, limit: int, after: Cursor | None) -> list[Row]:
        return await fetch_page(self._database, _SELECT, self._conditions(), limit, after)

    def _from_row(self, row: Row) -> BulkAction:
        return _COLUMNS.from_row(row)


class BulkActionQueue:
    """The queue of confirmed bulk actions, for `voxrec.jobs.worker`."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def claim(
        self, _kinds: Collection[str], lease: timedelta, limit: int
    ) -> tuple[list[ClaimedBulkAction], datetime | None]:
        """See `voxrec.jobs.worker.Jobs`."""
        rows = await self._database.returning(_CLAIM, (lease, limit))
        ((next_due,),) = await self._database.query(_NEXT_DUE)
        return [_claimed(row) for row in rows], next_due

    async def extend_lease(self, job: ClaimedBulkAction, lease: timedelta) -> bool:
        """See `voxrec.jobs.worker.Jobs`."""
        return await self._update(job, "leased_until = now() + %s::interval", lease)

    async def mark_done(self, job: ClaimedBulkAction) -> bool:
        """Store that each Recording has a result; a bulk action that was canceled stays so."""
        await self._update(job, "state = 'completed', error = NULL, leased_until = NULL, finished_at = now()")
        return True

    async def retry(self, job: ClaimedBulkAction, error: str, due_at: datetime) -> bool:
        """See `voxrec.jobs.worker.Jobs`."""
        return await self._update(job, "state = 'pending', leased_until = NULL, error = %s, due_at = %s", error, due_at)

    async def dead_letter(self, job: ClaimedBulkAction, error: str) -> bool:
        """See `voxrec.jobs.worker.Jobs`."""
        return await self._update(job, "state = 'failed', leased_until = NULL, error = %s, finished_at = now()", error)

    async def pending_items(self, job: ClaimedBulkAction, limit: int) -> list[BulkActionItem]:
        """Return the next Recordings without a result."""
        rows = await self._database.query(
            f"{_SELECT_ITEMS} WHERE action_id = %s AND state = 'pending' ORDER BY position LIMIT %s",
            (job.action.id, limit),
        )
        return [_ITEM_COLUMNS.from_row(row) for row in rows]

    async def apply(
        self,
        job: ClaimedBulkAction,
        item: BulkActionItem,
        work: Callable[[Transaction], Awaitable[ItemResult]],
    ) -> None:
        """Call ``work`` and store its result in one transaction, so that neither happens twice.

        Raises BulkActionEnded, and what ``work`` raises.
        """

        async def in_transaction(transaction: Transaction) -> None:
            await self._require_lease(transaction, job)
            await self._store(transaction, job, item, await work(transaction))

        await self._database.transaction(in_transaction)

    async def store_result(self, job: ClaimedBulkAction, item: BulkActionItem, result: ItemResult) -> None:
        """Store a result. Raises BulkActionEnded."""

        async def work(_transaction: Transaction) -> ItemResult:
            return result

        await self.apply(job, item, work)

    async def create_export(self, job: ClaimedBulkAction, create: Callable[[Transaction], Awaitable[UUID]]) -> None:
        """Create the export of the Recordings without a result, in one transaction with their results.

        ``create`` inserts it and returns its id. Raises BulkActionEnded.
        """

        async def work(transaction: Transaction) -> None:
            await self._require_lease(transaction, job)
            export_id = await create(transaction)
            done = await transaction.execute(
                "UPDATE bulk_action_items SET state = 'done' WHERE action_id = %s AND state = 'pending'",
                (job.action.id,),
            )
            await transaction.execute(
                "UPDATE bulk_actions SET export_id = %s, done = done + %s WHERE id = %s",
                (export_id, done, job.action.id),
            )

        await self._database.transaction(work)

    async def _require_lease(self, transaction: Transaction, job: ClaimedBulkAction) -> None:
        rows = await transaction.query(
            f"SELECT id FROM bulk_actions WHERE {_HELD} FOR UPDATE", (job.action.id, job.claims)
        )
        if not rows:
            raise BulkActionEnded

    async def _store(
        self, transaction: Transaction, job: ClaimedBulkAction, item: BulkActionItem, result: ItemResult
    ) -> None:
        changed = await transaction.execute(
            "UPDATE bulk_action_items SET state = %s, detail = %s "
            "WHERE action_id = %s AND position = %s AND state = 'pending'",
            (result.state.value, result.detail, job.action.id, item.position),
        )
        if not changed:
            raise BulkActionEnded
        # only attempts without progress count: restarts must not end a large bulk action
        await transaction.execute(
            f"UPDATE bulk_actions SET {_ITEM_COUNTS[result.state]}, attempts = 0 WHERE id = %s", (job.action.id,)
        )

    async def _update(self, job: ClaimedBulkAction, assignments: str, *values: object) -> bool:
        statement = f"UPDATE bulk_actions SET {assignments} WHERE {_HELD}"
        return bool(await self._database.execute(statement, (*values, job.action.id, job.claims)))


def _claimed(row: Row) -> ClaimedBulkAction:
    *columns, attempts, claims, profile_ids, address = row
    action = _COLUMNS.from_row(tuple(columns))
    limit = None if profile_ids is None else frozenset(profile_ids)
    return ClaimedBulkAction(action, attempts, claims, limit, address)
