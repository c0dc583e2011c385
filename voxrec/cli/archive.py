"""``voxrec archive``: moves Recordings between the local archive and S3."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from typing import Final
from uuid import uuid4

import click

from voxrec import config
from voxrec.archive.local import LocalArchive
from voxrec.archive.s3_settings import settings_of
from voxrec.cli.context import audit_entry_for_command, config_option, daemon_database, require_owner
from voxrec.errors import VoxrecError
from voxrec.postgres.blocking_database import BlockingDatabase, run_to_completion
from voxrec.recordings.download import Download
from voxrec.store.archive_migration import BEGINNING, ArchiveMigration, Position, Remaining
from voxrec.store.audit import Audit

_PART: Final = 5000  # Recordings that are examined in one transaction
_POLL_SECONDS: Final = 5.0  # the query reads all Recordings


@click.group()
def archive() -> None:
    """Storage of finished Recordings: the local archive, and S3."""


@archive.command()
@click.option("--to", "target", type=click.Choice(["s3", "local"]), required=True, help="Where to move all Recordings.")
@click.option("--wait/--no-wait", default=True, show_default=True, help="With s3: wait until the daemon has moved all.")
@click.option("--keep-objects", is_flag=True, help="With local: do not delete the objects in S3.")
@config_option
def migrate(target: str, wait: bool, keep_objects: bool, config_file: Path) -> None:
    """Move all Recordings to S3, or back to the local archive.

    Both can be interrupted and repeated; what is moved already is not moved again. Every file is verified by its
    SHA-256 before the other copy is deleted. To S3: the running daemon uploads, with its settings, and this command
    shows the progress. To local: this command downloads; run it as the user of the daemon, and set s3.uploads to false
    before, so that new Recordings stay in the local archive.
    """
    try:
        settings = config.load(config_file, sections={"database", "archive", "s3"})
        if target == "s3":
            _to_s3(settings, config_file, wait=wait)
        else:
            _to_local(settings, config_file, keep_objects=keep_objects)
    except (VoxrecError, OSError) as error:
        raise click.ClickException(error.detail if isinstance(error, VoxrecError) else str(error)) from error


def _to_s3(settings: config.Config, config_file: Path, *, wait: bool) -> None:
    if not settings.s3.bucket:
        raise click.ClickException("s3.bucket is not set")
    if not settings.s3.uploads:
        raise click.ClickException("s3.uploads is false, so that the daemon does not upload")
    database = partial(daemon_database, config_file)
    total = _remaining(database)
    position: Position | None = BEGINNING
    while position is not None:
        position = _enqueue(database, position, shared=settings.archive.shared)
    click.echo(f"{total.recordings} recordings ({total.size / 1e6:.1f} MB) are to be uploaded by the daemon")
    if wait:
        _wait_for_uploads(database, total)


def _wait_for_uploads(database: Callable[[], AbstractContextManager[BlockingDatabase]], total: Remaining) -> None:
    """Show the progress until everything is uploaded. Raises ClickException if something cannot be."""
    shown = ""
    while (remaining := _remaining(database)).recordings > remaining.failed:
        line = _progress(total.recordings - remaining.recordings, total.size - remaining.size, total)
        if remaining.last_error:
            line += f"; last error: {remaining.last_error}"
        if line != shown:
            click.echo(line)
            shown = line
        time.sleep(_POLL_SECONDS)
    if remaining.failed:
        raise click.ClickException(
            f"{remaining.failed} recordings cannot be uploaded: {remaining.last_error}; "
            "see voxrec jobs list --kind upload"
        )
    click.echo("all recordings are in S3")


def _enqueue(
    database: Callable[[], AbstractContextManager[BlockingDatabase]], after: Position, *, shared: bool
) -> Position | None:
    """Enqueue the uploads of a part of the Recordings, and return where the next part begins; None at the end."""
    with database() as connection:
        migration = ArchiveMigration(connection)
        enqueued, last = run_to_completion(migration.enqueue_uploads(after, _PART, shared=shared))
        if enqueued:
            entry = audit_entry_for_command("voxrec archive migrate --to s3", "archive", uuid4())
            run_to_completion(Audit(connection).begin(entry))
    return last


def _remaining(database: Callable[[], AbstractContextManager[BlockingDatabase]]) -> Remaining:
    with database() as connection:
        return run_to_completion(ArchiveMigration(connection).not_uploaded())


def _to_local(settings: config.Config, config_file: Path, *, keep_objects: bool) -> None:
    from voxrec.archive.s3 import S3Store

    if settings.s3.uploads:
        raise click.ClickException("set s3.uploads to false before, and restart the daemon: it uploads new Recordings")
    require_owner(settings.archive_directory)
    store = S3Store(settings_of(settings.s3))
    database = partial(daemon_database, config_file)
    with database() as connection:
        total = run_to_completion(ArchiveMigration(connection).stored())
        entry = audit_entry_for_command("voxrec archive migrate --to local", "archive", uuid4())
        run_to_completion(Audit(connection).begin(entry))
    download = Download(
        database,
        LocalArchive(settings.archive_directory),
        settings.archive_directory / ".work",
        store,
        keep_objects=keep_objects,
        report=lambda count, size: click.echo(_progress(count, size, total)),
    )
    moved = download.run()
    click.echo(f"{moved} recordings were moved to {settings.archive_directory}")
    if download.failed:
        raise click.ClickException("\n".join([f"{len(download.failed)} recordings failed:", *download.failed]))


def _progress(count: int, size: int, total: Remaining) -> str:
    return f"{count} of {total.recordings} recordings, {size / 1e6:.1f} of {total.size / 1e6:.1f} MB"
