"""Where a command finds the daemon's settings and its database."""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

import click

from voxrec import config
from voxrec.errors import VoxrecError
from voxrec.model import AuditEntry, AuditOutcome
from voxrec.postgres.blocking_database import BlockingDatabase, blocking_transaction
from voxrec.postgres.embedded import dsn_of_running_server

DEFAULT_CONFIG: Final = Path("/etc/voxrec/voxrec.yaml")

config_option = click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    default=DEFAULT_CONFIG,
    show_default=True,
    help="The file with the daemon's settings.",
)


@contextmanager
def daemon_database(file: Path) -> Iterator[BlockingDatabase]:
    """One transaction on the daemon's database; whatever goes wrong on purpose becomes a message."""
    try:
        settings = config.load(file)
        dsn = str(settings.database.dsn) or dsn_of_running_server(Path(settings.data_directory, "postgres"))
        with blocking_transaction(dsn) as database:
            yield database
    except VoxrecError as error:
        field_errors = getattr(error, "field_errors", ())
        raise click.ClickException("\n".join([error.detail, *(f"  {fault}" for fault in field_errors)])) from error


def now() -> datetime:
    """What time it is, in UTC."""
    return datetime.now(UTC)


def by_command(command: str, kind: str, target_id: UUID) -> AuditEntry:
    """The audit entry for what a command does, to be written in the same transaction as that."""
    return AuditEntry(
        id=uuid4(),
        created_at=now(),
        who=getpass.getuser(),
        address="local",
        method="COMMAND",
        path=command,
        kind=kind,
        target_id=target_id,
        outcome=AuditOutcome.DONE,
    )
