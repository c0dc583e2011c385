"""Repository of users. Passwords are stored as Argon2id hashes only, which this module does not interpret."""

# ruff: noqa: S608 - only names of columns are formatted into statements; values are parameters

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from voxrec.cursor import Cursor
from voxrec.error_codes import FieldErrorCode
from voxrec.errors import Conflict, FieldError, InvalidInput
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
_SELECT_PROFILES: Final = "SELECT id FROM profiles WHERE id = ANY(%s::uuid[]) ORDER BY id LIMIT 1000"
_INSERT_PROVIDER_USER: Final = f"""
    INSERT INTO users ({_COLUMNS.column_list}, password) VALUES ({_COLUMNS.placeholders}, %s) ON CONFLICT DO NOTHING
"""
_UPDATE: Final = f"UPDATE users SET ({_COLUMNS.column_list}) = ROW ({_COLUMNS.placeholders}) WHERE id = %s"
_SELECT_CREDENTIALS: Final = f"SELECT password, {_COLUMNS.column_list} FROM users WHERE name = %s AND enabled"
_SELECT_BY_IDENTITY: Final = f"{_SELECT} WHERE issuer = %s AND subject = %s FOR UPDATE"
_SET_PASSWORD: Final = "UPDATE users SET password = %s WHERE id = %s"  # noqa: S105 - a statement
_END_SESSIONS: Final = "DELETE FROM sessions WHERE user_id = %s AND id IS DISTINCT FROM %s"
_END_CHALLENGES: Final = "DELETE FROM code_challenges WHERE user_id = %s"
_LOCK: Final = "SELECT id FROM users WHERE id = %s FOR UPDATE"
_LOCK_VERIFIED: Final = """
    SELECT id FROM users WHERE id = %s AND enabled AND password = %s AND role = %s AND second_factor = %s FOR UPDATE
"""
_NO_PASSWORD: Final = "!"  # noqa: S105 - no hash: nothing matches it, also in versions that know no providers


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


class VerifiedUser(NamedTuple):
    """A user whose password was right, as it was then, and the hash of that password."""

    user: User
    password_hash: str


class Users(Repository[User, UserFilter]):
    """The table of users."""

    _resource = "user"
    _no_filters = ALL_USERS

    async def credentials(self, name: str) -> tuple[User | None, str | None]:
        """Return an enabled user and the hash of the password, or None and None.

        The hash of a user without a password, who signs in at a provider, is None.
        """
        rows = await self._database.query(_SELECT_CREDENTIALS, (name,))
        if not rows:
            return None, None
        password_hash, *row = rows[0]
        return _COLUMNS.from_row(tuple(row)), None if password_hash == _NO_PASSWORD else password_hash

    async def create(self, user: User, password_hash: str, hook: TransactionHook[User] = NO_HOOK) -> User:
        """Insert a user and run ``hook``.

        Raises Conflict if the name is in use, and InvalidInput if a Profile does not exist.
        """

        async def work(transaction: Transaction) -> User:
            await require_profiles(transaction, user.profile_ids, self._resource)
            if not await transaction.query(_INSERT, (*_COLUMNS.params(user), password_hash)):
                raise self._collision([_name_in_use(user)])
            await hook(transaction, user)
            return user

        return await self._database.transaction(work)

    async def update(
        self,
        user_id: UUID,
        change: Callable[[User], User],
        password_hash: str | None = None,
        hook: TransactionHook[User] = NO_HOOK,
        kept_session: UUID | None = None,
    ) -> User:
        """Replace a user by ``change(old)``, and the password if a hash is given; run ``hook``; return the user.

        A new password, another role, other Profiles and disabling end the sessions of the user; ``kept_session``, in
        which a user changes the own permissions, only ends if the user is disabled. Raises NotFound, and InvalidInput
        if a Profile does not exist.
        """

        async def work(transaction: Transaction) -> User:
            old = await self._lock(transaction, user_id)
            new = apply_change(change, old)
            await require_profiles(transaction, new.profile_ids, self._resource)
            await transaction.execute(_UPDATE, (*_COLUMNS.params(new), user_id))
            if password_hash is not None:
                await transaction.execute(_SET_PASSWORD, (password_hash, user_id))
            if not new.enabled:
                await end_sessions(transaction, user_id)
            elif password_hash is not None or have_other_permissions(old, new):
                await end_sessions(transaction, user_id, kept_session)
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


