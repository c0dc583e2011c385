"""Tests of voxrec.ari.event_stream: a real websocket server in memory, driven by a Clock."""

import json
from typing import Any

import txaio
from autobahn.twisted.websocket import WebSocketServerFactory, WebSocketServerProtocol
from autobahn.websocket.types import ConnectionDeny
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionRefusedError as TwistedRefused
from twisted.internet.task import Clock
from twisted.logger import capturedLogs
from twisted.test.iosim import FakeTransport, IOPump, connect
from twisted.trial.unittest import SynchronousTestCase

from voxrec.ari.event_stream import EventStream
from voxrec.ari.events import Event, StasisStart
from voxrec.ari.transport import AriResponseError, WebsocketTransport
from voxrec.deferreds import Backoff
from voxrec.errors import AsteriskUnavailable

CREDENTIALS = "Basic dm94cmVjOnNlY3JldA=="  # voxrec:secret


class FakeAri(WebSocketServerProtocol):
    """A websocket server that rejects a wrong password with 401, and stores all requests and messages."""

    def onConnect(self, request: Any) -> None:
        self.factory.requests.append(request)
        if request.headers.get("authorization") != CREDENTIALS:
            raise ConnectionDeny(401, "Unauthorized")

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.factory.messages.append(json.loads(payload))

    def onPong(self, payload: bytes) -> None:
        self.factory.pongs.append(payload)


class FakeNetwork:
    """A client endpoint that connects to a `FakeAri`, or refuses connections while ``refusing`` is set."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.refusing = False
        self.attempts: list[float] = []
        factory: Any = WebSocketServerFactory("ws://127.0.0.1:8088", reactor=clock)
        factory.protocol = FakeAri
        factory.requests = []
        factory.messages = []
        factory.pongs = []
        self.factory = factory
        self.pump: IOPump | None = None
        self.server: Any = None

    def connect(self, factory: Any) -> Deferred[Any]:
        self.attempts.append(self.clock.seconds())
        if self.refusing:
            return fail(TwistedRefused())
        self.server = self.factory.buildProtocol(None)
        client = factory.buildProtocol(None)
        self.pump = connect(
            self.server,
            FakeTransport(self.server, isServer=True),
            client,
            FakeTransport(client, isServer=False),
            greet=False,
        )
        return succeed(client)

    def flush(self) -> None:
        assert self.pump is not None
        self.pump.flush()

    def send(self, **message: Any) -> None:
        self.server.sendMessage(json.dumps(message).encode())

    def drop_connection(self) -> None:
        self.server.dropConnection(abort=True)
        self.flush()


class FakeListener:
    """An `EventStreamListener` that stores what it receives; each event takes ``seconds_per_event`` to handle."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.seconds_per_event = 0.0
        self.states: list[str] = []
        self.events: list[Event] = []
        self.transport: WebsocketTransport | None = None

    def stream_connected(self, transport: WebsocketTransport) -> None:
        self.states.append("connected")
        self.transport = transport

    def event_received(self, event: Event) -> None:
        self.events.append(event)
        self.clock.rightNow += self.seconds_per_event

    def stream_disconnected(self) -> None:
        self.states.append("disconnected")


class StreamTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.patch(txaio.config, "loop", self.clock)  # type: ignore[attr-defined] # set at run time
        self.network = FakeNetwork(self.clock)
        self.listener = FakeListener(self.clock)

    def start(self, *, password: str = "secret", queue_limit: int = 100) -> EventStream:
        stream = EventStream(
            self.clock,
            self.network,  # type: ignore[arg-type] # implements only connect()
            self.listener,
            url="http://127.0.0.1:8088/ari",
            user="voxrec",
            password=password,
            app="voxrec",
            request_timeout=5,
            ping_interval=10,
            ping_timeout=5,
            queue_limit=queue_limit,
            backoff=Backoff(first=0.2, limit=15, jitter=0),
        )
        stream.startService()
        self.addCleanup(self.stop, stream)
        if self.network.pump is not None:
            self.network.flush()
        return stream

    def stop(self, stream: EventStream) -> None:
        stopping = stream.stopService()
        if self.network.pump is not None:
            self.network.flush()
        if stopping is not None:
            self.clock.advance(2)
            self.successResultOf(stopping)

    def client(self) -> Any:
        """Return the protocol of the client that is connected."""
        assert self.network.pump is not None
        return self.network.pump.client

    def frames_of(self, *sizes: int) -> bytes:
        """Return the frames of StasisStart events of channels whose names have these sizes."""
        frames = []
        for size in sizes:
            event = {"type": "StasisStart", "channel": {"id": "1", "name": "n" * size}, "args": []}
            body = json.dumps(event).encode()
            if len(body) < 126:
                head = bytes([len(body)])
            elif len(body) < 1 << 16:
                head = b"\x7e" + len(body).to_bytes(2, "big")
            else:
                head = b"\x7f" + len(body).to_bytes(8, "big")
            frames.append(b"\x81" + head + body)
        return b"".join(frames)

    def advance(self, seconds: float = 0) -> None:
        self.network.flush()
        self.clock.advance(seconds)
        self.network.flush()


class EventTests(StreamTestCase):
    def test_credentials_are_in_a_header_and_not_in_the_url(self) -> None:
        self.start()
        (request,) = self.network.factory.requests
        self.assertEqual(request.path, "/ari/events")
        self.assertEqual(request.params, {"app": ["voxrec"], "subscribeAll": ["false"]})
        self.assertEqual(self.listener.states, ["connected"])

    def test_events_arrive_in_order(self) -> None:
        self.start()
        for number in range(5):
            self.network.send(type="StasisStart", channel={"id": str(number)}, args=["incoming"], application="voxrec")
        self.advance()
        self.assertEqual(
            [event.channel.id for event in self.listener.events if isinstance(event, StasisStart)],
            ["0", "1", "2", "3", "4"],
        )

    def test_frames_arrive_in_any_pieces_and_of_any_size(self) -> None:
        for piece in (1, 2, 3, 7, 125, 1000, 1_000_000):
            self.listener.events.clear()
            self.start()
            client, sent = self.client(), self.frames_of(10, 125, 126, 300, 65_535, 65_536, 10)
            for start in range(0, len(sent), piece):
                client.dataReceived(sent[start : start + piece])
            self.clock.advance(0)
            sizes = [len(event.channel.name) for event in self.listener.events if isinstance(event, StasisStart)]
            self.assertEqual(sizes, [10, 125, 126, 300, 65_535, 65_536, 10], f"pieces of {piece} bytes")
            self.network.drop_connection()

    def test_a_fragmented_message_and_a_ping_between_others(self) -> None:
        self.start()
        whole, client = self.frames_of(10), self.client()
        body = whole[2:]
        half = len(body) // 2
        first = bytes([0x01, half]) + body[:half]
        last = bytes([0x80, len(body) - half]) + body[half:]
        client.dataReceived(whole + first + b"\x89\x01p" + last + whole)
        self.clock.advance(0)
        self.network.flush()
        self.assertEqual(len(self.listener.events), 3)
        self.assertEqual(self.network.factory.pongs, [b"p"])

    def test_a_masked_frame_from_the_server_closes_the_connection(self) -> None:
        self.start()
        self.client().dataReceived(b"\x81\x82mask" + b"{}")
        self.advance(2)
        self.assertEqual(self.listener.states[:2], ["connected", "disconnected"])

    def test_nothing_is_delivered_after_the_connection_was_dropped(self) -> None:
        stream = self.start()

        def drop_at_the_first(event: Event) -> None:
            self.listener.events.append(event)
            stream.drop_connection()

        self.patch(self.listener, "event_received", drop_at_the_first)
        self.client().dataReceived(self.frames_of(10, 10))
        self.advance()
        self.assertEqual(len(self.listener.events), 1)

    def test_any_message_is_an_answer_to_a_ping(self) -> None:
        self.start()
        self.clock.advance(10)  # the ping
        self.client().dataReceived(self.frames_of(10))
        self.clock.advance(5.1)
        self.network.flush()
        self.assertEqual(self.listener.states, ["connected"])

    def test_an_invalid_message_is_logged_and_ignored(self) -> None:
        self.start()
        with capturedLogs() as logs:
            self.receive(b"{", b"\xff", b"[]", b'{"type": "StasisStart"}', b'{"type": "DeviceStateChanged"}')
        self.assertEqual(self.listener.events, [])
        self.assertEqual(
            len([event for event in logs if "ignoring an invalid message" in str(event.get("log_format"))]), 4
        )
        self.assertEqual(self.listener.states, ["connected"])

    def receive(self, *messages: bytes) -> None:
        for message in messages:
            self.network.server.sendMessage(message, isBinary=message == b"\xff")
        self.advance()

    def test_an_exception_of_the_listener_does_not_stop_the_stream(self) -> None:
        stream = self.start()
        self.listener.event_received = self.fail_once  # type: ignore[method-assign]
        self.receive(b'{"type": "StasisEnd", "channel": {"id": "1"}}', b'{"type": "StasisEnd", "channel": {"id": "2"}}')
        self.assertEqual([event.channel.id for event in self.listener.events], ["2"])  # type: ignore[union-attr]
        self.assertTrue(stream.running)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def fail_once(self, event: Event) -> None:
        del self.listener.event_received
        raise ZeroDivisionError

    def test_a_burst_of_events_yields_to_the_reactor_and_keeps_its_order(self) -> None:
        self.start()
        self.listener.seconds_per_event = 0.003
        for number in range(7):
            self.network.send(type="StasisEnd", channel={"id": str(number)})
        self.network.flush()
        handled_by_turn: list[int] = []

        def count_handled() -> None:
            handled_by_turn.append(len(self.listener.events))
            if handled_by_turn[-1] < 7:
                self.clock.callLater(0, count_handled)

        count_handled()
        self.clock.advance(0)
        self.assertEqual(handled_by_turn, [2, 4, 6, 7])
        self.assertEqual([event.channel.id for event in self.listener.events], list("0123456"))  # type: ignore[union-attr]

    def test_an_overflowing_queue_drops_the_connection(self) -> None:
        self.start(queue_limit=100)
        self.listener.seconds_per_event = 0.006  # longer than a time slice
        for number in range(102):
            self.network.send(type="StasisEnd", channel={"id": str(number)})
        self.network.flush()
        self.assertEqual(self.listener.states, ["connected", "disconnected"])
        self.assertEqual(len(self.listener.events), 1)
        self.clock.advance(0.2)
        self.network.flush()
        self.assertEqual(self.listener.states, ["connected", "disconnected", "connected"])


