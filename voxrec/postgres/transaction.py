"""A transaction on one connection."""

from voxrec.postgres.connection import Connection
from voxrec.postgres.statement import Params, Result, Row


class Transaction:
    """Statements that are committed together or not at all. Valid until the function that received it returns."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._final_sql: list[str] = []
        self._final_params: list[object] = []

    async def query(self, sql: str, params: Params = ()) -> list[Row]:
        """Run a statement and return its rows; of several statements separated by semicolons, those of the last."""
        return (await self._run(sql, params)).rows

    async def execute(self, sql: str, params: Params = ()) -> int:
        """Run a statement and return the number of rows that it changed."""
        return (await self._run(sql, params)).row_count

    async def execute_at_commit(self, sql: str, params: Params = ()) -> None:
        """Run a statement last, in one round trip with the COMMIT. Its result is not available."""
        self._final_sql.append(sql)
        self._final_params += params

    async def commit(self) -> None:
        """Commit, if anything was run. Raises RuntimeError if a statement had failed and its error was ignored."""
        if not self._final_sql and not self._connection.in_transaction:
            return
        # PostgreSQL answers a COMMIT of a failed transaction with ROLLBACK, and without an error.
        if (await self._run("; ".join([*self._final_sql, "COMMIT"]), self._final_params)).command_tag != "COMMIT":
            raise RuntimeError("an earlier statement of the transaction failed: nothing was committed")

    async def _run(self, sql: str, params: Params) -> Result:
        # BEGIN is sent with the first statement, which saves a round trip.
        return await self._connection.run(sql if self._connection.in_transaction else f"BEGIN; {sql}", params)
