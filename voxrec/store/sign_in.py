"""Signing in, in one transaction each: a password alone, a password and a code, or an OpenID Connect provider."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID

from voxrec.errors import Conflict
from voxrec.model import AuditEntry, Session, User
from voxrec.postgres.database import Database
from voxrec.postgres.transaction import Transaction
from voxrec.store.audit import insert_entry
from voxrec.store.second_factors import AcceptedCode, store_second_factor, use_code
from voxrec.store.sessions import Sessions
from voxrec.store.tokens import hash_secret
from voxrec.store.users import end_sessions, store_provider_user

_DELETE_CHALLENGE: Final = "DELETE FROM code_challenges WHERE hash = %s RETURNING user_id"
_DELETE_EXPIRED_AUTHORIZATIONS: Final = "DELETE FROM used_authorizations WHERE expires_at <= now()"
_USE_AUTHORIZATION: Final = """
    INSERT INTO used_authorizations (hash, expires_at) VALUES (%s, now() + %s) ON CONFLICT DO NOTHING RETURNING hash
"""
_SET_PASSWORD: Final = "UPDATE users SET password = %s WHERE id = %s"  # noqa: S105 - a statement


@dataclass(frozen=True, slots=True)
class NewSession:
    """A session that begins, the secret of its cookie, and the entry of the audit log."""

    session: Session
    secret: str
    audit_entry: AuditEntry


@dataclass(frozen=True, slots=True)
class Enrolment:
    """A second factor that a user has confirmed with its first code, and the hashes of the recovery codes."""

    secret: str
    step: int
    recovery_hashes: Sequence[bytes]


class SignIn:
    """Stores sessions together with what permits them to begin."""

    def __init__(self, database: Database, sessions: Sessions) -> None:
        self._database = database
        self._sessions = sessions

    async def with_password(self, new: NewSession) -> None:
        """Store the session of a user whose password was right."""
        await self._database.transaction(lambda transaction: self._begin(transaction, new))

    async def with_new_password(self, new: NewSession, password_hash: str) -> None:
        """Store the own new password of a user, end all sessions of the user, and store one for this browser."""

        async def work(transaction: Transaction) -> None:
            await transaction.execute(_SET_PASSWORD, (password_hash, new.session.user_id))
            await end_sessions(transaction, new.session.user_id)
            await self._begin(transaction, new)

        await self._database.transaction(work)

    async def with_code(self, new: NewSession, ticket: str, code: AcceptedCode) -> bool:
        """Use up a code and its challenge, and store the session. Return False if either was used up meanwhile."""

        async def work(transaction: Transaction) -> bool:
            if not await use_code(transaction, new.session.user_id, code):
                return False
            if not await _use_challenge(transaction, ticket):
                return False
            await self._begin(transaction, new)
            return True

        return await self._database.transaction(work)

    async def with_enrolment(self, new: NewSession, ticket: str, enrolment: Enrolment) -> bool:
        """Store a first second factor and the session. Return False if the challenge was used up meanwhile."""

        async def work(transaction: Transaction) -> bool:
            if not await _use_challenge(transaction, ticket):
                return False
            await store_second_factor(
                transaction, new.session.user_id, enrolment.secret, enrolment.step, enrolment.recovery_hashes
            )
            await self._begin(transaction, new)
            return True

        return await self._database.transaction(work)

    async def at_provider(
        self, user: User, state: str, lifetime: timedelta, id_token: str, begin: Callable[[User], NewSession]
    ) -> NewSession:
        """Store the user of a provider and the session that ``begin`` returns for the stored user, and return it.

        ``state`` identifies the response of the provider, which can be used once and is valid for ``lifetime`` at most.
        Raises Conflict if it was used, or if the name of the user is in use; and what ``begin`` raises.
        """

        async def work(transaction: Transaction) -> NewSession:
            await transaction.execute(_DELETE_EXPIRED_AUTHORIZATIONS)
            if not await transaction.query(_USE_AUTHORIZATION, (hash_secret(state), lifetime)):
                raise Conflict("This response of the identity provider was used already.")
            new = begin(await store_provider_user(transaction, user))
            await self._begin(transaction, new, id_token)
            return new

        return await self._database.transaction(work)

    async def _begin(self, transaction: Transaction, new: NewSession, id_token: str | None = None) -> None:
        await self._sessions.insert(transaction, new.session, new.secret, id_token)
        await insert_entry(transaction, new.audit_entry)


async def _use_challenge(transaction: Transaction, ticket: str) -> bool:
    rows: list[tuple[UUID]] = await transaction.query(_DELETE_CHALLENGE, (hash_secret(ticket),))
    return bool(rows)
