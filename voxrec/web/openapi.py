"""The OpenAPI 3.1 document of an API, derived from its route table, so that it cannot disagree with the behaviour."""

import inspect
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, get_origin

from voxrec.errors import InvalidInput, NotFound, StoreUnavailable, VoxrecError
from voxrec.idempotency import RequestInProgress
from voxrec.web.body import FileBody
from voxrec.web.errors import (
    BadRequest,
    HeadersTooLarge,
    InternalError,
    NotAcceptable,
    NotAllowed,
    NotAuthenticated,
    PreconditionFailed,
    RequestTimeout,
    TooLarge,
    TooManyAttempts,
    TooManyRequests,
    UnsupportedMedia,
    UriTooLong,
)
from voxrec.web.idempotency import CreationDeleted, KeyReused
from voxrec.web.openapi_enums import normalize_enums
from voxrec.web.openapi_schemas import EXAMPLE_UUID, Json, Schemas, markdown
from voxrec.web.openapi_webhooks import FIELD, WebhookOperation, webhook_items
from voxrec.web.problems import PROBLEM_TYPE, Problem
from voxrec.web.response import JSON
from voxrec.web.route import Route

_BINARY: Final[Json] = {"type": "string", "format": "binary"}
_PATH_PARAMETER: Final = re.compile(r"<(?:\w+:)?(\w+)>")
_REQUEST_HEADERS: Final[Mapping[str, Json]] = {
    "If-Match": {
        "description": "Respond with 412 unless the current version has this ETag.",
        "schema": {"type": "string"},
    },
    "If-None-Match": {
        "description": "If the current version has this ETag, respond with 304 to GET and with 412 to other methods.",
        "schema": {"type": "string"},
    },
    "Range": {
        "description": "One range of bytes (RFC 9110 section 14). Several ranges and invalid ones are ignored.",
        "schema": {"type": "string"},
        "example": "bytes=0-65535",
    },
    "If-Range": {
        "description": "Ignore Range unless the current version has this ETag.",
        "schema": {"type": "string"},
    },
    "Idempotency-Key": {
        "description": "A text chosen by the client. A repeated request with the same key gets the first response.",
        "schema": {"type": "string", "format": "idempotency-key", "minLength": 1, "maxLength": 257},
    },
    "Last-Event-ID": {
        "description": "The id of the last event received. The stream begins with the event after it.",
        "schema": {"type": "string", "pattern": "^[0-9]{1,18}$"},
    },
}
_RESPONSE_HEADERS: Final[Mapping[str, str]] = {
    "Accept-Ranges": "Whether Range is supported.",
    "Allow": "The supported methods.",
    "Content-Disposition": "A file name for the content.",
    "Content-Range": "The position of the content, and the total size.",
    "ETag": "The version of the resource, for If-Match and If-None-Match.",
    "Link": 'The next page, as `<...>; rel="next"`; absent on the last page.',
    "Location": "The URL of the new resource.",
    "Retry-After": "The number of seconds after which to retry.",
    "Set-Cookie": "The cookie of a session, or of the browser that opened a link.",
    "WWW-Authenticate": "How to authenticate (RFC 6750).",
}
_ALWAYS_POSSIBLE: Final = (
    BadRequest,
    RequestTimeout,
    TooLarge,
    UriTooLong,
    InvalidInput,
    HeadersTooLarge,
    InternalError,
)
"""Errors of requests that cannot be received or parsed, and defects of voxrec."""
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
    """What the document says about the API as a whole. ``public_url`` is the URL under which clients reach it."""

    title: str
    version: str
    description: str
    public_url: str


def openapi_document(routes: Sequence[Route], info: ApiInfo, webhooks: Sequence[WebhookOperation] = ()) -> Json:
    """Return the document. ``webhooks`` are the requests that the API sends."""
    return _DocumentBuilder(routes, webhooks).build(info)


