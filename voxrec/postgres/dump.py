"""Dumps a database to a file, and restores it, with pg_dump and pg_restore of the embedded PostgreSQL. Blocking."""

import os
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Final

import psycopg2
from psycopg2.extensions import ISOLATION_LEVEL_REPEATABLE_READ, parse_dsn
from psycopg2.extensions import connection as BlockingConnection

from voxrec.errors import StoreUnavailable
from voxrec.postgres.cluster import programs_directory
from voxrec.postgres.direct_connection import one_line
from voxrec.postgres.server_status import primary_dsn

_SERVICE: Final = "voxrec"
_TABLES: Final = """
    SELECT count(*) FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'p', 'v')
"""
# Objects that belong to an extension cannot be dropped, and none of voxrec's do. A function that depends on another
# object is gone with it; therefore each step looks for what is left.
_DROP_EVERYTHING: Final = """
DO $$
DECLARE
    statement text;
BEGIN
    LOOP
        SELECT format('DROP TABLE %I.%I CASCADE', schemaname, tablename) INTO statement FROM pg_tables
        WHERE schemaname = current_schema()
        LIMIT 1;
        IF NOT FOUND THEN
            SELECT format('DROP FUNCTION %s CASCADE', p.oid::regprocedure) INTO statement FROM pg_proc p
            WHERE p.pronamespace = current_schema()::regnamespace AND p.prokind = 'f'
              AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.objid = p.oid AND d.deptype = 'e')
            LIMIT 1;
        END IF;
        EXIT WHEN NOT FOUND;
        EXECUTE statement;
    END LOOP;
END
$$
"""


@contextmanager
def snapshot(dsn: str) -> Iterator[tuple[BlockingConnection, str]]:
    """Run the block with a connection in a read-only transaction, and the identifier of its snapshot for `dump`.

    Raises StoreUnavailable if PostgreSQL cannot be reached.
    """
    try:
        with closing(psycopg2.connect(primary_dsn(dsn))) as connection:
            connection.set_session(isolation_level=ISOLATION_LEVEL_REPEATABLE_READ, readonly=True)
            with connection.cursor() as cursor:
                cursor.execute("SELECT pg_export_snapshot()")
                [(identifier,)] = cursor.fetchall()
            yield connection, identifier
    except psycopg2.OperationalError as error:
        raise StoreUnavailable(f"PostgreSQL is unavailable: {one_line(error)}") from error


def dump(dsn: str, snapshot_identifier: str, target: Path) -> None:
    """Write the database, as the snapshot shows it, to ``target`` in pg_dump's custom format."""
    options = ["--format=custom", "--no-owner", "--no-privileges", f"--snapshot={snapshot_identifier}"]
    _run("pg_dump", dsn, [*options, f"--file={target}"])


def restore(dsn: str, source: Path) -> None:
    """Restore a dump into an empty database, in one transaction."""
    _run(
        "pg_restore",
        dsn,
        ["--single-transaction", "--exit-on-error", "--no-owner", "--no-privileges", str(source)],
    )


def is_empty(dsn: str) -> bool:
    """Return whether the database has no tables."""
    try:
        with closing(psycopg2.connect(primary_dsn(dsn))) as connection, connection.cursor() as cursor:
            cursor.execute(_TABLES)
            return cursor.fetchall() == [(0,)]
    except psycopg2.OperationalError as error:
        raise StoreUnavailable(f"PostgreSQL is unavailable: {one_line(error)}") from error


def drop_everything(dsn: str) -> None:
    """Drop the tables and functions of the database's current schema."""
    with closing(psycopg2.connect(primary_dsn(dsn))) as connection, connection, connection.cursor() as cursor:
        cursor.execute(_DROP_EVERYTHING)


def _run(program: str, dsn: str, arguments: list[str]) -> None:
    """Run a program of PostgreSQL. The connection string, which may have a password, is in a file and not in ps(1)."""
    with tempfile.TemporaryDirectory(prefix="voxrec-") as directory:
        service_file = Path(directory, "service")
        service_file.touch(mode=0o600)
        settings = "".join(f"{name}={value}\n" for name, value in parse_dsn(primary_dsn(dsn)).items())
        service_file.write_text(f"[{_SERVICE}]\n{settings}")
        completed = subprocess.run(  # noqa: S603
            [str(programs_directory() / program), f"--dbname=service={_SERVICE}", *arguments],
            env={**os.environ, "PGSERVICEFILE": str(service_file)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            check=False,
        )
    if completed.returncode != 0:
        raise StoreUnavailable(f"{program} failed: {completed.stdout.decode(errors='replace').strip()}")
