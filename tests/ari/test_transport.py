"""Tests of voxrec.ari.transport. `WebsocketTransport` is also tested over a connection in test_event_stream."""

import json
from typing import Any

from autobahn.exception import Disconnected
from treq.client import HTTPClient
from treq.testing import StringStubbingResource, StubTreq
from twisted.internet.defer import Deferred, fail
from twisted.internet.error import ConnectionRefusedError  # noqa: A004 - Twisted's own name
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase
from twisted.web.iweb import IAgent
from zope.interface import implementer

from tests.ari.fakes import FakeTransport
from voxrec.ari.events import RestResponse
from voxrec.ari.transport import AriResponseError, HttpTransport, TimedTransport, WebsocketTransport
from voxrec.errors import AsteriskUnavailable

RESPONSE_TIMEOUT = 5.0


class TimedTransportTests(SynchronousTestCase):
    def test_each_outcome_is_observed(self) -> None:
        observed: list[tuple[str, str, float]] = []
        asterisk = FakeTransport()
        asterisk.responses["GET b"] = 500
        transport = TimedTransport(Clock(), lambda *observation: observed.append(observation), "http", asterisk)
        self.successResultOf(transport.request("GET", ("a",), {}))
        self.failureResultOf(transport.request("GET", ("b",), {}), AriResponseError)
        self.assertEqual(observed, [("http", "ok", 0.0), ("http", "refused", 0.0)])

    def test_a_missing_response_is_lost_and_its_duration_is_measured(self) -> None:
        clock, observed = Clock(), list[tuple[str, str, float]]()
        websocket = WebsocketTransport(clock, lambda _: None, RESPONSE_TIMEOUT)
        transport = TimedTransport(clock, lambda *observation: observed.append(observation), "websocket", websocket)
        request = transport.request("GET", ("a",), {})
        clock.advance(RESPONSE_TIMEOUT)
        self.failureResultOf(request, AsteriskUnavailable)
        self.assertEqual(observed, [("websocket", "lost", RESPONSE_TIMEOUT)])


class HttpTransportTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()

    def transport_of(self, http: Any) -> HttpTransport:
        return HttpTransport(self.clock, http, "http://asterisk:8088/ari/", "voxrec", "secret", RESPONSE_TIMEOUT)

    def transport(self, status: int, body: bytes) -> HttpTransport:
        """A transport to an HTTP server that gives one response; ``self.requests`` receives the request."""
        self.requests: list[tuple[Any, ...]] = []

        def respond(*request: Any) -> tuple[int, dict[str, str], bytes]:
            self.requests.append(request)
            return status, {}, body

        return self.transport_of(StubTreq(StringStubbingResource(respond)))

    def test_a_request(self) -> None:
        transport = self.transport(200, b'{"id": "x"}')
        response = transport.request("POST", ("channels", "a/b", "play"), {"media": "sound:x"}, {"a": 1})
        self.assertEqual(self.successResultOf(response), b'{"id": "x"}')
        [(method, url, query, headers, body)] = self.requests
        self.assertEqual((method, url), (b"POST", "http://asterisk:8088/ari/channels/a%2Fb/play"))
        self.assertEqual(query, {b"media": [b"sound:x"]})
        self.assertEqual(headers[b"Authorization"], [b"Basic dm94cmVjOnNlY3JldA=="])
        self.assertEqual(headers[b"Content-Type"], [b"application/json"])
        self.assertEqual(json.loads(body), {"a": 1})

    def test_an_error_status(self) -> None:
        transport = self.transport(404, b'{"message": "Channel not found"}')
        error = self.failureResultOf(transport.request("GET", ("channels", "x"), {}), AriResponseError).value
        self.assertEqual(str(error), "Asterisk refused GET channels/x: 404 Channel not found")
        self.assertTrue(error.not_found)

    def test_an_error_status_whose_body_is_not_json(self) -> None:
        transport = self.transport(500, b"<html>")
        error = self.failureResultOf(transport.request("GET", ("channels",), {}), AriResponseError).value
        self.assertEqual((error.ari_status, error.not_found), (500, False))

    def test_a_refused_connection(self) -> None:
        transport = self.transport_of(HTTPClient(_RefusingAgent()))
        error = self.failureResultOf(transport.request("GET", ("channels",), {}), AsteriskUnavailable).value
        self.assertIn("no response from Asterisk to GET channels", str(error))

    def test_a_missing_response(self) -> None:
        transport = self.transport_of(HTTPClient(_SilentAgent()))
        request = transport.request("GET", ("channels",), {})
        self.clock.advance(RESPONSE_TIMEOUT)
        self.failureResultOf(request, AsteriskUnavailable)


@implementer(IAgent)
class _RefusingAgent:
    def request(self, method: bytes, uri: bytes, headers: Any = None, bodyProducer: Any = None) -> Deferred[Any]:
        return fail(ConnectionRefusedError())


@implementer(IAgent)
class _SilentAgent:
    def request(self, method: bytes, uri: bytes, headers: Any = None, bodyProducer: Any = None) -> Deferred[Any]:
        return Deferred()


class WebsocketTransportTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.sent: list[dict[str, Any]] = []
        self.transport = WebsocketTransport(
            self.clock, lambda data: self.sent.append(json.loads(data)), RESPONSE_TIMEOUT
        )

    def respond(self, status: int = 200, body: str = "{}") -> None:
        """Answer the last request."""
        self.transport.response_received(RestResponse(self.sent[-1]["request_id"], status, "", body))

    def test_a_request_without_query_and_body_has_only_the_required_fields(self) -> None:
        self.transport.request("GET", ("channels",), {})
        self.assertEqual(self.sent, [{"type": "RESTRequest", "request_id": "1", "method": "GET", "uri": "channels"}])

    def test_each_request_has_its_own_deadline(self) -> None:
        first = self.transport.request("GET", ("a",), {})
        self.clock.advance(3)
        second = self.transport.request("GET", ("b",), {})
        self.clock.advance(2)
        error = self.failureResultOf(first, AsteriskUnavailable).value
        self.assertEqual(str(error), "no response from Asterisk to GET a within 5 s")
        self.assertNoResult(second)
        self.clock.advance(3)
        self.failureResultOf(second, AsteriskUnavailable)

    def test_a_timeout_does_not_affect_completed_requests(self) -> None:
        request = self.transport.request("GET", ("a",), {})
        self.respond()
        self.clock.advance(RESPONSE_TIMEOUT)
        self.assertEqual(self.successResultOf(request), b"{}")
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_cancelled_request_ignores_its_response(self) -> None:
        request = self.transport.request("GET", ("a",), {})
        request.cancel()
        self.failureResultOf(request, AsteriskUnavailable)
        self.respond()

    def test_a_closed_connection_fails_pending_and_later_requests(self) -> None:
        pending = self.transport.request("GET", ("a",), {})
        self.transport.connection_lost("gone")
        self.assertIn("gone", str(self.failureResultOf(pending, AsteriskUnavailable).value))
        later = self.transport.request("GET", ("b",), {})
        self.failureResultOf(later, AsteriskUnavailable)
        self.assertEqual(len(self.sent), 1)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_a_closing_connection_fails_a_request(self) -> None:
        def send(_data: bytes) -> None:
            raise Disconnected("closing")

        transport = WebsocketTransport(self.clock, send, RESPONSE_TIMEOUT)
        self.failureResultOf(transport.request("GET", ("a",), {}), AsteriskUnavailable)
