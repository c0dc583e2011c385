"""``make soak``: thousands of short calls, and whether voxrec and Asterisk end where they began."""

import argparse
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from rich.table import Table
from twisted.internet.task import deferLater

from voxrec.sandbox.chaos.phones import Callers, Desks, witnessed
from voxrec.sandbox.chaos.run import MAILBOX, left_in, looker_on, metrics
from voxrec.sandbox.chaos.schedule import PlannedCall
from voxrec.sandbox.chaos.supervisor import endure
from voxrec.sandbox.demo import console, step
from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.stack import Stack

TALK_SECONDS: Final = 1.0
WARM_UP: Final = 500
"""Calls before the first look: thread pools, connections and allocators have their size by then."""
SETTLE_SECONDS: Final = 600.0
REST_SECONDS: Final = 40.0
"""Until the last SIP transaction is forgotten (RFC 3261, timers B, H and J: 32 s), and idle connections too."""


class Bound(NamedTuple):
    """How much more than at the beginning a figure may be at the end: ``fixed``, and so much for each call."""

    fixed: float
    per_call: float = 0.0


NOTHING: Final = Bound(0)
BOUNDS: Final[Mapping[str, Bound]] = {
    # A leaked call would be its machine, its timers and its Recording: more than 10 KiB. What both programs may gain
    # instead is what their allocators keep of a busier moment than the warm-up had.
    "voxrec memory, MiB": Bound(16, 0.001),
    "Asterisk memory, MiB": Bound(24, 0.001),
    # a keep-alive connection to Asterisk or to PostgreSQL that was not open at that moment, and its thread
    "voxrec files": Bound(4),
    "voxrec threads": Bound(10),
    "Asterisk files": Bound(4),
    "Asterisk threads": Bound(8),
    # its pools grow by 5 with load (pjsip.conf, threadpool_auto_increment), and shrink after a minute without
    "Asterisk taskprocessors": Bound(12),
}
"""What is not named here has to be what it was."""


@dataclass(frozen=True, slots=True)
class Change:
    """One figure before and after so many calls."""

    name: str
    before: float
    after: float
    calls: int

    @property
    def allowed(self) -> float:
        """What ``after`` may be at most."""
        bound = BOUNDS.get(self.name, NOTHING)
        return self.before + bound.fixed + bound.per_call * self.calls

    @property
    def holds(self) -> bool:
        """Whether it ended where it began."""
        return self.after <= self.allowed