class ReconnectTests(StreamTestCase):
    def test_a_lost_connection_is_opened_again(self) -> None:
        self.start()
        self.network.drop_connection()
        self.assertEqual(self.listener.states, ["connected", "disconnected"])
        self.clock.advance(0.2)
        self.network.flush()
        self.assertEqual(self.listener.states, ["connected", "disconnected", "connected"])

    def test_refused_connections_are_retried_with_back_off_and_logged_once(self) -> None:
        self.network.refusing = True
        with capturedLogs() as logs:
            self.start()
            self.clock.pump([0.1] * 1200)
        delays = [b - a for a, b in zip(self.network.attempts, self.network.attempts[1:], strict=False)]
        for delay, expected in zip(delays, [0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 15.0, 15.0], strict=False):
            self.assertApproximates(delay, expected, 0.11)
        self.assertEqual(len([event for event in logs if "cannot open" in str(event.get("log_format"))]), 1)

    def test_a_rejected_password_is_retried_with_back_off_and_logged_once(self) -> None:
        with capturedLogs() as logs:
            self.start(password="wrong")
            for _ in range(200):
                self.advance(0.1)
        self.assertEqual(self.listener.states, [])
        self.assertLess(len(self.network.attempts), 8)
        errors = [event for event in logs if "cannot open" in str(event.get("log_format"))]
        self.assertEqual(len(errors), 1)
        self.assertIn("401", errors[0]["reason"])
        self.assertNotIn("wrong", str(errors))

    def test_an_opened_connection_resets_the_back_off(self) -> None:
        self.network.refusing = True
        self.start()
        self.clock.pump([0.1] * 100)
        self.network.refusing = False
        while self.network.pump is None:
            self.clock.advance(0.1)
        self.network.flush()
        self.assertEqual(self.listener.states, ["connected"])
        before = len(self.network.attempts)
        self.network.drop_connection()
        self.clock.advance(0.2)
        self.assertEqual(len(self.network.attempts), before + 1)

    def test_a_missing_pong_closes_the_connection_after_the_ping_timeout(self) -> None:
        self.start()
        self.clock.advance(10)
        self.clock.advance(5.1)
        self.network.flush()
        self.assertEqual(self.listener.states, ["connected", "disconnected"])

    def test_it_stops_during_a_back_off_delay(self) -> None:
        self.network.refusing = True
        stream = self.start()
        stopping = stream.stopService()
        assert stopping is not None
        self.successResultOf(stopping)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class RequestTests(StreamTestCase):
    def request(self) -> tuple[Deferred[bytes], dict[str, Any]]:
        self.start()
        assert self.listener.transport is not None
        response = self.listener.transport.request("POST", ("channels", "a/b", "play"), {"media": "sound:x"}, {"a": 1})
        self.network.flush()
        return response, self.network.factory.messages[-1]

    def test_a_request_is_a_websocket_message(self) -> None:
        response, message = self.request()
        request_id = message.pop("request_id")
        self.assertEqual(
            message,
            {
                "type": "RESTRequest",
                "method": "POST",
                "uri": "channels/a%2Fb/play",
                "query_strings": [{"name": "media", "value": "sound:x"}],
                "content_type": "application/json",
                "message_body": '{"a":1}',
            },
        )
        self.network.send(type="RESTResponse", request_id=request_id, status_code=200, message_body="{}")
        self.network.flush()
        self.assertEqual(self.successResultOf(response), b"{}")

    def test_requests_of_any_size(self) -> None:
        self.start()
        assert self.listener.transport is not None
        sizes = [0, 1, 2, 3, 4, 5, 60, 61, 62, 63, 64, 65, 1000, 65_400, 65_500, 65_536, 100_000]
        for size in sizes:
            self.listener.transport.request("POST", ("x",), {"value": "ö" + "v" * size}).addErrback(lambda _: None)
        self.network.flush()
        values = [message["query_strings"][0]["value"] for message in self.network.factory.messages]
        self.assertEqual(values, ["ö" + "v" * size for size in sizes])

    def test_an_error_status_names_the_request_and_the_reason(self) -> None:
        response, message = self.request()
        self.network.send(
            type="RESTResponse",
            request_id=message["request_id"],
            status_code=404,
            reason_phrase="Not Found",
            message_body='{"message": "Channel not found"}',
        )
        self.network.flush()
        error = self.failureResultOf(response, AriResponseError).value
        self.assertEqual(str(error), "Asterisk refused POST channels/a%2Fb/play: 404 Channel not found")
        self.assertTrue(error.not_found)

    def test_a_missing_response_fails_after_the_timeout(self) -> None:
        response, message = self.request()
        self.clock.advance(5)
        self.failureResultOf(response, AsteriskUnavailable)
        self.network.send(type="RESTResponse", request_id=message["request_id"], status_code=204)
        self.advance()

    def test_a_lost_connection_fails_pending_and_later_requests(self) -> None:
        response, _ = self.request()
        transport = self.listener.transport
        assert transport is not None
        self.network.drop_connection()
        self.failureResultOf(response, AsteriskUnavailable)
        later = transport.request("GET", ("channels",), {})
        self.failureResultOf(later, AsteriskUnavailable)

    def test_a_closing_connection_fails_later_requests_and_raises_nothing(self) -> None:
        stream = self.start()
        transport, protocol = self.listener.transport, stream._protocol
        assert transport is not None
        assert protocol is not None
        protocol.sendClose()
        self.failureResultOf(transport.request("GET", ("channels",), {}), AsteriskUnavailable)
        self.network.flush()
        self.assertIn("disconnected", self.listener.states)
