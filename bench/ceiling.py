"""How many calls a second, and how many at once, before callers or recordings suffer: voxrec against the dialplan."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple

from bench.lab import EDGE, Lab, missing_milliseconds, run, say
from bench.measure import Spread, cpu_seconds, interleaved, machine_seconds, percentile
from bench.report import Bars, Reach, Section, Table
from voxrec.sandbox.asterisk import baseline_extension

RATES: Final = (10, 13, 16, 20, 25, 32, 40, 50, 63, 80, 100, 125, 160, 200, 250, 320)  # calls a second
AT_ONCE: Final = (16, 25, 32, 40, 50, 63, 80, 100, 125, 160, 200, 250, 320)  # recorded calls with sound
FIRST: Final = {"rate": 63, "at once": 50}
SECONDS: Final = 3.0  # for which calls are placed
TALK: Final = 1.0
LISTEN: Final = 4.0  # seconds of sound that are listened to
RAMP: Final = 25.0  # calls a second, until all are there
SLOWEST: Final = 100.0  # milliseconds from INVITE to 200, p99
FAILING: Final = 1 / 1000
GAP: Final = 40.0  # milliseconds of a recording's tone that may be missing: two packets
DIALPLAN, DUAL = "dialplan MixMonitor + Dial", "voxrec dual"
OF_DIALPLAN, SHARE = 0.5, 0.2


class Way(NamedTuple):
    """Whose ceiling, and which."""

    kind: str
    name: str


class Budget(NamedTuple):
    """Milliseconds of CPU for each call, of Asterisk, of voxrec, of its PostgreSQL, and of the whole machine."""

    asterisk: float
    voxrec: float
    postgresql: float
    machine: float


class Ladder:
    """Finds the highest step that holds, beginning where it was last time."""

    def __init__(self, steps: Sequence[int], first: int) -> None:
        self._steps = steps
        self._at = steps.index(first)
        self.found: list[float] = []

    def next(self) -> int:
        """The step to begin with."""
        return self._steps[self._at]

    def up(self) -> int | None:
        """The step above the last one; None where there is none."""
        return self._move(+1)

    def down(self) -> int | None:
        """The step below the last one; None where there is none."""
        return self._move(-1)

    def _move(self, by: int) -> int | None:
        if not 0 <= self._at + by < len(self._steps):
            return None
        self._at += by
        return self._steps[self._at]


async def measure(lab: Lab, rounds: int) -> Sequence[Section]:
    """The highest steps that hold, and voxrec's share of the CPU on its way there."""
    ours = await lab.profile()
    targets = {
        Way("rate", DIALPLAN): baseline_extension(lab.callee.port, recording="mixed"),
        Way("rate", DUAL): ours,
        # each side in a file of its own, as voxrec's dual: in a mixed one a side's gap is hidden by the other
        Way("at once", DIALPLAN): baseline_extension(lab.callee.port, recording="split"),
        Way("at once", DUAL): ours,
    }
    ladders = {way: Ladder(RATES if way.kind == "rate" else AT_ONCE, FIRST[way.kind]) for way in targets}
    share: list[float] = []
    budgets: dict[str, dict[float, Budget]] = {DIALPLAN: {}, DUAL: {}}

    async def holds(way: Way, step: int) -> bool:
        before, machine = cpu_seconds(lab.stack.pid), machine_seconds()
        if way.kind == "rate":
            load = await lab.calls(targets[way], round(step * SECONDS), step, TALK, media=False)
            good = bool(load.result.response_seconds) and (
                load.result.failed <= FAILING * load.result.placed
                and percentile(load.result.response_seconds, 99) * 1e3 <= SLOWEST
            )
            tree = cpu_seconds(lab.stack.pid) - before
            spent = (load.cpu["asterisk"], load.cpu["voxrec"], tree - load.cpu["voxrec"], machine_seconds() - machine)
            budgets[way.name][step] = Budget(*(seconds * 1e3 / load.result.placed for seconds in spent))
        else:
            load = await lab.calls(targets[way], step, RAMP, step / RAMP + LISTEN)
            until = LISTEN + step / RAMP - EDGE
            recordings = lab.recordings()
            good = len(recordings) >= step and all(missing_milliseconds(each, until) <= GAP for each in recordings)
            if way.name == DUAL:
                # the whole tree this time: PostgreSQL belongs to what the calls cost
                whole = cpu_seconds(lab.stack.pid) - before
                share.append(load.cpu["voxrec"] / (whole + load.cpu["asterisk"]))
        for recording in lab.recordings():
            recording.unlink()
        say(f"  {way.name}, {step} {way.kind}: {'holds' if good else 'too much'}")
        return good

    for number, way in interleaved(list(ladders), rounds):
        say(f"round {number + 1} of {rounds}: {way.name}, {way.kind}")
        ladders[way].found.append(await _climb(ladders[way], way, holds))
    return [_calls_a_second(ladders, budgets), _at_once(ladders, share)]


