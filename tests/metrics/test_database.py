"""Tests of voxrec.metrics.database."""

import math

from twisted.trial.unittest import SynchronousTestCase

from tests.metrics.samples import samples
from voxrec.metrics import Metrics


class DatabaseMetricsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.metrics = Metrics("1.2.3")

    def test_cleared_metrics_have_no_values(self) -> None:
        self.metrics.database.set_recordings({"failed": 2}, 10, 3)
        self.metrics.database.set_jobs("mail", waiting=3, due=2, dead=1, unconfirmed=4, oldest_age=7.5)
        self.assertEqual(samples(self.metrics, "voxrec_recordings")[("failed",)], 2)
        self.assertEqual(samples(self.metrics, "voxrec_recordings")[("recording",)], 0)
        self.assertEqual(samples(self.metrics, "voxrec_jobs_oldest_seconds"), {("mail",): 7.5})
        self.assertEqual(samples(self.metrics, "voxrec_jobs_unconfirmed"), {("mail",): 4})
        self.assertEqual(samples(self.metrics, "voxrec_recordings_node_lost"), {(): 3})
        self.metrics.database.clear()
        for name in (
            "voxrec_recordings",
            "voxrec_jobs_waiting",
            "voxrec_jobs_due",
            "voxrec_jobs_dead",
            "voxrec_jobs_unconfirmed",
        ):
            self.assertEqual(samples(self.metrics, name), {}, name)
        for name in ("voxrec_recordings_estimate", "voxrec_recordings_node_lost", "voxrec_exports_waiting"):
            self.assertTrue(math.isnan(samples(self.metrics, name)[()]), name)
