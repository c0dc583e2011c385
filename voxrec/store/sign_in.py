"""Signing in, in one transaction each: a password alone, a password and a code, or an OpenID Connect provider."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from voxrec.error_codes import ProblemReason
from voxrec.errors import Conflict
from voxrec.model import AuditEntry, Session, User
from voxrec.postgres.database import Database
from voxrec.postgres.transaction import Transaction
from voxrec.store.audit import insert_entry
from voxrec.store.second_factors import AcceptedCode, Enrolment, store_second_factor, use_challenge, use_code
from voxrec.store.sessions import Sessions
from voxrec.store.tokens import hash_secret
from voxrec.store.users import VerifiedUser, end_sessions, lock_user, lock_verified_user, store_provider_user

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


class SignIn:
    """Stores sessions together with what permits them to begin."""

    def __init__(self, database: Database, sessions: Sessions) -> None:
        self._database = database
        self._sessions = sessions

    async def with_password(self, new: NewSession, verified: VerifiedUser) -> bool:
        """Store the session of a user whose password was right. Return False if the user was changed meanwhile."""

        async def work(transaction: Transaction) -> bool:
            if not await lock_verified_user(transaction, verified):
                return False
            await self._begin(transaction, new)
            return True

        return await self._database.transaction(work)

    async def with_new_password(self, new: NewSession, verified: VerifiedUser, password_hash: str) -> bool:
        """Store the own new password of a user, end all sessions of the user, and store one for this browser.

        Return False if the user was changed meanwhile.
        """

        async def work(transaction: Transaction) -> bool:
            if not await lock_verified_user(transaction, verified):
                return False
            await transaction.execute(_SET_PASSWORD, (password_hash, new.session.user_id))
            await end_sessions(transaction, new.session.user_id)
            await self._begin(transaction, new)
            return True

        return await self._database.transaction(work)

    async def with_code(self, new: NewSession, ticket: str, code: AcceptedCode) -> bool:
        """Use up a code and its challenge, and store the session. Return False if either was used up meanwhile."""

        async def work(transaction: Transaction) -> bool:
            await lock_user(transaction, new.session.user_id)
            if not await use_code(transaction, new.session.user_id, code):
                return False
            if not await use_challenge(transaction, ticket):
                return False
            await self._begin(transaction, new)
            return True

        return await self._database.transaction(work)

    async def with_enrolment(self, new: NewSession, ticket: str, enrolment: Enrolment) -> bool:
        """Store a first second factor, end all sessions of the user, and store the new one.

        Return False if the challenge was used up meanwhile.
        """

        async def work(transaction: Transaction) -> bool:
            if not await store_second_factor(transaction, new.session.user_id, ticket, enrolment):
                return False
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
                detail = "This response of the identity provider was used already."
                raise Conflict(detail, reason=ProblemReason.SIGN_IN_USED)
            new = begin(await store_provider_user(transaction, user))
            await self._begin(transaction, new, id_token)
            return new

        return await self._database.transaction(work)

    async def _begin(self, transaction: Transaction, new: NewSession, id_token: str | None = None) -> None:
        await self._sessions.insert(transaction, new.session, new.secret, id_token)
        await insert_entry(transaction, new.audit_entry)
