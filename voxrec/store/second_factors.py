"""Repository of second factors, of recovery codes, and of the challenges to enter a code."""

# ruff: noqa: S608 - only names of columns are formatted into statements; values are parameters

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

from voxrec.errors import NotFound
from voxrec.model import User
from voxrec.postgres.database import Database
from voxrec.postgres.transaction import Transaction
from voxrec.store.columns import Columns
from voxrec.store.tokens import hash_secret
from voxrec.store.users import VerifiedUser, end_sessions, lock_user, lock_verified_user

MAX_FAILURES: Final = 5
"""Wrong codes after which a challenge is void, and the password has to be entered again."""

_USER: Final = Columns(User, jsonb=frozenset())
_USER_COLUMNS: Final = ", ".join(f"users.{name}" for name in _USER.names)
_MAX_CHALLENGES: Final = 20  # of one user; the oldest are dropped
_DELETE_EXPIRED: Final = """
    DELETE FROM code_challenges WHERE hash IN
        (SELECT hash FROM code_challenges WHERE expires_at <= now() FOR UPDATE SKIP LOCKED)
"""
_USE_CHALLENGE: Final = "DELETE FROM code_challenges WHERE hash = %s RETURNING user_id"
_DELETE_OLDEST: Final = """
    DELETE FROM code_challenges WHERE hash IN
        (SELECT hash FROM code_challenges WHERE user_id = %s ORDER BY expires_at DESC OFFSET %s)
"""
_INSERT_CHALLENGE: Final = "INSERT INTO code_challenges (hash, user_id, secret, expires_at) VALUES (%s, %s, %s, %s)"
# The attempt is counted before the code is checked, so that parallel attempts are counted, too.
_ATTEMPT: Final = f"""
    UPDATE code_challenges SET failures = failures + 1 FROM users
    WHERE hash = %s AND expires_at > now() AND failures < %s AND users.id = user_id AND users.enabled
    RETURNING code_challenges.secret, {_USER_COLUMNS}
"""
_SELECT: Final = "SELECT secret, last_step FROM second_factors WHERE user_id = %s"
_USE_STEP: Final = "UPDATE second_factors SET last_step = %s WHERE user_id = %s AND last_step < %s"
_USE_RECOVERY_CODE: Final = "DELETE FROM recovery_codes WHERE user_id = %s AND hash = %s"
_COUNT_RECOVERY_CODES: Final = "SELECT count(*) FROM recovery_codes WHERE user_id = %s"
_DELETE_RECOVERY_CODES: Final = "DELETE FROM recovery_codes WHERE user_id = %s"
_INSERT_RECOVERY_CODES: Final = "INSERT INTO recovery_codes (user_id, hash) SELECT %s, unnest(%s::bytea[])"
_STORE: Final = """
    INSERT INTO second_factors (user_id, secret, last_step) VALUES (%s, %s, %s)
    ON CONFLICT (user_id) DO UPDATE SET secret = excluded.secret, last_step = excluded.last_step
"""
_MARK: Final = "UPDATE users SET second_factor = %s, updated_at = greatest(updated_at, now()) WHERE id = %s"
_REMOVE: Final = "DELETE FROM second_factors WHERE user_id = %s"


class SecondFactor(NamedTuple):
    """The secret of a user's codes, and the time step of the last code that was accepted."""

    secret: str
    last_step: int


