"""Start-up time, memory, and the longest time for which the reactor does not respond."""

import socket
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Final

from twisted.internet.task import deferLater

from bench.call_environment import CallEnvironment, print_progress, run
from bench.measure import Spread, percentile, resident_megabytes
from bench.report import Section, Table, Target
from voxrec.sandbox.sipp import SippCaller

LIVE_CALLS: Final = 100  # for the memory of live calls
RATE: Final = 25.0  # calls per second during the measurement of stalls: about half of what the ceiling is
SECONDS: Final = 6.0  # during which calls are placed
CALL_SECONDS: Final = 2.0
MAX_STALL_MS: Final = 20.0  # at p99.9
_PROBE_SECONDS: Final = 0.005
TITLE: Final = "Start-up, memory and reactor stalls"
INTRO: Final = (
    "voxrec's own process. Stalls are measured from outside: `/health/live` is requested every "
    f"{_PROBE_SECONDS * 1e3:g} ms while recorded calls start, end and are finished; whatever occupies the reactor at "
    "that time delays the response."
)


class StallProbe:
    """Sends a trivial request every few milliseconds on one connection, and stores how long each response takes.

    A response waits for whatever the reactor does at that moment. It includes delays of the kernel, so that it is an
    upper bound of the reactor's stalls.
    """

    def __init__(self, url: str) -> None:
        self._host, _, port = url.rpartition("/")[2].partition(":")
        self._port = int(port)
        self._stopped = threading.Event()
        self.milliseconds: list[float] = []

    @contextmanager
    def running(self) -> Iterator[None]:
        """Send requests, from a thread, inside this context."""
        thread = threading.Thread(target=self._run)
        thread.start()
        try:
            yield
        finally:
            self._stopped.set()
            thread.join()

    def _run(self) -> None:
        request = f"GET /health/live HTTP/1.1\r\nHost: {self._host}\r\n\r\n".encode()
        with socket.create_connection((self._host, self._port)) as connection:
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            while not self._stopped.wait(_PROBE_SECONDS):
                began = time.perf_counter()
                connection.sendall(request)
                if not connection.recv(65536).startswith(b"HTTP/1.1 200"):
                    raise RuntimeError("/health/live did not respond with 200")
                self.milliseconds.append((time.perf_counter() - began) * 1e3)


async def measure(environment: CallEnvironment, rounds: int) -> Sequence[Section]:
    """Measure start-up, memory and stalls; each round restarts voxrec."""
    target = await environment.create_profile()
    ready, idle, loaded, p999, longest = [], [], [], [], []
    for number in range(rounds):
        await environment.stack.stop_voxrec()
        began = time.monotonic()
        await environment.stack.start_voxrec()
        ready.append(time.monotonic() - began)
        environment.measured["voxrec"] = environment.stack.pid
        await environment.wait_until_idle()
        idle.append(resident_megabytes(environment.stack.pid))
        loaded.append(await _memory_with_live_calls(environment, target, number))
        probe = StallProbe(environment.stack.url)
        with probe.running():
            await environment.place_calls(target, round(RATE * SECONDS), RATE, CALL_SECONDS, media=False)
        p999.append(percentile(probe.milliseconds, 99.9))
        longest.append(max(probe.milliseconds))
        print_progress(f"round {number + 1} of {rounds}: ready in {ready[-1]:.1f} s, p99.9 {p999[-1]:.1f} ms")
    growth = [more - less for more, less in zip(loaded, idle, strict=True)]
    rows = (
        ("from start to ready, with embedded PostgreSQL, s", Spread.of(ready).text()),
        ("memory when idle, MB", Spread.of(idle).text(0)),
        (f"additional memory for {LIVE_CALLS} live recorded calls, MB", Spread.of(growth).text()),
        (f"response to a trivial request at {RATE:g} calls/s, p99.9, ms", Spread.of(p999).text()),
        ("the longest such response, ms", Spread.of(longest).text()),
    )
    return [
        Section(
            title=TITLE,
            intro=INTRO,
            tables=(Table(("measurement", "median of the rounds"), rows),),
            targets=(Target.at_most("stall at p99.9", Spread.of(p999).median, MAX_STALL_MS, " ms"),),
        )
    ]


async def _memory_with_live_calls(environment: CallEnvironment, target: str, number: int) -> float:
    """Return the megabytes that voxrec uses while all calls are live."""
    caller = SippCaller(
        environment.reactor,
        environment.directory / f"live-{number}",
        environment.rootfs,
        environment.stack.asterisk.sip_address,
        target,
        count=LIVE_CALLS,
        rate=RATE,
        talk_seconds=LIVE_CALLS / RATE + 2,
        media=False,
    )
    await caller.start()
    try:

        async def all_live() -> bool:
            return len(await environment.stack.request_json("GET", "/calls")) == LIVE_CALLS

        if not await environment.stack.wait_until(all_live, LIVE_CALLS / RATE + 3):
            raise RuntimeError(f"fewer than {LIVE_CALLS} calls became live")
        memory = resident_megabytes(environment.stack.pid)
        await caller.finish()
    finally:
        await caller.stop()
    await deferLater(environment.reactor, 0)
    await environment.wait_until_idle()
    return memory


if __name__ == "__main__":
    run("footprint", measure)
