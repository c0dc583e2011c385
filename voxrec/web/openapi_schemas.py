"""The schemas of an OpenAPI document: of response types and request bodies, with an example of each."""

import inspect
from collections.abc import Iterable, Iterator
from typing import Any, Final

import msgspec
from msgspec import Struct

from voxrec.web.body import BodySchema

Json = dict[str, Any]

EXAMPLE_UUID: Final = "5f0c1a52-8d0f-4c1b-9a3e-2b7d6f1c9e04"
_EXAMPLE_TIMESTAMP: Final = "2026-01-31T09:30:00Z"
_REFERENCE: Final = "#/components/schemas/{name}"


class Schemas:
    """The named schemas of a document. ``types`` are those of all responses."""

    def __init__(self, types: Iterable[Any]) -> None:
        self.components: dict[str, Json] = _component_schemas(types)

    def reference(self, name: str) -> Json:
        """Return a reference to a named schema."""
        return {"$ref": _REFERENCE.format(name=name)}

    def of_type(self, type_: Any) -> Json:
        """Return the schema of a response type."""
        schema: Json = msgspec.json.schema_components([type_], ref_template=_REFERENCE)[0][0]
        return schema

    def add_body(self, body: BodySchema, *, update: bool, owner: str = "") -> Json:
        """Add the schema of a request body and return a reference to it.

        ``update``: absent fields do not change. ``owner``: the kind of resource that the path is below.
        """
        components = _component_schemas([body.model])
        schema = components.pop(body.model.__name__)
        for name, component in components.items():
            self.components.setdefault(name, component)
        properties = {key: dict(value) for key, value in schema["properties"].items() if key not in body.excluded}
        for key, keywords in body.properties.items():
            properties[key] |= keywords
        for value in properties.values():
            _describe_default(value, update=update)
        name = self._body_name(body, owner, update=update)
        self.components[name] = {
            "title": name,
            "description": "The fields to change." if update else schema.get("description", ""),
            "type": "object",
            "properties": properties,
            "required": sorted(body.required),
            "additionalProperties": False,
            **body.keywords,
        }
        return self.reference(name)

    def _body_name(self, body: BodySchema, owner: str, *, update: bool) -> str:
        """Return a name. It contains the owner if another body of the same model requires different keys."""
        model = body.model.__name__
        name = f"{model}Change" if update else f"New{model}"
        existing = self.components.get(name)
        return name if existing is None or existing["required"] == sorted(body.required) else f"New{owner}{model}"

    def example(self, schema: Json) -> Any:
        """Return a valid value."""
        match schema:
            case {"$ref": _, "examples": [first, *_]}:
                return first
            case {"$ref": str(reference)}:
                return schema.get("default", self.example(self.components[reference.rpartition("/")[2]]))
            case {"examples": [first, *_]} | {"const": first} | {"anyOf": [{"examples": [first, *_]}, *_]}:
                return first
            case {"enum": [first, *_]}:
                return schema.get("default", first)
            case {"anyOf": [first, *_]}:
                return schema["default"] if "default" in schema else self.example(first)
            case {"type": "object"}:
                return {key: self.example(value) for key, value in schema.get("properties", {}).items()}
            case {"type": "array"}:
                return [self.example(schema["items"])] if schema.get("items") else []
        return schema.get("default", _scalar_example(schema))


def _describe_default(schema: Json, *, update: bool) -> None:
    """Move the default of a field in a request body to its description and example.

    Generators of clients make a field with a default required, or send the default. In an update there is none.
    """
    if "default" not in schema:
        return
    default = schema.pop("default")
    if update:
        return
    if default is not None:
        text = f"Default: `{msgspec.json.encode(default).decode()}`."
        schema["description"] = " ".join(filter(None, [schema.get("description"), text]))
    if not any("examples" in alternative for alternative in schema.get("anyOf", ())):
        schema.setdefault("examples", [default])


def markdown(docstring: str | None) -> str:
    """Return a docstring as Markdown."""
    return inspect.cleandoc(docstring or "").replace("``", "`")


def _scalar_example(schema: Json) -> Any:
    by_format = {"uuid": EXAMPLE_UUID, "date-time": _EXAMPLE_TIMESTAMP}
    by_type = {"boolean": False, "integer": schema.get("minimum", 1), "number": 1.5, "null": None}
    return by_format.get(schema.get("format", ""), by_type.get(schema.get("type", ""), "text"))


def _component_schemas(types: Iterable[Any]) -> dict[str, Json]:
    """Return the named schemas of types in responses, where all fields are present unless defaults are omitted."""
    types = list(types)
    schemas = msgspec.json.schema_components(types, ref_template=_REFERENCE)[1]
    for struct in _structs(msgspec.inspect.multi_type_info(types)):
        schema = schemas[struct.__name__]
        if not struct.__struct_config__.omit_defaults:
            schema["required"] = list(schema["properties"])
    for schema in schemas.values():
        schema["description"] = markdown(schema.get("description", ""))
    return schemas


def _structs(types: Iterable[msgspec.inspect.Type]) -> Iterator[type[Struct]]:
    """Yield the structs that types consist of, each once."""
    seen: set[type[Struct]] = set()
    stack = list(types)
    while stack:
        match stack.pop():
            case msgspec.inspect.StructType(cls, fields) if cls not in seen:
                seen.add(cls)
                yield cls
                stack += [field.type for field in fields]
            case msgspec.inspect.UnionType(alternatives):
                stack += alternatives
            case msgspec.inspect.ListType(item_type=item) | msgspec.inspect.VarTupleType(item_type=item):
                stack.append(item)
            case msgspec.inspect.DictType(value_type=value):
                stack.append(value)
            case msgspec.inspect.Metadata(type=inner):
                stack.append(inner)
