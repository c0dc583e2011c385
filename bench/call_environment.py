"""The environment of the benchmarks with calls: Asterisk, voxrec, SIPp, other ARI programs, and their CPU time."""

import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from bench.measure import cpu_seconds, requested_rounds
from bench.report import Section, publish
from bench.rivals import Recipe, Rival
from voxrec.sandbox import tones
from voxrec.sandbox.rootfs import asterisk_rootfs
from voxrec.sandbox.sipp import TONE_HZ, SippAnswerer, SippCaller, SippResult
from voxrec.sandbox.stack import Stack

EDGE_SECONDS: Final = 0.5
"""Seconds at each end of a recording that are not measured: packets in transit."""
_FINISH_TIMEOUT: Final = 60.0  # seconds
_IDLE_CPU_SECONDS: Final = 0.02  # in each check
_CHECK_SECONDS: Final = 0.25


@dataclass(frozen=True)
class Load:
    """The results of a number of calls, and the seconds of CPU that each measured process used for them."""

    result: SippResult
    cpu: Mapping[str, float]


class CallEnvironment:
    """A stack, and a callee that answers immediately and echoes each caller's audio."""

    def __init__(self, reactor: Any, directory: Path, rootfs: Path | None) -> None:
        self.reactor = reactor
        self.directory = directory
        self.rootfs = rootfs
        self.stack = Stack(reactor, directory / "stack", rootfs, {"log": {"level": "info"}})  # as installed
        self.callee = SippAnswerer(reactor, directory / "callee", rootfs)
        self.measured: dict[str, int] = {}
        """Process ids by name of the processes whose CPU is measured: Asterisk, voxrec (without PostgreSQL), rivals."""
        self._rivals: list[Rival] = []
        self._loads = 0

    async def start(self) -> None:
        """Start the stack and the callee."""
        await self.stack.start(print_progress)
        await self.callee.start()
        self.measured = {"asterisk": self.stack.asterisk.pid, "voxrec": self.stack.pid}

    async def start_rival(self, recipe: Recipe) -> Rival:
        """Start a rival; its CPU is measured under its name."""
        rival = Rival(self.reactor, recipe, self.stack.asterisk, self.directory)
        self._rivals.append(rival)
        await rival.ready()
        self.measured[rival.name] = rival.pid
        return rival

    async def stop_rival(self, rival: Rival) -> None:
        """Stop a rival."""
        self._rivals.remove(rival)
        del self.measured[rival.name]
        await rival.stop()

    async def stop(self) -> None:
        """Stop everything."""
        for rival in self._rivals:
            await rival.stop()
        await self.callee.stop()
        await self.stack.stop()

    async def create_profile(self, *, record: bool = True, channels: str = "dual") -> str:
        """Create a Profile without announcement, beep and mail, with the callee as its far end, and return its id."""
        body = {
            "remoteSipUri": self.callee.uri,
            "record": record,
            "recordChannels": channels,
            "recordPrompt": "none",
            "recordBeepAtStart": False,
        }
        profile_id: str = (await self.stack.request_json("PUT", "/profiles", body))["id"]
        return profile_id

    async def place_calls(self, target: str, count: int, rate: float, seconds: float, *, media: bool = True) -> Load:
        """Place ``count`` calls of ``seconds``, ``rate`` per second, and wait until voxrec has finished all work."""
        self._loads += 1
        caller = SippCaller(
            self.reactor,
            self.directory / f"load-{self._loads}",
            self.rootfs,
            self.stack.asterisk.sip_address,
            target,
            count=count,
            rate=rate,
            talk_seconds=seconds,
            media=media,
        )
        before = self._cpu()
        try:
            result = await caller.run(count / rate + seconds + 60)
        finally:
            await caller.stop()
        await self.wait_until_idle()
        after = self._cpu()
        return Load(result, {name: after[name] - before[name] for name in after})

    async def wait_until_idle(self) -> None:
        """Wait until voxrec has finished every recording and hardly any CPU is used for three checks in a row."""
        deadline = self.reactor.seconds() + _FINISH_TIMEOUT
        spool = self.stack.asterisk.recording_directory
        last, idle_checks = self._cpu(), 0
        while idle_checks < 3 and self.reactor.seconds() < deadline:
            await deferLater(self.reactor, _CHECK_SECONDS)
            now = self._cpu()
            busy = sum(now.values()) - sum(last.values()) > _IDLE_CPU_SECONDS or any(spool.glob("voxrec-*"))
            idle_checks = 0 if busy else idle_checks + 1
            last = now

    def recordings(self) -> list[Path]:
        """Return the files in voxrec's archive, and those of other programs in Asterisk's recording directory."""
        spool, archive = self.stack.asterisk.recording_directory, self.stack.archive_directory
        return [*spool.glob("*.wav"), *archive.glob("[0-9]*/**/*.wav")]

    def _cpu(self) -> dict[str, float]:
        return {name: cpu_seconds(pid, descendants=False) for name, pid in self.measured.items()}


def missing_milliseconds(recording: Path, end: float) -> float:
    """Return the milliseconds of the callers' tone that are missing in a recording's worst channel, up to ``end`` s."""
    samples, rate = tones.load_audio(recording)
    return max(
        tones.missing_milliseconds(samples[:, channel], rate, TONE_HZ, EDGE_SECONDS, end)
        for channel in range(samples.shape[1])
    )


def print_progress(line: str) -> None:
    """Print a line to standard error."""
    print(line, file=sys.stderr, flush=True)


def run(part: str, measure: Callable[[CallEnvironment, int], Awaitable[Sequence[Section]]]) -> None:
    """Run one part in its own environment and publish its sections; ``--quick`` runs one round only."""

    def measure_in_one(environments: Sequence[CallEnvironment], rounds: int) -> Awaitable[Sequence[Section]]:
        return measure(environments[0], rounds)

    run_side_by_side(part, measure_in_one, environments=1)


def run_side_by_side(
    part: str, measure: Callable[[Sequence[CallEnvironment], int], Awaitable[Sequence[Section]]], *, environments: int
) -> None:
    """Run one part in ``environments`` environments that exist at the same time, and publish its sections."""
    rounds = requested_rounds(sys.argv[1:])
    rootfs = asterisk_rootfs(print_progress)

    async def measure_and_publish(reactor: Any) -> None:
        started: list[CallEnvironment] = []
        try:
            for number in range(environments):
                own = directory / str(number)
                own.mkdir(mode=0o755)
                started.append(CallEnvironment(reactor, own, rootfs))
                await started[-1].start()
            publish(part, await measure(started, rounds), rounds)
        finally:
            for environment in started:
                await environment.stop()

    with tempfile.TemporaryDirectory(prefix="voxrec-bench-") as name:
        directory = Path(name)
        directory.chmod(0o755)
        react(lambda reactor: Deferred.fromCoroutine(measure_and_publish(reactor)))
