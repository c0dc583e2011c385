"""Between Klein and the handlers: all that is the same for every route.

A handler is never cancelled. Klein cancels what it waits for when a client vanishes; here that ends the waiting only,
so that no change is left half done and no query is torn off its connection.
"""

import re
from collections.abc import Callable, Iterable, Mapping
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

from voxrec.errors import NotFound, VoxrecError
from voxrec.web.auth import AccessControl, Principal, Role
from voxrec.web.body import FileBody
from voxrec.web.content_negotiation import accepts
from voxrec.web.problems import PROBLEM_TYPE, NotAcceptable, TooLarge, allowed_methods, problem_of
from voxrec.web.request import Request
from voxrec.web.response import Response
from voxrec.web.response_writer import ResponseWriter
from voxrec.web.route import RequestHandler, Route
from voxrec.web.uploads import UploadFile

Answered = Callable[[str, str, int, float], None]
"""Counts an answer: the route's path (UNMATCHED: none), the method, the status, and the seconds until its head."""
UNMATCHED: Final = "unmatched"

_SEGMENT: Final = re.compile("<[^>]*>")  # what a route leaves open; its paths have nothing else that means anything
_ANYBODY: Final = Principal("anybody", Role.READ)


def _uncounted(_route: str, _method: str, _status: int, _seconds: float) -> None:
    pass


class Dispatcher:
    """Where requests come in. ``handled`` lets a route's handler answer; ``body_limit`` in bytes.

    Bodies that are files are kept in the directory ``uploads`` until their request is answered.
    """

    def __init__(
        self,
        gate: AccessControl,
        clock: IReactorTime,
        handled: RequestHandler,
        body_limit: int,
        uploads: Path,
        answered: Answered = _uncounted,
    ) -> None:
        self._gate = gate
        self._answered = answered
        self._handled = handled
        self._clock = clock
        self._body_limit = body_limit
        self._uploads = uploads
        self._routes: dict[str, Route] = {}
        self._bringing: list[tuple[str, re.Pattern[str]]] = []  # the methods and paths that may bring a file
        self.routes: list[Route] = []  # all of them, as they came in
        self._klein = Klein()
        self._klein.url_map.merge_slashes = False  # "//profiles" is not found, and not redirected by a page of HTML
        self._klein.handle_errors(HTTPException)(self._refuse)  # type: ignore[arg-type] # Klein means IRequest

    def register(self, routes: Iterable[Route]) -> None:
        """Take in a room's routes."""
        for route in routes:
            self._register(route)

    def resource(self) -> KleinResource:
        """What a Site serves."""
        return self._klein.resource()

    # What a Site asks before the body comes.

    def spool_for(self, method: str, path: str) -> UploadFile | None:
        """Where the body of an upload goes; None where it is none."""
        if not any(method == bringing and shape.fullmatch(path) for bringing, shape in self._bringing):
            return None  # a look at all the routes, for each request with a body, would cost more
        route = self._route(method, path)
        if route is None or not isinstance(route.body, FileBody):
            return None
        return UploadFile(self._uploads, route.body.max_size)

    async def admit(self, request: HTTPRequest, method: str, path: str) -> Principal:
        """Who asks; raises where they may not."""
        route = self._route(method, path)
        return _ANYBODY if route is None else await self._admitted(route, _address(request), _headers(request))

    def _route(self, method: str, path: str) -> Route | None:
        try:
            endpoint, _ = self._klein.url_map.bind("").match(path, method=method)
        except HTTPException:
            return None
        return self._routes.get(str(endpoint))

    async def _admitted(self, route: Route, address: str, headers: Mapping[str, str]) -> Principal:
        if route.role is None:
            return _ANYBODY
        principal = await self._gate.admit(address, headers.get("authorization", ""), route.role)
        if not route.profile_scoped:
            principal.require_all_profiles()
        return principal

    def _register(self, route: Route) -> None:
        self.routes.append(route)

        # Klein names a route after its function, and one method of a path is one route
        endpoint = f"{route.method} {route.path}"
        self._routes[endpoint] = route
        if isinstance(route.body, FileBody):
            self._bringing.append((route.method, re.compile(_SEGMENT.sub("[^/]*", route.path))))

        @self._klein.route(route.path, methods=[route.method], endpoint=endpoint)
        def serve(request: HTTPRequest, **segments: str) -> Deferred[None]:
            waiting: Deferred[None] = Deferred()
            Deferred.fromCoroutine(self._serve(route, request, segments)).chainDeferred(waiting)
            return waiting

    async def _serve(self, route: Route, request: HTTPRequest, segments: Mapping[str, str]) -> None:
        way_out = self._way_out(request, route.path)
        try:
            await way_out.send(await self._answer(route, request, segments))
        except Exception as error:  # whatever it is, the client is told of it as a problem
            await way_out.send(problem_response(error))

    async def _answer(self, route: Route, request: HTTPRequest, segments: Mapping[str, str]) -> Response:
        # before any waiting: it is closed when the client leaves
        raw = b"" if request.content is None else request.content.read(self._body_limit + 1)
        if not isinstance(request.content, UploadFile):
            return await self._answer_to(route, request, segments, raw, None)
        spool = request.content
        spool.take()
        try:
            return await self._answer_to(route, request, segments, raw, spool)
        finally:
            spool.discard()

    async def _answer_to(
        self, route: Route, request: HTTPRequest, segments: Mapping[str, str], raw: bytes, spool: UploadFile | None
    ) -> Response:
        headers = _headers(request)
        address = _address(request)
        if spool is None:
            principal = await self._admitted(route, address, headers)
        else:
            principal = await _sender(spool)
        if route.produces is not None and not accepts(headers.get("accept", ""), route.produces):
            raise NotAcceptable(f"There is {route.produces} here, and Accept excludes it.")
        if len(raw) > self._body_limit:
            raise TooLarge(f"The body may have {self._body_limit} bytes at most.")
        if spool is not None and isinstance(route.body, FileBody):
            _require_whole(spool, route.body.max_size)
        handler_request = Request(
            method=request.method.decode("ascii"),
            path=request.path.decode("ascii"),
            ids={name: _id(segment) for name, segment in segments.items()},
            headers=headers,
            raw_query=request.uri.partition(b"?")[2],
            raw_body=raw,
            principal=principal,
            address=address,
            upload=spool,
        )
        return await self._handled(route, handler_request)

    async def _refuse(self, request: HTTPRequest, failure: Failure) -> None:
        error = cast("HTTPException", failure.value)
        way_out = self._way_out(request, UNMATCHED)
        if isinstance(error, MethodNotAllowed) and request.method == b"OPTIONS":
            await way_out.send(Response(204, {"Allow": allowed_methods(error)}))
        else:
            await way_out.send(problem_response(error))

    def _way_out(self, request: HTTPRequest, route: str) -> ResponseWriter:
        began = self._clock.seconds()

        def begun(status: int) -> None:
            self._answered(route, request.method.decode("ascii"), status, max(0.0, self._clock.seconds() - began))

        return ResponseWriter(request, self._clock, begun)


