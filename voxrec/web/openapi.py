"""The OpenAPI 3.1 document, made from the route tables and the types: it cannot tell of what is not there."""

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, get_origin

import msgspec
from msgspec import Struct

from voxrec.errors import InvalidInput, NotFound, StoreUnavailable, VoxrecError
from voxrec.idempotency import RequestInProgress
from voxrec.web.body import BodySchema, FileBody, JsonRequestBody
from voxrec.web.errors import (
    BadRequest,
    NotAcceptable,
    NotAllowed,
    NotAuthenticated,
    PreconditionFailed,
    TooLarge,
    TooManyAttempts,
    UnsupportedMedia,
)
from voxrec.web.idempotency import KeyReused
from voxrec.web.problems import PROBLEM_TYPE, Problem
from voxrec.web.response import JSON
from voxrec.web.route import Route

Json = dict[str, Any]

_REF: Final = "#/components/schemas/{name}"
_SEGMENT: Final = re.compile(r"<(?:\w+:)?(\w+)>")
_UUID: Final = "5f0c1a52-8d0f-4c1b-9a3e-2b7d6f1c9e04"
_MOMENT: Final = "2026-01-31T09:30:00Z"
_ASKED: Final[Mapping[str, Json]] = {
    "If-Match": {
        "description": "Do it only where this ETag is still that of the present version; else 412.",
        "schema": {"type": "string"},
    },
    "If-None-Match": {
        "description": "Do it only where this ETag is not that of the present version: else 304 to GET, 412 to others.",
        "schema": {"type": "string"},
    },
    "Range": {
        "description": "One range of bytes (RFC 9110 section 14); several, or what does not parse, give the whole.",
        "schema": {"type": "string"},
        "example": "bytes=0-65535",
    },
    "If-Range": {
        "description": "Range counts only where this ETag is still that of the audio.",
        "schema": {"type": "string"},
    },
    "Idempotency-Key": {
        "description": "Any text of the client's own: the same request with the same key gets the first one's answer.",
        "schema": {"type": "string", "format": "idempotency-key", "minLength": 1, "maxLength": 257},
    },
    "Last-Event-ID": {
        "description": "The id of the last event that was seen; those after it come first.",
        "schema": {"type": "string", "pattern": "^[0-9]{1,18}$"},
    },
}
_TOLD: Final[Mapping[str, str]] = {
    "Accept-Ranges": "That parts may be asked for.",
    "Allow": "The methods that there are.",
    "Content-Disposition": "A name for the file.",
    "Content-Range": "Which part it is, of how many bytes.",
    "ETag": "The version, for If-Match and If-None-Match.",
    "Link": 'The next page, as `<...>; rel="next"`; absent on the last one.',
    "Location": "Where the new resource is.",
    "Retry-After": "Seconds after which to try again.",
    "WWW-Authenticate": "How to authenticate (RFC 6750).",
}
_PROBLEM_HEADERS: Final[Mapping[int, tuple[str, ...]]] = {
    401: ("WWW-Authenticate",),
    403: ("WWW-Authenticate",),
    412: ("ETag",),
    416: ("Content-Range",),
    429: ("Retry-After",),
    503: ("Retry-After",),
}


@dataclass(frozen=True, slots=True)
class ApiInfo:
    """What the document says about the whole API. ``public_url`` is where clients reach it."""

    title: str
    version: str
    description: str
    public_url: str


def document(routes: Sequence[Route], info: ApiInfo) -> Json:
    """Return the OpenAPI document of the routes."""
    return _Writer(routes).written(info)


