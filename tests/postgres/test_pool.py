"""Tests of voxrec.postgres.pool."""

from unittest.mock import patch

from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from tests.database import DatabaseTestCase, cluster, reactor, until
from voxrec.errors import StoreUnavailable
from voxrec.postgres.pool import Pool
from voxrec.postgres.transaction import Transaction


class StatementTests(DatabaseTestCase):
    async def test_rows_and_counts(self) -> None:
        self.assertEqual(await self.pool.query("SELECT %s, 2", ("one",)), [("one", 2)])
        self.assertEqual(await self.pool.execute("CREATE TABLE things (name text UNIQUE)"), -1)
        self.assertEqual(await self.pool.execute("INSERT INTO things VALUES ('a'), ('b')"), 2)
        self.assertEqual(await self.pool.returning("DELETE FROM things WHERE name = 'a' RETURNING name"), [("a",)])

    async def test_more_statements_than_connections(self) -> None:
        answers = await gatherResults(
            [Deferred.fromCoroutine(self.pool.query("SELECT %s, pg_sleep(0.01)", (n,))) for n in range(20)]
        )
        self.assertEqual([rows[0][0] for rows in answers], list(range(20)))
        self.assertEqual(len(self.pool._connections), 4)
        self.assertEqual(self.pool.busy, 0)

    async def test_waiting_too_long_for_a_connection(self) -> None:
        pool = Pool(reactor, self.dsn, size=1, statement_timeout=0.2)
        pool.startService()
        await pool.when_ready()
        unblock: Deferred[None] = Deferred()

        async def work(_: Transaction) -> None:
            await unblock

        held = Deferred.fromCoroutine(pool.transaction(work))
        with self.assertRaisesRegex(StoreUnavailable, "all 1 connections were busy"):
            await pool.query("SELECT 1")
        unblock.callback(None)
        await held
        self.assertEqual(await pool.query("SELECT 1"), [(1,)])
        await pool.stopService()

    async def test_cancelled_caller_does_not_interrupt_a_transaction(self) -> None:
        await self.pool.execute("CREATE TABLE things (name text)")

        async def work(transaction: Transaction) -> None:
            await transaction.query("SELECT pg_sleep(0.05)")
            await transaction.execute("INSERT INTO things VALUES ('a')")

        cancelled = Deferred.fromCoroutine(self.pool.transaction(work))
        cancelled.cancel()
        with self.assertRaises(CancelledError):
            await cancelled
        self.assertEqual(self.pool.busy, 1)
        await until(lambda: not self.pool.busy)
        self.assertEqual(await self.pool.query("SELECT name FROM things"), [("a",)])

    async def test_stop_waits_for_statements_in_progress(self) -> None:
        slow = Deferred.fromCoroutine(self.pool.query("SELECT 1, pg_sleep(0.1)"))
        await self.pool.stopService()
        self.assertEqual((await slow)[0][0], 1)
        with self.assertRaisesRegex(StoreUnavailable, "stopping"):
            await self.pool.query("SELECT 1")

    async def test_stop_does_not_wait_forever(self) -> None:
        slow = Deferred.fromCoroutine(self.pool.query("SELECT 1, pg_sleep(20)"))
        with patch("voxrec.postgres.pool._DRAIN_TIMEOUT", 0.05):
            await self.pool.stopService()
        with self.assertRaises(StoreUnavailable):
            await slow


