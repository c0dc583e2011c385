"""Bringing the tables up to date. Blocking: run it in a thread."""

from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import urlencode

import psycopg2
from psycopg2.extensions import parse_dsn
from yoyo import get_backend, read_migrations

from voxrec.errors import StoreUnavailable

_FILES: Final = Path(__file__).parent / "migrations"
_LOCK: Final = 0x766F78726563  # "voxrec": an advisory lock is known by a number


def migrate(dsn: str) -> None:
    """Apply what has not been applied yet. Several daemons may do so at once: one works, the others wait for it.

    StoreUnavailable where PostgreSQL cannot be reached.
    """
    try:
        with closing(psycopg2.connect(dsn)) as connection:
            connection.autocommit = True
            connection.cursor().execute("SELECT pg_advisory_lock(%s)", (_LOCK,))
            _apply(dsn)
    except psycopg2.OperationalError as error:
        raise StoreUnavailable(f"the tables could not be brought up to date: {error}") from error


def _apply(dsn: str) -> None:
    with get_backend(_for_yoyo(dsn)) as backend:
        backend.break_lock()  # yoyo's own lock outlives a killed process; ours does not, and we hold it
        backend.apply_migrations(backend.to_apply(read_migrations(str(_FILES))))


def _for_yoyo(dsn: str) -> str:
    """Yoyo parses URLs by itself, without libpq's forms; but what stands in the query goes to psycopg2 as it is."""
    return f"postgresql:///?{urlencode(parse_dsn(dsn))}"
