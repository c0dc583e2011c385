"""Tests of voxrec.calls.announcements.beeper."""

from uuid import UUID

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.calls.fake_asterisk import FakeAsterisk
from voxrec.ari.client import AriClient
from voxrec.calls.announcements.beeper import Beeper


class BeeperTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.asterisk = FakeAsterisk()
        self.beeps: list[float] = []
        self.beeper = Beeper(
            self.clock,
            AriClient(self.asterisk, "voxrec"),
            UUID(int=1),
            lambda: "caller",
            media="sound:beep",
            language=None,
            interval=10,
            is_audible=lambda: True,
            on_beep=lambda: self.beeps.append(self.clock.seconds()),
        )
        self.asterisk.on_snoop = lambda _channel: self.beeper.whisper_entered()

    def test_intervals_count_from_the_start(self) -> None:
        self.beeper.start(at_start=True)
        for _ in range(7):
            self.clock.advance(5)
        self.assertEqual(self.beeps, [0, 10, 20, 30])

    def test_missed_intervals_are_skipped(self) -> None:
        self.beeper.start(at_start=False)
        self.clock.advance(35)
        self.clock.advance(5)
        self.assertEqual(len(self.beeps), 2)

    def test_taken_over_beeps(self) -> None:
        self.beeper.take_over(13.0, whisper_exists=True)
        self.clock.advance(6)
        self.assertEqual(self.beeps, [])
        self.clock.advance(1)
        self.assertEqual(self.beeps, [7])
        self.assertEqual([request for request in self.asterisk.requests if "snoop" in request], [])

    def test_new_channel_after_a_failure(self) -> None:
        self.beeper.start(at_start=True)
        self.asterisk.errors = {"beep-10000": 404}
        self.clock.advance(10)
        self.clock.advance(10)
        self.assertEqual(self.beeps, [0, 20])
        self.assertEqual(sum("snoop" in request for request in self.asterisk.requests), 2)

    def test_end_hangs_up_the_channel_and_stops_the_timer(self) -> None:
        self.beeper.start(at_start=True)
        self.beeper.end()
        self.assertTrue(self.asterisk.requests[-1].startswith("DELETE channels/voxrec-"))
        self.assertEqual(self.clock.getDelayedCalls(), [])
