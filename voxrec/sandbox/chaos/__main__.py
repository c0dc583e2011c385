"""``make chaos``: break everything that can break while calls are up, and count what was lost."""

import argparse
import os
import secrets
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from rich.table import Table
from twisted.internet.defer import Deferred
from twisted.internet.task import react

from voxrec.errors import VoxrecError
from voxrec.sandbox.chaos.faults import every_fault
from voxrec.sandbox.chaos.ledger import Judgement
from voxrec.sandbox.chaos.run import Order, Run
from voxrec.sandbox.demo import console, step
from voxrec.sandbox.rootfs import asterisk_rootfs

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
    directory = Path(tempfile.mkdtemp(prefix="voxrec-chaos-"))
    directory.chmod(0o755)
    judgements: list[Judgement] = []

    async def run(reactor: Any) -> None:
        chaos = Run(reactor, directory, rootfs, order, step)
        try:
            judgements.append(await chaos.run())
        except VoxrecError as error:
            console.print(f"failed: {error.detail}", style="red", soft_wrap=True, markup=False)
        finally:
            step("stopping everything")
            await chaos.stop()

    try:
        rootfs = asterisk_rootfs(step)
        react(lambda reactor: Deferred.fromCoroutine(run(reactor)))
    except VoxrecError as error:
        console.print(f"failed: {error.detail}", style="red", soft_wrap=True, markup=False)
    except SystemExit as end:
        if end.code:
            raise
    if not judgements:
        sys.exit(f"logs: {directory}")
    tell(judgements[0])
    if judgements[0].violations:
        sys.exit(f"seed {seed}: {len(judgements[0].violations)} broken promises; logs: {directory}")
    shutil.rmtree(directory, ignore_errors=True)


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
