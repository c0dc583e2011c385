"""Tests of voxrec.sandbox.chaos.soak: when a figure has ended where it began."""

from twisted.trial.unittest import SynchronousTestCase

from voxrec.sandbox.chaos.soak import BOUNDS, Change


class ChangeTests(SynchronousTestCase):
    def test_what_has_no_bound_may_not_grow(self) -> None:
        self.assertTrue(Change("Asterisk channels", 0, 0, 5000).holds)
        self.assertFalse(Change("Asterisk channels", 0, 1, 5000).holds)
        self.assertTrue(Change("Asterisk channels", 1, 0, 5000).holds)

    def test_a_leaked_call_object_of_ten_kibibytes_shows(self) -> None:
        name = "voxrec memory, MiB"
        self.assertIn(name, BOUNDS)
        self.assertTrue(Change(name, 100, 110, 5000).holds)
        self.assertFalse(Change(name, 100, 100 + 5000 * 10 / 1024, 5000).holds)
