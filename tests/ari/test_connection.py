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
        self.events, self.commands = FakeStream(), FakeStream()
        events: Any = self.events
        commands: Any = self.commands
        self.connection.set_streams(events, commands)

    def states(self) -> tuple[bool, bool]:
        return bool(self.events.running), bool(self.commands.running)

    def test_the_command_stream_opens_on_request(self) -> None:
        self.connection.startService()
        self.assertEqual(self.states(), (True, False))
        self.connection.open_command_stream()
        self.connection.open_command_stream()
        self.assertEqual(self.states(), (True, True))

    def test_the_stop_waits_until_both_are_closed(self) -> None:
        self.connection.startService()
        self.connection.open_command_stream()
        stopping = self.connection.stopService()
        self.events.closed.callback(None)
        self.assertNoResult(stopping)
        self.commands.closed.callback(None)
        self.successResultOf(stopping)
        self.assertEqual(self.states(), (False, False))

    def test_a_second_stop_has_no_effect(self) -> None:
        self.events.closed.callback(None)
        self.connection.startService()
        for _ in range(2):
            self.successResultOf(self.connection.stopService())

    def test_the_command_stream_does_not_open_after_the_stop(self) -> None:
        self.events.closed.callback(None)
        self.connection.startService()
        self.successResultOf(self.connection.stopService())
        self.connection.open_command_stream()
        self.assertEqual(self.states(), (False, False))
