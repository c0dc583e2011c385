"""Tests of voxrec.calls.signalling.rtp_report."""

from twisted.trial.unittest import SynchronousTestCase

from voxrec.ari.events import UserEvent
from voxrec.ari.rtp_statistics import RtpStatistics
from voxrec.calls.signalling.rtp_report import counters_of, read_counters
from voxrec.model import RtpCounters


class ReportTests(SynchronousTestCase):
    def test_report_of_asterisk(self) -> None:
        report = UserEvent(received="350", lost="12", jitter="0.003125", meanjitter="0.001204")
        expected = RtpCounters(packets_received=350, packets_lost=12, max_jitter_ms=3.1, mean_jitter_ms=1.2)
        self.assertEqual(read_counters(report), expected)

    def test_response_of_ari(self) -> None:
        statistics = RtpStatistics(rxcount=350, rxploss=12, local_maxjitter=0.003125, local_normdevjitter=0.001204)
        expected = RtpCounters(packets_received=350, packets_lost=12, max_jitter_ms=3.1, mean_jitter_ms=1.2)
        self.assertEqual(counters_of(statistics), expected)
        without = RtpCounters(packets_received=1, packets_lost=0)
        self.assertEqual(counters_of(RtpStatistics(rxcount=1)), without)
        self.assertIsNone(counters_of(RtpStatistics()))

    def test_what_is_not_known(self) -> None:
        self.assertIsNone(read_counters(UserEvent()))
        self.assertIsNone(read_counters(UserEvent(received="", lost="12", jitter="0.1")))
        self.assertIsNone(read_counters(UserEvent(received="-1", lost="0")))
        self.assertIsNone(read_counters(UserEvent(received="9" * 30, lost="0")))
        for jitter in ("", "nan", "-0.1", "1e9"):
            counters = read_counters(UserEvent(received="1", lost="0", jitter=jitter, meanjitter=jitter))
            self.assertEqual(counters, RtpCounters(packets_received=1, packets_lost=0), jitter)
