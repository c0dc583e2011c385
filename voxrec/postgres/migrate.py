"""Schema migrations. Blocking: call from a thread."""

from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import psycopg2
from psycopg2.extensions import parse_dsn
from yoyo import get_backend, read_migrations

from voxrec.errors import StoreUnavailable

MIGRATIONS: Final = Path(__file__).parent / "migrations"
_ADVISORY_LOCK: Final = 0x766F78726563  # "voxrec" in ASCII


def migrate(dsn: str) -> None:
    """Apply the pending migrations. If several daemons start at once, one applies them and the others wait.

    Raises StoreUnavailable if PostgreSQL cannot be reached.
    """
    try:
        with closing(psycopg2.connect(dsn)) as connection:
            connection.autocommit = True
            connection.cursor().execute("SELECT pg_advisory_lock(%s)", (_ADVISORY_LOCK,))
            _apply(dsn)
    except psycopg2.OperationalError as error:
        raise StoreUnavailable(f"the schema migrations could not be applied: {error}") from error


def _apply(dsn: str) -> None:
    with get_backend(yoyo_uri(dsn)) as backend:
        # yoyo's own lock is a row that a killed process leaves behind; the advisory lock ends with its session.
        backend.break_lock()
        backend.apply_migrations(backend.to_apply(read_migrations(str(MIGRATIONS))))


def yoyo_uri(dsn: str) -> str:
    """Return a connection string as yoyo needs it.

    yoyo parses URIs itself and does not know all of libpq's forms, but passes the query part to psycopg2 unchanged.
    """
    return f"postgresql:///?{urlencode(parse_dsn(dsn))}"