async def _sender(spool: UploadFile) -> Principal:
    verdict = await spool.verdict
    if isinstance(verdict, VoxrecError):
        raise verdict
    return verdict


def _require_whole(spool: UploadFile, limit: int) -> None:
    if spool.size > limit:
        raise TooLarge(f"The file may have {limit} bytes at most.")
    if spool.fault is not None:
        raise spool.fault


def problem_response(error: BaseException) -> Response:
    """The problem that a client is told about an error."""
    problem, headers = problem_of(error)
    return Response(problem.status, {**headers, "Content-Type": PROBLEM_TYPE}, problem.encode())


def _headers(request: HTTPRequest) -> dict[str, str]:
    """By lower-case name; those that came more than once as one list (RFC 9110 section 5.3)."""
    return {
        name.decode("latin-1").lower(): b", ".join(values).decode("utf-8", "surrogateescape")
        for name, values in request.requestHeaders.getAllRawHeaders()
    }


def _address(request: HTTPRequest) -> str:
    return str(getattr(request.getClientAddress(), "host", "unix"))


def _id(segment: str) -> UUID:
    try:
        found = UUID(segment)
    except ValueError:
        found = None
    # UUID() also takes braces, urn: and no hyphens; one resource has one address
    if found is None or str(found) != segment.lower():
        raise NotFound(f"{segment!r} is not a UUID, so there is nothing by this name.")
    return found
