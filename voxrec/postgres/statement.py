"""SQL statements, their parameters and results, and the conversion of column types that psycopg2 does not know."""

from collections.abc import Sequence
from itertools import count
from typing import Any, Final, NamedTuple, Self
from uuid import UUID

import msgspec
import psycopg2.extensions
import psycopg2.extras

Row = tuple[Any, ...]
Params = Sequence[object]

psycopg2.extras.register_uuid()
# psycopg2's own parser of UUIDs takes a sixth of the time of reading a page of rows; msgspec's time is negligible.
_UUID: Final = psycopg2.extensions.new_type((2950,), "UUID", lambda text, _: text and msgspec.convert(text, UUID))
psycopg2.extensions.register_type(_UUID)
psycopg2.extensions.register_type(psycopg2.extensions.new_array_type((2951,), "UUID[]", _UUID))
psycopg2.extras.register_default_jsonb(globally=True, loads=msgspec.json.decode)


class Result(NamedTuple):
    """The outcome of a statement.

    ``rows`` is empty for a statement that returns none, ``row_count`` is the number of rows that were returned or
    changed, and ``command_tag`` is PostgreSQL's, such as ``INSERT 0 1``.
    """

    rows: list[Row]
    row_count: int
    command_tag: str


class PreparedStatement(str):
    """A statement that each connection prepares when it first runs it, and executes by name from then on.

    Parsing and planning take more than half of the time of a look-up by key. PostgreSQL infers the types of the
    parameters from their context; where it cannot, the statement needs a cast. Inside a Transaction the plain text is
    sent.
    """

    name: str
    prepare_sql: str
    execute_sql: str
    _serial = count(1)

    def __new__(cls, sql: str) -> Self:
        """Create it from the plain text, in which each parameter is a ``%s``."""
        statement = super().__new__(cls, sql)
        parameters = sql.count("%s")
        references = tuple(f"${number}" for number in range(1, parameters + 1))
        statement.name = f"voxrec_{next(cls._serial)}"
        statement.prepare_sql = f"PREPARE {statement.name} AS {sql % references}"
        arguments = f" ({', '.join(['%s'] * parameters)})" if parameters else ""
        statement.execute_sql = f"EXECUTE {statement.name}{arguments}"
        return statement
