"""What the subcommands share: the --config option, the database of the daemon, and audit entries."""

import getpass
import os
import pwd
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Final
from uuid import UUID, uuid4

import click

from voxrec import config
from voxrec.errors import FieldError, VoxrecError
from voxrec.model import AuditEntry, AuditOutcome
from voxrec.postgres.blocking_database import BlockingDatabase, blocking_transaction
from voxrec.postgres.cluster import dsn_of_running_server

DEFAULT_CONFIG: Final = Path("/etc/voxrec/voxrec.yaml")

config_option = click.option(
    "--config",
    "config_file",
    type=click.Path(path_type=Path),
    default=DEFAULT_CONFIG,
    show_default=True,
    help="Path of the settings file of the daemon.",
)


listen_live_option = click.option(
    "--listen-live", is_flag=True, help="Permit listening to live calls, which no role includes."
)


@contextmanager
def daemon_database(config_file: Path) -> Iterator[BlockingDatabase]:
    """Run the block in one transaction on the database of the daemon.

    Raises `click.ClickException` with the detail of any `VoxrecError`, and rolls the transaction back.
    """
    try:
        settings = config.load(config_file, sections={"database"})
        dsn = str(settings.database.dsn) or dsn_of_running_server(Path(settings.data_directory, "postgres"))
        with blocking_transaction(dsn, _warn) as database:
            yield database
    except VoxrecError as error:
        field_errors: tuple[FieldError, ...] = getattr(error, "field_errors", ())
        lines = [error.detail, *(f"  {field_error}" for field_error in field_errors)]
        raise click.ClickException("\n".join(lines)) from error


def _warn(text: str) -> None:
    click.echo(f"warning: {text}", err=True)


def now() -> datetime:
    """Return the current time in UTC."""
    return datetime.now(UTC)


def audit_entry_for_command(command: str, kind: str, target_id: UUID | None = None) -> AuditEntry:
    """Return the audit entry of a change by a command; insert it in the transaction of the change.

    ``kind`` is the type of the changed object, such as ``token``; without ``target_id``, all of them.
    """
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


def parse_time(text: str) -> datetime:
    """Parse a date, which means midnight UTC, or a date and time with a UTC offset."""
    try:
        parsed = datetime.fromisoformat(text)
    except ValueError:
        parsed = None
    if parsed is not None and len(text) == len("2027-01-31"):
        return parsed.replace(tzinfo=UTC)
    if parsed is None or parsed.tzinfo is None:
        raise click.BadParameter(f"invalid date {text!r}; expected 2027-01-31 or 2027-01-31T18:00:00+01:00")
    return parsed.astimezone(UTC)


def require_owner(archive: Path) -> None:
    """Raise ClickException unless this user owns the archive: the daemon could not read the files of another one."""
    owner = archive.stat().st_uid
    if owner != os.geteuid():
        user = pwd.getpwuid(owner).pw_name
        raise click.ClickException(
            f"{archive} belongs to {user}: run the command as {user}, for example with runuser -u {user} --"
        )
