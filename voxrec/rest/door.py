"""Between Klein and the handlers: all that is the same for every route.

A handler is never cancelled. Klein cancels what it waits for when a client vanishes; here that ends the waiting only,
so that no change is left half done and no query is torn off its connection.
"""

from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import Final, cast
from uuid import UUID

from klein import Klein
from klein.resource import KleinResource
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.python.failure import Failure
from twisted.web.server import Request
from werkzeug.exceptions import HTTPException, MethodNotAllowed

from voxrec.errors import NotFound
from voxrec.rest.accept import accepts
from voxrec.rest.auth import Gate, Principal, Role
from voxrec.rest.exchange import Answer, Ask, Route
from voxrec.rest.problems import PROBLEM_TYPE, NotAcceptable, TooLarge, allowed_methods, problem_of
from voxrec.rest.stream import Outflow

Handled = Callable[[Route, Ask], Awaitable[Answer]]

_ANYBODY: Final = Principal("anybody", Role.READ)


class Door:
    """Where requests come in. ``handled`` lets a route's handler answer; ``body_limit`` in bytes."""

    def __init__(self, gate: Gate, clock: IReactorTime, handled: Handled, body_limit: int) -> None:
        self._gate = gate
        self._handled = handled
        self._clock = clock
        self._body_limit = body_limit
        self._klein = Klein()
        self._klein.url_map.merge_slashes = False  # "//profiles" is not found, and not redirected by a page of HTML
        self._klein.handle_errors(HTTPException)(self._refuse)  # type: ignore[arg-type] # Klein means IRequest

    def hang(self, routes: Iterable[Route]) -> None:
        """Take in a room's routes."""
        for route in routes:
            self._hang(route)

    def resource(self) -> KleinResource:
        """What a Site serves."""
        return self._klein.resource()

    def _hang(self, route: Route) -> None:
        # Klein names a route after its function, and one method of a path is one route
        @self._klein.route(route.path, methods=[route.method], endpoint=f"{route.method} {route.path}")
        def serve(request: Request, **segments: str) -> Deferred[None]:
            waiting: Deferred[None] = Deferred()
            Deferred.fromCoroutine(self._serve(route, request, segments)).chainDeferred(waiting)
            return waiting

    async def _serve(self, route: Route, request: Request, segments: Mapping[str, str]) -> None:
        way_out = Outflow(request, self._clock)
        try:
            await way_out.send(await self._answer(route, request, segments))
        except Exception as error:  # whatever it is, the client is told of it as a problem
            await way_out.send(answer_of(error))

    async def _answer(self, route: Route, request: Request, segments: Mapping[str, str]) -> Answer:
        # before any waiting: it is closed when the client leaves
        raw = b"" if request.content is None else request.content.read(self._body_limit + 1)
        headers = _headers(request)
        address = _address(request)
        principal = _ANYBODY
        if route.role is not None:
            principal = await self._gate.admit(address, headers.get("authorization", ""), route.role)
            if not route.limited:
                principal.demand_unlimited()
        if route.gives is not None and not accepts(headers.get("accept", ""), route.gives):
            raise NotAcceptable(f"There is {route.gives} here, and Accept excludes it.")
        if len(raw) > self._body_limit:
            raise TooLarge(f"The body may have {self._body_limit} bytes at most.")
        ask = Ask(
            method=request.method.decode("ascii"),
            path=request.path.decode("ascii"),
            ids={name: _id(segment) for name, segment in segments.items()},
            headers=headers,
            raw_query=request.uri.partition(b"?")[2],
            raw=raw,
            principal=principal,
            address=address,
        )
        return await self._handled(route, ask)

    async def _refuse(self, request: Request, failure: Failure) -> None:
        error = cast("HTTPException", failure.value)
        way_out = Outflow(request, self._clock)
        if isinstance(error, MethodNotAllowed) and request.method == b"OPTIONS":
            await way_out.send(Answer(204, {"Allow": allowed_methods(error)}))
        else:
            await way_out.send(answer_of(error))


def answer_of(error: BaseException) -> Answer:
    """The problem that a client is told about an error."""
    problem, headers = problem_of(error)
    return Answer(problem.status, {**headers, "Content-Type": PROBLEM_TYPE}, problem.encode())


def _headers(request: Request) -> dict[str, str]:
    """By lower-case name; those that came more than once as one list (RFC 9110 section 5.3)."""
    return {
        name.decode("latin-1").lower(): b", ".join(values).decode("utf-8", "surrogateescape")
        for name, values in request.requestHeaders.getAllRawHeaders()
    }


def _address(request: Request) -> str:
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
