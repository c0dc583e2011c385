"""How long a caller waits from INVITE to 200: through voxrec, against a plain dialplan Dial on the same Asterisk.

Both ways are taken in turn, so that whatever else the machine does befalls both. Prints a table and a line of JSON.
"""

import json
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from voxrec.sandbox.asterisk import plain_extension
from voxrec.sandbox.rootfs import asterisk_rootfs
from voxrec.sandbox.sipp import SippAnswerer, SippCaller
from voxrec.sandbox.stack import Stack

ROUNDS = 5
CALLS = 40
RATE = 10.0
WAYS = ("dialplan Dial", "voxrec, record off", "voxrec, record dual")


async def measure(reactor: Any, rootfs: Path | None, directory: Path) -> dict[str, list[float]]:
    """Place the calls of all rounds; give back the seconds of each call by its way."""
    stack = Stack(reactor, directory, rootfs)
    desk = SippAnswerer(reactor, directory / "desk", rootfs)
    seconds: dict[str, list[float]] = {way: [] for way in WAYS}
    try:
        await stack.start(lambda line: print(line, file=sys.stderr))
        await desk.start()
        targets = [plain_extension(desk.port)]
        for record in (False, True):
            profile = {"remoteSipUri": desk.uri, "record": record, "recordChannels": "dual"}
            targets.append((await stack.ask("PUT", "/profiles", profile))["id"])
        for number in range(ROUNDS):
            for way, target in zip(WAYS, targets, strict=True):
                caller = SippCaller(
                    reactor,
                    directory / f"caller-{number}-{len(seconds[way])}-{WAYS.index(way)}",
                    rootfs,
                    stack.asterisk.sip_address,
                    target,
                    count=CALLS,
                    rate=RATE,
                    talk_seconds=2.0,
                )
                result = await caller.run(120)
                if result.failed:
                    raise SystemExit(f"{result.failed} calls failed: {result.codes}")
                seconds[way] += result.response_seconds
                print(f"round {number + 1} of {ROUNDS}: {way}", file=sys.stderr)
    finally:
        await desk.stop()
        await stack.stop()
    return seconds


def report(seconds: dict[str, list[float]]) -> None:
    """Print milliseconds, and each median as a ratio to the first way's."""
    base = statistics.median(seconds[WAYS[0]])
    print(f"\nINVITE to 200, {ROUNDS} rounds of {CALLS} calls at {RATE:g}/s, with media; milliseconds\n")
    print("| way | median | p99 | max | median, ratio |\n|---|---|---|---|---|")
    for way, values in seconds.items():
        p99 = statistics.quantiles(values, n=100)[98]
        median = statistics.median(values)
        print(f"| {way} | {median * 1e3:.1f} | {p99 * 1e3:.1f} | {max(values) * 1e3:.1f} | {median / base:.2f} |")
    print(json.dumps({way: round(statistics.median(values) * 1e3, 2) for way, values in seconds.items()}))


def main() -> None:
    """Measure and report."""
    rootfs = asterisk_rootfs(lambda line: print(line, file=sys.stderr))

    async def run(reactor: Any) -> None:
        with tempfile.TemporaryDirectory(prefix="voxrec-bench-") as directory:
            report(await measure(reactor, rootfs, Path(directory)))

    react(lambda reactor: Deferred.fromCoroutine(run(reactor)))


if __name__ == "__main__":
    main()
