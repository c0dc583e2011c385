"""Tests of voxrec.postgres.direct_connection, and of what it relies on in txpostgres.

If `TxpostgresContractTests` fail after an upgrade of txpostgres, direct_connection must be reviewed.
"""

import inspect
from typing import Any, cast

import psycopg2.extensions
from psycopg2.extensions import TRANSACTION_STATUS_IDLE
from twisted.internet.interfaces import IReactorFDSet
from twisted.python.failure import Failure
from txpostgres.txpostgres import Connection as TxConnection

from tests.database import DatabaseTestCase, reactor, until
from voxrec.postgres.direct_connection import DirectConnection, one_line


class _ListCooperator:
    """Keeps iterators instead of running them."""

    def __init__(self) -> None:
        self.iterators: list[Any] = []

    def cooperate(self, iterator: Any) -> None:
        self.iterators.append(iterator)


class TxpostgresContractTests(DatabaseTestCase):
    """What DirectConnection relies on in txpostgres."""

    def is_read(self, connection: TxConnection) -> bool:
        return connection in cast("IReactorFDSet", reactor).getReaders()

    def test_signatures(self) -> None:
        for method, parameters in (
            ("__init__", ["self", "reactor", "cooperator", "detector"]),
            ("pollable", ["self"]),
            ("connect", ["self", "args", "kwargs"]),
            ("close", ["self"]),
            ("continuePolling", ["self", "swallowErrors"]),
            ("checkForNotifies", ["self"]),
            ("addNotifyObserver", ["self", "observer"]),
            ("fileno", ["self"]),
            ("doRead", ["self"]),
            ("doWrite", ["self"]),
            ("connectionLost", ["self", "reason"]),
        ):
            with self.subTest(method):
                self.assertEqual(list(inspect.signature(getattr(TxConnection, method)).parameters), parameters)

    def test_no_attribute_of_txpostgres_is_overwritten(self) -> None:
        """An attribute that a new version of txpostgres gives another meaning would have the same name by accident."""
        own = vars(DirectConnection(reactor)).keys() - vars(TxConnection(reactor)).keys()
        self.assertEqual(own, {"_descriptor", "_readable", "_result", "_watched_for_writing"})
        inherited = {
            name for name in vars(DirectConnection) if not name.startswith("__") and hasattr(TxConnection, name)
        }
        self.assertEqual(inherited, {"fileno", "doRead", "doWrite", "connectionLost"})

    async def test_connect_returns_an_idle_asynchronous_psycopg2_connection(self) -> None:
        connection = TxConnection(reactor)
        self.assertIsNone(connection.pollable())
        await connection.connect(self.dsn)
        self.addCleanup(connection.close)
        raw = connection.pollable()
        self.assertIsInstance(raw, psycopg2.extensions.connection)
        self.assertTrue(raw.async_)
        self.assertEqual(raw.get_transaction_status(), TRANSACTION_STATUS_IDLE)
        self.assertEqual(connection.fileno(), raw.fileno())
        self.assertTrue(self.is_read(connection))

    async def test_after_removal_from_the_reactor_it_polls_no_more(self) -> None:
        connection = TxConnection(reactor)
        await connection.connect(self.dsn)
        self.addCleanup(connection.close)
        cast("IReactorFDSet", reactor).removeReader(connection)
        cursor = connection.pollable().cursor()
        cursor.execute("SELECT 1")
        await until(lambda: connection.pollable().poll() == psycopg2.extensions.POLL_OK)
        self.assertEqual(cursor.fetchall(), [(1,)])
        self.assertFalse(self.is_read(connection))

    async def test_close_calls_connection_lost(self) -> None:
        lost: list[Failure] = []

        class Subclass(TxConnection):  # type: ignore[misc]
            def connectionLost(self, reason: Failure) -> None:
                lost.append(reason)

        connection = Subclass(reactor)
        await connection.connect(self.dsn)
        connection.close()
        self.assertEqual(len(lost), 1)
        self.assertTrue(connection.pollable().closed)
        self.assertFalse(self.is_read(connection))
        connection.close()  # allowed

    async def test_notifications_are_delivered_by_the_cooperator(self) -> None:
        cooperator = _ListCooperator()
        connection = TxConnection(reactor, cooperator=cooperator)
        await connection.connect(self.dsn)
        self.addCleanup(connection.close)
        received: list[Any] = []
        connection.addNotifyObserver(received.append)
        await connection.runOperation("LISTEN news")
        await self.pool.execute("NOTIFY news, 'hello'")
        await until(lambda: cooperator.iterators)
        self.assertEqual(received, [])
        for _ in cooperator.iterators[0]:
            pass
        self.assertEqual([(each.channel, each.payload) for each in received], [("news", "hello")])
        self.assertEqual(connection.pollable().notifies, [])


class DirectConnectionTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.reasons: list[str] = []
        self.connection = DirectConnection(reactor)
        self.patch(self.connection, "on_closed", self.reasons.append)
        await self.connection.connect(self.dsn)
        self.connection.take_over_socket()

    async def tearDown(self) -> None:  # type: ignore[override]
        self.connection.close()
        self.connection.release_socket()
        await super().tearDown()

    async def run_statement(self, sql: str, *params: object) -> list[Any]:
        cursor, result = self.connection.send(sql, params)
        await result
        return cast("list[Any]", cursor.fetchall())

    async def test_statements(self) -> None:
        self.assertEqual(await self.run_statement("SELECT %s, 2", "one"), [("one", 2)])
        self.assertFalse(self.connection.is_executing)
        long = "x" * 5_000_000  # does not fit into the socket's buffer
        self.assertEqual(await self.run_statement("SELECT %s", long), [(long,)])

    async def test_error_of_a_statement(self) -> None:
        with self.assertRaises(psycopg2.ProgrammingError):
            await self.run_statement("SELECT nothing")
        self.assertEqual(await self.run_statement("SELECT 1"), [(1,)])
        self.assertEqual(self.reasons, [])

    async def test_notifications_between_statements(self) -> None:
        received: list[str] = []
        self.connection.addNotifyObserver(lambda notification: received.append(notification.payload))
        _, listening = self.connection.send("LISTEN news", ())
        await listening
        await self.pool.execute("NOTIFY news, 'one'")
        await self.pool.execute("NOTIFY news, 'two'")
        await until(lambda: received == ["one", "two"])

    async def test_server_ends_an_idle_connection(self) -> None:
        ((pid,),) = await self.run_statement("SELECT pg_backend_pid()")
        await self.pool.query("SELECT pg_terminate_backend(%s)", (pid,))
        await until(lambda: self.reasons)
        self.assertTrue(self.connection.pollable().closed)
        self.assertRegex(self.reasons[0], "terminating connection|closed the connection")

    async def test_server_ends_the_connection_during_a_statement(self) -> None:
        ((pid,),) = await self.run_statement("SELECT pg_backend_pid()")
        _, result = self.connection.send("SELECT pg_sleep(10)", ())
        await self.pool.query("SELECT pg_terminate_backend(%s)", (pid,))
        with self.assertRaises(psycopg2.OperationalError):
            await result

    async def test_close_during_a_statement(self) -> None:
        _, result = self.connection.send("SELECT pg_sleep(10)", ())
        self.connection.close()
        with self.assertRaisesRegex(Exception, "closed cleanly"):
            await result
        self.assertEqual(len(self.reasons), 1)

    async def test_another_socket_with_the_same_number_is_not_watched(self) -> None:
        """The reactor watches a duplicate, which stays open when libpq closes its socket."""
        self.assertNotEqual(self.connection.fileno(), self.connection.pollable().fileno())
        self.connection.pollable().close()
        self.assertGreaterEqual(self.connection.fileno(), 0)

    def test_message_on_one_line(self) -> None:
        self.assertEqual(one_line(ValueError("a\n  b\n")), "a b")
        self.assertEqual(one_line(ValueError()), "ValueError")
