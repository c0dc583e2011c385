"""``make chaos``: break everything that can break while calls are up, and count what was lost."""

import argparse
import os
import secrets
import sys
from pathlib import Path
from typing import Any

from rich.table import Table

from voxrec.sandbox.chaos.faults import every_fault
from voxrec.sandbox.chaos.ledger import Judgement
from voxrec.sandbox.chaos.run import Order, Run
from voxrec.sandbox.chaos.supervisor import endure
from voxrec.sandbox.demo import console, step

OWN_MOUNTS = "--own-mounts"


def main() -> None:
    """Run; exit status 0 only if no promise was broken."""
    parser = argparse.ArgumentParser(prog="python -m voxrec.sandbox.chaos", description=__doc__)
    parser.add_argument("--duration", type=float, default=300.0, metavar="SECONDS", help="how long calls come in")
    parser.add_argument("--seed", type=int, default=None, help="to have a run again; chosen and printed by default")
    parser.add_argument("--rate", type=float, default=1.0, metavar="CALLS", help="calls a second")
    parser.add_argument("--faults", default="", metavar="NAME,...", help="these kinds only")
    parser.add_argument(OWN_MOUNTS, action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if os.geteuid() == 0 and not options.own_mounts:
        # full disks are file systems of their own, which must vanish with this process
        again = [sys.executable, "-m", "voxrec.sandbox.chaos", *sys.argv[1:], OWN_MOUNTS]
        os.execvp("unshare", ["unshare", "--mount", "--", *again])  # noqa: S606
    faults = every_fault(disks=options.own_mounts)
    if not options.own_mounts:
        step("full disks are left out: they need root")
    if wanted := set(filter(None, options.faults.split(","))):
        unknown = wanted - {fault.kind.name for fault in faults}
        if unknown:
            parser.error(f"no such faults: {', '.join(sorted(unknown))}")
        faults = [fault for fault in faults if fault.kind.name in wanted]
    seed = options.seed if options.seed is not None else secrets.randbelow(10**6)
    order = Order(seed, options.duration, faults, options.rate)
    step(f"seed {seed}: make chaos DURATION={options.duration:g} SEED={seed}")

    def complaint(judgement: Judgement) -> str | None:
        tell(judgement)
        count = len(judgement.violations)
        return f"seed {seed}: {count} broken promises" if count else None

    def made(reactor: Any, directory: Path, rootfs: Path | None) -> Run:
        return Run(reactor, directory, rootfs, order, step)

    endure("chaos", made, Run.run, complaint)


def tell(judgement: Judgement) -> None:
    """Print the table, and each broken promise as one line."""
    table = Table("", "", box=None, show_header=False)
    for name, value in judgement.figures.items():
        table.add_row(name, f"{value:.2f}" if isinstance(value, float) else f"{value:,}", end_section=False)
    console.print(table)
    for violation in judgement.violations:
        console.print(f"broken: {violation}", style="red", soft_wrap=True, markup=False)


if __name__ == "__main__":
    main()
