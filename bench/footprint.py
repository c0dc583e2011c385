"""How soon voxrec is ready, what it keeps in memory, and how long its reactor is ever deaf."""

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from twisted.internet.task import deferLater

from bench.lab import Lab, run, say
from bench.measure import Spread, percentile, resident_megabytes
from bench.report import Reach, Section, Table
from voxrec.sandbox.sipp import SippCaller

CALLS: Final = 100  # live at once, for their memory
RATE: Final = 25.0  # calls a second, while stalls are looked for: about half of what the ceiling is
SECONDS: Final = 6.0  # for which calls are placed
TALK: Final = 2.0
LIMIT: Final = 20.0  # milliseconds at p99.9
_EVERY: Final = 0.005  # seconds between two questions


class Stalls:
    """Asks voxrec something trivial every few milliseconds over one connection, and keeps how long each answer took.

    An answer waits for whatever the reactor does at that moment. The kernel's own delays count too, so this is an upper
    bound of the reactor's stalls.
    """

    def __init__(self, url: str) -> None:
        self._host, _, port = url.rpartition("/")[2].partition(":")
        self._port = int(port)
        self._over = threading.Event()
        self.milliseconds: list[float] = []

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Ask for as long as this lasts."""
        thread = threading.Thread(target=self._ask)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()

    def _ask(self) -> None:
        question = f"GET /health/live HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode()
        with socket.create_connection((self._host, self._port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not self._over.wait(_EVERY):
                began = time.perf_counter()
                connection.sendall(question)
                if not connection.recv(65536).startswith(b"HTTP/1.1 200"):
                    raise RuntimeError("voxrec is not alive")
                self.milliseconds.append((time.perf_counter() - began) * 1e3)


async def measure(lab: Lab, rounds: int) -> Sequence[Section]:
    """Start, memory and stalls, each round on a voxrec that was started anew."""
    target = await lab.profile()
    ready, idle, loaded, longest, worst = [], [], [], [], []
    for number in range(rounds):
        await lab.stack.stop_voxrec()
        began = time.monotonic()
        await lab.stack.start_voxrec()
        ready.append(time.monotonic() - began)
        lab.watched["voxrec"] = lab.stack.pid
        await lab.settled()
        idle.append(resident_megabytes(lab.stack.pid))
        loaded.append(await _with_calls(lab, target, number))
        stalls = Stalls(lab.stack.url)
        with stalls.watching():
            await lab.calls(target, round(RATE * SECONDS), RATE, TALK, media=False)
        longest.append(percentile(stalls.milliseconds, 99.9))
        worst.append(max(stalls.milliseconds))
        say(f"round {number + 1} of {rounds}: ready in {ready[-1]:.1f} s, p99.9 {longest[-1]:.1f} ms")
    growth = [more - less for more, less in zip(loaded, idle, strict=True)]
    rows = (
        ("from start to ready, with its own PostgreSQL, s", Spread.of(ready).shown()),
        ("memory idle, MB", Spread.of(idle).shown(0)),
        (f"memory for {CALLS} live recorded calls more, MB", Spread.of(growth).shown()),
        (f"a trivial answer at {RATE:g} calls/s, p99.9, ms", Spread.of(longest).shown()),
        ("the same, longest, ms", Spread.of(worst).shown()),
    )
    return [
        Section(
            title="Start, memory, and the reactor's stalls",
            intro=(
                "voxrec's own process. Stalls are seen from outside: `/health/live` is asked every "
                f"{_EVERY * 1e3:g} ms while recorded calls come, end and are finished; whatever the reactor does "
                "meanwhile delays the answer."
            ),
            tables=(Table(("what", "median of the rounds"), rows),),
            reaches=(Reach.at_most("stall at p99.9", Spread.of(longest).median, LIMIT, " ms"),),
        )
    ]


async def _with_calls(lab: Lab, target: str, number: int) -> float:
    """The memory with all calls live."""
    rate = 25.0
    caller = SippCaller(
        lab.reactor,
        lab.directory / f"live-{number}",
        lab.rootfs,
        lab.stack.asterisk.sip_address,
        target,
        count=CALLS,
        rate=rate,
        talk_seconds=CALLS / rate + 2,
        media=False,
    )
    await caller.start()
    try:

        async def all_live() -> bool:
            return len(await lab.stack.request_json("GET", "/calls")) == CALLS

        if not await lab.stack.wait_until(all_live, CALLS / rate + 3):
            raise RuntimeError(f"{CALLS} calls do not fit")
        memory = resident_megabytes(lab.stack.pid)
        await caller.finish()
    finally:
        await caller.stop()
    await deferLater(lab.reactor, 0)
    await lab.settled()
    return memory


if __name__ == "__main__":
    run("footprint", measure)
