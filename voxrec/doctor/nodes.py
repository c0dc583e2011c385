"""Checks of this node among those that share the database."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from voxrec.config import Config
from voxrec.doctor.finding import Finding, failed, ok, skipped, warning
from voxrec.errors import VoxrecError
from voxrec.model import Node, NodeState
from voxrec.nodes.spool_id import read_spool_id
from voxrec.postgres.blocking_database import blocking_transaction, run_to_completion
from voxrec.postgres.cluster import dsn_of_running_server
from voxrec.store.nodes import Nodes

_NAME: Final = "node"


def check_nodes(config: Config) -> Iterator[Finding]:
    """Check the name and the disk of this node, and that no work waits for a node that does not run."""
    try:
        dsn = str(config.database.dsn) or dsn_of_running_server(Path(config.data_directory, "postgres"))
        spool_id = read_spool_id(Path(config.asterisk.recordings))
        with blocking_transaction(dsn) as database:
            nodes = run_to_completion(Nodes(database).list_all())
            former = (
                None if spool_id is None else run_to_completion(Nodes(database).other_name(spool_id, config.node_name))
            )
    except (VoxrecError, OSError) as error:
        yield skipped(_NAME, error.detail if isinstance(error, VoxrecError) else str(error))
        return
    yield _check_name(config.node_name, nodes, former)
    for node in nodes:
        if node.name != config.node_name and not node.alive and node.pending_jobs:
            yield warning(
                f"node {node.name}",
                f"is {node.state}, and {node.pending_jobs} jobs wait for it",
                f"start it; if it does not return, see voxrec nodes adopt and voxrec nodes mark-lost {node.name}",
            )


def _check_name(name: str, nodes: list[Node], former: str | None) -> Finding:
    if former:
        return failed(
            _NAME,
            f"{name} was {former} before, and its work waits under that name",
            f"set node.name to {former}, or run voxrec nodes rename {former} {name}",
        )
    own = next((node for node in nodes if node.name == name), None)
    if own is None:
        return skipped(_NAME, f"{name} has not reported yet; start voxrec")
    if own.alive and own.problem is not None:
        return failed(_NAME, f"{name} {own.problem}", "do what it says; see docs/scaling.md")
    if own.state is NodeState.DRAINING:
        return warning(_NAME, f"{name} refuses new calls", f'POST /nodes/{name} {{"draining": false}}')
    return ok(_NAME, f"{name} is {own.state}; nodes that use this database: {len(nodes)}")
