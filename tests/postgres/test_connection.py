"""Tests of voxrec.postgres.connection and voxrec.postgres.statement, through a pool."""

import socket
from datetime import UTC, datetime

import psycopg2
from twisted.internet.protocol import Factory, Protocol
from twisted.trial.unittest import TestCase

from tests.database import DatabaseTestCase, reactor, until
from voxrec.errors import InvalidInput, StoreUnavailable
from voxrec.postgres.pool import Pool
from voxrec.postgres.statement import PreparedStatement, Row
from voxrec.postgres.transaction import Transaction


class StatementTests(DatabaseTestCase):
    async def test_percent_sign_without_parameters(self) -> None:
        self.assertEqual(await self.pool.query("SELECT 'x' LIKE '%'"), [(True,)])

    async def test_session_time_zone_is_utc(self) -> None:
        ((now,),) = await self.pool.query("SELECT now()")
        self.assertEqual(now.utcoffset().total_seconds(), 0)

    async def test_values_that_cannot_be_stored(self) -> None:
        for value in ("nul \0", "half \ud800"):
            with self.assertRaises(InvalidInput):
                await self.pool.query("SELECT %s", (value,))
        with self.assertRaises(InvalidInput) as caught:
            await self.pool.query("SELECT %s::int FROM pg_class", ("many",))
        self.assertIn("many", caught.exception.detail)
        self.assertNotIn("pg_class", caught.exception.detail)
        with self.assertRaises(InvalidInput):
            await self.pool.query("SELECT %s::jsonb", (r'"\u0000"',))

    async def test_integrity_error_is_raised_unchanged(self) -> None:
        await self.pool.execute("CREATE TABLE things (name text UNIQUE)")
        await self.pool.execute("INSERT INTO things VALUES ('a')")
        with self.assertRaises(psycopg2.IntegrityError):
            await self.pool.execute("INSERT INTO things VALUES ('a')")

    async def test_prepared_statement(self) -> None:
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

    async def test_prepared_statement_after_a_change_of_its_table(self) -> None:
        await self.pool.execute("CREATE TABLE things (name text)")
        await self.pool.execute("INSERT INTO things VALUES ('1')")
        look = PreparedStatement("SELECT name FROM things WHERE name = %s::text")
        self.assertEqual(await self.pool.query(look, ("1",)), [("1",)])
        await self.pool.execute("ALTER TABLE things ALTER name TYPE varchar(9)")
        self.assertEqual(await self.pool.query(look, ("1",)), [("1",)])
        await self.pool.execute("DEALLOCATE ALL")
        self.assertEqual(await self.pool.query(look, ("1",)), [("1",)])

    async def test_long_statement(self) -> None:
        """A statement that does not fit into the socket's buffer, and a result that arrives in many parts."""
        text = "x" * 5_000_000
        self.assertEqual(await self.pool.query("SELECT %s", (text,)), [(text,)])

    async def test_statement_timeout(self) -> None:
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


class ConnectTests(TestCase):
    async def test_host_name(self) -> None:
        pool = Pool(reactor, "postgresql://localhost:1/x")
        pool.startService()
        await until(lambda: pool._logged_state is False)
        with self.assertRaisesRegex(StoreUnavailable, "refused"):
            await pool.query("SELECT 1")
        await pool.stopService()

    async def test_host_name_with_several_addresses(self) -> None:
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

    async def test_connect_timeout(self) -> None:
        port = reactor.listenTCP(0, Factory.forProtocol(Protocol), interface="127.0.0.1")  # type: ignore[attr-defined]
        self.addCleanup(port.stopListening)
        pool = Pool(reactor, f"host=127.0.0.1 port={port.getHost().port} dbname=x", connect_timeout=0.1)
        pool.startService()
        await until(lambda: pool._logged_state is False)
        with self.assertRaisesRegex(StoreUnavailable, r"no connection within 0\.1 s"):
            await pool.query("SELECT 1")
        await pool.stopService()
