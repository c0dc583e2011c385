"""One entry of the route table: the handler of a method and path, and everything that is declared about it."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any, Final

from voxrec.errors import VoxrecError
from voxrec.web.auth import Role
from voxrec.web.body import FileBody, JsonRequestBody
from voxrec.web.query import QueryParameters
from voxrec.web.request import Request
from voxrec.web.response import JSON, Response

CONDITIONAL: Final = ("If-Match", "If-None-Match")
"""The request headers of a route whose resource has an ETag."""
ETAG: Final = ("ETag",)
"""The response headers of such a route."""

Handler = Callable[[Request], Awaitable[Response]]
RequestHandler = Callable[["Route", Request], Awaitable[Response]]
"""Handles a request of any route: `voxrec.web.binding.call_handler`, or a middleware around another RequestHandler."""


Guard = Callable[[Request], Awaitable[None]]
ErrorPage = Callable[[Mapping[str, str], Response], Response]
"""Returns what a person sees instead of a problem document; the first argument are the headers of the request."""


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
    - ``query``: the query parameters by name; None: the query is ignored;
    - ``body``: the request body;
    - ``guard``: called before the query and the body are validated, for example to raise NotFound if the resource that
      the path is below does not exist;
    - ``request_headers``: the names of the request headers that the handler reads;
    - ``errors``: errors in addition to those that follow from the method, path, role and body;
    - ``idempotent``: accepts Idempotency-Key; ``replay`` then reads the body again if the response was streamed;
    - ``audit_in_transaction``: the change and its audit entry are one transaction: the handler passes
      a hook to the repository that stores both; otherwise the entry is written before and after the handler;
    - ``secret_name``: the path parameter "name" is a secret, which must not be stored in the audit log;
    - ``audited_by_handler``: the handler stores audit entries itself, and no others are stored;
    - ``background``: pages send such requests by themselves, so that they do not count as use of a session;
    - ``error_page``: returns what is sent instead of a problem document to a browser that shows pages;
    - ``documented``: False for the pages of the console, which are not part of the API;
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
    query: QueryParameters | None = field(default_factory=dict)
    body: JsonRequestBody | FileBody | None = None
    guard: Guard | None = None
    request_headers: tuple[str, ...] = ()
    errors: tuple[type[VoxrecError], ...] = ()
    idempotent: bool = False
    replay: Handler | None = None
    audit_in_transaction: bool = False
    secret_name: bool = False
    audited_by_handler: bool = False
    background: bool = False
    error_page: ErrorPage | None = None
    documented: bool = True
    summary: str = ""
    tag: str = ""

    @property
    def success_status(self) -> int:
        """The status of a successful response."""
        if self.status is not None:
            return self.status
        if self.method == "PUT" and self.path.endswith("s"):
            return 201
        return 204 if self.method == "DELETE" else 200
