"""Positions in lists that are sorted by creation time, newest first (keyset pagination)."""

from datetime import datetime
from typing import NamedTuple, Protocol
from uuid import UUID


class PageItem(Protocol):
    """An item of such a list."""

    @property
    def id(self) -> UUID:
        """Orders items that were created at the same time."""

    @property
    def created_at(self) -> datetime:
        """The creation time."""


class Cursor(NamedTuple):
    """A position: after the last item of a page, where the next page starts."""

    created_at: datetime
    id: UUID

    @classmethod
    def after(cls, item: PageItem) -> "Cursor":
        """Return the position after ``item``."""
        return cls(item.created_at, item.id)
