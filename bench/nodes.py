"""One, two and three nodes behind Kamailio on one machine: call set-up, forwarding, writes to PostgreSQL, failures."""

import sys
import tempfile
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import psycopg2
from twisted.internet.defer import Deferred
from twisted.internet.task import deferLater, react

from bench.call_environment import print_progress
from bench.measure import Spread, requested_rounds
from bench.report import Section, Table, publish
from voxrec.sandbox.chaos.cluster import ClusterRun
from voxrec.sandbox.chaos.cluster_environment import NODE_NAMES, ClusterEnvironment, Node
from voxrec.sandbox.chaos.fault_run import RunOptions
from voxrec.sandbox.rootfs import asterisk_rootfs
from voxrec.sandbox.sipp import SippAnswerer, SippCaller, SippResult

CALLS: Final = 40
RATE: Final = 5.0  # calls per second
CALL_SECONDS: Final = 2.0
REQUESTS: Final = 20
LOST_SECONDS: Final = 15.0
TITLE: Final = "Several nodes"
INTRO: Final = (
    "Nodes (Asterisk and voxrec) behind Kamailio, with a PostgreSQL and its synchronous standby, all on one machine, "
    f"whose processors they share. {CALLS} recorded calls of {CALL_SECONDS:g} s at {RATE:g}/s in all. Writes are those "
    "of calls and their Recordings, less those of the same time without calls."
)


class Writes(NamedTuple):
    """What PostgreSQL has written since its start."""

    transactions: float
    rows: float
    wal_bytes: float

    def since(self, earlier: "Writes") -> "Writes":
        """Return the difference."""
        return Writes(*(now - then for now, then in zip(self, earlier, strict=True)))


@dataclass
class Results:
    """The results of one number of nodes, a value for each round."""

    setup_ms: list[float] = field(default_factory=list)
    own_ms: list[float] = field(default_factory=list)
    forwarded_ms: list[float] = field(default_factory=list)
    transactions: list[float] = field(default_factory=list)
    rows: list[float] = field(default_factory=list)
    wal_kilobytes: list[float] = field(default_factory=list)
    lost_seconds: list[float] = field(default_factory=list)
    call_seconds: list[float] = field(default_factory=list)


