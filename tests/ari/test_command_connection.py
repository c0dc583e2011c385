"""Tests of voxrec.ari.command_connection."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.ari.fakes import FakeTransport
from voxrec.ari.client import AriClient
from voxrec.ari.command_connection import CommandConnection
from voxrec.ari.transport import WebsocketTransport


class CommandConnectionTests(SynchronousTestCase):
    def test_it_carries_recordings_while_it_is_open(self) -> None:
        http, sent = FakeTransport(), list[bytes]()
        client = AriClient(http, "voxrec")
        connection = CommandConnection(client)
        transport = WebsocketTransport(Clock(), sent.append, 5)
        connection.stream_connected(transport)
        client.record("snoop", "a", "wav").addErrback(lambda _: None)
        self.assertEqual((len(sent), len(http.requests)), (1, 0))
        connection.stream_disconnected()
        client.record("snoop", "b", "wav")
        self.assertEqual((len(sent), len(http.requests)), (1, 1))