class LostConnectionTests(DatabaseTestCase):
    """Lost connections and unavailable servers."""

    async def terminate_other_connections(self) -> None:
        """Terminate every connection of the pool except the one that runs this statement."""
        await self.pool.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    async def open_connections(self, size: int) -> None:
        await gatherResults([Deferred.fromCoroutine(self.pool.query("SELECT pg_sleep(0.05)")) for _ in range(size)])
        self.assertEqual(len(self.pool._connections), size)

    async def test_lost_idle_connections_are_not_errors(self) -> None:
        await self.open_connections(3)
        await self.terminate_other_connections()
        await until(lambda: len(self.pool._connections) == 1)
        self.assertTrue(self.pool.ready)
        self.assertEqual(await self.pool.query("SELECT 1"), [(1,)])
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_read_is_repeated_after_a_lost_connection(self) -> None:
        await self.open_connections(2)
        slow = Deferred.fromCoroutine(self.pool.query("SELECT 1, pg_sleep(0.2)"))
        await deferLater(reactor, 0.05)
        await self.terminate_other_connections()
        self.assertEqual((await slow)[0][0], 1)

    async def test_write_is_not_repeated(self) -> None:
        await self.open_connections(2)
        await self.pool.execute("CREATE TABLE things (name text)")
        slow = Deferred.fromCoroutine(self.pool.execute("INSERT INTO things SELECT 'a' FROM pg_sleep(60)"))
        await self.terminate_other_connections()
        with self.assertRaises(StoreUnavailable):
            await slow

    async def test_transaction_with_a_lost_connection(self) -> None:
        await self.open_connections(2)

        async def work(transaction: Transaction) -> None:
            await self.terminate_other_connections()
            await transaction.query("SELECT 1")

        with self.assertRaises(StoreUnavailable):
            await self.pool.transaction(work)
        self.assertEqual(await self.pool.query("SELECT 1"), [(1,)])
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_recovery_after_a_restart_of_the_server(self) -> None:
        levels: list[str] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            level = event["log_level"]
            if event.get("log_namespace") == "voxrec.postgres.pool.Pool" and level is not LogLevel.debug:
                levels.append(level.name)

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        await self.open_connections(3)
        cluster().stop()
        await until(lambda: not self.pool.ready)
        with self.assertRaisesRegex(StoreUnavailable, "is unavailable"):
            await self.pool.query("SELECT 1")
        await deferLater(reactor, 0.5)  # several attempts, of which only the first is logged
        cluster().launch()
        await until(lambda: self.pool.ready)
        self.assertEqual(await self.pool.query("SELECT 1"), [(1,)])
        self.assertEqual(levels, ["error", "info"])
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_restart_that_was_not_noticed(self) -> None:
        cluster().stop()
        cluster().launch()
        cluster().wait_until_ready()  # the reactor has not run, so the shutdown message is unread
        self.assertTrue(self.pool.ready)
        self.assertEqual(await self.pool.execute("CREATE TABLE things (name text)"), -1)

    async def test_start_while_the_server_is_down(self) -> None:
        await self.pool.stopService()
        cluster().stop()
        self.pool.startService()
        self.assertFalse(self.pool.ready)
        waiting = Deferred.fromCoroutine(self.pool.when_ready())
        await deferLater(reactor, 0.2)
        self.assertFalse(self.pool.ready)
        cluster().launch()
        await waiting
        self.assertEqual(await self.pool.query("SELECT 1"), [(1,)])

    async def test_stop_while_the_server_is_down(self) -> None:
        cluster().stop()
        await until(lambda: not self.pool.ready)
        waiting = Deferred.fromCoroutine(self.pool.when_ready())
        await self.pool.stopService()
        with self.assertRaises(StoreUnavailable):
            await waiting
        cluster().launch()
        cluster().wait_until_ready()

    async def test_response_timeout(self) -> None:
        pool = Pool(reactor, self.dsn, size=1, statement_timeout=0.1)
        pool.startService()
        await pool.when_ready()
        pool._idle[0]._response_timeout = 0.2
        await pool.execute("SET statement_timeout = 0")
        with self.assertRaises(StoreUnavailable):
            await pool.execute("SELECT pg_sleep(3)")
        self.assertEqual(await pool.query("SELECT 1"), [(1,)])
        await pool.stopService()


class UnreachableServerTests(TestCase):
    async def test_refused_connection(self) -> None:
        pool = Pool(reactor, "host=127.0.0.1 port=1 dbname=x")
        pool.startService()
        await until(lambda: pool._logged_state is False)
        with self.assertRaisesRegex(StoreUnavailable, "refused"):
            await pool.query("SELECT 1")
        await pool.stopService()

    async def test_stop_while_connecting(self) -> None:
        port = reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        pool = Pool(reactor, f"host=127.0.0.1 port={port.getHost().port} dbname=x")
        pool.startService()
        await deferLater(reactor, 0.05)
        await pool.stopService()
