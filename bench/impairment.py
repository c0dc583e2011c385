"""Recordings of calls whose packets are impaired: how much of what is heard is recorded, and are the channels aligned.

python -m bench.impairment [--rounds N | --quick]

Each variant is an Asterisk, without or with the setting ``calls.jitter_buffer``. The Asterisk that was built without
Debian's patch is measured if it exists: ``python -m voxrec.sandbox.rebuilt_asterisk`` builds it.
"""

import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, NamedTuple

from twisted.internet.defer import Deferred
from twisted.internet.task import react

from bench.fidelity import SCENARIOS
from bench.measure import Spread, interleaved, requested_rounds
from bench.report import Section, Table, Target, publish
from bench.servers import print_progress
from voxrec.sandbox.impaired_call import CallFidelity, ImpairedCall
from voxrec.sandbox.rebuilt_asterisk import rebuilt_asterisk_22
from voxrec.sandbox.rootfs import ASTERISK_16, ASTERISK_22, Recipe, asterisk_rootfs, is_built
from voxrec.sandbox.stack import Stack

SECONDS: Final = 4.0  # of each call
MAX_ROUNDS: Final = 3  # each takes six minutes
MIN_RECORDED: Final = 99.0  # % of what is heard
MAX_OFFSET: Final = 20.0  # milliseconds between the channels
MEASURED: Final = (
    *("none", "caller 600 ms late", "5 % one position late", "5 % three positions late", "jitter 40 ms"),
    *("5 % duplicated", "5 % lost", "all of these, both"),
)
TITLE: Final = "Recordings under impairment"
INTRO: Final = (
    f"Recorded calls of {SECONDS:g} s between two peers whose every 10 ms of audio is unique noise, searched for in "
    "the recording and at the other peer, which has a perfect jitter buffer. The RTP stream of the caller, or of both "
    "parties, is impaired on its way to Asterisk. The first table is the share of what the other party hears that is "
    "recorded, of the worse side; the second one is the displacement of the channels against each other. A packet "
    "contains 20 ms."
)


@dataclass(frozen=True)
class Variant:
    """An Asterisk, and whether calls have jitter buffers."""

    name: str
    recipe: Recipe
    jitter_buffer: bool = False

    @property
    def title(self) -> str:
        """What the report calls it."""
        return f"{self.name}, jitter buffer" if self.jitter_buffer else self.name


class Outcome(NamedTuple):
    """What was recorded of the worse side, in % of what was heard, and the displacement of the channels in ms."""

    recorded: float
    offset: float

    @classmethod
    def of(cls, call: CallFidelity) -> "Outcome":
        """Return the outcome of a recorded call."""
        assert call.left is not None, "the call was recorded"
        assert call.right is not None, "the call was recorded"
        sides = ((call.left, call.heard_by_callee.track), (call.right, call.heard_by_caller.track))
        return cls(min(100 * recorded.found / max(1, heard.found) for recorded, heard in sides), abs(call.offset))


Outcomes = Mapping[Variant, Mapping[str, Sequence[Outcome]]]


def variants() -> list[Variant]:
    """Return what is measured."""
    recipes = {"Asterisk 22": ASTERISK_22, "22 without the patch": rebuilt_asterisk_22(), "Asterisk 16": ASTERISK_16}
    return [
        Variant(name, recipe, jitter_buffer)
        for name, recipe in recipes.items()
        if recipe in (ASTERISK_22, ASTERISK_16) or is_built(recipe)
        for jitter_buffer in (False, True)
    ]


async def _measure(reactor: Any, directory: Path, variant: Variant, rounds: int) -> dict[str, list[Outcome]]:
    settings = {"calls": {"jitter_buffer": variant.jitter_buffer}}
    stack = Stack(reactor, directory / "stack", asterisk_rootfs(print_progress, variant.recipe), settings)
    outcomes: dict[str, list[Outcome]] = {name: [] for name in MEASURED}
    try:
        await stack.start()
        print_progress(f"{variant.title}: Asterisk {stack.asterisk.version}")
        for _, name in interleaved(MEASURED, rounds):
            caller, callee = SCENARIOS[name]
            call = ImpairedCall(stack, reactor, directory, caller=caller, callee=callee, seconds=SECONDS)
            try:
                outcome = Outcome.of(await call.run())
            finally:
                await call.close()
            print_progress(f"{variant.title}, {name}: {outcome.recorded:.1f} % recorded, {outcome.offset:.0f} ms")
            outcomes[name].append(outcome)
    finally:
        await stack.stop()
    return outcomes


def _tables(outcomes: Outcomes) -> Iterator[Table]:
    titles = [variant.title for variant in outcomes]
    for column, field, digits in (
        ("recorded, % of what is heard", "recorded", 1),
        ("displacement of the channels, ms", "offset", 0),
    ):
        rows = (
            (name, *(_spread(of_variant[name], field).text(digits) for of_variant in outcomes.values()))
            for name in MEASURED
        )
        yield Table((column, *titles), tuple(rows))


def _spread(calls: Sequence[Outcome], field: str) -> Spread:
    return Spread.of([getattr(call, field) for call in calls])


def _targets(outcomes: Outcomes) -> Iterator[Target]:
    for variant, of_variant in outcomes.items():
        least, lossy = min((_spread(calls, "recorded").median, name) for name, calls in of_variant.items())
        most, displaced = max((_spread(calls, "offset").median, name) for name, calls in of_variant.items())
        yield Target.at_least(f"{variant.title}: recorded ({lossy})", least, MIN_RECORDED, " %")
        yield Target.at_most(f"{variant.title}: displacement ({displaced})", most, MAX_OFFSET, " ms")


def section(outcomes: Outcomes) -> Section:
    """Return the report."""
    return Section(title=TITLE, intro=INTRO, tables=tuple(_tables(outcomes)), targets=tuple(_targets(outcomes)))


async def _run(reactor: Any, arguments: Sequence[str]) -> None:
    rounds = min(requested_rounds(arguments), MAX_ROUNDS)
    outcomes = {}
    for variant in variants():
        with tempfile.TemporaryDirectory(prefix="voxrec-bench-") as name:
            directory = Path(name)
            directory.chmod(0o755)  # noqa: ASYNC240 - Asterisk, which is another account, enters it
            outcomes[variant] = await _measure(reactor, directory, variant, rounds)
    publish("impairment", [section(outcomes)], rounds)


def main() -> None:
    """Measure, and write the section."""
    react(lambda reactor: Deferred.fromCoroutine(_run(reactor, sys.argv[1:])))


if __name__ == "__main__":
    main()
