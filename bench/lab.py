"""One Asterisk, one voxrec, any number of SIPp calls, and what each process used."""

import sys
import tempfile
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from bench.measure import ROUNDS, cpu_seconds
from bench.report import Section, publish
from bench.rivals import Recipe, Rival
from voxrec.sandbox import tones
from voxrec.sandbox.rootfs import asterisk_rootfs
from voxrec.sandbox.sipp import TONE_HZ, SippAnswerer, SippCaller, SippResult
from voxrec.sandbox.stack import Stack

# What the beginning and the end of a recording may lack: the first packets are on their way, the last ones too.
EDGE: Final = 0.5
_SETTLING: Final = 60.0  # seconds that finishing what was recorded may take


@dataclass(frozen=True)
class Load:
    """What became of calls, and the seconds of CPU that they cost each process that was watched."""

    result: SippResult
    cpu: Mapping[str, float]


class Lab:
    """A stack, and a callee that answers at once and sends each caller's sound back."""

    def __init__(self, reactor: Any, directory: Path, rootfs: Path | None) -> None:
        self.reactor = reactor
        self.directory = directory
        self.rootfs = rootfs
        self.stack = Stack(reactor, directory / "stack", rootfs)
        self.callee = SippAnswerer(reactor, directory / "desk", rootfs)
        self.watched: dict[str, int] = {}
        """The processes whose CPU counts, by name; Asterisk and voxrec (without its PostgreSQL) from the start on."""
        self._rivals: list[Rival] = []
        self._loads = 0

    async def start(self) -> None:
        """Start all of it."""
        await self.stack.start(say)
        await self.callee.start()
        self.watched = {"asterisk": self.stack.asterisk.pid, "voxrec": self.stack.pid}

    async def rival(self, recipe: Recipe) -> Rival:
        """Start a rival; its CPU is watched under its name."""
        rival = Rival(self.reactor, recipe, self.stack.asterisk, self.directory)
        self._rivals.append(rival)
        await rival.ready()
        self.watched[rival.name] = rival.pid
        return rival

    async def dismiss(self, rival: Rival) -> None:
        """Stop a rival."""
        self._rivals.remove(rival)
        del self.watched[rival.name]
        await rival.stop()

    async def stop(self) -> None:
        """Stop all of it."""
        for rival in self._rivals:
            await rival.stop()
        await self.callee.stop()
        await self.stack.stop()

    async def profile(self, *, record: bool = True, channels: str = "dual") -> str:
        """The number to dial for a Profile that leads to the callee, without announcement, beep and mail."""
        body = {
            "remoteSipUri": self.callee.uri,
            "record": record,
            "recordChannels": channels,
            "recordPrompt": "none",
            "recordBeepAtStart": False,
        }
        profile: str = (await self.stack.request_json("PUT", "/profiles", body))["id"]
        return profile

    async def calls(self, target: str, count: int, rate: float, seconds: float, *, media: bool = True) -> Load:
        """Place calls that talk for so many seconds, and wait until nothing of them is left to do."""
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
        before = self._used()
        try:
            result = await caller.run(count / rate + seconds + 60)
        finally:
            await caller.stop()
        await self.settled()
        after = self._used()
        return Load(result, {name: after[name] - before[name] for name in after})

    async def settled(self) -> None:
        """Wait until voxrec has finished every recording, and hardly any CPU is used for three quarters of a second."""
        deadline = self.reactor.seconds() + _SETTLING
        spool = self.stack.asterisk.recording_directory
        last, quiet = self._used(), 0
        while quiet < 3 and self.reactor.seconds() < deadline:
            await deferLater(self.reactor, 0.25)
            now = self._used()
            busy = sum(now.values()) - sum(last.values()) > 0.02 or any(spool.glob("voxrec-*"))
            quiet = 0 if busy else quiet + 1
            last = now

    def recordings(self) -> list[Path]:
        """What voxrec has finished, and what others left in Asterisk's recording directory."""
        spool, archive = self.stack.asterisk.recording_directory, self.stack.archive_directory
        return [*spool.glob("*.wav"), *archive.glob("[0-9]*/**/*.wav")]

    def _used(self) -> dict[str, float]:
        return {name: cpu_seconds(pid, descendants=False) for name, pid in self.watched.items()}


def missing_milliseconds(recording: Path, until: float) -> float:
    """How much of the callers' tone is missing in a recording's worst channel, from `EDGE` to ``until`` (seconds)."""
    samples, rate = tones.load_audio(recording)
    return max(
        tones.missing_milliseconds(samples[:, channel], rate, TONE_HZ, EDGE, until)
        for channel in range(samples.shape[1])
    )


def say(line: str) -> None:
    """Tell whoever waits how far it is."""
    print(line, file=sys.stderr, flush=True)


def run(part: str, measure: Callable[[Lab, int], Awaitable[Sequence[Section]]]) -> None:
    """Run one part as a program: in a lab of its own, with ``--quick`` for a single round; publish what it found."""
    rounds = 1 if "--quick" in sys.argv[1:] else ROUNDS
    rootfs = asterisk_rootfs(say)

    async def measured(reactor: Any) -> None:
        lab = Lab(reactor, directory, rootfs)
        try:
            await lab.start()
            publish(part, await measure(lab, rounds), rounds)
        finally:
            await lab.stop()

    with tempfile.TemporaryDirectory(prefix="voxrec-bench-") as place:
        directory = Path(place)
        directory.chmod(0o755)
        react(lambda reactor: Deferred.fromCoroutine(measured(reactor)))
