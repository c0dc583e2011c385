"""A partial update: what is given replaces, what is not given stays, and what voxrec sets may be given back as it is.

So a client can GET, change one field and POST the whole.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec
from msgspec import Struct

from voxrec.conversion import convert_fields
from voxrec.errors import FieldError, InvalidInput

S = TypeVar("S", bound=Struct)


@dataclass(frozen=True, slots=True)
class PartialUpdate(Generic[S]):
    """The fields to replace, by attribute, what is wrong with them, and what must be as it is."""

    values: Mapping[str, Any]
    field_errors: tuple[FieldError, ...]
    fixed: Mapping[str, Any]

    @classmethod
    def of(cls, kind: type[S], given: Mapping[str, Any], fixed: frozenset[str]) -> "PartialUpdate[S]":
        """Read a body; ``fixed`` are the keys of which clients may only repeat the value."""
        values, field_errors = convert_fields(
            kind, {key: value for key, value in given.items() if key not in fixed}, read_only=fixed
        )
        return cls(values, tuple(field_errors), {key: value for key, value in given.items() if key in fixed})

    def apply(self, current: S, representation: bytes) -> tuple[S, list[FieldError]]:
        """The edited struct and every fault, of which the caller may know more."""
        shown = msgspec.json.decode(representation) if self.fixed else {}
        field_errors = [
            FieldError(key, "is set by voxrec and cannot be changed")
            for key, value in self.fixed.items()
            if key not in shown or shown[key] != value
        ]
        return msgspec.structs.replace(current, **self.values), [*self.field_errors, *field_errors]


def require(field_errors: list[FieldError]) -> None:
    """Raise InvalidInput where there is any fault."""
    if field_errors:
        raise InvalidInput(
            f"{len(field_errors)} {'field does' if len(field_errors) == 1 else 'fields do'} not fit.", field_errors
        )
