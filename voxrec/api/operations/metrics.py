"""GET /metrics: the daemon's metrics in the Prometheus text format."""

from collections.abc import Callable, Coroutine
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred, TimeoutError  # noqa: A004
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec.metrics import CONTENT_TYPE
from voxrec.web.auth import Role
from voxrec.web.request import Request
from voxrec.web.response import Response
from voxrec.web.route import Route

_REFRESH_TIMEOUT: Final = 3.0  # seconds

RefreshStatistics = Callable[[], Coroutine[Any, Any, None]]
"""Updates the metrics that are computed from PostgreSQL and the disk. Handles the errors it expects."""


class MetricsRegistry(Protocol):
    """The metrics of the daemon."""

    def exposition(self) -> bytes:
        """Return all metrics in the Prometheus text format 0.0.4."""


class MetricsRoutes:
    """Metrics for monitoring systems."""

    def __init__(
        self, registry: MetricsRegistry, refresh_statistics: RefreshStatistics, clock: IReactorTime, role: Role | None
    ) -> None:
        self._registry = registry
        self._refresh_statistics = refresh_statistics
        self._clock = clock
        self._role = role

    _log = Logger()

    def routes(self) -> tuple[Route, ...]:
        """Return the route; without ``role``, it needs no token."""
        return (
            Route(
                *("GET", "/metrics", self._role, self._get, "text/plain"),
                response_model=("text/plain",),
                summary="Get metrics in the Prometheus text format",
            ),
        )

    async def _get(self, _request: Request) -> Response:
        try:
            await Deferred.fromCoroutine(self._refresh_statistics()).addTimeout(_REFRESH_TIMEOUT, self._clock)
        except TimeoutError:
            self._log.warn(
                "Refreshing the statistics for /metrics took more than {seconds:g} s; returning the previous values",
                seconds=_REFRESH_TIMEOUT,
            )
        return Response(200, {"Content-Type": CONTENT_TYPE}, self._registry.exposition())
