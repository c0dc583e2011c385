"""Run the whole test suite in parallel processes: ``python -m tests.run [--jobs N]``, which is what ``make test`` does.

Each live test module and each other test package is one run of trial with its own temporary directory below .trial. The
live tests come first, next to each other only, N + 2 at a time: most of the time they wait for calls, and their audio
measurements tolerate each other's low load, but not that of CPU-bound unit tests. At the end, up to MAX_REPEATED failed
tests are run once more, alone: the kernel may have kept a process waiting for longer than a measurement of live audio
permits, while a fault of voxrec fails again. Such tests are named. The last lines are a summary like trial's own; the
exit status is 0 only if all tests passed at last.
"""

import argparse
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, NamedTuple

TESTS: Final = Path(__file__).parent
TEMPORARY: Final = Path(".trial")
TIMEOUT_SECONDS: Final = 1200.0
SLOWEST: Final = (
    *("takeover", "required_announcement", "replaced_channels", "recording_options", "signalling", "daemon"),
    *("fidelity", "sandbox", "calls", "nodes", "recording_engine", "trunks", "kamailio", "listening"),
    *("announcement", "pause_codes", "ami", "music_on_hold"),
)
"""The live test modules that take longest, in that order; they start first, so that no run is left alone at the end."""
MAX_REPEATED: Final = 10
"""The number of failed tests up to which they are repeated; more have a cause that a second run does not remove."""
SHOWN_LINES: Final = 12
"""The number of lines that the summary shows of each failure, counted from its end."""
_RAN: Final = re.compile(r"^Ran (\d+) tests? in ", re.MULTILINE)
_RESULT: Final = re.compile(r"^(?:PASSED|FAILED)(?: \((.*)\))?$", re.MULTILINE)
_COUNT: Final = re.compile(r"(\w+)=(\d+)")
_FAILURE: Final = re.compile(r"^={79}\n\[(?:FAIL|ERROR)\]\n(.*?)(?=^={79}$|^-{79}$)", re.MULTILINE | re.DOTALL)
_TEST: Final = re.compile(r"^tests(?:\.\w+)+\.test_\w+$", re.MULTILINE)
_UNSUCCESSFUL: Final = ("failures", "errors", "unexpectedSuccesses")


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
        return not any(self.counts[name] for name in _UNSUCCESSFUL)

    @property
    def failures(self) -> list[str]:
        """What trial printed of each failure or error: a traceback and the names of the tests."""
        return _FAILURE.findall(self.output)

    @property
    def failed_tests(self) -> list[str]:
        """The names of the tests that failed, once for each failure: a test may fail and leave the reactor unclean."""
        return [name for failure in self.failures for name in _TEST.findall(failure)]

    @property
    def repeatable(self) -> bool:
        """Whether tests failed, and nothing else: no import, and not trial itself."""
        return 0 < sum(self.counts[name] for name in _UNSUCCESSFUL) == len(self.failed_tests)

    def with_repetition(self, repetition: "Outcome") -> "Outcome":
        """Return this outcome with the results of the failed tests replaced by those of their ``repetition``."""
        counts = self.counts.copy()
        for name in _UNSUCCESSFUL:
            del counts[name]
        counts.update({name: count for name, count in repetition.counts.items() if name != "ran"})
        return self._replace(counts=counts, seconds=self.seconds + repetition.seconds)


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
    """Return the summary of all runs in the form of trial's, after the last lines of each failure."""
    total: Counter[str] = sum((outcome.counts for outcome in outcomes), Counter())
    ran = total.pop("ran", 0)
    shown = ", ".join(f"{name}={total[name]}" for name in sorted(total) if total[name])
    lines: list[str] = []
    for outcome in outcomes:
        for failure in outcome.failures:
            lines += ["=" * 79, *failure.rstrip().splitlines()[-SHOWN_LINES:]]
    lines.append("=" * 79)
    for outcome in outcomes:
        if outcome.passed:
            lines += [f"passed only when repeated alone: {name}" for name in dict.fromkeys(outcome.failed_tests)]
        else:
            lines.append(f"failed: {outcome.run.name}")
    passed = all(outcome.passed for outcome in outcomes)
    lines += [f"Ran {ran} tests in {seconds:.3f}s", "", f"{'PASSED' if passed else 'FAILED'} ({shown})"]
    return "\n".join(lines)


def _execute_and_print(run: TestRun) -> Outcome:
    print(f"== {run.name}: started", flush=True)
    command = [sys.executable, "-m", "twisted.trial", f"--temp-directory={TEMPORARY / run.name}", *run.targets]
    outcome = execute(run, command)
    result = f"{outcome.counts['ran']} tests, {'passed' if outcome.passed else 'FAILED'}"
    print(f"{outcome.output}== {run.name}: {result} in {outcome.seconds:.0f} s", flush=True)
    return outcome


def repeat_failed(outcomes: Sequence[Outcome], run: Callable[[TestRun], Outcome]) -> list[Outcome]:
    """Return ``outcomes`` after the tests that failed were repeated with ``run``, one after the other.

    Nothing is repeated if more than MAX_REPEATED failed, or in a run in which something else failed than a test.
    """
    if sum(len(outcome.failed_tests) for outcome in outcomes) > MAX_REPEATED:
        return list(outcomes)
    return [
        outcome.with_repetition(run(_repetition(outcome))) if outcome.repeatable else outcome for outcome in outcomes
    ]


def _repetition(outcome: Outcome) -> TestRun:
    return TestRun(f"{outcome.run.name}.repeated", tuple(dict.fromkeys(outcome.failed_tests)))


def main() -> None:
    """Run all tests; exit status 1 if any failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.run", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="number of parallel runs of unit tests")
    jobs = parser.parse_args().jobs
    TEMPORARY.mkdir(exist_ok=True)
    began = time.monotonic()
    outcomes: list[Outcome] = []
    live, others = find_runs()
    for runs, at_a_time in ((live, jobs + 2), (others, jobs)):
        executor = ThreadPoolExecutor(at_a_time)
        try:
            outcomes += executor.map(_execute_and_print, runs)
        finally:
            executor.shutdown(cancel_futures=True)  # after Ctrl-C, which trial receives as well
    outcomes = repeat_failed(outcomes, _execute_and_print)
    print(summarize(outcomes, time.monotonic() - began))
    if not all(outcome.passed for outcome in outcomes):
        sys.exit(1)


if __name__ == "__main__":
    main()
