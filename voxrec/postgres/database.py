"""What a repository needs of PostgreSQL: the daemon passes its Pool, a command a BlockingDatabase."""

from collections.abc import Awaitable, Callable
from typing import Protocol, TypeVar

from voxrec.postgres.statement import Params, Row
from voxrec.postgres.transaction import Transaction

T = TypeVar("T")


class Database(Protocol):
    """Statements and transactions; `voxrec.postgres.pool.Pool` documents each method and its errors."""

    async def query(self, sql: str, params: Params = ()) -> list[Row]:
        """Run a read-only statement and return its rows."""

    async def execute(self, sql: str, params: Params = ()) -> int:
        """Run a statement and return the number of rows that it changed."""

    async def returning(self, sql: str, params: Params = ()) -> list[Row]:
        """Run a statement that changes rows and return those that it returns."""

    async def transaction(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Call ``work`` in a transaction; commit, or roll back if it raises."""
