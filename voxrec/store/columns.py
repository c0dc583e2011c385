"""How a struct of the model lies in a table: one column for each field, structured values as jsonb."""

from collections.abc import Iterable
from typing import Any, Generic, TypeVar

import msgspec

from voxrec.postgres.statement import Row

S = TypeVar("S", bound=msgspec.Struct)


class Columns(Generic[S]):
    """The columns of ``kind``, in its own order. Those in ``elsewhere`` belong to another table.

    The names are the fields' own (``from_`` without the underscore) and stand in quotation marks: ``from`` and ``to``
    are words of SQL.
    """

    def __init__(self, kind: type[S], *, jsonb: frozenset[str], elsewhere: frozenset[str] = frozenset()) -> None:
        fields = [field for field in msgspec.structs.fields(kind) if field.name not in elsewhere]
        self._kind = kind
        self._jsonb = jsonb
        self._attributes = [field.name for field in fields]
        self._keys = [field.encode_name for field in fields]
        self._columns = [(name, name.rstrip("_")) for name in self._attributes]
        self.names = tuple(f'"{column}"' for _, column in self._columns)
        self.listed = ", ".join(self.names)
        self.placeholders = ", ".join(["%s"] * len(self.names))

    def values(self, thing: S) -> tuple[object, ...]:
        """What to store, in the order of ``names``."""
        return tuple(self._stored(name, getattr(thing, name)) for name in self._attributes)

    def json(self, things: Iterable[S]) -> str:
        """Several things for ``jsonb_populate_recordset``, as an array of objects with the columns for keys."""
        rows = [{column: getattr(thing, name) for name, column in self._columns} for thing in things]
        return msgspec.json.encode(rows).decode()

    def _stored(self, name: str, value: object) -> object:
        if name in self._jsonb and value is not None:
            return msgspec.json.encode(value).decode()
        return list(value) if isinstance(value, tuple) else value  # psycopg2 makes rows of tuples, arrays of lists

    def struct(self, row: Row, **others: Any) -> S:
        """The struct that a row of ``names`` tells; ``others``, by JSON key, are the fields kept elsewhere."""
        return msgspec.convert({**dict(zip(self._keys, row, strict=True)), **others}, self._kind)

    def excluded(self, *, keep: frozenset[str]) -> str:
        """For ``ON CONFLICT DO UPDATE SET``: what was to be inserted replaces all but the columns to keep."""
        kept = {f'"{name}"' for name in keep}
        return ", ".join(f"{name} = excluded.{name}" for name in self.names if name not in kept)
