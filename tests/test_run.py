"""Tests of tests.run, which runs the test suite in parallel."""

import sys
from collections import Counter
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests import run as runner
from tests.run import (
    LIVE_GROUPS,
    MAX_REPEATED,
    RUN_ALONE,
    SHOWN_RUNS,
    SLOWEST_LIVE,
    SLOWEST_OTHERS,
    Outcome,
    TestRun,
    check_types,
    execute,
    find_runs,
    parse_counts,
    repeat_failed,
    run_all,
    summarize,
    table_of_durations,
)

PASSED = "Ran 3 tests in 0.5s\n\nPASSED (skips=1, successes=2)\n"
FAILED = "Ran 4 tests in 1.5s\n\nFAILED (failures=1, errors=2, successes=1)\n"
FAILURE = """\
===============================================================================
[FAIL]
Traceback (most recent call last):
  File "tests/example/test_example.py", line 1, in test_one
twisted.trial.unittest.FailTest: 1 != 2

tests.example.test_example.ExampleTests.test_one
tests.example.test_example.ExampleTests.test_two
===============================================================================
[ERROR]
Traceback (most recent call last):
Failure: twisted.trial.util.DirtyReactorAggregateError: Reactor was unclean.

tests.example.test_example.ExampleTests.test_one
-------------------------------------------------------------------------------
Ran 4 tests in 1.5s

FAILED (failures=2, errors=1, successes=2)
"""
"""What trial prints at the end: two tests with the same failure, one of which left the reactor unclean as well."""
RUN = TestRun("tests.example", ("tests.example",))


class FindRunsTests(SynchronousTestCase):
    def test_every_test_module_is_in_one_run(self) -> None:
        live, others = find_runs()
        targets = [target for run in (*live, *others) for target in run.targets]
        self.assertEqual(len(targets), len(set(targets)))
        tests = Path(__file__).parent
        for path in tests.rglob("test_*.py"):
            module = ".".join(["tests", *path.relative_to(tests).with_suffix("").parts])
            covering = [target for target in targets if f"{module}.".startswith(f"{target}.")]
            self.assertEqual(len(covering), 1, module)

    def test_live_test_modules_are_runs_of_their_own_or_of_a_group(self) -> None:
        live, others = find_runs()
        targets = {run.name: run.targets for run in live}
        self.assertEqual(targets["tests.live.takeover"], ("tests.live.test_takeover",))
        for name, modules in LIVE_GROUPS.items():
            self.assertEqual(targets[f"tests.live.{name}"], tuple(f"tests.live.test_{module}" for module in modules))
        self.assertFalse([run.name for run in others if "live" in run.name])

    def test_the_slowest_start_first(self) -> None:
        live, others = find_runs()
        first_live = [f"tests.live.{name}" for name in SLOWEST_LIVE]
        first_others = [*RUN_ALONE, *(f"tests.{name}" for name in SLOWEST_OTHERS)]
        for runs, first in ((live, first_live), (others, first_others)):
            self.assertEqual([run.name for run in runs[: len(first)]], first)


class RunAllTests(SynchronousTestCase):
    def test_each_run_once_and_the_others_after_the_live_ones(self) -> None:
        live, others = ([TestRun(f"{kind}-{number}", ()) for number in range(6)] for kind in ("live", "other"))
        begun: list[str] = []
        ended: list[str] = []
        ended_before: dict[str, set[str]] = {}

        def run(each: TestRun) -> Outcome:
            begun.append(each.name)
            ended_before[each.name] = set(ended)
            ended.append(each.name)
            return Outcome(each, "", 0.0, Counter(ran=1))

        self.patch(runner, "find_runs", lambda: (live, others))
        self.patch(runner, "_run_trial", run)
        self.patch(runner, "_run_mypy", lambda: run(TestRun("mypy", ())))
        live_names, other_names = [each.name for each in live], [*(each.name for each in others), "mypy"]
        for jobs in (1, 2, 4):
            begun.clear()
            ended.clear()
            outcomes = run_all(jobs)
            self.assertEqual(sorted(begun), sorted([*live_names, *other_names]))
            self.assertEqual(sorted(each.run.name for each in outcomes), sorted([*live_names, *other_names]))
            for name in other_names:
                self.assertLessEqual(set(live_names), ended_before[name], name)


