"""Run the whole test suite in parallel processes: ``python -m tests.run [--jobs N]``, which is what ``make test`` does.

Each live test module and each other test package is one run of trial with its own temporary directory below .trial. The
live tests come first, next to each other only, N + 1 at a time: most of the time they wait for calls, and their audio
measurements tolerate each other's low load, but not that of CPU-bound unit tests. The last lines are a summary like
trial's own; the exit status is 0 only if all runs passed.
"""

import argparse
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

TESTS: Final = Path(__file__).parent
TEMPORARY: Final = Path(".trial")
TIMEOUT_SECONDS: Final = 1200.0
SLOWEST: Final = (
    *("replaced_channels", "takeover", "recording_options", "required_announcement", "signalling", "calls", "fidelity"),
    *("daemon", "pause_codes"),
)
"""The live test modules that take longest, in that order; they start first, so that no run is left alone at the end."""
_RAN: Final = re.compile(r"^Ran (\d+) tests? in ", re.MULTILINE)
_RESULT: Final = re.compile(r"^(?:PASSED|FAILED)(?: \((.*)\))?$", re.MULTILINE)
_COUNT: Final = re.compile(r"(\w+)=(\d+)")


class TestRun(NamedTuple):
    """One run of trial: a name, and the modules or packages to test."""

    name: str
    targets: tuple[str, ...]


class Outcome(NamedTuple):
    """The output of one run, its duration in seconds, and its counts as in trial's summary, with ``ran``."""

    run: TestRun
    output: str
    seconds: float
    counts: Counter[str]

    @property
    def passed(self) -> bool:
        """Whether no test failed and trial ended normally."""
        return not (self.counts["failures"] or self.counts["errors"] or self.counts["unexpectedSuccesses"])


def find_runs(tests: Path = TESTS) -> tuple[list[TestRun], list[TestRun]]:
    """Return the runs of the live tests, and those of all others: packages first, then the modules outside packages."""
    names = [path.stem for path in _modules(tests / "live")]
    slowest = [name for each in SLOWEST if (name := f"test_{each}") in names]
    names = [*slowest, *(name for name in names if name not in slowest)]
    live = [TestRun(f"tests.live.{name}", (f"tests.live.{name}",)) for name in names]
    packages = sorted(path.parent.name for path in tests.glob("*/__init__.py") if path.parent.name != "live")
    others = [TestRun(f"tests.{name}", (f"tests.{name}",)) for name in packages]
    modules = tuple(f"tests.{path.stem}" for path in _modules(tests))
    return live, [*others, TestRun("tests", modules)] if modules else others


def _modules(directory: Path) -> list[Path]:
    return sorted(directory.glob("test_*.py"))


def execute(run: TestRun, command: Sequence[str], timeout: float = TIMEOUT_SECONDS) -> Outcome:
    """Run ``command``, a call of trial, and return its outcome. A crash or a timeout counts as an error."""
    began = time.monotonic()
    with subprocess.Popen(  # noqa: S603 - trial
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:
        try:
            output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            process.kill()  # the kernel kills what the tests have started (see voxrec.sandbox.process)
            output, _ = process.communicate()
            output += f"\n{run.name}: killed after {timeout:g} s\n"
    counts = parse_counts(output)
    outcome = Outcome(run, output, time.monotonic() - began, counts)
    if process.returncode != 0 and outcome.passed:
        counts["errors"] += 1
        output += f"\n{run.name}: trial ended with status {process.returncode}\n"
    return outcome._replace(output=output)


def parse_counts(output: str) -> Counter[str]:
    """Return the counts in trial's summary, with ``ran`` for the number of tests. No summary counts as an error."""
    ran, results = _RAN.findall(output), _RESULT.findall(output)
    if not ran or not results:
        return Counter(errors=1)
    return Counter({name: int(count) for name, count in _COUNT.findall(results[-1])}) + Counter(ran=int(ran[-1]))


def summarize(outcomes: Sequence[Outcome], seconds: float) -> str:
    """Return the summary of all runs in the form of trial's."""
    total: Counter[str] = sum((outcome.counts for outcome in outcomes), Counter())
    ran = total.pop("ran", 0)
    shown = ", ".join(f"{name}={total[name]}" for name in sorted(total) if total[name])
    failed = [outcome.run.name for outcome in outcomes if not outcome.passed]
    lines = ["=" * 79, *(f"failed: {name}" for name in failed)]
    lines += [f"Ran {ran} tests in {seconds:.3f}s", "", f"{'FAILED' if failed else 'PASSED'} ({shown})"]
    return "\n".join(lines)


def _execute_and_print(run: TestRun) -> Outcome:
    print(f"== {run.name}: started", flush=True)
    command = [sys.executable, "-m", "twisted.trial", f"--temp-directory={TEMPORARY / run.name}", *run.targets]
    outcome = execute(run, command)
    result = f"{outcome.counts['ran']} tests, {'passed' if outcome.passed else 'FAILED'}"
    print(f"{outcome.output}== {run.name}: {result} in {outcome.seconds:.0f} s", flush=True)
    return outcome


def main() -> None:
    """Run all tests; exit status 1 if any failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.run", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="number of parallel runs of unit tests")
    jobs = parser.parse_args().jobs
    TEMPORARY.mkdir(exist_ok=True)
    began = time.monotonic()
    outcomes: list[Outcome] = []
    live, others = find_runs()
    for runs, at_a_time in ((live, jobs + 1), (others, jobs)):
        executor = ThreadPoolExecutor(at_a_time)
        try:
            outcomes += executor.map(_execute_and_print, runs)
        finally:
            executor.shutdown(cancel_futures=True)  # after Ctrl-C, which trial receives as well
    print(summarize(outcomes, time.monotonic() - began))
    if not all(outcome.passed for outcome in outcomes):
        sys.exit(1)


if __name__ == "__main__":
    main()
