"""Checks that a PostgreSQL database is one that voxrec can use. Blocking: call from a thread.

Each check says in words what is wrong and what to do. None of the conditions is final: an administrator can grant a
privilege, or promote a standby, while voxrec runs and tries again.
"""

import re
import select
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple
from uuid import uuid4

import psycopg2
from psycopg2.extensions import connection as BlockingConnection
from psycopg2.sql import SQL, Identifier

from voxrec.errors import StoreUnavailable
from voxrec.postgres.direct_connection import one_line
from voxrec.postgres.server_status import primary_dsn

MIGRATIONS: Final = Path(__file__).parent / "migrations"
OLDEST_VERSION: Final = 14
CONNECT_TIMEOUT: Final = 10  # seconds
_NOTIFY_TIMEOUT: Final = 5.0  # seconds
_FIRST_MIGRATION: Final = "0001.initial"


class UnsuitableDatabase(StoreUnavailable):
    """PostgreSQL responds, but voxrec cannot use this database. The detail names the remedy."""


class Requirement(NamedTuple):
    """A condition that a database must meet.

    ``check(dsn, connection)`` returns what it found, for people, or raises `UnsuitableDatabase`.
    """

    name: str
    check: Callable[[str, BlockingConnection], str]


def connect(dsn: str) -> BlockingConnection:
    """Open a blocking connection to the primary that commits each statement and encodes text as UTF-8.

    Raises StoreUnavailable if PostgreSQL cannot be reached.
    """
    try:
        connection = psycopg2.connect(primary_dsn(dsn), connect_timeout=CONNECT_TIMEOUT, client_encoding="UTF8")
    except psycopg2.Error as error:
        raise StoreUnavailable(f"cannot connect: {one_line(error)}") from error
    connection.autocommit = True
    return connection


def check_requirements(dsn: str) -> None:
    """Check all `REQUIREMENTS`. Raises StoreUnavailable; the first one that is not met is an `UnsuitableDatabase`."""
    try:
        with closing(connect(dsn)) as connection:
            for requirement in REQUIREMENTS:
                requirement.check(dsn, connection)
    except psycopg2.Error as error:
        raise StoreUnavailable(f"the database could not be examined: {one_line(error)}") from error


def pending_migrations(dsn: str) -> list[str]:
    """Return the migrations of this version that have not been applied yet. Raises StoreUnavailable."""
    with closing(connect(dsn)) as connection:
        return sorted(_own_migrations() - _applied_migrations(connection))


def server_time(connection: BlockingConnection) -> float:
    """Return the clock of the server, in seconds since 1970."""
    (seconds,) = _row(connection, "SELECT extract(epoch FROM clock_timestamp())")
    return float(seconds)


def _check_version(_dsn: str, connection: BlockingConnection) -> str:
    (version,) = _row(connection, "SHOW server_version")
    if connection.server_version < OLDEST_VERSION * 10_000:
        raise UnsuitableDatabase(
            f"the server has version {version}, but voxrec needs PostgreSQL {OLDEST_VERSION} or later: upgrade it, or "
            "leave database.dsn empty to use the embedded PostgreSQL"
        )
    return f"PostgreSQL {version}"


def _check_encoding(_dsn: str, connection: BlockingConnection) -> str:
    encoding, database = _row(connection, "SELECT current_setting('server_encoding'), current_database()")
    if encoding != "UTF8":
        raise UnsuitableDatabase(
            f"the database {database} has the encoding {encoding}, in which names such as Jürgen cannot be stored "
            "correctly, but voxrec needs UTF8: create another one (CREATE DATABASE ... ENCODING 'UTF8' TEMPLATE "
            "template0) and name it in database.dsn"
        )
    return "UTF8"


def _check_writable(_dsn: str, connection: BlockingConnection) -> str:
    standby, read_only = _row(connection, "SELECT pg_is_in_recovery(), current_setting('transaction_read_only')")
    if standby:
        raise UnsuitableDatabase(
            "the server is a standby and therefore read-only: name the primary in database.dsn, or several hosts with "
            "target_session_attrs=read-write, or promote the standby"
        )
    if read_only == "on":
        raise UnsuitableDatabase(
            "transactions are read-only: turn default_transaction_read_only off for this database and role"
        )
    return "read-write"


def _check_owner(_dsn: str, connection: BlockingConnection) -> str:
    (database,) = _row(connection, "SELECT current_database()")
    applied = _applied_migrations(connection)
    if _FIRST_MIGRATION in applied:
        return f"database {database} with {len(applied & _own_migrations())} of {len(_own_migrations())} migrations"
    tables = [name for name in _own_tables() if _row(connection, "SELECT to_regclass(%s)", name)[0]]
    if applied or tables:
        found = f"the table {tables[0]}" if tables else f"the migration {min(applied)}"
        raise UnsuitableDatabase(
            f"the database {database} belongs to another program: it contains {found}, which is not voxrec's; name a "
            "database of its own in database.dsn"
        )
    return f"database {database}, empty"


