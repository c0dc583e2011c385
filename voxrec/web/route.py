"""One entry of the route table: the handler of a method and path, and everything that is declared about it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Final

from msgspec import Struct

from voxrec.errors import VoxrecError
from voxrec.web.auth import Role
from voxrec.web.query import Reader
from voxrec.web.request import Request
from voxrec.web.response import JSON, Response

CONDITIONAL: Final = ("If-Match", "If-None-Match")
"""The request headers of a route whose resource has an ETag."""
ETAG: Final = ("ETag",)
"""The response headers of such a route."""

Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class JsonBody:
    """A JSON object as request body, with the fields of ``kind`` except those in ``refuse``."""

    kind: type[Struct]
    refuse: frozenset[str] = frozenset()
    require: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Route:
    """A route. The OpenAPI document (`voxrec.web.openapi`) is derived from the same fields.

    - ``role``: the role that a token needs; None: no authentication;
    - ``produces``: the media type of a successful response, checked against Accept; None: not checked;
    - ``profile_scoped``: open also to tokens limited to some Profiles; the handler then accesses what belongs to
      Profiles through `voxrec.web.auth.Scoped` only;
    - ``response_model``: the type of a successful JSON response, or the media types of other bodies;
    - ``status``: the status of success, unless it is 201 for PUT of a collection, 204 for DELETE and 200 for others;
    - ``response_headers``: the names of its headers;
    - ``responses``: further responses that are not problems: their ``response_model`` by status;
    - ``body``: the request body: a `JsonBody`, or the media types of other bodies;
    - ``query``: the readers of the query parameters, by name;
    - ``request_headers``: the names of the request headers that the handler reads;
    - ``errors``: errors in addition to those that follow from the method, path, role and body;
    - ``idempotent``: accepts Idempotency-Key; ``replay`` then reads the body again if the response was streamed;
    - ``audit_in_transaction``: the change and its audit entry are one transaction: the handler passes
      ``request.transaction_hook`` to the repository; otherwise the entry is written before and after the handler;
    - ``upload``: maximum size of a file upload in bytes; None: the body is not a file;
    - ``summary`` and ``tag``: for the OpenAPI document, if those derived from the path do not fit.
    """

    method: str
    path: str
    role: Role | None
    handler: Handler
    produces: str | None = JSON
    _: KW_ONLY
    profile_scoped: bool = False
    response_model: Any = None
    status: int | None = None
    response_headers: tuple[str, ...] = ()
    responses: Mapping[int, Any] = field(default_factory=dict)
    body: JsonBody | tuple[str, ...] | None = None
    query: Mapping[str, Reader] = field(default_factory=dict)
    request_headers: tuple[str, ...] = ()
    errors: tuple[type[VoxrecError], ...] = ()
    idempotent: bool = False
    replay: Handler | None = None
    audit_in_transaction: bool = False
    upload: int | None = None
    summary: str = ""
    tag: str = ""