class _Writer:
    """Writes one document."""

    def __init__(self, routes: Sequence[Route]) -> None:
        self._routes = routes
        self._schemas = _schemas([Problem, *_shown(routes)])
        self._problems: dict[str, Json] = {}

    def written(self, info: ApiInfo) -> Json:
        paths: dict[str, Json] = {}
        for route in self._routes:
            paths.setdefault(_path(route), {})[route.method.lower()] = self._operation(route)
        return {
            "openapi": "3.1.0",
            "info": {"title": info.title, "version": info.version, "description": info.description},
            "servers": [{"url": info.public_url or "/"}],
            "tags": [{"name": name, "description": text} for name, text in self._tags().items()],
            "paths": paths,
            "components": {
                "schemas": self._schemas,
                "responses": self._problems,
                "securitySchemes": {
                    "token": {
                        "type": "http",
                        "scheme": "bearer",
                        "description": "A token. Its role is read, provision or admin; each may do what the ones "
                        "before it may.",
                    }
                },
            },
        }

    def _tags(self) -> dict[str, str]:
        tags: dict[str, str] = {}
        for route in self._routes:
            room = getattr(route.handler, "__self__", None)
            tags.setdefault(_tag(route), _prose(inspect.getdoc(type(room)) if room else ""))
        return tags

    def _operation(self, route: Route) -> Json:
        operation: Json = {
            "operationId": _name(route),
            "tags": [_tag(route)],
            "summary": route.summary or _summary(route),
            "security": [{"token": [str(route.role)]}] if route.role else [],
            "responses": self._responses(route),
        }
        about = [_prose(inspect.getdoc(route.handler)), _needed(route)]
        if any(about):
            operation["description"] = "\n\n".join(filter(None, about))
        if parameters := [*_ids(route), *_query(route), *_headers(route)]:
            operation["parameters"] = parameters
        if route.body is not None:
            operation["requestBody"] = {"required": True, "content": self._body(route, route.body)}
            if isinstance(route.body, FileBody):
                operation["requestBody"]["description"] = f"At most {route.body.max_size} bytes."
        return operation

    def _body(self, route: Route, body: JsonRequestBody | FileBody) -> Json:
        if isinstance(body, FileBody):
            return {media_type: {} for media_type in body.media_types}
        declared = body.schema
        made = _schemas([declared.model])
        schema = made.pop(declared.model.__name__)
        for name, other in made.items():
            self._schemas.setdefault(name, other)
        properties = {key: dict(told) for key, told in schema["properties"].items() if key not in declared.excluded}
        for key, keywords in declared.properties.items():
            properties[key] |= keywords
        change = route.path.endswith(">")
        if change:  # what is not given stays
            for told in properties.values():
                told.pop("default", None)
        model = declared.model.__name__
        name = self._free_name(f"{model}Change" if change else f"New{model}", declared)
        self._schemas[name] = {
            "title": name,
            "description": "What to change; what is not given stays." if change else schema.get("description", ""),
            "type": "object",
            "properties": properties,
            "required": sorted(declared.required),
            "additionalProperties": False,
            **declared.keywords,
        }
        return {JSON: {"schema": {"$ref": _REF.format(name=name)}, "example": self._example(self._schemas[name])}}

    def _free_name(self, name: str, declared: BodySchema) -> str:
        """The name of a body; two bodies of one kind that demand different fields are two."""
        known = self._schemas.get(name)
        same = known is None or known["required"] == sorted(declared.required)
        return name if same else f"{name}Here"

    def _responses(self, route: Route) -> Json:
        status = route.status or _status(route)
        told = {status: route.response_model, **route.responses}
        if route.method == "GET" and "If-None-Match" in route.request_headers:
            told[304] = ()
        responses = {
            str(code): self._success(route, code, route.response_model if shows is None and code == 206 else shows)
            for code, shows in sorted(told.items())
        }
        if status == 201 and (links := self._links(route)):
            responses["201"]["links"] = links
        for code, errors in _errors(route).items():
            if str(code) in responses:
                responses[str(code)]["content"] |= self._problem(code, errors)["content"]
            else:
                responses[str(code)] = self._reference(code, errors)
        return responses

    def _success(self, route: Route, status: int, shows: Any) -> Json:
        response: Json = {"description": HTTPStatus(status).phrase}
        names = route.response_headers if status < 300 else tuple({*route.response_headers} & {"ETag"})
        if status == 206:
            names = (*names, "Content-Range")
        if names:
            response["headers"] = _told(names)
        if shows is None and status != 204:
            response["content"] = {route.produces: {}} if route.produces else {}
        elif isinstance(shows, tuple):
            response["content"] = {media_type: {} for media_type in shows}
        elif shows is not None:
            schema = msgspec.json.schema_components([shows], ref_template=_REF)[0][0]
            response["content"] = {JSON: {"schema": schema, "example": self._example(schema)}}
        return response

    def _reference(self, status: int, errors: Sequence[type[VoxrecError]]) -> Json:
        name = ".".join([str(status), *dict.fromkeys(error.code for error in errors)])
        self._problems.setdefault(name, self._problem(status, errors))
        return {"$ref": f"#/components/responses/{name}"}

    def _problem(self, status: int, errors: Sequence[type[VoxrecError]]) -> Json:
        codes = list(dict.fromkeys(error.code for error in errors))
        own: Json = {"properties": {"status": {"const": status}, "code": {"enum": codes}}}
        example = {
            "type": f"urn:voxrec:problem:{codes[0]}",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": _prose(inspect.getdoc(errors[0])),
            "code": codes[0],
        }
        response: Json = {
            "description": " Or: ".join(_prose(inspect.getdoc(error)) for error in errors),
            "content": {
                PROBLEM_TYPE: {"schema": {"allOf": [{"$ref": _REF.format(name="Problem")}, own]}, "example": example}
            },
        }
        if names := _PROBLEM_HEADERS.get(status):
            response["headers"] = _told(names)
        return response

    def _links(self, route: Route) -> Json:
        """From what was made to all that can be done with it."""
        made = "$response.body#/0/id" if _is_array(route.response_model) else "$response.body#/id"
        links: Json = {}
        for other in self._routes:
            behind = re.fullmatch(rf"{re.escape(route.path)}/<(\w+)>((?:/\w+)*)", other.path)
            if behind:
                same = {name: f"$request.path.{name}" for name in _SEGMENT.findall(route.path)}
                links[_name(other)] = {"operationId": _name(other), "parameters": {**same, behind[1]: made}}
        return links

    def _example(self, schema: Json) -> Any:
        """A value that fits."""
        match schema:
            case {"$ref": str(reference)}:
                return schema.get("default", self._example(self._schemas[reference.rpartition("/")[2]]))
            case {"examples": [first, *_]} | {"const": first} | {"anyOf": [{"examples": [first, *_]}, *_]}:
                return first
            case {"enum": [first, *_]}:
                return schema.get("default", first)
            case {"anyOf": [first, *_]}:
                return schema["default"] if "default" in schema else self._example(first)
            case {"type": "object"}:
                return {key: self._example(told) for key, told in schema.get("properties", {}).items()}
            case {"type": "array"}:
                return [self._example(schema["items"])] if schema.get("items") else []
        return schema.get("default", _plain(schema))


