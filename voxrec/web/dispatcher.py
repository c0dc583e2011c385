"""Dispatch of HTTP requests from Klein to the handlers of the registered routes.

Klein cancels a Deferred that it waits for when the client disconnects. Handlers are not cancelled, so that a change is
either completed or not begun: `serve` returns a separate Deferred, and the handler continues when it is cancelled.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Final, cast
from uuid import UUID

from klein import Klein
from klein.resource import KleinResource
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.server import Request as HTTPRequest
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from voxrec.errors import NotFound
from voxrec.web.auth import AccessControl, Principal, Role
from voxrec.web.body import FileBody
from voxrec.web.concurrency import ConcurrencyLimit
from voxrec.web.content_negotiation import accepts
from voxrec.web.errors import NotAcceptable
from voxrec.web.headers import headers_of, peer_host
from voxrec.web.problems import allowed_methods, problem_response
from voxrec.web.request import Request
from voxrec.web.request_target import canonical_path
from voxrec.web.response import Response
from voxrec.web.response_writer import ResponseWriter
from voxrec.web.route import RequestHandler, Route
from voxrec.web.uploads import RefusedBody, UploadFile

ResponseObserver = Callable[[str, str, int, float], None]
"""Called when a response begins: path of the route or UNMATCHED_PATH, method, status, seconds since the request."""
UNMATCHED_PATH: Final = "unmatched"
MAX_REQUESTS_PER_TOKEN: Final = 200
"""Requests in progress."""

_PARAMETER: Final = re.compile("<[^>]*>")  # of a path; the rest of our paths has no special characters
ANONYMOUS: Final = Principal("anybody", Role.READ)
"""The principal of requests that need no authentication."""


def _ignore_response(_path: str, _method: str, _status: int, _seconds: float) -> None:
    pass


class Dispatcher:
    """Authenticates requests, passes them to the handlers of their routes, and sends the responses.

    ``handler`` is the chain of middlewares that ends in `voxrec.web.binding.call_handler`. Bodies of
    routes that accept files are stored in ``upload_directory`` until the response is known. ``requests_per_token`` is
    the maximum number in progress.
    """

    def __init__(
        self,
        access_control: AccessControl,
        clock: IReactorTime,
        handler: RequestHandler,
        *,
        upload_directory: Path,
        requests_per_token: int = MAX_REQUESTS_PER_TOKEN,
        on_response: ResponseObserver = _ignore_response,
    ) -> None:
        self._access_control = access_control
        self._clock = clock
        self._handler = handler
        self._upload_directory = upload_directory
        self._requests = ConcurrencyLimit(requests_per_token, "requests of this token")
        self._on_response = on_response
        self.routes: list[Route] = []
        self._routes_by_endpoint: dict[str, Route] = {}
        self._upload_paths: list[tuple[str, re.Pattern[str]]] = []  # methods and paths of routes that accept files
        self._klein = Klein()
        self._klein.url_map.merge_slashes = False  # "//profiles" is 404; werkzeug would redirect with an HTML page
        self._klein.handle_errors(HTTPException)(self._send_routing_error)  # type: ignore[arg-type] # typed for IRequest

    def register(self, routes: Iterable[Route]) -> None:
        """Add routes."""
        for route in routes:
            self._register(route)

    def resource(self) -> KleinResource:
        """Return the resource that serves all routes."""
        return self._klein.resource()

    def set_requests_per_token(self, limit: int) -> None:
        """Change the maximum number of requests of a token that are in progress."""
        self._requests.limit = limit

    async def call(
        self,
        principal: Principal,
        method: str,
        target: str,
        *,
        headers: Mapping[str, str] | None = None,
        body: bytes = b"",
        address: str = "",
    ) -> Response:
        """Handle a request of a page that this daemon renders, on behalf of ``principal``, as if it had been received.

        ``target`` is a path with an optional query, ``address`` that of the browser, for the audit log. The same rules
        apply as to other clients. Errors are responses with a problem document.
        """
        path, _, query = target.partition("?")
        try:
            endpoint, parameters = self._klein.url_map.bind("").match(path, method=method)
            route = self._routes_by_endpoint[str(endpoint)]
            if route.role is not None:
                self._require_permission(route, route.role, principal)
            request = Request(
                method=method,
                path=path,
                ids=_parse_ids(parameters),
                name=parameters.get("name", ""),
                headers=headers or {},
                raw_query=query.encode(),
                raw_body=body,
                principal=principal,
                address=address,
            )
            return await self._handler(route, request)
        except Exception as error:
            return problem_response(error)

    # UploadPolicy, which the Site consults before it receives a body

    def upload_for(self, method: str, path: str) -> UploadFile | None:
        """Return a file for the body of a request, or None if the route does not accept files."""
        if not any(method == of_route and pattern.fullmatch(path) for of_route, pattern in self._upload_paths):
            return None  # matching these few patterns is faster than matching all routes
        route = self._route_of(method, path)
        if route is None or not isinstance(route.body, FileBody):
            return None
        return UploadFile(self._upload_directory, route.body.max_size)

    async def admit(self, http_request: HTTPRequest, method: str, path: str) -> Principal:
        """Return the principal of a request. Raises NotAuthenticated, NotAllowed or TooManyAttempts."""
        route = self._route_of(method, path)
        if route is None:
            return ANONYMOUS
        return await self._admit(route, peer_host(http_request.getClientAddress()), method, headers_of(http_request))

    def _route_of(self, method: str, path: str) -> Route | None:
        try:
            endpoint, _ = self._klein.url_map.bind("").match(path, method=method)
        except HTTPException:
            return None
        return self._routes_by_endpoint.get(str(endpoint))

    async def _admit(self, route: Route, address: str, method: str, headers: Mapping[str, str]) -> Principal:
        if route.role is None:
            return ANONYMOUS
        principal = await self._access_control.admit(address, method, headers, route.role, background=route.background)
        self._require_permission(route, route.role, principal)
        return principal

    def _require_permission(self, route: Route, role: Role, principal: Principal) -> None:
        principal.require_role(role)
        if not route.profile_scoped:
            principal.require_all_profiles()

    def _register(self, route: Route) -> None:
        endpoint = f"{route.method} {route.path}"
        self.routes.append(route)
        self._routes_by_endpoint[endpoint] = route
        if isinstance(route.body, FileBody):
            self._upload_paths.append((route.method, re.compile(_PARAMETER.sub("[^/]*", route.path))))

        @self._klein.route(route.path, methods=[route.method], endpoint=endpoint)
        def serve(http_request: HTTPRequest, **parameters: str) -> Deferred[None]:
            served: Deferred[None] = Deferred()
            Deferred.fromCoroutine(self._serve(route, http_request, parameters)).chainDeferred(served)
            return served

    async def _serve(self, route: Route, http_request: HTTPRequest, parameters: Mapping[str, str]) -> None:
        writer = self._writer(http_request, route.path)
        with ExitStack() as until_sent:
            try:
                await writer.send(await self._receive(route, http_request, parameters, writer, until_sent))
            except Exception as error:
                problem = problem_response(error)
                page = route.error_page
                await writer.send(problem if page is None else page(headers_of(http_request), problem))

    async def _receive(
        self,
        route: Route,
        http_request: HTTPRequest,
        parameters: Mapping[str, str],
        writer: ResponseWriter,
        until_sent: ExitStack,
    ) -> Response:
        content = http_request.content
        if isinstance(content, UploadFile):
            content.detach()
            try:
                return await self._handle(route, http_request, parameters, b"", content, writer, until_sent)
            finally:
                content.discard()
        # read before anything is awaited: Twisted closes the content when the client disconnects
        raw_body = b"" if content is None else content.read()
        return await self._handle(route, http_request, parameters, raw_body, None, writer, until_sent)

    async def _handle(
        self,
        route: Route,
        http_request: HTTPRequest,
        parameters: Mapping[str, str],
        raw_body: bytes,
        upload: UploadFile | None,
        writer: ResponseWriter,
        until_sent: ExitStack,
    ) -> Response:
        headers, content = headers_of(http_request), http_request.content
        address = peer_host(http_request.getClientAddress())
        if upload is None:
            principal = await self._admit(route, address, route.method, headers)
        else:
            principal = await upload.principal()
        if principal is not ANONYMOUS:
            until_sent.enter_context(self._requests.operation(principal.key))
        if route.produces is not None and not accepts(headers.get("accept", ""), route.produces):
            raise NotAcceptable(f"This resource is {route.produces}, which the Accept header excludes.")
        if isinstance(content, RefusedBody):
            raise content.error
        if upload is not None:
            upload.require_complete()
        request = Request(
            method=http_request.method.decode("ascii"),
            path=canonical_path(http_request.path),
            ids=_parse_ids(parameters),
            name=parameters.get("name", ""),
            headers=headers,
            raw_query=http_request.uri.partition(b"?")[2],
            raw_body=raw_body,
            principal=principal,
            address=address,
            upload=upload,
            disconnected=writer.is_disconnected,
        )
        return await self._handler(route, request)

    async def _send_routing_error(self, http_request: HTTPRequest, failure: Failure) -> None:
        error = cast("HTTPException", failure.value)
        writer = self._writer(http_request, UNMATCHED_PATH)
        if isinstance(error, MethodNotAllowed) and http_request.method == b"OPTIONS":
            await writer.send(Response(204, {"Allow": allowed_methods(error)}))
        else:
            await writer.send(problem_response(error))

    def _writer(self, http_request: HTTPRequest, path: str) -> ResponseWriter:
        started_at = self._clock.seconds()

        def on_status(status: int) -> None:
            seconds = max(0.0, self._clock.seconds() - started_at)
            self._on_response(path, http_request.method.decode("ascii"), status, seconds)

        return ResponseWriter(http_request, self._clock, on_status)


def _parse_ids(parameters: Mapping[str, str]) -> dict[str, UUID]:
    return {name: _parse_id(text) for name, text in parameters.items() if name != "name"}


def _parse_id(text: str) -> UUID:
    try:
        parsed = UUID(text)
    except ValueError:
        parsed = None
    # UUID() also accepts braces, "urn:uuid:" and no hyphens; a resource has only one URL
    if parsed is None or str(parsed) != text.lower():
        raise NotFound(f"{text!r} is not a UUID.")
    return parsed
