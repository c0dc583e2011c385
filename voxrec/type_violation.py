"""Finds which constraint of a type a value violates, as a code with parameters. msgspec says it in English only."""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final
from uuid import UUID

from msgspec import inspect

from voxrec.error_codes import FieldErrorCode as Code

_JSON_TYPES: Final[tuple[tuple[tuple[type[inspect.Type], ...], str], ...]] = (
    ((inspect.BoolType,), "boolean"),
    ((inspect.IntType,), "integer"),
    ((inspect.FloatType,), "number"),
    ((inspect.StrType, inspect.DateTimeType, inspect.UUIDType, inspect.EnumType, inspect.LiteralType), "string"),
    ((inspect.VarTupleType, inspect.ListType, inspect.SetType, inspect.FrozenSetType, inspect.TupleType), "array"),
    ((inspect.DictType, inspect.StructType), "object"),
    ((inspect.NoneType,), "null"),
)


@dataclass(frozen=True, slots=True)
class Violation:
    """What is wrong with a value; see `voxrec.errors.FieldError`."""

    code: Code
    params: dict[str, Any] = field(default_factory=dict)


def find_violation(value: object, info: inspect.Type) -> Violation:
    """Return what is wrong with ``value``, which msgspec cannot convert to the type that ``info`` describes.

    The code is ``invalid`` if that cannot be found, as with types that msgspec does not know.
    """
    return _violation(value, info, "") or Violation(Code.INVALID)


def enumerated_values(info: inspect.Type) -> list[Any]:
    """Return the values of an enumeration; empty for another type."""
    match info:
        case inspect.LiteralType(values):
            return list(values)
        case inspect.EnumType(cls):
            return [member.value for member in cls]
        case inspect.Metadata(type=annotated):
            return enumerated_values(annotated)
        case inspect.UnionType(types):
            return [value for member in types for value in enumerated_values(member)]
        case _:
            return []


def examples_of(info: inspect.Type) -> list[Any]:
    """Return the examples of a type, or of its items."""
    match info:
        case inspect.Metadata(type=annotated, extra_json_schema=schema):
            return list((schema or {}).get("examples", ())) or examples_of(annotated)
        case inspect.UnionType(types):
            return [example for member in types for example in examples_of(member)]
        case inspect.VarTupleType(item_type) | inspect.ListType(item_type=item_type):
            return examples_of(item_type)
        case _:
            return []


def _violation(value: object, info: inspect.Type, example: str) -> Violation | None:
    """Return the first violation, or None. ``example`` is one of a valid value."""
    example = str(next(iter(examples_of(info)), example))
    match info:
        case inspect.Metadata(type=annotated):
            return _violation(value, annotated, example)
        case inspect.UnionType(types):
            return _of_union(value, types, example)
    if not _has_json_type(value, info):
        return Violation(Code.WRONG_TYPE, {"expected": _json_type(info)})
    if (allowed := enumerated_values(info)) and value not in allowed:
        return Violation(Code.NOT_ONE_OF, {"allowed": [str(each) for each in allowed]})
    match value:
        case str():
            return _of_text(value, info, example)
        case int() | float():
            return _of_number(value, info)
        case list() | tuple():
            return _of_array(value, info, example)
        case dict():
            return next(_of_object(value, info), None)
        case _:
            return None


def _of_union(value: object, types: Sequence[inspect.Type], example: str) -> Violation | None:
    for member in types:
        inner = member.type if isinstance(member, inspect.Metadata) else member
        if _has_json_type(value, inner):
            return _violation(value, member, example)
    expected = next((name for name in map(_json_type, map(_unwrapped, types)) if name != "null"), "null")
    return Violation(Code.WRONG_TYPE, {"expected": expected})


def _unwrapped(info: inspect.Type) -> inspect.Type:
    return info.type if isinstance(info, inspect.Metadata) else info


def _json_type(info: inspect.Type) -> str:
    return next((name for types, name in _JSON_TYPES if isinstance(info, types)), "")


def _has_json_type(value: object, info: inspect.Type) -> bool:
    match _json_type(info):
        case "boolean":
            return isinstance(value, bool)
        case "integer":
            return isinstance(value, int) and not isinstance(value, bool)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "string":
            return isinstance(value, str)
        case "array":
            return isinstance(value, list | tuple)
        case "object":
            return isinstance(value, dict)
        case "null":
            return value is None
        case _:
            return True  # a type of our own, or any


def _of_text(text: str, info: inspect.Type, example: str) -> Violation | None:
    match info:
        case inspect.UUIDType():
            return _unless_parsed(UUID, text, Code.NOT_A_UUID)
        case inspect.DateTimeType(tz=zone):
            if violation := _unless_parsed(datetime.fromisoformat, text, Code.NOT_A_TIMESTAMP):
                return violation
            has_offset = datetime.fromisoformat(text).tzinfo is not None
            return Violation(Code.NO_UTC_OFFSET) if zone and not has_offset else Violation(Code.NOT_A_TIMESTAMP)
        case inspect.StrType(min_length=minimum, max_length=maximum, pattern=pattern):
            if minimum is not None and len(text) < minimum:
                return Violation(Code.TOO_SHORT, {"minimum": minimum})
            if maximum is not None and len(text) > maximum:
                return Violation(Code.TOO_LONG, {"maximum": maximum})
            if pattern is not None and not re.search(pattern, text):
                return Violation(Code.WRONG_FORMAT, {"example": example})
    return None


def _unless_parsed(parse: Any, text: str, code: Code) -> Violation | None:
    try:
        parse(text)
    except ValueError:
        return Violation(code)
    return None


def _of_number(number: float, info: inspect.Type) -> Violation | None:
    if not isinstance(info, inspect.IntType | inspect.FloatType):
        return None
    if (info.ge is not None and number < info.ge) or (info.gt is not None and number <= info.gt):
        return Violation(Code.TOO_SMALL, {"minimum": info.ge if info.ge is not None else info.gt})
    if (info.le is not None and number > info.le) or (info.lt is not None and number >= info.lt):
        return Violation(Code.TOO_LARGE, {"maximum": info.le if info.le is not None else info.lt})
    return None


def _of_array(items: Sequence[object], info: inspect.Type, example: str) -> Violation | None:
    match info:
        case (
            inspect.VarTupleType(item_type, minimum, maximum)
            | inspect.ListType(item_type, minimum, maximum)
            | inspect.SetType(item_type, minimum, maximum)
            | inspect.FrozenSetType(item_type, minimum, maximum)
        ):
            if minimum is not None and len(items) < minimum:
                return Violation(Code.TOO_FEW, {"minimum": minimum})
            if maximum is not None and len(items) > maximum:
                return Violation(Code.TOO_MANY, {"maximum": maximum})
            return next(filter(None, (_violation(item, item_type, example) for item in items)), None)
    return None


def _of_object(values: dict[str, object], info: inspect.Type) -> Iterator[Violation]:
    match info:
        case inspect.DictType(key_type, value_type, minimum, maximum):
            if maximum is not None and len(values) > maximum:
                yield Violation(Code.TOO_MANY, {"maximum": maximum})
            if minimum is not None and len(values) < minimum:
                yield Violation(Code.TOO_FEW, {"minimum": minimum})
            for key, value in values.items():
                yield from filter(None, (_violation(key, key_type, ""), _violation(value, value_type, "")))
        case inspect.StructType(fields=fields):
            known = {each.encode_name: each for each in fields}
            for name in known.keys() & values.keys():
                if violation := _violation(values[name], known[name].type, ""):
                    yield violation