def _check_privileges(_dsn: str, connection: BlockingConnection) -> str:
    user, database, schema = _row(connection, "SELECT current_user, current_database(), current_schema()")
    if schema is None:
        raise UnsuitableDatabase(
            f"no schema of the search_path of {user} exists in the database {database}: CREATE SCHEMA, or ALTER ROLE "
            f"{user} SET search_path"
        )
    pending = _own_migrations() - _applied_migrations(connection)
    if pending and not _row(connection, "SELECT has_schema_privilege(%s, 'CREATE')", schema)[0]:
        raise UnsuitableDatabase(
            f"the role {user} may not create tables in the schema {schema} of the database {database}: GRANT CREATE ON "
            f"SCHEMA {schema} TO {user}, or make the role the owner of the database (since PostgreSQL 15, other roles "
            "need this)"
        )
    for table in _own_tables():
        missing = _missing_privileges(connection, table)
        if missing:
            raise UnsuitableDatabase(
                f"the role {user} lacks privileges on the table {table} of the database {database}: GRANT "
                f"{', '.join(missing)} ON ALL TABLES IN SCHEMA {schema} TO {user}"
            )
    return f"role {user}, schema {schema}"


def _check_notifications(dsn: str, connection: BlockingConnection) -> str:
    channel, token = f"voxrec_check_{uuid4().hex}", uuid4().hex
    started = time.monotonic()
    with closing(connect(dsn)) as listening:
        listening.cursor().execute(SQL("LISTEN {}").format(Identifier(channel)))
        connection.cursor().execute("SELECT pg_notify(%s, %s)", (channel, token))
        while not any(each.payload == token for each in listening.notifies):
            remaining = started + _NOTIFY_TIMEOUT - time.monotonic()
            if remaining <= 0:
                listening.cursor().execute(SQL("UNLISTEN {}").format(Identifier(channel)))
                raise UnsuitableDatabase(
                    "notifications (LISTEN/NOTIFY) do not arrive, so changes of Profiles, tokens and jobs would go "
                    "unnoticed. PgBouncer in transaction or statement mode does this: set pool_mode = session for "
                    "voxrec's database, or connect to PostgreSQL directly"
                )
            select.select([listening], [], [], remaining)
            listening.poll()
    return f"delivered in {(time.monotonic() - started) * 1000:.0f} ms"


REQUIREMENTS: Final = (
    Requirement("version", _check_version),
    Requirement("encoding", _check_encoding),
    Requirement("writable", _check_writable),
    Requirement("schema", _check_owner),
    Requirement("privileges", _check_privileges),
    Requirement("notifications", _check_notifications),
)
"""The conditions, in the order in which they are checked."""


def _row(connection: BlockingConnection, sql: str, *params: object) -> tuple[Any, ...]:
    with connection.cursor() as cursor:
        cursor.execute(sql, params or None)
        (row,) = cursor.fetchall()
        return tuple(row)


def _missing_privileges(connection: BlockingConnection, table: str) -> list[str]:
    exists, *allowed = _row(
        connection,
        "SELECT found IS NOT NULL, has_table_privilege(found, 'SELECT'), has_table_privilege(found, 'INSERT'),"
        " has_table_privilege(found, 'UPDATE'), has_table_privilege(found, 'DELETE') FROM to_regclass(%s) AS found",
        table,
    )
    names = ("SELECT", "INSERT", "UPDATE", "DELETE")
    return [name for name, granted in zip(names, allowed, strict=True) if exists and not granted]


def _applied_migrations(connection: BlockingConnection) -> set[str]:
    """Return the names of the migrations that yoyo has applied to this schema."""
    (table,) = _row(connection, "SELECT to_regclass('_yoyo_migration')")
    if table is None:
        return set()
    try:
        with connection.cursor() as cursor:
            cursor.execute("SELECT migration_id FROM _yoyo_migration")
            return {name for (name,) in cursor.fetchall()}
    except psycopg2.errors.InsufficientPrivilege as error:
        raise UnsuitableDatabase(
            "the role may not read the table _yoyo_migration: grant it the privileges on all tables, or use the role "
            "that created them"
        ) from error


@cache
def _own_migrations() -> frozenset[str]:
    return frozenset(path.stem for path in MIGRATIONS.glob("*.sql") if not path.stem.endswith(".rollback"))


@cache
def _own_tables() -> tuple[str, ...]:
    return tuple(dict.fromkeys(_created_tables()))


def _created_tables() -> Iterator[str]:
    for name in sorted(_own_migrations()):
        text = (MIGRATIONS / f"{name}.sql").read_text(encoding="utf-8")
        yield from re.findall(r"^\s*CREATE (?:UNLOGGED )?TABLE (?:IF NOT EXISTS )?(\w+)", text, re.MULTILINE)
