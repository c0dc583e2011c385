"""The way out: back-pressure, clients that leave or stall, bodies that fail; in memory and on a Clock."""

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

from tests.api.rest_test_case import RoleTokens, call_handler
from voxrec.web.auth import AccessControl
from voxrec.web.dispatcher import Dispatcher
from voxrec.web.login_throttle import LoginThrottle
from voxrec.web.request import Request
from voxrec.web.response import Response
from voxrec.web.response_writer import STALL_TIMEOUT
from voxrec.web.route import Route

Parts = Callable[[], AsyncGenerator[bytes, None]]


class StreamTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.made: list[int] = []
        self.closed = False
        self.waiting: Deferred[None] | None = None

    async def numbers(self) -> AsyncGenerator[bytes, None]:
        try:
            for n in range(5):
                self.made.append(n)
                yield b"%d" % n
        finally:
            self.closed = True

    async def failing(self) -> AsyncGenerator[bytes, None]:
        yield b"begun"
        raise RuntimeError("half-way")

    async def failing_at_once(self) -> AsyncGenerator[bytes, None]:
        raise RuntimeError("at once")
        yield b""

    async def nothing(self) -> AsyncGenerator[bytes, None]:
        return
        yield b""

    async def slow(self) -> AsyncGenerator[bytes, None]:
        try:
            yield b"begun"
            self.waiting = Deferred()
            await self.waiting
            self.made.append(1)
            yield b"more"
        finally:
            self.closed = True

    def resource(self, parts: Parts) -> Any:
        async def handler(_ask: Request) -> Response:
            return Response(200, {"Content-Type": "text/plain"}, parts())

        dispatcher = Dispatcher(
            AccessControl(RoleTokens(), LoginThrottle(self.clock)),
            self.clock,
            call_handler,
            body_limit=1000,
            upload_directory=Path("uploads"),
        )
        dispatcher.register([Route("GET", "/", None, handler, produces=None)])
        return dispatcher.resource()

    def request(self, parts: Parts, version: bytes = b"1.1") -> "Line":
        line = Line(Site(self.resource(parts), reactor=self.clock))
        line.protocol.dataReceived(b"GET / HTTP/%b\r\nHost: a\r\n\r\n" % version)
        return line

    def test_whole(self) -> None:
        stub: Any = StubTreq(self.resource(self.numbers))
        response = self.successResultOf(stub.get("http://voxrec/"))
        self.assertEqual(self.successResultOf(stub.content(response)), b"01234")
        self.assertTrue(self.closed)

    def test_head_reads_nothing(self) -> None:
        stub: Any = StubTreq(self.resource(self.numbers))
        response = self.successResultOf(stub.head("http://voxrec/"))
        self.assertEqual((response.code, self.made), (200, []))

    def test_nothing(self) -> None:
        stub: Any = StubTreq(self.resource(self.nothing))
        response = self.successResultOf(stub.get("http://voxrec/"))
        self.assertEqual((response.code, self.successResultOf(stub.content(response))), (200, b""))

    def test_what_fails_before_the_first_part_is_a_problem(self) -> None:
        stub: Any = StubTreq(self.resource(self.failing_at_once))
        response = self.successResultOf(stub.get("http://voxrec/"))
        self.assertEqual(response.code, 500)
        self.assertEqual(self.successResultOf(stub.json_content(response))["code"], "internal")
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_what_fails_later_cuts_the_connection(self) -> None:
        line = self.request(self.failing)
        self.assertTrue(line.aborted)
        self.assertIn(b"begun", line.value())
        self.assertFalse(line.value().endswith(b"0\r\n\r\n"))
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    def test_no_further_than_the_client_takes(self) -> None:
        line = self.request(self.slow)
        line.full()
        self.go_on()
        self.assertEqual(self.made, [1])
        self.assertFalse(self.closed)
        line.room()
        self.assertTrue(self.closed)
        self.assertTrue(line.value().endswith(b"4\r\nmore\r\n0\r\n\r\n"), line.value())

    def test_paused_and_resumed_more_than_once(self) -> None:
        line = self.request(self.slow)
        for _ in range(3):
            line.full()
            line.full()
            line.room()
            line.room()
        self.go_on()
        self.assertTrue(line.value().endswith(b"0\r\n\r\n"))

    def test_a_client_that_takes_nothing_is_dropped(self) -> None:
        line = self.request(self.slow)
        line.full()
        self.go_on()
        self.clock.advance(STALL_TIMEOUT - 1)
        self.assertFalse(line.aborted)
        self.clock.advance(1)
        self.assertTrue(line.aborted)
        self.assertTrue(self.closed)

    def test_a_client_that_leaves_while_a_part_is_made(self) -> None:
        line = self.request(self.slow)
        line.abortConnection()
        self.assertFalse(self.closed)  # what is being done is done, then the body is closed
        self.go_on()
        self.assertTrue(self.closed)
        self.assertNotIn(b"more", line.value())

    def test_a_client_that_leaves_while_it_takes_nothing(self) -> None:
        line = self.request(self.slow)
        line.full()
        self.go_on()
        line.abortConnection()
        self.assertTrue(self.closed)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_http_1_0_ends_with_its_connection(self) -> None:
        line = self.request(self.numbers, b"1.0")
        self.assertTrue(line.value().endswith(b"\r\n\r\n01234"))
        self.assertTrue(line.disconnecting)

    def go_on(self) -> None:
        assert self.waiting is not None
        self.waiting.callback(None)


class Line(StringTransport):
    """The server's end of a connection whose buffer is full when the test says so."""

    aborted = False
    producer: Any

    def __init__(self, site: Site) -> None:
        super().__init__()
        self.protocol: Any = site.buildProtocol(None)
        self.protocol.makeConnection(self)

    def full(self) -> None:
        self.producer.pauseProducing()

    def room(self) -> None:
        self.producer.resumeProducing()

    def abortConnection(self) -> None:  # noqa: N802
        self.aborted = True
        self.protocol.connectionLost(Failure(ConnectionDone()))
