"""What a client may use up before anybody looks at its request."""

from typing import Any

from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Request as HTTPRequest

from voxrec.web.site import RestSite


class Echo(Resource):
    """Answers with the body that was kept."""

    isLeaf = True  # noqa: N815

    def render_PUT(self, request: HTTPRequest) -> bytes:
        kept: bytes = request.content.read() if request.content is not None else b""
        return b"%d kept" % len(kept)

    render_POST = render_PUT


class SiteTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        site = RestSite(Echo(), body_limit=10, reactor=self.clock, idle_timeout=60)
        self.transport = StringTransport()
        self.protocol: Any = site.buildProtocol(None)
        self.protocol.makeConnection(self.transport)
        self.addCleanup(self.protocol.connectionLost, None)

    def test_silence_ends_a_connection(self) -> None:
        for begun in (b"", b"PUT / HTTP/1.1\r\nHost: a\r\n", b"Content-Length: 5\r\n\r\nab"):
            self.protocol.dataReceived(begun)
            self.clock.advance(59)
            self.assertFalse(self.transport.disconnecting)
        self.clock.advance(1)
        self.assertTrue(self.transport.disconnecting)

    def test_no_more_than_the_limit_is_kept(self) -> None:
        for length in (9, 10, 11, 12, 100):
            self.transport.clear()
            self.protocol.dataReceived(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length)
            self.protocol.dataReceived(b"x" * (length - 4))
            self.protocol.dataReceived(b"x" * 4)
            self.clock.advance(0)
            self.assertIn(b"%d kept" % min(length, 11), self.transport.value())

    def test_few_are_begun_in_one_turn_and_in_the_order_in_which_they_came(self) -> None:
        site: Any = self.protocol.factory
        others: list[tuple[Any, StringTransport]] = [(site.buildProtocol(None), StringTransport()) for _ in range(5)]

        def answered() -> list[bool]:
            return [bool(transport.value()) for _, transport in others]

        for protocol, transport in others:
            protocol.makeConnection(transport)
            protocol.dataReceived(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(answered(), [True, True, False, False, False])
        others[3][0].connectionLost(None)  # its client has gone before its turn
        self.clock.advance(0)
        self.assertEqual(answered(), [True, True, True, False, True])
        for protocol, _ in (*others[:3], others[4]):
            protocol.connectionLost(None)

    def test_chunks_without_end(self) -> None:
        self.protocol.dataReceived(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(20):
            self.protocol.dataReceived(b"3\r\nxxx\r\n")
        self.protocol.dataReceived(b"0\r\n\r\n")
        self.assertIn(b"11 kept", self.transport.value())

    def test_forms_are_not_parsed(self) -> None:
        self.protocol.dataReceived(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--"
        )
        self.assertIn(b"2 kept", self.transport.value())
