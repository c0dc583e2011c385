"""Run mypy and the whole test suite in parallel: ``python -m tests.run [--jobs N]``, which is what ``make test`` does.

Each live test module, or group of modules that share stacks, and each other test package is one run of trial with its
own temporary directory below .trial. The live tests come first, next to each other only, N + 2 at a time: most of the
time they wait for calls, and their audio measurements tolerate each other's low load, but not that of mypy and of the
other tests, which follow, N at a time. At the end, up to MAX_REPEATED failed tests are run once more, alone: the
kernel may have kept a process waiting for longer than a measurement of live audio permits, while a fault of voxrec
fails again. Such tests are named. The last lines are the runs that took longest, and a summary like trial's own; the
exit status is 0 only if mypy and all tests passed at last.
"""

import argparse
import os
import re
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Final, NamedTuple

TESTS: Final = Path(__file__).parent
TEMPORARY: Final = Path(".trial")
TIMEOUT_SECONDS: Final = 1200.0
LIVE_GROUPS: Final = {
    "recording": ("recording_options", "recording_formats"),
    "trunks": ("signalling", "trunks", "trunk_security"),
    "transfers": ("transfer_moments", "calls", "three_way_calls"),
    "set_up": ("refusals", "progress", "offers", "numbers", "loops"),
    "features": ("listening", "pause_codes", "announcement", "prompts"),
    "interfaces": (
        *("operators_view", "console", "bridge_media", "privacy", "profile_check", "stale_channels", "sip_torture"),
        *("events", "links_and_exports", "webhooks", "new_profiles"),
    ),
}
"""Live test modules that are one run, by the name of that: they share the stacks of `shared_stack`. To start a stack of
each version of Asterisk takes some 10 s of CPU."""
SLOWEST_LIVE: Final = (
    *("replaced_channels", "transfers", "trunks", "recording", "takeover", "set_up", "features", "interfaces"),
    *("required_announcement", "fidelity", "daemon", "recording_engine", "nodes", "sandbox", "kamailio", "doctor"),
    *("music_on_hold", "ami", "chaos", "requested_calls"),
)
SLOWEST_OTHERS: Final = ("api", "browser", "recordings", "console", "containers", "postgres", "web", "sandbox")
"""The live test modules and groups, and the other packages, that take longest, in that order; they start first, so that
no run is left alone at the end. See the table that each run of the suite prints."""
RUN_ALONE: Final = ("tests.api.test_openapi_conformance",)
"""Modules that take as long as the rest of their package, and are a run of their own, which starts first."""
CONCURRENT_CALLS: Final = 2
"""The number of live test modules that run at once in addition to one for each processor: they wait for calls."""
MAX_REPEATED: Final = 10
"""The number of failed tests up to which they are repeated; more have a cause that a second run does not remove."""
SHOWN_LINES: Final = 12
"""The number of lines that the summary shows of each failure, counted from its end."""
SHOWN_RUNS: Final = 20
"""The number of runs in the table of those that took longest."""
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
    """The output of one run, its duration in seconds, and its counts as in trial's summary, with ``ran``.

    ``cpu_seconds`` is the CPU time of trial and of those descendants that were waited for; those that the kernel kills
    with their parent are missing.
    """

    run: TestRun
    output: str
    seconds: float
    counts: Counter[str]
    cpu_seconds: float = 0.0

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
    """Return the runs of the live tests, and those of all others: packages, and the modules outside packages."""
    grouped = {module for modules in LIVE_GROUPS.values() for module in modules}
    modules = [path.stem.removeprefix("test_") for path in _modules(tests / "live")]
    names = [*LIVE_GROUPS, *(module for module in modules if module not in grouped)]
    live = [_live_run(name) for name in _slowest_first(names, SLOWEST_LIVE)]
    packages = sorted(path.parent.name for path in tests.glob("*/__init__.py") if path.parent.name != "live")
    others = [TestRun(f"tests.{name}", _targets(tests / name)) for name in _slowest_first(packages, SLOWEST_OTHERS)]
    alone = [TestRun(name, (name,)) for name in RUN_ALONE]
    return live, [*alone, *others, TestRun("tests", tuple(f"tests.{path.stem}" for path in _modules(tests)))]


def _live_run(name: str) -> TestRun:
    modules = LIVE_GROUPS.get(name, (name,))
    return TestRun(f"tests.live.{name}", tuple(f"tests.live.test_{module}" for module in modules))


def _targets(package: Path) -> tuple[str, ...]:
    """Return the package, or its modules and packages without those that run alone."""
    name = f"tests.{package.name}"
    if not any(alone.startswith(f"{name}.") for alone in RUN_ALONE):
        return (name,)
    packages = [f"{name}.{path.parent.name}" for path in sorted(package.glob("*/__init__.py"))]
    modules = [f"{name}.{path.stem}" for path in _modules(package)]
    return tuple(each for each in (*packages, *modules) if each not in RUN_ALONE)


def _slowest_first(names: Sequence[str], slowest: Sequence[str]) -> list[str]:
    return [*(name for name in slowest if name in names), *(name for name in names if name not in slowest)]


def _modules(directory: Path) -> list[Path]:
    return sorted(directory.glob("test_*.py"))


def execute(run: TestRun, command: Sequence[str], timeout: float = TIMEOUT_SECONDS) -> Outcome:
    """Run ``command``, a call of trial, and return its outcome. A crash or a timeout counts as an error."""
    return _execute(run, command, timeout, parse_counts)


