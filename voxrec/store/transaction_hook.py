"""Rows that are written in the same transaction as a change to a resource: its audit entry, its idempotency record."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from voxrec.idempotency import IdempotencyKey, IdempotencyRecord
from voxrec.model import AuditEntry
from voxrec.postgres.transaction import Transaction
from voxrec.store.audit import insert_entry
from voxrec.store.idempotency import insert_record

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class TransactionHook(Generic[T]):
    """Runs in the transaction that stores a T, with the T as stored; if it fails, the transaction is rolled back.

    ``audit_entry`` returns the audit entry of the change, ``idempotency`` the outcome of the request and its key;
    ``enqueue`` inserts the jobs that follow.
    """

    audit_entry: Callable[[T], AuditEntry] | None = None
    idempotency: Callable[[T], tuple[IdempotencyKey, IdempotencyRecord]] | None = None
    enqueue: Callable[[Transaction, T], Awaitable[object]] | None = None

    async def __call__(self, transaction: Transaction, stored: T) -> None:
        """Insert the rows.

        Raises RequestInProgress or AlreadyProcessed if another request has the same idempotency key.
        """
        if self.idempotency is not None:
            await insert_record(transaction, *self.idempotency(stored))
        if self.enqueue is not None:
            await self.enqueue(transaction, stored)
        if self.audit_entry is not None:
            await insert_entry(transaction, self.audit_entry(stored))


NO_HOOK: Final[TransactionHook[Any]] = TransactionHook()
"""Writes nothing."""
