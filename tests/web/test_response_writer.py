"""Tests of voxrec.web.response_writer: back-pressure, disconnected and stalled clients, and bodies that fail."""

from collections.abc import AsyncGenerator, Callable
from pathlib import Path
from typing import Any

from treq.testing import StubTreq
from twisted.internet.defer import Deferred
from twisted.internet.error import ConnectionDone
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.server import Site

from tests.api.rest_test_case import RoleTokens
from voxrec.web.auth import AccessControl
from voxrec.web.binding import call_handler
from voxrec.web.dispatcher import Dispatcher
from voxrec.web.login_throttle import LoginThrottle
from voxrec.web.request import Request
from voxrec.web.response import Response
from voxrec.web.response_writer import STALL_TIMEOUT
from voxrec.web.route import Route

Body = Callable[[], AsyncGenerator[bytes, None]]


class StreamTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.generated: list[int] = []
        self.closed = False
        self.blocked: Deferred[None] | None = None

    async def numbers(self) -> AsyncGenerator[bytes, None]:
        try:
            for n in range(5):
                self.generated.append(n)
                yield b"%d" % n
        finally:
            self.closed = True

    async def failing_later(self) -> AsyncGenerator[bytes, None]:
        yield b"begun"
        raise RuntimeError("half-way")

    async def failing_at_once(self) -> AsyncGenerator[bytes, None]:
        raise RuntimeError("at once")
        yield b""

    async def empty(self) -> AsyncGenerator[bytes, None]:
        return
        yield b""

    async def blocking(self) -> AsyncGenerator[bytes, None]:
        try:
            yield b"begun"
            self.blocked = Deferred()
            await self.blocked
            self.generated.append(1)
            yield b"more"
        finally:
            self.closed = True

    def resource(self, body: Body) -> Any:
        async def handler(_request: Request) -> Response:
            return Response(200, {"Content-Type": "text/plain"}, body())

        dispatcher = Dispatcher(
            AccessControl(RoleTokens(), LoginThrottle(self.clock)),
            self.clock,
            call_handler,
            upload_directory=Path("uploads"),
        )
        dispatcher.register([Route("GET", "/", None, handler, produces=None)])
        return dispatcher.resource()

    def request(self, body: Body, version: bytes = b"1.1") -> "FakeTransport":
        transport = FakeTransport(Site(self.resource(body), reactor=self.clock))
        transport.protocol.dataReceived(b"GET / HTTP/%b\r\nHost: a\r\n\r\n" % version)
        return transport

    def test_complete_body(self) -> None:
        stub: Any = StubTreq(self.resource(self.numbers))
        response = self.successResultOf(stub.get("http://voxrec/"))
        self.assertEqual(self.successResultOf(stub.content(response)), b"01234")
        self.assertTrue(self.closed)

    def test_head_does_not_read_the_body(self) -> None:
        stub: Any = StubTreq(self.resource(self.numbers))
        response = self.successResultOf(stub.head("http://voxrec/"))
        self.assertEqual((response.code, self.generated), (200, []))

    def test_empty_body(self) -> None:
        stub: Any = StubTreq(self.resource(self.empty))
        response = self.successResultOf(stub.get("http://voxrec/"))
        self.assertEqual((response.code, self.successResultOf(stub.content(response))), (200, b""))

    def test_failure_before_the_first_part_is_a_problem(self) -> None:
        stub: Any = StubTreq(self.resource(self.failing_at_once))
        response = self.successResultOf(stub.get("http://voxrec/"))
        self.assertEqual(response.code, 500)
        self.assertEqual(self.successResultOf(stub.json_content(response))["code"], "internal")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_later_failure_aborts_the_connection(self) -> None:
        transport = self.request(self.failing_later)
        self.assertTrue(transport.aborted)
        self.assertIn(b"begun", transport.value())
        self.assertFalse(transport.value().endswith(b"0\r\n\r\n"))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_body_is_read_as_fast_as_the_client_receives(self) -> None:
        transport = self.request(self.blocking)
        transport.fill_buffer()
        self.unblock()
        self.assertEqual(self.generated, [1])
        self.assertFalse(self.closed)
        transport.drain_buffer()
        self.assertTrue(self.closed)
        self.assertTrue(transport.value().endswith(b"4\r\nmore\r\n0\r\n\r\n"), transport.value())

    def test_repeated_pause_and_resume(self) -> None:
        transport = self.request(self.blocking)
        for _ in range(3):
            transport.fill_buffer()
            transport.fill_buffer()
            transport.drain_buffer()
            transport.drain_buffer()
        self.unblock()
        self.assertTrue(transport.value().endswith(b"0\r\n\r\n"))

    def test_stalled_client_is_disconnected(self) -> None:
        transport = self.request(self.blocking)
        transport.fill_buffer()
        self.unblock()
        self.clock.advance(STALL_TIMEOUT - 1)
        self.assertFalse(transport.aborted)
        self.clock.advance(1)
        self.assertTrue(transport.aborted)
        self.assertTrue(self.closed)

    def test_client_that_disconnects_while_a_part_is_generated(self) -> None:
        transport = self.request(self.blocking)
        transport.abortConnection()
        self.assertFalse(self.closed)  # the generator is not cancelled; it is closed afterwards
        self.unblock()
        self.assertTrue(self.closed)
        self.assertNotIn(b"more", transport.value())

    def test_client_that_disconnects_while_it_is_stalled(self) -> None:
        transport = self.request(self.blocking)
        transport.fill_buffer()
        self.unblock()
        transport.abortConnection()
        self.assertTrue(self.closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_http_1_0_body_ends_with_the_connection(self) -> None:
        transport = self.request(self.numbers, b"1.0")
        self.assertTrue(transport.value().endswith(b"\r\n\r\n01234"))
        self.assertTrue(transport.disconnecting)

    def unblock(self) -> None:
        assert self.blocked is not None
        self.blocked.callback(None)


class FakeTransport(StringTransport):
    """The server's end of a connection. A test decides when its buffer is full."""

    aborted = False
    producer: Any

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.protocol: Any = site.buildProtocol(None)
        self.protocol.makeConnection(self)

    def fill_buffer(self) -> None:
        self.producer.pauseProducing()

    def drain_buffer(self) -> None:
        self.producer.resumeProducing()

    def abortConnection(self) -> None:  # noqa: N802
        self.aborted = True
        self.protocol.connectionLost(Failure(ConnectionDone()))
