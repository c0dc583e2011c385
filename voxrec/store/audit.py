"""Repository of audit entries: who changed what, when and from where. Entries outlive the resources they refer to.

An entry is either inserted in the transaction of the change, or inserted before the change and completed afterwards. So
no change is without an entry, even if a crash interrupts it. The second way also covers changes outside PostgreSQL,
such as hanging up a call or deleting a file.
"""

# ruff: noqa: S608 - only names of columns are formatted into statements; values are parameters

from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from voxrec.cursor import Cursor
from voxrec.model import AuditEntry
from voxrec.postgres.statement import Row
from voxrec.postgres.transaction import Transaction
from voxrec.store.columns import Columns
from voxrec.store.keyset import Conditions, fetch_page
from voxrec.store.repository import PagedTable

ENTRY_COLUMNS: Final = Columns(AuditEntry, jsonb=frozenset())
"""The columns of the table."""
_SELECT: Final = f"SELECT {ENTRY_COLUMNS.column_list} FROM audit"
INSERT_ENTRY: Final = f"INSERT INTO audit ({ENTRY_COLUMNS.column_list}) VALUES ({ENTRY_COLUMNS.placeholders})"
"""Inserts an entry."""
# Without waiting for the disk: if PostgreSQL crashes, the entry may stay "begun", as after a crash of voxrec.
_END: Final = """
    SET LOCAL synchronous_commit = off;
    UPDATE audit SET target_id = %s, outcome = %s, status = %s, fields = %s, reason = %s, seconds = %s
        WHERE id = %s
"""

entry_params: Final = ENTRY_COLUMNS.params
"""Return the parameters of INSERT_ENTRY for an entry."""


@dataclass(frozen=True, kw_only=True)
class AuditFilter:
    """Filters of a list; None matches everything.

    Creation times match from ``since`` on and before ``until``; ``path`` is a prefix; ``who`` is a name; ``target_id``
    is the id of the changed object.
    """

    since: datetime | None = None
    until: datetime | None = None
    who: str | None = None
    path: str | None = None
    target_id: UUID | None = None

    def conditions(self) -> Conditions:
        """Return the filters as SQL."""
        conditions = Conditions()
        conditions.add("created_at >= %s", self.since)
        conditions.add("created_at < %s", self.until)
        conditions.add("who = %s", self.who)
        conditions.add("starts_with(path, %s)", self.path)
        conditions.add("target_id = %s", self.target_id)
        return conditions


class Audit(PagedTable[AuditEntry, AuditFilter]):
    """The table of audit entries."""

    _no_filters = AuditFilter()

    async def begin(self, entry: AuditEntry) -> None:
        """Insert an entry before its change."""
        await self._database.execute(INSERT_ENTRY, entry_params(entry))

    async def end(self, entry: AuditEntry) -> None:
        """Store the outcome of a change whose entry was inserted by `begin`."""
        params = (entry.target_id, entry.outcome, entry.status, list(entry.fields), entry.reason, entry.seconds)
        await self._database.execute(_END, (*params, entry.id))

    async def _fetch_page(self, filters: AuditFilter, limit: int, after: Cursor | None) -> list[Row]:
        return await fetch_page(self._database, _SELECT, filters.conditions(), limit, after)

    def _from_row(self, row: Row) -> AuditEntry:
        return ENTRY_COLUMNS.from_row(row)


async def insert_entry(transaction: Transaction, entry: AuditEntry) -> None:
    """Insert the entry of a change as part of the transaction of that change."""
    await transaction.execute_at_commit(INSERT_ENTRY, entry_params(entry))
