"""Insertions and updates of Profiles with their audit entries: those of about the same time have one statement.

Changes of Profiles notify the daemons. PostgreSQL commits transactions with notifications one after the other, and each
waits for the disk (PreCommit_Notify in src/backend/commands/async.c): without this, a hundred changes at once would be
a hundred writes in sequence.
"""

# ruff: noqa: S608 - only names of columns are formatted into statements; values are parameters

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID

import msgspec
from twisted.internet.interfaces import IReactorTime

from voxrec.batching import Batcher
from voxrec.model import AuditEntry, Profile
from voxrec.postgres.database import Database
from voxrec.postgres.statement import PreparedStatement, Row
from voxrec.store.audit import ENTRY_COLUMNS
from voxrec.store.profile_columns import NUMBERS_AND_COLUMNS, PROFILE_COLUMNS, profile_from_row
from voxrec.store.row_batcher import RowBatcher

_NEW_COLUMNS: Final = ", ".join(f"new.{name}" for name in PROFILE_COLUMNS.names)
# What PostgreSQL stores differs from the parameters in metadata only: jsonb normalises values, such as 1e2 to 100.
_INSERT_ENTRIES: Final = f"""
    INSERT INTO audit ({ENTRY_COLUMNS.column_list})
    SELECT {", ".join(f"entry.{name}" for name in ENTRY_COLUMNS.names)}
    FROM stored JOIN jsonb_populate_recordset(NULL::audit, %s) AS entry ON entry.target_id = stored.id
"""
# All statements insert in the same order, so that they cannot deadlock: each waits for those that insert the same ids.
_INSERT: Final = PreparedStatement(f"""
    WITH stored AS (
        INSERT INTO profiles ({PROFILE_COLUMNS.column_list})
        SELECT {_NEW_COLUMNS} FROM jsonb_populate_recordset(NULL::profiles, %s) AS new ORDER BY id
        ON CONFLICT (id) DO NOTHING
        RETURNING id, metadata
    ), entries AS ({_INSERT_ENTRIES})
    SELECT id, metadata FROM stored
""")
# xmin is the id of the transaction that wrote this version of the row (PostgreSQL, "System Columns"). If it is the same
# when the row is updated, nothing else has changed the row meanwhile, although it was not locked. Every change of the
# numbers updates the row too.
_UPDATE: Final = PreparedStatement(f"""
    WITH locked AS (
        SELECT id FROM profiles JOIN unnest(%s::uuid[], %s::text[]) AS read (id, version) USING (id)
        WHERE profiles.xmin = version::xid
        FOR NO KEY UPDATE OF profiles SKIP LOCKED
    ), stored AS (
        UPDATE profiles SET ({PROFILE_COLUMNS.column_list}) = ROW ({_NEW_COLUMNS})
        FROM locked JOIN jsonb_populate_recordset(NULL::profiles, %s) AS new USING (id)
        WHERE profiles.id = locked.id
        RETURNING profiles.id, profiles.metadata
    ), entries AS ({_INSERT_ENTRIES})
    SELECT id, metadata FROM stored
""")
_SELECT: Final = PreparedStatement(f"SELECT id, xmin::text, {NUMBERS_AND_COLUMNS} WHERE id = ANY(%s)")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProfileChange:
    """The new state of a Profile, and its audit entry, whose target is the Profile.

    ``alone`` makes the same change in a transaction of its own, which waits for others that change the Profile, and
    raises the errors of the change. ``version``: of the row that is updated, see `ProfileChanges.read`.
    """

    profile: Profile
    entry: AuditEntry
    alone: Callable[[], Awaitable[Profile]]
    version: str = ""


class ProfileChanges:
    """Inserts and updates Profiles, except their numbers.

    Methods raise StoreUnavailable, and what ``alone`` raises.
    """

    def __init__(self, clock: IReactorTime, database: Database) -> None:
        self._database = database
        self._reads: Batcher[UUID, tuple[str, Profile] | None] = Batcher(clock, self._read_several)
        self._insertions = RowBatcher(clock, self._insert_several, _change_alone)
        self._updates = RowBatcher(clock, self._update_several, _change_alone)

    async def read(self, profile_id: UUID) -> tuple[str, Profile] | None:
        """Return the version of a row and its Profile; None if it does not exist."""
        return await self._reads.request(profile_id)

    async def insert(self, change: ProfileChange) -> Profile:
        """Insert a Profile without numbers, and return it as stored."""
        return await self._insertions.change(change)

    async def update(self, change: ProfileChange) -> Profile:
        """Replace a Profile that was read, unless it was changed since; ``alone`` is called then."""
        return await self._updates.change(change)

    async def _read_several(self, profile_ids: Sequence[UUID]) -> list[tuple[str, Profile] | None]:
        rows = await self._database.query(_SELECT, (list(profile_ids),))
        read = {row[0]: (row[1], profile_from_row(row[2:])) for row in rows}
        return [read.get(profile_id) for profile_id in profile_ids]

    async def _insert_several(self, changes: Sequence[ProfileChange]) -> list[Profile | None]:
        different = _with_different_ids(changes)
        return _stored(changes, different, await self._database.returning(_INSERT, _params(different)))

    async def _update_several(self, changes: Sequence[ProfileChange]) -> list[Profile | None]:
        different = _with_different_ids(changes)
        ids, versions = [change.profile.id for change in different], [change.version for change in different]
        rows = await self._database.returning(_UPDATE, (ids, versions, *_params(different)))
        return _stored(changes, different, rows)


async def _change_alone(change: ProfileChange) -> Profile:
    return await change.alone()


def _with_different_ids(changes: Sequence[ProfileChange]) -> list[ProfileChange]:
    """Return the first change of each Profile: a statement cannot change a row twice."""
    return list({change.profile.id: change for change in reversed(changes)}.values())


def _params(changes: Sequence[ProfileChange]) -> tuple[str, str]:
    """Return the rows of Profiles and of audit entries."""
    profiles = PROFILE_COLUMNS.json_rows(change.profile for change in changes)
    return profiles, ENTRY_COLUMNS.json_rows(change.entry for change in changes)


def _stored(
    changes: Sequence[ProfileChange], made: Sequence[ProfileChange], rows: Sequence[Row]
) -> list[Profile | None]:
    """Return the stored Profile of each change; None for one that was not made."""
    metadata_by_id: dict[UUID, dict[str, Any]] = dict(rows)
    profiles = {
        id(change): msgspec.structs.replace(change.profile, metadata=metadata_by_id[change.profile.id])
        for change in made
        if change.profile.id in metadata_by_id
    }
    return [profiles.get(id(change)) for change in changes]
