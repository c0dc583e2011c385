"""Tests of a failover: a pool and a listener whose primary fails, and whose standby is promoted. Real servers."""

import math
import signal
from contextlib import closing
from unittest.mock import patch

from psycopg2.sql import SQL
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from tests.database import reactor, until
from tests.temporary import temporary_directory
from voxrec.config import parse
from voxrec.doctor.database import check_database
from voxrec.errors import StoreUnavailable
from voxrec.postgres import connection as connection_module
from voxrec.postgres.listener import Listener
from voxrec.postgres.pool import Pool
from voxrec.postgres.requirements import connect
from voxrec.postgres.server_history import ServerHistory
from voxrec.postgres.server_monitor import ServerMonitor
from voxrec.sandbox.replication import ReplicatedPostgres

SETTINGS = {"fsync": "off", "full_page_writes": "off"}


class FailoverTests(TestCase):
    timeout = 120

    async def setUp(self) -> None:  # type: ignore[override]
        self.directory = temporary_directory("failover")
        self.postgres = ReplicatedPostgres(self.directory, SETTINGS)
        self.addCleanup(self.postgres.stop)
        self.postgres.start()
        self.history = ServerHistory(self.directory / "timeline.json")
        self.failovers = 0
        self.history.subscribe(self.failed_over)
        self.pool = Pool(reactor, self.postgres.dsn(), size=3, statement_timeout=2.0, history=self.history)
        self.addCleanup(self.pool.stopService)
        self.received: list[str] = []
        self.recoveries = 0
        self.listener = Listener(
            reactor, self.postgres.dsn(), {"news": self.received.append}, self.recovered, self.history
        )
        self.addCleanup(self.listener.stopService)
        self.pool.startService()
        self.listener.startService()
        await self.pool.when_ready()
        await until(lambda: self.recoveries)
        await self.pool.execute("CREATE TABLE numbers (number integer)")
        self.postgres.primary.wait_until_replicated()

    def failed_over(self) -> None:
        self.failovers += 1
        if (identity := self.history.unhandled) is not None:
            self.history.failover_handled(identity)

    def recovered(self) -> None:
        self.recoveries += 1

    async def insert(self, number: int) -> None:
        await self.pool.execute("INSERT INTO numbers VALUES (%s)", (number,))

    async def numbers(self) -> list[int]:
        return [number for (number,) in await self.pool.query("SELECT number FROM numbers ORDER BY number")]

    async def assert_notified(self, payload: str) -> None:
        await self.pool.execute(f"NOTIFY news, '{payload}'")
        await until(lambda: payload in self.received)

    async def test_primary_is_killed_and_returns(self) -> None:
        """The former primary accepts writes again: it is the first of the hosts, and must not be used."""
        await self.insert(1)
        self.postgres.primary.wait_until_replicated()
        self.postgres.fail_over()
        await until(lambda: self.failovers == 1 and self.recoveries == 2 and self.pool.ready)
        await self.insert(2)
        await self.assert_notified("after the failover")
        self.postgres.standby.start()
        await self.reconnect()
        await self.insert(3)
        self.assertEqual(await self.numbers(), [1, 2, 3])
        await self.assert_notified("after the former primary has returned")
        self.postgres.primary.kill()
        await until(lambda: not self.pool.ready)
        await until(lambda: "former primary" in self.pool._unavailable_reason)
        with self.assertRaisesRegex(StoreUnavailable, r"former primary \(timeline 1, but 2 is the current one\)"):
            await self.insert(4)
        again = ServerHistory(self.directory / "timeline.json")
        self.assertEqual(again._newest, self.history._newest, "a restart would forget the timeline")

    async def reconnect(self) -> None:
        """Let the pool open all its connections anew, in the order of the connection string."""
        self.history.last_server = None
        for connection in tuple(self.pool._connections):
            connection.on_closed("the test closes it")
        await self.pool.when_ready()
        await gatherResults([Deferred.fromCoroutine(self.pool.query("SELECT pg_sleep(0.1)")) for _ in range(3)])

    async def test_both_accept_writes(self) -> None:
        """The standby is promoted although the primary runs: connections to the former primary are replaced."""
        await self.insert(1)
        self.postgres.primary.wait_until_replicated()
        self.postgres.promote()
        await self.insert(2)  # what no fencing prevents
        self.history.last_server = None
        other = Pool(reactor, self.postgres.primary.tcp_dsn(), size=1, history=self.history)
        self.addCleanup(other.stopService)
        other.startService()
        await other.when_ready()
        self.assertEqual(self.failovers, 1)
        await until(lambda: self.pool.ready and self.recoveries == 2)
        await self.insert(3)
        self.assertEqual(await self.numbers(), [1, 3])
        await self.assert_notified("from the new primary")

    async def test_former_primary_is_found_by_inspection(self) -> None:
        """Both accept writes, as above, but no other connection shows that there is a new primary."""
        monitor = ServerMonitor(reactor, self.postgres.dsn(), self.history, deferToThread)
        self.addCleanup(monitor.stopService)
        config = parse(f'database: {{dsn: "{self.postgres.dsn()}"}}', sections={"database"})
        findings = [str(finding) for finding in check_database(config) if "server" in finding.check]
        self.assertEqual(len(findings), 2)
        self.assertIn("primary, timeline 1", findings[0])
        self.assertRegex(findings[1], r"standby, [\d,]+ bytes behind")
        self.postgres.promote()
        monitor.startService()
        await until(lambda: self.failovers == 1)
        self.assertEqual((monitor.primaries, monitor.standbys), (2, 0))
        self.assertTrue(math.isnan(monitor.lag))
        await until(lambda: self.pool.ready and self.recoveries == 2)
        await self.insert(1)
        with closing(connect(self.postgres.dsn())) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT number FROM numbers")
            self.assertEqual(cursor.fetchall(), [(1,)], "commands use the former primary")
        findings = [str(finding) for finding in check_database(config) if "server" in finding.check]
        self.assertIn("former primary", findings[0])
        self.assertIn("primary, timeline 2", findings[1])

    async def test_primary_is_silent(self) -> None:
        """A machine that hangs: its connections are open but get no reply, and new ones neither."""
        silent = self.postgres.primary
        silent.signal_all(signal.SIGSTOP)
        self.postgres.promote()
        with patch.object(connection_module, "_RESPONSE_GRACE", 0.1):
            with self.assertRaises(StoreUnavailable):
                await self.pool.transaction(lambda transaction: transaction.execute("SELECT 1"))
            await until(lambda: self.pool.ready, 20)
            await self.insert(1)
        silent.signal_all(signal.SIGCONT)
        await self.insert(2)
        self.assertEqual(await self.numbers(), [1, 2])

    async def test_server_becomes_read_only(self) -> None:
        """As 25006 on a server that was demoted: connections to it are replaced."""
        await self.insert(1)
        self.set_read_only("on")
        with self.assertRaisesRegex(StoreUnavailable, "read-only"):
            await self.insert_until_it_fails()
        await until(lambda: "read-only" in self.pool._unavailable_reason and not self.pool.ready)
        self.set_read_only("off")
        await until(lambda: self.pool.ready)
        await self.insert(9)
        self.assertIn(9, await self.numbers())

    async def insert_until_it_fails(self) -> None:
        for _ in range(1000):  # backends apply the setting between two statements
            await self.insert(2)

    def set_read_only(self, value: str) -> None:
        server = self.postgres.primary
        server.administer(SQL("ALTER SYSTEM SET default_transaction_read_only = {}").format(SQL(value)))
        server.reload()
