"""/metrics: what the daemon counts of itself, as Prometheus reads it."""

from collections.abc import Awaitable, Callable
from typing import Protocol

from twisted.internet.defer import Deferred, TimeoutError  # noqa: A004
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec.metrics import CONTENT_TYPE
from voxrec.web import query
from voxrec.web.auth import Role
from voxrec.web.request import Request
from voxrec.web.response import Response
from voxrec.web.route import Route

PATIENCE = 3.0  # seconds that numbers which have to be looked up may take
_log = Logger()

LookUp = Callable[[], Awaitable[None]]
"""Brings the numbers up to date that are kept elsewhere; sees to its own failures."""


class Exposition(Protocol):
    """Who has the numbers."""

    def exposition(self) -> bytes:
        """All of them, in Prometheus's text format 0.0.4."""


class MetricsRoutes:
    """The route of the numbers; ``role`` None: open to everybody."""

    def __init__(self, numbers: Exposition, look_up: LookUp, clock: IReactorTime, role: Role | None) -> None:
        self._numbers = numbers
        self._look_up = look_up
        self._clock = clock
        self._role = role

    def routes(self) -> tuple[Route, ...]:
        """The route table."""
        return (
            Route(
                *("GET", "/metrics", self._role, self._show, "text/plain"),
                response_model=("text/plain",),
                summary="Numbers for Prometheus",
            ),
        )

    async def _show(self, request: Request) -> Response:
        query.read(request.query(), {})
        try:
            await Deferred.fromCoroutine(_awaited(self._look_up)).addTimeout(PATIENCE, self._clock)
        except TimeoutError:
            _log.warn("numbers for /metrics were not there in {seconds:g} s; it shows those before", seconds=PATIENCE)
        return Response(200, {"Content-Type": CONTENT_TYPE}, self._numbers.exposition())


async def _awaited(look_up: LookUp) -> None:
    await look_up()
