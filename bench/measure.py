"""How the benchmarks measure: ways in turn, medians with their spread, and what a process costs, as /proc tells it."""

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
# Fields of /proc/PID/stat behind the command's name, proc(5) counting from 1 and the name being the second.
_PARENT, _USER, _SYSTEM, _CHILDREN_USER, _CHILDREN_SYSTEM = (field - 3 for field in (4, 14, 15, 16, 17))


class Spread(NamedTuple):
    """The median of what was measured, between its lowest and its highest value."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, values: Sequence[float]) -> "Spread":
        """The spread of one value or more."""
        return cls(statistics.median(values), min(values), max(values))

    def shown(self, digits: int = 1) -> str:
        """``8.1 (7.9 to 8.4)``."""
        return f"{self.median:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"


def interleaved(ways: Sequence[T], rounds: int) -> Iterator[tuple[int, T]]:
    """Every way once in each round (counted from 0), each round beginning with another one.

    So whatever else the machine does befalls all, and none always goes first.
    """
    for number in range(rounds):
        first = number % len(ways)
        for way in (*ways[first:], *ways[:first]):
            yield number, way


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that is not below ``percent`` % of them (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def tree(pid: int) -> list[int]:
    """A process and all that descend from it, as they live now."""
    children: dict[int, list[int]] = {}
    for entry in _PROC.iterdir():
        if entry.name.isdigit() and (stat := _stat(int(entry.name))):
            children.setdefault(int(stat[_PARENT]), []).append(int(entry.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def cpu_seconds(pid: int, *, descendants: bool = True) -> float:
    """CPU that a process has used so far, user and system, in seconds; with its descendants, also those that ended.

    The kernel counts in ticks of 10 ms: measure over seconds.
    """
    ticks = 0
    for each in tree(pid) if descendants else [pid]:
        if stat := _stat(each):
            ticks += int(stat[_USER]) + int(stat[_SYSTEM])
            if descendants:
                ticks += int(stat[_CHILDREN_USER]) + int(stat[_CHILDREN_SYSTEM])
    return ticks / _TICKS


def machine_seconds() -> float:
    """CPU that everything on this machine has used so far, in seconds, the kernel's own work included."""
    user, nice, system, _idle, _waiting, irq, softirq, *_ = map(int, (_PROC / "stat").read_text().split()[1:9])
    return (user + nice + system + irq + softirq) / _TICKS


def resident_megabytes(pid: int) -> float:
    """Memory of one process that is in RAM (RSS), in MB of 10^6 bytes."""
    return int((_PROC / str(pid) / "statm").read_text().split()[1]) * _PAGE / 1e6


def _stat(pid: int) -> list[str] | None:
    try:
        # the name may hold spaces and parentheses; none follow it
        return (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
