"""What a recorded call costs its controller: voxrec, with all that it does, against other libraries."""

from collections.abc import Mapping, Sequence
from typing import Final

from bench.lab import Lab, Load, run, say
from bench.measure import Spread, interleaved
from bench.report import Bars, Reach, Section, Table
from bench.rivals import recipes
from voxrec.sandbox.errors import SandboxError

WARM_UP: Final = 20  # calls before: neither a runtime's first compiling nor its first imports are what a call costs
CALLS: Final = 60
RATE: Final = 5.0  # calls a second
TALK: Final = 2.0  # seconds
DUAL: Final = "voxrec dual"
LIMIT: Final = 0.5


async def measure(lab: Lab, rounds: int) -> Sequence[Section]:
    """Milliseconds of the controller's CPU for each call."""
    rivals = {recipe.name: recipe for recipe in recipes()}
    profile = await lab.profile()
    cost: dict[str, list[float]] = {way: [] for way in (*rivals, DUAL)}
    died = dict.fromkeys(cost, 0)
    for number, way in interleaved(list(cost), rounds):
        try:
            if way == DUAL:
                load = await _warm(lab, profile)
                used = load.cpu["voxrec"]
            else:
                # anew each time, since not all survive
                rival = await lab.rival(rivals[way])
                try:
                    load = await _warm(lab, rival.extension(lab.callee.port))
                    used = load.cpu[way]
                finally:
                    await lab.dismiss(rival)
        except SandboxError as error:
            say(f"round {number + 1} of {rounds}: {way}: {error}")
            died[way] += 1
            continue
        if load.result.failed:
            say(f"round {number + 1} of {rounds}: {way}: {load.result.failed} calls failed")
            died[way] += 1
            continue
        cost[way].append(used * 1e3 / CALLS)
        say(f"round {number + 1} of {rounds}: {way}: {cost[way][-1]:.1f} ms a call")
    return [_section(cost, died, min(Spread.of(cost[name]).median for name in rivals if cost[name]))]


async def _warm(lab: Lab, target: str) -> Load:
    """What the calls cost that come after some others; a failed one among those others counts as well."""
    before = await lab.calls(target, WARM_UP, RATE, TALK)
    return before if before.result.failed else await lab.calls(target, CALLS, RATE, TALK)


def _section(cost: Mapping[str, Sequence[float]], died: Mapping[str, int], best: float) -> Section:
    measured = {way: values for way, values in cost.items() if values}
    rows = [
        (way, Spread.of(values).shown(), f"{Spread.of(values).median / best:.2f}", str(died[way]))
        for way, values in measured.items()
    ] + [(way, "none without a failed call", "", str(died[way])) for way in cost if way not in measured]
    return Section(
        title="What a recorded call costs its controller",
        intro=(
            f"Milliseconds of CPU of the controlling process for each of {CALLS} calls of {TALK:g} s at {RATE:g}/s, "
            f"after {WARM_UP} others. voxrec's are whole: the journal, the database's client side, two files joined, "
            "judged, hashed and archived; mail is off. The rivals connect, record and hang up, and keep nothing: "
            "[ari_client.js](rivals/ari_client.js), [asyncari_app.py](rivals/asyncari_app.py). A round with a call "
            "that failed does not count."
        ),
        tables=(Table(("way", "CPU ms a call", "against the best rival", "failed rounds"), tuple(rows)),),
        reaches=(Reach.at_most("voxrec dual against the best rival", Spread.of(measured[DUAL]).median / best, LIMIT),),
        bars=Bars.of("CPU of the controller for a call", "ms", measured),
    )


if __name__ == "__main__":
    run("controller", measure)
