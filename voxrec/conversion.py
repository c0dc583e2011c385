"""Untrusted mappings to typed fields, telling every fault and not the first only.

msgspec stops at the first error of a struct, so each field is converted by itself.
"""

from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

import msgspec

from voxrec.errors import FieldError

_SHOWN = 60  # characters of a wrong value that an error repeats


def fit(
    kind: type[msgspec.Struct],
    given: Mapping[str, object],
    *,
    path: str = "",
    refuse: frozenset[str] = frozenset(),
    secret: frozenset[str] = frozenset(),
    dec_hook: Callable[[type, Any], Any] | None = None,
) -> tuple[dict[str, Any], list[FieldError]]:
    """Convert the values of ``given`` to the types of ``kind``'s fields.

    Returns the converted values by attribute name, and a fault for each key that is unknown, in ``refuse`` (set by
    voxrec alone) or of the wrong type or range. ``path`` is put before each key; a value of a key in ``secret`` is
    never repeated in a message. What is missing is not a fault here.
    """
    fields = _fields(kind)
    values: dict[str, Any] = {}
    field_errors: list[FieldError] = []
    for key, value in given.items():
        where = f"{path}{key}"
        if key not in fields:
            field_errors.append(
                FieldError(where, f"is not known; known here: {', '.join(sorted(fields.keys() - refuse))}")
            )
        elif key in refuse:
            field_errors.append(FieldError(where, "is set by voxrec and cannot be given"))
        else:
            try:
                values[fields[key].name] = msgspec.convert(_number(value), fields[key].type, dec_hook=dec_hook)
            except msgspec.ValidationError as error:
                shown = "the value" if key in secret else _shown(value)
                field_errors.append(FieldError(where, f"{shown} does not fit: {_reason(error, fields[key].type)}"))
    return values, field_errors


@cache
def _fields(kind: type[msgspec.Struct]) -> Mapping[str, msgspec.structs.FieldInfo]:
    """A struct's fields by JSON key. To find them takes longer than to convert all of their values."""
    return {field.encode_name: field for field in msgspec.structs.fields(kind)}


def _number(value: object) -> object:
    """To JSON Schema, and to clients that know one kind of number only, 5.0 is an integer."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"


def _reason(error: msgspec.ValidationError, kind: Any) -> str:
    """In msgspec's own words, and with the allowed values where they are few."""
    text = str(error).replace(" - at `$", " - at `").replace("`", "")
    allowed = [str(value) for value in _choices(msgspec.inspect.type_info(kind))]
    return f"{text}; allowed: {', '.join(allowed)}" if allowed else text


def _choices(info: msgspec.inspect.Type) -> list[Any]:
    match info:
        case msgspec.inspect.LiteralType(values):
            return list(values)
        case msgspec.inspect.EnumType(cls):
            return [member.value for member in cls]
        case msgspec.inspect.UnionType(types):
            return [value for kind in types for value in _choices(kind)]
        case _:
            return []
