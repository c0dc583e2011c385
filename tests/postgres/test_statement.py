"""Tests of voxrec.postgres.statement."""

from uuid import UUID, uuid4

from tests.database import DatabaseTestCase
from voxrec.postgres.statement import PreparedStatement


class PreparedStatementTests(DatabaseTestCase):
    def test_statements(self) -> None:
        statement = PreparedStatement("SELECT %s, %s")
        self.assertEqual(statement, "SELECT %s, %s")
        self.assertEqual(statement.prepare_sql, f"PREPARE {statement.name} AS SELECT $1, $2")
        self.assertEqual(statement.execute_sql, f"EXECUTE {statement.name} (%s, %s)")

    async def test_a_statement_without_parameters(self) -> None:
        statement = PreparedStatement("SELECT 1")
        for _ in range(2):
            self.assertEqual(await self.pool.query(statement), [(1,)])

    def test_names_are_unique(self) -> None:
        self.assertNotEqual(PreparedStatement("SELECT 1").name, PreparedStatement("SELECT 1").name)


class TypeTests(DatabaseTestCase):
    async def test_uuids(self) -> None:
        ids = [uuid4(), uuid4()]
        rows = await self.pool.query("SELECT %s::uuid, %s::uuid[], NULL::uuid", (ids[0], ids))
        self.assertEqual(rows, [(ids[0], ids, None)])
        self.assertIsInstance(rows[0][0], UUID)

    async def test_jsonb(self) -> None:
        self.assertEqual(await self.pool.query("""SELECT '{"a": [1, null]}'::jsonb"""), [({"a": [1, None]},)])
