"""The event stream against a real websocket server, both in memory, driven by a Clock."""

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
from voxrec.ari.transport import AriRefusal, WebsocketTransport
from voxrec.errors import AsteriskUnavailable

CREDENTIALS = "Basic dm94cmVjOnNlY3JldA=="  # voxrec:secret


class FakeAri(WebSocketServerProtocol):
    """Says 401 to the wrong password, and keeps what it was asked."""

    def onConnect(self, request: Any) -> None:
        self.factory.requests.append(request)
        if request.headers.get("authorization") != CREDENTIALS:
            raise ConnectionDeny(401, "Unauthorized")

    def onMessage(self, payload: bytes, isBinary: bool) -> None:
        self.factory.messages.append(json.loads(payload))


class FakeNetwork:
    """An endpoint whose other end is a FakeAri; ``refusing`` is a host where nothing listens."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.refusing = False
        self.attempts: list[float] = []
        factory: Any = WebSocketServerFactory("ws://127.0.0.1:8088", reactor=clock)
        factory.protocol = FakeAri
        factory.requests = []
        factory.messages = []
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

    def say(self, **message: Any) -> None:
        self.server.sendMessage(json.dumps(message).encode())

    def lose(self) -> None:
        self.server.dropConnection(abort=True)
        self.flush()


class Listener:
    """A StreamOwner that writes down what it is told, and takes so many seconds for each event."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.takes = 0.0
        self.told: list[str] = []
        self.events: list[Event] = []
        self.requester: WebsocketTransport | None = None

    def stream_up(self, requester: WebsocketTransport) -> None:
        self.told.append("up")
        self.requester = requester

    def stream_event(self, event: Event) -> None:
        self.events.append(event)
        self.clock.rightNow += self.takes

    def stream_down(self) -> None:
        self.told.append("down")


class StreamTestCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.patch(txaio.config, "loop", self.clock)  # type: ignore[attr-defined] # made at run time
        self.network = FakeNetwork(self.clock)
        self.owner = Listener(self.clock)

    def started(self, *, password: str = "secret", queue_limit: int = 100) -> EventStream:
        stream = EventStream(
            self.clock,
            self.network,  # type: ignore[arg-type] # all of an endpoint that is used
            self.owner,
            url="http://127.0.0.1:8088/ari",
            user="voxrec",
            password=password,
            app="voxrec",
            request_timeout=5,
            ping_interval=10,
            ping_timeout=5,
            queue_limit=queue_limit,
            jitter=lambda: 1.0,
        )
        stream.startService()
        self.addCleanup(self.stopped, stream)
        if self.network.pump is not None:
            self.network.flush()
        return stream

    def stopped(self, stream: EventStream) -> None:
        stopping = stream.stopService()
        if self.network.pump is not None:
            self.network.flush()
        if stopping is not None:
            self.clock.advance(2)
            self.successResultOf(stopping)

    def step(self, seconds: float = 0) -> None:
        self.network.flush()
        self.clock.advance(seconds)
        self.network.flush()


class EventTests(StreamTestCase):
    def test_it_opens_with_the_password_in_a_header_and_not_in_the_address(self) -> None:
        self.started()
        (request,) = self.network.factory.requests
        self.assertEqual(request.path, "/ari/events")
        self.assertEqual(request.params, {"app": ["voxrec"], "subscribeAll": ["false"]})
        self.assertEqual(self.owner.told, ["up"])

    def test_events_arrive_in_order(self) -> None:
        self.started()
        for number in range(5):
            self.network.say(type="StasisStart", channel={"id": str(number)}, args=["incoming"], application="voxrec")
        self.step()
        self.assertEqual(
            [event.channel.id for event in self.owner.events if isinstance(event, StasisStart)],
            ["0", "1", "2", "3", "4"],
        )

    def test_what_is_no_event_is_passed_over(self) -> None:
        self.started()
        with capturedLogs() as logs:
            self.server_says(b"{", b"\xff", b"[]", b'{"type": "StasisStart"}', b'{"type": "DeviceStateChanged"}')
        self.assertEqual(self.owner.events, [])
        self.assertEqual(len([each for each in logs if "does not fit" in str(each.get("log_format"))]), 4)
        self.assertEqual(self.owner.told, ["up"])

    def server_says(self, *texts: bytes) -> None:
        for text in texts:
            self.network.server.sendMessage(text, isBinary=text == b"\xff")
        self.step()

    def test_an_owner_that_fails_does_not_stop_the_stream(self) -> None:
        stream = self.started()
        self.owner.stream_event = self.fail_once  # type: ignore[method-assign]
        self.server_says(
            b'{"type": "StasisEnd", "channel": {"id": "1"}}', b'{"type": "StasisEnd", "channel": {"id": "2"}}'
        )
        self.assertEqual([event.channel.id for event in self.owner.events], ["2"])  # type: ignore[union-attr]
        self.assertTrue(stream.running)
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)

    def fail_once(self, event: Event) -> None:
        del self.owner.stream_event
        raise ZeroDivisionError

    def test_events_that_take_long_leave_the_reactor_to_others_and_keep_their_order(self) -> None:
        self.started()
        self.owner.takes = 0.003
        for number in range(7):
            self.network.say(type="StasisEnd", channel={"id": str(number)})
        self.network.flush()
        seen: list[int] = []

        def another() -> None:
            seen.append(len(self.owner.events))
            if seen[-1] < 7:
                self.clock.callLater(0, another)

        another()
        self.clock.advance(0)
        self.assertEqual(seen, [2, 4, 6, 7])
        self.assertEqual([event.channel.id for event in self.owner.events], list("0123456"))  # type: ignore[union-attr]

    def test_a_flood_ends_the_connection_and_not_the_memory(self) -> None:
        self.started(queue_limit=100)
        self.owner.takes = 0.006  # seconds for each: longer than a slice
        for number in range(102):
            self.network.say(type="StasisEnd", channel={"id": str(number)})
        self.network.flush()
        self.assertEqual(self.owner.told, ["up", "down"])
        self.assertEqual(len(self.owner.events), 1)
        self.clock.advance(0.2)
        self.network.flush()
        self.assertEqual(self.owner.told, ["up", "down", "up"])


