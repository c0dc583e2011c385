"""What the benchmarks measure with, and what they write."""

import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path

from twisted.trial.unittest import TestCase

from bench.measure import Spread, cpu_seconds, interleaved, percentile, resident_megabytes
from bench.report import Bars, Reach, Section, Table, markdown_table, publish

# Uses a known amount of CPU in a child of its own, then says so and waits to be ended.
_BUSY_CHILD = """
import subprocess, sys, time
spin = "import time\\nwhile time.process_time() < 0.3: pass"
if sys.argv[1:] == ["parent"]:
    subprocess.run([sys.executable, "-c", spin])
    print("done", flush=True)
    sys.stdin.read()
"""


class MeasureTests(TestCase):
    def test_each_round_begins_with_another_way(self) -> None:
        self.assertEqual(
            list(interleaved("abc", 4)),
            [(number, way) for number, ways in enumerate(["abc", "bca", "cab", "abc"]) for way in ways],
        )

    def test_spread(self) -> None:
        self.assertEqual(Spread.of([9.0, 1.0, 2.0]), Spread(2.0, 1.0, 9.0))
        self.assertEqual(Spread(2.0, 1.0, 9.0).shown(), "2.0 (1.0 to 9.0)")

    def test_percentile_is_a_measured_value(self) -> None:
        values = [float(value) for value in range(1, 201)]
        self.assertEqual(percentile(values, 99), 198.0)
        self.assertEqual(percentile(values, 50), 100.0)
        self.assertEqual(percentile(values, 99.9), 200.0)
        self.assertEqual(percentile([7.0], 99), 7.0)

    def test_cpu_of_a_tree_counts_children_that_ended(self) -> None:
        command = [sys.executable, "-c", _BUSY_CHILD, "parent"]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:  # noqa: S603 - ours
            assert parent.stdout is not None
            self.assertEqual(parent.stdout.readline(), b"done\n")
            whole, alone = cpu_seconds(parent.pid), cpu_seconds(parent.pid, descendants=False)
            parent.kill()
        self.assertGreaterEqual(whole - alone, 0.28)

    def test_memory_of_this_process(self) -> None:
        before = resident_megabytes(os.getpid())
        held = bytearray(b"x") * 50_000_000
        self.assertGreater(resident_megabytes(os.getpid()) - before, 45.0)
        del held


class ReportTests(TestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.section = Section(
            title="Cost",
            intro="What it costs.",
            tables=(Table(("way", "ms"), (("voxrec", "1.0"), ("a < b", "2.0"))),),
            reaches=(Reach.at_most("ratio", 0.4, 0.5), Reach.at_least("calls", 3.0, 4.0, "/s")),
            bars=Bars.of("Cost", "ms", {"voxrec": [1.0, 1.5], "a < b": [2.0]}),
        )

    def results(self) -> str:
        return (self.directory / "RESULTS.md").read_text()

    def test_table(self) -> None:
        self.assertEqual(
            markdown_table(self.section.tables[0]),
            ["| way | ms |", "| --- | ---: |", "| voxrec | 1.0 |", "| a < b | 2.0 |"],
        )

    def test_says_what_held_and_what_did_not(self) -> None:
        publish("media", [self.section], 5, self.directory)
        self.assertIn("1 of 2 reaches held", self.results())
        self.assertIn("- held: ratio: at most 0.5. Found: 0.4.", self.results())
        self.assertIn("- **missed**: calls: at least 4/s. Found: 3/s.", self.results())

    def test_the_chart_is_a_picture(self) -> None:
        publish("media", [self.section], 5, self.directory)
        self.assertIn("![Cost](results/media-1.svg)", self.results())
        picture = ElementTree.parse(self.directory / "results" / "media-1.svg")  # noqa: S314 - our own
        widths = [float(bar.get("width", "0")) for bar in picture.iterfind(".//{*}rect")][1:]
        self.assertAlmostEqual(widths[1] / widths[0], 2.0 / 1.25, delta=0.01)

    def test_a_part_run_alone_leaves_the_others(self) -> None:
        publish("media", [self.section], 5, self.directory)
        publish("setup", [Section("Waiting", "How long.")], 1, self.directory)
        self.assertLess(self.results().index("## Waiting"), self.results().index("## Cost"))

    def test_an_unknown_part_is_refused(self) -> None:
        self.assertRaises(ValueError, publish, "typo", [self.section], 5, self.directory)
