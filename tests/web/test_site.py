"""Tests of voxrec.web.site."""

from pathlib import Path
from typing import Any, Final

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.endpoints import SSL4ClientEndpoint, TCP4ClientEndpoint, connectProtocol, serverFromString
from twisted.internet.error import ConnectionDone
from twisted.internet.interfaces import IHalfCloseableProtocol
from twisted.internet.protocol import connectionDone
from twisted.internet.ssl import Certificate, optionsForClientTLS
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.python import log
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.resource import Resource
from twisted.web.server import Request as HTTPRequest
from zope.interface import implementer

from tests.api.rest_test_case import BODY_LIMIT, RestTestCase
from tests.certificates import write_certificate
from tests.database import reactor, until
from tests.metrics.samples import samples
from tests.subtest import subtest
from tests.web.raw_connection import RawConnection, open_connection, send_raw
from voxrec import config
from voxrec.errors import ConfigError
from voxrec.model import RecordingState
from voxrec.web.auth import Principal, Role
from voxrec.web.channel import Deadlines
from voxrec.web.connections import RESERVED_CONNECTIONS, ConnectionLimits
from voxrec.web.errors import NotAuthenticated
from voxrec.web.proxies import TrustedProxies
from voxrec.web.site import RestSite
from voxrec.web.uploads import RefusedBody, UploadFile


class BodySizeResource(Resource):
    """Responds with the size of the body that was kept, or with why it is refused."""

    isLeaf = True  # noqa: N815

    def render_PUT(self, request: HTTPRequest) -> bytes:
        content: Any = request.content
        if isinstance(content, RefusedBody):
            return content.error.detail.encode()
        return b"%d kept" % len(content.read() if content is not None else b"")

    render_POST = render_PUT


class WaitingPolicy:
    """Admits uploads to /upload when ``admission`` says so."""

    def __init__(self, directory: Path) -> None:
        self.admission: Deferred[Principal] = Deferred()
        self._directory = directory

    def upload_for(self, _method: str, path: str) -> UploadFile | None:
        return UploadFile(self._directory, 10) if path == "/upload" else None

    async def admit(self, _http_request: HTTPRequest, _method: str, _path: str) -> Principal:
        return await self.admission


