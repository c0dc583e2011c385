"""The pool: what it promises while PostgreSQL is there, and while it is not."""

import contextlib
import socket
from datetime import UTC, datetime
from unittest.mock import patch

import psycopg2
from twisted.internet.defer import CancelledError, Deferred, gatherResults
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import deferLater
from twisted.logger import ILogObserver, LogEvent, LogLevel, globalLogPublisher
from twisted.trial.unittest import TestCase
from zope.interface import implementer

from tests.database import DatabaseTestCase, cluster, reactor, until
from voxrec.deferreds import shielded
from voxrec.errors import InvalidInput, StoreUnavailable
from voxrec.postgres.pool import Pool
from voxrec.postgres.statement import PreparedStatement, Row
from voxrec.postgres.transaction import Transaction


class Statements(DatabaseTestCase):
    async def test_rows_and_counts(self) -> None:
        self.assertEqual(await self.pool.query("SELECT %s, 2", ("one",)), [("one", 2)])
        self.assertEqual(await self.pool.execute("CREATE TABLE things (name text UNIQUE)"), -1)
        self.assertEqual(await self.pool.execute("INSERT INTO things VALUES ('a'), ('b')"), 2)
        self.assertEqual(await self.pool.returning("DELETE FROM things WHERE name = 'a' RETURNING name"), [("a",)])

    async def test_a_percent_sign_needs_no_care_without_parameters(self) -> None:
        self.assertEqual(await self.pool.query("SELECT 'x' LIKE '%'"), [(True,)])

    async def test_times_are_utc(self) -> None:
        ((now,),) = await self.pool.query("SELECT now()")
        self.assertEqual(now.utcoffset().total_seconds(), 0)

    async def test_a_transaction_is_done_as_a_whole(self) -> None:
        await self.pool.execute("CREATE TABLE things (name text)")

        async def work(transaction: Transaction) -> str:
            await transaction.execute("INSERT INTO things VALUES ('a')")
            return "done"

        async def failing(transaction: Transaction) -> None:
            await transaction.execute("INSERT INTO things VALUES ('b')")
            raise KeyError("changed my mind")

        self.assertEqual(await self.pool.transaction(work), "done")
        with self.assertRaises(KeyError):
            await self.pool.transaction(failing)
        self.assertEqual(await self.pool.query("SELECT name FROM things"), [("a",)])

    async def test_a_swallowed_error_does_not_pass_for_a_commit(self) -> None:
        async def careless(transaction: Transaction) -> None:
            with contextlib.suppress(psycopg2.ProgrammingError):
                await transaction.execute("INSERT INTO nowhere VALUES (1)")

        with self.assertRaisesRegex(RuntimeError, "nothing was committed"):
            await self.pool.transaction(careless)
        self.assertEqual(await self.pool.query("SELECT 1"), [(1,)])

    async def test_what_can_never_be_stored(self) -> None:
        for value in ("nul \0", "half \ud800"):
            with self.assertRaises(InvalidInput):
                await self.pool.query("SELECT %s", (value,))
        with self.assertRaises(InvalidInput):
            await self.pool.query("SELECT %s::int", ("many",))
        with self.assertRaises(InvalidInput):
            await self.pool.query("SELECT %s::jsonb", (r'"\u0000"',))

    async def test_an_integrity_error_is_for_the_caller(self) -> None:
        await self.pool.execute("CREATE TABLE things (name text UNIQUE)")
        await self.pool.execute("INSERT INTO things VALUES ('a')")
        with self.assertRaises(psycopg2.IntegrityError):
            await self.pool.execute("INSERT INTO things VALUES ('a')")

    async def test_a_prepared_statement(self) -> None:
        await self.pool.execute("CREATE TABLE things (name text UNIQUE, at timestamptz)")
        add = PreparedStatement("INSERT INTO things VALUES (%s, %s) RETURNING name")
        at = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
        self.assertEqual(
            [await self.pool.returning(add, (name, at)) for name in ("100%", "'b'")], [[("100%",)], [("'b'",)]]
        )
        with self.assertRaises(psycopg2.IntegrityError):
            await self.pool.returning(add, ("100%", at))
        with self.assertRaises(InvalidInput):
            await self.pool.returning(add, ("c", "never"))
        look = PreparedStatement("SELECT at FROM things WHERE name = %s")
        self.assertEqual(await self.pool.query(look, ("100%",)), [(at,)])

        async def work(transaction: Transaction) -> list[Row]:
            return await transaction.query(look, ("'b'",))

        self.assertEqual(await self.pool.transaction(work), [(at,)])
        prepared = "SELECT count(*) FROM pg_prepared_statements"
        self.assertEqual(await self.pool.query(prepared), [(2,)])

    async def test_a_prepared_statement_whose_table_has_changed(self) -> None:
        await self.pool.execute("CREATE TABLE things (name text)")
        await self.pool.execute("INSERT INTO things VALUES ('1')")
        look = PreparedStatement("SELECT name FROM things WHERE name = %s::text")
        self.assertEqual(await self.pool.query(look, ("1",)), [("1",)])
        await self.pool.execute("ALTER TABLE things ALTER name TYPE varchar(9)")
        self.assertEqual(await self.pool.query(look, ("1",)), [("1",)])
        await self.pool.execute("DEALLOCATE ALL")
        self.assertEqual(await self.pool.query(look, ("1",)), [("1",)])

    async def test_a_long_statement(self) -> None:
        """One that does not fit into the socket's buffer, and an answer that comes in many parts."""
        text = "x" * 5_000_000
        self.assertEqual(await self.pool.query("SELECT %s", (text,)), [(text,)])

    async def test_more_statements_than_connections(self) -> None:
        answers = await gatherResults(
            [Deferred.fromCoroutine(self.pool.query("SELECT %s, pg_sleep(0.01)", (n,))) for n in range(20)]
        )
        self.assertEqual([rows[0][0] for rows in answers], list(range(20)))
        self.assertEqual(len(self.pool._connections), 4)
        self.assertEqual(self.pool.busy, 0)

    async def test_who_waits_too_long_for_a_connection_is_told(self) -> None:
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

    async def test_a_statement_that_takes_too_long(self) -> None:
        pool = Pool(reactor, self.dsn, size=1, statement_timeout=0.1)
        pool.startService()
        await pool.when_ready()

        async def work(transaction: Transaction) -> None:
            await transaction.query("SELECT pg_sleep(5)")

        with self.assertRaisesRegex(StoreUnavailable, "too long"):
            await pool.query("SELECT pg_sleep(5)")
        with self.assertRaisesRegex(StoreUnavailable, "too long"):
            await pool.transaction(work)
        self.assertEqual(await pool.query("SELECT 1"), [(1,)])
        self.assertEqual(pool.busy, 0)
        await pool.stopService()

    async def test_a_caller_who_is_cancelled_breaks_nothing_off(self) -> None:
        await self.pool.execute("CREATE TABLE things (name text)")

        async def work(transaction: Transaction) -> None:
            await transaction.query("SELECT pg_sleep(0.05)")
            await transaction.execute("INSERT INTO things VALUES ('a')")

        impatient = Deferred.fromCoroutine(self.pool.transaction(work))
        impatient.cancel()
        with self.assertRaises(CancelledError):
            await impatient
        self.assertEqual(self.pool.busy, 1)
        await until(lambda: not self.pool.busy)
        self.assertEqual(await self.pool.query("SELECT name FROM things"), [("a",)])

    async def test_stop_lets_finish_what_is_under_way(self) -> None:
        slow = Deferred.fromCoroutine(self.pool.query("SELECT 1, pg_sleep(0.1)"))
        await self.pool.stopService()
        self.assertEqual((await slow)[0][0], 1)
        with self.assertRaisesRegex(StoreUnavailable, "stopping"):
            await self.pool.query("SELECT 1")

    async def test_stop_does_not_wait_for_ever(self) -> None:
        slow = Deferred.fromCoroutine(self.pool.query("SELECT 1, pg_sleep(20)"))
        with patch("voxrec.postgres.pool._DRAIN_TIMEOUT", 0.05):
            await self.pool.stopService()
        with self.assertRaises(StoreUnavailable):
            await slow


