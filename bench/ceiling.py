"""Maximum call rates and maximum number of concurrent recorded calls, compared with the dialplan."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Final, NamedTuple

from bench.call_environment import EDGE_SECONDS, CallEnvironment, Load, missing_milliseconds, print_progress, run
from bench.measure import Spread, cpu_seconds, interleaved, machine_cpu_seconds, percentile
from bench.report import BarChart, Section, Table, Target
from voxrec.sandbox.asterisk import baseline_extension

SERIES: Final = (1.0, 1.25, 1.6, 2.0, 2.5, 3.15, 4.0, 5.0, 6.3, 8.0)  # Renard's R10: steps of about 25 %
LOWEST: Final = 10  # the index of the lowest step: 10 calls
SILENT, AUDIBLE = "calls per second without audio", "calls per second with audio"
CONCURRENT: Final = "concurrent calls"
FIRST: Final = {SILENT: 19, AUDIBLE: 18, CONCURRENT: 20}  # index of the step at which the first round starts
SECONDS: Final = 3.0  # during which calls are placed
CALL_SECONDS: Final = 1.0
MEASURED_SECONDS: Final = 4.0  # of each recording
RAMP: Final = 25.0  # calls per second, until all are live
MAX_P99_MS: Final = 100.0  # from INVITE to 200
MAX_FAILED: Final = 1 / 1000
MAX_GAP_MS: Final = 40.0  # two packets
DIALPLAN, DUAL = "dialplan MixMonitor + Dial", "voxrec dual"
MIN_RATIOS: Final = {SILENT: 0.35, AUDIBLE: 0.6, CONCURRENT: 0.8}  # of the dialplan's result
MAX_CPU_SHARE: Final = 0.17
TITLES: Final = {
    SILENT: "Maximum call rate without audio",
    AUDIBLE: "Maximum call rate with audio",
    CONCURRENT: "Maximum number of concurrent recorded calls",
}
RATE_INTRO: Final = (
    f"The highest rate at which at most one call in {round(1 / MAX_FAILED)} fails and 99 % are answered within "
    f"{MAX_P99_MS:g} ms, in steps of about 25 %, with calls of {CALL_SECONDS:g} s"
)
INTROS: Final = {
    SILENT: f"{RATE_INTRO} without audio.",
    AUDIBLE: f"{RATE_INTRO} with audio in both directions.",
    CONCURRENT: (
        f"The highest number of calls with audio in both directions at which no recording misses more than "
        f"{MAX_GAP_MS:g} ms of the test tone. Both ends of SIPp run on the same machine, and send and receive every "
        "packet: a gateway on its own machine can carry more."
    ),
}


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
    """The position in an unlimited series of load steps; a search starts at the last round's result."""

    def __init__(self, first: int) -> None:
        self._position = first
        self.results: list[float] = []

    def current(self) -> int:
        """Return the current step."""
        decade, number = divmod(self._position, len(SERIES))
        return round(10.0**decade * SERIES[number])

    def increase(self) -> int:
        """Move to the next higher step and return it."""
        self._position += 1
        return self.current()

    def decrease(self) -> int | None:
        """Move to the next lower step and return it, or None at the lowest."""
        if self._position == LOWEST:
            return None
        self._position -= 1
        return self.current()


