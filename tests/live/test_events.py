"""A live call as REST shows it: in /calls, over a real stream of /events, and in /metrics."""

from typing import Any

import msgspec
from prometheus_client.parser import text_string_to_metric_families
from treq.client import HTTPClient
from twisted.internet.defer import Deferred
from twisted.internet.protocol import Protocol, connectionDone
from twisted.python.failure import Failure
from twisted.web.client import Agent, HTTPConnectionPool

from tests.live.gateway import GatewayTestCase, shared_stack
from voxrec.sandbox import demo_call, tones
from voxrec.sandbox.phone import Phone
from voxrec.sandbox.stack import Stack


class RetryingServerService(Protocol):
    """The body of a stream of events."""

    def __init__(self) -> None:
        self.received = b""
        self.over: Deferred[None] = Deferred()

    def dataReceived(self, data: bytes) -> None:
        self.received += data

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        self.over.callback(None)

    @property
    def events(self) -> list[dict[str, Any]]:
        blocks = self.received.decode().split("\n\n")[:-1]
        return [msgspec.json.decode(block.partition("\ndata: ")[2]) for block in blocks if "\ndata: " in block]

    def told(self) -> list[str]:
        return [event["type"] for event in self.events]


class EventsTests(GatewayTestCase):
    async def follow(self, stack: Stack, path: str, **headers: str) -> RetryingServerService:
        http = HTTPClient(Agent(self.reactor, pool=HTTPConnectionPool(self.reactor, persistent=False)))
        given: Any = {"Authorization": f"Bearer {stack.token}", **headers}
        response: Any = await http.get(f"{stack.url}{path}", headers=given, unbuffered=True)
        self.assertEqual(response.code, 200)
        listening = RetryingServerService()
        response.deliverBody(listening)
        self.addCleanup(self.hang_up, listening)
        return listening

    async def hang_up(self, listening: RetryingServerService) -> None:
        if not listening.over.called:
            listening.transport.loseConnection()  # type: ignore[union-attr]
            await listening.over

    async def numbers(self, stack: Stack) -> dict[str, float]:
        answer = await stack.request("GET", "/metrics")
        self.assertEqual(answer.status, 200)
        return {
            f"{sample.name}{sorted(sample.labels.values()) or ''}": sample.value
            for family in text_string_to_metric_families(answer.body.decode())
            for sample in family.samples
        }

    async def test_a_call_is_seen_and_hung_up(self) -> None:
        stack = await shared_stack()
        profile, callee = await demo_call.create_profile_and_callee(stack, self.reactor, self.directory, record=True)
        self.phone(callee)
        mine = f"/events?profileId={profile['id']}"
        stream = await self.follow(stack, mine)
        before = await self.numbers(stack)
        caller = self.phone(
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
        call = await self.talking(stack, profile)
        self.assertEqual((await self.numbers(stack))["voxrec_calls_live"], before["voxrec_calls_live"] + 1)
        await self.sleep(1.5)
        self.assertEqual((await stack.request("DELETE", f"/calls/{call['id']}")).status, 204)
        await caller.wait_until_ended(20)
        await callee.wait_until_ended(20)
        recording = await stack.wait_for_recording(profile["id"])
        self.assertEqual(recording["id"], call["recordingId"])
        self.check_events(await self.complete(stack, stream), call, recording)
        await self.check_resuming(stack, mine, stream)
        await self.check_numbers(stack, before)
        self.assertEqual((await stack.request("GET", f"/calls/{call['id']}")).status, 404)
        self.assertEqual(stack.count_log_lines('"GET /metrics'), 0)

    async def talking(self, stack: Stack, profile: dict[str, Any]) -> dict[str, Any]:
        found: list[dict[str, Any]] = []

        async def there() -> bool:
            found[:] = await stack.request_json("GET", f"/calls?profileId={profile['id']}&state=talking")
            return bool(found)

        self.assertTrue(await stack.wait_until(there, 20))
        (call,) = found
        self.assertEqual((call["from"], call["fromName"], call["to"]), ("+4930901820", "Alice Example", profile["id"]))
        self.assertEqual((call["remoteSipUri"], call["recordingState"]), (profile["remoteSipUri"], "recording"))
        self.assertLessEqual(call["startedAt"], call["answeredAt"])
        shown = await stack.request_json("GET", f"/calls/{call['id']}")
        self.assertGreaterEqual(shown["age"], call["age"])
        return call

    async def complete(self, stack: Stack, stream: RetryingServerService) -> list[dict[str, Any]]:
        async def told() -> bool:
            return "recording.completed" in stream.told()

        self.assertTrue(await stack.wait_until(told, 10), stream.told())
        return stream.events

    def check_events(self, events: list[dict[str, Any]], call: dict[str, Any], recording: dict[str, Any]) -> None:
        calls = [event for event in events if event["type"].startswith("call.")]
        recordings = [event for event in events if event["type"].startswith("recording.")]
        ways = ["call.started", "call.ringing", "call.answered", "call.ended"]
        self.assertEqual([event["type"] for event in calls], ways)
        states = ["recording.started", "recording.processing", "recording.completed"]
        self.assertEqual([event["type"] for event in recordings], states)
        self.assertEqual(sorted(event["id"] for event in events), [event["id"] for event in events])
        self.assertEqual({event["data"]["id"] for event in calls}, {call["id"]})
        self.assertEqual({event["data"]["id"] for event in recordings}, {recording["id"]})
        ended = calls[-1]["data"]
        self.assertEqual((ended["hangupCause"], ended["hangupBy"], ended["state"]), (16, "voxrec", "clearing"))
        self.assertEqual(recordings[-1]["data"]["sha256"], recording["sha256"])

    async def check_resuming(self, stack: Stack, path: str, stream: RetryingServerService) -> None:
        known = stream.events
        for had in (0, 3, len(known) - 2):
            again = await self.follow(stack, path, **{"Last-Event-ID": str(known[had]["id"])})

            async def caught_up(again: RetryingServerService = again, missing: int = len(known) - had - 1) -> bool:
                return len(again.events) >= missing

            self.assertTrue(await stack.wait_until(caught_up, 10))
            self.assertEqual(again.events, known[had + 1 :])

    async def check_numbers(self, stack: Stack, before: dict[str, float]) -> None:
        after: dict[str, float] = {}

        async def cleared() -> bool:
            after.update(await self.numbers(stack))
            return after["voxrec_calls_live"] == before["voxrec_calls_live"]

        self.assertTrue(await stack.wait_until(cleared, 15))

        def more(name: str) -> float:
            return after[name] - before.get(name, 0.0)

        self.assertEqual(more("voxrec_calls_total['16', 'answered']"), 1)
        self.assertEqual(more("voxrec_call_setup_seconds_count"), 1)
        self.assertEqual(more("voxrec_jobs_ended_total['done', 'finish']"), 1)
        self.assertEqual(more("voxrec_rest_requests_total['/calls/<id>', '204', 'DELETE']"), 1)
        way = "websocket" if "voxrec_ari_request_seconds_count['ok', 'websocket']" in after else "http"
        self.assertGreater(more(f"voxrec_ari_request_seconds_count['ok', '{way}']"), 5)
        self.assertEqual((after["voxrec_postgresql_ready"], after["voxrec_asterisk_connected"]), (1, 1))
        self.assertEqual((after["voxrec_journal_pending"], after["voxrec_events_pending"]), (0, 0))
        self.assertGreater(after["voxrec_archive_free_bytes"], 0)
