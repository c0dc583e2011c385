"""Repositories for programs without a reactor, such as the ``voxrec`` command.

Repositories are coroutines, but over a BlockingDatabase they never suspend, so `run_to_completion` returns their result
directly. Commands thereby use the same statements and rules as the daemon.
"""

from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import closing, contextmanager
from typing import Any, Final, TypeVar

import psycopg2
from psycopg2.errors import InsufficientPrivilege, ReadOnlySqlTransaction, UndefinedTable
from psycopg2.extensions import connection as BlockingConnection

from voxrec.errors import StoreUnavailable
from voxrec.postgres.direct_connection import one_line
from voxrec.postgres.schema_version import describe_newer, newer_migrations
from voxrec.postgres.server_status import primary_dsn
from voxrec.postgres.statement import Params, Result, Row
from voxrec.postgres.transaction import Transaction

T = TypeVar("T")

_CONNECT_TIMEOUT: Final = 10  # seconds


@contextmanager
def blocking_transaction(dsn: str, warn: Callable[[str], None] = lambda _text: None) -> Iterator["BlockingDatabase"]:
    """Connect and run the block in one transaction: commit at its end, roll back if it raises.

    ``warn`` is called if the schema of the database is newer than this version of voxrec.

    Raises StoreUnavailable if PostgreSQL cannot be reached, is read-only, or lacks voxrec's tables.
    """
    try:
        with (
            closing(
                psycopg2.connect(primary_dsn(dsn), connect_timeout=_CONNECT_TIMEOUT, client_encoding="UTF8")
            ) as connection,
            connection,
        ):
            connection.cursor().execute("SET TIME ZONE 'UTC'")
            if newer := newer_migrations(connection):
                warn(describe_newer(newer))
            yield BlockingDatabase(connection)
    except UndefinedTable as error:
        raise StoreUnavailable("the database has no voxrec tables: start the daemon, which creates them") from error
    except (psycopg2.OperationalError, psycopg2.InterfaceError, ReadOnlySqlTransaction, InsufficientPrivilege) as error:
        raise StoreUnavailable(f"PostgreSQL is unavailable: {one_line(error)}") from error


def run_to_completion(coroutine: Coroutine[Any, Any, T]) -> T:
    """Return the result of a coroutine that never suspends. Raises RuntimeError if it does."""
    try:
        coroutine.send(None)
    except StopIteration as end:
        return end.value  # type: ignore[no-any-return] # the coroutine's return value
    coroutine.close()
    raise RuntimeError("a coroutine that was expected to complete at once has suspended")


class BlockingDatabase:
    """A `voxrec.postgres.database.Database` within the transaction of `blocking_transaction`."""

    def __init__(self, connection: BlockingConnection) -> None:
        self._transaction = _BlockingTransaction(connection)

    async def query(self, sql: str, params: Params = ()) -> list[Row]:
        """Run a statement and return its rows."""
        return await self._transaction.query(sql, params)

    async def execute(self, sql: str, params: Params = ()) -> int:
        """Run a statement and return the number of rows that it changed."""
        return await self._transaction.execute(sql, params)

    async def returning(self, sql: str, params: Params = ()) -> list[Row]:
        """Run a statement that changes rows and return those that it returns."""
        return await self._transaction.query(sql, params)

    async def transaction(self, work: Callable[[Transaction], Awaitable[T]]) -> T:
        """Call ``work`` as part of the surrounding transaction."""
        return await work(self._transaction)


class _BlockingTransaction(Transaction):
    """Statements on a blocking psycopg2 connection."""

    def __init__(self, connection: BlockingConnection) -> None:
        self._psycopg_connection = connection

    async def query(self, sql: str, params: Params = ()) -> list[Row]:
        return self._execute(sql, params).rows

    async def execute(self, sql: str, params: Params = ()) -> int:
        return self._execute(sql, params).row_count

    async def execute_at_commit(self, sql: str, params: Params = ()) -> None:
        self._execute(sql, params)

    def _execute(self, sql: str, params: Params) -> Result:
        with self._psycopg_connection.cursor() as cursor:
            cursor.execute(sql, tuple(params) or None)
            rows = cursor.fetchall() if cursor.description else []
            return Result(rows, cursor.rowcount, cursor.statusmessage or "")
