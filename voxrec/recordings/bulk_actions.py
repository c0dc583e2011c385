"""The handler of bulk actions: one transaction for each Recording, with its result and its audit entry."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from typing import Final
from uuid import UUID, uuid4

import msgspec

from voxrec.errors import Conflict, DeliveryError, NotFound
from voxrec.model import (
    AuditEntry,
    AuditOutcome,
    BulkActionItem,
    BulkActionKind,
    BulkItemState,
    ExportFormat,
    ExportQuery,
    Recording,
    RecordingState,
    SkipReason,
)
from voxrec.postgres.transaction import Transaction
from voxrec.store.audit import insert_entry
from voxrec.store.bulk_actions import BulkActionEnded, BulkActionQueue, ClaimedBulkAction, ItemResult
from voxrec.store.delivery_history import DeliveryHistory
from voxrec.store.exports import Exports, NewExport
from voxrec.store.recordings import Recordings

_BATCH: Final = 100
_DONE: Final = ItemResult(BulkItemState.DONE)


class _Skipped(Conflict):
    """The action does not apply to a Recording."""

    def __init__(self, reason: SkipReason) -> None:
        super().__init__(reason.value)
        self.reason = reason


def skip_reason(action: BulkActionKind, state: RecordingState, *, legal_hold: bool) -> SkipReason | None:
    """Return why an action does not apply to a Recording, as far as its state and legal hold decide."""
    match action:
        case BulkActionKind.DELETE if state.live:
            return SkipReason.CALL_IN_PROGRESS
        case BulkActionKind.DELETE if legal_hold:
            return SkipReason.LEGAL_HOLD
        case BulkActionKind.HOLD if legal_hold:
            return SkipReason.ALREADY_HELD
        case BulkActionKind.RELEASE if not legal_hold:
            return SkipReason.NOT_HELD
    return None


class BulkActionHandler:
    """Executes confirmed bulk actions. What an interrupted attempt has done is not repeated.

    ``export_created`` wakes the worker of exports. ``is_stopping`` tells whether the daemon stops, which must not wait
    for thousands of Recordings.
    """

    def __init__(
        self,
        queue: BulkActionQueue,
        recordings: Recordings,
        history: DeliveryHistory,
        exports: Exports,
        now: Callable[[], datetime],
        export_created: Callable[[], None],
        is_stopping: Callable[[], bool],
    ) -> None:
        self._queue = queue
        self._recordings = recordings
        self._history = history
        self._exports = exports
        self._now = now
        self._export_created = export_created
        self._is_stopping = is_stopping

    async def run(self, job: ClaimedBulkAction) -> None:
        """Execute a bulk action. Raises StoreUnavailable, and DeliveryError if it is to be continued after a stop."""
        try:
            if job.action.action is BulkActionKind.EXPORT:
                await self._export(job)
                return
            while items := await self._queue.pending_items(job, _BATCH):
                for item in items:
                    if self._is_stopping():
                        raise DeliveryError("voxrec was stopped", permanent=False)
                    await self._process(job, item)
        except BulkActionEnded:
            return

    async def _process(self, job: ClaimedBulkAction, item: BulkActionItem) -> None:
        try:
            await self._queue.apply(job, item, partial(self._act, job, item))
        except _Skipped as skipped:
            await self._queue.store_result(job, item, ItemResult(BulkItemState.SKIPPED, skipped.reason.value))
        except NotFound:
            await self._queue.store_result(job, item, ItemResult(BulkItemState.SKIPPED, SkipReason.DELETED.value))
        except Conflict as error:
            await self._queue.store_result(job, item, ItemResult(BulkItemState.FAILED, error.detail))

    async def _act(self, job: ClaimedBulkAction, item: BulkActionItem, transaction: Transaction) -> ItemResult:
        action, recordings = job.action.action, self._recordings.scoped_to(job.profile_ids)
        check = partial(_require_applicable, action)
        entry = partial(self._audit_entry, job, item.recording_id)
        match action:
            case BulkActionKind.DELETE:
                await recordings.delete_in(item.recording_id, check, lambda _: entry("DELETE"), transaction)
                return _DONE
            case BulkActionKind.REDELIVER:
                await recordings.get_in(item.recording_id, transaction)
                if not await self._history.repeat_all_in(item.recording_id, transaction):
                    raise _Skipped(SkipReason.NO_DELIVERIES)
                await insert_entry(transaction, entry("POST"))
                return _DONE
        hold = action is BulkActionKind.HOLD

        def change(recording: Recording) -> Recording:
            check(recording)
            updated_at = max(recording.updated_at, self._now())
            return msgspec.structs.replace(recording, legal_hold=hold, updated_at=updated_at)

        await recordings.update_in(item.recording_id, change, transaction)
        await insert_entry(transaction, entry("POST", fields=("legalHold",)))
        return _DONE

    async def _export(self, job: ClaimedBulkAction) -> None:
        if job.action.export_id is not None:
            return
        new = NewExport(
            created_by=job.action.created_by,
            user_id=job.action.user_id,
            token_id=job.action.token_id,
            profile_ids=job.profile_ids,
            description=job.action.reason,
            format=ExportFormat.ZIP,
            audio=True,
            query=ExportQuery(),
            bulk_action_id=job.action.id,
        )
        await self._queue.create_export(job, partial(self._exports.create_in, new))
        self._export_created()

    def _audit_entry(
        self, job: ClaimedBulkAction, recording_id: UUID, method: str, fields: tuple[str, ...] = ()
    ) -> AuditEntry:
        return AuditEntry(
            id=uuid4(),
            created_at=self._now(),
            who=job.action.created_by,
            token_id=job.action.token_id,
            user_id=job.action.user_id,
            address=job.address,
            method=method,
            path=f"/bulk-actions/{job.action.id}",
            kind="recording delivery" if job.action.action is BulkActionKind.REDELIVER else "recording",
            target_id=recording_id,
            outcome=AuditOutcome.DONE,
            fields=fields,
            reason=job.action.reason,
        )


def _require_applicable(action: BulkActionKind, recording: Recording) -> None:
    reason = skip_reason(action, recording.state, legal_hold=recording.legal_hold)
    if reason is not None:
        raise _Skipped(reason)
