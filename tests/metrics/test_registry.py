"""Tests of voxrec.metrics.registry."""

from pathlib import Path

from prometheus_client import ProcessCollector
from prometheus_client.parser import text_string_to_metric_families
from twisted.trial.unittest import SynchronousTestCase

from tests.metrics.samples import samples
from voxrec.metrics import Metrics
from voxrec.metrics.registry import ProcessMetrics


class MetricsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.metrics = Metrics("1.2.3")

    def test_version_process_and_platform(self) -> None:
        self.assertEqual(samples(self.metrics, "voxrec_build_info"), {("1.2.3",): 1.0})
        self.assertEqual(len(samples(self.metrics, "python_info")), 1)
        self.assertGreater(samples(self.metrics, "process_resident_memory_bytes")[()], 0)

    def test_where_proc_has_processes_only(self) -> None:
        proc = Path(self.mktemp())
        proc.mkdir()
        (proc / "self").symlink_to("/proc/self")
        self.assertEqual(
            [*ProcessCollector(proc=str(proc), registry=None).collect()], [], "the library needs no help any more"
        )
        hidden, complete = (
            {family.name: family.samples[0].value for family in collector.collect()}
            for collector in (ProcessMetrics(proc=str(proc), registry=None), ProcessCollector(registry=None))
        )
        self.assertEqual(hidden.keys(), complete.keys())
        self.assertIn("process_resident_memory_bytes", hidden)
        start = "process_start_time_seconds"  # /proc/stat has the time of the boot in whole seconds
        self.assertLess(abs(hidden[start] - complete[start]), 2)

    def test_two_instances_are_independent(self) -> None:
        self.metrics.calls.count_dropped_events(3)
        self.assertEqual(samples(Metrics("1"), "voxrec_events_dropped_total"), {(): 0.0})

    def test_a_gauge_is_computed_at_each_scrape(self) -> None:
        items = [1]
        self.metrics.add_gauge("voxrec_thing", "Things.", lambda: len(items))
        items.append(2)
        self.assertEqual(samples(self.metrics, "voxrec_thing"), {(): 2.0})

    def test_every_metric_has_a_help_text(self) -> None:
        for family in text_string_to_metric_families(self.metrics.exposition().decode()):
            if family.name.startswith("voxrec_"):
                self.assertRegex(family.documentation, r"^[A-Z].+\.$", family.name)


class NodeTests(SynchronousTestCase):
    def test_every_metric_has_the_node(self) -> None:
        metrics = Metrics("1.2.3", "berlin")
        metrics.add_gauge("voxrec_calls_live", "Live calls.", lambda: 3)
        metrics.calls.call_refused(1)
        for _ in range(2):  # some collectors return the same objects each time
            families = [*text_string_to_metric_families(metrics.exposition().decode())]
            self.assertEqual({sample.labels.get("node") for each in families for sample in each.samples}, {"berlin"})
        self.assertEqual(samples(metrics, "voxrec_calls_total"), {("1", "berlin", "refused"): 1})
