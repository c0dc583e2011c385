"""Measurement: interleaved rounds, medians with their spread, and the CPU time and memory of processes from /proc."""

import argparse
import math
import os
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

T = TypeVar("T")

ROUNDS: Final = 5
_PROC: Final = Path("/proc")
_TICKS: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = os.sysconf("SC_PAGE_SIZE")
# Indexes into the fields of /proc/PID/stat after the command name, which is field 2 of those that proc(5) numbers.
_PARENT, _USER, _SYSTEM, _CHILDREN_USER, _CHILDREN_SYSTEM = (field - 3 for field in (4, 14, 15, 16, 17))


class Spread(NamedTuple):
    """The median of a measurement, with its lowest and highest value."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """Return the spread of one or more values."""
        return cls(statistics.median(values), min(values), max(values))

    def text(self, digits: int = 1) -> str:
        """Return a text such as ``8.1 (7.9 to 8.4)``."""
        return f"{self.median:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


def interleaved(variants: Sequence[T], rounds: int) -> Iterator[tuple[int, T]]:
    """Yield every variant once per round, with the number of the round from 0; each round starts with another variant.

    Other load on the machine then affects all variants alike, and none is always the first.
    """
    for number in range(rounds):
        first = number % len(variants)
        for variant in (*variants[first:], *variants[:first]):
            yield number, variant


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest of the values that is at least as large as ``percent`` % of them (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def requested_rounds(arguments: Sequence[str]) -> int:
    """Return the number of rounds that a command line requests: 5, ``--quick`` for 1, or ``--rounds N``."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=ROUNDS, metavar="N", help="number of rounds of each measurement")
    parser.add_argument("--quick", dest="rounds", action="store_const", const=1, help="the same as --rounds 1")
    return int(parser.parse_args(arguments).rounds)


def process_tree(pid: int) -> list[int]:
    """Return the ids of a process and of all its living descendants."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))):
            children.setdefault(int(stat[_PARENT]), []).append(int(entry.name))
    tree = [pid]
    for each in tree:
        tree += children.get(each, [])
    return tree


def cpu_seconds(pid: int, *, descendants: bool = True) -> float:
    """Return the seconds of CPU (user and system) that a process has used, with its living and ended descendants.

    The kernel counts in ticks of 10 ms; measure over seconds.
    """
    ticks = 0
    for each in process_tree(pid) if descendants else [pid]:
        if stat := _stat(each):
            ticks += int(stat[_USER]) + int(stat[_SYSTEM])
            if descendants:
                ticks += int(stat[_CHILDREN_USER]) + int(stat[_CHILDREN_SYSTEM])
    return ticks / _TICKS


def machine_cpu_seconds() -> float:
    """Return the seconds of CPU that the whole machine has used, including the kernel."""
    user, nice, system, _idle, _iowait, irq, softirq, *_ = map(int, (_PROC / "stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq) / _TICKS


def resident_megabytes(pid: int) -> float:
    """Return the resident memory (RSS) of one process in megabytes of 10^6 bytes."""
    return int((_PROC / str(pid) / "statm").read_text().split()[1]) * _PAGE / 1e6


def _stat(pid: int) -> list[str] | None:
    try:
        # The command name may contain spaces and parentheses; the fields after it contain none.
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
