"""How long failures last: of a node's process, and of PostgreSQL's primary, with two nodes on one machine.

    python -m bench.failures [--rounds N]

Prints a table: the median of the rounds, and the lowest and highest value, in seconds.
"""

import shutil
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final

from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from bench.measure import Spread, requested_rounds
from voxrec.sandbox.replication import ReplicatedPostgres
from voxrec.sandbox.rootfs import asterisk_rootfs
from voxrec.sandbox.sipp import SippAnswerer, SippCaller
from voxrec.sandbox.stack import Stack

_RATE: Final = 10.0  # calls a second, whose refusals measure an interruption
_SECONDS: Final = 20.0  # for which these calls are placed
_LIMIT: Final = 60.0  # seconds


class Installation:
    """Two nodes, berlin and munich, on a PostgreSQL with a standby, and a far end that answers."""

    def __init__(self, reactor: Any, directory: Path) -> None:
        self.reactor = reactor
        self.directory = directory
        self.rootfs = asterisk_rootfs(lambda _line: None)
        self.postgres = ReplicatedPostgres(directory / "postgres")
        self.archive = directory / "archive"
        self.berlin, self.munich = self._node("berlin"), self._node("munich")
        self.answerer = SippAnswerer(reactor, directory / "answerer", self.rootfs)
        self.profile: dict[str, Any] = {}
        self._callers = 0

    def _node(self, name: str) -> Stack:
        directory = self.directory / name
        directory.mkdir(mode=0o755)
        settings = {
            "database": {"dsn": self.postgres.dsn()},
            "archive": {"directory": str(self.archive)},
            "node": {"name": name},
        }
        return Stack(self.reactor, directory, self.rootfs, settings)

    async def start(self) -> None:
        """Start everything."""
        (self.directory / "postgres").mkdir(mode=0o755)
        self.postgres.start()
        self.archive.mkdir()
        for node in (self.berlin, self.munich):
            await node.start()
        await self.answerer.start()
        fields = {"remoteSipUri": self.answerer.uri, "record": True, "recordBeepAtStart": False}
        self.profile = await self.berlin.request_json("PUT", "/profiles", fields)

    async def stop(self) -> None:
        """Stop everything."""
        await self.answerer.stop()
        for node in (self.munich, self.berlin):
            await node.stop()
        self.postgres.stop()

    async def calls(self, node: Stack, **options: Any) -> SippCaller:
        """Begin calls at a node."""
        self._callers += 1
        directory = self.directory / f"caller-{self._callers}"
        caller = SippCaller(
            self.reactor, directory, self.rootfs, node.asterisk.sip_address, self.profile["id"], **options
        )
        await caller.start()
        return caller

    async def seconds_until(self, condition: Callable[[], Awaitable[bool]]) -> float:
        """Return the seconds until a condition is true."""
        began = time.monotonic()
        while not await condition():
            if time.monotonic() - began > _LIMIT:
                raise RuntimeError("the condition was not met in time")
            await deferLater(self.reactor, 0.02)
        return time.monotonic() - began

    def call_is(self, state: str) -> Callable[[], Awaitable[bool]]:
        """Return the condition that munich lists one call of berlin in a state."""

        async def reached() -> bool:
            calls = await self.munich.request_json("GET", "/calls")
            return [(call["node"], call["state"]) for call in calls] == [("berlin", state)]

        return reached

    async def process_dies(self) -> dict[str, float]:
        """Kill -9 the voxrec of berlin, during a call; start it again when its call is lost."""
        live = await self.calls(self.berlin, talk_seconds=40.0)
        await self.seconds_until(self.call_is("talking"))
        self.berlin.kill_voxrec()
        lost = await self.seconds_until(self.call_is("lost"))
        elsewhere = time.monotonic()
        await (await self.calls(self.munich, talk_seconds=0.1)).finish()
        elsewhere = time.monotonic() - elsewhere
        await self.berlin.start_voxrec()
        found = await self.seconds_until(self.call_is("talking"))
        (call,) = await self.munich.request_json("GET", "/calls")
        await self.munich.request_json("DELETE", f"/calls/{call['id']}")
        await live.finish()
        return {
            "until the calls of a killed voxrec are `lost`": lost,
            "a call through another node, with SIPp's start and end": elsewhere,
            "until its call is known again after its restart": found,
        }

    async def process_is_restarted(self) -> dict[str, float]:
        """Kill -9 the voxrec of berlin and start it at once, while calls arrive."""
        number = round(_RATE * _SECONDS)
        caller = await self.calls(self.berlin, count=number, rate=_RATE, talk_seconds=0.2, media=False)
        await deferLater(self.reactor, 3.0)
        self.berlin.kill_voxrec()
        await self.berlin.start_voxrec()
        result = await caller.finish()
        return {"calls are refused after kill -9 and an immediate restart": (number - result.succeeded) / _RATE}

    async def primary_dies(self) -> dict[str, float]:
        """Kill -9 the primary of PostgreSQL and promote its standby, while calls arrive at berlin."""
        number = round(_RATE * _SECONDS)
        caller = await self.calls(self.berlin, count=number, rate=_RATE, talk_seconds=0.2, media=False)
        await deferLater(self.reactor, 3.0)
        self.postgres.fail_over()
        times = []
        for node in (self.berlin, self.munich):

            async def accepts_changes(node: Stack = node) -> bool:
                changed = await node.request("POST", f"/profiles/{self.profile['id']}", {"ringTimeoutSeconds": 60})
                return changed.status == 200

            times.append(await self.seconds_until(accepts_changes))
        result = await caller.finish()
        self.postgres.rejoin()
        return {
            "until REST accepts changes after the promotion": sum(times),
            "calls are refused during a failover of PostgreSQL": (number - result.succeeded) / _RATE,
        }


def _make_directory() -> Path:
    directory = Path(tempfile.mkdtemp(prefix="voxrec-bench-"))
    directory.chmod(0o755)
    return directory


async def _main(reactor: Any) -> None:
    rounds = requested_rounds(sys.argv[1:])
    directory = _make_directory()
    installation = Installation(reactor, directory)
    figures: dict[str, list[float]] = {}
    try:
        await installation.start()
        for _ in range(rounds):
            for measure in (installation.process_dies, installation.process_is_restarted, installation.primary_dies):
                for name, seconds in (await measure()).items():
                    figures.setdefault(name, []).append(seconds)
    finally:
        await installation.stop()
        shutil.rmtree(directory, ignore_errors=True)
    for name, values in figures.items():
        print(f"{name:60} {Spread.of(values).text(2)}")


if __name__ == "__main__":
    react(lambda reactor: Deferred.fromCoroutine(_main(reactor)))
