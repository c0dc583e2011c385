"""Validation of the query and the body that a route declares, before its handler is called."""

from collections.abc import Awaitable

from voxrec.web.query import parse_query, query_items
from voxrec.web.request import Request
from voxrec.web.response import Response
from voxrec.web.route import Route


def call_handler(route: Route, request: Request) -> Awaitable[Response]:
    """Call the handler of ``route`` with a request whose ``query`` and ``body`` are validated.

    Raises BadRequest, UnsupportedMedia, InvalidInput, and what the route's guard raises.
    """
    if route.body is None and route.guard is None and not request.raw_query:  # most GETs: no coroutine of our own
        return route.handler(request)
    return _bind(route, request)


async def _bind(route: Route, request: Request) -> Response:
    if route.guard is not None:
        await route.guard(request)
    if route.query is not None:
        request.query = parse_query(query_items(request.raw_query), route.query)
    if route.body is not None:
        request.body = await route.body.bind(request)
    return await route.handler(request)
