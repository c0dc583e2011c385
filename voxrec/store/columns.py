"""Mapping of a struct of the model to the columns of a table: one column for each field."""

from collections.abc import Iterable
from typing import Any, Generic, TypeVar

import msgspec

from voxrec.postgres.statement import Row

S = TypeVar("S", bound=msgspec.Struct)


class Columns(Generic[S]):
    """The columns for the fields of ``struct_type``, in the same order.

    A column has the name of its field, without the trailing underscore of ``from_``. Names are quoted, since ``from``
    and ``to`` are SQL keywords. The fields in ``jsonb`` are stored as jsonb; those in ``exclude`` have no column here.
    """

    def __init__(self, struct_type: type[S], *, jsonb: frozenset[str], exclude: frozenset[str] = frozenset()) -> None:
        fields = [field for field in msgspec.structs.fields(struct_type) if field.name not in exclude]
        self._struct_type = struct_type
        self._jsonb = jsonb
        self._attributes = [field.name for field in fields]
        self._json_keys = [field.encode_name for field in fields]
        self._column_by_attribute = [(name, name.rstrip("_")) for name in self._attributes]
        self.names = tuple(f'"{column}"' for _, column in self._column_by_attribute)
        self.column_list = ", ".join(self.names)
        self.placeholders = ", ".join(["%s"] * len(self.names))

    def params(self, struct: S) -> tuple[object, ...]:
        """Return the values of a struct as parameters for ``placeholders``."""
        return tuple(self._param(name, getattr(struct, name)) for name in self._attributes)

    def json_rows(self, structs: Iterable[S]) -> str:
        """Return structs as a JSON array of rows for ``jsonb_populate_recordset``."""
        rows = [{column: getattr(struct, name) for name, column in self._column_by_attribute} for struct in structs]
        return msgspec.json.encode(rows).decode()

    def from_row(self, row: Row, **excluded: Any) -> S:
        """Return the struct for a row of ``column_list``; ``excluded`` gives the other fields, by JSON key."""
        return msgspec.convert({**dict(zip(self._json_keys, row, strict=True)), **excluded}, self._struct_type)

    def upsert_assignments(self, *, keep: frozenset[str]) -> str:
        """Return the assignments for ``ON CONFLICT DO UPDATE SET``: the new row replaces all columns but ``keep``."""
        kept = {f'"{name}"' for name in keep}
        return ", ".join(f"{name} = excluded.{name}" for name in self.names if name not in kept)

    def _param(self, name: str, value: object) -> object:
        if name in self._jsonb and value is not None:
            return msgspec.json.encode(value).decode()
        # psycopg2 adapts a list as an array, but a tuple as a row.
        return list(value) if isinstance(value, tuple) else value
