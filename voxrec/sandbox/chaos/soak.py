"""``make soak``: place thousands of short calls and verify that voxrec and Asterisk release all resources."""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich.table import Table
from twisted.internet.task import deferLater

from voxrec.sandbox.chaos.fault_run import MAIL_ADDRESS
from voxrec.sandbox.chaos.inspection import asterisk_leftovers, read_metrics
from voxrec.sandbox.chaos.phones import CalleePhones, CallerPhones, parse_call_logs
from voxrec.sandbox.chaos.schedule import PlannedCall
from voxrec.sandbox.chaos.supervisor import supervise
from voxrec.sandbox.console import console, print_step
from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.observer import observe_asterisk
from voxrec.sandbox.stack import Stack

CALL_SECONDS: Final = 1.0
WARM_UP_CALLS: Final = 500
"""Calls before the first measurement: thread pools, connections and allocators have reached their size by then."""
SETTLE_SECONDS: Final = 600.0
IDLE_SECONDS: Final = 40.0
"""Wait before a measurement until SIP transactions (RFC 3261, timers B, H, J: 32 s) and idle connections have ended."""
PENDING_METRICS: Final = (
    "voxrec_jobs_waiting",
    "voxrec_calls_live",
    "voxrec_journal_pending",
    "voxrec_events_pending",
)


class Growth(NamedTuple):
    """Allowed increase of a figure: ``fixed``, plus ``per_call`` for each call."""

    fixed: float
    per_call: float = 0.0


NO_GROWTH: Final = Growth(0)
ALLOWED_GROWTH: Final[Mapping[str, Growth]] = {
    # A leaked call (state machine, timers, Recording) would be more than 10 KiB. The limits allow for what both
    # programs' allocators keep after a higher load than during the warm-up.
    "voxrec memory, MiB": Growth(16, 0.001),
    "Asterisk memory, MiB": Growth(24, 0.001),
    # a keep-alive connection to Asterisk or to PostgreSQL that was closed at the first measurement, and its thread
    "voxrec files": Growth(4),
    "voxrec threads": Growth(10),
    "Asterisk files": Growth(4),
    "Asterisk threads": Growth(8),
    # its thread pools grow by 5 under load (pjsip.conf, threadpool_auto_increment), and shrink when idle for a minute
    "Asterisk taskprocessors": Growth(12),
}
"""Allowed increase by figure; all others must not increase."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """One figure before and after a number of calls."""

    name: str
    before: float
    after: float
    calls: int

    @property
    def allowed(self) -> float:
        """Upper limit of ``after``."""
        bound = ALLOWED_GROWTH.get(self.name, NO_GROWTH)
        return self.before + bound.fixed + bound.per_call * self.calls

    @property
    def within_limit(self) -> bool:
        """Whether ``after`` is at most ``allowed``."""
        return self.after <= self.allowed


class Soak:
    """One soak run in ``directory``; ``rate`` is in calls per second."""

    def __init__(self, reactor: Any, directory: Path, rootfs: Path | None, rate: float) -> None:
        self._reactor = reactor
        self._directory = directory
        self._rootfs = rootfs
        self._rate = rate
        self._stack = Stack(reactor, directory / "stack", rootfs)
        self._callees = CalleePhones(reactor, directory / "callees", rootfs)
        self._callers: CallerPhones | None = None
        self._placed = 0

    async def run(self, calls: int) -> list[Measurement]:
        """Place calls to warm up, measure, place ``calls`` more, and measure again.

        Raises SandboxError if a call fails or if voxrec does not finish its work.
        """
        await self._stack.start(print_step)
        await self._callees.start()
        profile = await self._stack.request_json(
            "PUT",
            "/profiles",
            {"remoteSipUri": self._callees.uri, "record": True, "recordChannels": "dual", "email": MAIL_ADDRESS},
        )
        print_step(f"{WARM_UP_CALLS} calls to warm up")
        await self._place_calls(profile["id"], WARM_UP_CALLS)
        before = await self._measure()
        print_step(f"{calls} calls, {self._rate:g} per second: {calls / self._rate:.0f} s")
        await self._place_calls(profile["id"], calls)
        after = await self._measure()
        return [Measurement(name, before[name], after[name], calls) for name in before]

    async def stop(self) -> None:
        """Stop all processes."""
        if self._callers is not None:
            await self._callers.stop()
        await self._callees.stop()
        await self._stack.stop()

    async def _place_calls(self, target: str, count: int) -> None:
        planned = [PlannedCall(f"+4990{self._placed + number:08d}", CALL_SECONDS) for number in range(1, count + 1)]
        self._placed += count
        self._callers = CallerPhones(
            self._reactor,
            self._directory / f"callers-{self._placed}",
            self._rootfs,
            self._stack.asterisk.sip_address,
            target,
            planned,
            self._rate,
        )
        self._callers.start()
        await self._callers.finish()
        failed = [
            call for call in parse_call_logs(self._callers.log, "") if call.answered is None or not call.by_caller
        ]
        if failed:
            raise SandboxError(f"{len(failed)} of {count} calls failed; the first: {failed[0]}")

    async def _measure(self) -> dict[str, float]:
        """Wait until voxrec has finished all work, and return the figures by name."""
        pending: list[str] = [""]

        async def settled() -> bool:
            metrics = await read_metrics(self._stack)
            pending[:] = [
                *(
                    f"{name} is {metrics[name]:g}"
                    for name in metrics
                    if name.startswith(PENDING_METRICS) and metrics[name]
                ),
                *await asterisk_leftovers(self._stack, self._reactor),
            ]
            return not pending

        if not await self._stack.wait_until(settled, SETTLE_SECONDS):
            raise SandboxError(f"work pending {SETTLE_SECONDS:g} s after the last call: {'; '.join(pending[:10])}")
        await deferLater(self._reactor, IDLE_SECONDS)
        metrics = await read_metrics(self._stack)
        asterisk = observe_asterisk(self._stack, self._reactor)
        taskprocessors = await self._stack.asterisk.run_console_command(self._reactor, "core show taskprocessors")
        return {
            **_process_figures("voxrec", self._stack.pid),
            "voxrec live calls": metrics["voxrec_calls_live"],
            "voxrec journal lines": metrics["voxrec_journal_pending"],
            "voxrec events not stored": metrics["voxrec_events_pending"],
            "jobs waiting or dead": sum(
                value for name, value in metrics.items() if name.startswith(("voxrec_jobs_waiting", "voxrec_jobs_dead"))
            ),
            "recordings neither completed nor absent": sum(
                value for name, value in metrics.items() if name.startswith("voxrec_recordings{")
            ),
            **_process_figures("Asterisk", self._stack.asterisk.pid),
            "Asterisk channels": float(len(await asterisk.list_channels())),
            "Asterisk bridges": float(len(await asterisk.list_bridges())),
            "Asterisk recording files": float(len(list(self._stack.asterisk.recording_directory.glob("[!.]*")))),
            "Asterisk taskprocessors": float(_parse_taskprocessor_count(taskprocessors)),
        }


def _process_figures(name: str, pid: int) -> dict[str, float]:
    process = Path(f"/proc/{pid}")
    pages = int((process / "statm").read_text().split()[1])
    return {
        f"{name} memory, MiB": pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        f"{name} files": float(len(list((process / "fd").iterdir()))),
        f"{name} threads": float(len(list((process / "task").iterdir()))),
    }


def _parse_taskprocessor_count(output: str) -> int:
    """Return the count in the last line of the console command's output, ``123 taskprocessors``."""
    for line in reversed(output.splitlines()):
        count, *rest = line.split() or [""]
        if rest == ["taskprocessors"]:
            return int(count)
    raise SandboxError(f"no count in the output of 'core show taskprocessors':\n{output}")


