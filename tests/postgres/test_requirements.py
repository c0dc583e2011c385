"""Tests of voxrec.postgres.requirements on real databases, each with one property that voxrec cannot work with."""

import os
import time
from collections.abc import Callable
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Final

import psycopg2
from psycopg2.extensions import make_dsn, parse_dsn
from psycopg2.sql import SQL, Composable, Identifier
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.database import administer, cluster
from tests.temporary import temporary_directory
from voxrec.errors import StoreUnavailable
from voxrec.postgres import requirements
from voxrec.postgres.cluster import Cluster
from voxrec.postgres.migrate import migrate
from voxrec.postgres.requirements import REQUIREMENTS, UnsuitableDatabase, check_requirements
from voxrec.sandbox.debian_program import PGBOUNCER, program_command
from voxrec.sandbox.postgres_account import prepare_postgres_directory
from voxrec.sandbox.process import Process

_serial: Final = count(1)
# PgBouncer does not run as root, and its program is in a directory that may be root's
_READ_SEARCH: Final = (
    "--securebits", "+no_setuid_fixup", "--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search",
)  # fmt: skip


class RequirementsTestCase(SynchronousTestCase):
    """Creates databases and roles, which are dropped after the test."""

    def create_database(self, options: str = "") -> str:
        """Create an empty database and return its name."""
        name = f"required_{next(_serial)}"
        cluster()
        administer(SQL("CREATE DATABASE {} " + options).format(Identifier(name)))
        self.addCleanup(administer, SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))
        return name

    def create_role(self) -> str:
        """Create a role that may log in and nothing else, and return its name."""
        name = f"restricted_{next(_serial)}"
        cluster()
        administer(SQL("CREATE ROLE {} LOGIN").format(Identifier(name)))
        self.addCleanup(administer, SQL("DROP ROLE {}").format(Identifier(name)))
        return name

    def execute(self, database: str, statement: str | Composable, user: str | None = None) -> None:
        with closing(psycopg2.connect(self.dsn(database, user))) as connection, connection:
            connection.cursor().execute(statement)

    def dsn(self, database: str, user: str | None = None) -> str:
        dsn = cluster().dsn(database)
        return str(make_dsn(dsn, user=user)) if user else dsn

    def assert_unsuitable(self, dsn: str, *words: str) -> None:
        """Assert that the database is refused before anything is created in it, with an error that contains words."""
        for function in (check_requirements, migrate):
            error = self.assertRaises(UnsuitableDatabase, function, dsn)
            for word in words:
                self.assertIn(word, error.detail)
            self.assertNotIn("\n", error.detail)


class RequirementsTests(RequirementsTestCase):
    def test_a_new_database_and_a_migrated_one_are_suitable(self) -> None:
        database = self.create_database()
        check_requirements(self.dsn(database))
        migrate(self.dsn(database))
        check_requirements(self.dsn(database))

    def test_each_requirement_says_what_it_found(self) -> None:
        dsn = self.dsn(self.create_database())
        with closing(requirements.connect(dsn)) as connection:
            found = {each.name: each.check(dsn, connection) for each in REQUIREMENTS}
        self.assertIn("PostgreSQL 18", found["version"])
        self.assertEqual(found["encoding"], "UTF8")
        self.assertRegex(found["notifications"], r"delivered in \d+ ms")

    def test_sql_ascii(self) -> None:
        database = self.create_database("ENCODING 'SQL_ASCII' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0")
        self.assert_unsuitable(self.dsn(database), "SQL_ASCII", "UTF8", "Jürgen")

    def test_latin1(self) -> None:
        database = self.create_database("ENCODING 'LATIN1' LOCALE_PROVIDER libc LOCALE 'C' TEMPLATE template0")
        self.assert_unsuitable(self.dsn(database), "LATIN1", "UTF8")

    def test_client_encoding_of_the_role_and_of_the_environment_are_not_used(self) -> None:
        database = self.create_database()
        administer(SQL("ALTER DATABASE {} SET client_encoding = 'LATIN1'").format(Identifier(database)))
        self.patch(os, "environ", {**os.environ, "PGCLIENTENCODING": "SQL_ASCII"})
        with closing(requirements.connect(self.dsn(database))) as connection:
            self.assertEqual(connection.encoding, "UTF8")

    def test_a_version_that_is_too_old(self) -> None:
        self.patch(requirements, "OLDEST_VERSION", 99)
        self.assert_unsuitable(self.dsn(self.create_database()), "has version 18", "99 or later")

    def test_role_without_create_on_the_schema(self) -> None:
        database, role = self.create_database(), self.create_role()
        dsn = self.dsn(database, role)
        self.assert_unsuitable(dsn, f"role {role}", f"GRANT CREATE ON SCHEMA public TO {role}")
        self.execute(database, SQL("GRANT CREATE ON SCHEMA public TO {}").format(Identifier(role)))
        migrate(dsn)
        # a cleanup that comes before the removal of the role
        self.addCleanup(self.execute, database, SQL("DROP OWNED BY {}").format(Identifier(role)))

    def test_role_without_privileges_on_the_tables(self) -> None:
        database, role = self.create_database(), self.create_role()
        migrate(self.dsn(database))
        self.assert_unsuitable(self.dsn(database, role), "_yoyo_migration")
        self.execute(database, SQL("GRANT SELECT ON ALL TABLES IN SCHEMA public TO {}").format(Identifier(role)))
        self.addCleanup(self.execute, database, SQL("DROP OWNED BY {}").format(Identifier(role)))
        self.assert_unsuitable(self.dsn(database, role), "GRANT INSERT, UPDATE, DELETE ON ALL TABLES")

    def test_schema_of_the_search_path_does_not_exist(self) -> None:
        database, role = self.create_database(), self.create_role()
        administer(SQL("ALTER ROLE {} SET search_path = nowhere").format(Identifier(role)))
        self.assert_unsuitable(self.dsn(database, role), "search_path", "CREATE SCHEMA")

    def test_read_only_transactions(self) -> None:
        database = self.create_database()
        administer(SQL("ALTER DATABASE {} SET default_transaction_read_only = on").format(Identifier(database)))
        self.assert_unsuitable(self.dsn(database), "default_transaction_read_only")

    def test_database_of_another_program(self) -> None:
        database = self.create_database()
        self.execute(database, "CREATE TABLE jobs (id int)")
        self.assert_unsuitable(self.dsn(database), "the table jobs", "belongs to another program", database)

    def test_migrations_of_another_program(self) -> None:
        database = self.create_database()
        self.execute(database, "CREATE TABLE _yoyo_migration AS SELECT '0001.shop' AS migration_id")
        self.assert_unsuitable(self.dsn(database), "the migration 0001.shop", "belongs to another program")

    def test_a_newer_schema_is_reported_and_used(self) -> None:
        database = self.create_database()
        migrate(self.dsn(database))
        self.execute(
            database,
            "INSERT INTO _yoyo_migration (migration_hash, migration_id, applied_at_utc)"
            " VALUES ('x', '9999.of_the_next_version', now())",
        )
        with capturedLogs() as logs:
            migrate(self.dsn(database))
        self.assertEqual([each["migrations"] for each in logs if "migrations" in each], ["9999.of_the_next_version"])

    def test_unreachable_server(self) -> None:
        error = self.assertRaises(StoreUnavailable, check_requirements, "host=127.0.0.1 port=1 dbname=x")
        self.assertNotIsInstance(error, UnsuitableDatabase)


