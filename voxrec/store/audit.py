"""Who changed what, when and from where; kept also when what it tells of is gone.

An entry is part of its change's own transaction, or is begun before its change and ended after it. So there is no
change without one, whatever breaks in between; and it holds as well for what does not happen in PostgreSQL: a call
that is hung up, a file that is deleted.
"""

# ruff: noqa: S608 - what is put into the statements are names of columns, all our own; values are parameters

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from voxrec.cursor import Cursor
from voxrec.model import AuditEntry
from voxrec.postgres.database import Database
from voxrec.postgres.transaction import Transaction
from voxrec.store.columns import Columns
from voxrec.store.keyset import Conditions, iterate_pages, newest

_COLUMNS: Final = Columns(AuditEntry, jsonb=frozenset())
_SELECT: Final = f"SELECT {_COLUMNS.listed} FROM audit"
_INSERT: Final = f"INSERT INTO audit ({_COLUMNS.listed}) VALUES ({_COLUMNS.placeholders})"
INSERT_ENTRY_FROM: Final = f"INSERT INTO audit ({_COLUMNS.listed}) SELECT {_COLUMNS.placeholders}"
"""Writes an entry for each row of a FROM that follows: a change and its entry can so be a single statement."""

entry_values: Final = _COLUMNS.values
"""The parameters of an entry."""
# Nobody waits until this is on the disk: after a crash of PostgreSQL the entry may stay "begun", as after one of ours.
_END: Final = """
    SET LOCAL synchronous_commit = off;
    UPDATE audit SET target_id = %s, outcome = %s, status = %s, fields = %s WHERE id = %s
"""


@dataclass(frozen=True, kw_only=True)
class AuditFilter:
    """Which entries are wanted: all where nothing is given.

    ``since`` (from it on) and ``until`` (before it); ``who`` is a name, ``path`` what the path begins with.
    """

    since: datetime | None = None
    until: datetime | None = None
    who: str | None = None
    path: str | None = None

    def conditions(self) -> Conditions:
        """The same, for PostgreSQL."""
        where = Conditions()
        where.add("created_at >= %s", self.since)
        where.add("created_at < %s", self.until)
        where.add("who = %s", self.who)
        where.add("starts_with(path, %s)", self.path)
        return where


ALL_ENTRIES: Final = AuditFilter()


class Audit:
    """The entries in PostgreSQL. Everything raises StoreUnavailable while it does not answer."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def begin(self, entry: AuditEntry) -> None:
        """Write down what is about to be done."""
        await self._database.execute(_INSERT, _COLUMNS.values(entry))

    async def end(self, entry: AuditEntry) -> None:
        """Write down what came of it."""
        told = (entry.target_id, entry.outcome, entry.status, list(entry.fields), entry.id)
        await self._database.execute(_END, told)

    def pages(self, wanted: AuditFilter = ALL_ENTRIES, size: int = 500) -> AsyncIterator[list[AuditEntry]]:
        """Every wanted entry, newest first, ``size`` of them at a time."""
        return iterate_pages(lambda after: self.page(wanted, size, after), size)

    async def page(
        self, wanted: AuditFilter = ALL_ENTRIES, limit: int = 500, after: Cursor | None = None
    ) -> list[AuditEntry]:
        """At most ``limit`` of the wanted entries, newest first, from behind ``after`` on."""
        where = wanted.conditions()
        rows = await newest(self._database, _SELECT, where, limit, after)
        return [_COLUMNS.struct(row) for row in rows]


async def insert_entry(transaction: Transaction, entry: AuditEntry) -> None:
    """Write down what was done, as part of doing it."""
    await transaction.execute_at_commit(_INSERT, _COLUMNS.values(entry))