async def store_provider_user(transaction: Transaction, user: User) -> User:
    """Insert the user of an OpenID Connect provider, or give the stored one the role and the Profiles of ``user``.

    Return the stored user. Other permissions than before end the sessions of the user. A disabled user stays disabled.
    Profiles that do not exist are left out. Raises InvalidInput if none is left, and Conflict if another user has the
    name.
    """
    user = await _limited_to_existing_profiles(transaction, user)
    stored = await _find_by_identity(transaction, user)
    if stored is None:
        await transaction.execute(_INSERT_PROVIDER_USER, (*_COLUMNS.params(user), _NO_PASSWORD))
        stored = await _find_by_identity(transaction, user)  # one that another request has inserted, too
    if stored is None:
        raise Conflict(
            f"The name {user.name} is in use by another user.",
            [_name_in_use(user)],
        )
    if not have_other_permissions(stored, user):
        return stored
    changed = msgspec.structs.replace(
        stored, role=user.role, profile_ids=user.profile_ids, updated_at=max(stored.updated_at, user.updated_at)
    )
    await transaction.execute(_UPDATE, (*_COLUMNS.params(changed), stored.id))
    await end_sessions(transaction, stored.id)
    return changed


def _name_in_use(user: User) -> FieldError:
    return FieldError("name", f"{user.name} is in use by another user", FieldErrorCode.IN_USE, {"value": user.name})


async def _limited_to_existing_profiles(transaction: Transaction, user: User) -> User:
    if user.profile_ids is None:
        return user
    rows = await transaction.query(_SELECT_PROFILES, (list(user.profile_ids),))
    if not rows:
        field_error = FieldError("profileIds", "do not exist", FieldErrorCode.DOES_NOT_EXIST, {"value": ""})
        raise InvalidInput("None of the Profiles of the user exists.", [field_error])
    return msgspec.structs.replace(user, profile_ids=tuple(profile_id for (profile_id,) in rows))


async def _find_by_identity(transaction: Transaction, user: User) -> User | None:
    rows = await transaction.query(_SELECT_BY_IDENTITY, (user.issuer, user.subject))
    return _COLUMNS.from_row(rows[0]) if rows else None


async def end_sessions(transaction: Transaction, user_id: UUID, kept_session: UUID | None = None) -> None:
    """End all sessions of a user but ``kept_session``, and the challenges to enter a code, which would begin more."""
    await transaction.execute(_END_SESSIONS, (user_id, kept_session))
    await transaction.execute(_END_CHALLENGES, (user_id,))


async def lock_user(transaction: Transaction, user_id: UUID) -> None:
    """Lock a user until the transaction ends.

    Transactions that change a user, or what belongs to the user, do so first: none waits for another one in a circle,
    and what one of them has ended does not begin again in another one.
    """
    await transaction.query(_LOCK, (user_id,))


async def lock_verified_user(transaction: Transaction, verified: VerifiedUser) -> bool:
    """Lock a user until the transaction ends. Return False if the verification no longer counts.

    The password takes a while to verify. Meanwhile, it may have been replaced, or the user disabled or given another
    role or a second factor.
    """
    user, password_hash = verified
    return bool(await transaction.query(_LOCK_VERIFIED, (user.id, password_hash, user.role.value, user.second_factor)))


def have_other_permissions(before: User, after: User) -> bool:
    """Return whether two versions of a user differ in the role or the Profiles."""
    return before.role is not after.role or {*(before.profile_ids or ())} != {*(after.profile_ids or ())}
