"""Repository of the outcomes of requests that carried an idempotency key.

An outcome is inserted in the transaction that applies the request's change, so that a crash leaves either both or
neither, and a repeated request never applies the change twice.
"""

from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Final, TypeVar

import msgspec

from voxrec.idempotency import AlreadyProcessed, IdempotencyKey, IdempotencyRecord, RequestInProgress
from voxrec.postgres.pool import Pool
from voxrec.postgres.transaction import Transaction

T = TypeVar("T")
RETENTION: Final = timedelta(hours=24)
"""Age at which an outcome expires: the key may then be used for a new request."""

_FIND: Final = """
    SELECT fingerprint, status, headers, body FROM idempotency
    WHERE scope = %s AND key = %s AND created_at > now() - %s
"""
_LOCK: Final = "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))"
_DELETE_EXPIRED_KEY: Final = "DELETE FROM idempotency WHERE scope = %s AND key = %s AND created_at <= now() - %s"
_DELETE_EXPIRED: Final = "DELETE FROM idempotency WHERE created_at <= now() - %s"
_INSERT: Final = """
    INSERT INTO idempotency (scope, key, fingerprint, status, headers, body) VALUES (%s, %s, %s, %s, %s, %s)
    ON CONFLICT DO NOTHING
"""


class Idempotency:
    """The table of outcomes. Methods raise StoreUnavailable while PostgreSQL cannot be reached."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def find(self, key: IdempotencyKey) -> IdempotencyRecord | None:
        """Return the outcome stored for a key, or None if the key is unused or its outcome has expired."""
        rows = await self._pool.query(_FIND, (key.scope, key.key, RETENTION))
        if not rows:
            return None
        fingerprint, status, headers, body = rows[0]
        return IdempotencyRecord(fingerprint, status, headers, None if body is None else bytes(body))

    async def commit(self, hook: Callable[[Transaction, T], Awaitable[None]], stored: T) -> None:
        """Store what ``hook`` stores in a transaction of its own, for a change that is not one of the database.

        Raises what `insert_record` raises.
        """

        async def work(transaction: Transaction) -> None:
            await hook(transaction, stored)

        await self._pool.transaction(work)

    async def delete_expired(self) -> int:
        """Delete expired outcomes and return how many there were."""
        return await self._pool.execute(_DELETE_EXPIRED, (RETENTION,))


async def insert_record(transaction: Transaction, key: IdempotencyKey, record: IdempotencyRecord) -> None:
    """Insert the outcome of a request as part of the transaction that applies its change.

    Raises RequestInProgress if an open transaction holds the key, AlreadyProcessed if a committed one has used it.
    """
    # The lock is held until the transaction ends. The insert alone would wait for the other transaction instead.
    [(acquired,)] = await transaction.query(_LOCK, (f"{key.scope}\n{key.key}",))
    if not acquired:
        raise RequestInProgress("The first request with this Idempotency-Key is still being processed.")
    await transaction.execute(_DELETE_EXPIRED_KEY, (key.scope, key.key, RETENTION))
    headers = msgspec.json.encode(record.headers).decode()
    params = (key.scope, key.key, record.fingerprint, record.status, headers, record.body)
    if not await transaction.execute(_INSERT, params):
        raise AlreadyProcessed
