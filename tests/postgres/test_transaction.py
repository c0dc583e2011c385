"""Tests of voxrec.postgres.transaction, through a pool."""

import contextlib

import psycopg2

from tests.database import DatabaseTestCase
from voxrec.postgres.transaction import Transaction


class TransactionTests(DatabaseTestCase):
    async def test_transaction_is_committed_or_rolled_back(self) -> None:
        await self.pool.execute("CREATE TABLE things (name text)")

        async def work(transaction: Transaction) -> str:
            await transaction.execute("INSERT INTO things VALUES ('a')")
            return "done"

        async def fail(transaction: Transaction) -> None:
            await transaction.execute("INSERT INTO things VALUES ('b')")
            raise KeyError("changed my mind")

        self.assertEqual(await self.pool.transaction(work), "done")
        with self.assertRaises(KeyError):
            await self.pool.transaction(fail)
        self.assertEqual(await self.pool.query("SELECT name FROM things"), [("a",)])

    async def test_ignored_error_prevents_the_commit(self) -> None:
        async def ignore_error(transaction: Transaction) -> None:
            with contextlib.suppress(psycopg2.ProgrammingError):
                await transaction.execute("INSERT INTO nowhere VALUES (1)")

        with self.assertRaisesRegex(RuntimeError, "nothing was committed"):
            await self.pool.transaction(ignore_error)
        self.assertEqual(await self.pool.query("SELECT 1"), [(1,)])

    async def test_final_statements_are_sent_with_the_commit(self) -> None:
        await self.pool.execute("CREATE TABLE things (name text)")

        async def work(transaction: Transaction) -> None:
            await transaction.execute("INSERT INTO things VALUES (%s)", ("a",))
            await transaction.execute_at_commit("INSERT INTO things VALUES (%s)", ("b",))
            await transaction.execute_at_commit("INSERT INTO things VALUES (%s)", ("c",))
            self.assertEqual(await transaction.query("SELECT name FROM things"), [("a",)])

        await self.pool.transaction(work)
        self.assertEqual(await self.pool.query("SELECT name FROM things"), [("a",), ("b",), ("c",)])

    async def test_only_final_statements(self) -> None:
        await self.pool.execute("CREATE TABLE things (name text UNIQUE)")

        async def work(transaction: Transaction) -> None:
            await transaction.execute_at_commit("INSERT INTO things VALUES ('a')")

        await self.pool.transaction(work)
        with self.assertRaises(psycopg2.IntegrityError):
            await self.pool.transaction(work)
        self.assertEqual(await self.pool.query("SELECT name FROM things"), [("a",)])

    async def test_empty_transaction(self) -> None:
        async def work(_: Transaction) -> int:
            return 1

        self.assertEqual(await self.pool.transaction(work), 1)
