"""A test double of a Database that notes how PostgreSQL runs statements."""

from collections.abc import Sequence
from typing import Any, Final

from voxrec.postgres.pool import Pool
from voxrec.postgres.statement import Row

_FEW: Final = 1000  # rows


class Explaining:
    """Runs statements, and collects the indexes that were used, the tables that were scanned, and the numbers of rows.

    A scan that ends after few rows, because of a LIMIT, does not count.

    ``rows`` is the number of rows that the last statement has returned, ``rows_read`` that of all index entries.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self.indexes: list[str] = []
        self.scanned_tables: list[str] = []
        self.rows = 0
        self.rows_read = 0

    async def query(self, sql: str, params: Sequence[object] = ()) -> list[Row]:
        if sql.startswith("EXPLAIN "):  # the code asks for an estimate
            return await self._pool.query(sql, params)
        ((plans,),) = await self._pool.query(explain(sql, "ANALYZE, FORMAT JSON"), params)
        (plan,) = [each["Plan"] for each in plans]
        self._add(plan)
        rows = await self._pool.query(sql, params)
        self.rows = len(rows)
        return rows

    def _add(self, node: dict[str, Any]) -> None:
        if "Index Name" in node:
            self.indexes.append(node["Index Name"])
            self.rows_read += int(node["Actual Rows"] * node["Actual Loops"])
        elif node["Node Type"] == "Seq Scan" and node["Actual Rows"] + node.get("Rows Removed by Filter", 0) > _FEW:
            self.scanned_tables.append(node["Relation Name"])
        for child in node.get("Plans", ()):
            self._add(child)


def explain(sql: str, options: str) -> str:
    """Return the statement that explains ``sql``, which may begin with settings for the statement."""
    settings, semicolon, statement = sql.rpartition("; ")
    return f"{settings}{semicolon}EXPLAIN ({options}) {statement}"
