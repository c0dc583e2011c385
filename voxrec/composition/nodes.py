"""The membership of this node, and the control of the calls of all nodes."""

import math
from collections.abc import Awaitable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from uuid import UUID

from voxrec.composition.calls import Calls
from voxrec.composition.database import Database
from voxrec.composition.environment import Environment
from voxrec.composition.queue import Queue
from voxrec.composition.recordings import RecordingFiles
from voxrec.model import NodeStatus
from voxrec.nodes.call_control import NodesCallControl
from voxrec.nodes.call_limits import CallLimits
from voxrec.nodes.former_instance import replace_former_instance
from voxrec.nodes.membership import Membership
from voxrec.nodes.spool_id import read_or_create_spool_id
from voxrec.nodes.superseded_calls import SupersededCalls


@dataclass(frozen=True)
class NodeServices:
    """The membership of this node, the control of all calls, and which of its calls other nodes have."""

    membership: Membership
    control: NodesCallControl
    superseded_calls: SupersededCalls

    def node_changed(self, name: str) -> None:
        """Read the row of this node: an operator has changed it."""
        if name == self.membership.node:
            self.membership.refresh()


def build_nodes(
    env: Environment, database: Database, files: RecordingFiles, queue: Queue, calls: Calls
) -> NodeServices:
    """Build the membership, and connect it with the job worker and the admission of calls."""
    version = metadata.version("voxrec")  # finds and parses a file, which takes milliseconds

    def status() -> NodeStatus:
        free = calls.disk_space.free
        return NodeStatus(
            version=version,
            asterisk_version=calls.session.version,
            live_calls=len(calls.live_calls),
            spool_free=None if math.isnan(free) else int(free),
            journal_pending=queue.journal.pending,
            problem=membership.problem,
        )

    def read_spool_id() -> Awaitable[UUID]:
        return env.defer_to_thread(read_or_create_spool_id, files.spool)

    def active(is_active: bool) -> None:
        database.jobs.node = env.config.node_name if is_active else None
        queue.worker.wake()

    def replace_former(instance: UUID) -> Awaitable[UUID | None]:
        directory = Path(env.config.data_directory)
        lock = directory / "journal" / "lock"  # which the journal holds
        return env.defer_to_thread(replace_former_instance, directory / "instance.json", lock, instance)

    async def release_leases(former: UUID) -> None:  # what it was doing must not wait until they expire
        await database.jobs.release_leases(former)
        await database.webhook_queue.release_leases(former)

    membership = Membership(
        env.reactor,
        database.nodes,
        env.config.node_name,
        status,
        read_spool_id,
        on_active=active,
        on_draining=calls.admission.set_draining,
        is_standby=lambda: calls.lease.standby,
        replace_former_instance=replace_former,
        former_ended=release_leases,
    )
    for repository in (database.jobs, database.recordings, database.webhook_queue):
        repository.instance = membership.instance
    calls.call_directory.is_needed = lambda: membership.registered and bool(membership.peers)
    calls.router.reserve = calls.control.reserve = CallLimits(
        env.reactor,
        database.nodes,
        membership,
        calls.call_directory,
        calls.admission.count_calls,
        env.metrics.calls.count_inexact_limit,
    ).reserve
    superseded_calls = SupersededCalls(
        env.reactor,
        database.call_attempts,
        membership,
        lambda: calls.live_calls.attempts,
        calls.live_calls.give_up,
    )
    calls.router.is_superseded = superseded_calls.is_superseded
    _add_gauges(env, membership)
    return NodeServices(
        membership,
        NodesCallControl(env.reactor, calls.control, membership, database.nodes, database.recordings),
        superseded_calls,
    )


def _add_gauges(env: Environment, membership: Membership) -> None:
    env.metrics.add_gauge(
        "voxrec_node_active",
        "1 while this node does what needs its disk; 0 if another process has its name, or its disk is another one.",
        lambda: membership.active,
    )
    env.metrics.add_gauge(
        "voxrec_nodes_unreachable",
        "Other nodes that have failed: they were not stopped, and do not report.",
        lambda: len(membership.unreachable),
    )
    env.metrics.add_gauge(
        "voxrec_nodes_unreachable_jobs",
        "Jobs that only unreachable or stopped nodes can do.",
        lambda: sum(node.pending_jobs for node in membership.peers if not node.alive),
    )