class NodesBenchmark:
    """The measurements of one cluster."""

    def __init__(self, reactor: Any, directory: Path, rootfs: Path | None, count: int, results: Results) -> None:
        self._reactor = reactor
        self._directory = directory
        self._rootfs = rootfs
        self._results = results
        self._run = ClusterRun(reactor, directory, rootfs, RunOptions(0, 1.0, ()), print_progress, NODE_NAMES[:count])
        self._far_end = SippAnswerer(reactor, directory / "far-end", rootfs)
        self._callers = 0

    async def measure(self) -> None:
        """Measure everything once."""
        environment = await self._run.start_environment()
        await self._far_end.start()
        fields = {"remoteSipUri": self._far_end.uri, "record": True, "recordBeepAtStart": False}
        first = environment.nodes[0].stack
        profile: str = (await first.request_json("PUT", "/profiles", fields))["id"]
        await self._place_calls(profile, 2 * len(environment.nodes))  # to warm up
        await self._measure_calls(environment, profile)
        await self._measure_requests(environment, profile)
        if len(environment.nodes) > 1:
            await self._measure_failure(environment, profile)

    async def stop(self) -> None:
        """Stop everything."""
        await self._far_end.stop()
        await self._run.stop()

    async def _measure_calls(self, environment: ClusterEnvironment, profile: str) -> None:
        seconds = CALLS / RATE + CALL_SECONDS + 4.0
        idle = await self._writes_during(environment, deferLater(self._reactor, seconds))
        began = self._reactor.seconds()
        calls: list[SippResult] = []

        async def place() -> None:
            calls.append(await self._place_calls(profile, CALLS))
            await deferLater(self._reactor, max(0.0, began + seconds - self._reactor.seconds()))

        writes = (await self._writes_during(environment, Deferred.fromCoroutine(place()))).since(idle)
        times = sorted(calls[0].response_seconds)
        self._results.setup_ms.append(times[len(times) // 2] * 1e3)
        self._results.transactions.append(writes.transactions / CALLS)
        self._results.rows.append(writes.rows / CALLS)
        self._results.wal_kilobytes.append(writes.wal_bytes / CALLS / 1000)

    async def _measure_requests(self, environment: ClusterEnvironment, profile: str) -> None:
        """Pause and resume a call, through its node and through another one."""
        caller = self._caller(profile, 1, 60.0)
        await caller.start()
        try:
            call = await self._wait_for_call(environment.nodes[0])
            owner = next(node for node in environment.nodes if node.name == call["node"])
            self._results.own_ms.append(await self._request_ms(owner, call))
            if len(environment.nodes) > 1:
                self._results.forwarded_ms.append(await self._request_ms(environment.other_node(owner), call))
            await owner.stack.request_json("DELETE", f"/calls/{call['id']}")
            await caller.finish()

            async def over() -> bool:
                return not await environment.nodes[0].stack.request_json("GET", "/calls")

            await owner.stack.wait_until(over, 30.0)  # other nodes list it for up to a second
        finally:
            await caller.stop()

    async def _request_ms(self, node: Node, call: dict[str, Any]) -> float:
        times: list[float] = []
        for number in range(REQUESTS):
            began = self._reactor.seconds()
            state = {"state": "recording" if number % 2 else "paused"}
            await node.stack.request_json("POST", f"/recordings/{call['recordingId']}", state)
            times.append(self._reactor.seconds() - began)
        return sorted(times)[REQUESTS // 2] * 1e3

    async def _measure_failure(self, environment: ClusterEnvironment, profile: str) -> None:
        """Kill the node of a call, and measure when that call is lost and how long the next calls take."""
        caller = self._caller(profile, 1, 60.0)
        await caller.start()
        try:
            call = await self._wait_for_call(environment.nodes[0])
            owner = next(node for node in environment.nodes if node.name == call["node"])
            other = environment.other_node(owner).stack
            await self._wait_for_call(environment.other_node(owner))  # it is stored
            began = self._reactor.seconds()
            owner.stack.asterisk.kill()
            owner.stack.kill_voxrec()
            # One of the next calls is sent to the killed node.
            delays = [await self._place_calls(profile, 1, seconds=0.2) for _ in environment.nodes]

            async def lost() -> bool:
                return any(each["state"] == "lost" for each in await other.request_json("GET", "/calls"))

            if not await other.wait_until(lost, LOST_SECONDS):
                raise RuntimeError(f"the call is not lost after {LOST_SECONDS:g} s")
            self._results.lost_seconds.append(self._reactor.seconds() - began)
            self._results.call_seconds.append(max(result.response_seconds[0] for result in delays))
        finally:
            await caller.stop()

    async def _wait_for_call(self, node: Node) -> dict[str, Any]:
        calls: list[dict[str, Any]] = []

        async def recording() -> bool:
            calls[:] = [each for each in await node.stack.request_json("GET", "/calls") if each.get("recordingId")]
            return bool(calls) and calls[0]["state"] == "talking"

        if not await node.stack.wait_until(recording, 30.0):
            raise RuntimeError("the call was not answered")
        return calls[0]

    async def _place_calls(self, profile: str, count: int, seconds: float = CALL_SECONDS) -> SippResult:
        caller = self._caller(profile, count, seconds)
        try:
            result = await caller.run()
        finally:
            await caller.stop()
        if result.failed:
            raise RuntimeError(f"{result.failed} of {count} calls failed: {dict(result.codes)}")
        return result

    def _caller(self, profile: str, count: int, seconds: float) -> SippCaller:
        self._callers += 1
        return SippCaller(
            self._reactor,
            self._directory / f"caller-{self._callers}",
            self._rootfs,
            self._run.sip_address,
            profile,
            count=count,
            rate=RATE,
            talk_seconds=seconds,
        )

    async def _writes_during(self, environment: ClusterEnvironment, work: Deferred[None]) -> Writes:
        before = _writes(environment)
        await work
        return _writes(environment).since(before)


def _writes(environment: ClusterEnvironment) -> Writes:
    with closing(psycopg2.connect(environment.postgres.primary.dsn())) as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT xact_commit, tup_inserted + tup_updated + tup_deleted, pg_current_wal_lsn() - '0/0'::pg_lsn "
            "FROM pg_stat_database WHERE datname = current_database()"
        )
        transactions, rows, wal = cursor.fetchone() or (0, 0, 0)
    return Writes(float(transactions), float(rows), float(wal))


async def measure(reactor: Any, rounds: int) -> Sequence[Section]:
    """Measure clusters of one, two and three nodes."""
    rootfs = asterisk_rootfs(print_progress)
    results = {count: Results() for count in (1, 2, 3)}
    for number in range(rounds):
        for count, result in results.items():
            with tempfile.TemporaryDirectory(prefix="voxrec-bench-nodes-", ignore_cleanup_errors=True) as name:
                Path(name).chmod(0o755)  # noqa: ASYNC240 - nothing else runs
                benchmark = NodesBenchmark(reactor, Path(name), rootfs, count, result)
                try:
                    await benchmark.measure()
                finally:
                    await benchmark.stop()
            print_progress(f"round {number + 1} of {rounds}: {count} nodes")
    names = {
        "INVITE to 200 through Kamailio, ms": "setup_ms",
        "pause or resume at the call's node, ms": "own_ms",
        "the same through another node, ms": "forwarded_ms",
        "transactions of PostgreSQL per call": "transactions",
        "rows written per call": "rows",
        "write-ahead log per call, kB": "wal_kilobytes",
        "from a node's death to `lost`, s": "lost_seconds",
        "INVITE to 200 of the slowest of the next calls, s": "call_seconds",
    }
    rows = tuple(
        (title, *(_text(getattr(results[count], attribute)) for count in results)) for title, attribute in names.items()
    )
    return [Section(title=TITLE, intro=INTRO, tables=(Table(("measurement", "1 node", "2 nodes", "3 nodes"), rows),))]


def _text(values: Sequence[float]) -> str:
    return Spread.of(values).text() if values else "-"


def main() -> None:
    """Measure and publish; see `bench.measure.requested_rounds` for the command line."""
    rounds = requested_rounds(sys.argv[1:])

    async def measure_and_publish(reactor: Any) -> None:
        publish("nodes", await measure(reactor, rounds), rounds)

    react(lambda reactor: Deferred.fromCoroutine(measure_and_publish(reactor)))


if __name__ == "__main__":
    main()
