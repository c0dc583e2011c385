"""Tests of voxrec.sandbox.replication: PostgreSQL with a standby."""

from contextlib import closing

import psycopg2
from twisted.trial.unittest import SynchronousTestCase

from tests.temporary import temporary_directory
from voxrec.postgres.replication import connected_standbys
from voxrec.sandbox.replication import ReplicatedPostgres

FAST = {"full_page_writes": "off"}


def write(dsn: str, statement: str) -> None:
    with closing(psycopg2.connect(dsn, connect_timeout=5)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(statement)


def read(dsn: str, statement: str) -> list[tuple[object, ...]]:
    with closing(psycopg2.connect(dsn, connect_timeout=5)) as connection, connection.cursor() as cursor:
        cursor.execute(statement)
        return cursor.fetchall()


class ReplicatedPostgresTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.directory = temporary_directory("replication")

    def start(self, *, synchronous: bool) -> ReplicatedPostgres:
        postgres = ReplicatedPostgres(self.directory, FAST, synchronous=synchronous)
        self.addCleanup(postgres.stop)
        postgres.start()
        return postgres

    def test_fail_over_and_rejoin(self) -> None:
        """The same connection string leads to the primary before and after, whichever of the two that is."""
        postgres = self.start(synchronous=True)
        dsn = postgres.dsn()
        write(dsn, "CREATE TABLE numbers AS SELECT 1 AS number")
        with closing(psycopg2.connect(dsn)) as connection:
            (standby,) = connected_standbys(connection)
        self.assertEqual((standby.name, standby.state, standby.synchronous), ("standby", "streaming", True))
        postgres.fail_over()
        write(dsn, "INSERT INTO numbers VALUES (2)")
        postgres.rejoin()
        write(dsn, "INSERT INTO numbers VALUES (3)")
        postgres.fail_over()
        self.assertEqual(read(dsn, "SELECT number FROM numbers ORDER BY number"), [(1,), (2,), (3,)])

    def test_asynchronous_replication_loses_the_last_commits(self) -> None:
        """While the standby is not connected, the primary commits; after a failover these commits do not exist."""
        postgres = self.start(synchronous=False)
        write(postgres.dsn(), "CREATE TABLE numbers AS SELECT 1 AS number")
        postgres.primary.wait_until_replicated()
        postgres.standby.stop()
        write(postgres.dsn(), "INSERT INTO numbers VALUES (2)")
        postgres.primary.kill()
        postgres.standby.start()
        postgres.promote()
        write(postgres.dsn(), "INSERT INTO numbers VALUES (3)")
        self.assertEqual(read(postgres.dsn(), "SELECT number FROM numbers ORDER BY number"), [(1,), (3,)])
