"""Keyset pagination: the cost of a page does not depend on its position, and new rows do not shift it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from typing import Any, Final, TypeVar

from voxrec.cursor import Cursor, PageItem
from voxrec.postgres.database import Database
from voxrec.postgres.statement import Row

T = TypeVar("T", bound=PageItem)

NEWEST_FIRST: Final = "ORDER BY created_at DESC, id DESC"
OLDEST_FIRST: Final = "ORDER BY created_at, id"
IN_INDEX_ORDER: Final = "SET LOCAL enable_bitmapscan = off"
"""Precedes a statement that reads rows in the order of an index until a page is full.

If PostgreSQL expects fewer rows than a page, it would read and sort all of them; there may be any number.
"""


class Conditions:
    """A WHERE clause under construction: conditions joined by AND, and ``params`` with the values of their ``%s``."""

    def __init__(self) -> None:
        self._conditions = ["TRUE"]
        self._unnests: list[str] = []
        self._unnest_params: list[object] = []
        self.params: list[object] = []

    def add(self, sql: str, *values: object) -> None:
        """Add a condition, unless one of its values is None."""
        if None not in values:
            self._conditions.append(sql)
            self.params += values

    def add_any_of(self, column: str, values: Collection[object], sql_type: str) -> None:
        """Add the condition that a column has one of some values of PostgreSQL's type ``sql_type``.

        An index that starts with the column yields the newest rows of one value, but not of several. So `first_rows`
        looks up each value separately, and the cost of a page depends on the number of values only.
        """
        distinct = list(dict.fromkeys(values))  # a repeated value would return its rows twice
        if len(distinct) == 1:
            self.add(f"{column} = %s", *distinct)
        else:
            self.add(f"{column} = each_{column}")
            self._unnests.append(f"unnest(%s::{sql_type}[]) AS each_{column}")
            self._unnest_params.append(distinct)

    def first_rows(self, select: str, limit: int, order: str = NEWEST_FIRST) -> tuple[str, list[object]]:
        """Complete ``select``, a SELECT without WHERE, to a statement for the first ``limit`` rows.

        ``order`` is NEWEST_FIRST or OLDEST_FIRST. Return the statement and its parameters.
        """
        newest = f"WHERE {self} {order} LIMIT %s"
        if not self._unnests:
            return f"{select} {newest}", [*self.params, limit]
        # The keys of each value are read first: index-only scans return them.
        keys = f"SELECT created_at, id {select[select.rindex('FROM ') :]} {newest}"
        ids = f"SELECT id FROM {' CROSS JOIN '.join(self._unnests)} CROSS JOIN LATERAL ({keys}) AS newest"  # noqa: S608 - no user input
        return (
            f"{select} WHERE id = ANY (ARRAY({ids} {order} LIMIT %s)) {order}",
            [*self._unnest_params, *self.params, limit, limit],
        )

    def __str__(self) -> str:
        return " AND ".join(self._conditions)


async def fetch_page(
    database: Database, select: str, conditions: Conditions, limit: int, after: Cursor | None
) -> list[Row]:
    """Return at most ``limit`` rows of ``select`` after a cursor, newest first."""
    conditions.add("(created_at, id) < %s", after)
    return await database.query(*conditions.first_rows(select, limit))


async def iterate_pages(
    page: Callable[[Any], Awaitable[list[T]]], size: int, position_of: Callable[[T], object] = Cursor.after
) -> AsyncIterator[list[T]]:
    """Iterate over all pages. ``page`` returns the one after a cursor; only the last has less than ``size`` items.

    ``position_of`` returns the cursor after an item.
    """
    after = None
    while items := await page(after):
        yield items
        if len(items) < size:
            return
        after = position_of(items[-1])
