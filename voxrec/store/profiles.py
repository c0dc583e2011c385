"""Repository of Profiles and their numbers. A number belongs to at most one Profile."""

# ruff: noqa: S608 - only names of columns are formatted into statements; values are parameters

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from itertools import chain
from typing import Final, Self
from uuid import UUID

from psycopg2.errors import ForeignKeyViolation

from voxrec.cursor import Cursor
from voxrec.error_codes import FieldErrorCode
from voxrec.errors import FieldError, InvalidInput
from voxrec.mailaddress import spellings
from voxrec.model import AuditEntry, Profile
from voxrec.postgres.database import Database
from voxrec.postgres.statement import PreparedStatement, Row
from voxrec.postgres.transaction import Transaction
from voxrec.store.keyset import Conditions, fetch_page
from voxrec.store.profile_changes import ProfileChange, ProfileChanges
from voxrec.store.profile_columns import NUMBERS_AND_COLUMNS, PROFILE_COLUMNS, profile_from_row
from voxrec.store.repository import ScopedRepository, apply_change, no_check
from voxrec.store.transaction_hook import NO_HOOK, TransactionHook

_SELECT: Final = f"SELECT {NUMBERS_AND_COLUMNS}"
_INSERT: Final = f"""
    INSERT INTO profiles ({PROFILE_COLUMNS.column_list}) VALUES ({PROFILE_COLUMNS.placeholders})
    ON CONFLICT (id) DO NOTHING
    RETURNING {PROFILE_COLUMNS.column_list}
"""
_UPDATE: Final = f"""
    UPDATE profiles SET ({PROFILE_COLUMNS.column_list}) = ROW ({PROFILE_COLUMNS.placeholders}) WHERE id = %s
    RETURNING {PROFILE_COLUMNS.column_list}
"""
_GET: Final = PreparedStatement(f"{_SELECT} WHERE id = %s")
_GET_MANY: Final = PreparedStatement(f"{_SELECT} WHERE id = ANY(%s)")
_FIND_DIALLED: Final = PreparedStatement(f"""
    {_SELECT} WHERE id = ANY(%s) OR id IN (SELECT profile_id FROM profile_numbers WHERE number = ANY(%s))
""")
_INSERT_NUMBERS: Final = """
    INSERT INTO profile_numbers (number, profile_id, position)
    SELECT number, %s, position FROM unnest(%s::text[]) WITH ORDINALITY AS requested (number, position)
    ORDER BY number  -- all transactions insert in the same order, so that they cannot deadlock
    ON CONFLICT (number) DO NOTHING
    RETURNING number
"""
_SEARCH: Final = """
    (strpos(lower(name), lower(%s)) > 0 OR id::text = lower(%s)
     OR id IN (SELECT profile_id FROM profile_numbers WHERE strpos(number, %s) > 0))
"""


@dataclass(frozen=True, kw_only=True)
class ProfileFilter:
    """Filters of a list; None matches everything.

    ``emails`` are addresses, one of which matches in any letter case and spelling. ``search`` is a part of the name, in
    any letter case, or of a number, or the complete id.
    """

    number: str | None = None
    emails: tuple[str, ...] | None = None
    remote_sip_uri: str | None = None
    search: str | None = None

    def conditions(self) -> Conditions:
        """Return the filters as SQL."""
        conditions = Conditions()
        conditions.add("id = (SELECT profile_id FROM profile_numbers WHERE number = %s)", self.number)
        conditions.add(
            "string_to_array(lower(translate(email, E' \\t\\r\\n', '')), ',') && string_to_array(lower(%s), ',')",
            None if self.emails is None else ",".join(chain.from_iterable(map(spellings, self.emails))),
        )
        conditions.add("remote_sip_uri = %s", self.remote_sip_uri)
        if self.search is not None:
            conditions.add(_SEARCH, self.search, self.search, "".join(self.search.split()))
        return conditions


ALL_PROFILES: Final = ProfileFilter()


