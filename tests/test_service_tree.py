"""Tests of voxrec.service_tree."""

import errno
import os
from typing import Any

from twisted.internet.defer import Deferred, succeed
from twisted.internet.error import CannotListenError
from twisted.internet.protocol import Factory
from twisted.internet.testing import MemoryReactorClock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from voxrec.errors import StoreUnavailable
from voxrec.service_tree import CoroutineService, OnDemandService, RetryingServerService, SequentialMultiService


class SequentialMultiServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.log: list[str] = []
        self.tree = SequentialMultiService()
        self.started: dict[str, Deferred[None]] = {}

    def add_service(self, name: str, *, waits: bool = False, fails: bool = False) -> None:
        """Add a service whose start waits for ``self.started[name]``, or that fails to start and to stop."""

        def start() -> Deferred[None]:
            self.log.append(f"start {name}")
            self.started[name] = Deferred()
            if fails:
                raise StoreUnavailable("no")
            return self.started[name] if waits else succeed(None)

        def stop() -> Deferred[None]:
            self.log.append(f"stop {name}")
            if fails:
                raise ZeroDivisionError
            return succeed(None)

        CoroutineService(name, start, stop).setServiceParent(self.tree)

    def test_each_start_waits_for_the_one_before(self) -> None:
        self.add_service("a", waits=True)
        self.add_service("b")
        starting = self.tree.startService()
        self.assertEqual(self.log, ["start a"])
        self.started["a"].callback(None)
        self.successResultOf(starting)
        self.assertEqual(self.log, ["start a", "start b"])

    def test_services_stop_in_reverse_order(self) -> None:
        self.add_service("a")
        self.add_service("b")
        self.successResultOf(self.tree.startService())
        self.log.clear()
        self.successResultOf(self.tree.stopService())
        self.assertEqual(self.log, ["stop b", "stop a"])

    def test_a_stop_during_the_start_stops_only_started_services(self) -> None:
        self.add_service("a")
        self.add_service("b", waits=True)
        self.add_service("c")
        starting = self.tree.startService()
        self.successResultOf(self.tree.stopService())
        self.failureResultOf(starting)
        self.assertEqual(self.log, ["start a", "start b", "stop b", "stop a"])

    def test_a_failure_ends_the_start_and_does_not_prevent_the_stop_of_others(self) -> None:
        self.add_service("a")
        self.add_service("b", fails=True)
        self.add_service("c")
        self.failureResultOf(self.tree.startService(), StoreUnavailable)
        self.successResultOf(self.tree.stopService())
        self.assertEqual(self.log, ["start a", "start b", "stop b", "stop a"])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)


class OnDemandServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.log: list[str] = []
        self.stopping: Deferred[None] = Deferred()
        self.inner = CoroutineService("inner", lambda: self.log.append("start"), self.stop)
        self.service = OnDemandService("on demand", self.inner)

    def stop(self) -> Deferred[None]:
        self.log.append("stop")
        return self.stopping

    def test_the_tree_does_not_start_it(self) -> None:
        self.service.startService()
        self.assertEqual(self.log, [])
        self.service.ensure_started()
        self.service.ensure_started()
        self.assertEqual(self.log, ["start"])

    def test_the_tree_stops_it_and_waits(self) -> None:
        self.service.startService()
        self.service.ensure_started()
        stopping = self.service.stopService()
        self.assertNoResult(stopping)
        self.stopping.callback(None)
        self.successResultOf(stopping)
        self.assertEqual(self.log, ["start", "stop"])

    def test_a_service_that_was_not_started_is_not_stopped(self) -> None:
        self.service.startService()
        self.service.ensure_stopped()
        self.successResultOf(self.service.stopService())
        self.assertEqual(self.log, [])

    def test_it_does_not_start_after_the_tree_has_stopped(self) -> None:
        self.service.startService()
        self.successResultOf(self.service.stopService())
        self.service.ensure_started()
        self.assertEqual(self.log, [])

    def test_it_can_be_stopped_and_started_again(self) -> None:
        self.service.startService()
        for _ in range(2):
            self.service.ensure_started()
            self.service.ensure_stopped()
        self.assertEqual(self.log, ["start", "stop"] * 2)


class _BusyReactor(MemoryReactorClock):
    """A reactor whose port is in use until ``busy`` is false."""

    busy = True
    errno = errno.EADDRINUSE

    def listenTCP(self, port: int, factory: Any, backlog: int = 50, interface: str = "") -> Any:  # noqa: N802
        if self.busy:
            raise CannotListenError(interface, port, OSError(self.errno, os.strerror(self.errno)))
        return super().listenTCP(port, factory, backlog, interface)


class RetryingServerServiceTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.reactor = _BusyReactor()
        self.service = RetryingServerService(self.reactor, "tcp:8080", Factory(), "REST")

    def test_a_port_in_use_is_retried_and_logged_once(self) -> None:
        with capturedLogs() as logs:
            self.service.startService()
            self.reactor.advance(5)
        self.assertEqual(len(logs), 1)
        self.reactor.busy = False
        self.reactor.advance(5)
        self.assertEqual([server[0] for server in self.reactor.tcpServers], [8080])

    def test_it_listens_when_the_port_is_open(self) -> None:
        self.service.startService()
        self.assertFalse(self.service.listening)
        self.reactor.busy = False
        self.reactor.advance(5)
        self.assertEqual((self.service.listening, self.service.error), (True, None))

    def test_a_missing_privilege_is_not_retried(self) -> None:
        self.reactor.errno = errno.EACCES
        self.service.startService()
        self.assertEqual(self.reactor.getDelayedCalls(), [])
        self.assertIn("CAP_NET_BIND_SERVICE", str(self.service.error))
        self.assertIn("tcp:8080", str(self.service.error))

    def test_a_stop_ends_the_retries(self) -> None:
        self.service.startService()
        self.successResultOf(self.service.stopService())
        self.assertEqual(self.reactor.getDelayedCalls(), [])

    def test_a_stop_closes_the_port(self) -> None:
        self.reactor.busy = False
        self.service.startService()
        self.successResultOf(self.service.stopService())
        self.assertEqual(self.reactor.getDelayedCalls(), [])
