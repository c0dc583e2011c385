"""What happens when: a pure function of the seed and the duration, so that a bad run can be had again."""

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random
from typing import NamedTuple

QUIET_SECONDS = 3.0
"""Between two faults of the same part, and before the first of all: time to show that it recovered."""
ROOM_SECONDS = 15.0
"""How many seconds of the run each fault gets on average."""


class Kind(NamedTuple):
    """A kind of fault: what it befalls (``part``), and between how many seconds it may last."""

    name: str
    part: str
    shortest: float
    longest: float


class Strike(NamedTuple):
    """A fault that begins ``at`` seconds after the start of the run, and lasts ``seconds``."""

    at: float
    fault: str
    seconds: float

    @property
    def end(self) -> float:
        """When it is over, in seconds after the start of the run."""
        return self.at + self.seconds


@dataclass(frozen=True, slots=True)
class PlannedCall:
    """A call: its caller's number, which no other call has, and for how many seconds the caller talks."""

    number: str
    seconds: float


def plan_faults(seed: int, duration: float, kinds: Sequence[Kind]) -> list[Strike]:
    """Return the faults of a run, earliest first: every kind as often as the others, give or take one.

    Each begins and ends between 0 and ``duration``. Faults of different parts may overlap, those of one part never.
    A fault whose part stays taken until the run ends is left out.
    """
    random = Random(f"faults {seed}")  # noqa: S311 - to be had again is the point
    count = max(len(kinds), int(duration / ROOM_SECONDS))
    rounds = [random.sample(kinds, len(kinds)) for _ in range(-(-count // len(kinds)))]
    slot = (duration - QUIET_SECONDS) / count
    free = {kind.part: QUIET_SECONDS for kind in kinds}
    strikes = []
    for number, kind in enumerate([kind for each in rounds for kind in each][:count]):
        seconds = min(random.uniform(kind.shortest, kind.longest), duration / 5)
        if seconds < 1 and kind.shortest == 0:
            seconds = 0.0
        at = max(min(QUIET_SECONDS + (number + random.random()) * slot, duration - seconds), free[kind.part])
        if at + seconds > duration:
            continue
        strikes.append(Strike(round(at, 3), kind.name, round(seconds, 3)))
        free[kind.part] = at + seconds + QUIET_SECONDS
    return sorted(strikes)


def plan_calls(seed: int, count: int, shortest: float, longest: float) -> list[PlannedCall]:
    """Return the calls of a run, in the order in which they are placed."""
    random = Random(f"calls {seed}")  # noqa: S311 - to be had again is the point
    return [
        PlannedCall(f"+4990{number:08d}", round(random.uniform(shortest, longest) * 4) / 4)
        for number in range(1, count + 1)
    ]
