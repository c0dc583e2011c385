"""Tests of voxrec.sandbox.chaos.soak: the limits of the figures."""

from twisted.trial.unittest import SynchronousTestCase

from voxrec.sandbox.chaos.soak import ALLOWED_GROWTH, Measurement


class MeasurementTests(SynchronousTestCase):
    def test_a_figure_without_allowed_growth_may_not_increase(self) -> None:
        self.assertTrue(Measurement("Asterisk channels", 0, 0, 5000).within_limit)
        self.assertFalse(Measurement("Asterisk channels", 0, 1, 5000).within_limit)
        self.assertTrue(Measurement("Asterisk channels", 1, 0, 5000).within_limit)

    def test_a_leak_of_ten_kibibytes_per_call_exceeds_the_limit(self) -> None:
        name = "voxrec memory, MiB"
        self.assertIn(name, ALLOWED_GROWTH)
        self.assertTrue(Measurement(name, 100, 110, 5000).within_limit)
        self.assertFalse(Measurement(name, 100, 100 + 5000 * 10 / 1024, 5000).within_limit)
