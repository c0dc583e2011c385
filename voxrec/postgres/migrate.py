"""Schema migrations. Blocking: call from a thread."""

from contextlib import closing
from typing import Final
from urllib.parse import urlencode

import psycopg2
from psycopg2.extensions import parse_dsn
from twisted.logger import Logger
from yoyo import get_backend, read_migrations

from voxrec.errors import StoreUnavailable
from voxrec.postgres.direct_connection import one_line
from voxrec.postgres.requirements import (
    CONNECT_TIMEOUT,
    MIGRATIONS,
    UnsuitableDatabase,
    check_requirements,
    connect,
)
from voxrec.postgres.schema_version import newer_migrations
from voxrec.postgres.server_status import primary_dsn

_ADVISORY_LOCK: Final = 0x766F78726563  # "voxrec" in ASCII
_log: Final = Logger()


def migrate(dsn: str) -> None:
    """Check that voxrec can use the database, and apply the pending migrations.

    If several daemons start at once, one applies them and the others wait. Raises StoreUnavailable, with the remedy if
    there is one, if PostgreSQL cannot be reached, or the database is not suitable.
    """
    dsn = primary_dsn(dsn)
    # first of all: behind a pooler that assigns another session to each statement, the lock would never be released
    check_requirements(dsn)
    with closing(connect(dsn)) as connection:
        newer = newer_migrations(connection)
    if newer:
        _log.warn(
            "the schema of the database is newer than this version of voxrec: it contains {migrations}. A version works"
            " with the schema of the next one; install that one if statements fail",
            migrations=", ".join(newer),
        )
    try:
        with closing(connect(dsn)) as connection:
            connection.cursor().execute("SELECT pg_advisory_lock(%s)", (_ADVISORY_LOCK,))
            _apply(dsn)
    except psycopg2.errors.InsufficientPrivilege as error:
        raise UnsuitableDatabase(
            f"the role lacks a privilege to update the schema: {one_line(error)}; grant it, or make the role the owner "
            "of voxrec's tables"
        ) from error
    except psycopg2.Error as error:
        raise StoreUnavailable(f"the schema migrations could not be applied: {one_line(error)}") from error


def _apply(dsn: str) -> None:
    with get_backend(yoyo_uri(dsn)) as backend:
        # yoyo's own lock is a row that a killed process leaves behind; the advisory lock ends with its session.
        backend.break_lock()
        backend.apply_migrations(backend.to_apply(read_migrations(str(MIGRATIONS))))


def yoyo_uri(dsn: str) -> str:
    """Return a connection string as yoyo needs it.

    yoyo parses URIs itself and does not know all of libpq's forms, but passes the query part to psycopg2 unchanged.
    """
    parameters = {"connect_timeout": str(CONNECT_TIMEOUT), **parse_dsn(dsn), "client_encoding": "UTF8"}
    return f"postgresql:///?{urlencode(parameters)}"
