"""Tests of voxrec.calls.channels.resources."""

from twisted.trial.unittest import SynchronousTestCase

from voxrec.calls.channels.resources import RECORDING, Resources


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
