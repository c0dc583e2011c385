"""Maximum call rate and maximum number of concurrent recorded calls, compared with the dialplan."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple

from bench.call_environment import EDGE_SECONDS, CallEnvironment, Load, missing_milliseconds, print_progress, run
from bench.measure import Spread, cpu_seconds, interleaved, machine_cpu_seconds, percentile
from bench.report import BarChart, Section, Table, Target
from voxrec.sandbox.asterisk import baseline_extension

RATES: Final = (10, 13, 16, 20, 25, 32, 40, 50, 63, 80, 100, 125, 160, 200, 250, 320)  # calls per second
CONCURRENT: Final = (16, 25, 32, 40, 50, 63, 80, 100, 125, 160, 200, 250, 320)  # recorded calls with audio
FIRST: Final = {"calls per second": 63, "concurrent calls": 50}
SECONDS: Final = 3.0  # during which calls are placed
CALL_SECONDS: Final = 1.0
MEASURED_SECONDS: Final = 4.0  # of each recording
RAMP: Final = 25.0  # calls per second, until all are live
MAX_P99_MS: Final = 100.0  # from INVITE to 200
MAX_FAILED: Final = 1 / 1000
MAX_GAP_MS: Final = 40.0  # two packets
DIALPLAN, DUAL = "dialplan MixMonitor + Dial", "voxrec dual"
MIN_RATIO, MAX_CPU_SHARE = 0.5, 0.2
RATE_TITLE: Final = "Maximum call rate"
RATE_INTRO: Final = (
    f"The highest rate at which at most one call in {round(1 / MAX_FAILED)} fails and 99 % are answered within "
    f"{MAX_P99_MS:g} ms, in steps of about 25 %, with calls of {CALL_SECONDS:g} s without audio."
)
CONCURRENT_TITLE: Final = "Maximum number of concurrent recorded calls"
CONCURRENT_INTRO: Final = (
    f"The highest number of calls with audio in both directions at which no recording misses more than {MAX_GAP_MS:g} "
    "ms of the test tone. Both ends of SIPp run on the same machine, and send and receive every packet: a gateway on "
    "its own machine can carry more."
)


class Variant(NamedTuple):
    """A quantity whose maximum is measured (a key of FIRST), and the program."""

    quantity: str
    name: str


class Budget(NamedTuple):
    """Milliseconds of CPU per call of Asterisk, of voxrec, of its PostgreSQL, and of the whole machine."""

    asterisk: float
    voxrec: float
    postgresql: float
    machine: float


class StepSearch:
    """The position in a list of load steps; a search starts at the last round's result."""

    def __init__(self, steps: Sequence[int], first: int) -> None:
        self._steps = steps
        self._position = steps.index(first)
        self.results: list[float] = []

    def current(self) -> int:
        """Return the current step."""
        return self._steps[self._position]

    def increase(self) -> int | None:
        """Move to the next higher step and return it, or None at the end."""
        return self._move(+1)

    def decrease(self) -> int | None:
        """Move to the next lower step and return it, or None at the end."""
        return self._move(-1)

    def _move(self, by: int) -> int | None:
        if not 0 <= self._position + by < len(self._steps):
            return None
        self._position += by
        return self._steps[self._position]


class Measurement:
    """Finds the highest steps that the variants sustain, and records the CPU that they use."""

    def __init__(self, environment: CallEnvironment, targets: Mapping[Variant, str]) -> None:
        self._environment = environment
        self._targets = targets
        self.searches = {
            variant: StepSearch(
                RATES if variant.quantity == "calls per second" else CONCURRENT, FIRST[variant.quantity]
            )
            for variant in targets
        }
        self.cpu_shares: list[float] = []
        self.budgets: dict[str, dict[float, Budget]] = {DIALPLAN: {}, DUAL: {}}

    async def sustains(self, variant: Variant, step: int) -> bool:
        """Place the calls of one step, and return whether all requirements are met."""
        if variant.quantity == "calls per second":
            sustained = await self._sustains_rate(variant, step)
        else:
            sustained = await self._sustains_concurrent(variant, step)
        for recording in self._environment.recordings():
            recording.unlink()
        print_progress(f"  {variant.name}, {step} {variant.quantity}: {'sustained' if sustained else 'too many'}")
        return sustained

    async def _sustains_rate(self, variant: Variant, step: int) -> bool:
        environment = self._environment
        before, machine = cpu_seconds(environment.stack.pid), machine_cpu_seconds()
        count = round(step * SECONDS)
        load = await environment.place_calls(self._targets[variant], count, step, CALL_SECONDS, media=False)
        tree = cpu_seconds(environment.stack.pid) - before
        self.budgets[variant.name][step] = _budget(load, tree, machine_cpu_seconds() - machine)
        times = load.result.response_seconds
        few_failures = load.result.failed <= MAX_FAILED * load.result.placed
        return bool(times) and few_failures and percentile(times, 99) * 1e3 <= MAX_P99_MS

    async def _sustains_concurrent(self, variant: Variant, step: int) -> bool:
        environment = self._environment
        before = cpu_seconds(environment.stack.pid)
        seconds = step / RAMP + MEASURED_SECONDS
        load = await environment.place_calls(self._targets[variant], step, RAMP, seconds)
        recordings = environment.recordings()
        if variant.name == DUAL:
            # With its descendants: PostgreSQL is part of what the calls cost.
            tree = cpu_seconds(environment.stack.pid) - before
            self.cpu_shares.append(load.cpu["voxrec"] / (tree + load.cpu["asterisk"]))
        return len(recordings) >= step and all(
            missing_milliseconds(each, seconds - EDGE_SECONDS) <= MAX_GAP_MS for each in recordings
        )


