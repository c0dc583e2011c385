"""Tests of voxrec.postgres.server_monitor and voxrec.postgres.server_history, without servers."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent
from twisted.trial.unittest import SynchronousTestCase

from voxrec.errors import StoreUnavailable
from voxrec.postgres.dsn import Server
from voxrec.postgres.server_history import ServerHistory, ServerIdentity
from voxrec.postgres.server_monitor import ServerMonitor
from voxrec.postgres.server_status import ServerStatus

FIRST, SECOND = Server("10.0.0.1", "", "5432"), Server("10.0.0.2", "", "5432")


def primary(server: Server, position: int, timeline: int = 1) -> ServerStatus:
    return ServerStatus(server, identity=ServerIdentity(7, timeline), position=position)


def standby(server: Server, position: int | None) -> ServerStatus:
    return ServerStatus(server, standby=True, position=position)


class MonitorTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.statuses: list[ServerStatus] = []
        self.history = ServerHistory()

        def call(function: Callable[..., Any], *args: Any) -> Deferred[Any]:
            return maybeDeferred(function, *args)

        self.monitor = ServerMonitor(self.clock, "", self.history, call, lambda _dsn: self.statuses)
        self.addCleanup(self.monitor.stopService)

    def observe(self, *statuses: ServerStatus) -> None:
        self.statuses = list(statuses)
        if self.monitor.running:
            self.clock.advance(10)
        else:
            self.monitor.startService()

    def test_lag_is_the_age_of_the_first_change_that_is_missing(self) -> None:
        self.observe(primary(FIRST, 100), standby(SECOND, 100))
        self.assertEqual(self.monitor.lag, 0)
        self.observe(primary(FIRST, 200), standby(SECOND, 100))
        self.observe(primary(FIRST, 300), standby(SECOND, 150))
        self.assertEqual(self.monitor.lag, 10)
        self.observe(primary(FIRST, 300), standby(SECOND, 250))
        self.assertEqual(self.monitor.lag, 10)
        self.observe(primary(FIRST, 300), standby(SECOND, 300))
        self.assertEqual(self.monitor.lag, 0)

    def test_primary_without_changes_for_hours(self) -> None:
        for _ in range(2 * 360):
            self.observe(primary(FIRST, 100), standby(SECOND, 100))
        self.observe(primary(FIRST, 200), standby(SECOND, 100))
        self.clock.pump([1] * 5)
        self.assertEqual(self.monitor.lag, 5)

    def test_without_a_standby_the_lag_is_unknown(self) -> None:
        self.observe(primary(FIRST, 100), ServerStatus(SECOND, "refused"))
        self.assertEqual((self.monitor.primaries, self.monitor.standbys), (1, 0))
        self.assertTrue(math.isnan(self.monitor.lag))
        self.observe(primary(FIRST, 100), standby(SECOND, None))
        self.assertEqual(self.monitor.standbys, 1)
        self.assertTrue(math.isnan(self.monitor.lag))

    def test_after_a_failover(self) -> None:
        called: list[None] = []
        self.history.subscribe(lambda: called.append(None))
        self.observe(primary(FIRST, 900), standby(SECOND, 900))
        self.assertEqual(called, [])
        self.observe(standby(FIRST, 500), primary(SECOND, 600, timeline=2))
        self.assertEqual(len(called), 1)
        self.assertEqual(self.monitor.lag, 0)

    def test_a_former_primary_is_reported_once(self) -> None:
        with capturedLogs() as events:
            for _ in range(3):
                self.observe(primary(FIRST, 900), primary(SECOND, 600, timeline=2))
        errors = [formatEvent(event) for event in events if "accepts writes" in formatEvent(event)]
        self.assertEqual(len(errors), 1)
        self.assertTrue(errors[0].startswith("10.0.0.1:5432 accepts writes although 10.0.0.2:5432 is the primary"))

    def test_only_a_former_primary_is_left(self) -> None:
        self.observe(primary(FIRST, 900), primary(SECOND, 600, timeline=2))
        self.observe(primary(FIRST, 900), ServerStatus(SECOND, "refused"))
        self.assertEqual(self.monitor.primaries, 1)
        self.assertTrue(self.history.is_former_primary(ServerIdentity(7, 1)))


class HistoryTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp())
        self.called = 0

    def load(self) -> ServerHistory:
        history = ServerHistory(self.path)
        history.subscribe(self.failed_over)
        return history

    def failed_over(self) -> None:
        self.called += 1

    def test_the_first_server_is_no_failover(self) -> None:
        self.load().connected(ServerIdentity(7, 3))
        self.load().connected(ServerIdentity(7, 3))
        self.assertEqual(self.called, 0)

    def test_a_failover_during_a_restart(self) -> None:
        self.load().connected(ServerIdentity(7, 1))
        self.load().connected(ServerIdentity(7, 2))
        self.assertEqual(self.called, 1)

    def test_a_failover_is_repeated_until_it_is_handled(self) -> None:
        self.load().connected(ServerIdentity(7, 1))
        self.load().connected(ServerIdentity(7, 2))
        history = self.load()
        history.connected(ServerIdentity(7, 2))
        history.connected(ServerIdentity(7, 2))
        self.assertEqual(self.called, 3)
        self.assertEqual(history.unhandled, ServerIdentity(7, 2))
        history.failover_handled(ServerIdentity(7, 2))
        self.assertIsNone(history.unhandled)
        history.connected(ServerIdentity(7, 2))
        self.load().connected(ServerIdentity(7, 2))
        self.assertEqual(self.called, 3)

    def test_a_former_primary_is_refused(self) -> None:
        self.load().connected(ServerIdentity(7, 2))
        with self.assertRaisesRegex(StoreUnavailable, "former primary"):
            self.load().connected(ServerIdentity(7, 1))

    def test_another_database_is_accepted(self) -> None:
        """As after a restore into a new cluster."""
        self.load().connected(ServerIdentity(7, 2))
        self.load().connected(ServerIdentity(8, 1))
        self.assertEqual(self.called, 0)

    def test_a_damaged_file_and_a_directory_that_cannot_be_written(self) -> None:
        self.path.write_text("{")
        self.load().connected(ServerIdentity(7, 2))
        unwritable = ServerHistory(self.path / "file" / "x")
        with capturedLogs() as events:
            unwritable.connected(ServerIdentity(7, 2))
        self.assertTrue(any("cannot be stored" in formatEvent(event) for event in events))
