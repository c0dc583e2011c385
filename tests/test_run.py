"""Tests of tests.run, which runs the test suite in parallel."""

import sys
from collections import Counter
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.run import Outcome, TestRun, execute, find_runs, parse_counts, summarize

PASSED = "Ran 3 tests in 0.5s\n\nPASSED (skips=1, successes=2)\n"
FAILED = "Ran 4 tests in 1.5s\n\nFAILED (failures=1, errors=2, successes=1)\n"
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

    def test_live_test_modules_are_runs_of_their_own(self) -> None:
        live, others = find_runs()
        self.assertIn("tests.live.test_calls", [run.name for run in live])
        self.assertFalse([run.name for run in others if "live" in run.name])


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


class SummarizeTests(SynchronousTestCase):
    def outcome(self, output: str) -> Outcome:
        return Outcome(RUN, output, 1.0, parse_counts(output))

    def test_counts_are_added_up(self) -> None:
        summary = summarize([self.outcome(PASSED), self.outcome(PASSED)], 2.0)
        self.assertEqual(summary.splitlines()[1:], ["Ran 6 tests in 2.000s", "", "PASSED (skips=2, successes=4)"])

    def test_one_failed_run_fails_the_whole(self) -> None:
        summary = summarize([self.outcome(PASSED), self.outcome(FAILED)], 2.0)
        self.assertIn("failed: tests.example", summary)
        self.assertTrue(summary.endswith("FAILED (errors=2, failures=1, skips=1, successes=3)"))

    def test_a_crashed_run_fails_the_whole(self) -> None:
        self.assertTrue(summarize([self.outcome("")], 2.0).endswith("FAILED (errors=1)"))
