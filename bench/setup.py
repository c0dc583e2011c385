"""Call set-up time: from INVITE to 200, compared with a dialplan that records."""

from collections.abc import Sequence
from typing import Final

from bench.call_environment import CallEnvironment, print_progress, run
from bench.measure import Spread, interleaved, percentile
from bench.report import BarChart, Section, Table, Target
from voxrec.sandbox.asterisk import baseline_extension

RATES: Final = (10, 40, 60)  # calls per second
SECONDS: Final = 5.0  # during which calls are placed, in each round
CALL_SECONDS: Final = 1.0
DIALPLAN, DUAL = "dialplan MixMonitor + Dial", "voxrec dual"
TARGET_RATE: Final = 40  # calls per second
MAX_MEDIAN_DIFFERENCE, MAX_P99_DIFFERENCE = 4.0, 15.0  # milliseconds
TITLE: Final = "Call set-up time"
INTRO: Final = "Milliseconds from INVITE to 200, with audio, to a phone that answers immediately."


async def measure(environment: CallEnvironment, rounds: int) -> Sequence[Section]:
    """Measure the set-up time of every call, by rate and variant."""
    targets = {
        DIALPLAN: baseline_extension(environment.callee.port, recording="mixed"),
        DUAL: await environment.create_profile(),
    }
    times: dict[tuple[int, str], list[list[float]]] = {(rate, name): [] for rate in RATES for name in targets}
    failed = 0
    for number, (rate, name) in interleaved(list(times), rounds):
        load = await environment.place_calls(targets[name], round(rate * SECONDS), rate, CALL_SECONDS)
        times[rate, name].append([seconds * 1e3 for seconds in load.result.response_seconds])
        failed += load.result.failed
        median = percentile(times[rate, name][-1], 50)
        print_progress(f"round {number + 1} of {rounds}: {name} at {rate}/s: {median:.1f} ms")
    return [_section(times, failed)]


def _section(times: dict[tuple[int, str], list[list[float]]], failed: int) -> Section:
    medians = {key: Spread.of([percentile(calls, 50) for calls in rounds]) for key, rounds in times.items()}
    p99 = {key: percentile([each for calls in rounds for each in calls], 99) for key, rounds in times.items()}
    rows = [
        (
            name,
            str(rate),
            medians[rate, name].text(),
            f"{p99[rate, name]:.1f}",
            f"{medians[rate, name].median / medians[rate, DIALPLAN].median:.2f}",
        )
        for rate, name in times
    ]
    median_difference = medians[TARGET_RATE, DUAL].median - medians[TARGET_RATE, DIALPLAN].median
    p99_difference = p99[TARGET_RATE, DUAL] - p99[TARGET_RATE, DIALPLAN]
    return Section(
        title=TITLE,
        intro=INTRO,
        tables=(Table(("variant", "calls/s", "median by round", "p99 of all calls", "ratio"), tuple(rows)),),
        targets=(
            Target.at_most(
                f"median above the dialplan's at {TARGET_RATE}/s", median_difference, MAX_MEDIAN_DIFFERENCE, " ms"
            ),
            Target.at_most(f"p99 above the dialplan's at {TARGET_RATE}/s", p99_difference, MAX_P99_DIFFERENCE, " ms"),
            Target.at_most("failed calls", failed, 0),
        ),
        chart=BarChart(
            f"INVITE to 200 at {TARGET_RATE} calls/s, median",
            "ms",
            {name: spread for (rate, name), spread in medians.items() if rate == TARGET_RATE},
        ),
    )


if __name__ == "__main__":
    run("setup", measure)
