"""Profiles: whom to call and how to record, and that a number belongs to one Profile only."""

# ruff: noqa: S608 - what is put into the statements are names of columns, all our own; values are parameters

from collections.abc import AsyncIterator, Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final
from uuid import UUID

import msgspec
from psycopg2.errors import ForeignKeyViolation

from voxrec.cursor import Cursor
from voxrec.errors import Conflict, FieldError, InvalidInput, NotFound
from voxrec.model import Profile
from voxrec.postgres.pool import Pool
from voxrec.postgres.statement import PreparedStatement, Row
from voxrec.postgres.transaction import Transaction
from voxrec.store.audit import INSERT_ENTRY_FROM, entry_values
from voxrec.store.columns import Columns
from voxrec.store.keyset import Conditions, iterate_pages, newest
from voxrec.store.transaction_hook import NO_HOOK, TransactionHook

_COLUMNS: Final = Columns(Profile, jsonb=frozenset({"metadata"}), elsewhere=frozenset({"numbers"}))
_WHOLE: Final = f"""
    ARRAY(SELECT number FROM profile_numbers WHERE profile_id = profiles.id ORDER BY position), {_COLUMNS.listed}
    FROM profiles
"""
_SELECT: Final = f"SELECT {_WHOLE}"
_INSERT: Final = f"""
    INSERT INTO profiles ({_COLUMNS.listed}) VALUES ({_COLUMNS.placeholders}) ON CONFLICT (id) DO NOTHING
    RETURNING {_COLUMNS.listed}
"""
_SET: Final = f"UPDATE profiles SET ({_COLUMNS.listed}) = ROW ({_COLUMNS.placeholders}) WHERE id = %s"
_UPDATE: Final = f"{_SET} RETURNING {_COLUMNS.listed}"
_GET: Final = PreparedStatement(f"{_SELECT} WHERE id = %s")
_SOME: Final = PreparedStatement(f"{_SELECT} WHERE id = ANY(%s)")
# A row's xmin names the transaction that wrote this version of it (PostgreSQL, System Columns): where it is the same,
# nobody has changed the row, and no lock was needed to know. Each change of the numbers writes the row as well.
_READ: Final = PreparedStatement(f"SELECT xmin::text, {_WHOLE} WHERE id = %s")
_CREATE: Final = PreparedStatement(
    f"WITH stored AS ({_INSERT}), noted AS ({INSERT_ENTRY_FROM} FROM stored) SELECT * FROM stored"
)
_CHANGE: Final = PreparedStatement(f"""
    WITH stored AS ({_SET} AND xmin = %s::xid RETURNING {_COLUMNS.listed}), noted AS ({INSERT_ENTRY_FROM} FROM stored)
    SELECT * FROM stored
""")
_INSERT_NUMBERS: Final = """
    INSERT INTO profile_numbers (number, profile_id, position)
    SELECT number, %s, position FROM unnest(%s::text[]) WITH ORDINALITY AS given (number, position)
    ORDER BY number  -- the same order for everybody, so that two cannot wait for each other
    ON CONFLICT (number) DO NOTHING
    RETURNING number
"""


@dataclass(frozen=True, kw_only=True)
class ProfileFilter:
    """Which Profiles are wanted: all where nothing is given. ``email`` is one address, in any letter case."""

    number: str | None = None
    email: str | None = None
    remote_sip_uri: str | None = None

    def conditions(self) -> Conditions:
        """The same, for PostgreSQL."""
        where = Conditions()
        where.add("id = (SELECT profile_id FROM profile_numbers WHERE number = %s)", self.number)
        where.add("string_to_array(lower(translate(email, E' \\t\\r\\n', '')), ',') @> ARRAY[lower(%s)]", self.email)
        where.add("remote_sip_uri = %s", self.remote_sip_uri)
        return where


ALL_PROFILES: Final = ProfileFilter()


def _unchecked(_: Profile) -> None:
    """Nothing stands against it."""


