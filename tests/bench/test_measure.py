"""Tests of bench.measure: order of rounds, statistics, and measurements of processes."""

import os
import subprocess
import sys

from twisted.trial.unittest import TestCase

from bench.measure import Spread, cpu_seconds, interleaved, percentile, requested_rounds, resident_megabytes

# Uses a known amount of CPU in a child process, reports it, and waits to be killed.
_BUSY_CHILD = """
import subprocess, sys, time
spin = "import time\\nwhile time.process_time() < 0.3: pass"
if sys.argv[1:] == ["parent"]:
    subprocess.run([sys.executable, "-c", spin])
    print("done", flush=True)
    sys.stdin.read()
"""


class MeasureTests(TestCase):
    def test_each_round_starts_with_another_variant(self) -> None:
        self.assertEqual(
            list(interleaved("abc", 4)),
            [(number, variant) for number, order in enumerate(["abc", "bca", "cab", "abc"]) for variant in order],
        )

    def test_requested_rounds(self) -> None:
        self.assertEqual([requested_rounds(each) for each in ([], ["--quick"], ["--rounds", "3"])], [5, 1, 3])

    def test_spread(self) -> None:
        self.assertEqual(Spread.of([9.0, 1.0, 2.0]), Spread(2.0, 1.0, 9.0))
        self.assertEqual(Spread(2.0, 1.0, 9.0).text(), "2.0 (1.0 to 9.0)")

    def test_percentile_is_a_measured_value(self) -> None:
        values = [float(value) for value in range(1, 201)]
        self.assertEqual(percentile(values, 99), 198.0)
        self.assertEqual(percentile(values, 50), 100.0)
        self.assertEqual(percentile(values, 99.9), 200.0)
        self.assertEqual(percentile([7.0], 99), 7.0)

    def test_cpu_of_a_process_tree_includes_ended_children(self) -> None:
        command = [sys.executable, "-c", _BUSY_CHILD, "parent"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:  # noqa: S603 - this interpreter
            assert parent.stdout is not None
            self.assertEqual(parent.stdout.readline(), b"done\n")
            tree, process = cpu_seconds(parent.pid), cpu_seconds(parent.pid, descendants=False)
            parent.kill()
        self.assertGreaterEqual(tree - process, 0.28)

    def test_memory_of_this_process(self) -> None:
        before = resident_megabytes(os.getpid())
        allocated = bytearray(b"x") * 50_000_000
        self.assertGreater(resident_megabytes(os.getpid()) - before, 45.0)
        del allocated
