"""Tests of voxrec.calls.announcements.announcement_check; tests/live/test_announcement.py has the real Asterisk."""

import math
from typing import Any

from twisted.internet.defer import Deferred, execute
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.trial.unittest import SynchronousTestCase

from tests.calls.fake_asterisk import FakeAsterisk
from voxrec.ari.client import AriClient
from voxrec.ari.events import Playback
from voxrec.calls.announcements.announcement_check import AnnouncementCheck


class AnnouncementCheckTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.asterisk = FakeAsterisk()
        self.check = AnnouncementCheck(
            self.clock,
            AriClient(self.asterisk, "voxrec"),
            lambda: "sound:/sounds/announcement",
            lambda: "because",
            lambda work, /, *args, **kwargs: execute(work, *args, **kwargs),
        )
        self.check.startService()
        self.addCleanup(self.check.stopService)

    def connect(self) -> None:
        Deferred.fromCoroutine(self.check.asterisk_connected())

    def finish(self, state: str) -> None:
        """Send PlaybackFinished of the playback that was requested last."""
        (request,) = [request for request in self.asterisk.take_requests() if "/play/" in request]
        self.assertEqual(self.asterisk.queries[request], {"media": "sound:/sounds/announcement"})
        self.check.playback_finished(Playback(request.rpartition("/")[2], state))

    def run_check(self, state: str) -> list[Any]:
        """Let a check end with this state of the playback, and return the levels that were logged."""
        with capturedLogs() as logs:
            self.clock.advance(60)
            self.finish(state)
        return [entry["log_level"].name for entry in logs]

    def test_commands(self) -> None:
        self.clock.advance(120)
        self.assertEqual(self.asterisk.take_requests(), [])
        self.connect()
        self.clock.advance(0.5)
        bridge = self.asterisk.requests[0].rpartition("/")[2]
        playback = bridge.replace("-bridge", "-announcement")
        self.assertEqual(
            self.asterisk.take_requests(),
            [
                f"POST bridges/{bridge}",
                "POST applications/voxrec/subscription",
                f"POST bridges/{bridge}/play/{playback}",
                f"DELETE bridges/{bridge}",
            ],
        )
        self.assertEqual(
            self.asterisk.queries["POST applications/voxrec/subscription"], {"eventSource": f"bridge:{bridge}"}
        )

    def test_announcement_that_plays_is_playable(self) -> None:
        self.assertTrue(math.isnan(self.check.gauge))
        self.connect()
        self.assertIsNone(self.check.playable)
        self.clock.advance(0.5)
        self.assertEqual((self.check.playable, self.check.gauge), (True, 1.0))

    def test_short_announcement(self) -> None:
        self.connect()
        self.finish("done")
        self.assertTrue(self.check.playable)

    def test_changes_are_logged_once(self) -> None:
        self.connect()
        self.finish("done")
        self.assertEqual(self.run_check("failed"), ["critical"])
        self.assertEqual((self.check.playable, self.check.gauge), (False, 0.0))
        self.assertEqual(self.run_check("failed"), [])
        self.assertEqual(self.run_check("done"), ["warn"])
        self.assertEqual(self.run_check("done"), [])

    def test_other_playbacks_are_ignored(self) -> None:
        self.connect()
        self.check.playback_finished(Playback("voxrec-other-announcement", "failed"))
        self.check.playback_finished(Playback("", "failed"))
        self.clock.advance(0.5)
        self.assertTrue(self.check.playable)

    def test_refused_command_changes_nothing(self) -> None:
        self.connect()
        self.finish("done")
        self.asterisk.errors = {"subscription": 500}
        with capturedLogs() as logs:
            self.clock.advance(60)
        self.assertEqual([entry["log_level"].name for entry in logs], ["warn"])
        self.assertTrue(self.check.playable)
        self.assertIn("DELETE bridges", self.asterisk.take_requests()[-1])

    def test_nothing_is_checked_while_asterisk_is_disconnected(self) -> None:
        self.connect()
        self.finish("done")
        self.check.asterisk_disconnected()
        self.clock.advance(300)
        self.assertEqual(self.asterisk.take_requests()[1:], [])
