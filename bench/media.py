"""What a recorded call costs Asterisk while people talk, with sound both ways, and whether all of it is recorded."""

from collections.abc import Sequence
from typing import Final

from bench.lab import EDGE, Lab, missing_milliseconds, run, say
from bench.measure import Spread, interleaved
from bench.report import Bars, Reach, Section, Table
from bench.rivals import recipes
from voxrec.sandbox.asterisk import baseline_extension

CALLS: Final = 40
RATE: Final = 20.0  # calls a second
TALK: Final = 10.0  # seconds
GAP: Final = 40.0  # milliseconds of a recording's tone that may be missing: two packets
MINUTES: Final = CALLS * TALK / 60
DIAL, MIXED, APART = "dialplan Dial, not recorded", "dialplan MixMonitor", "dialplan MixMonitor, each side apart"
BRIDGE, MONO, DUAL = "ARI bridge recording", "voxrec mono", "voxrec dual"
LIMIT: Final = 1.35


async def measure(lab: Lab, rounds: int) -> Sequence[Section]:
    """CPU of Asterisk for each call-minute, and what is missing in the recordings."""
    ari_client, _ = recipes()
    rival = await lab.rival(ari_client)
    port = lab.callee.port
    targets = {
        DIAL: baseline_extension(port),
        MIXED: baseline_extension(port, recording="mixed"),
        APART: baseline_extension(port, recording="split"),
        BRIDGE: rival.extension(port),
        MONO: await lab.profile(channels="mono"),
        DUAL: await lab.profile(),
    }
    cost: dict[str, list[float]] = {way: [] for way in targets}
    recorded = dict.fromkeys(targets, 0)
    gaps = dict.fromkeys(targets, 0)
    for number, way in interleaved(list(targets), rounds):
        load = await lab.calls(targets[way], CALLS, RATE, TALK)
        cost[way].append(load.cpu["asterisk"] / MINUTES)
        for recording in lab.recordings():
            recorded[way] += 1
            gaps[way] += missing_milliseconds(recording, TALK - EDGE) > GAP
            recording.unlink()
        say(f"round {number + 1} of {rounds}: {way}: {cost[way][-1]:.2f} s of CPU a minute, {gaps[way]} with gaps")
    base = Spread.of(cost[MIXED]).median
    rows = [
        (
            way,
            Spread.of(values).shown(3),
            f"{Spread.of(values).median / base:.2f}",
            str(recorded[way]),
            str(gaps[way]),
        )
        for way, values in cost.items()
    ]
    ours = rounds * CALLS
    return [
        Section(
            title="What a recorded call costs Asterisk",
            intro=(
                f"Seconds of CPU of the Asterisk process for a minute of a call, set-up and end included: {CALLS} "
                f"calls of {TALK:g} s at once, G.711 both ways. A recording has a gap where more than {GAP:g} ms of "
                "the test tone is missing in any of its channels."
            ),
            tables=(Table(("way", "CPU s a minute", "against MixMonitor", "files", "with a gap"), tuple(rows)),),
            reaches=(
                Reach.at_most("voxrec dual against MixMonitor", Spread.of(cost[DUAL]).median / base, LIMIT),
                Reach.at_most(
                    "recordings with a gap, dual against MixMonitor's", gaps[DUAL], max(gaps[MIXED], gaps[APART])
                ),
                Reach.at_least("voxrec's recordings", recorded[DUAL] + recorded[MONO], 2 * ours),
            ),
            bars=Bars.of("CPU of Asterisk for a minute of a call", "s", cost),
            notes=(
                "ARI has no command for MixMonitor: only the dialplan and AMI can start, mute or stop one. voxrec "
                "listens with two snoops, whose recordings ARI can mute. Each is a channel with a thread and a timer "
                "of its own: that is what they cost more."
            ),
        )
    ]


if __name__ == "__main__":
    run("media", measure)
