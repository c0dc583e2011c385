"""Liveness and readiness, in memory and on a Clock."""

from pathlib import Path
from typing import Any

from treq.testing import StubTreq
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.api.rest_test_case import RoleTokens, call_handler
from voxrec.api.health import PATIENCE, HealthRoutes, Probe
from voxrec.web.auth import AccessControl, LoginThrottle
from voxrec.web.dispatcher import Dispatcher


async def well() -> str | None:
    return None


async def ill() -> str | None:
    return "does not answer"


async def broken() -> str | None:
    raise RuntimeError("a secret")


async def silent() -> str | None:
    await Deferred()
    return None


class HealthTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def start(self, path: str, **probes: Probe) -> tuple[Any, Deferred[Any]]:
        dispatcher = Dispatcher(
            AccessControl(RoleTokens(), LoginThrottle(self.clock)),
            self.clock,
            call_handler,
            body_limit=1000,
            uploads=Path("uploads"),
        )
        dispatcher.register(HealthRoutes(probes, self.clock).routes())
        stub: Any = StubTreq(dispatcher.resource())
        return stub, stub.get(f"http://voxrec{path}")

    def get(self, path: str, **probes: Probe) -> tuple[int, Any]:
        stub, asked = self.start(path, **probes)
        response = self.successResultOf(asked)
        return response.code, self.successResultOf(stub.json_content(response))

    def test_live(self) -> None:
        self.assertEqual(self.get("/health/live", database=ill), (200, {"live": True}))

    def test_ready(self) -> None:
        everything = {"ready": True, "dependencies": {"asterisk": {"ready": True}, "database": {"ready": True}}}
        self.assertEqual(self.get("/health/ready", asterisk=well, database=well), (200, everything))

    def test_one_is_down(self) -> None:
        status, told = self.get("/health/ready", asterisk=well, database=ill)
        self.assertEqual((status, told["ready"]), (503, False))
        self.assertEqual(told["dependencies"]["database"], {"ready": False, "detail": "does not answer"})
        self.assertEqual(told["dependencies"]["asterisk"], {"ready": True})

    def test_a_probe_fails(self) -> None:
        status, told = self.get("/health/ready", database=broken)
        self.assertEqual((status, told["dependencies"]["database"]["detail"]), (503, "cannot be asked"))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_a_probe_never_answers(self) -> None:
        stub, asked = self.start("/health/ready", database=silent, asterisk=well)
        self.assertNoResult(asked)
        self.clock.advance(PATIENCE)
        stub.flush()
        response = self.successResultOf(asked)
        told = self.successResultOf(stub.json_content(response))
        self.assertEqual((response.code, told["dependencies"]["database"]["detail"]), (503, "no answer within 3 s"))