class Profiles:
    """The Profiles in PostgreSQL. Everything raises StoreUnavailable while it does not answer.

    ``only`` are those that there are, as far as this store goes; None: all.
    """

    def __init__(self, pool: Pool, only: frozenset[UUID] | None = None) -> None:
        self._pool = pool
        self._only = only

    def scoped_to(self, profile_ids: frozenset[UUID] | None) -> "Profiles":
        """The same store, as if there were no other Profiles than these; None: all of them. It makes no new ones."""
        return self if profile_ids is None else Profiles(self._pool, profile_ids)

    def _require_within(self, profile_id: UUID) -> None:
        if self._only is not None and profile_id not in self._only:
            raise _no_profile(profile_id)

    async def get(self, profile_id: UUID) -> Profile:
        """One Profile. NotFound."""
        self._require_within(profile_id)
        rows = await self._pool.query(_GET, (profile_id,))
        return _only(rows, profile_id)

    async def get_many(self, profile_ids: Collection[UUID]) -> list[Profile]:
        """Those of the given Profiles that exist, in no particular order."""
        within = [one for one in profile_ids if self._only is None or one in self._only]
        rows = await self._pool.query(_SOME, (within,))
        return [_profile(row) for row in rows]

    async def all(self) -> list[Profile]:
        """Every Profile, newest first."""
        return [profile async for page in self.pages() for profile in page]

    def pages(self, wanted: ProfileFilter = ALL_PROFILES, size: int = 500) -> AsyncIterator[list[Profile]]:
        """Every wanted Profile, newest first, ``size`` of them at a time."""
        return iterate_pages(lambda after: self.page(wanted, size, after), size)

    async def page(
        self, wanted: ProfileFilter = ALL_PROFILES, limit: int = 500, after: Cursor | None = None
    ) -> list[Profile]:
        """At most ``limit`` of the wanted Profiles, newest first, from behind ``after`` on."""
        where = wanted.conditions()
        where.add("id = ANY(%s)", None if self._only is None else list(self._only))
        rows = await newest(self._pool, _SELECT, where, limit, after)
        return [_profile(row) for row in rows]

    async def create(self, profile: Profile, hook: TransactionHook[Profile] = NO_HOOK) -> Profile:
        """Add one, and do ``hook``. Conflict where its id, or any of its numbers, is in use; it names all of them."""
        self._require_within(profile.id)
        if (stored := await self._created(profile, hook)) is not None:
            return stored

        async def work(transaction: Transaction) -> Profile:
            field_errors = []
            if not (rows := await transaction.query(_INSERT, _COLUMNS.values(profile))):
                field_errors.append(FieldError("id", f"{profile.id} is in use by another profile"))
            field_errors += await _claim_numbers(transaction, profile)
            if field_errors:
                raise Conflict("The profile collides with another one.", field_errors)
            stored = _profile((list(profile.numbers), *rows[0]))
            await hook(transaction, stored)
            return stored

        with _prompt_must_exist():
            return await self._pool.transaction(work)

    async def update(
        self, profile_id: UUID, change: Callable[[Profile], Profile], hook: TransactionHook[Profile] = NO_HOOK
    ) -> Profile:
        """Put what ``change`` makes of it in a Profile's place, and do ``hook``; nobody else changes it meanwhile.

        Where ``change`` raises, nothing is written. The id and the time of creation stay. NotFound; Conflict where a
        number belongs to another Profile.
        """
        self._require_within(profile_id)
        if (stored := await self._updated(profile_id, change, hook)) is not None:
            return stored

        async def work(transaction: Transaction) -> Profile:
            old = await _locked(transaction, profile_id)
            new = _renewed(old, change)
            rows = await transaction.query(_UPDATE, (*_COLUMNS.values(new), old.id))
            if new.numbers != old.numbers:
                await transaction.execute("DELETE FROM profile_numbers WHERE profile_id = %s", (old.id,))
                if field_errors := await _claim_numbers(transaction, new):
                    raise Conflict("The profile collides with another one.", field_errors)
            stored = _profile((list(new.numbers), *rows[0]))
            await hook(transaction, stored)
            return stored

        with _prompt_must_exist():
            return await self._pool.transaction(work)

    # A transaction that is a single statement: it holds no lock and no connection between two of them.

    async def _created(self, profile: Profile, hook: TransactionHook[Profile]) -> Profile | None:
        """Do it where that is enough; None where it is not, or where the id is in use."""
        if hook.audit_entry is None or hook.idempotency is not None or profile.numbers:
            return None
        with _prompt_must_exist():
            params = (*_COLUMNS.values(profile), *entry_values(hook.audit_entry(profile)))
            rows = await self._pool.returning(_CREATE, params)
        return _profile(((), *rows[0])) if rows else None

    async def _updated(
        self, profile_id: UUID, change: Callable[[Profile], Profile], hook: TransactionHook[Profile]
    ) -> Profile | None:
        """Do it where that is enough; None where it is not, or where somebody else was quicker."""
        if hook.audit_entry is None or hook.idempotency is not None:
            return None
        rows = await self._pool.query(_READ, (profile_id,))
        if not rows:
            raise _no_profile(profile_id)
        version, *row = rows[0]
        old = _profile(tuple(row))
        new = _renewed(old, change)
        if new.numbers != old.numbers:
            return None
        values = (*_COLUMNS.values(new), old.id, version, *entry_values(hook.audit_entry(new)))
        with _prompt_must_exist():
            rows = await self._pool.returning(_CHANGE, values)
        return _profile((list(new.numbers), *rows[0])) if rows else None

    async def delete(self, profile_id: UUID, check: Callable[[Profile], None] = _unchecked) -> None:
        """Remove one, unless ``check`` raises. NotFound. Its Recordings stay."""
        self._require_within(profile_id)

        async def work(transaction: Transaction) -> None:
            check(await _locked(transaction, profile_id))
            await transaction.execute("DELETE FROM profiles WHERE id = %s", (profile_id,))

        await self._pool.transaction(work)


