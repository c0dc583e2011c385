"""What a chaos run injects faults into, and what a fault is."""

from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Protocol, TypeVar

from twisted.internet.threads import deferToThread

from voxrec.postgres.cluster import Cluster
from voxrec.sandbox.chaos.outages import Outage
from voxrec.sandbox.chaos.schedule import FaultKind
from voxrec.sandbox.chaos.store import ChaosStore
from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.mailbox import Mailbox
from voxrec.sandbox.stack import Stack
from voxrec.sandbox.tcp_proxy import TcpProxy

STOP_SECONDS: Final = 90.0
"""Timeout of an orderly stop of voxrec."""
READY_SECONDS: Final = 120.0
"""Time within which voxrec must be ready again after a fault has ended."""


@dataclass
class Environment:
    """The programs into which faults are injected.

    ``cluster_directory`` is the directory of ``cluster``. voxrec reaches AMI through ``ami_proxy`` at ``ami_port``.
    ``outages`` are the parts of a fault that have effects of their own. ``store`` is the S3 store, if there is one.
    """

    reactor: Any
    stack: Stack
    cluster: Cluster
    cluster_directory: Path
    mailbox: Mailbox
    mail_port: int
    ami_proxy: TcpProxy
    ami_port: int
    outages: list[Outage] = field(default_factory=list)
    store: ChaosStore | None = None
    second: Stack | None = None
    """A second voxrec on the same Asterisk; it may not run."""

    async def is_connected(self) -> bool:
        """Return whether a voxrec is connected to Asterisk, and gets the calls."""
        stacks = [stack for stack in (self.stack, self.second) if stack is not None]
        return not all([await stack.dependency_problem("asterisk") for stack in stacks])

    async def wait_until_ready(self) -> None:
        """Wait until voxrec is ready. Raises SandboxError after 120 s."""

        async def ready() -> bool:
            return await self.stack.readiness_status() == 200

        if not await self.stack.wait_until(ready, READY_SECONDS):
            raise SandboxError(
                f"voxrec is not ready {READY_SECONDS:g} s after a fault:\n{self.stack.voxrec_log_tail()}"
            )

    def database_processes(self) -> list[int]:
        """Return the ids of the processes that run in PostgreSQL's data directory, the postmaster first."""
        processes = []
        for process in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if (process / "cwd").readlink() == self.cluster_directory / "cluster":
                    processes.append(int(process.name))
        return sorted(processes)

    async def start_database(self) -> None:
        """Start PostgreSQL and wait until it accepts connections."""
        await deferToThread(self.cluster.prepare)
        self.cluster.launch()
        await deferToThread(self.cluster.wait_until_ready)


EnvironmentT_contra = TypeVar("EnvironmentT_contra", contravariant=True)


class Fault(Protocol[EnvironmentT_contra]):
    """One kind of fault. ``recover`` is always called some time after ``inject`` and restores the earlier state.

    It does not wait until voxrec is ready again: the run does so.
    """

    kind: FaultKind

    async def inject(self, environment: EnvironmentT_contra) -> None:
        """Start the fault."""

    async def recover(self, environment: EnvironmentT_contra) -> None:
        """End the fault."""