def check_types(command: Sequence[str] = (sys.executable, "-m", "mypy")) -> Outcome:
    """Run mypy, and return its outcome. A status other than 0 counts as an error."""
    return _execute(TestRun("mypy", ()), command, TIMEOUT_SECONDS, lambda _output: Counter())


def _execute(run: TestRun, command: Sequence[str], timeout: float, counts_of: Callable[[str], Counter[str]]) -> Outcome:
    began = time.monotonic()
    expired = threading.Event()
    with subprocess.Popen(  # noqa: S603 - trial or mypy
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    ) as process:

        def kill() -> None:
            expired.set()
            process.kill()  # the kernel kills what the tests have started (see voxrec.sandbox.process)

        timer = threading.Timer(timeout, kill)
        timer.daemon = True
        timer.start()
        assert process.stdout is not None
        output = process.stdout.read()
        _, status, usage = os.wait4(process.pid, 0)  # Popen.wait() does not return the CPU time
        process.returncode = os.waitstatus_to_exitcode(status)
        timer.cancel()
    if expired.is_set():
        output += f"\n{run.name}: killed after {timeout:g} s\n"
    counts = counts_of(output)
    outcome = Outcome(run, output, time.monotonic() - began, counts, usage.ru_utime + usage.ru_stime)
    if process.returncode != 0 and outcome.passed:
        counts["errors"] += 1
        output += f"\n{run.name}: ended with status {process.returncode}\n"
    return outcome._replace(output=output)


def parse_counts(output: str) -> Counter[str]:
    """Return the counts in trial's summary, with ``ran`` for the number of tests. No summary counts as an error."""
    ran, results = _RAN.findall(output), _RESULT.findall(output)
    if not ran or not results:
        return Counter(errors=1)
    return Counter({name: int(count) for name, count in _COUNT.findall(results[-1])}) + Counter(ran=int(ran[-1]))


def summarize(outcomes: Sequence[Outcome], seconds: float) -> str:
    """Return the summary of all runs in the form of trial's, after the last lines of each failure.

    Of a run that failed without a failed test, such as mypy or a crash, the last lines of the output are shown.
    """
    total: Counter[str] = sum((outcome.counts for outcome in outcomes), Counter())
    ran = total.pop("ran", 0)
    shown = ", ".join(f"{name}={total[name]}" for name in sorted(total) if total[name])
    lines: list[str] = []
    for outcome in outcomes:
        for failure in outcome.failures or ([] if outcome.passed else [outcome.output]):
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


def table_of_durations(outcomes: Sequence[Outcome]) -> str:
    """Return the SHOWN_RUNS runs that took longest, with their wall-clock and CPU time, and the totals of all runs."""
    longest = sorted(outcomes, key=lambda outcome: outcome.seconds, reverse=True)[:SHOWN_RUNS]
    rows = [(outcome.run.name, outcome.seconds, outcome.cpu_seconds) for outcome in longest]
    rows.append(("all runs", sum(each.seconds for each in outcomes), sum(each.cpu_seconds for each in outcomes)))
    return "\n".join(["  wall s   CPU s", *(f"{wall:8.0f}{cpu:8.0f}  {name}" for name, wall, cpu in rows)])


def _run_trial(run: TestRun) -> Outcome:
    print(f"== {run.name}: started", flush=True)
    command = [sys.executable, "-m", "twisted.trial", f"--temp-directory={TEMPORARY / run.name}", *run.targets]
    outcome = execute(run, command)
    result = f"{outcome.counts['ran']} tests, {'passed' if outcome.passed else 'FAILED'}"
    _print_output(outcome, result)
    return outcome


def _run_mypy() -> Outcome:
    outcome = check_types()
    _print_output(outcome, "passed" if outcome.passed else "FAILED")
    return outcome


def _print_output(outcome: Outcome, result: str) -> None:
    duration = f"{outcome.seconds:.0f} s ({outcome.cpu_seconds:.0f} s of CPU)"
    print(f"{outcome.output}== {outcome.run.name}: {result} in {duration}", flush=True)


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


def run_all(jobs: int) -> list[Outcome]:
    """Run all tests and mypy, and return the outcomes."""
    live, others = (tuple(partial(_run_trial, run) for run in runs) for runs in find_runs())
    outcomes: list[Outcome] = []
    for runs, at_a_time in ((live, jobs + CONCURRENT_CALLS), ((_run_mypy, *others), jobs)):
        executor = ThreadPoolExecutor(at_a_time)
        try:
            outcomes += executor.map(lambda run: run(), runs)
        finally:
            executor.shutdown(cancel_futures=True)  # after Ctrl-C, which trial receives as well
    return outcomes


def main() -> None:
    """Run all tests; exit status 1 if any failed."""
    parser = argparse.ArgumentParser(prog="python -m tests.run", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="number of processors to use")
    jobs = parser.parse_args().jobs
    TEMPORARY.mkdir(exist_ok=True)
    began = time.monotonic()
    outcomes = repeat_failed(run_all(jobs), _run_trial)
    print(table_of_durations(outcomes))
    print(summarize(outcomes, time.monotonic() - began))
    if not all(outcome.passed for outcome in outcomes):
        sys.exit(1)


if __name__ == "__main__":
    main()