class Losing(DatabaseTestCase):
    """Connections and servers come and go."""

    async def kill_the_others(self) -> None:
        """End every connection of this pool but the one that does it."""
        await self.pool.query(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )

    async def grow(self, size: int) -> None:
        await gatherResults([Deferred.fromCoroutine(self.pool.query("SELECT pg_sleep(0.05)")) for _ in range(size)])
        self.assertEqual(len(self.pool._connections), size)

    async def test_idle_connections_are_lost_without_noise(self) -> None:
        await self.grow(3)
        await self.kill_the_others()
        await until(lambda: len(self.pool._connections) == 1)
        self.assertTrue(self.pool.ready)
        self.assertEqual(await self.pool.query("SELECT 1"), [(1,)])
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_a_read_is_sent_again_where_its_connection_is_lost(self) -> None:
        await self.grow(2)
        slow = Deferred.fromCoroutine(self.pool.query("SELECT 1, pg_sleep(0.2)"))
        await deferLater(reactor, 0.05)
        await self.kill_the_others()
        self.assertEqual((await slow)[0][0], 1)

    async def test_a_write_is_not(self) -> None:
        await self.grow(2)
        await self.pool.execute("CREATE TABLE things (name text)")
        slow = Deferred.fromCoroutine(self.pool.execute("INSERT INTO things SELECT 'a' FROM pg_sleep(0.2)"))
        await deferLater(reactor, 0.05)
        await self.kill_the_others()
        with self.assertRaises(StoreUnavailable):
            await slow

    async def test_a_transaction_whose_connection_is_lost(self) -> None:
        await self.grow(2)

        async def work(transaction: Transaction) -> None:
            await self.kill_the_others()
            await transaction.query("SELECT 1")

        with self.assertRaises(StoreUnavailable):
            await self.pool.transaction(work)
        self.assertEqual(await self.pool.query("SELECT 1"), [(1,)])
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_a_restart_of_the_server_is_healed(self) -> None:
        heard: list[str] = []

        @implementer(ILogObserver)
        def observe(event: LogEvent) -> None:
            level = event["log_level"]
            if event.get("log_namespace") == "voxrec.postgres.pool.Pool" and level is not LogLevel.debug:
                heard.append(level.name)

        globalLogPublisher.addObserver(observe)
        self.addCleanup(globalLogPublisher.removeObserver, observe)
        await self.grow(3)
        cluster().stop()
        await until(lambda: not self.pool.ready)
        with self.assertRaisesRegex(StoreUnavailable, "is unavailable"):
            await self.pool.query("SELECT 1")
        await deferLater(reactor, 0.5)  # several attempts, which are not worth a line each
        cluster().launch()
        await until(lambda: self.pool.ready)
        self.assertEqual(await self.pool.query("SELECT 1"), [(1,)])
        self.assertEqual(heard, ["error", "info"])
        self.assertEqual(self.flushLoggedErrors(), [])

    async def test_a_restart_that_nobody_noticed(self) -> None:
        cluster().stop()
        cluster().launch()
        cluster().wait_until_ready()  # the reactor has not run: the farewell lies unread in the socket
        self.assertTrue(self.pool.ready)
        self.assertEqual(await self.pool.execute("CREATE TABLE things (name text)"), -1)

    async def test_a_start_while_the_server_is_down(self) -> None:
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

    async def test_a_stop_while_the_server_is_down(self) -> None:
        cluster().stop()
        await until(lambda: not self.pool.ready)
        waiting = Deferred.fromCoroutine(self.pool.when_ready())
        await self.pool.stopService()
        with self.assertRaises(StoreUnavailable):
            await waiting
        cluster().launch()
        cluster().wait_until_ready()

    async def test_a_server_that_does_not_answer_at_all(self) -> None:
        pool = Pool(reactor, self.dsn, size=1, statement_timeout=0.1)
        pool.startService()
        await pool.when_ready()
        pool._idle[0]._response_timeout = 0.2
        await pool.execute("SET statement_timeout = 0")
        with self.assertRaises(StoreUnavailable):
            await pool.execute("SELECT pg_sleep(3)")
        self.assertEqual(await pool.query("SELECT 1"), [(1,)])
        await pool.stopService()