class Soak:
    """One soak in ``directory``."""

    def __init__(self, reactor: Any, directory: Path, rootfs: Path | None, rate: float) -> None:
        self._reactor = reactor
        self._directory = directory
        self._rootfs = rootfs
        self._rate = rate
        self._stack = Stack(reactor, directory / "stack", rootfs)
        self._desks = Desks(reactor, directory / "desks", rootfs)
        self._callers: Callers | None = None
        self._placed = 0

    async def run(self, calls: int) -> list[Change]:
        """Warm up, look, place so many calls, and look again. SandboxError where a call failed or nothing settles."""
        await self._stack.start(step)
        await self._desks.start()
        profile = await self._stack.ask(
            "PUT",
            "/profiles",
            {"remoteSipUri": self._desks.uri, "record": True, "recordChannels": "dual", "email": MAILBOX},
        )
        step(f"{WARM_UP} calls to warm up")
        await self._place(profile["id"], WARM_UP)
        before = await self._look()
        step(f"{calls} calls, {self._rate:g} a second: {calls / self._rate:.0f} s")
        await self._place(profile["id"], calls)
        after = await self._look()
        return [Change(name, before[name], after[name], calls) for name in before]

    async def stop(self) -> None:
        """Stop all that runs."""
        if self._callers is not None:
            await self._callers.stop()
        await self._desks.stop()
        await self._stack.stop()

    async def _place(self, target: str, count: int) -> None:
        planned = [PlannedCall(f"+4990{self._placed + number:08d}", TALK_SECONDS) for number in range(1, count + 1)]
        self._placed += count
        self._callers = Callers(
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
        failed = [call for call in witnessed(self._callers.log, "") if call.answered is None or not call.by_caller]
        if failed:
            raise SandboxError(f"{len(failed)} of {count} calls failed; the first: {failed[0]}")

    async def _look(self) -> dict[str, float]:
        """Wait until nothing is owed any more, and count."""
        owed: list[str] = [""]

        async def settled() -> bool:
            figures = await metrics(self._stack)
            owed[:] = [
                *(f"{name} is {figures[name]:g}" for name in figures if name.startswith(_OWED) and figures[name]),
                *await left_in(self._stack, self._reactor),
            ]
            return not owed

        if not await self._stack.until(settled, SETTLE_SECONDS):
            raise SandboxError(f"still owed {SETTLE_SECONDS:g} s after the last call: {'; '.join(owed[:10])}")
        await deferLater(self._reactor, REST_SECONDS)
        figures = await metrics(self._stack)
        asterisk = looker_on(self._stack, self._reactor)
        processors = await self._stack.asterisk.console(self._reactor, "core show taskprocessors")
        return {
            **_of_process("voxrec", self._stack.pid),
            "voxrec calls live": figures["voxrec_calls_live"],
            "voxrec lines of the journal": figures["voxrec_journal_pending"],
            "voxrec events unsaved": figures["voxrec_events_pending"],
            "jobs waiting or dead": sum(
                value for name, value in figures.items() if name.startswith(("voxrec_jobs_waiting", "voxrec_jobs_dead"))
            ),
            "recordings neither completed nor absent": sum(
                value for name, value in figures.items() if name.startswith("voxrec_recordings{")
            ),
            **_of_process("Asterisk", self._stack.asterisk.pid),
            "Asterisk channels": float(len(await asterisk.list_channels())),
            "Asterisk bridges": float(len(await asterisk.list_bridges())),
            "Asterisk files of recordings": float(len(list(self._stack.asterisk.recording_directory.iterdir()))),
            "Asterisk taskprocessors": float(_taskprocessors(processors)),
        }


_OWED: Final = ("voxrec_jobs_waiting", "voxrec_calls_live", "voxrec_journal_pending", "voxrec_events_pending")


def _of_process(name: str, pid: int) -> dict[str, float]:
    process = Path(f"/proc/{pid}")
    pages = int((process / "statm").read_text().split()[1])
    return {
        f"{name} memory, MiB": pages * os.sysconf("SC_PAGE_SIZE") / 2**20,
        f"{name} files": float(len(list((process / "fd").iterdir()))),
        f"{name} threads": float(len(list((process / "task").iterdir()))),
    }


def _taskprocessors(told: str) -> int:
    """Read the last line of the table: ``123 taskprocessors``."""
    for line in reversed(told.splitlines()):
        count, *rest = line.split() or [""]
        if rest == ["taskprocessors"]:
            return int(count)
    raise SandboxError(f"Asterisk does not count its taskprocessors:\n{told}")


def tell(changes: Sequence[Change]) -> None:
    """Print the figures before and after, and as the last line the same as JSON."""
    table = Table("", "before", "after", "at most", "", box=None)
    for change in changes:
        table.add_row(
            change.name,
            f"{change.before:.1f}".removesuffix(".0"),
            f"{change.after:.1f}".removesuffix(".0"),
            f"{change.allowed:.1f}".removesuffix(".0"),
            "" if change.holds else "too much",
        )
    console.print(table)
    print(json.dumps({change.name: [round(change.before, 1), round(change.after, 1)] for change in changes}))


def main() -> None:
    """Soak; exit status 0 only if everything ended where it began."""
    parser = argparse.ArgumentParser(prog="python -m voxrec.sandbox.chaos.soak", description=__doc__)
    parser.add_argument("--calls", type=int, default=5000)
    parser.add_argument("--rate", type=float, default=10.0, metavar="CALLS", help="calls a second")
    options = parser.parse_args()

    def made(reactor: Any, directory: Path, rootfs: Path | None) -> Soak:
        return Soak(reactor, directory, rootfs, options.rate)

    def complaint(changes: Sequence[Change]) -> str | None:
        tell(changes)
        return None if all(change.holds for change in changes) else "not everything ended where it began"

    endure("soak", made, lambda soak: soak.run(options.calls), complaint)


if __name__ == "__main__":
    main()