def _plain(schema: Json) -> Any:
    by_format = {"uuid": _UUID, "date-time": _MOMENT}
    by_type = {"boolean": False, "integer": schema.get("minimum", 1), "number": 1.5, "null": None}
    return by_format.get(schema.get("format", ""), by_type.get(schema.get("type", ""), "text"))


def _schemas(types: Iterable[Any]) -> dict[str, Json]:
    """The named schemas of types, as they are shown: a struct shows each field, unless it leaves out defaults."""
    types = list(types)
    schemas = msgspec.json.schema_components(types, ref_template=_REF)[1]
    for kind in _structs(msgspec.inspect.multi_type_info(types)):
        schema = schemas[kind.__name__]
        if not kind.__struct_config__.omit_defaults:
            schema["required"] = list(schema["properties"])
    for schema in schemas.values():
        schema["description"] = _prose(schema.get("description", ""))
    return schemas


def _structs(found: Iterable[msgspec.inspect.Type]) -> Iterator[type[Struct]]:
    seen: set[type[Struct]] = set()
    left = list(found)
    while left:
        match left.pop():
            case msgspec.inspect.StructType(cls, fields) if cls not in seen:
                seen.add(cls)
                yield cls
                left += [field.type for field in fields]
            case msgspec.inspect.UnionType(types):
                left += types
            case msgspec.inspect.ListType(item_type=item) | msgspec.inspect.VarTupleType(item_type=item):
                left.append(item)
            case msgspec.inspect.DictType(value_type=value):
                left.append(value)
            case msgspec.inspect.Metadata(type=inner):
                left.append(inner)


