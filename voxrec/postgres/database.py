"""What a store needs of PostgreSQL: the daemon's Pool gives it, and so does the one connection of a command."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from voxrec.postgres.connection import Params, Row
from voxrec.postgres.pool import Transaction

T = TypeVar("T")


class Database(Protocol):
    """See `voxrec.postgres.pool.Pool`, which says what each of these promises."""

    async def query(self, sql: str, params: Params = ()) -> list[Row]:
        """The rows of one statement that only reads."""

    async def execute(self, sql: str, params: Params = ()) -> int:
        """How many rows one statement touched."""

    async def returning(self, sql: str, params: Params = ()) -> list[Row]:
        """The rows of one statement that writes."""

    async def transaction(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Commit what ``work`` does, or nothing of it where it raises."""
