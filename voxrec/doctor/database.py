"""Checks of PostgreSQL."""

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

from voxrec.config import Config
from voxrec.doctor.finding import Finding, failed, ok, warning
from voxrec.errors import VoxrecError
from voxrec.postgres.cluster import dsn_of_running_server
from voxrec.postgres.dsn import describe_dsn
from voxrec.postgres.requirements import REQUIREMENTS, connect, pending_migrations, server_time
from voxrec.postgres.schema_version import newer_migrations

_MAX_CLOCK_DIFFERENCE: Final = 5.0  # seconds


def check_database(config: Config) -> Iterator[Finding]:
    """Check that PostgreSQL responds and is suitable."""
    try:
        dsn = str(config.database.dsn) or dsn_of_running_server(Path(config.data_directory, "postgres"))
        connection = connect(dsn)
    except VoxrecError as error:
        yield failed(
            "database", error.detail, "start PostgreSQL (the embedded one runs with the daemon), and check database.dsn"
        )
        return
    yield ok("database", describe_dsn(dsn))
    with closing(connection):
        for requirement in REQUIREMENTS:
            name = f"database {requirement.name}"
            try:
                yield ok(name, requirement.check(dsn, connection))
            except VoxrecError as error:
                detail, _, remedy = error.detail.partition(": ")
                yield failed(name, detail, remedy)
                return
        yield _check_migrations(dsn, newer_migrations(connection))
        difference = abs(server_time(connection) - time.time())
    if difference > _MAX_CLOCK_DIFFERENCE:
        yield failed("database clock", f"differs by {difference:.0f} s from this machine's", "synchronize both by NTP")
    else:
        yield ok("database clock", "agrees with this machine's")


def _check_migrations(dsn: str, newer: list[str]) -> Finding:
    name = "database migrations"
    if newer:
        return warning(name, f"the schema is newer than this version: {', '.join(newer)}", "install the newer version")
    if pending := pending_migrations(dsn):
        return warning(name, f"{len(pending)} are pending", "start this version of the daemon, which applies them")
    return ok(name, "the schema is that of this version")