async def _climb(ladder: Ladder, way: Way, holds: Callable[[Way, int], Awaitable[bool]]) -> float:
    """Go up from the last round's step until one does not hold, or down until one does; 0 where none does."""
    step: int | None = ladder.next()
    assert step is not None, "a ladder has steps"
    if await holds(way, step):
        best = step
        while (step := ladder.up()) is not None and await holds(way, step):
            best = step
        if step is not None:
            ladder.down()
        return float(best)
    while (step := ladder.down()) is not None:
        if await holds(way, step):
            return float(step)
    return 0.0


def _calls_a_second(ladders: Mapping[Way, Ladder], budgets: Mapping[str, Mapping[float, Budget]]) -> Section:
    found = {name: ladders[Way("rate", name)].found for name in (DIALPLAN, DUAL)}
    ratio = Spread.of(found[DUAL]).median / max(1.0, Spread.of(found[DIALPLAN]).median)
    return Section(
        title="Calls a second",
        intro=(
            f"The highest rate at which no call in {round(1 / FAILING)} fails and 99 % are answered within "
            f"{SLOWEST:g} ms; steps of about a quarter, calls of {TALK:g} s without sound."
        ),
        tables=(_table(found, "calls a second"), _spent(found, budgets)),
        reaches=(Reach.at_least("voxrec dual against the dialplan", ratio, OF_DIALPLAN),),
        bars=Bars.of("Calls a second", "calls/s", found),
    )


def _spent(found: Mapping[str, Sequence[float]], budgets: Mapping[str, Mapping[float, Budget]]) -> Table:
    rows = []
    for name, rates in found.items():
        rate = min(budgets[name], key=lambda step: abs(step - Spread.of(rates).median))
        spent = budgets[name][rate]
        rest = spent.machine - spent.asterisk - spent.voxrec - spent.postgresql
        rows.append((name, f"{rate:.0f}", *(f"{each:.1f}" for each in (*spent[:3], rest, spent.machine))))
    columns = ("CPU for each call, ms", "at calls/s", "Asterisk", "voxrec", "PostgreSQL", "SIPp and the rest", "all")
    return Table(columns, tuple(rows))


def _at_once(ladders: Mapping[Way, Ladder], share: Sequence[float]) -> Section:
    found = {name: ladders[Way("at once", name)].found for name in (DIALPLAN, DUAL)}
    return Section(
        title="Recorded calls at once",
        intro=(
            f"The highest number of calls with sound both ways at which no recording lacks more than {GAP:g} ms of "
            "the test tone. SIPp's two ends run on the same machine and send and take every packet: a gateway of its "
            "own machine carries more."
        ),
        tables=(_table(found, "calls at once"),),
        reaches=(Reach.at_most("voxrec's share of the CPU of Asterisk, PostgreSQL and itself", max(share), SHARE),),
        bars=Bars.of("Recorded calls at once", "calls", found),
    )


def _table(found: Mapping[str, Sequence[float]], unit: str) -> Table:
    base = max(1.0, Spread.of(found[DIALPLAN]).median)
    rows = [(name, Spread.of(each).shown(0), f"{Spread.of(each).median / base:.2f}") for name, each in found.items()]
    return Table(("way", unit, "ratio"), tuple(rows))


if __name__ == "__main__":
    run("ceiling", measure)
