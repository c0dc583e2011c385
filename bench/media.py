"""CPU of Asterisk during recorded calls with audio, and the completeness of the recordings.

Each variant is measured at the same time as the dialplan's MixMonitor, in two instances of Asterisk that exchange their
roles: what else the machine does, which changes the CPU time of the same work by 20 %, affects both, and so does that
one instance is slower than the other.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final

from twisted.internet.defer import Deferred, gatherResults

from bench.call_environment import (
    EDGE_SECONDS,
    CallEnvironment,
    Load,
    missing_milliseconds,
    print_progress,
    run_side_by_side,
)
from bench.measure import Spread, interleaved
from bench.report import BarChart, Section, Table, Target
from bench.rivals import recipes
from voxrec.sandbox.asterisk import baseline_extension

CALLS: Final = 20  # in each of the two instances
RATE: Final = 10.0  # calls per second
SHORT, LONG = 10.0, 60.0
"""Seconds of a call. The set-up is a noticeable part of the cost of a short call."""
MAX_GAP_MS: Final = 40.0  # two packets
DIAL, MIXED, SPLIT = "dialplan Dial, not recorded", "dialplan MixMonitor", "dialplan MixMonitor, one file per side"
BRIDGE, MONO, DUAL = "ARI bridge recording", "voxrec mono", "voxrec dual"
MEASURED: Final = (*((name, SHORT) for name in (DIAL, SPLIT, BRIDGE, MONO, DUAL)), (SPLIT, LONG), (DUAL, LONG))
MAX_RATIO: Final = 1.08
TITLE: Final = "CPU of Asterisk for a recorded call"
INTRO: Final = (
    f"Seconds of CPU of the Asterisk process per call-minute, including set-up and hangup: {CALLS} concurrent calls "
    "with G.711 in both directions. Each variant runs at the same time as the dialplan's MixMonitor in another "
    "instance of Asterisk, with which it is compared; in each round, the two exchange their roles. The second table "
    "divides the difference: CPU per minute of audio without set-up and hangup, and CPU for set-up and hangup. A "
    f"recording has a gap if more than {MAX_GAP_MS:g} ms of the test tone are missing in any of its channels."
)
NOTES: Final = (
    "ARI has no command for MixMonitor: only the dialplan and AMI can start, mute or stop one. voxrec starts one on "
    "the caller's channel of each recorded call through AMI, with a file for each side. The phones do not agree on "
    "telephone events; therefore Asterisk looks for tones in the audio of all variants (`dtmf_mode = auto`)."
)


@dataclass
class Comparison:
    """A variant, and MixMonitor at the same time: seconds of CPU per call in each round, files, and those with gaps."""

    cpu: list[float] = field(default_factory=list)
    base: list[float] = field(default_factory=list)
    files: int = 0
    gaps: int = 0
    base_gaps: int = 0

    @property
    def ratio(self) -> Spread:
        """The CPU of the variant relative to that of MixMonitor, by round."""
        return Spread.of([cpu / base for cpu, base in zip(self.cpu, self.base, strict=True)])


class Split:
    """The CPU of a call, in seconds, divided into what depends on its duration and what does not.

    ``short`` and ``long`` are the CPU of calls of SHORT and of LONG seconds.
    """

    def __init__(self, short: float, long: float) -> None:
        self.per_minute = (long - short) / (LONG - SHORT) * 60
        self.per_call = short - self.per_minute * SHORT / 60


async def measure(environments: Sequence[CallEnvironment], rounds: int) -> Sequence[Section]:
    """Measure Asterisk's CPU per call-minute, and count the recordings with gaps."""
    targets = [await _targets(environment) for environment in environments]
    results = {each: Comparison() for each in MEASURED}
    for number, (name, seconds) in interleaved(MEASURED, rounds):
        result = results[name, seconds]
        cpu, base_cpu = 0.0, 0.0
        for base_index, index in ((0, 1), (1, 0)):
            base, load = await gatherResults(
                [
                    _place_calls(environments[base_index], targets[base_index][MIXED], seconds),
                    _place_calls(environments[index], targets[index][name], seconds),
                ],
                consumeErrors=True,
            )
            base_cpu += base.cpu["asterisk"]
            cpu += load.cpu["asterisk"]
            result.base_gaps += _remove_recordings(environments[base_index], seconds)[1]
            files, gaps = _remove_recordings(environments[index], seconds)
            result.files += files
            result.gaps += gaps
        result.base.append(base_cpu / (2 * CALLS))
        result.cpu.append(cpu / (2 * CALLS))
        print_progress(
            f"round {number + 1} of {rounds}: {name}, calls of {seconds:g} s: "
            f"{result.cpu[-1] / result.base[-1]:.3f} x MixMonitor, {result.gaps} recordings with gaps"
        )
    return [_section(results, rounds)]


