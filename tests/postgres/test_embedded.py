"""Tests of voxrec.postgres.embedded, with real servers."""

from contextlib import closing
from pathlib import Path

import psycopg2
from twisted.trial.unittest import TestCase

from tests.database import reactor, until
from tests.temporary import temporary_directory
from voxrec.errors import StoreUnavailable
from voxrec.postgres.cluster import processes_in
from voxrec.postgres.embedded import EmbeddedPostgres
from voxrec.sandbox.postgres_account import prepare_postgres_directory


class EmbeddedPostgresTests(TestCase):
    def setUp(self) -> None:
        self.directory = temporary_directory("embedded")

    async def start(self, directory: Path) -> EmbeddedPostgres:
        prepare_postgres_directory(directory)
        server = EmbeddedPostgres(reactor, directory)
        await server.startService()
        self.addCleanup(server.stopService)
        return server

    def query(self, server: EmbeddedPostgres, sql: str) -> object:
        with closing(psycopg2.connect(server.dsn)) as connection, connection.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchone()

    async def test_data_survives_a_restart(self) -> None:
        directory = self.directory / "new"
        server = await self.start(directory)
        with closing(psycopg2.connect(server.dsn)) as connection, connection, connection.cursor() as cursor:
            cursor.execute("CREATE TABLE kept AS SELECT 'Ü' AS what")
        self.assertEqual(
            self.query(server, "SELECT current_setting('listen_addresses'), current_setting('fsync'), lower('Ü')"),
            ("", "on", "ü"),
        )
        self.assertEqual((directory / "run").stat().st_mode & 0o777, 0o700)
        await server.stopService()
        self.assertEqual(processes_in(directory / "cluster"), [])
        restarted = await self.start(directory)
        self.assertEqual(self.query(restarted, "SELECT what FROM kept"), ("Ü",))

    async def test_server_is_restarted_when_it_dies(self) -> None:
        server = await self.start(self.directory)
        process = server._cluster._process
        assert process is not None
        process.kill()
        process.wait()
        await until(lambda: server._cluster._process is not process)
        server._cluster.wait_until_ready()
        self.assertEqual(self.query(server, "SELECT 1"), (1,))

    async def test_start_failure_includes_the_server_log(self) -> None:
        server = await self.start(self.directory)
        await server.stopService()
        (self.directory / "cluster" / "PG_VERSION").write_text("9.6\n")
        with self.assertRaisesRegex(StoreUnavailable, r"(?s)did not start.*incompatible.*9\.6"):
            await EmbeddedPostgres(reactor, self.directory).startService()
