"""Pages of what is newest first, by keyset: as quick at the end as at the beginning, and steady while rows come in."""

from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import datetime
from typing import NamedTuple, Protocol, TypeVar
from uuid import UUID

from voxrec.store.database import Database
from voxrec.store.link import Row


class Dated(Protocol):
    """What can stand in such a page."""

    @property
    def id(self) -> UUID:
        """Tells two of the same moment apart."""

    @property
    def created_at(self) -> datetime:
        """When it came."""


D = TypeVar("D", bound=Dated)


class Cursor(NamedTuple):
    """The last row of a page: the next page begins behind it."""

    created_at: datetime
    id: UUID

    @classmethod
    def behind(cls, last: Dated) -> "Cursor":
        """The cursor that a page ending with ``last`` leads to."""
        return cls(last.created_at, last.id)


class Conditions:
    """A WHERE that grows: each condition with its one ``%s`` and its value, joined by AND."""

    def __init__(self) -> None:
        self._parts = ["TRUE"]
        self.params: list[object] = []

    def add(self, sql: str, value: object) -> None:
        """One more condition, unless there is no value to hold it against."""
        if value is not None:
            self._parts.append(sql)
            self.params.append(value)

    def __str__(self) -> str:
        return " AND ".join(self._parts)


async def newest(database: Database, select: str, where: Conditions, limit: int, after: Cursor | None) -> list[Row]:
    """At most ``limit`` rows of what ``select`` begins, newest first, from behind ``after`` on."""
    where.add("(created_at, id) < %s", after)
    return await database.query(
        f"{select} WHERE {where} ORDER BY created_at DESC, id DESC LIMIT %s", (*where.params, limit)
    )


async def page_by_page(page: Callable[[Cursor | None], Awaitable[list[D]]], size: int) -> AsyncIterator[list[D]]:
    """All pages, one after the other; ``page`` gives the one behind a cursor, of ``size`` where it is not the last."""
    after = None
    while got := await page(after):
        yield got
        if len(got) < size:
            return
        after = Cursor.behind(got[-1])
