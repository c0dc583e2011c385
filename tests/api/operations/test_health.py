"""Liveness and readiness, in memory and with a Clock."""

from pathlib import Path
from typing import Any

from treq.testing import StubTreq
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.api.rest_test_case import RoleTokens
from voxrec.api.operations.health import PROBE_TIMEOUT, HealthRoutes, Probe
from voxrec.web.auth import AccessControl
from voxrec.web.binding import call_handler
from voxrec.web.dispatcher import Dispatcher
from voxrec.web.login_throttle import LoginThrottle


async def ready() -> str | None:
    return None


async def not_ready() -> str | None:
    return "does not respond"


async def failing() -> str | None:
    raise RuntimeError("a secret")


async def blocked() -> str | None:
    await Deferred()
    return None


class HealthTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def start_request(self, path: str, **probes: Probe) -> tuple[Any, Deferred[Any]]:
        dispatcher = Dispatcher(
            AccessControl(RoleTokens(), LoginThrottle(self.clock)),
            self.clock,
            call_handler,
            upload_directory=Path("uploads"),
        )
        dispatcher.register(HealthRoutes(probes, self.clock).routes())
        stub: Any = StubTreq(dispatcher.resource())
        return stub, stub.get(f"http://voxrec{path}")

    def get(self, path: str, **probes: Probe) -> tuple[int, Any]:
        stub, requesting = self.start_request(path, **probes)
        response = self.successResultOf(requesting)
        return response.code, self.successResultOf(stub.json_content(response))

    def test_live_even_if_a_dependency_is_not_ready(self) -> None:
        self.assertEqual(self.get("/health/live", database=not_ready), (200, {"live": True}))

    def test_ready_if_all_dependencies_are(self) -> None:
        expected = {"ready": True, "dependencies": {"asterisk": {"ready": True}, "database": {"ready": True}}}
        self.assertEqual(self.get("/health/ready", asterisk=ready, database=ready), (200, expected))

    def test_not_ready_if_one_dependency_is_not(self) -> None:
        status, readiness = self.get("/health/ready", asterisk=ready, database=not_ready)
        self.assertEqual((status, readiness["ready"]), (503, False))
        self.assertEqual(readiness["dependencies"]["database"], {"ready": False, "detail": "does not respond"})
        self.assertEqual(readiness["dependencies"]["asterisk"], {"ready": True})

    def test_not_ready_if_a_probe_fails(self) -> None:
        status, readiness = self.get("/health/ready", database=failing)
        self.assertEqual((status, readiness["dependencies"]["database"]["detail"]), (503, "the readiness probe failed"))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_not_ready_if_a_probe_times_out(self) -> None:
        stub, requesting = self.start_request("/health/ready", database=blocked, asterisk=ready)
        self.assertNoResult(requesting)
        self.clock.advance(PROBE_TIMEOUT)
        stub.flush()
        response = self.successResultOf(requesting)
        readiness = self.successResultOf(stub.json_content(response))
        self.assertEqual(
            (response.code, readiness["dependencies"]["database"]["detail"]), (503, "no response within 3 s")
        )
