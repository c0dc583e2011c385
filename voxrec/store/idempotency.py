"""First answers, kept for who asks again with the same Idempotency-Key.

An answer is written in the transaction that does what it tells of. So whatever dies, and whenever: either both are
there or neither, and asking again can do nothing twice.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, Generic, TypeVar

import msgspec

from voxrec.errors import Conflict
from voxrec.model import AuditEntry
from voxrec.postgres.pool import Pool, Transaction
from voxrec.store.audit import add

KEPT: Final = timedelta(hours=24)
_FIND: Final = """
    SELECT fingerprint, status, headers, body FROM idempotency
    WHERE scope = %s AND key = %s AND created_at > now() - %s
"""
_LOCK: Final = "SELECT pg_try_advisory_xact_lock(hashtextextended(%s, 0))"
_FORGET_OLD: Final = "DELETE FROM idempotency WHERE scope = %s AND key = %s AND created_at <= now() - %s"
_KEEP: Final = """
    INSERT INTO idempotency (scope, key, fingerprint, status, headers, body) VALUES (%s, %s, %s, %s, %s, %s)
    ON CONFLICT DO NOTHING
"""

T = TypeVar("T")


class UnderWay(Conflict):
    """The first request with this key is still being worked on, here or by another daemon."""

    code = "under-way"


class DoneBefore(Exception):
    """The first request with this key was done meanwhile."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One use of a key: in which ``scope`` (who asks, for what) it counts, and the ``fingerprint`` of the request."""

    scope: str
    key: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class FirstAnswer:
    """What was answered, and to which request. ``body`` None: a list of any length, which is read anew."""

    fingerprint: str
    status: int
    headers: Mapping[str, str]
    body: bytes | None


@dataclass(frozen=True, slots=True)
class TransactionHook(Generic[T]):
    """What is done in the transaction that stores a T, told what is stored; where it fails, nothing is done at all.

    ``entry`` gives the change's audit entry, ``first`` what is answered to this use of an Idempotency-Key.
    """

    entry: Callable[[T], AuditEntry] | None = None
    first: Callable[[T], tuple[Claim, FirstAnswer]] | None = None

    async def __call__(self, transaction: Transaction, stored: T) -> None:
        """Do it. UnderWay or DoneBefore where another request has the key."""
        if self.first is not None:
            await keep(transaction, *self.first(stored))
        if self.entry is not None:
            await add(transaction, self.entry(stored))


nothing: Final[TransactionHook[Any]] = TransactionHook()
"""Nothing is done beside it."""


class Idempotency:
    """The answers in PostgreSQL, each for 24 hours. Everything raises StoreUnavailable while it does not answer."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def find(self, claim: Claim) -> FirstAnswer | None:
        """What was answered when this key was used first; None where it is new."""
        rows = await self._pool.query(_FIND, (claim.scope, claim.key, KEPT))
        if not rows:
            return None
        fingerprint, status, headers, body = rows[0]
        return FirstAnswer(fingerprint, status, headers, None if body is None else bytes(body))

    async def forget(self) -> int:
        """Remove what is too old to be asked for; how many they were."""
        return await self._pool.execute("DELETE FROM idempotency WHERE created_at <= now() - %s", (KEPT,))


async def keep(transaction: Transaction, claim: Claim, answer: FirstAnswer) -> None:
    """Write an answer down, as part of the change that it tells of.

    UnderWay where another transaction is about to use this key, DoneBefore where one has.
    """
    # held until the transaction ends; who finds it taken need not wait to learn that the key is in use
    [(free,)] = await transaction.query(_LOCK, (f"{claim.scope}\n{claim.key}",))
    if not free:
        raise UnderWay("The first request with this Idempotency-Key is still being worked on.")
    await transaction.execute(_FORGET_OLD, (claim.scope, claim.key, KEPT))
    told = (answer.fingerprint, answer.status, msgspec.json.encode(answer.headers).decode(), answer.body)
    if not await transaction.execute(_KEEP, (claim.scope, claim.key, *told)):
        raise DoneBefore