async def _targets(environment: CallEnvironment) -> Mapping[str, str]:
    ari_client, _ = recipes()
    rival = await environment.start_rival(ari_client)
    port = environment.callee.port
    return {
        DIAL: baseline_extension(port),
        MIXED: baseline_extension(port, recording="mixed"),
        SPLIT: baseline_extension(port, recording="split"),
        BRIDGE: rival.extension(port),
        MONO: await environment.create_profile(channels="mono"),
        DUAL: await environment.create_profile(),
    }


def _place_calls(environment: CallEnvironment, target: str, seconds: float) -> Deferred[Load]:
    return Deferred.fromCoroutine(environment.place_calls(target, CALLS, RATE, seconds))


def _remove_recordings(environment: CallEnvironment, seconds: float) -> tuple[int, int]:
    """Delete all recordings, and return their number and the number of those with gaps."""
    files, gaps = 0, 0
    for recording in environment.recordings():
        files += 1
        gaps += missing_milliseconds(recording, seconds - EDGE_SECONDS) > MAX_GAP_MS
        recording.unlink()
    return files, gaps


def _section(results: Mapping[tuple[str, float], Comparison], rounds: int) -> Section:
    rows = [
        (
            name,
            f"{seconds:g}",
            Spread.of([each / seconds * 60 for each in result.cpu]).text(3),
            result.ratio.text(2),
            str(result.files),
            str(result.gaps),
        )
        for (name, seconds), result in results.items()
    ]
    parts = [(name, *_difference(results[name, SHORT], results[name, LONG])) for name in (SPLIT, DUAL)]
    dual, split = results[DUAL, SHORT], results[SPLIT, SHORT]
    mono = results[MONO, SHORT]
    return Section(
        title=TITLE,
        intro=INTRO,
        tables=(
            Table(
                ("variant", "calls of, s", "CPU, s per call-minute", "relative to MixMonitor", "files", "with a gap"),
                tuple(rows),
            ),
            Table(
                ("compared with the dialplan's MixMonitor", "CPU per minute, ratio", "set-up and hangup, ms more"),
                tuple((name, f"{ratio:.2f}", f"{difference * 1e3:.1f}") for name, ratio, difference in parts),
            ),
        ),
        targets=(
            Target.at_most(
                f"voxrec dual relative to MixMonitor, calls of {LONG:g} s", results[DUAL, LONG].ratio.median, MAX_RATIO
            ),
            Target.at_most(
                "recordings with a gap, dual compared with MixMonitor", dual.gaps, max(dual.base_gaps, split.gaps)
            ),
            Target.at_least("voxrec's recordings", dual.files + mono.files, 4 * rounds * CALLS),
        ),
        chart=BarChart.of(
            f"CPU of Asterisk per call-minute, calls of {SHORT:g} s",
            "s",
            {
                name: [each / seconds * 60 for each in result.cpu]
                for (name, seconds), result in results.items()
                if seconds == SHORT
            },
        ),
        notes=NOTES,
    )


def _difference(short: Comparison, long: Comparison) -> tuple[float, float]:
    """Return the ratio of the CPU per minute, and the difference of the CPU per call in seconds."""
    variant = Split(Spread.of(short.cpu).median, Spread.of(long.cpu).median)
    base = Split(Spread.of(short.base).median, Spread.of(long.base).median)
    return variant.per_minute / base.per_minute, variant.per_call - base.per_call


if __name__ == "__main__":
    run_side_by_side("media", measure, environments=2)
