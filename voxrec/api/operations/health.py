"""/health: liveness and readiness. They need no token, because orchestrators have none."""

from collections.abc import Callable, Coroutine, Mapping
from typing import Any, Final, Literal

from msgspec import Struct
from twisted.internet.defer import Deferred, TimeoutError  # noqa: A004
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec.deferreds import gather
from voxrec.web.request import Request
from voxrec.web.response import Response, json_response
from voxrec.web.route import Route

PROBE_TIMEOUT: Final = 3.0  # seconds

_log: Final = Logger()

Probe = Callable[[], Coroutine[Any, Any, str | None]]
"""Checks one dependency. Returns None if it is ready, otherwise the reason; the reason is public."""


class Dependency(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The readiness of one dependency; ``detail`` is the reason if it is not ready."""

    ready: bool
    detail: str | None = None


class Readiness(Struct, frozen=True, kw_only=True):
    """The readiness of the daemon, which is ready if all its dependencies are, and of each dependency."""

    ready: bool
    dependencies: dict[str, Dependency]


class Liveness(Struct, frozen=True, kw_only=True):
    """The daemon is running and responds to requests."""

    live: Literal[True] = True


class HealthRoutes:
    """Health checks for orchestrators and load balancers."""

    def __init__(self, probes: Mapping[str, Probe], clock: IReactorTime) -> None:
        self._probes = probes
        self._clock = clock

    def routes(self) -> tuple[Route, ...]:
        """Return the routes."""
        return (
            Route(
                *("GET", "/health/live", None, self._live),
                query=None,
                response_model=Liveness,
                summary="Check that the daemon is running",
            ),
            Route(
                *("GET", "/health/ready", None, self._ready),
                query=None,
                response_model=Readiness,
                responses={503: Readiness},
                summary="Check that the daemon and its dependencies are ready",
            ),
        )

    async def _live(self, _request: Request) -> Response:
        return json_response(Liveness())

    async def _ready(self, _request: Request) -> Response:
        readiness = await check_readiness(self._probes, self._clock)
        return json_response(readiness, 200 if readiness.ready else 503)


async def check_readiness(probes: Mapping[str, Probe], clock: IReactorTime) -> Readiness:
    """Run the probes, all at the same time; one that takes longer than `PROBE_TIMEOUT` is not ready."""
    states = await gather(*(_check(name, probe, clock) for name, probe in probes.items()))
    dependencies = dict(zip(probes, states, strict=True))
    return Readiness(ready=all(dependency.ready for dependency in states), dependencies=dependencies)


async def _check(name: str, probe: Probe, clock: IReactorTime) -> Dependency:
    try:
        detail = await Deferred.fromCoroutine(probe()).addTimeout(PROBE_TIMEOUT, clock)
    except TimeoutError:
        detail = f"no response within {PROBE_TIMEOUT:g} s"
    except Exception:
        _log.failure("The readiness probe of {name} failed; reporting it as not ready", name=name)
        detail = "the readiness probe failed"
    return Dependency(ready=detail is None, detail=detail)
