"""The schedule of calls and faults: a pure function of seed and duration, so that a run can be repeated."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

RECOVERY_SECONDS = 3.0
"""Seconds without a fault before the first one, and between two faults of the same component."""
MEAN_INTERVAL_SECONDS = 15.0
"""Average seconds of the run per fault."""


class FaultKind(NamedTuple):
    """A kind of fault: the component that it affects, and the minimum and maximum of its duration in seconds."""

    name: str
    component: str
    min_seconds: float
    max_seconds: float


class ScheduledFault(NamedTuple):
    """A fault that starts ``at`` seconds after the start of the run and lasts ``seconds``."""

    at: float
    fault: str
    seconds: float

    @property
    def end(self) -> float:
        """Seconds from the start of the run to the end of the fault."""
        return self.at + self.seconds


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A call with a unique caller's number; the caller hangs up ``seconds`` after the answer."""

    number: str
    seconds: float


def plan_faults(seed: int, duration: float, kinds: Sequence[FaultKind]) -> list[ScheduledFault]:
    """Return the faults of a run, earliest first; the numbers of any two kinds differ by at most one.

    Each fault starts and ends between 0 and ``duration``. Faults of different components may overlap, those of one
    component never do. A fault that does not fit before the end of the run is left out.
    """
    random = Random(f"faults {seed}")  # noqa: S311 - must be repeatable
    count = max(len(kinds), int(duration / MEAN_INTERVAL_SECONDS))
    rounds = [random.sample(kinds, len(kinds)) for _ in range(-(-count // len(kinds)))]
    slot = (duration - RECOVERY_SECONDS) / count
    next_free = {kind.component: RECOVERY_SECONDS for kind in kinds}
    faults = []
    for number, kind in enumerate([kind for each in rounds for kind in each][:count]):
        seconds = min(random.uniform(kind.min_seconds, kind.max_seconds), duration / 5)
        if seconds < 1 and kind.min_seconds == 0:
            seconds = 0.0
        latest = duration - seconds
        at = max(min(RECOVERY_SECONDS + (number + random.random()) * slot, latest), next_free[kind.component])
        if at + seconds > duration:
            continue
        faults.append(ScheduledFault(round(at, 3), kind.name, round(seconds, 3)))
        next_free[kind.component] = at + seconds + RECOVERY_SECONDS
    return sorted(faults)


def plan_calls(seed: int, count: int, min_seconds: float, max_seconds: float) -> list[PlannedCall]:
    """Return the calls of a run in the order in which they are placed."""
    random = Random(f"calls {seed}")  # noqa: S311 - must be repeatable
    return [
        PlannedCall(f"+4990{number:08d}", round(random.uniform(min_seconds, max_seconds) * 4) / 4)
        for number in range(1, count + 1)
    ]
