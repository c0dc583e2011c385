"""Compares the schema of a database with the migrations of this version of voxrec. Blocking."""

import re
from importlib.resources import files
from typing import Final

from psycopg2.extensions import connection as BlockingConnection

_NUMBER: Final = re.compile(r"(\d+)\.")
_APPLIED: Final = "SELECT migration_id FROM _yoyo_migration ORDER BY migration_id"


def newer_migrations(connection: BlockingConnection) -> list[str]:
    """Return the migrations in the database that follow the last one of this version. Empty: it is not newer."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT to_regclass('_yoyo_migration') IS NOT NULL")
        if cursor.fetchall() == [(False,)]:
            return []
        cursor.execute(_APPLIED)
        return newer_than_known([name for (name,) in cursor.fetchall()])


def applied_migrations(connection: BlockingConnection) -> list[str]:
    """Return the migrations that were applied to the database."""
    with connection.cursor() as cursor:
        cursor.execute(_APPLIED)
        return [name for (name,) in cursor.fetchall()]


def newer_than_known(applied: list[str]) -> list[str]:
    """Return those of the migrations that follow the last one of this version."""
    migrations = files("voxrec.postgres").joinpath("migrations").iterdir()
    last = max(_number(file.name) for file in migrations)
    return [name for name in applied if _number(name) > last]


def describe_newer(migrations: list[str]) -> str:
    """Return a sentence for an operator about a database with newer migrations."""
    return (
        "the schema of the database is newer than this version of voxrec (it has the migrations "
        f"{', '.join(migrations)}): a later version was used before. Only the version directly before that one works "
        "with it; otherwise install the later version, or restore a backup that this version made"
    )


def _number(name: str) -> int:
    match = _NUMBER.match(name)
    return int(match[1]) if match else 0
