"""``voxrec nodes``: lists the nodes, and what an operator decides about those that do not return."""

from contextlib import AbstractContextManager
from pathlib import Path
from typing import cast
from uuid import uuid4

import click
from rich.console import Console
from rich.table import Table
from twisted.internet.interfaces import IReactorTime

from voxrec import config
from voxrec.archive.local import LocalArchive
from voxrec.cli.context import audit_entry_for_command, config_option, daemon_database, require_owner
from voxrec.config_values import NODE_NAME_RULE, is_node_name
from voxrec.errors import VoxrecError
from voxrec.nodes.spool_id import read_spool_id
from voxrec.postgres.blocking_database import BlockingDatabase, blocking_transaction, run_to_completion
from voxrec.postgres.cluster import dsn_of_running_server
from voxrec.recordings.adoption import Adoption
from voxrec.store.audit import Audit
from voxrec.store.node_failures import NodeFailures
from voxrec.store.nodes import Nodes


@click.group()
def nodes() -> None:
    """Nodes that share the database: list, rename, adopt, or give up those that do not return."""


@nodes.command("list")
@config_option
def list_(config_file: Path) -> None:
    """List the nodes. JOBS are those that only this node can do."""
    with daemon_database(config_file) as database:
        found = run_to_completion(Nodes(database).list_all())
    table = Table(box=None, pad_edge=False, header_style="")
    for heading in ("NAME", "STATE", "VERSION", "CALLS", "JOBS", "LAST REPORT"):
        table.add_column(heading, no_wrap=True)
    table.add_column("PROBLEM", overflow="fold")
    for node in found:
        table.add_row(
            node.name,
            node.state.value,
            node.version or "",
            str(node.live_calls),
            str(node.pending_jobs),
            f"{node.last_heartbeat:%Y-%m-%d %H:%M:%S}",
            (node.problem or "") if node.alive else "",
        )
    Console(highlight=False).print(table)


@nodes.command()
@click.argument("former", metavar="FORMER")
@click.argument("new", metavar="NEW")
@config_option
def rename(former: str, new: str, config_file: Path) -> None:
    """Give the recordings and jobs of the node FORMER to its new name, for example after its host name has changed.

    No voxrec may be running under the former name; one may run under the new name.
    """
    if not is_node_name(new):
        raise click.BadParameter(f"expected {NODE_NAME_RULE}", param_hint="NEW")
    with daemon_database(config_file) as database:
        run_to_completion(NodeFailures(database).rename(former, new))
        _audit(database, f"voxrec nodes rename {former} {new}")
    click.echo(f"{former} is {new} now")


@nodes.command("mark-lost")
@click.argument("name")
@click.confirmation_option(prompt="The open recordings of this node are given up. Continue?")
@config_option
def mark_lost(name: str, config_file: Path) -> None:
    """Give up the disk of the node NAME: its open recordings end as failed, with the reason node-lost.

    If its disk can be attached to another machine, use "voxrec nodes adopt" instead.
    """
    with daemon_database(config_file) as database:
        failed = run_to_completion(NodeFailures(database).mark_lost(name))
        _audit(database, f"voxrec nodes mark-lost {name}")
    click.echo(f"{name} is lost; {failed} recordings have failed (node-lost)")


@nodes.command()
@click.argument("name")
@click.option(
    "--spool",
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The recording directory of the node, attached here.",
)
@click.option(
    "--journal",
    required=True,
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="The directory journal in the data_directory of the node, attached here.",
)
@config_option
def adopt(name: str, spool: Path, journal: Path, config_file: Path) -> None:
    """Do the work of the node NAME, which does not return: finish its recordings, and erase what was deleted.

    Run it as the user of the daemon, who must own both directories or have write access to them. It can be repeated.
    """
    from twisted.internet import reactor

    try:
        settings = config.load(config_file, sections={"database", "archive", "s3"}, unchecked=[])
        archive = settings.archive_directory
        require_owner(archive)

        dsn = str(settings.database.dsn) or dsn_of_running_server(Path(settings.data_directory, "postgres"))

        def open_database() -> AbstractContextManager[BlockingDatabase]:
            return blocking_transaction(dsn)  # a job that fails must not end the command, as daemon_database does

        adoption = Adoption(
            cast("IReactorTime", reactor),
            name,
            spool,
            journal,
            LocalArchive(archive),
            archive / ".work",
            open_database,
            click.echo,
            uploads=bool(settings.s3.bucket) and settings.s3.uploads,
        )
        done = adoption.run(read_spool_id)
        with daemon_database(config_file) as database:
            _audit(database, f"voxrec nodes adopt {name}")
    except (VoxrecError, OSError) as error:
        raise click.ClickException(error.detail if isinstance(error, VoxrecError) else str(error)) from error
    click.echo(f"{done} jobs of {name} are done")
    if adoption.failed:
        raise click.ClickException("\n".join([f"{len(adoption.failed)} jobs failed:", *adoption.failed]))


def _audit(database: BlockingDatabase, command: str) -> None:
    run_to_completion(Audit(database).begin(audit_entry_for_command(command, "node", uuid4())))