def wait_until(condition: Callable[[], bool]) -> None:
    """Wait for another process."""
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, "timeout"
        time.sleep(0.05)


class StandbyTests(RequirementsTestCase):
    def test_a_standby_is_refused(self) -> None:
        standby = Cluster(short_directory(), {"wal_level": "replica"})
        self.addCleanup(standby.stop)
        standby.prepare()
        standby.launch()  # as a primary first: until then, the WAL is that of initdb, which a standby does not replay
        standby.wait_until_ready()
        standby.stop()
        (standby._data / "standby.signal").touch()
        standby.launch()
        wait_until(lambda: accepts_connections(standby.dsn("postgres")))
        self.assert_unsuitable(standby.dsn("postgres"), "standby", "name the primary")


class PgBouncerTests(RequirementsTestCase):
    """A real PgBouncer in front of the database."""

    def start_pgbouncer(self, database: str, pool_mode: str) -> str:
        """Start PgBouncer and return the connection string of the database behind it."""
        directory = short_directory()
        server = parse_dsn(cluster().dsn(database))
        (directory / "users").write_text(f'"{server["user"]}" ""\n')
        (directory / "pgbouncer.ini").write_text(
            f"[databases]\n{database} = host={server['host']}\n[pgbouncer]\nlisten_addr =\n"
            f"unix_socket_dir = {directory}\nlisten_port = 6432\npool_mode = {pool_mode}\n"
            f"auth_type = trust\nauth_file = {directory / 'users'}\n"
        )
        program = program_command(PGBOUNCER, "usr/sbin/pgbouncer")
        account = []
        if os.geteuid() == 0:
            owner = directory.stat()
            account = [f"--reuid={owner.st_uid}", f"--regid={owner.st_gid}", "--clear-groups", *_READ_SEARCH]
        process = Process(
            ["setpriv", *account, "--pdeathsig", "KILL", "--", *program, str(directory / "pgbouncer.ini")],
            directory / "pgbouncer.log",
        )
        self.addCleanup(process.kill)
        dsn = str(make_dsn(host=str(directory), port=6432, user=server["user"], dbname=database))
        wait_until(lambda: accepts_connections(dsn) or not process.running)
        assert process.running, process.log_tail()
        return dsn

    def test_transaction_pooling_is_refused_before_anything_is_changed(self) -> None:
        database = self.create_database()
        dsn = self.start_pgbouncer(database, "transaction")
        self.patch(requirements, "_NOTIFY_TIMEOUT", 0.5)
        self.assert_unsuitable(dsn, "LISTEN/NOTIFY", "PgBouncer", "pool_mode = session")
        check_requirements(self.dsn(database))  # the database itself is suitable, and still empty

    def test_session_pooling_is_suitable(self) -> None:
        database = self.create_database()
        dsn = self.start_pgbouncer(database, "session")
        migrate(dsn)
        check_requirements(dsn)


def short_directory() -> Path:
    """Return a new directory for sockets and a server: a path of a Unix socket may have 107 bytes at most."""
    directory = temporary_directory("requirements")
    prepare_postgres_directory(directory)
    return directory


def accepts_connections(dsn: str) -> bool:
    """Return whether a client can connect."""
    try:
        psycopg2.connect(dsn, connect_timeout=2).close()
    except psycopg2.OperationalError:
        return False
    return True