class InMemoryTests(SynchronousTestCase):
    """A site on a Clock, with a connection in memory."""

    def setUp(self) -> None:
        self.clock = Clock()
        site = RestSite(BodySizeResource(), body_limit=10, reactor=self.clock, idle_timeout=60)
        self.transport = StringTransport()
        self.protocol: Any = site.buildProtocol(None)
        self.protocol.makeConnection(self.transport)
        self.addCleanup(self.protocol.connectionLost, None)

    def test_idle_connection_is_closed(self) -> None:
        for _ in range(3):
            self.protocol.dataReceived(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n")
            self.clock.pump([1] * 59)
            self.assertFalse(self.transport.disconnecting)
        self.clock.advance(1)
        self.assertTrue(self.transport.disconnecting)

    def test_body_within_the_limit(self) -> None:
        for length in (9, 10):
            self.transport.clear()
            self.protocol.dataReceived(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % length)
            self.protocol.dataReceived(b"x" * (length - 4))
            self.assertEqual(self.transport.value(), b"")
            self.protocol.dataReceived(b"x" * 4)
            self.clock.advance(0)
            self.assertIn(b"%d kept" % length, self.transport.value())
            self.assertFalse(self.transport.disconnecting)

    def connect(self, **options: Any) -> tuple[Any, StringTransport]:
        site = RestSite(BodySizeResource(), body_limit=10, reactor=self.clock, **options)
        protocol: Any = site.buildProtocol(None)
        transport = StringTransport()
        protocol.makeConnection(transport)
        self.addCleanup(protocol.connectionLost, None)
        return protocol, transport

    def test_body_that_is_too_large_is_refused_before_it_is_received(self) -> None:
        for expectation in (b"", b"Expect: 100-continue\r\n"):
            for length in (11, 100, 10**15):
                for sent in (b"", b"x" * 5):
                    with subtest((expectation, length, sent)):
                        protocol, transport = self.connect()
                        head = b"PUT / HTTP/1.1\r\nHost: a\r\n%sContent-Length: %d\r\n\r\n" % (expectation, length)
                        protocol.dataReceived(head + sent)
                        protocol.dataReceived(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")  # of the body, not a request
                        self.clock.advance(0)
                        self.assertIn(b"at most 10 bytes", transport.value())
                        self.assertIn(b"\r\nConnection: close\r\n", transport.value())
                        self.assertEqual(transport.value().count(b"HTTP/1.1 "), 1)
                        self.assertTrue(transport.disconnecting)
                        self.assertIsNone(transport.producer)

    def test_chunked_body_is_refused_when_it_passes_the_limit(self) -> None:
        protocol, transport = self.connect()
        protocol.dataReceived(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(3):
            protocol.dataReceived(b"3\r\nxxx\r\n")
            self.assertEqual(transport.value(), b"")
        protocol.dataReceived(b"3\r\nxxx\r\n3\r\nxx")
        self.assertIn(b"at most 10 bytes", transport.value())
        self.assertTrue(transport.disconnecting)
        protocol.dataReceived(b"x\r\n0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.clock.advance(0)
        self.assertEqual(transport.value().count(b"HTTP/1.1 "), 1)

    def test_complete_chunked_body_that_is_too_large(self) -> None:
        """Nothing more of the request will arrive, so that another one may follow."""
        protocol, transport = self.connect()
        protocol.dataReceived(
            b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nb\r\n%s\r\n0\r\n\r\n" % (b"x" * 11)
        )
        protocol.dataReceived(b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\nx")
        self.clock.advance(0)
        self.assertIn(b"at most 10 bytes", transport.value())
        self.assertIn(b"1 kept", transport.value())

    def test_large_upload_is_refused_before_it_is_received(self) -> None:
        for admission in (NotAuthenticated("There is no such token."), Principal("crm", Role.PROVISION)):
            for coding in (b"Content-Length: 1000000", b"Transfer-Encoding: chunked"):
                with subtest((admission, coding)):
                    policy = WaitingPolicy(Path(self.mktemp()))
                    protocol, transport = self.connect(upload_policy=policy)
                    protocol.dataReceived(b"PUT /upload HTTP/1.1\r\nHost: a\r\n%s\r\n\r\n" % coding)
                    self.assertEqual(transport.producerState, "paused")
                    if isinstance(admission, Principal):
                        policy.admission.callback(admission)
                        protocol.dataReceived(b"64\r\n" + b"x" * 100)  # the maximum is 10
                    else:
                        policy.admission.errback(admission)
                    self.clock.advance(0)
                    self.assertEqual(transport.value().count(b"HTTP/1.1 "), 1)
                    self.assertTrue(transport.disconnecting)

    def test_small_upload_that_is_refused_keeps_the_connection(self) -> None:
        policy = WaitingPolicy(Path(self.mktemp()))
        protocol, transport = self.connect(upload_policy=policy)
        protocol.dataReceived(b"PUT /upload HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n")
        policy.admission.errback(NotAuthenticated("There is no such token."))
        self.assertEqual(transport.value(), b"")
        protocol.dataReceived(b"xyz")
        self.assertEqual(transport.value().count(b"HTTP/1.1 "), 1)
        self.assertFalse(transport.disconnecting)

    def test_refusal_of_head_has_no_body(self) -> None:
        protocol, transport = self.connect()
        protocol.dataReceived(b"HEAD / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: x\r\n\r\n")
        head, _, body = transport.value().partition(b"\r\n\r\n")
        self.assertTrue(head.startswith(b"HTTP/1.1 400 "))
        self.assertEqual(body, b"")

    def test_requests_are_spread_over_turns_in_the_order_of_arrival(self) -> None:
        site: Any = self.protocol.factory
        others: list[tuple[Any, StringTransport]] = [(site.buildProtocol(None), StringTransport()) for _ in range(5)]

        def responded() -> list[bool]:
            return [bool(transport.value()) for _, transport in others]

        for protocol, transport in others:
            protocol.makeConnection(transport)
            protocol.dataReceived(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        self.assertEqual(responded(), [True, True, False, False, False])
        others[3][0].connectionLost(None)  # the client disconnects before its request is started
        self.clock.advance(0)
        self.assertEqual(responded(), [True, True, True, False, True])
        for protocol, _ in (*others[:3], others[4]):
            protocol.connectionLost(None)

    def test_expectation_of_a_client_that_has_sent_the_body_already(self) -> None:
        policy = WaitingPolicy(Path(self.mktemp()))
        site = RestSite(BodySizeResource(), body_limit=10, reactor=self.clock, upload_policy=policy)
        connections: list[tuple[Any, StringTransport]] = [(site.buildProtocol(None), StringTransport()) for _ in "123"]
        for (protocol, transport), path in zip(connections, (b"/", b"/", b"/upload"), strict=True):
            protocol.makeConnection(transport)
            protocol.dataReceived(
                b"PUT %s HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\nxyz" % path
            )
        policy.admission.errback(NotAuthenticated("There is no such token."))  # before the request is started
        self.clock.advance(0)
        self.assertEqual(connections[2][1].value().count(b"HTTP/1.1 "), 1)
        for protocol, _ in connections:
            protocol.connectionLost(None)

    def test_forms_are_not_parsed(self) -> None:
        self.protocol.dataReceived(
            b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n--"
        )
        self.assertIn(b"2 kept", self.transport.value())


class BadRequestTests(RestTestCase):
    async def test_what_is_not_http_gets_a_problem_document(self) -> None:
        for lines in (b"Transfer-Encoding: b98", b"Content-Length: x", b"Content-Length: 1\r\nContent-Length: 2"):
            with subtest(lines):
                response = await send_raw(self.port, b"GET /profiles HTTP/1.1\r\nHost: a\r\n" + lines + b"\r\n\r\n")
                head, _, body = response.partition(b"\r\n\r\n")
                self.assertTrue(head.startswith(b"HTTP/1.1 400 Bad Request\r\n"), response)
                self.assertIn(b"Content-Type: application/problem+json", head)
                self.assertEqual(msgspec.json.decode(body)["code"], "bad-request")


class HeaderLimitTests(RestTestCase):
    async def status_and_code(self, request: bytes) -> tuple[int, str]:
        head, _, body = (await send_raw(self.port, request)).partition(b"\r\n\r\n")
        self.assertIn(b"\r\nConnection: close", head)
        return int(head.split(b" ")[1]), msgspec.json.decode(body)["code"]

    async def test_too_large_or_too_many_headers(self) -> None:
        for headers in (
            b"X-Long: %s\r\n" % (b"a" * 17_000),
            b"X-Long: %s" % (b"a" * 40_000),  # without an end
            b"X: 1\r\n" * 600,
            b"X-Many: 1234567890\r\n" * 1000,
        ):
            with subtest(headers[:20]):
                request = b"GET /health/live HTTP/1.1\r\nHost: a\r\n" + headers + b"\r\n"
                self.assertEqual(await self.status_and_code(request), (431, "headers-too-large"))

    async def test_too_long_url(self) -> None:
        for size in (17_000, 100_000):
            request = b"GET /" + b"a" * size + b" HTTP/1.1\r\nHost: a\r\n\r\n"
            self.assertEqual(await self.status_and_code(request), (414, "uri-too-long"))

    async def test_content_length_of_too_many_digits(self) -> None:
        request = b"PUT /profiles HTTP/1.1\r\nHost: a\r\nContent-Length: " + b"9" * 5000 + b"\r\n\r\n"
        self.assertEqual(await self.status_and_code(request), (400, "bad-request"))

    async def test_large_header_within_the_limit(self) -> None:
        response = await self.request("GET", "/health/live", headers={"X-Long": "a" * 15_000})
        self.assertEqual(response.status, 200)


class RefusalTests(SynchronousTestCase):
    """Requests that a connection refuses are logged and counted, in a bounded form."""

    REFUSED: Final = (
        (b"rubbish\r\n", "- - -", ("-", 400)),
        (b"\x16\x03\x01\x02\x00\x01\r\n", "- - -", ("-", 400)),  # TLS
        (b"GET /" + b"a" * 100_000, "- - -", ("-", 414)),
        (b"GET /x?from=%2B49305551234 HTTP/1.1\r\n" + b"X: 1\r\n" * 600, "GET /x HTTP/1.1", ("GET", 431)),
        (b"GET /l/geheim HTTP/1.1\r\nno header\r\n\r\n", "GET /l/*** HTTP/1.1", ("GET", 400)),
        (b"BREW /x HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", "BREW /x HTTP/1.1", ("BREW", 400)),
        (b"PUT /x HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nrubbish\r\n", "PUT /x HTTP/1.1", ("PUT", 400)),
    )

    def setUp(self) -> None:
        self.clock = Clock()
        self.counted: list[tuple[str, int]] = []
        self.lines: list[str] = []
        log.addObserver(observer := lambda event: self.lines.append(log.textFromEventDict(event) or ""))
        self.addCleanup(log.removeObserver, observer)

    def connect(self) -> tuple[Any, StringTransport]:
        site = RestSite(
            BodySizeResource(),
            body_limit=10,
            reactor=self.clock,
            access_log=True,
            on_refusal=lambda method, status: self.counted.append((method, status)),
        )
        site.startFactory()
        self.addCleanup(site.stopFactory)
        protocol: Any = site.buildProtocol(None)
        transport = AbortableTransport()
        protocol.makeConnection(transport)
        self.addCleanup(protocol.connectionLost, None)
        return protocol, transport

    def test_log_and_metrics(self) -> None:
        for request, logged, counted in self.REFUSED:
            with subtest(request[:30]):
                self.counted.clear()
                self.lines.clear()
                protocol, transport = self.connect()
                for _ in range(3):  # what follows does not count
                    protocol.dataReceived(request)
                self.assertEqual(self.counted, [counted])
                (line,) = (line for line in self.lines if f'"{logged}" {counted[1]} ' in line)
                self.assertLess(len(line), 300)
                self.assertNotIn("49305551234", "".join(self.lines))
                head, _, body = transport.value().partition(b"\r\n\r\n")
                self.assertIn(b"\r\nX-Content-Type-Options: nosniff\r\n", head)
                self.assertIn(b"\r\nDate: ", head)
                self.assertEqual(msgspec.json.decode(body)["status"], counted[1])

    def test_slow_client(self) -> None:
        protocol, _ = self.connect()
        protocol.dataReceived(b"GET /x HTTP/1.1\r\nHost: ")
        self.clock.pump([1] * 25)
        self.assertEqual(self.counted, [("GET", 408)])

    def test_connection_without_a_request(self) -> None:
        _, transport = self.connect()
        self.clock.pump([1] * 25)
        self.assertTrue(transport.disconnecting)
        self.assertEqual(self.counted, [])


@implementer(IHalfCloseableProtocol)
class HalfClosedClient(RawConnection):
    """A client that goes on sending after the server has closed its direction."""

    def __init__(self) -> None:
        super().__init__()
        self.ended: Deferred[bytes] = Deferred()
        self.reason: Failure | None = None

    def readConnectionLost(self) -> None:  # noqa: N802
        self.ended.callback(self.received)

    def writeConnectionLost(self) -> None:  # noqa: N802
        pass

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.reason = reason
        super().connectionLost(reason)


class LingeringCloseTests(RestTestCase):
    """A client that is still sending receives the response, because the connection is not reset."""

    async def check(self, request: bytes, status: bytes) -> None:
        client = HalfClosedClient()
        await connectProtocol(TCP4ClientEndpoint(reactor, "127.0.0.1", self.port), client)
        client.transport.write(request)
        response = await client.ended
        self.assertTrue(response.startswith(b"HTTP/1.1 " + status), response)
        head, _, body = response.partition(b"\r\n\r\n")
        self.assertIn(b"content-length: %d\r\n" % len(body), head.lower() + b"\r\n")
        client.transport.write(b"x" * 5_000_000)
        client.transport.loseConnection()
        await client.closed
        self.assertIsNotNone(client.reason)
        self.assertIsInstance(client.reason and client.reason.value, ConnectionDone)
        await until(lambda: self.site.connection_count == 0)

    async def test_refused_bodies(self) -> None:
        recording = await self.add_recording(state=RecordingState.PENDING)
        audio = b"PUT /recordings/%s/audio" % str(recording.id).encode()
        for line, token, headers, status in (
            (b"PUT /profiles", b"admin", b"Content-Length: 9000000", b"413"),
            (b"PUT /profiles", b"wrong", b"Content-Length: 9000000", b"401"),
            (b"PUT /nothing", b"admin", b"Content-Length: 9000000", b"404"),
            (b"PUT /profiles", b"admin", b"Content-Length: x", b"400"),
            (audio, b"wrong", b"Content-Type: audio/wav\r\nContent-Length: 9000000", b"401"),
            (audio, b"admin", b"Content-Type: audio/wav\r\nContent-Length: 900000000000", b"413"),
        ):
            with subtest((line, token, headers)):
                request = line + b" HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\n%s\r\n\r\n" % (token, headers)
                await self.check(request + b"x" * 100_000, status)
        await until(lambda: [*self.upload_directory.glob("*")] == [])

    async def test_refused_body_is_counted_with_its_route(self) -> None:
        await self.check(b"PUT /profiles HTTP/1.1\r\nHost: a\r\nContent-Length: 9000000\r\n\r\n", b"401")
        counted = samples(self.metrics, "voxrec_rest_requests_total")
        self.assertEqual(counted[("PUT", "/profiles", "401")], 1)


class DeadlineTests(SynchronousTestCase):
    """Clients that send slowly, on a Clock: each byte arrives before the idle timeout."""

    HEAD = b"PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n"

    def setUp(self) -> None:
        self.clock = Clock()
        deadlines = Deadlines(head=20, body=30, upload_rate=10)
        site = RestSite(BodySizeResource(), body_limit=1000, reactor=self.clock, deadlines=deadlines)
        self.transport = AbortableTransport()
        self.protocol: Any = site.buildProtocol(None)
        self.protocol.makeConnection(self.transport)
        self.addCleanup(self.protocol.connectionLost, None)

    def seconds_until_closed(self, data: bytes, interval: int) -> int:
        """Send ``data``, one byte each ``interval`` seconds."""
        for second in range(1, 600):
            self.clock.advance(1)
            if self.transport.disconnecting:
                return second
            if second % interval == 0 and data:
                self.protocol.dataReceived(data[:1])
                data = data[1:]
        return 600

    def test_head(self) -> None:
        self.assertApproximates(self.seconds_until_closed(self.HEAD, 5), 20, 1)
        self.assertIn(b"HTTP/1.1 408 Request Timeout", self.transport.value())
        self.assertIn(b"application/problem+json", self.transport.value())

    def test_connection_without_a_byte(self) -> None:
        self.assertApproximates(self.seconds_until_closed(b"", 5), 20, 1)
        self.assertEqual(self.transport.value(), b"")

    def test_body(self) -> None:
        self.protocol.dataReceived(self.HEAD)
        self.assertApproximates(self.seconds_until_closed(b"x" * 100, 5), 30, 1)
        self.assertIn(b"HTTP/1.1 408 Request Timeout", self.transport.value())

    def test_chunked_body(self) -> None:
        self.protocol.dataReceived(b"PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        self.assertApproximates(self.seconds_until_closed(b"1\r\nx\r\n" * 30, 1), 30, 1)

    def test_further_requests_have_their_own_time(self) -> None:
        for _ in range(5):
            self.clock.advance(0)
            self.protocol.dataReceived(self.HEAD)
            self.protocol.dataReceived(b"x" * 100)
            self.clock.advance(15)
            self.assertFalse(self.transport.disconnecting)
        self.assertEqual(self.transport.value().count(b"100 kept"), 5)
        self.protocol.dataReceived(b"G")
        self.assertApproximates(self.seconds_until_closed(b"ET / HTTP", 5), 20, 1)

    def test_a_pipelined_request_is_not_delayed_by_the_deadline(self) -> None:
        self.protocol.dataReceived((self.HEAD + b"x" * 100) * 2 + b"PUT")
        for _ in range(3):
            self.clock.advance(0)
        self.assertEqual(self.transport.value().count(b"100 kept"), 2)
        self.assertApproximates(self.seconds_until_closed(b" / HTTP/1.1", 5), 20, 1)

    def test_response_that_is_not_received(self) -> None:
        self.protocol.dataReceived(b"PUT / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        self.assertTrue(self.transport.disconnecting)
        self.clock.pump([1] * 28)
        self.assertFalse(self.transport.aborted)
        self.clock.pump([1] * 3)
        self.assertTrue(self.transport.aborted)

    def test_nothing_is_scheduled_without_connections(self) -> None:
        self.assertTrue(self.clock.getDelayedCalls())
        self.protocol.connectionLost(None)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class AbortableTransport(StringTransport):
    aborted = False

    def abortConnection(self) -> None:  # noqa: N802
        self.aborted = self.disconnecting = True


class SlowUploadTests(RestTestCase):
    """Uploads of audio have time in proportion to what was received, after the client is authenticated."""

    async def upload(self, token: bytes) -> tuple[Any, RawConnection]:
        recording = await self.add_recording(state=RecordingState.PENDING)
        deadlines = Deadlines(head=1, body=1, upload_rate=100)
        site = RestSite(
            self.resource,
            body_limit=1000,
            reactor=reactor,
            upload_policy=self.app.upload_policy,
            deadlines=deadlines,
        )
        listening: Any = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(site)
        self.addCleanup(listening.stopListening)
        connection = await open_connection(listening.getHost().port)
        connection.transport.write(
            b"PUT /recordings/%s/audio HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer %s\r\nContent-Type: audio/wav\r\n"
            b"Content-Length: 2000\r\n\r\n" % (str(recording.id).encode(), token) + b"x" * 300
        )
        return site, connection

    async def test_time_for_what_was_received(self) -> None:
        site, connection = await self.upload(b"provision")
        started = reactor.seconds()
        received = await connection.closed
        self.assertIn(b"408 Request Timeout", received)
        self.assertGreater(reactor.seconds() - started, 3.5)  # 1 s, and 3 s for 300 bytes
        await until(lambda: site.connection_count == 0)
        await until(lambda: [*self.upload_directory.glob("*")] == [])

    async def test_no_additional_time_without_a_token(self) -> None:
        _, connection = await self.upload(b"wrong")
        started = reactor.seconds()
        self.assertIn(b"408 Request Timeout", await connection.closed)
        self.assertLess(reactor.seconds() - started, 3.5)


class ConnectionLimitTests(RestTestCase):
    HEALTH = b"GET /health/live HTTP/1.1\r\nHost: a\r\n\r\n"

    async def listen(self, limits: ConnectionLimits) -> tuple[RestSite, int]:
        site = RestSite(self.resource, body_limit=BODY_LIMIT, reactor=reactor, connection_limits=limits)
        listening: Any = await serverFromString(reactor, "tcp:0:interface=127.0.0.1").listen(site)
        self.addCleanup(listening.stopListening)
        return site, listening.getHost().port

    async def assert_healthy(self, port: int) -> None:
        response = await send_raw(port, self.HEALTH.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        self.assertIn(b"200 OK", response)

    async def close_all(self, site: RestSite, connections: list[RawConnection]) -> None:
        for connection in connections:
            connection.transport.abortConnection()
        await until(lambda: site.connection_count == 0)

    async def test_incomplete_requests_of_all_clients_give_way(self) -> None:
        await self.assert_incomplete_requests_give_way(ConnectionLimits(5, 0))

    async def test_incomplete_requests_of_one_client_give_way(self) -> None:
        await self.assert_incomplete_requests_give_way(ConnectionLimits(100, 5))

    async def assert_incomplete_requests_give_way(self, limits: ConnectionLimits) -> None:
        """Open many more connections than 5 that are idle or send incomplete requests."""
        site, port = await self.listen(limits)
        slow = []
        for data in (b"", b"G", b"PUT /profiles HTTP/1.1\r\nContent-Length: 9\r\n\r\nx", self.HEALTH, b"x: 1") * 4:
            slow.append(await open_connection(port))
            slow[-1].transport.write(data)
            await until(lambda: site.connection_count <= 5)
            await self.assert_healthy(port)
        site.configure(ConnectionLimits(100, 0), Deadlines(), TrustedProxies(), access_log=False)
        more = [await open_connection(port) for _ in range(10)]
        await until(lambda: site.connection_count >= 10)
        await self.close_all(site, [*slow, *more])

    async def test_health_is_answered_while_all_connections_wait_for_responses(self) -> None:
        site, port = await self.listen(ConnectionLimits(3, 0))
        subscribers = []
        for _ in range(3):
            subscribers.append(await open_connection(port))
            subscribers[-1].transport.write(b"GET /events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer read\r\n\r\n")
        await until(lambda: self.broadcaster.subscriber_count == 3)
        others = []
        for _ in range(2 * RESERVED_CONNECTIONS):
            others.append(await open_connection(port))
            await self.assert_healthy(port)
        refused = await send_raw(port, b"GET /profiles HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer read\r\n\r\n")
        self.assertIn(b"429 Too Many Requests", refused)
        self.assertIn(b"too-many-requests", refused)
        self.assertEqual(self.broadcaster.subscriber_count, 3)
        await self.close_all(site, [*subscribers, *others])
        await until(lambda: self.broadcaster.subscriber_count == 0)


class AccessLogTests(SynchronousTestCase):
    def logged_requests(self, path: bytes = b"/x", referrer: bytes = b"/list", **options: Any) -> list[str]:
        site = RestSite(BodySizeResource(), body_limit=10, reactor=reactor, **options)
        site.startFactory()
        self.addCleanup(site.stopFactory)
        lines: list[str] = []
        log.addObserver(observer := lambda event: lines.append(log.textFromEventDict(event) or ""))
        self.addCleanup(log.removeObserver, observer)
        site._logFile = log.StdioOnnaStick() if hasattr(log, "StdioOnnaStick") else site._logFile
        transport = StringTransport()
        protocol: Any = site.buildProtocol(None)
        protocol.makeConnection(transport)
        headers = b"Host: a\r\nReferer: http://b" + referrer + b"?from=%2B49305551234\r\nContent-Length: 0\r\n"
        protocol.dataReceived(b"PUT " + path + b"?from=%2B49305551234 HTTP/1.1\r\n" + headers + b"\r\n")
        protocol.connectionLost(None)
        self.assertIn(b"0 kept", transport.value())
        return [line for line in lines if "PUT /" in line]

    def test_disabled(self) -> None:
        self.assertEqual(self.logged_requests(), [])

    def test_enabled(self) -> None:
        (line,) = self.logged_requests(access_log=True)
        self.assertIn('"PUT /x HTTP/1.1" 200', line)
        self.assertIn('"http://b/list"', line)
        self.assertNotIn("49305551234", line)

    def test_long_texts_are_abbreviated(self) -> None:
        (line,) = self.logged_requests(b"/" + b"a" * 9000, b"/" + b"b" * 5000, access_log=True)
        self.assertIn(f'"PUT /{"a" * 499}... HTTP/1.1"', line)
        self.assertIn(f'{"b" * 490}..."', line)
        self.assertLess(len(line), 1500)

    def test_the_secret_of_a_link_is_not_logged(self) -> None:
        for path, logged in ((b"/l/geheim/audio", "/l/***/audio"), (b"/%6C/geheim", "/%6C/***"), (b"/list", "/list")):
            (line,) = self.logged_requests(path, access_log=True)
            self.assertIn(f'"PUT {logged} HTTP/1.1"', line)
        (line,) = self.logged_requests(referrer=b"/l/geheim", access_log=True)
        self.assertIn('"http://b/l/***"', line)


class TlsTests(RestTestCase):
    async def connect(self) -> RawConnection:
        key, certificate = write_certificate(self.make_directory(), "localhost")
        listen = f"ssl:0:privateKey={key}:certKey={certificate}:interface=127.0.0.1"
        settings = config.parse(f"rest: {{listen: '{listen}'}}")
        port: Any = await serverFromString(reactor, settings.rest.listen).listen(self.site)
        self.addCleanup(port.stopListening)
        context = optionsForClientTLS("localhost", trustRoot=Certificate.loadPEM(certificate.read_bytes()))
        connection = RawConnection()
        endpoint = SSL4ClientEndpoint(reactor, "127.0.0.1", port.getHost().port, context)
        await connectProtocol(endpoint, connection)
        return connection

    async def test_refused_body(self) -> None:
        connection = await self.connect()
        connection.transport.write(
            b"PUT /profiles HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer admin\r\n"
            b"Content-Length: 9000000\r\n\r\n" + b"x" * 9_000_000
        )
        response = await connection.closed
        self.assertTrue(response.startswith(b"HTTP/1.1 413 "), response)
        self.assertTrue(response.endswith(b"}"), response)

    async def test_https_with_the_setting_rest_listen(self) -> None:
        connection = await self.connect()
        connection.transport.write(b"GET /health/live HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        await until(lambda: b'{"live":true}' in connection.received)
        self.assertIn(b"HTTP/1.1 200", connection.received)
        self.assertIn(b"strict-transport-security: max-age=31536000\r\n", connection.received.lower())
        await connection.closed

    async def test_http_without_strict_transport_security(self) -> None:
        response = await self.request("GET", "/health/live")
        self.assertNotIn("strict-transport-security", response.headers)

    def test_invalid_private_key(self) -> None:
        directory = self.make_directory()
        (directory / "key.pem").write_text("not a key")
        listen = f"ssl:0:privateKey={directory / 'key.pem'}"
        for invalid in (listen, "ssl:0:privateKey=/no/such/file"):
            with self.assertRaises(ConfigError) as caught:
                config.parse(f"rest: {{listen: '{invalid}'}}")
            self.assertEqual([error.field for error in caught.exception.field_errors], ["rest.listen"])