def _shown(routes: Iterable[Route]) -> Iterator[Any]:
    for route in routes:
        for shows in (route.response_model, *route.responses.values()):
            if shows is not None and not isinstance(shows, tuple):
                yield shows


def _errors(route: Route) -> dict[int, list[type[VoxrecError]]]:
    """What can go wrong, by status: what follows from the route, and what it says itself."""
    errors: list[type[VoxrecError]] = [BadRequest, TooLarge, InvalidInput, VoxrecError]
    if route.role is not None:
        errors += [NotAuthenticated, NotAllowed, TooManyAttempts, StoreUnavailable]
    if route.produces is not None:
        errors.append(NotAcceptable)
    if "<" in route.path:
        errors.append(NotFound)
    if route.body is not None:
        errors.append(UnsupportedMedia)
    if route.idempotent:
        errors += [KeyReused, RequestInProgress]
    if "If-Match" in route.request_headers:
        errors.append(PreconditionFailed)
    by_status: dict[int, list[type[VoxrecError]]] = {}
    for error in dict.fromkeys([*errors, *route.errors]):
        by_status.setdefault(error.status, []).append(error)
    return dict(sorted(by_status.items()))


def _needed(route: Route) -> str:
    if route.role is None:
        return ""
    limited = "" if route.profile_scoped else " without a limit to some Profiles"
    return f"Needs the role `{route.role}`{limited}."


def _ids(route: Route) -> Iterator[Json]:
    for name in _SEGMENT.findall(route.path):
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string", "format": "uuid"},
            "example": _UUID,
        }


def _query(route: Route) -> Iterator[Json]:
    for name, parameter in (route.query or {}).items():
        yield {
            "name": name,
            "in": "query",
            "description": _prose(parameter.description),
            "schema": dict(parameter.schema),
        }


def _headers(route: Route) -> Iterator[Json]:
    for name in (*route.request_headers, *(("Idempotency-Key",) if route.idempotent else ())):
        yield {"name": name, "in": "header", **_ASKED.get(name, {"schema": {"type": "string"}})}


def _told(names: Iterable[str]) -> Json:
    return {name: {"description": _TOLD.get(name, name), "schema": {"type": "string"}} for name in names}


def _is_array(shows: Any) -> bool:
    return get_origin(shows) is list


def _path(route: Route) -> str:
    return _SEGMENT.sub(r"{\1}", route.path)


def _name(route: Route) -> str:
    words = re.findall(r"\w+", route.path)
    return route.method.lower() + "".join(word[0].upper() + word[1:] for word in words)


def _fixed(route: Route) -> list[str]:
    return [part for part in route.path.split("/") if part and not part.startswith("<")]


def _tag(route: Route) -> str:
    """The collection: the first of the path, but what lies below one thing of another collection is the second."""
    if route.tag:
        return route.tag
    fixed = _fixed(route)
    return fixed[1] if len(fixed) > 1 and fixed[1].endswith("s") else fixed[0]


def _status(route: Route) -> int:
    if route.method == "PUT" and route.path.endswith("s"):
        return 201
    return 204 if route.method == "DELETE" else 200


def _summary(route: Route) -> str:
    """Such as "Change a recording of a profile"."""
    fixed = _fixed(route)
    one = fixed[-1].removesuffix("s")
    of = "".join(f" of a {outer.removesuffix('s')}" for outer in reversed(fixed[:-1]))
    if not route.path.endswith(">"):
        many = fixed[-1].endswith("s")
        verbs = {"GET": f"List {fixed[-1]}", "PUT": f"Create a {one}"} if many else {}
        return verbs.get(route.method, f"{route.method.capitalize()} the {fixed[-1]}") + of
    verb = {"GET": "Show", "POST": "Change", "PUT": "Replace", "DELETE": "Delete"}[route.method]
    return f"{verb} a {one}{of}"


def _prose(text: str | None) -> str:
    """A docstring as Markdown."""
    return inspect.cleandoc(text or "").replace("``", "`")