class _DocumentBuilder:
    def __init__(self, routes: Sequence[Route], webhooks: Sequence[WebhookOperation]) -> None:
        self._routes = routes
        self._webhooks = webhooks
        self._schemas = Schemas([Problem, *_response_types(routes), *(webhook.model for webhook in webhooks)])
        self._problem_responses: dict[str, Json] = {}

    def build(self, info: ApiInfo) -> Json:
        paths: dict[str, Json] = {}
        for route in self._routes:
            paths.setdefault(_openapi_path(route), {})[route.method.lower()] = self._operation(route)
        document: Json = {
            "openapi": "3.1.0",
            "info": {"title": info.title, "version": info.version, "description": info.description},
            "servers": [{"url": info.public_url or "/"}],
            "tags": [{"name": name, "description": description} for name, description in self._tags().items()],
            "paths": paths,
            "components": {
                "schemas": self._schemas.components,
                "responses": self._problem_responses,
                "securitySchemes": {
                    "token": {
                        "type": "http",
                        "scheme": "bearer",
                        "description": "A token has one of the roles read, supervise, provision and admin, each of "
                        "which includes the roles before it.",
                    }
                },
            },
        }
        if self._webhooks:
            document[FIELD] = webhook_items(self._webhooks, self._schemas)
        normalize_enums(document)
        return document

    def _tags(self) -> dict[str, str]:
        """Return the description of each tag: the docstring of the class that the handlers belong to."""
        tags: dict[str, str] = {}
        for route in self._routes:
            instance = getattr(route.handler, "__self__", None)
            tags.setdefault(_tag(route), markdown(inspect.getdoc(type(instance)) if instance else ""))
        return tags

    def _operation(self, route: Route) -> Json:
        operation: Json = {
            "operationId": _operation_id(route),
            "tags": [_tag(route)],
            "summary": route.summary or _default_summary(route),
            "security": [{"token": [str(route.role)]}] if route.role else [],
            "responses": self._responses(route),
        }
        if description := "\n\n".join(filter(None, [markdown(inspect.getdoc(route.handler)), _required_role(route)])):
            operation["description"] = description
        if parameters := [*_path_parameters(route), *_query_parameters(route), *_header_parameters(route)]:
            operation["parameters"] = parameters
        if route.body is not None:
            operation["requestBody"] = self._request_body(route)
        return operation

    def _request_body(self, route: Route) -> Json:
        assert route.body is not None
        if isinstance(route.body, FileBody):
            # generators of clients do not support ranges of media types
            single = [media_type for media_type in route.body.media_types if "*" not in media_type]
            description = f"At most {route.body.max_size} bytes, of the type {' or '.join(route.body.media_types)}."
            content: Json = {media_type: {"schema": _BINARY} for media_type in single}
            return {"required": True, "content": content, "description": description}
        schema = self._schemas.add_body(route.body.schema, update=route.path.endswith(">"), owner=_owner(route))
        return {"required": True, "content": {JSON: {"schema": schema, "example": self._schemas.example(schema)}}}

    def _responses(self, route: Route) -> Json:
        status = route.success_status
        models = {status: route.response_model, **route.responses}
        if route.method == "GET" and "If-None-Match" in route.request_headers:
            models[304] = ()
        if 206 in models:
            models[206] = route.response_model
        responses = {str(code): self._success_response(route, code, model) for code, model in sorted(models.items())}
        if status == 201 and (links := self._links(route)):
            responses["201"]["links"] = links
        for code, errors in _errors_by_status(route).items():
            if str(code) in responses:
                responses[str(code)]["content"] |= self._problem_response(code, errors)["content"]
            else:
                responses[str(code)] = self._problem_reference(code, errors)
        return responses

    def _success_response(self, route: Route, status: int, model: Any) -> Json:
        response: Json = {"description": HTTPStatus(status).phrase}
        names = route.response_headers if status < 300 else tuple({*route.response_headers} & {"ETag"})
        if status == 206:
            names = (*names, "Content-Range")
        if names:
            response["headers"] = _response_headers(names)
        if model is None and status != 204:
            response["content"] = {route.produces: {}} if route.produces else {}
        elif isinstance(model, tuple):
            response["content"] = {
                media_type: {"schema": {"type": "string"} if media_type.startswith("text/") else _BINARY}
                for media_type in model
            }
        elif model is not None:
            schema = self._schemas.of_type(model)
            response["content"] = {JSON: {"schema": schema, "example": self._schemas.example(schema)}}
        return response

    def _problem_reference(self, status: int, errors: Sequence[type[VoxrecError]]) -> Json:
        name = ".".join([str(status), *dict.fromkeys(error.code for error in errors)])
        self._problem_responses.setdefault(name, self._problem_response(status, errors))
        return {"$ref": f"#/components/responses/{name}"}

    def _problem_response(self, status: int, errors: Sequence[type[VoxrecError]]) -> Json:
        codes = list(dict.fromkeys(error.code for error in errors))
        example = {
            "type": f"urn:voxrec:problem:{codes[0]}",
            "title": HTTPStatus(status).phrase,
            "status": status,
            "detail": markdown(inspect.getdoc(errors[0])),
            "code": codes[0],
        }
        described = {error.code: markdown(inspect.getdoc(error)) for error in errors}
        response: Json = {
            "description": "\n".join(f"- `{code}`: {text}" for code, text in described.items()),
            # no schema that also restricts status and code: generators of clients leave such a response out
            "content": {PROBLEM_TYPE: {"schema": self._schemas.reference("Problem"), "example": example}},
            "x-problem-codes": codes,
        }
        if names := _PROBLEM_HEADERS.get(status):
            response["headers"] = _response_headers(names)
        return response

    def _links(self, route: Route) -> Json:
        """Return links from a created resource to the operations on it."""
        new_id = "$response.body#/0/id" if get_origin(route.response_model) is list else "$response.body#/id"
        links: Json = {}
        for other in self._routes:
            below = re.fullmatch(rf"{re.escape(route.path)}/<(\w+)>((?:/\w+)*)", other.path)
            if below:
                inherited = {name: f"$request.path.{name}" for name in _PATH_PARAMETER.findall(route.path)}
                operation_id = _operation_id(other)
                links[operation_id] = {"operationId": operation_id, "parameters": {**inherited, below[1]: new_id}}
        return links


