"""Pages of what is newest first, by keyset: as quick at the end as at the beginning, and steady while rows come in."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Final, TypeVar

from voxrec.cursor import Cursor, PageItem
from voxrec.postgres.database import Database
from voxrec.postgres.statement import Row

_NEWEST_FIRST: Final = "ORDER BY created_at DESC, id DESC"


D = TypeVar("D", bound=PageItem)


class Conditions:
    """A WHERE that grows: each condition with a value for its ``%s``, joined by AND."""

    def __init__(self) -> None:
        self._parts = ["TRUE"]
        self._each: list[str] = []
        self._values: list[object] = []
        self.params: list[object] = []

    def add(self, sql: str, *values: object) -> None:
        """One more condition, unless there is no value to hold it against."""
        if None not in values:
            self._parts.append(sql)
            self.params += values

    def among(self, column: str, values: Collection[object], kind: str) -> None:
        """A column is one of these values, which are of PostgreSQL's type ``kind``.

        An index that begins with the column tells the newest rows of one value, not of several. So each of several is
        looked up apart, and what that costs depends on how many they are and on nothing else.
        """
        apart = list(dict.fromkeys(values))  # one that is given twice would fill the page twice
        if len(apart) == 1:
            self.add(f"{column} = %s", *apart)
        else:
            self.add(f"{column} = each_{column}")
            self._each.append(f"unnest(%s::{kind}[]) AS each_{column}")
            self._values.append(apart)

    def read(self, select: str, limit: int) -> tuple[str, list[object]]:
        """The statement, and what it takes, that gives the newest rows of what ``select`` begins."""
        newest = f"WHERE {self} {_NEWEST_FIRST} LIMIT %s"
        if not self._each:
            return f"{select} {newest}", [*self.params, limit]
        # one after the other, the keys alone: an index gives them without the rows
        keys = f"SELECT created_at, id {select[select.rindex('FROM ') :]} {newest}"
        found = f"SELECT id FROM {' CROSS JOIN '.join(self._each)} CROSS JOIN LATERAL ({keys}) AS found"  # noqa: S608 - all ours
        return (
            f"{select} WHERE id = ANY (ARRAY({found} {_NEWEST_FIRST} LIMIT %s)) {_NEWEST_FIRST}",
            [*self._values, *self.params, limit, limit],
        )

    def __str__(self) -> str:
        return " AND ".join(self._parts)


async def newest(database: Database, select: str, where: Conditions, limit: int, after: Cursor | None) -> list[Row]:
    """At most ``limit`` rows of what ``select`` begins, newest first, from behind ``after`` on."""
    where.add("(created_at, id) < %s", after)
    return await database.query(*where.read(select, limit))


async def iterate_pages(page: Callable[[Cursor | None], Awaitable[list[D]]], size: int) -> AsyncIterator[list[D]]:
    """All pages, one after the other; ``page`` gives the one behind a cursor, of ``size`` where it is not the last."""
    after = None
    while got := await page(after):
        yield got
        if len(got) < size:
            return
        after = Cursor.after(got[-1])
