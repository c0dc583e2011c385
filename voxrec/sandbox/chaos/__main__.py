"""``make chaos``: inject faults during calls, and report everything that was lost."""

import argparse
import os
import secrets
import sys
from pathlib import Path
from typing import Any

from rich.table import Table

from voxrec.sandbox.chaos.fault_run import RunOptions
from voxrec.sandbox.chaos.faults import all_faults
from voxrec.sandbox.chaos.run import ChaosRun
from voxrec.sandbox.chaos.supervisor import supervise
from voxrec.sandbox.chaos.verification import Report
from voxrec.sandbox.console import console, print_step

OWN_MOUNTS = "--own-mounts"


def main() -> None:
    """Run the scenario; exit status 0 only if there is no violation."""
    parser = argparse.ArgumentParser(prog="python -m voxrec.sandbox.chaos", description=__doc__)
    parser.add_argument(
        "--duration", type=float, default=300.0, metavar="SECONDS", help="time during which calls start"
    )
    parser.add_argument("--seed", type=int, default=None, help="seed of an earlier run to repeat; default: random")
    parser.add_argument("--rate", type=float, default=1.0, metavar="CALLS", help="calls per second")
    parser.add_argument("--faults", default="", metavar="NAME,...", help="inject only these kinds of faults")
    parser.add_argument(OWN_MOUNTS, action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if os.geteuid() == 0 and not arguments.own_mounts:
        # A full disk is simulated by a file system of its own, which must disappear with this process.
        command = [sys.executable, "-m", "voxrec.sandbox.chaos", *sys.argv[1:], OWN_MOUNTS]
        os.execvp("unshare", ["unshare", "--mount", "--", *command])  # noqa: S606
    faults = all_faults(include_full_disks=arguments.own_mounts)
    if not arguments.own_mounts:
        print_step("faults of full disks are left out: they need root")
    if selected := set(filter(None, arguments.faults.split(","))):
        known = {fault.kind.name for fault in faults}
        if unknown := selected - known:
            parser.error(f"unknown faults: {', '.join(sorted(unknown))}; expected some of {', '.join(sorted(known))}")
        faults = [fault for fault in faults if fault.kind.name in selected]
    seed = arguments.seed if arguments.seed is not None else secrets.randbelow(10**6)
    options = RunOptions(seed, arguments.duration, faults, arguments.rate)
    print_step(f"seed {seed}; repeat this run with: make chaos DURATION={options.duration:g} SEED={seed}")

    def make(reactor: Any, directory: Path, rootfs: Path | None) -> ChaosRun:
        return ChaosRun(reactor, directory, rootfs, options, print_step)

    def evaluate(report: Report) -> str | None:
        print_report(report)
        count = len(report.violations)
        return f"seed {seed}: {count} violations" if count else None

    supervise("chaos", make, ChaosRun.run, evaluate)


def print_report(report: Report) -> None:
    """Print the figures as a table, and each violation as one line."""
    table = Table("", "", box=None, show_header=False)
    for name, value in report.figures.items():
        table.add_row(name, f"{value:.2f}" if isinstance(value, float) else f"{value:,}", end_section=False)
    console.print(table)
    for violation in report.violations:
        console.print(f"violation: {violation}", style="red", soft_wrap=True, markup=False)


if __name__ == "__main__":
    main()
