"""How long a caller waits from INVITE to 200, against a plain dialplan that records."""

from collections.abc import Sequence
from typing import Final

from bench.lab import Lab, run, say
from bench.measure import Spread, interleaved, percentile
from bench.report import Bars, Reach, Section, Table
from voxrec.sandbox.asterisk import baseline_extension

RATES: Final = (10, 40, 60)  # calls a second
SECONDS: Final = 5.0  # for which calls are placed, in each round
TALK: Final = 1.0
DIALPLAN, DUAL = "dialplan MixMonitor + Dial", "voxrec dual"
AT: Final = 40  # calls a second, at which the reaches stand
MEDIAN_MORE, P99_MORE = 4.0, 15.0  # milliseconds


async def measure(lab: Lab, rounds: int) -> Sequence[Section]:
    """Milliseconds of every call, by rate and way."""
    targets = {
        DIALPLAN: baseline_extension(lab.callee.port, recording="mixed"),
        DUAL: await lab.profile(),
    }
    waited: dict[tuple[int, str], list[list[float]]] = {(rate, way): [] for rate in RATES for way in targets}
    failed = 0
    for number, (rate, way) in interleaved(list(waited), rounds):
        load = await lab.calls(targets[way], round(rate * SECONDS), rate, TALK)
        waited[rate, way].append([seconds * 1e3 for seconds in load.result.response_seconds])
        failed += load.result.failed
        say(f"round {number + 1} of {rounds}: {way} at {rate}/s: {percentile(waited[rate, way][-1], 50):.1f} ms")
    return [_section(waited, failed)]


def _section(waited: dict[tuple[int, str], list[list[float]]], failed: int) -> Section:
    medians = {key: Spread.of([percentile(calls, 50) for calls in rounds]) for key, rounds in waited.items()}
    highest = {key: percentile([each for calls in rounds for each in calls], 99) for key, rounds in waited.items()}
    rows = [
        (
            way,
            str(rate),
            medians[rate, way].shown(),
            f"{highest[rate, way]:.1f}",
            f"{medians[rate, way].median / medians[rate, DIALPLAN].median:.2f}",
        )
        for rate, way in waited
    ]
    median_more = medians[AT, DUAL].median - medians[AT, DIALPLAN].median
    p99_more = highest[AT, DUAL] - highest[AT, DIALPLAN]
    return Section(
        title="How long a caller waits",
        intro="From INVITE to 200, in milliseconds, with media, to a phone that answers at once.",
        tables=(Table(("way", "calls/s", "median of each round", "p99 of all calls", "ratio"), tuple(rows)),),
        reaches=(
            Reach.at_most(f"median over the dialplan's at {AT}/s", median_more, MEDIAN_MORE, " ms"),
            Reach.at_most(f"p99 over the dialplan's at {AT}/s", p99_more, P99_MORE, " ms"),
            Reach.at_most("failed calls", failed, 0),
        ),
        bars=Bars(
            f"INVITE to 200 at {AT} calls/s, median",
            "ms",
            {way: spread for (rate, way), spread in medians.items() if rate == AT},
        ),
    )


if __name__ == "__main__":
    run("setup", measure)
