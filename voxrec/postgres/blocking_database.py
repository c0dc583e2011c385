"""The stores for a program without a reactor, such as the ``voxrec`` command: one connection, and no waiting.

The stores are coroutines, but over this Database none of them ever has to wait, so that each is done at once. So a
command does with the very same statements and rules what the daemon does.
"""

from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from typing import Any, Final, TypeVar

import psycopg2
from psycopg2.errors import ReadOnlySqlTransaction, UndefinedTable
from psycopg2.extensions import connection as Connection

from voxrec.errors import StoreUnavailable
from voxrec.postgres.connection import Params, Result, Row
from voxrec.postgres.pool import Transaction

T = TypeVar("T")

_CONNECT_TIMEOUT: Final = 10  # seconds


@contextmanager
def blocking_transaction(dsn: str) -> Iterator["BlockingDatabase"]:
    """One transaction from the beginning of the block to its end; nothing of it is kept where the block raises.

    StoreUnavailable where PostgreSQL cannot be reached, or has no tables yet.
    """
    try:
        with closing(psycopg2.connect(dsn, connect_timeout=_CONNECT_TIMEOUT)) as connection, connection:
            connection.cursor().execute("SET TIME ZONE 'UTC'")
            yield BlockingDatabase(connection)
    except UndefinedTable as error:
        raise StoreUnavailable("this database is not voxrec's yet: start the daemon, which makes the tables") from error
    except (psycopg2.OperationalError, psycopg2.InterfaceError, ReadOnlySqlTransaction) as error:
        raise StoreUnavailable(f"PostgreSQL does not answer: {' '.join(str(error).split())}") from error


class BlockingDatabase:
    """A `voxrec.postgres.database.Database` inside a transaction of the caller's. Made by `opened`."""

    def __init__(self, connection: Connection) -> None:
        self._transaction = _Plain(connection)

    async def query(self, sql: str, params: Params = ()) -> list[Row]:
        """The rows that a statement gives."""
        return await self._transaction.query(sql, params)

    async def execute(self, sql: str, params: Params = ()) -> int:
        """How many rows a statement touched."""
        return await self._transaction.execute(sql, params)

    async def returning(self, sql: str, params: Params = ()) -> list[Row]:
        """The rows of a statement that writes."""
        return await self._transaction.query(sql, params)

    async def transaction(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """What ``work`` does belongs to the caller's transaction."""
        return await work(self._transaction)


class _Plain(Transaction):
    """Statements on a plain psycopg2 connection."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    async def query(self, sql: str, params: Params = ()) -> list[Row]:
        return self._done(sql, params).rows

    async def execute(self, sql: str, params: Params = ()) -> int:
        return self._done(sql, params).row_count

    async def execute_at_commit(self, sql: str, params: Params = ()) -> None:
        self._done(sql, params)

    def _done(self, sql: str, params: Params) -> Result:
        with self._connection.cursor() as cursor:
            cursor.execute(sql, tuple(params) or None)
            rows = cursor.fetchall() if cursor.description else []
            return Result(rows, cursor.rowcount, cursor.statusmessage or "")


def run_to_completion(work: Coroutine[Any, Any, T]) -> T:
    """The result of a coroutine that never waits."""
    try:
        work.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return] # it is what the coroutine returns
    work.close()
    raise RuntimeError("a command cannot wait for anything but its database")
