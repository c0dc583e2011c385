"""PostgreSQL's CPU for calls that overlap, at a rate, with several versions of voxrec in interleaved rounds.

    python -m bench.storage_rate [--rate N] [--rounds N] [--calls N] COMMIT...

Each commit's source is taken from git, and has a process and a server of its own; ``now`` is this one. Everything that
voxrec executes while calls take place is included: their statements, claims of jobs, the index for searches, and the
background processes of the server, which waits for the disk at each commit. The table has medians of the rounds, and
the ratio to the first commit of the same round with its 95 % confidence interval, as in `bench.storage`.
"""

import argparse
from collections.abc import Sequence
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Final, NamedTuple

import psycopg2

from bench.measure import cpu_seconds, interleaved
from bench.servers import print_progress, temporary_postgresql
from bench.storage import CommitProcess, print_comparison
from voxrec.postgres.cluster import Cluster

_WORKER: Final = Path(__file__).with_name("storage_rate_worker.py")
_DATABASE: Final = "bench"


class Cost(NamedTuple):
    """Milliseconds of CPU for a call, its transactions that change something, and its kilobytes of write-ahead log."""

    postgresql: float
    voxrec: float
    transactions: float
    wal: float


class Version:
    """The process of one commit, and its server, whose files are in ``directory``."""

    def __init__(self, commit: str, directory: Path, server: Cluster, rate: float) -> None:
        self.commit = commit
        self._server = server
        self._server_pid = int((directory / "postgres" / "cluster" / "postmaster.pid").read_text().split()[0])
        server.create_database(_DATABASE)
        self._process = CommitProcess(commit, directory, _WORKER, server.dsn(_DATABASE), str(rate))

    def place(self, calls: int) -> Cost:
        """Place calls, and return the cost of one."""
        before = self._server_counters()
        voxrec = self._process.execute(calls)
        cpu, transactions, wal = (new - old for new, old in zip(self._server_counters(), before, strict=True))
        return Cost(cpu * 1e3 / calls, voxrec * 1e3 / calls, transactions / calls, wal / 1e3 / calls)

    def stop(self) -> None:
        """End the process."""
        self._process.stop()

    def _server_counters(self) -> tuple[float, int, int]:
        """Return the seconds of CPU of the server, its transactions, and its bytes of write-ahead log."""
        with closing(psycopg2.connect(self._server.dsn(_DATABASE))) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT pg_snapshot_xmax(pg_current_snapshot())::text::bigint, pg_current_wal_lsn() - '0/0'")
            transactions, wal = cursor.fetchone() or (0, 0)
        return cpu_seconds(self._server_pid), transactions, int(wal)


def measure(commits: Sequence[str], rate: float, rounds: int, calls: int) -> dict[str, list[Cost]]:
    """Return the costs in each round by commit. A round without a record before it warms up everything."""
    costs: dict[str, list[Cost]] = {commit: [] for commit in commits}
    with ExitStack() as stack:
        versions = []
        for commit in commits:
            directory, server = stack.enter_context(temporary_postgresql())
            version = Version(commit, directory, server, rate)
            stack.callback(version.stop)
            version.place(calls)
            versions.append(version)
        for number, version in interleaved(versions, rounds):
            costs[version.commit].append(cost := version.place(calls))
            print_progress(f"round {number + 1}: {version.commit}: {cost.postgresql:.2f} ms in PostgreSQL")
    return costs


def main() -> None:
    """Measure, and print a table for each figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rate", type=float, default=50.0, help="calls per second")
    parser.add_argument("--rounds", type=int, default=12)
    parser.add_argument("--calls", type=int, default=250, help="calls in each round")
    parser.add_argument("commits", nargs="+", metavar="COMMIT")
    options = parser.parse_args()
    costs = measure(options.commits, options.rate, options.rounds, options.calls)
    names = ("CPU of PostgreSQL, ms", "CPU of voxrec, ms", "transactions", "write-ahead log, kB")
    print_comparison(costs, names, f"{options.rounds} rounds of {options.calls} calls, {options.rate:g} per second")


if __name__ == "__main__":
    main()
