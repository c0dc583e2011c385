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
from voxrec.postgres.dsn import describe_dsn, servers
from voxrec.postgres.requirements import REQUIREMENTS, connect, pending_migrations, server_time
from voxrec.postgres.schema_version import newer_migrations
from voxrec.postgres.server_status import ServerStatus, current_primary, inspect_servers

_MAX_BEHIND: Final = 16 * 2**20  # bytes: a segment of the write-ahead log
_MAX_CLOCK_DIFFERENCE: Final = 5.0  # seconds
_CONNECT_REMEDY: Final = (
    "start PostgreSQL; check host, port, user, password and name of the database in database.dsn, and pg_hba.conf"
)


def check_database(config: Config) -> Iterator[Finding]:
    """Check that PostgreSQL responds and is suitable."""
    try:
        dsn = str(config.database.dsn) or dsn_of_running_server(Path(config.data_directory, "postgres"))
        connection = connect(dsn)
    except VoxrecError as error:
        yield failed(
            "database", error.detail, _CONNECT_REMEDY if config.database.dsn else "start the daemon, which runs it"
        )
        return
    yield ok("database", describe_dsn(dsn))
    yield from _check_servers(dsn)
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


def _check_servers(dsn: str) -> Iterator[Finding]:
    """Check that one server accepts writes, and that a standby has received nearly everything."""
    if len(servers(dsn)) == 1:
        return
    statuses = inspect_servers(dsn)
    primary = current_primary(statuses)
    for status in statuses:
        name = f"database server {status.server}"
        if status.problem:
            yield warning(name, status.problem, "start it; without a standby there is no failover")
        elif status.accepts_writes and status is not primary:
            yield failed(name, "accepts writes, but is a former primary", "stop it, and make it a standby")
        elif status.accepts_writes:
            timeline = f", timeline {status.identity.timeline}" if status.identity else ""
            yield ok(name, f"primary{timeline}")
        elif not status.standby:
            yield warning(name, "is read-only, but no standby", "turn default_transaction_read_only off")
        else:
            yield _check_standby(name, status, primary)


def _check_standby(name: str, standby: ServerStatus, primary: ServerStatus | None) -> Finding:
    if primary is None or primary.position is None or standby.position is None:
        return warning(name, "a standby that receives nothing", "check primary_conninfo, and the log of PostgreSQL")
    behind = max(0, primary.position - standby.position)
    if behind > _MAX_BEHIND:
        return warning(
            name,
            f"a standby, {behind:,} bytes behind",
            "check that it is connected to the primary (pg_stat_replication), and its disk and network",
        )
    return ok(name, f"standby, {behind:,} bytes behind")


def _check_migrations(dsn: str, newer: list[str]) -> Finding:
    name = "database migrations"
    if newer:
        return warning(name, f"the schema is newer than this version: {', '.join(newer)}", "install the newer version")
    if pending := pending_migrations(dsn):
        return warning(name, f"{len(pending)} are pending", "start this version of the daemon, which applies them")
    return ok(name, "the schema is that of this version")
