"""Repository of users. Passwords are stored as Argon2id hashes only, which this module does not interpret."""

# ruff: noqa: S608 - only names of columns are formatted into statements; values are parameters

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final
from uuid import UUID

from voxrec.cursor import Cursor
from voxrec.errors import FieldError
from voxrec.model import User
from voxrec.postgres.statement import Row
from voxrec.postgres.transaction import Transaction
from voxrec.store.columns import Columns
from voxrec.store.keyset import Conditions, fetch_page
from voxrec.store.profile_limits import require_profiles
from voxrec.store.repository import Repository, apply_change, no_check
from voxrec.store.transaction_hook import NO_HOOK, TransactionHook

_COLUMNS: Final = Columns(User, jsonb=frozenset())
_SELECT: Final = f"SELECT {_COLUMNS.column_list} FROM users"
_INSERT: Final = f"""
    INSERT INTO users ({_COLUMNS.column_list}, password) VALUES ({_COLUMNS.placeholders}, %s)
    ON CONFLICT (name) DO NOTHING
    RETURNING id
"""
_UPDATE: Final = f"UPDATE users SET ({_COLUMNS.column_list}) = ROW ({_COLUMNS.placeholders}) WHERE id = %s"
_SELECT_CREDENTIALS: Final = f"SELECT password, {_COLUMNS.column_list} FROM users WHERE name = %s AND enabled"
_SET_PASSWORD: Final = "UPDATE users SET password = %s WHERE id = %s"  # noqa: S105 - a statement
_END_SESSIONS: Final = "DELETE FROM sessions WHERE user_id = %s"


@dataclass(frozen=True, kw_only=True)
class UserFilter:
    """Filter of a list; None matches everything."""

    name: str | None = None

    def conditions(self) -> Conditions:
        """Return the filter as SQL."""
        conditions = Conditions()
        conditions.add("name = %s", self.name)
        return conditions


ALL_USERS: Final = UserFilter()


class Users(Repository[User, UserFilter]):
    """The table of users."""

    _resource = "user"
    _no_filters = ALL_USERS

    async def credentials(self, name: str) -> tuple[User | None, str | None]:
        """Return an enabled user and the hash of the password, or None and None."""
        rows = await self._database.query(_SELECT_CREDENTIALS, (name,))
        return (_COLUMNS.from_row(rows[0][1:]), rows[0][0]) if rows else (None, None)

    async def create(self, user: User, password_hash: str, hook: TransactionHook[User] = NO_HOOK) -> User:
        """Insert a user and run ``hook``.

        Raises Conflict if the name is in use, and InvalidInput if a Profile does not exist.
        """

        async def work(transaction: Transaction) -> User:
            await require_profiles(transaction, user.profile_ids, self._resource)
            if not await transaction.query(_INSERT, (*_COLUMNS.params(user), password_hash)):
                raise self._collision([FieldError("name", f"{user.name} is in use by another user")])
            await hook(transaction, user)
            return user

        return await self._database.transaction(work)

    async def update(
        self,
        user_id: UUID,
        change: Callable[[User], User],
        password_hash: str | None = None,
        hook: TransactionHook[User] = NO_HOOK,
    ) -> User:
        """Replace a user by ``change(old)``, and the password if a hash is given; run ``hook``; return the user.

        A new password and disabling end all sessions of the user. Raises NotFound, and InvalidInput if a Profile does
        not exist.
        """

        async def work(transaction: Transaction) -> User:
            new = apply_change(change, await self._lock(transaction, user_id))
            await require_profiles(transaction, new.profile_ids, self._resource)
            await transaction.execute(_UPDATE, (*_COLUMNS.params(new), user_id))
            if password_hash is not None:
                await transaction.execute(_SET_PASSWORD, (password_hash, user_id))
            if password_hash is not None or not new.enabled:
                await transaction.execute(_END_SESSIONS, (user_id,))
            await hook(transaction, new)
            return new

        return await self._database.transaction(work)

    async def set_password(self, user_id: UUID, password_hash: str) -> None:
        """Replace the password of a user, and end all sessions of the user. Raises NotFound."""
        await self.update(user_id, lambda user: user, password_hash)

    async def delete(self, user_id: UUID, check: Callable[[User], None] = no_check) -> None:
        """Delete a user and all sessions of the user, unless ``check`` raises. Raises NotFound."""

        async def work(transaction: Transaction) -> None:
            check(await self._lock(transaction, user_id))
            await transaction.execute("DELETE FROM users WHERE id = %s", (user_id,))

        await self._database.transaction(work)

    async def _fetch_page(self, filters: UserFilter, limit: int, after: Cursor | None) -> list[Row]:
        return await fetch_page(self._database, _SELECT, filters.conditions(), limit, after)

    def _select_by_id(self, resource_id: UUID) -> tuple[str, tuple[object, ...]]:
        return f"{_SELECT} WHERE id = %s", (resource_id,)

    def _from_row(self, row: Row) -> User:
        return _COLUMNS.from_row(row)
