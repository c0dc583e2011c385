"""Tests of voxrec.calls.resources and voxrec.calls.deadline."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from voxrec.calls.deadline import Deadline
from voxrec.calls.resources import RECORDING, Resources


class ResourcesTests(SynchronousTestCase):
    def test_all_are_gone(self) -> None:
        resources = Resources(["caller"])
        resources.add("leg")
        resources.add(RECORDING)
        self.assertEqual(resources.channels, ["caller", "leg"])
        gone = resources.when_gone()
        for resource in ("leg", "leg", "unknown", "caller"):
            resources.gone(resource)
            self.assertNoResult(gone)
        resources.gone(RECORDING)
        self.successResultOf(gone)

    def test_none_exist(self) -> None:
        self.successResultOf(Resources([]).when_gone())


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
