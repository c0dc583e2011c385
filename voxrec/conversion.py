"""Converts untrusted mappings to the typed fields of a struct, and reports every invalid field.

msgspec stops at the first invalid field of a struct; therefore, if any is invalid, each field is converted separately.
"""

from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from functools import cache
from typing import Any, Final

import msgspec

from voxrec.error_codes import FieldErrorCode
from voxrec.errors import FieldError
from voxrec.type_violation import enumerated_values, examples_of, find_violation

_VALUE_LIMIT: Final = 60  # characters of an invalid value that an error message repeats


def convert_fields(
    struct_type: type[msgspec.Struct],
    values: Mapping[str, object],
    *,
    path: str = "",
    read_only: frozenset[str] = frozenset(),
    secret: frozenset[str] = frozenset(),
    dec_hook: Callable[[type, Any], Any] | None = None,
) -> tuple[dict[str, Any], list[FieldError]]:
    """Convert ``values`` to the types of the fields of ``struct_type``.

    Return the converted values by attribute name, and an error for each key that is unknown, in ``read_only``, or has
    a value of the wrong type or outside its range. Missing fields are not reported. Times are returned in UTC, as
    PostgreSQL returns them, and must be in the years that Python represents there, 1 to 9999.

    ``path`` is the prefix of the field names in errors (``mail.``). The value of a key in ``secret`` is never part of
    a message. ``dec_hook`` converts types that msgspec does not know (see `msgspec.convert`).
    """
    fields = _fields(struct_type)
    if fields.keys() >= values.keys() and not read_only.intersection(values):
        try:
            return _convert_together(struct_type, values, dec_hook), []
        except (msgspec.ValidationError, OverflowError):
            pass  # find out about each field
    converted: dict[str, Any] = {}
    field_errors: list[FieldError] = []
    expected = sorted(fields.keys() - read_only)
    unknown = f"unknown field; expected one of {', '.join(expected)}"
    for key, value in values.items():
        name = f"{path}{key}"
        if key not in fields:
            field_errors.append(FieldError(name, unknown, FieldErrorCode.UNKNOWN_FIELD, {"allowed": expected}))
        elif key in read_only:
            field_errors.append(FieldError(name, "read-only field; voxrec sets it", FieldErrorCode.READ_ONLY))
        else:
            try:
                converted[fields[key].name] = _in_utc(
                    msgspec.convert(_integral_to_int(value), fields[key].type, dec_hook=dec_hook)
                )
            except (msgspec.ValidationError, OverflowError) as error:
                invalid = "invalid value" if key in secret else f"invalid value {_abbreviate(value)}"
                violation = find_violation(_integral_to_int(value), msgspec.inspect.type_info(fields[key].type))
                message = f"{invalid}: {_reason(error, fields[key].type)}"
                field_errors.append(FieldError(name, message, violation.code, violation.params))
    return converted, field_errors


def _convert_together(
    struct_type: type[msgspec.Struct], values: Mapping[str, object], dec_hook: Callable[[type, Any], Any] | None
) -> dict[str, Any]:
    """Convert all values at once, because msgspec looks up each type that it is called with."""
    partial = msgspec.convert(
        {key: _integral_to_int(value) for key, value in values.items()}, _partial(struct_type), dec_hook=dec_hook
    )
    return {
        name: _in_utc(value) for name, value in msgspec.structs.asdict(partial).items() if value is not msgspec.UNSET
    }


@cache
def _partial(struct_type: type[msgspec.Struct]) -> type[msgspec.Struct]:
    """Return a struct with the same fields, all of which may be missing."""
    fields = [
        (field.name, field.type | msgspec.UnsetType, msgspec.field(default=msgspec.UNSET, name=field.encode_name))
        for field in msgspec.structs.fields(struct_type)
    ]
    return msgspec.defstruct(f"Partial{struct_type.__name__}", fields, kw_only=True)


@cache  # reading the fields takes longer than converting all their values
def _fields(struct_type: type[msgspec.Struct]) -> Mapping[str, msgspec.structs.FieldInfo]:
    """Return the fields of a struct by JSON key."""
    return {field.encode_name: field for field in msgspec.structs.fields(struct_type)}


def _integral_to_int(value: object) -> object:
    """Convert 5.0 to 5: it is an integer in JSON Schema, and some clients have only one number type."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _in_utc(value: Any) -> Any:
    """Return a time with another UTC offset as time in UTC, and other values unchanged. Raises OverflowError."""
    return value.astimezone(UTC) if isinstance(value, datetime) and value.utcoffset() else value


def _abbreviate(value: object) -> str:
    text = repr(value[: _VALUE_LIMIT + 1] if isinstance(value, str) else value)
    return text if len(text) <= _VALUE_LIMIT else f"{text[:_VALUE_LIMIT]}…"


def _reason(error: msgspec.ValidationError | OverflowError, type_: Any) -> str:
    """Return msgspec's message, and the allowed values of an enumeration, or an example of a regular expression."""
    if isinstance(error, OverflowError):
        return "must be a time in the years 1 to 9999, in UTC"
    text = str(error).replace(" - at `$", " - at `").replace("`", "")
    info = msgspec.inspect.type_info(type_)
    if allowed := [str(value) for value in enumerated_values(info)]:
        return f"{text}; expected one of {', '.join(allowed)}"
    if "regex" in text and (examples := examples_of(info)):
        return f"{text}; for example {examples[0]}"
    return text
