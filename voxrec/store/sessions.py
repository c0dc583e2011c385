"""Repository of the sessions of users. Of the secret in the cookie only the SHA-256 hash is stored, as of tokens."""

# ruff: noqa: S608 - only names of columns are formatted into statements; values are parameters

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final, NamedTuple
from uuid import UUID

from voxrec.cursor import Cursor
from voxrec.model import Session, User
from voxrec.postgres.database import Database
from voxrec.postgres.statement import Row
from voxrec.postgres.transaction import Transaction
from voxrec.store.columns import Columns
from voxrec.store.keyset import Conditions, fetch_page
from voxrec.store.repository import Repository, no_check
from voxrec.store.tokens import hash_secret

SESSION_PREFIX: Final = "vxs_"
"""The prefix of every secret of a session."""

_SESSION: Final = Columns(Session, jsonb=frozenset())
_USER: Final = Columns(User, jsonb=frozenset())
_SELECT: Final = f"SELECT {_SESSION.column_list} FROM sessions"
_INSERT: Final = (
    f"INSERT INTO sessions ({_SESSION.column_list}, hash, id_token) VALUES ({_SESSION.placeholders}, %s, %s)"
)
_VALID: Final = "sessions.expires_at > now() AND sessions.last_used_at > now() - %s"
_SESSION_COLUMNS: Final = ", ".join(f"sessions.{name}" for name in _SESSION.names)
_USER_COLUMNS: Final = ", ".join(f"users.{name}" for name in _USER.names)
_FIND: Final = f"""
    SELECT sessions.last_used_at < now() - interval '1 minute', {_SESSION_COLUMNS}, {_USER_COLUMNS}
    FROM sessions JOIN users ON users.id = sessions.user_id
    WHERE sessions.hash = %s AND users.enabled AND {_VALID}
"""
# Without waiting for the disk: if PostgreSQL crashes, a session may end a minute early.
_TOUCH: Final = """
    SET LOCAL synchronous_commit = off;
    UPDATE sessions SET last_used_at = now() WHERE id = %s RETURNING last_used_at
"""
_SELECT_ID_TOKEN: Final = "SELECT id_token FROM sessions WHERE id = %s"  # noqa: S105 - a statement
# The deletion of a session that has not expired makes all daemons authenticate their clients again, which is needless
# for one that is idle.
_EXPIRE_IDLE: Final = """
    UPDATE sessions SET expires_at = now() WHERE id IN
        (SELECT id FROM sessions WHERE expires_at > now() AND last_used_at <= now() - %s FOR UPDATE SKIP LOCKED)
"""
_DELETE_EXPIRED: Final = """
    DELETE FROM sessions WHERE id IN (SELECT id FROM sessions WHERE expires_at <= now() FOR UPDATE SKIP LOCKED)
"""
_LOCK_USERS: Final = "SELECT id FROM users WHERE %s::uuid IS NULL OR id = %s ORDER BY id FOR UPDATE"
_DELETE_ALL_CHALLENGES: Final = "DELETE FROM code_challenges WHERE %s::uuid IS NULL OR user_id = %s"
_DELETE_ALL: Final = f"DELETE FROM sessions WHERE %s::uuid IS NULL OR user_id = %s RETURNING {_VALID}"


class AuthenticatedSession(NamedTuple):
    """A session and its user. It ends at ``ends_at`` unless it is used before."""

    session: Session
    user: User
    ends_at: datetime


@dataclass(frozen=True, kw_only=True)
class SessionFilter:
    """Filter of a list; None matches everything."""

    user_id: UUID | None = None

    def conditions(self) -> Conditions:
        """Return the filter as SQL."""
        conditions = Conditions()
        conditions.add("user_id = %s", self.user_id)
        return conditions


ALL_SESSIONS: Final = SessionFilter()


class Sessions(Repository[Session, SessionFilter]):
    """The table of sessions. A session ends at ``expires_at``, and earlier after ``idle_timeout`` without a request."""

    _resource = "session"
    _no_filters = ALL_SESSIONS

    def __init__(self, database: Database, idle_timeout: timedelta) -> None:
        super().__init__(database)
        self._idle_timeout = idle_timeout

    async def find(self, secret: str) -> AuthenticatedSession | None:
        """Return the session with this secret and its user, or None if it has ended or the user is disabled."""
        rows = await self._database.query(_FIND, (hash_secret(secret), self._idle_timeout))
        return self._authenticated(rows[0]) if rows else None

    async def use(self, secret: str) -> AuthenticatedSession | None:
        """Return what `find` returns, and store the time of this use, at most once a minute."""
        rows = await self._database.query(_FIND, (hash_secret(secret), self._idle_timeout))
        if not rows:
            return None
        found = self._authenticated(rows[0])
        if not rows[0][0]:
            return found
        touched = await self._database.returning(_TOUCH, (found.session.id,))
        return found._replace(ends_at=self._end(found.session, touched[0][0])) if touched else None

    def _authenticated(self, row: Row) -> AuthenticatedSession:
        _, *values = row
        size = len(_SESSION.names)
        session, user = _SESSION.from_row(tuple(values[:size])), _USER.from_row(tuple(values[size:]))
        return AuthenticatedSession(session, user, self._end(session, session.last_used_at))

    def _end(self, session: Session, last_used_at: datetime) -> datetime:
        """Return the time at which a session ends unless it is used before."""
        return min(session.expires_at, last_used_at + self._idle_timeout)

    async def id_token(self, session_id: UUID) -> str | None:
        """Return the ID token of a session of a user who signed in at a provider."""
        rows = await self._database.query(_SELECT_ID_TOKEN, (session_id,))
        return rows[0][0] if rows else None

    async def insert(
        self, transaction: Transaction, session: Session, secret: str, id_token: str | None = None
    ) -> None:
        """Insert a session as part of a transaction, and delete the sessions that have ended."""
        await transaction.execute(_EXPIRE_IDLE, (self._idle_timeout,))
        await transaction.execute(_DELETE_EXPIRED)
        await transaction.execute(_INSERT, (*_SESSION.params(session), hash_secret(secret), id_token))

    async def delete(self, session_id: UUID, check: Callable[[Session], None] = no_check) -> None:
        """End a session unless ``check`` raises. Raises NotFound."""

        async def work(transaction: Transaction) -> None:
            check(await self._lock(transaction, session_id))
            await transaction.execute("DELETE FROM sessions WHERE id = %s", (session_id,))

        await self._database.transaction(work)

    async def delete_all(self, user_id: UUID | None = None) -> int:
        """End all sessions, or those of a user, and the challenges that would begin more; return how many sessions."""

        async def work(transaction: Transaction) -> list[Row]:
            await transaction.query(_LOCK_USERS, (user_id, user_id))
            await transaction.execute(_DELETE_ALL_CHALLENGES, (user_id, user_id))
            return await transaction.query(_DELETE_ALL, (user_id, user_id, self._idle_timeout))

        return sum(was_valid for (was_valid,) in await self._database.transaction(work))

    async def _fetch_page(self, filters: SessionFilter, limit: int, after: Cursor | None) -> list[Row]:
        conditions = filters.conditions()
        conditions.add(_VALID, self._idle_timeout)
        return await fetch_page(self._database, _SELECT, conditions, limit, after)

    def _select_by_id(self, resource_id: UUID) -> tuple[str, tuple[object, ...]]:
        return f"{_SELECT} WHERE id = %s AND {_VALID}", (resource_id, self._idle_timeout)

    def _from_row(self, row: Row) -> Session:
        return _SESSION.from_row(row)
