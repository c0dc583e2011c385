"""The faults of ``make cluster``: those of one node, and those of what all nodes share."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from twisted.internet.threads import deferToThread

from voxrec.sandbox.chaos.cluster_environment import ClusterEnvironment, Node
from voxrec.sandbox.chaos.environment import Environment, Fault
from voxrec.sandbox.chaos.faults import AsteriskKilled, ProcessStalled, VoxrecKilled, VoxrecRestarted
from voxrec.sandbox.chaos.outages import AllowedEffects, Outage
from voxrec.sandbox.chaos.schedule import FaultKind

_PROCESS: Final = "process of a node"
_OPERATION: Final = "operation of a node"
_SUSPENDED: Final = FaultKind("node-suspended", _PROCESS, 3, 8)


def _processes(environment: Environment) -> Sequence[int]:
    """Return the processes that are suspended with a node."""
    return environment.stack.asterisk.pid, environment.stack.pid


@dataclass
class OnNode:
    """Faults of one voxrec and its Asterisk, all at the same time, on a node that the seed chooses."""

    kind: FaultKind
    faults: Sequence[Fault[Environment]]

    async def inject(self, environment: ClusterEnvironment) -> None:
        """Start the faults."""
        node = environment.of_node(environment.choose_node(self.kind.name))
        for fault in self.faults:
            await fault.inject(node)

    async def recover(self, environment: ClusterEnvironment) -> None:
        """End them."""
        node = environment.of_node(environment.affected[self.kind.name])
        for fault in self.faults:
            await fault.recover(node)


@dataclass
class RollingRestart:
    """Each node is restarted (SIGTERM), one after the other, when the one before is ready."""

    kind = FaultKind("rolling-restart", _PROCESS, 0, 0)

    async def inject(self, environment: ClusterEnvironment) -> None:
        """Restart all nodes."""
        restart = VoxrecRestarted()
        for node in environment.nodes:
            began = time.time()
            await restart.inject(environment.of_node(node))
            await restart.recover(environment.of_node(node))
            await node.wait_until_ready()
            environment.outages.append(Outage("node-restarted", began, time.time(), node.name))

    async def recover(self, environment: ClusterEnvironment) -> None:
        """All nodes run."""


@dataclass
class Drained:
    """A node is drained through another one, and then accepts calls again."""

    kind = FaultKind("drained", _OPERATION, 3, 10)

    async def inject(self, environment: ClusterEnvironment) -> None:
        """Drain the node."""
        await self._set(environment, environment.choose_node(self.kind.name), draining=True)

    async def recover(self, environment: ClusterEnvironment) -> None:
        """Let it accept calls."""
        await self._set(environment, environment.affected[self.kind.name], draining=False)

    async def _set(self, environment: ClusterEnvironment, node: Node, *, draining: bool) -> None:
        other = environment.other_node(node).stack

        async def changed() -> bool:
            if await other.readiness_status() != 200:
                return False
            return (await other.request("POST", f"/nodes/{node.name}", {"draining": draining})).status == 200

        await other.wait_until(changed, 60.0)


@dataclass
class SeparatedFromPostgres:
    """A node cannot reach PostgreSQL; the others can."""

    kind = FaultKind("separated-from-postgresql", _OPERATION, 3, 15)

    async def inject(self, environment: ClusterEnvironment) -> None:
        """Drop the connections of a node."""
        await environment.choose_node(self.kind.name).separate_from_database()

    async def recover(self, environment: ClusterEnvironment) -> None:
        """Let it connect."""
        environment.affected[self.kind.name].connect_database()


@dataclass
class PostgresFailsOver:
    """The primary is killed (SIGKILL) and the standby promoted; in the end the former primary is the new standby."""

    kind = FaultKind("postgresql-failover", "postgresql", 0, 5)

    async def inject(self, environment: ClusterEnvironment) -> None:
        """Kill the primary, and promote the standby."""
        await environment.fail_over()

    async def recover(self, environment: ClusterEnvironment) -> None:
        """Make the former primary the standby."""
        await deferToThread(environment.postgres.rejoin)


@dataclass
class KamailioKilled:
    """Kamailio is killed (SIGKILL) with all its transactions, and started again."""

    kind = FaultKind("kamailio-killed", "kamailio", 0, 3)

    async def inject(self, environment: ClusterEnvironment) -> None:
        """Kill Kamailio."""
        environment.kamailio.kill()

    async def recover(self, environment: ClusterEnvironment) -> None:
        """Start Kamailio."""
        await environment.kamailio.start(environment.reactor)


def all_faults() -> Sequence[Fault[ClusterEnvironment]]:
    """Return one fault of each kind."""
    return [
        OnNode(FaultKind("voxrec-killed", _PROCESS, 0, 8), [VoxrecKilled()]),
        OnNode(FaultKind("asterisk-killed", _PROCESS, 0, 4), [AsteriskKilled()]),
        OnNode(FaultKind("node-killed", _PROCESS, 2, 12), [AsteriskKilled(), VoxrecKilled()]),
        OnNode(_SUSPENDED, [ProcessStalled(_SUSPENDED, _processes)]),
        RollingRestart(),
        Drained(),
        SeparatedFromPostgres(),
        PostgresFailsOver(),
        KamailioKilled(),
    ]


ALLOWED_EFFECTS: Final = AllowedEffects(
    # Of each node; a call is refused only if all nodes refuse it.
    call_rejected=frozenset({"voxrec-killed", "node-restarted", "drained"}),
    call_dropped=frozenset({"asterisk-killed", "node-killed"}),
    # Calls may come before AMI is connected again.
    recording_delayed=frozenset({"asterisk-killed", "node-killed"}),
    asterisk_stalled=frozenset({_SUSPENDED.name}),
    # BYE is sent again until Kamailio relays it.
    hangup_delayed=frozenset({"kamailio-killed", _SUSPENDED.name}),
    # The delivery of a mail cannot be stored.
    mail_duplicated=frozenset({
        "voxrec-killed", "node-killed", "postgresql-failover", "separated-from-postgresql",
    }),
)  # fmt: skip
"""Effects that faults may have on calls, recordings and mails; faults that are not listed may have none."""
