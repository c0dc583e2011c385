"""Tests of voxrec.metrics.jobs."""

from twisted.trial.unittest import SynchronousTestCase

from tests.metrics.samples import samples
from voxrec.metrics import Metrics


class JobMetricsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.metrics = Metrics("1.2.3")

    def test_attempts_of_jobs_and_replies_to_recipients(self) -> None:
        self.metrics.jobs.count_attempt("mail", "retry")
        self.metrics.jobs.count_mail_recipient("deferred")
        self.assertEqual(samples(self.metrics, "voxrec_jobs_ended_total"), {("mail", "retry"): 1})
        self.assertEqual(samples(self.metrics, "voxrec_mail_recipients_total"), {("deferred",): 1})