@contextmanager
def _prompt_must_exist() -> Iterator[None]:
    """InvalidInput where the prompt was deleted after somebody had seen that it is there."""
    try:
        yield
    except ForeignKeyViolation as error:
        fault = FieldError("recordPromptCustomId", "there is no such prompt any more")
        raise InvalidInput("The profile names a prompt that was deleted.", [fault]) from error


def _renewed(old: Profile, change: Callable[[Profile], Profile]) -> Profile:
    return msgspec.structs.replace(change(old), id=old.id, created_at=old.created_at)


async def _locked(transaction: Transaction, profile_id: UUID) -> Profile:
    # Two statements: the numbers read beside a FOR UPDATE that had to wait would be those from before the wait.
    locking = "SELECT FROM profiles WHERE id = %s FOR UPDATE"
    return _only(await transaction.query(f"{locking}; {_SELECT} WHERE id = %s", (profile_id,) * 2), profile_id)


async def _claim_numbers(transaction: Transaction, profile: Profile) -> list[FieldError]:
    if not profile.numbers:
        return []
    rows = await transaction.query(_INSERT_NUMBERS, (profile.id, list(profile.numbers)))
    claimed = {number for (number,) in rows}
    taken = [number for number in profile.numbers if number not in claimed]
    return [FieldError("numbers", f"{number} is in use by another profile") for number in taken]


def _profile(row: Row) -> Profile:
    numbers, *columns = row
    return _COLUMNS.struct(tuple(columns), numbers=numbers)


def _only(rows: list[Row], profile_id: UUID) -> Profile:
    if not rows:
        raise _no_profile(profile_id)
    return _profile(rows[0])


def _no_profile(profile_id: UUID) -> NotFound:
    return NotFound(f"There is no profile {profile_id}.")