def print_measurements(measurements: Sequence[Measurement]) -> None:
    """Print the figures before and after as a table, and as the last line in JSON."""
    table = Table("", "before", "after", "limit", "", box=None)
    for measurement in measurements:
        table.add_row(
            measurement.name,
            f"{measurement.before:.1f}".removesuffix(".0"),
            f"{measurement.after:.1f}".removesuffix(".0"),
            f"{measurement.allowed:.1f}".removesuffix(".0"),
            "" if measurement.within_limit else "exceeded",
        )
    console.print(table)
    print(json.dumps({each.name: [round(each.before, 1), round(each.after, 1)] for each in measurements}))


def main() -> None:
    """Run the soak; exit status 0 only if no figure exceeds its limit."""
    parser = argparse.ArgumentParser(prog="python -m voxrec.sandbox.chaos.soak", description=__doc__)
    parser.add_argument("--calls", type=int, default=5000, help="number of calls after the warm-up")
    parser.add_argument("--rate", type=float, default=10.0, metavar="CALLS", help="calls per second")
    arguments = parser.parse_args()

    def make(reactor: Any, directory: Path, rootfs: Path | None) -> Soak:
        return Soak(reactor, directory, rootfs, arguments.rate)

    def evaluate(measurements: Sequence[Measurement]) -> str | None:
        print_measurements(measurements)
        return None if all(each.within_limit for each in measurements) else "a figure exceeds its limit"

    supervise("soak", make, lambda soak: soak.run(arguments.calls), evaluate)


if __name__ == "__main__":
    main()
