"""Tests of voxrec.ari.connection."""

from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from voxrec.ari.connection import AsteriskConnection


class FakeStream(Service):
    """A stream whose close completes when ``closed`` fires."""

    def __init__(self) -> None:
        self.closed: Deferred[None] = Deferred()

    def stopService(self) -> Deferred[None]:
        super().stopService()
        return self.closed


class AsteriskConnectionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.connection = AsteriskConnection()
        self.events = FakeStream()
        events: Any = self.events
        self.connection.set_stream(events)

    def test_the_stop_waits_until_the_stream_is_closed(self) -> None:
        self.connection.startService()
        self.assertTrue(self.events.running)
        stopping = self.connection.stopService()
        self.assertNoResult(stopping)
        self.events.closed.callback(None)
        self.successResultOf(stopping)
        self.assertFalse(self.events.running)

    def test_a_second_stop_has_no_effect(self) -> None:
        self.events.closed.callback(None)
        self.connection.startService()
        for _ in range(2):
            self.successResultOf(self.connection.stopService())
