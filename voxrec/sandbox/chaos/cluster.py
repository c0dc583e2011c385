"""``make cluster``: inject faults into several nodes behind Kamailio during calls, and report what was lost."""

import argparse
import secrets
from collections.abc import Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any, Final

from twisted.internet.threads import deferToThread

from voxrec.deferreds import gather
from voxrec.sandbox.chaos.__main__ import print_report
from voxrec.sandbox.chaos.cluster_environment import NODE_NAMES, ClusterEnvironment, Node
from voxrec.sandbox.chaos.cluster_faults import ALLOWED_EFFECTS, KamailioKilled, all_faults
from voxrec.sandbox.chaos.environment import Fault
from voxrec.sandbox.chaos.fault_run import FaultRun, RunOptions
from voxrec.sandbox.chaos.supervisor import supervise
from voxrec.sandbox.chaos.verification import Report
from voxrec.sandbox.console import ReportProgress, print_step
from voxrec.sandbox.kamailio import SandboxKamailio
from voxrec.sandbox.replication import ReplicatedPostgres
from voxrec.sandbox.rootfs import KAMAILIO, ensure_rootfs
from voxrec.sandbox.stack import Stack

_NO_PROGRESS: Final = 20.0
"""Seconds after which Kamailio gives up a call whose Asterisk was killed: within the time that the phones wait."""


class ClusterRun(FaultRun[ClusterEnvironment]):
    """A run with the nodes ``names``."""

    allowed_effects = ALLOWED_EFFECTS

    def __init__(
        self,
        reactor: Any,
        directory: Path,
        rootfs: Path | None,
        options: RunOptions,
        report_progress: ReportProgress,
        names: Sequence[str] = NODE_NAMES,
    ) -> None:
        super().__init__(reactor, directory, rootfs, options, report_progress)
        self._postgres = ReplicatedPostgres(directory / "postgresql", synchronous=True)
        self._archive = directory / "archive"
        self._nodes = [
            Node(reactor, directory, rootfs, name, self._postgres, self._archive, self.mailbox.port) for name in names
        ]
        self._kamailio = SandboxKamailio(
            directory / "kamailio",
            ensure_rootfs(KAMAILIO, report_progress),
            [node.stack.asterisk.sip_address for node in self._nodes],
            no_progress=_NO_PROGRESS,
        )

    @property
    def stacks(self) -> Sequence[Stack]:
        """Those of the nodes."""
        return [node.stack for node in self._nodes]

    @property
    def archive_directory(self) -> Path:
        """The archive of all nodes."""
        return self._archive

    @property
    def sip_address(self) -> tuple[str, int]:
        """That of Kamailio."""
        return self._kamailio.sip_address

    def node_names(self) -> Mapping[int, str]:
        """Return the names of the nodes by the SIP port of their Asterisk."""
        return {node.stack.asterisk.sip_address[1]: node.name for node in self._nodes}

    async def start_environment(self) -> ClusterEnvironment:
        """Start PostgreSQL and its standby, the nodes, and Kamailio."""
        self._archive.mkdir()
        self.report_progress("starting PostgreSQL and its standby")
        self._postgres.start()
        self.report_progress(f"starting the nodes {', '.join(node.name for node in self._nodes)}")
        await self._nodes[0].start()  # creates the tables
        await gather(*(node.start() for node in self._nodes[1:]))
        self.report_progress("starting Kamailio")
        await self._kamailio.start(self.reactor)
        return ClusterEnvironment(
            self.reactor,
            self._nodes,
            self._kamailio,
            self._postgres,
            self.mailbox,
            Random(f"nodes {self.options.seed}"),  # noqa: S311 - must be repeatable
            self.outages,
        )

    async def stop_environment(self) -> None:
        """Stop what was started."""
        self._kamailio.kill()
        await gather(*(node.stop() for node in self._nodes))
        await deferToThread(self._postgres.stop)

    def affected_node(self, environment: ClusterEnvironment, fault: Fault[ClusterEnvironment]) -> str:
        """Return the node that an injected fault affects; empty: all."""
        node = environment.affected.get(fault.kind.name)
        return "" if node is None else node.name

    async def wait_until_recovered(self, environment: ClusterEnvironment, fault: Fault[ClusterEnvironment]) -> None:
        """Wait until the node of the fault is ready, or all are."""
        if isinstance(fault, KamailioKilled):  # `recover` has waited for it
            return
        node = environment.affected.get(fault.kind.name)
        await gather(*(each.wait_until_ready() for each in (environment.nodes if node is None else [node])))


def main() -> None:
    """Run the scenario; exit status 0 only if there is no violation."""
    parser = argparse.ArgumentParser(prog="python -m voxrec.sandbox.chaos.cluster", description=__doc__)
    parser.add_argument(
        "--duration", type=float, default=300.0, metavar="SECONDS", help="time during which calls start"
    )
    parser.add_argument("--seed", type=int, default=None, help="seed of an earlier run to repeat; default: random")
    parser.add_argument("--rate", type=float, default=1.0, metavar="CALLS", help="calls per second")
    parser.add_argument("--nodes", type=int, default=len(NODE_NAMES), help="number of nodes, 2 or 3")
    parser.add_argument("--faults", default="", metavar="NAME,...", help="inject only these kinds of faults")
    arguments = parser.parse_args()
    faults = all_faults()
    known = {fault.kind.name for fault in faults}
    selected = set(filter(None, arguments.faults.split(","))) or known
    if unknown := selected - known:
        parser.error(f"unknown faults: {', '.join(sorted(unknown))}; expected some of {', '.join(sorted(known))}")
    if not 2 <= arguments.nodes <= len(NODE_NAMES):
        parser.error(f"--nodes is {arguments.nodes}; expected 2 or {len(NODE_NAMES)}")
    seed = arguments.seed if arguments.seed is not None else secrets.randbelow(10**6)
    chosen = [fault for fault in faults if fault.kind.name in selected]
    options = RunOptions(seed, arguments.duration, chosen, arguments.rate)
    print_step(f"seed {seed}; repeat this run with: make cluster DURATION={options.duration:g} SEED={seed}")

    def make(reactor: Any, directory: Path, rootfs: Path | None) -> ClusterRun:
        return ClusterRun(reactor, directory, rootfs, options, print_step, NODE_NAMES[: arguments.nodes])

    def evaluate(report: Report) -> str | None:
        print_report(report)
        count = len(report.violations)
        return f"seed {seed}: {count} violations" if count else None

    supervise("cluster", make, ClusterRun.run, evaluate)


if __name__ == "__main__":
    main()
