"""Makes the enumerations of an OpenAPI document usable for programs that generate clients from it."""

import re
from collections.abc import Iterator
from typing import Any, Final

Json = dict[str, Any]

_TYPES: Final = {bool: "boolean", int: "integer", str: "string"}


def normalize_enums(document: Json) -> None:
    """Change the enumerations of ``document`` in place; the permitted values remain the same.

    - One with a single value becomes a constant, because generators make a class of each enumeration.
    - Each has a type.
    - One with a title moves to the named schemas, so that there is one class for it, with a short name.
    - Values that differ only in case get names (``x-enum-varnames``): the names of the members would collide.
    """
    for schema in _with_enum(document):
        values = schema["enum"]
        schema.setdefault("type", _TYPES[type(values[0])])
        if len(values) == 1:
            del schema["enum"]
            schema["const"] = values[0]
        elif schema["type"] == "string" and len({value.upper() for value in values}) < len(values):
            schema["x-enum-varnames"] = _member_names(values)
    schemas = document["components"]["schemas"]
    for schema in [*_with_enum(document["paths"]), *_with_enum(schemas)]:
        name = schema.get("title")
        if name is not None and name not in schemas:
            schemas[name] = {key: schema[key] for key in ("title", "type", "enum", "x-enum-varnames") if key in schema}
        if name is not None and schema is not schemas[name]:
            for key in ("title", "type", "enum", "x-enum-varnames"):
                schema.pop(key, None)
            schema["$ref"] = f"#/components/schemas/{name}"


def _with_enum(value: object) -> Iterator[Json]:
    """Yield the schemas that are enumerations, at any depth."""
    match value:
        case {"enum": [_, *_]}:
            assert isinstance(value, dict)
            yield value
        case dict():
            for item in value.values():
                yield from _with_enum(item)
        case list():
            for item in value:
                yield from _with_enum(item)


def _member_names(values: list[str]) -> list[str]:
    """Return a distinct name for each value, such as WAV for "wav" and UPPER_WAV for "WAV"."""
    names: list[str] = []
    for value in values:
        name = re.sub(r"\W", "_", value).upper()
        collides = value.isupper() and any(other != value and other.upper() == value for other in values)
        names.append(f"UPPER_{name}" if collides else name)
    return names