class ReconnectTests(StreamTestCase):
    def test_it_comes_back_when_the_connection_is_lost(self) -> None:
        self.started()
        self.network.lose()
        self.assertEqual(self.owner.told, ["up", "down"])
        self.clock.advance(0.2)
        self.network.flush()
        self.assertEqual(self.owner.told, ["up", "down", "up"])

    def test_it_backs_off_where_nothing_listens_and_complains_once(self) -> None:
        self.network.refusing = True
        with capturedLogs() as logs:
            self.started()
            self.clock.pump([0.1] * 1200)
        waits = [b - a for a, b in zip(self.network.attempts, self.network.attempts[1:], strict=False)]
        for wait, expected in zip(waits, [0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 15.0, 15.0], strict=False):
            self.assertApproximates(wait, expected, 0.11)
        self.assertEqual(len([each for each in logs if "cannot open" in str(each.get("log_format"))]), 1)

    def test_it_backs_off_where_the_password_is_wrong(self) -> None:
        with capturedLogs() as logs:
            self.started(password="wrong")
            for _ in range(200):
                self.step(0.1)
        self.assertEqual(self.owner.told, [])
        self.assertLess(len(self.network.attempts), 8)
        complaints = [each for each in logs if "cannot open" in str(each.get("log_format"))]
        self.assertEqual(len(complaints), 1)
        self.assertIn("401", complaints[0]["reason"])
        self.assertNotIn("wrong", str(complaints))

    def test_the_delay_starts_anew_once_it_was_open(self) -> None:
        self.network.refusing = True
        self.started()
        self.clock.pump([0.1] * 100)
        self.network.refusing = False
        while self.network.pump is None:
            self.clock.advance(0.1)
        self.network.flush()
        self.assertEqual(self.owner.told, ["up"])
        before = len(self.network.attempts)
        self.network.lose()
        self.clock.advance(0.2)
        self.assertEqual(len(self.network.attempts), before + 1)

    def test_a_silent_asterisk_is_left_after_the_ping_timeout(self) -> None:
        self.started()
        self.clock.advance(10)
        self.clock.advance(5.1)
        self.network.flush()
        self.assertEqual(self.owner.told, ["up", "down"])

    def test_it_stops_while_it_waits_to_connect(self) -> None:
        self.network.refusing = True
        stream = self.started()
        stopping = stream.stopService()
        assert stopping is not None
        self.successResultOf(stopping)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class RequestTests(StreamTestCase):
    def asked(self) -> tuple[Deferred[bytes], dict[str, Any]]:
        self.started()
        assert self.owner.requester is not None
        answer = self.owner.requester.request("POST", ("channels", "a/b", "play"), {"media": "sound:x"}, {"a": 1})
        self.network.flush()
        return answer, self.network.factory.messages[-1]

    def test_a_request_is_a_message(self) -> None:
        answer, message = self.asked()
        identity = message.pop("request_id")
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
        self.network.say(type="RESTResponse", request_id=identity, status_code=200, message_body="{}")
        self.network.flush()
        self.assertEqual(self.successResultOf(answer), b"{}")

    def test_a_refusal_says_what_was_refused_and_why(self) -> None:
        answer, message = self.asked()
        self.network.say(
            type="RESTResponse",
            request_id=message["request_id"],
            status_code=404,
            reason_phrase="Not Found",
            message_body='{"message": "Channel not found"}',
        )
        self.network.flush()
        error = self.failureResultOf(answer, AriRefusal).value
        self.assertEqual(str(error), "Asterisk refused POST channels/a%2Fb/play: 404 Channel not found")
        self.assertTrue(error.gone)

    def test_no_answer_is_told_after_the_timeout(self) -> None:
        answer, message = self.asked()
        self.clock.advance(5)
        self.failureResultOf(answer, AsteriskUnavailable)
        self.network.say(type="RESTResponse", request_id=message["request_id"], status_code=204)
        self.step()

    def test_a_lost_connection_fails_what_waits_and_what_comes(self) -> None:
        answer, _ = self.asked()
        requester = self.owner.requester
        assert requester is not None
        self.network.lose()
        self.failureResultOf(answer, AsteriskUnavailable)
        later = requester.request("GET", ("channels",), {})
        self.failureResultOf(later, AsteriskUnavailable)

    def test_a_connection_that_is_closing_fails_what_comes_and_raises_nothing(self) -> None:
        stream = self.started()
        requester, protocol = self.owner.requester, stream._protocol
        assert requester is not None
        assert protocol is not None
        protocol.sendClose()
        self.failureResultOf(requester.request("GET", ("channels",), {}), AsteriskUnavailable)
        self.network.flush()
        self.assertIn("down", self.owner.told)
