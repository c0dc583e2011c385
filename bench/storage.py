"""What a call costs in PostgreSQL, with several versions of voxrec in interleaved rounds.

    python -m bench.storage [--rounds N] [--calls N] COMMIT...

Each commit's source is taken from git, and has a process and a database of its own on one server; ``now`` is this one.
The table has medians of the rounds, and the ratio to the first commit of the same round with its 95 % confidence
interval (of the median, by the binomial distribution). The CPU time is less sensitive to other load than the time.
Commits do not wait for the disk (``synchronous_commit`` is off), which costs the same in all versions.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import Any, Final

from bench.measure import interleaved
from bench.servers import temporary_postgresql
from voxrec.sandbox.process import with_parent_death_signal

_REPOSITORY: Final = Path(__file__).parents[1]
_WORKER: Final = Path(__file__).with_name("storage_worker.py")
_FIGURES: Final = ("time, ms", "CPU of voxrec, ms", "CPU of PostgreSQL, ms")


class CommitProcess:
    """A process that executes calls with the source of one commit: it reads their number, and prints JSON."""

    def __init__(self, commit: str, directory: Path, script: Path, *arguments: str) -> None:
        """Start ``script``. The source is below ``directory``. Raises RuntimeError if it does not become ready."""
        self.commit = commit
        self._process = subprocess.Popen(
            with_parent_death_signal([sys.executable, str(script), *arguments]),
            env={**os.environ, "PYTHONPATH": str(source_of(commit, directory))},
            cwd=directory,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        if self._read() != "ready":
            raise RuntimeError(f"{commit} did not start")

    def execute(self, calls: int) -> Any:
        """Execute calls, and return what the process prints about them."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{calls}\n")
        self._process.stdin.flush()
        return json.loads(self._read())

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.communicate()

    def _read(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


def source_of(commit: str, directory: Path) -> Path:
    """Return the directory of the source of a commit, which is created below ``directory``; ``now``: this one."""
    if commit == "now":
        return _REPOSITORY
    source = directory / commit.replace("/", "-").replace("~", "-")
    source.mkdir()
    content = subprocess.run(
        ["git", "archive", commit, "voxrec"], cwd=_REPOSITORY, check=True, stdout=subprocess.PIPE
    ).stdout
    with tarfile.open(fileobj=BytesIO(content)) as archive:
        archive.extractall(source, filter="data")
    return source


def measure(commits: Sequence[str], rounds: int, calls: int) -> dict[str, list[list[float]]]:
    """Return the figures of each round by commit. A round without a record before it warms up everything."""
    figures: dict[str, list[list[float]]] = {commit: [] for commit in commits}
    with ExitStack() as stack:
        directory, server = stack.enter_context(temporary_postgresql({"synchronous_commit": "off"}))
        workers = []
        for number, commit in enumerate(commits):
            server.create_database(f"bench_{number}")
            worker = CommitProcess(commit, directory, _WORKER, server.dsn(f"bench_{number}"), "berlin")
            stack.callback(worker.stop)
            worker.execute(calls)
            workers.append(worker)
        for _, worker in interleaved(workers, rounds):
            figures[worker.commit].append([seconds * 1000 for seconds in worker.execute(calls)])
    return figures


def print_comparison(figures: Mapping[str, Sequence[Sequence[float]]], names: Sequence[str], description: str) -> None:
    """Print a table for each figure of a round, by commit, with the ratio to the first commit of the same round."""
    baseline = next(iter(figures.values()))
    for index, name in enumerate(names):
        print(f"\n{name} for a call, {description}")
        for commit, rounds in figures.items():
            ratios = [own[index] / first[index] for own, first in zip(rounds, baseline, strict=True)]
            low, high = _interval_of_median(ratios)
            median = statistics.median(each[index] for each in rounds)
            print(f"  {commit:20} {median:8.3f}   {statistics.median(ratios):.3f} ({low:.3f} to {high:.3f})")


def _interval_of_median(values: Sequence[float]) -> tuple[float, float]:
    """Return the 95 % confidence interval of the median, from order statistics (normal approximation)."""
    ordered = sorted(values)
    distance = 0.98 * len(ordered) ** 0.5
    low = max(0, int(len(ordered) / 2 - distance))
    high = min(len(ordered) - 1, int(len(ordered) / 2 + distance))
    return ordered[low], ordered[high]


def main() -> None:
    """Measure, and print a table for each figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("--calls", type=int, default=50, help="calls in each round")
    parser.add_argument("commits", nargs="+", metavar="COMMIT")
    options = parser.parse_args()
    figures = measure(options.commits, options.rounds, options.calls)
    print_comparison(figures, _FIGURES, f"{options.rounds} rounds of {options.calls} calls")


if __name__ == "__main__":
    main()