def _budget(load: Load, tree: float, machine: float) -> Budget:
    spent = (load.cpu["asterisk"], load.cpu["voxrec"], tree - load.cpu["voxrec"], machine)
    return Budget(*(seconds * 1e3 / load.result.placed for seconds in spent))


async def measure(environment: CallEnvironment, rounds: int) -> Sequence[Section]:
    """Measure both maxima of both programs, and voxrec's share of the CPU."""
    profile_id = await environment.create_profile()
    port = environment.callee.port
    measurement = Measurement(
        environment,
        {
            Variant("calls per second", DIALPLAN): baseline_extension(port, recording="mixed"),
            Variant("calls per second", DUAL): profile_id,
            # One file per side, as in voxrec's dual recordings: in a mixed file one side hides a gap in the other.
            Variant("concurrent calls", DIALPLAN): baseline_extension(port, recording="split"),
            Variant("concurrent calls", DUAL): profile_id,
        },
    )
    for number, variant in interleaved(list(measurement.searches), rounds):
        print_progress(f"round {number + 1} of {rounds}: {variant.name}, {variant.quantity}")
        search = measurement.searches[variant]
        search.results.append(await _find_maximum(search, variant, measurement.sustains))
    return [
        _rate_section(measurement.searches, measurement.budgets),
        _concurrent_section(measurement.searches, measurement.cpu_shares),
    ]


async def _find_maximum(
    search: StepSearch, variant: Variant, sustains: Callable[[Variant, int], Awaitable[bool]]
) -> float:
    """Return the highest sustained step, starting at the last round's, or 0 if none is sustained."""
    step: int | None = search.current()
    assert step is not None, "a search has steps"
    if await sustains(variant, step):
        best = step
        while (step := search.increase()) is not None and await sustains(variant, step):
            best = step
        if step is not None:
            search.decrease()
        return float(best)
    while (step := search.decrease()) is not None:
        if await sustains(variant, step):
            return float(step)
    return 0.0


def _rate_section(searches: Mapping[Variant, StepSearch], budgets: Mapping[str, Mapping[float, Budget]]) -> Section:
    results = {name: searches[Variant("calls per second", name)].results for name in (DIALPLAN, DUAL)}
    ratio = Spread.of(results[DUAL]).median / max(1.0, Spread.of(results[DIALPLAN]).median)
    return Section(
        title=RATE_TITLE,
        intro=RATE_INTRO,
        tables=(_result_table(results, "calls per second"), _budget_table(results, budgets)),
        targets=(Target.at_least("voxrec dual relative to the dialplan", ratio, MIN_RATIO),),
        chart=BarChart.of(RATE_TITLE, "calls/s", results),
    )


def _budget_table(results: Mapping[str, Sequence[float]], budgets: Mapping[str, Mapping[float, Budget]]) -> Table:
    rows = []
    for name, rates in results.items():
        rate = min(budgets[name], key=lambda step: abs(step - Spread.of(rates).median))
        spent = budgets[name][rate]
        rest = spent.machine - spent.asterisk - spent.voxrec - spent.postgresql
        rows.append((name, f"{rate:.0f}", *(f"{each:.1f}" for each in (*spent[:3], rest, spent.machine))))
    columns = ("CPU per call, ms", "at calls/s", "Asterisk", "voxrec", "PostgreSQL", "SIPp and others", "total")
    return Table(columns, tuple(rows))


def _concurrent_section(searches: Mapping[Variant, StepSearch], cpu_shares: Sequence[float]) -> Section:
    results = {name: searches[Variant("concurrent calls", name)].results for name in (DIALPLAN, DUAL)}
    return Section(
        title=CONCURRENT_TITLE,
        intro=CONCURRENT_INTRO,
        tables=(_result_table(results, "concurrent calls"),),
        targets=(
            Target.at_most(
                "voxrec's share of the CPU of Asterisk, PostgreSQL and itself", max(cpu_shares), MAX_CPU_SHARE
            ),
        ),
        chart=BarChart.of("Concurrent recorded calls", "calls", results),
    )


def _result_table(results: Mapping[str, Sequence[float]], unit: str) -> Table:
    base = max(1.0, Spread.of(results[DIALPLAN]).median)
    rows = [(name, Spread.of(each).text(0), f"{Spread.of(each).median / base:.2f}") for name, each in results.items()]
    return Table(("variant", unit, "ratio"), tuple(rows))


if __name__ == "__main__":
    run("ceiling", measure)