class Unreachable(TestCase):
    async def test_nobody_there(self) -> None:
        pool = Pool(reactor, "host=127.0.0.1 port=1 dbname=x")
        pool.startService()
        await until(lambda: pool._logged_state is False)
        with self.assertRaisesRegex(StoreUnavailable, "refused"):
            await pool.query("SELECT 1")
        await pool.stopService()

    async def test_a_host_by_its_name(self) -> None:
        pool = Pool(reactor, "postgresql://localhost:1/x")
        pool.startService()
        await until(lambda: pool._logged_state is False)
        with self.assertRaisesRegex(StoreUnavailable, "refused"):
            await pool.query("SELECT 1")
        await pool.stopService()

    async def test_a_name_with_several_addresses(self) -> None:
        class Closing(Protocol):
            def connectionMade(self) -> None:
                assert self.transport is not None
                self.transport.loseConnection()

        port = reactor.listenTCP(0, Factory.forProtocol(Closing), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        addresses = [(0, 0, 0, "", ("::1", 0, 0, 0)), (0, 0, 0, "", ("127.0.0.1", 0))]
        self.patch(socket, "getaddrinfo", lambda *_, **__: addresses)
        pool = Pool(reactor, f"host=database.example port={port.getHost().port} dbname=x")
        pool.startService()
        await until(lambda: pool._logged_state is False)
        with self.assertRaisesRegex(StoreUnavailable, "closed the connection unexpectedly"):
            await pool.query("SELECT 1")
        await pool.stopService()

    async def test_somebody_who_never_says_a_word(self) -> None:
        port = reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        pool = Pool(reactor, f"host=127.0.0.1 port={port.getHost().port} dbname=x", connect_timeout=0.1)
        pool.startService()
        await until(lambda: pool._logged_state is False)
        with self.assertRaisesRegex(StoreUnavailable, r"no connection within 0\.1 s"):
            await pool.query("SELECT 1")
        await pool.stopService()

    async def test_a_stop_in_the_middle_of_connecting(self) -> None:
        port = reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        pool = Pool(reactor, f"host=127.0.0.1 port={port.getHost().port} dbname=x")
        pool.startService()
        await deferLater(reactor, 0.05)
        await pool.stopService()


class Shielded(TestCase):
    def test_cancelling_leaves_the_inner_one_alone(self) -> None:
        inner: Deferred[str] = Deferred(lambda _: self.fail("it was cancelled"))
        outer = shielded(inner)
        outer.cancel()
        self.failureResultOf(outer, CancelledError)
        inner.callback("late")
        self.assertEqual(self.successResultOf(inner), None)

    def test_a_late_failure_is_swallowed(self) -> None:
        inner: Deferred[str] = Deferred()
        outer = shielded(inner)
        outer.cancel()
        self.failureResultOf(outer, CancelledError)
        inner.errback(KeyError())
        self.assertEqual(self.flushLoggedErrors(), [])
