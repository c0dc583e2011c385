"""Tests of voxrec.calls.stasis.orphan_sweep."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from voxrec.calls.stasis.orphan_sweep import SWEEP_INTERVAL, OrphanSweep
from voxrec.calls.stasis.reconciliation import OrphanedChannels
from voxrec.errors import AsteriskUnavailable


class FakeOrphans:
    """Finds ``found``, or fails with ``error``, and notes what is ended."""

    def __init__(self) -> None:
        self.found = OrphanedChannels()
        self.error: AsteriskUnavailable | None = None
        self.ended: list[OrphanedChannels] = []

    async def find_orphaned(self) -> OrphanedChannels:
        if self.error is not None:
            raise self.error
        return self.found

    async def end_orphaned(self, orphaned: OrphanedChannels, /) -> None:
        self.ended.append(orphaned)


class OrphanSweepTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.orphans = FakeOrphans()
        self.connected = True
        self.sweep = OrphanSweep(self.clock, self.orphans, lambda: self.connected)
        self.sweep.startService()
        self.addCleanup(self.sweep.stopService)

    def find(self, *channels: str) -> list[list[str]]:
        """Let the next search find these channels; return what it ended."""
        self.orphans.found = OrphanedChannels(frozenset(channels), frozenset({"bridge"} if channels else ()))
        self.clock.advance(SWEEP_INTERVAL)
        ended, self.orphans.ended[:] = list(self.orphans.ended), []
        return [sorted(each.channels | each.bridges) for each in ended]

    def test_what_two_searches_find_is_ended(self) -> None:
        self.assertEqual(self.find("a", "b"), [])
        self.assertEqual(self.find("b", "c"), [["b", "bridge"]])
        self.assertEqual(self.find(), [])

    def test_a_channel_that_belonged_to_a_call_meanwhile_is_not_ended(self) -> None:
        self.find("a")
        self.find()
        self.assertEqual(self.find("a"), [])

    def test_a_search_that_fails_is_repeated(self) -> None:
        self.find("a")
        self.orphans.error = AsteriskUnavailable("lost")
        self.assertEqual(self.find("a"), [])
        self.orphans.error = None
        self.assertEqual(self.find("a"), [["a", "bridge"]])

    def test_nothing_is_searched_while_asterisk_is_not_connected(self) -> None:
        self.find("a")
        self.connected = False
        self.assertEqual(self.find("a"), [])
