"""A live call in the REST API: in /calls, in the event stream of /events, and in /metrics."""

from typing import Any

import msgspec
from prometheus_client.parser import text_string_to_metric_families
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool

from tests.live.live_test_case import LiveTestCase, shared_stack
from voxrec.sandbox import demo_call, tones
from voxrec.sandbox.phone import Phone
from voxrec.sandbox.stack import Stack


class EventStreamReader(Protocol):
    """Reads the body of an event stream."""

    def __init__(self) -> None:
        self.received = b""
        self.closed: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.closed.callback(None)

    @property
    def events(self) -> list[dict[str, Any]]:
        blocks = self.received.decode().split("\n\n")[:-1]
        return [msgspec.json.decode(block.partition("\ndata: ")[2]) for block in blocks if "\ndata: " in block]

    def types(self) -> list[str]:
        return [event["type"] for event in self.events]


class EventsTests(LiveTestCase):
    async def open_stream(self, stack: Stack, path: str, **headers: str) -> EventStreamReader:
        http = HTTPClient(Agent(self.reactor, pool=HTTPConnectionPool(self.reactor, persistent=False)))
        all_headers: Any = {"Authorization": f"Bearer {stack.token}", **headers}
        response: Any = await http.get(f"{stack.url}{path}", headers=all_headers, unbuffered=True)
        self.assertEqual(response.code, 200)
        reader = EventStreamReader()
        response.deliverBody(reader)
        self.addCleanup(self.close_stream, reader)
        return reader

    async def close_stream(self, reader: EventStreamReader) -> None:
        if not reader.closed.called:
            reader.transport.loseConnection()  # type: ignore[union-attr]
            await reader.closed

    async def metrics(self, stack: Stack) -> dict[str, float]:
        """Return all samples by name and values of the labels, without that of the node."""
        response = await stack.request("GET", "/metrics")
        self.assertEqual(response.status, 200)
        return {
            f"{sample.name}{sorted(v for k, v in sample.labels.items() if k != 'node') or ''}": sample.value
            for family in text_string_to_metric_families(response.body.decode())
            for sample in family.samples
        }

    async def test_a_live_call_is_listed_and_hung_up(self) -> None:
        stack = await shared_stack()
        profile, callee = await demo_call.create_profile_and_callee(stack, self.reactor, self.directory, record=True)
        self.kill_at_end(callee)
        path = f"/events?profileId={profile['id']}"
        stream = await self.open_stream(stack, path)
        before = await self.metrics(stack)
        caller = self.kill_at_end(
            Phone.make_caller(
                self.reactor,
                self.directory,
                f"sip:{profile['id']}@{stack.sip_host_port}",
                name="caller",
                play=tones.write_tone(self.directory / "caller.wav", demo_call.CALLER_HZ, 1.0),
                seconds=60,
                number="+4930901820",
                display_name="Alice Example",
            )
        )
        await caller.start()
        await caller.wait_for("confirmed", 20)
        call = await self.talking_call(stack, profile)
        self.assertEqual((await self.metrics(stack))["voxrec_calls_live"], before["voxrec_calls_live"] + 1)
        await self.sleep(1.5)
        self.assertEqual((await stack.request("DELETE", f"/calls/{call['id']}")).status, 204)
        await caller.wait_until_ended(20)
        await callee.wait_until_ended(20)
        recording = await stack.wait_for_recording(profile["id"])
        self.assertEqual(recording["id"], call["recordingId"])
        self.assert_events(await self.events_until_completed(stack, stream), call, recording)
        await self.assert_streams_resume(stack, path, stream)
        await self.assert_metrics(stack, before)
        self.assertEqual((await stack.request("GET", f"/calls/{call['id']}")).status, 404)
        self.assertEqual(stack.count_log_lines('"GET /metrics'), 0)

    async def talking_call(self, stack: Stack, profile: dict[str, Any]) -> dict[str, Any]:
        calls: list[dict[str, Any]] = []

        async def talking() -> bool:
            calls[:] = await stack.request_json("GET", f"/calls?profileId={profile['id']}&state=talking")
            return bool(calls)

        self.assertTrue(await stack.wait_until(talking, 20))
        (call,) = calls
        self.assertEqual((call["from"], call["fromName"], call["to"]), ("+4930901820", "Alice Example", profile["id"]))
        self.assertEqual((call["remoteSipUri"], call["recordingState"]), (profile["remoteSipUri"], "recording"))
        self.assertLessEqual(call["startedAt"], call["answeredAt"])
        again = await stack.request_json("GET", f"/calls/{call['id']}")
        self.assertGreaterEqual(again["age"], call["age"])
        return call

    async def events_until_completed(self, stack: Stack, stream: EventStreamReader) -> list[dict[str, Any]]:
        async def completed() -> bool:
            return "recording.completed" in stream.types()

        self.assertTrue(await stack.wait_until(completed, 30), stream.types())
        return stream.events

    def assert_events(self, events: list[dict[str, Any]], call: dict[str, Any], recording: dict[str, Any]) -> None:
        calls = [event for event in events if event["type"].startswith("call.")]
        recordings = [event for event in events if event["type"].startswith("recording.")]
        types = ["call.started", "call.ringing", "call.answered", "call.ended"]
        self.assertEqual([event["type"] for event in calls], types)
        states = ["recording.started", "recording.processing", "recording.completed"]
        self.assertEqual([event["type"] for event in recordings], states)
        self.assertEqual(sorted(event["id"] for event in events), [event["id"] for event in events])
        self.assertEqual({event["data"]["id"] for event in calls}, {call["id"]})
        self.assertEqual({event["data"]["id"] for event in recordings}, {recording["id"]})
        ended = calls[-1]["data"]
        self.assertEqual((ended["hangupCause"], ended["hangupBy"], ended["state"]), (16, "voxrec", "clearing"))
        self.assertEqual(recordings[-1]["data"]["sha256"], recording["sha256"])

    async def assert_streams_resume(self, stack: Stack, path: str, stream: EventStreamReader) -> None:
        events = stream.events
        for index in (0, 3, len(events) - 2):
            resumed = await self.open_stream(stack, path, **{"Last-Event-ID": str(events[index]["id"])})

            async def caught_up(resumed: EventStreamReader = resumed, missing: int = len(events) - index - 1) -> bool:
                return len(resumed.events) >= missing

            self.assertTrue(await stack.wait_until(caught_up, 30))
            self.assertEqual(resumed.events, events[index + 1 :])

    async def assert_metrics(self, stack: Stack, before: dict[str, float]) -> None:
        after: dict[str, float] = {}

        async def cleared() -> bool:
            after.update(await self.metrics(stack))
            return after["voxrec_calls_live"] == before["voxrec_calls_live"]

        self.assertTrue(await stack.wait_until(cleared, 30))

        def increase(name: str) -> float:
            return after[name] - before.get(name, 0.0)

        self.assertEqual(increase("voxrec_calls_total['16', 'answered']"), 1)
        self.assertEqual(increase("voxrec_call_setup_seconds_count"), 1)
        self.assertEqual(increase("voxrec_jobs_ended_total['done', 'finish']"), 1)
        self.assertEqual(increase("voxrec_rest_requests_total['/calls/<id>', '204', 'DELETE']"), 1)
        transport = "websocket" if "voxrec_ari_request_seconds_count['ok', 'websocket']" in after else "http"
        self.assertGreater(increase(f"voxrec_ari_request_seconds_count['ok', '{transport}']"), 5)
        self.assertEqual((after["voxrec_postgresql_ready"], after["voxrec_asterisk_connected"]), (1, 1))
        self.assertEqual((after["voxrec_journal_pending"], after["voxrec_events_pending"]), (0, 0))
        self.assertGreater(after["voxrec_archive_free_bytes"], 0)