class Measurement:
    """Finds the highest steps that the variants sustain, and records the CPU that they use."""

    def __init__(self, environment: CallEnvironment, targets: Mapping[Variant, str]) -> None:
        self._environment = environment
        self._targets = targets
        self.searches = {variant: StepSearch(FIRST[variant.quantity]) for variant in targets}
        self.cpu_shares: list[float] = []
        self.budgets: dict[Variant, dict[float, Budget]] = {variant: {} for variant in targets}

    async def sustains(self, variant: Variant, step: int) -> bool:
        """Place the calls of one step, and return whether all requirements are met."""
        if variant.quantity == CONCURRENT:
            sustained = await self._sustains_concurrent(variant, step)
        else:
            sustained = await self._sustains_rate(variant, step)
        for recording in self._environment.recordings():
            recording.unlink()
        print_progress(f"  {variant.name}, {step} {variant.quantity}: {'sustained' if sustained else 'too many'}")
        return sustained

    async def _sustains_rate(self, variant: Variant, step: int) -> bool:
        environment = self._environment
        before, machine = cpu_seconds(environment.stack.pid), machine_cpu_seconds()
        count = round(step * SECONDS)
        media = variant.quantity == AUDIBLE
        load = await environment.place_calls(self._targets[variant], count, step, CALL_SECONDS, media=media)
        tree = cpu_seconds(environment.stack.pid) - before
        self.budgets[variant][step] = _budget(load, tree, machine_cpu_seconds() - machine)
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
    """Measure the maxima of both programs, and voxrec's share of the CPU."""
    profile_id = await environment.create_profile()
    port = environment.callee.port
    mixed = baseline_extension(port, recording="mixed")
    # One file per side, as in voxrec's dual recordings: in a mixed file one side hides a gap in the other.
    dialplan = {SILENT: mixed, AUDIBLE: mixed, CONCURRENT: baseline_extension(port, recording="split")}
    measurement = Measurement(
        environment,
        {
            Variant(quantity, name): extension
            for quantity in TITLES
            for name, extension in ((DIALPLAN, dialplan[quantity]), (DUAL, profile_id))
        },
    )
    for number, variant in interleaved(list(measurement.searches), rounds):
        print_progress(f"round {number + 1} of {rounds}: {variant.name}, {variant.quantity}")
        search = measurement.searches[variant]
        search.results.append(await _find_maximum(search, variant, measurement.sustains))
    return [_section(quantity, measurement) for quantity in TITLES]


async def _find_maximum(
    search: StepSearch, variant: Variant, sustains: Callable[[Variant, int], Awaitable[bool]]
) -> float:
    """Return the highest sustained step, starting at the last round's, or 0 if none is sustained."""
    step: int | None = search.current()
    assert step is not None, "a search has a position"
    if await sustains(variant, step):
        best = step
        while await sustains(variant, search.increase()):
            best = search.current()
        search.decrease()
        return float(best)
    while (step := search.decrease()) is not None:
        if await sustains(variant, step):
            return float(step)
    return 0.0


def _section(quantity: str, measurement: Measurement) -> Section:
    variants = {name: Variant(quantity, name) for name in (DIALPLAN, DUAL)}
    results = {name: measurement.searches[variant].results for name, variant in variants.items()}
    ratio = Spread.of(results[DUAL]).median / max(1.0, Spread.of(results[DIALPLAN]).median)
    tables = [_result_table(results, quantity)]
    targets = [Target.at_least("voxrec dual relative to the dialplan", ratio, MIN_RATIOS[quantity])]
    if quantity == CONCURRENT:
        share = max(measurement.cpu_shares)
        targets.append(
            Target.at_most("voxrec's share of the CPU of Asterisk, PostgreSQL and itself", share, MAX_CPU_SHARE)
        )
    else:
        budgets = {name: measurement.budgets[variant] for name, variant in variants.items()}
        tables.append(_budget_table(results, budgets))
    return Section(
        title=TITLES[quantity],
        intro=INTROS[quantity],
        tables=tuple(tables),
        targets=tuple(targets),
        chart=BarChart.of(TITLES[quantity], quantity, results),
    )


def _result_table(results: Mapping[str, Sequence[float]], unit: str) -> Table:
    base = max(1.0, Spread.of(results[DIALPLAN]).median)
    rows = [(name, Spread.of(each).text(0), f"{Spread.of(each).median / base:.2f}") for name, each in results.items()]
    return Table(("variant", unit, "ratio"), tuple(rows))


def _budget_table(results: Mapping[str, Sequence[float]], budgets: Mapping[str, Mapping[float, Budget]]) -> Table:
    rows = []
    for name, rates in results.items():
        rate = min(budgets[name], key=lambda step: abs(step - Spread.of(rates).median))
        spent = budgets[name][rate]
        rest = spent.machine - spent.asterisk - spent.voxrec - spent.postgresql
        rows.append((name, f"{rate:.0f}", *(f"{each:.1f}" for each in (*spent[:3], rest, spent.machine))))
    columns = ("CPU per call, ms", "at calls/s", "Asterisk", "voxrec", "PostgreSQL", "SIPp and others", "total")
    return Table(columns, tuple(rows))


if __name__ == "__main__":
    run("ceiling", measure)