class Challenge(NamedTuple):
    """A user who has to enter a code. ``secret`` is that of a second factor which the code is to confirm, or None."""

    secret: str | None
    user: User


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A second factor that a user has confirmed with its first code, and the hashes of the recovery codes."""

    secret: str
    step: int
    recovery_hashes: Sequence[bytes]


@dataclass(frozen=True, slots=True)
class AcceptedCode:
    """A right code, which is used up when it is accepted: its time step, or the hash of a recovery code."""

    step: int | None = None
    recovery_hash: bytes | None = None


class SecondFactors:
    """The tables of second factors, recovery codes and challenges."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def find(self, user_id: UUID) -> SecondFactor | None:
        """Return the second factor of a user, or None."""
        rows = await self._database.query(_SELECT, (user_id,))
        return SecondFactor(*rows[0]) if rows else None

    async def challenge(
        self, verified: VerifiedUser, ticket: str, expires_at: datetime, secret: str | None = None
    ) -> bool:
        """Store a challenge, and delete those that have expired. Return False if the user was changed meanwhile."""
        user_id = verified.user.id

        async def work(transaction: Transaction) -> bool:
            if not await lock_verified_user(transaction, verified):
                return False
            await transaction.execute(_DELETE_EXPIRED)
            await transaction.execute(_INSERT_CHALLENGE, (hash_secret(ticket), user_id, secret, expires_at))
            await transaction.execute(_DELETE_OLDEST, (user_id, _MAX_CHALLENGES))
            return True

        return await self._database.transaction(work)

    async def attempt(self, ticket: str) -> Challenge | None:
        """Count an attempt and return the challenge. None: there is none, it has expired, or had too many attempts."""
        rows = await self._database.returning(_ATTEMPT, (hash_secret(ticket), MAX_FAILURES))
        return Challenge(rows[0][0], _USER.from_row(tuple(rows[0][1:]))) if rows else None

    async def recovery_code_count(self, user_id: UUID) -> int:
        """Return the number of recovery codes that were not used."""
        [(count,)] = await self._database.query(_COUNT_RECOVERY_CODES, (user_id,))
        return int(count)

    async def replace_recovery_codes(self, user_id: UUID, hashes: Sequence[bytes]) -> None:
        """Replace the recovery codes of a user."""

        async def work(transaction: Transaction) -> None:
            await lock_user(transaction, user_id)
            await _store_recovery_codes(transaction, user_id, hashes)

        await self._database.transaction(work)

    async def store(self, user_id: UUID, ticket: str, enrolment: Enrolment, kept_session: UUID | None) -> bool:
        """Store or replace the second factor of a user, and end all sessions of the user but ``kept_session``.

        Return False if the challenge was used up meanwhile.
        """
        return await self._database.transaction(
            lambda transaction: store_second_factor(transaction, user_id, ticket, enrolment, kept_session)
        )

    async def remove(self, user_id: UUID, kept_session: UUID | None = None) -> None:
        """Remove the second factor and the recovery codes of a user, and end all sessions but ``kept_session``.

        Raises NotFound if the user has none.
        """

        async def work(transaction: Transaction) -> None:
            await lock_user(transaction, user_id)
            if not await transaction.execute(_REMOVE, (user_id,)):
                raise NotFound(f"The user {user_id} has no second factor.")
            await transaction.execute(_DELETE_RECOVERY_CODES, (user_id,))
            await transaction.execute(_MARK, (False, user_id))
            await end_sessions(transaction, user_id, kept_session)

        await self._database.transaction(work)


async def store_second_factor(
    transaction: Transaction, user_id: UUID, ticket: str, enrolment: Enrolment, kept_session: UUID | None = None
) -> bool:
    """Do what `SecondFactors.store` does, as part of a transaction."""
    await lock_user(transaction, user_id)
    if not await use_challenge(transaction, ticket):
        return False
    await transaction.execute(_STORE, (user_id, enrolment.secret, enrolment.step))
    await transaction.execute(_MARK, (True, user_id))
    await _store_recovery_codes(transaction, user_id, enrolment.recovery_hashes)
    await end_sessions(transaction, user_id, kept_session)
    return True


async def use_challenge(transaction: Transaction, ticket: str) -> bool:
    """Use up a challenge, as part of a transaction. Return False if it was used, or ended, before."""
    return bool(await transaction.query(_USE_CHALLENGE, (hash_secret(ticket),)))


async def use_code(transaction: Transaction, user_id: UUID, code: AcceptedCode) -> bool:
    """Use up a code, as part of a transaction. Return False if it was used before."""
    if code.recovery_hash is not None:
        return bool(await transaction.execute(_USE_RECOVERY_CODE, (user_id, code.recovery_hash)))
    return bool(await transaction.execute(_USE_STEP, (code.step, user_id, code.step)))


async def _store_recovery_codes(transaction: Transaction, user_id: UUID, hashes: Sequence[bytes]) -> None:
    await transaction.execute(_DELETE_RECOVERY_CODES, (user_id,))
    await transaction.execute(_INSERT_RECOVERY_CODES, (user_id, list(hashes)))