def _response_types(routes: Iterable[Route]) -> Iterator[Any]:
    for route in routes:
        for model in (route.response_model, *route.responses.values()):
            if model is not None and not isinstance(model, tuple):
                yield model


def _errors_by_status(route: Route) -> dict[int, list[type[VoxrecError]]]:
    """Return the possible errors: those that follow from the declarations of a route, and those it lists."""
    errors: list[type[VoxrecError]] = [*_ALWAYS_POSSIBLE]
    if route.role is not None:
        errors += [NotAuthenticated, NotAllowed, TooManyAttempts, TooManyRequests, StoreUnavailable]
    if route.produces is not None:
        errors.append(NotAcceptable)
    if "<" in route.path:
        errors.append(NotFound)
    if route.body is not None:
        errors.append(UnsupportedMedia)
    if route.idempotent:
        errors += [KeyReused, RequestInProgress, CreationDeleted]
    if "If-Match" in route.request_headers:
        errors.append(PreconditionFailed)
    errors.append(TooManyRequests)  # the server has too many connections
    by_status: dict[int, list[type[VoxrecError]]] = {}
    for error in dict.fromkeys([*errors, *route.errors]):
        by_status.setdefault(error.status, []).append(error)
    return dict(sorted(by_status.items()))


def _required_role(route: Route) -> str:
    if route.role is None:
        return ""
    limit = "" if route.profile_scoped else ", for all profiles"
    return f"Requires a token with the role `{route.role}`{limit}."


def _path_parameters(route: Route) -> Iterator[Json]:
    for name in _PATH_PARAMETER.findall(route.path):
        yield {
            "name": name,
            "in": "path",
            "required": True,
            "schema": {"type": "string"} if name == "name" else {"type": "string", "format": "uuid"},
            "example": "berlin" if name == "name" else EXAMPLE_UUID,
        }


def _query_parameters(route: Route) -> Iterator[Json]:
    for name, parameter in (route.query or {}).items():
        yield {
            "name": name,
            "in": "query",
            "description": markdown(parameter.description),
            "schema": dict(parameter.schema),
        }


def _header_parameters(route: Route) -> Iterator[Json]:
    for name in (*route.request_headers, *(("Idempotency-Key",) if route.idempotent else ())):
        yield {"name": name, "in": "header", **_REQUEST_HEADERS.get(name, {"schema": {"type": "string"}})}


def _response_headers(names: Iterable[str]) -> Json:
    return {name: {"description": _RESPONSE_HEADERS.get(name, name), "schema": {"type": "string"}} for name in names}


def _owner(route: Route) -> str:
    """Return the kind of resource that the path is below, such as "Profile"; empty if it is a top-level one."""
    segments = _fixed_segments(route)
    return segments[0].removesuffix("s").capitalize() if len(segments) > 1 else ""


def _openapi_path(route: Route) -> str:
    return _PATH_PARAMETER.sub(r"{\1}", route.path)


def _operation_id(route: Route) -> str:
    words = re.findall(r"\w+", route.path)
    return route.method.lower() + "".join(word[0].upper() + word[1:] for word in words)


def _fixed_segments(route: Route) -> list[str]:
    return [segment for segment in route.path.split("/") if segment and not segment.startswith("<")]


def _tag(route: Route) -> str:
    """Return the collection that the path belongs to, such as "recordings" for /profiles/<profileId>/recordings."""
    if route.tag:
        return route.tag
    segments = _fixed_segments(route)
    return segments[1] if len(segments) > 1 and segments[1].endswith("s") else segments[0]


def _default_summary(route: Route) -> str:
    """Return, for example, "Change a recording of a profile"."""
    segments = _fixed_segments(route)
    noun = segments[-1].removesuffix("s")
    owners = "".join(f" of a {outer.removesuffix('s')}" for outer in reversed(segments[:-1]))
    if not route.path.endswith(">"):
        is_collection = segments[-1].endswith("s")
        summaries = {"GET": f"List {segments[-1]}", "PUT": f"Create a {noun}"} if is_collection else {}
        return summaries.get(route.method, f"{route.method.capitalize()} the {segments[-1]}") + owners
    verb = {"GET": "Get", "POST": "Change", "PUT": "Replace", "DELETE": "Delete"}[route.method]
    return f"{verb} a {noun}{owners}"