class ParseCountsTests(SynchronousTestCase):
    def test_counts_of_trials_summary(self) -> None:
        self.assertEqual(parse_counts(PASSED), Counter(ran=3, skips=1, successes=2))
        self.assertEqual(parse_counts(FAILED), Counter(ran=4, failures=1, errors=2, successes=1))

    def test_the_last_summary_counts(self) -> None:
        self.assertEqual(parse_counts(PASSED + FAILED)["ran"], 4)

    def test_output_without_a_summary_is_an_error(self) -> None:
        self.assertEqual(parse_counts("Segmentation fault"), Counter(errors=1))


class ExecuteTests(SynchronousTestCase):
    def python(self, source: str, timeout: float = 60) -> Outcome:
        return execute(RUN, [sys.executable, "-c", source], timeout)

    def test_a_run_that_passes(self) -> None:
        outcome = self.python(f"print({PASSED!r})")
        self.assertTrue(outcome.passed)
        self.assertEqual(outcome.counts["ran"], 3)

    def test_a_run_that_fails(self) -> None:
        outcome = self.python(f"print({FAILED!r}); raise SystemExit(1)")
        self.assertFalse(outcome.passed)
        self.assertEqual(outcome.counts["errors"], 2)

    def test_a_crash_after_the_summary_is_an_error(self) -> None:
        outcome = self.python(f"import os; print({PASSED!r}, flush=True); os.abort()")
        self.assertEqual(outcome.counts["errors"], 1)

    def test_a_timeout_is_an_error(self) -> None:
        outcome = self.python("import time; time.sleep(60)", timeout=0.5)
        self.assertEqual(outcome.counts["errors"], 1)
        self.assertIn("killed after 0.5 s", outcome.output)

    def test_the_cpu_time_includes_child_processes(self) -> None:
        burn = "import time\nwhile time.process_time() < 0.3: pass"
        outcome = self.python(
            f"import subprocess, sys; subprocess.run([sys.executable, '-c', {burn!r}]); print({PASSED!r})"
        )
        self.assertGreaterEqual(outcome.cpu_seconds, 0.3)

    def test_a_failed_type_check_is_an_error(self) -> None:
        def check(source: str) -> Outcome:
            return check_types([sys.executable, "-c", source])

        self.assertTrue(check("print('Success: no issues found')").passed)
        failed = check("print('a.py:1: error: Incompatible types'); raise SystemExit(1)")
        self.assertEqual((failed.counts, failed.repeatable), (Counter(errors=1), False))
        self.assertIn("a.py:1: error: Incompatible types", summarize([failed], 1.0))


def outcome_of(output: str) -> Outcome:
    return Outcome(RUN, output, 1.0, parse_counts(output))


