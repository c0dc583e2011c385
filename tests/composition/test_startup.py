"""Tests of voxrec.composition.startup."""

from collections.abc import Callable
from typing import Any

from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from voxrec.composition.startup import StartupGate
from voxrec.errors import ConfigError, StoreUnavailable


class FakeServer:
    """An HTTP server that listens when ``listening`` is set."""

    def __init__(self) -> None:
        self.listening = True
        self.address = "tcp:8080"
        self.error: ConfigError | None = None


class StartupGateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.server = FakeServer()
        self.problems: dict[str, str | Exception | None] = {"postgresql": None, "archive": None, "spool": None}
        self.notified: list[str] = []

    def probe(self, name: str) -> Callable[[], Any]:
        async def probe() -> str | None:
            problem = self.problems[name]
            if isinstance(problem, Exception):
                raise problem
            return problem

        return probe

    def start(self) -> Any:
        probes = {name: self.probe(name) for name in self.problems}
        self.gate = StartupGate(self.clock, self.server, probes, self.notified.append)
        return self.gate.startService()

    def test_it_completes_at_once_if_nothing_is_missing(self) -> None:
        self.successResultOf(self.start())
        self.assertEqual(self.notified, ["STATUS="])

    def test_it_waits_for_each_dependency(self) -> None:
        for name in ("postgresql", "archive", "spool"):
            self.problems[name] = "not mounted"
            starting = self.start()
            self.clock.advance(1)
            self.assertNoResult(starting)
            self.assertIn(f"STATUS=not ready: {name}: not mounted", self.notified[-1])
            self.problems[name] = None
            self.clock.advance(1)
            self.successResultOf(starting)

    def test_it_waits_until_rest_listens(self) -> None:
        self.server.listening = False
        starting = self.start()
        self.assertIn("REST does not listen on tcp:8080", self.notified[-1])
        self.server.listening = True
        self.clock.advance(1)
        self.successResultOf(starting)

    def test_it_does_not_wait_for_asterisk(self) -> None:
        self.problems["asterisk"] = "the event websocket is not open"
        self.successResultOf(self.start())

    def test_an_error_of_a_probe_counts_as_not_ready(self) -> None:
        self.problems["postgresql"] = StoreUnavailable("no response")
        self.assertNoResult(self.start())
        self.assertIn("postgresql: no response", self.notified[-1])

    def test_a_server_that_may_not_listen_ends_the_start(self) -> None:
        self.server.listening = False
        starting = self.start()
        self.server.error = ConfigError("not permitted")
        self.clock.advance(1)
        self.failureResultOf(starting, ConfigError)

    def test_what_is_missing_is_logged_once_and_only_after_the_time_of_a_normal_start(self) -> None:
        self.problems["archive"] = "not mounted"
        with capturedLogs() as logs:
            self.start()
            self.clock.pump([1] * 9)
            self.assertEqual(len(logs), 0)
            self.clock.pump([1] * 60)
        self.assertEqual([each["problem"] for each in logs], ["archive: not mounted"])

    def test_systemd_extends_the_time_of_the_start(self) -> None:
        self.problems["archive"] = "not mounted"
        self.start()
        self.notified.clear()
        self.clock.pump([1] * 600)
        self.assertGreater(len(self.notified), 290)  # each extends it by 60 s
        self.assertTrue(all(each.startswith("EXTEND_TIMEOUT_USEC=60000000\n") for each in self.notified))

    def test_it_can_be_cancelled(self) -> None:
        self.problems["archive"] = "not mounted"
        starting = self.start()
        starting.cancel()
        self.failureResultOf(starting)
        self.assertEqual(self.clock.getDelayedCalls(), [])
