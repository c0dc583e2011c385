"""Tests of voxrec.deadline."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from voxrec.deadline import Deadline


class DeadlineTests(SynchronousTestCase):
    def test_start_replaces_the_earlier_function(self) -> None:
        clock, called = Clock(), list[str]()
        deadline = Deadline(clock)
        deadline.start(1, lambda: called.append("first"))
        deadline.start(2, lambda: called.append("second"))
        self.assertTrue(deadline.pending)
        clock.advance(2)
        self.assertEqual((called, deadline.pending), (["second"], False))

    def test_cancel(self) -> None:
        clock = Clock()
        deadline = Deadline(clock)
        deadline.start(1, lambda: self.fail("called"))
        for _ in range(2):
            deadline.cancel()
        self.assertEqual((clock.getDelayedCalls(), deadline.pending), ([], False))
