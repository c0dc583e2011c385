"""Pages of what is newest first, by keyset: as quick at the end as at the beginning, and steady while rows come in."""

from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID


class Dated(Protocol):
    """What can stand in such a page."""

    @property
    def id(self) -> UUID:
        """Tells two of the same moment apart."""

    @property
    def created_at(self) -> datetime:
        """When it came."""


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
