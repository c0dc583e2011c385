"""CPU of Asterisk during recorded calls with audio, and the completeness of the recordings."""

from collections.abc import Sequence
from typing import Final

from bench.call_environment import EDGE_SECONDS, CallEnvironment, missing_milliseconds, print_progress, run
from bench.measure import Spread, interleaved
from bench.report import BarChart, Section, Table, Target
from bench.rivals import recipes
from voxrec.sandbox.asterisk import baseline_extension

CALLS: Final = 40
RATE: Final = 20.0  # calls per second
CALL_SECONDS: Final = 10.0
MAX_GAP_MS: Final = 40.0  # two packets
CALL_MINUTES: Final = CALLS * CALL_SECONDS / 60
DIAL, MIXED, SPLIT = "dialplan Dial, not recorded", "dialplan MixMonitor", "dialplan MixMonitor, one file per side"
BRIDGE, MONO, DUAL = "ARI bridge recording", "voxrec mono", "voxrec dual"
MAX_RATIO: Final = 1.08
TITLE: Final = "CPU of Asterisk for a recorded call"
INTRO: Final = (
    f"Seconds of CPU of the Asterisk process per call-minute, including set-up and hangup: {CALLS} concurrent calls of "
    f"{CALL_SECONDS:g} s with G.711 in both directions. A recording has a gap if more than {MAX_GAP_MS:g} ms of the "
    "test tone are missing in any of its channels."
)
NOTES: Final = (
    "ARI has no command for MixMonitor: only the dialplan and AMI can start, mute or stop one. voxrec starts one on "
    "the caller's channel of each recorded call through AMI, with a file for each side."
)


async def measure(environment: CallEnvironment, rounds: int) -> Sequence[Section]:
    """Measure Asterisk's CPU per call-minute, and count the recordings with gaps."""
    ari_client, _ = recipes()
    rival = await environment.start_rival(ari_client)
    port = environment.callee.port
    targets = {
        DIAL: baseline_extension(port),
        MIXED: baseline_extension(port, recording="mixed"),
        SPLIT: baseline_extension(port, recording="split"),
        BRIDGE: rival.extension(port),
        MONO: await environment.create_profile(channels="mono"),
        DUAL: await environment.create_profile(),
    }
    cpu: dict[str, list[float]] = {name: [] for name in targets}
    files = dict.fromkeys(targets, 0)
    gaps = dict.fromkeys(targets, 0)
    for number, name in interleaved(list(targets), rounds):
        load = await environment.place_calls(targets[name], CALLS, RATE, CALL_SECONDS)
        cpu[name].append(load.cpu["asterisk"] / CALL_MINUTES)
        for recording in environment.recordings():
            files[name] += 1
            gaps[name] += missing_milliseconds(recording, CALL_SECONDS - EDGE_SECONDS) > MAX_GAP_MS
            recording.unlink()
        print_progress(
            f"round {number + 1} of {rounds}: {name}: {cpu[name][-1]:.2f} s of CPU per call-minute, "
            f"{gaps[name]} recordings with gaps"
        )
    return [_section(cpu, files, gaps, rounds * CALLS)]


def _section(cpu: dict[str, list[float]], files: dict[str, int], gaps: dict[str, int], calls: int) -> Section:
    base = Spread.of(cpu[MIXED]).median
    rows = [
        (name, Spread.of(values).text(3), f"{Spread.of(values).median / base:.2f}", str(files[name]), str(gaps[name]))
        for name, values in cpu.items()
    ]
    return Section(
        title=TITLE,
        intro=INTRO,
        tables=(
            Table(("variant", "CPU, s per call-minute", "relative to MixMonitor", "files", "with a gap"), tuple(rows)),
        ),
        targets=(
            Target.at_most("voxrec dual relative to MixMonitor", Spread.of(cpu[DUAL]).median / base, MAX_RATIO),
            Target.at_most(
                "recordings with a gap, dual compared with MixMonitor", gaps[DUAL], max(gaps[MIXED], gaps[SPLIT])
            ),
            Target.at_least("voxrec's recordings", files[DUAL] + files[MONO], 2 * calls),
        ),
        chart=BarChart.of("CPU of Asterisk per call-minute", "s", cpu),
        notes=NOTES,
    )


if __name__ == "__main__":
    run("media", measure)