class Profiles(ScopedRepository[Profile, ProfileFilter]):
    """The table of Profiles. A scoped repository cannot create Profiles.

    With ``changes``, those of about the same time share statements if each needs one only.
    """

    _resource = "profile"
    _no_filters = ALL_PROFILES

    def __init__(
        self,
        database: Database,
        profile_ids: frozenset[UUID] | None = None,
        changes: ProfileChanges | None = None,
    ) -> None:
        super().__init__(database, profile_ids)
        self._changes = changes

    def scoped_to(self, profile_ids: frozenset[UUID] | None) -> Self:
        """See `ScopedRepository.scoped_to`."""
        return self if profile_ids is None else type(self)(self._database, profile_ids, self._changes)

    async def get_many(self, profile_ids: Collection[UUID]) -> list[Profile]:
        """Return those of the Profiles that exist, in no particular order."""
        in_scope = [id_ for id_ in profile_ids if self._profile_ids is None or id_ in self._profile_ids]
        rows = await self._database.query(_GET_MANY, (in_scope,))
        return [self._from_row(row) for row in rows]

    async def find_dialled(self, profile_ids: Collection[UUID], numbers: Collection[str]) -> list[Profile]:
        """Return the Profiles with one of these ids or numbers, in no particular order."""
        rows = await self._database.query(_FIND_DIALLED, (list(profile_ids), list(numbers)))
        return [self._from_row(row) for row in rows]

    async def all(self) -> list[Profile]:
        """Return every Profile, newest first."""
        return [profile async for page in self.pages() for profile in page]

    async def create(self, profile: Profile, hook: TransactionHook[Profile] = NO_HOOK) -> Profile:
        """Insert a Profile, run ``hook``, and return the Profile as stored.

        Raises Conflict, with every collision, if its id or one of its numbers is in use.
        """
        self._require_in_scope(profile.id)
        alone = partial(self._create_alone, profile, hook)
        if self._changes is None or profile.numbers or (audit_entry := _only_audit_entry(hook)) is None:
            return await alone()
        return await self._changes.insert(ProfileChange(profile=profile, entry=audit_entry(profile), alone=alone))

    async def update(
        self, profile_id: UUID, change: Callable[[Profile], Profile], hook: TransactionHook[Profile] = NO_HOOK
    ) -> Profile:
        """Replace a Profile by ``change(old)``, run ``hook``, and return the Profile as stored.

        No other change happens in between, but ``change`` may be called a second time. If it raises, nothing is stored.
        The id and the creation time are retained. Raises NotFound, and Conflict if a number belongs to another Profile.
        """
        self._require_in_scope(profile_id)
        alone = partial(self._update_alone, profile_id, change, hook)
        if self._changes is None or (audit_entry := _only_audit_entry(hook)) is None:
            return await alone()
        if (read := await self._changes.read(profile_id)) is None:
            raise self._not_found(profile_id)
        version, old = read
        new = apply_change(change, old)
        if new.numbers != old.numbers:
            return await alone()
        return await self._changes.update(
            ProfileChange(profile=new, entry=audit_entry(new), alone=alone, version=version)
        )

    async def delete(self, profile_id: UUID, check: Callable[[Profile], None] = no_check) -> None:
        """Delete a Profile unless ``check`` raises; its Recordings remain. Raises NotFound."""
        self._require_in_scope(profile_id)

        async def work(transaction: Transaction) -> None:
            check(await self._lock(transaction, profile_id))
            await transaction.execute("DELETE FROM profiles WHERE id = %s", (profile_id,))

        await self._database.transaction(work)

    async def _create_alone(self, profile: Profile, hook: TransactionHook[Profile]) -> Profile:
        async def work(transaction: Transaction) -> Profile:
            field_errors = []
            if not (rows := await transaction.query(_INSERT, PROFILE_COLUMNS.params(profile))):
                field_errors.append(self._id_in_use(profile.id))
            field_errors += await _insert_numbers(transaction, profile)
            if field_errors:
                raise self._collision(field_errors)
            stored = self._from_row((list(profile.numbers), *rows[0]))
            await hook(transaction, stored)
            return stored

        with _require_prompt():
            return await self._database.transaction(work)

    async def _update_alone(
        self, profile_id: UUID, change: Callable[[Profile], Profile], hook: TransactionHook[Profile]
    ) -> Profile:
        async def work(transaction: Transaction) -> Profile:
            old = await self._lock(transaction, profile_id)
            new = apply_change(change, old)
            rows = await transaction.query(_UPDATE, (*PROFILE_COLUMNS.params(new), old.id))
            if new.numbers != old.numbers:
                await transaction.execute("DELETE FROM profile_numbers WHERE profile_id = %s", (old.id,))
                if field_errors := await _insert_numbers(transaction, new):
                    raise self._collision(field_errors)
            stored = self._from_row((list(new.numbers), *rows[0]))
            await hook(transaction, stored)
            return stored

        with _require_prompt():
            return await self._database.transaction(work)

    async def _fetch_page(self, filters: ProfileFilter, limit: int, after: Cursor | None) -> list[Row]:
        conditions = filters.conditions()
        conditions.add("id = ANY(%s)", None if self._profile_ids is None else list(self._profile_ids))
        return await fetch_page(self._database, _SELECT, conditions, limit, after)

    async def _lock(self, transaction: Transaction, resource_id: UUID) -> Profile:
        # Two statements: a single one that waits for the lock would return the numbers from before the wait.
        lock = "SELECT FROM profiles WHERE id = %s FOR UPDATE"
        rows = await transaction.query(f"{lock}; {_SELECT} WHERE id = %s", (resource_id, resource_id))
        return self._require_found(rows, resource_id)

    def _select_by_id(self, resource_id: UUID) -> tuple[str, tuple[object, ...]]:
        return _GET, (resource_id,)

    def _from_row(self, row: Row) -> Profile:
        return profile_from_row(row)

    def _in_scope(self, resource: Profile) -> bool:
        return self._profile_ids is None or resource.id in self._profile_ids

    def _require_in_scope(self, profile_id: UUID) -> None:
        if self._profile_ids is not None and profile_id not in self._profile_ids:
            raise self._not_found(profile_id)


def _only_audit_entry(hook: TransactionHook[Profile]) -> Callable[[Profile], AuditEntry] | None:
    """Return what makes the audit entry of a change, if that is all that the hook stores."""
    return hook.audit_entry if hook.idempotency is None and hook.enqueue is None else None


@contextmanager
def _require_prompt() -> Iterator[None]:
    """Raise InvalidInput if the prompt of a Profile was deleted after it had been checked."""
    try:
        yield
    except ForeignKeyViolation as error:
        message = "the prompt does not exist any more"
        field_error = FieldError("recordPromptCustomId", message, FieldErrorCode.DOES_NOT_EXIST, {"value": ""})
        raise InvalidInput("The profile refers to a prompt that was deleted.", [field_error]) from error


async def _insert_numbers(transaction: Transaction, profile: Profile) -> list[FieldError]:
    """Insert the numbers of a Profile, and return an error for each one that belongs to another Profile."""
    if not profile.numbers:
        return []
    rows = await transaction.query(_INSERT_NUMBERS, (profile.id, list(profile.numbers)))
    inserted = {number for (number,) in rows}
    in_use = [number for number in profile.numbers if number not in inserted]
    return [
        FieldError("numbers", f"{number} is in use by another profile", FieldErrorCode.IN_USE, {"value": number})
        for number in in_use
    ]
