"""CPU of the program that controls a recorded call through ARI: voxrec compared with other libraries."""

from collections.abc import Mapping, Sequence
from typing import Final

from bench.call_environment import CallEnvironment, Load, print_progress, run
from bench.measure import Spread, interleaved
from bench.report import BarChart, Section, Table, Target
from bench.rivals import recipes
from voxrec.sandbox.errors import SandboxError

WARM_UP_CALLS: Final = 20  # for compilation and imports, which are not part of the cost of a call
CALLS: Final = 60
RATE: Final = 5.0  # calls per second
CALL_SECONDS: Final = 2.0
DUAL: Final = "voxrec dual"
MAX_RATIO: Final = 0.8
TITLE: Final = "CPU of the controller for a recorded call"
INTRO: Final = (
    f"Milliseconds of CPU of the controlling process for each of {CALLS} calls of {CALL_SECONDS:g} s at {RATE:g}/s, "
    f"after {WARM_UP_CALLS} calls to warm up. voxrec's figure includes the journal, the client side of the database, "
    "and joining, checking, hashing and archiving two files; mail is off. The other programs connect, record and hang "
    "up, and store nothing: [ari_client.js](rivals/ari_client.js), [asyncari_app.py](rivals/asyncari_app.py). A round "
    "with a failed call is not counted."
)


async def measure(environment: CallEnvironment, rounds: int) -> Sequence[Section]:
    """Measure the controller's milliseconds of CPU per call."""
    rivals = {recipe.name: recipe for recipe in recipes()}
    profile_id = await environment.create_profile()
    cpu: dict[str, list[float]] = {name: [] for name in (*rivals, DUAL)}
    failed_rounds = dict.fromkeys(cpu, 0)
    for number, name in interleaved(list(cpu), rounds):
        try:
            if name == DUAL:
                load = await _place_calls(environment, profile_id)
                used = load.cpu["voxrec"]
            else:
                # Started for each round, because not all of them keep running.
                rival = await environment.start_rival(rivals[name])
                try:
                    load = await _place_calls(environment, rival.extension(environment.callee.port))
                    used = load.cpu[name]
                finally:
                    await environment.stop_rival(rival)
        except SandboxError as error:
            print_progress(f"round {number + 1} of {rounds}: {name}: {error}")
            failed_rounds[name] += 1
            continue
        if load.result.failed:
            print_progress(f"round {number + 1} of {rounds}: {name}: {load.result.failed} calls failed")
            failed_rounds[name] += 1
            continue
        cpu[name].append(used * 1e3 / CALLS)
        print_progress(f"round {number + 1} of {rounds}: {name}: {cpu[name][-1]:.1f} ms per call")
    return [_section(cpu, failed_rounds, min(Spread.of(cpu[name]).median for name in rivals if cpu[name]))]


async def _place_calls(environment: CallEnvironment, target: str) -> Load:
    """Return the load after the warm-up, or that of the warm-up if it has failed calls."""
    warm_up = await environment.place_calls(target, WARM_UP_CALLS, RATE, CALL_SECONDS)
    return warm_up if warm_up.result.failed else await environment.place_calls(target, CALLS, RATE, CALL_SECONDS)


def _section(cpu: Mapping[str, Sequence[float]], failed_rounds: Mapping[str, int], best: float) -> Section:
    measured = {name: values for name, values in cpu.items() if values}
    rows = [
        (name, Spread.of(values).text(), f"{Spread.of(values).median / best:.2f}", str(failed_rounds[name]))
        for name, values in measured.items()
    ] + [(name, "none without a failed call", "", str(failed_rounds[name])) for name in cpu if name not in measured]
    ratio = Spread.of(measured[DUAL]).median / best
    return Section(
        title=TITLE,
        intro=INTRO,
        tables=(Table(("variant", "CPU, ms per call", "relative to the best other", "failed rounds"), tuple(rows)),),
        targets=(Target.at_most("voxrec dual relative to the best other program", ratio, MAX_RATIO),),
        chart=BarChart.of("CPU of the controller per call", "ms", measured),
    )


if __name__ == "__main__":
    run("controller", measure)
