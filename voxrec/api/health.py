"""Whether this daemon lives, and whether it can do its work. Open to everybody: an orchestrator has no token."""

from collections.abc import Awaitable, Callable, Mapping
from typing import Final, Literal

import msgspec
from msgspec import Struct
from twisted.internet.defer import Deferred, TimeoutError, gatherResults  # noqa: A004
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec.web.request import Request
from voxrec.web.response import JSON, Response
from voxrec.web.route import Route

PATIENCE: Final = 3.0  # seconds within which a dependency has to answer
_log = Logger()

Probe = Callable[[], Awaitable[str | None]]
"""Asks one dependency how it is: None where it is well, else what is wrong, fit for everybody's eyes."""


class Dependency(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How one dependency is."""

    ready: bool
    detail: str | None = None


class Readiness(Struct, frozen=True, kw_only=True):
    """Whether all that the daemon needs is there."""

    ready: bool
    dependencies: dict[str, Dependency]


class Liveness(Struct, frozen=True, kw_only=True):
    """Whether the daemon lives; if not, nobody answers."""

    live: Literal[True] = True


class HealthRoutes:
    """/health: ``probes`` by the name of the dependency."""

    def __init__(self, probes: Mapping[str, Probe], clock: IReactorTime) -> None:
        self._probes = probes
        self._clock = clock

    def routes(self) -> tuple[Route, ...]:
        """The route table."""
        return (
            Route("GET", "/health/live", None, self._live, response_model=Liveness, summary="Whether the daemon lives"),
            Route(
                *("GET", "/health/ready", None, self._ready),
                response_model=Readiness,
                responses={503: Readiness},
                summary="Whether the daemon can do its work",
            ),
        )

    async def _live(self, _request: Request) -> Response:
        return Response(200, {"Content-Type": JSON}, msgspec.json.encode(Liveness()))

    async def _ready(self, _request: Request) -> Response:
        asked = [Deferred.fromCoroutine(self._probe(name, probe)) for name, probe in self._probes.items()]
        found = dict(zip(self._probes, await gatherResults(asked), strict=True))
        ready = all(dependency.ready for dependency in found.values())
        body = msgspec.json.encode(Readiness(ready=ready, dependencies=found))
        return Response(200 if ready else 503, {"Content-Type": JSON}, body)

    async def _probe(self, name: str, probe: Probe) -> Dependency:
        try:
            wrong = await Deferred.fromCoroutine(_awaited(probe)).addTimeout(PATIENCE, self._clock)
        except TimeoutError:
            wrong = f"no answer within {PATIENCE:g} s"
        except Exception:
            _log.failure("The probe of {name} failed", name=name)
            wrong = "cannot be asked"
        return Dependency(ready=wrong is None, detail=wrong)


async def _awaited(probe: Probe) -> str | None:
    return await probe()