class RepeatFailedTests(SynchronousTestCase):
    def repeat(self, first: str, second: str) -> tuple[list[TestRun], Outcome]:
        """Return what is repeated after a run with the output ``first``, and the result if that prints ``second``."""
        repeated: list[TestRun] = []

        def run(each: TestRun) -> Outcome:
            repeated.append(each)
            return outcome_of(second)

        (outcome,) = repeat_failed([outcome_of(first)], run)
        return repeated, outcome

    def test_each_failed_test_is_repeated_once(self) -> None:
        repeated, outcome = self.repeat(FAILURE, "Ran 2 tests in 1s\n\nPASSED (successes=2)\n")
        names = tuple(f"tests.example.test_example.ExampleTests.{name}" for name in ("test_one", "test_two"))
        self.assertEqual(repeated, [TestRun("tests.example.repeated", names)])
        self.assertTrue(outcome.passed)
        self.assertEqual(outcome.counts, Counter(ran=4, successes=4))

    def test_a_test_that_fails_again_fails_the_run(self) -> None:
        _, outcome = self.repeat(FAILURE, "Ran 2 tests in 1s\n\nFAILED (failures=1, successes=1)\n")
        self.assertFalse(outcome.passed)
        self.assertEqual(outcome.counts, Counter(ran=4, failures=1, successes=3))

    def test_a_crash_of_the_repetition_fails_the_run(self) -> None:
        self.assertFalse(self.repeat(FAILURE, "Segmentation fault")[1].passed)

    def test_what_passed_is_not_repeated(self) -> None:
        self.assertEqual(self.repeat(PASSED, "")[0], [])

    def test_a_crash_is_not_repeated(self) -> None:
        self.assertEqual(self.repeat("Segmentation fault", PASSED)[0], [])

    def test_a_module_that_cannot_be_imported_is_not_repeated(self) -> None:
        output = FAILURE.replace(".test_example.ExampleTests.test_one\n-", "\n-")
        self.assertEqual(self.repeat(output, PASSED)[0], [])

    def test_many_failures_are_not_repeated(self) -> None:
        names = "".join(f"tests.example.ExampleTests.test_{number}\n" for number in range(MAX_REPEATED + 1))
        output = f"{'=' * 79}\n[FAIL]\nTraceback\n\n{names}{'-' * 79}\nRan 99 tests in 1s\n\nFAILED (failures=11)\n"
        self.assertEqual(self.repeat(output, PASSED)[0], [])


class TableOfDurationsTests(SynchronousTestCase):
    def test_the_longest_runs_and_the_totals(self) -> None:
        outcomes = [
            Outcome(TestRun(f"tests.r{number}", ()), "", number, Counter(), number / 2)
            for number in range(1, SHOWN_RUNS + 2)
        ]
        _, *rows = (row.split(maxsplit=2) for row in table_of_durations(outcomes).splitlines())
        self.assertEqual([row[2] for row in rows], [f"tests.r{n}" for n in range(SHOWN_RUNS + 1, 1, -1)] + ["all runs"])
        self.assertEqual((rows[1][:2], rows[-1][:2]), (["20", "10"], ["231", "116"]))


class SummarizeTests(SynchronousTestCase):
    def test_counts_are_added_up(self) -> None:
        summary = summarize([outcome_of(PASSED), outcome_of(PASSED)], 2.0)
        self.assertEqual(summary.splitlines()[1:], ["Ran 6 tests in 2.000s", "", "PASSED (skips=2, successes=4)"])

    def test_one_failed_run_fails_the_whole(self) -> None:
        summary = summarize([outcome_of(PASSED), outcome_of(FAILED)], 2.0)
        self.assertIn("failed: tests.example", summary)
        self.assertTrue(summary.endswith("FAILED (errors=2, failures=1, skips=1, successes=3)"))

    def test_a_crashed_run_fails_the_whole(self) -> None:
        self.assertTrue(summarize([outcome_of("")], 2.0).endswith("FAILED (errors=1)"))

    def test_failures_are_shown_at_the_end(self) -> None:
        summary = summarize([outcome_of(FAILURE), outcome_of(PASSED)], 2.0)
        self.assertIn("FailTest: 1 != 2", summary)
        self.assertIn("failed: tests.example", summary)

    def test_repeated_tests_are_named(self) -> None:
        repeated = outcome_of(FAILURE).with_repetition(outcome_of("Ran 2 tests in 1s\n\nPASSED (successes=2)\n"))
        summary = summarize([repeated], 2.0)
        self.assertIn("FailTest: 1 != 2", summary)
        self.assertIn("passed only when repeated alone: tests.example.test_example.ExampleTests.test_one", summary)
        self.assertTrue(summary.endswith("PASSED (successes=4)"))
