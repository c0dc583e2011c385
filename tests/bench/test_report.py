"""Tests of bench.report: storing results and rendering them."""

import xml.etree.ElementTree as ElementTree
from pathlib import Path

from twisted.trial.unittest import TestCase

from bench.report import BarChart, Section, Table, Target, markdown_table, publish


class ReportTests(TestCase):
    def setUp(self) -> None:
        self.directory = Path(self.mktemp())
        self.section = Section(
            title="Cost",
            intro="CPU per call.",
            tables=(Table(("variant", "ms"), (("voxrec", "1.0"), ("a < b", "2.0"))),),
            targets=(Target.at_most("ratio", 0.4, 0.5), Target.at_least("calls", 3.0, 4.0, "/s")),
            chart=BarChart.of("Cost", "ms", {"voxrec": [1.0, 1.5], "a < b": [2.0]}),
        )

    def results(self) -> str:
        return (self.directory / "RESULTS.md").read_text()

    def test_table(self) -> None:
        self.assertEqual(
            markdown_table(self.section.tables[0]),
            ["| variant | ms |", "| --- | ---: |", "| voxrec | 1.0 |", "| a < b | 2.0 |"],
        )

    def test_met_and_missed_targets_are_listed(self) -> None:
        publish("media", [self.section], 5, self.directory)
        self.assertIn("1 of 2 targets met", self.results())
        self.assertIn("- met: ratio: at most 0.5; measured: 0.4\n", self.results())
        self.assertIn("- **missed**: calls: at least 4/s; measured: 3/s\n", self.results())

    def test_the_chart_is_an_svg_file(self) -> None:
        publish("media", [self.section], 5, self.directory)
        self.assertIn("![Cost](results/media-1.svg)", self.results())
        svg = ElementTree.parse(self.directory / "results" / "media-1.svg")  # noqa: S314 - our own
        widths = [float(bar.get("width", "0")) for bar in svg.iterfind(".//{*}rect")][1:]
        self.assertAlmostEqual(widths[1] / widths[0], 2.0 / 1.25, delta=0.01)

    def test_a_part_that_runs_alone_keeps_the_others(self) -> None:
        publish("media", [self.section], 5, self.directory)
        publish("setup", [Section("Set-up", "Milliseconds.")], 1, self.directory)
        self.assertLess(self.results().index("## Set-up"), self.results().index("## Cost"))

    def test_an_unknown_part_is_rejected(self) -> None:
        self.assertRaises(ValueError, publish, "typo", [self.section], 5, self.directory)
