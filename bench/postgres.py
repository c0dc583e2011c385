"""The cost of a statement on voxrec's Connection, compared with a cursor of plain txpostgres.

voxrec.postgres.direct_connection bypasses txpostgres's cursors; this measures what that saves. Both run the same
statements, one at a time, on one connection each to the same server, in turn, and in one process.
"""

import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.task import react
from txpostgres.txpostgres import Connection as TxConnection

from bench.measure import Spread, interleaved, requested_rounds
from bench.report import BarChart, Section, Table, Target, publish
from bench.servers import print_progress, temporary_postgresql
from voxrec.postgres.connection import Connection
from voxrec.postgres.dsn import server_dsn, servers

STATEMENTS: Final = 5000  # in each round
WARM_UP: Final = 500
MIN_CPU_RATIO: Final = 1.3
DIRECT: Final = "voxrec's Connection.run"
CURSOR: Final = "txpostgres's Connection.runQuery"
_SQL: Final = "SELECT n, text 'a value' FROM generate_series(1, 100) AS n WHERE n = %s"

RunStatement = Callable[[int], Awaitable[object]]


class Cost(NamedTuple):
    """The cost of statements that run one after the other."""

    per_second: float
    cpu_microseconds: float
    """CPU time of this process for each statement, without the server's."""


async def measure(run: RunStatement) -> Cost:
    """Run statements and return their cost."""
    started, cpu_started = time.perf_counter(), time.process_time()
    for number in range(STATEMENTS):
        await run(number % 100)
    elapsed, cpu = time.perf_counter() - started, time.process_time() - cpu_started
    return Cost(STATEMENTS / elapsed, cpu / STATEMENTS * 1e6)


async def compare(reactor: Any, dsn: str, rounds: int) -> dict[str, list[Cost]]:
    """Measure both connections in turn, ``rounds`` times."""
    direct = Connection(reactor, lambda _connection, reason: sys.exit(f"the connection was lost: {reason}"))
    await direct.open(server_dsn(dsn, *servers(dsn)), connect_timeout=10, statement_timeout=30)
    plain = TxConnection(reactor)
    await plain.connect(dsn)
    variants: Mapping[str, RunStatement] = {
        DIRECT: lambda number: direct.run(_SQL, (number,)),
        CURSOR: lambda number: plain.runQuery(_SQL, (number,)),
    }
    for run in variants.values():
        for number in range(WARM_UP):
            await run(number)
    costs: dict[str, list[Cost]] = {name: [] for name in variants}
    for number, name in interleaved(tuple(variants), rounds):
        costs[name].append(cost := await measure(variants[name]))
        print_progress(
            f"round {number + 1}: {name}: {cost.per_second:.0f} statements/s, {cost.cpu_microseconds:.0f} µs of CPU"
        )
    direct.disconnect()
    plain.close()
    return costs


def section(costs: Mapping[str, list[Cost]]) -> Section:
    """Return the report."""
    cpu = {name: [cost.cpu_microseconds for cost in each] for name, each in costs.items()}
    rate = {name: [cost.per_second for cost in each] for name, each in costs.items()}
    # Of the same round, so that a slow moment of the machine does not count.
    cpu_ratio = Spread.of([plain / direct for plain, direct in zip(cpu[CURSOR], cpu[DIRECT], strict=True)])
    rate_ratio = Spread.of([direct / plain for plain, direct in zip(rate[CURSOR], rate[DIRECT], strict=True)])
    rows = [(name, Spread.of(rate[name]).text(0), Spread.of(cpu[name]).text(0)) for name in (DIRECT, CURSOR)]
    return Section(
        title="A statement without txpostgres's cursors",
        intro=(
            f"{STATEMENTS} look-ups with one parameter, one at a time on one connection over a Unix socket. The CPU is "
            "that of this process, without PostgreSQL's."
        ),
        tables=(
            Table(("connection", "statements/s", "CPU of a statement, µs"), tuple(rows)),
            Table(
                ("txpostgres's cursor relative to voxrec's connection", "ratio"),
                (("CPU of a statement", cpu_ratio.text(2)), ("time of a statement", rate_ratio.text(2))),
            ),
        ),
        targets=(Target.at_least("CPU of a statement with a cursor, relative", cpu_ratio.median, MIN_CPU_RATIO),),
        chart=BarChart.of("CPU of a statement", "µs", cpu),
    )


def main() -> None:
    """Measure and publish; ``--quick`` for a single round."""
    rounds = requested_rounds(sys.argv[1:])

    async def measured(reactor: Any) -> None:
        with temporary_postgresql({"fsync": "off"}) as (_, cluster):
            publish("postgres", [section(await compare(reactor, cluster.dsn(), rounds))], rounds)

    react(lambda reactor: Deferred.fromCoroutine(measured(reactor)))


if __name__ == "__main__":
    main()
