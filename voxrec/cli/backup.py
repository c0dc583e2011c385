"""``voxrec backup`` and ``voxrec restore``."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click

from voxrec import config
from voxrec.backup.backup import Backup, Source
from voxrec.backup.restore import Restore
from voxrec.cli.context import config_option
from voxrec.errors import VoxrecError
from voxrec.files import make_directory
from voxrec.journal.segments import lock_directory
from voxrec.postgres.cluster import Cluster, dsn_of_running_server, processes_in


@click.command()
@click.argument("directory", type=click.Path(path_type=Path))
@click.option(
    "--previous",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="An earlier backup on the same file system: its audio is linked instead of copied.",
)
@config_option
def backup(directory: Path, previous: Path | None, config_file: Path) -> None:
    """Back up the database, the archive, the journal and unfinished recordings to a new DIRECTORY.

    The daemon may run. The settings and their secrets are not part of the backup. The exit status is 1 if audio of
    Recordings is missing in the archive or damaged; the backup then contains everything else.
    """
    with _errors(), _source(config_file) as source:
        manifest = Backup(source, directory, previous, _report).make()
    size = sum(file.size for file in manifest.files)
    click.echo(f"{directory}: {len(manifest.files)} files, {size / 1e6:.1f} MB")
    for path in manifest.missing:
        click.echo(f"{path}: missing in the archive, or its content differs from the database", err=True)
    if manifest.missing:
        raise click.ClickException(f"{len(manifest.missing)} audio files are not in the backup")


@click.command()
@click.argument("directory", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--overwrite", is_flag=True, help="Replace an existing database and journal, and files of the archive.")
@click.option("--check", is_flag=True, help="Only verify the backup, and that it can be restored here.")
@config_option
def restore(directory: Path, overwrite: bool, check: bool, config_file: Path) -> None:
    """Restore the backup in DIRECTORY to the database and the directories of the settings file.

    Stop the daemon before; run the command as its user. Every file is verified by its SHA-256 before anything is
    changed. What was deleted since the backup was made exists again afterwards.
    """
    with _errors():
        settings = config.load(config_file)
        _make_data_directory(Path(settings.data_directory))
        with lock_directory(Path(settings.data_directory, "journal")), _source(config_file) as source:
            restoring = Restore(directory, source, overwrite, _report)
            manifest = restoring.check() if check else restoring.run()
    state = "can be restored" if check else "restored; start the daemon"
    click.echo(f"{directory}: {len(manifest.files)} files of {manifest.created_at:%Y-%m-%d %H:%M:%S} UTC: {state}")


def _make_data_directory(directory: Path) -> None:
    try:
        make_directory(directory, 0o755)  # as the daemon does
    except OSError as error:
        raise click.ClickException(
            f"{directory} cannot be created: {error.strerror}. Create it as root: "
            f"install -d -o voxrec -g voxrec -m 0755 {directory}"
        ) from error


@contextmanager
def _source(config_file: Path) -> Iterator[Source]:
    settings = config.load(config_file)
    with _database(settings) as dsn:
        yield Source(
            dsn=dsn,
            archive=settings.archive_directory,
            journal=Path(settings.data_directory, "journal"),
            spool=Path(settings.asterisk.recordings),
            node=settings.node_name,
        )


@contextmanager
def _database(settings: config.Config) -> Iterator[str]:
    """Run the block with the connection string of the database. An embedded server is started if it does not run."""
    directory = Path(settings.data_directory, "postgres")
    if settings.database.dsn:
        yield str(settings.database.dsn)
    elif processes_in((directory / "cluster").resolve()):
        yield dsn_of_running_server(directory)
    else:
        cluster = Cluster(directory)
        cluster.prepare()
        cluster.launch()
        try:
            cluster.wait_until_ready()
            yield cluster.dsn()
        finally:
            cluster.stop()


@contextmanager
def _errors() -> Iterator[None]:
    try:
        yield
    except VoxrecError as error:
        raise click.ClickException(str(error)) from error


def _report(line: str) -> None:
    click.echo(line, err=True)
