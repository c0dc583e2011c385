"""Webhooks of a real call: signed events arrive in order, and the audio can be downloaded when it is announced."""

import hashlib
from datetime import datetime
from typing import Any

from standardwebhooks.webhooks import Webhook
from twisted.internet.defer import Deferred
from twisted.web.server import Site

from tests.database import until
from tests.live.live_test_case import LiveTestCase, shared_stack
from tests.webhooks.receivers import ReceivedRequest, Receiver, ReceiverTestCase
from voxrec.sandbox import demo_call, tones
from voxrec.sandbox.phone import Phone
from voxrec.sandbox.stack import Stack

CALL_EVENTS = ["call.started", "call.answered", "call.ended"]
RECORDING_EVENTS = ["started", "paused", "resumed", "completed", "deleted"]


class WebhookTests(LiveTestCase, ReceiverTestCase):
    timeout = 180

    async def start_downloading_receiver(self, stack: Stack) -> tuple[Receiver, str, list[Deferred[Any]]]:
        """Return a receiver that downloads the audio at once when a recording is completed."""
        receiver, downloads = Receiver(), []

        def status(received: ReceivedRequest) -> int:
            message = received.unverified
            if message["type"] == "recording.completed":
                path = message["data"]["audioUrl"].removeprefix(stack.url)
                downloads.append(Deferred.fromCoroutine(stack.request("GET", path)))
            return 200

        receiver.statuses = status
        site = Site(receiver)
        site.noisy = False
        port = await self.listen(site)
        return receiver, f"http://127.0.0.1:{port}/hook", downloads

    async def test_a_call(self) -> None:
        stack = await shared_stack()
        receiver, url, downloads = await self.start_downloading_receiver(stack)
        profile, callee = await demo_call.create_profile_and_callee(
            stack, self.reactor, self.directory, record=True, webhookUrl=url
        )
        self.kill_at_end(callee)
        (hook,) = await stack.request_json("GET", f"/webhooks?profileId={profile['id']}")
        secret = (await stack.request_json("GET", f"/webhooks/{hook['id']}/secret"))["secret"]
        tested = await stack.request_json("POST", f"/webhooks/{hook['id']}/test")
        self.assertEqual((tested["delivered"], tested["status"], tested["reply"]), (True, 200, "thanks"))
        await self.call_with_pause(stack, profile)
        await callee.wait_until_ended(20)
        recording = await stack.wait_for_recording(profile["id"])
        await until(lambda: len(receiver.requests) >= 8, 20)
        audio = await downloads[0]
        self.assertEqual((audio.status, hashlib.sha256(audio.body).hexdigest()), (200, recording["sha256"]))
        deliveries = await stack.request_json("GET", f"/recordings/{recording['id']}/deliveries")
        self.assertEqual({delivery["status"] for delivery in deliveries}, {"delivered"})
        await stack.request("DELETE", f"/recordings/{recording['id']}")
        await until(lambda: len(receiver.requests) >= 9, 20)
        self.assert_messages(receiver, secret, recording)

    async def call_with_pause(self, stack: Stack, profile: dict[str, Any]) -> None:
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

        calls: list[dict[str, Any]] = []

        async def recorded() -> bool:
            calls[:] = await stack.request_json("GET", f"/calls?profileId={profile['id']}&state=talking")
            return bool(calls) and calls[0]["recordingState"] == "recording"

        self.assertTrue(await stack.wait_until(recorded, 20))
        (call,) = calls
        for change in ("paused", "recording"):
            await self.sleep(0.5)
            await stack.request_json("POST", f"/recordings/{call['recordingId']}", {"state": change})
        await self.sleep(1.0)
        await stack.request("DELETE", f"/calls/{call['id']}")
        await caller.wait_until_ended(20)

    def assert_messages(self, receiver: Receiver, secret: str, recording: dict[str, Any]) -> None:
        messages = [Webhook(secret).verify(request.body, request.headers) for request in receiver.requests]
        self.assertEqual(messages.pop(0)["type"], "webhook.test")
        of_call = [message for message in messages if message["type"].startswith("call.")]
        of_recording = [message for message in messages if message["type"].startswith("recording.")]
        self.assertEqual([message["type"] for message in of_call], CALL_EVENTS)
        self.assertEqual(
            [message["type"] for message in of_recording], [f"recording.{event}" for event in RECORDING_EVENTS]
        )
        for group in (of_call, of_recording):
            self.assertEqual([message["sequence"] for message in group], [*range(1, len(group) + 1)])
            times = [datetime.fromisoformat(message["timestamp"]) for message in group]
            self.assertEqual(times, sorted(times))
        self.assertEqual(len({request.id for request in receiver.requests}), len(receiver.requests))
        completed, deleted = of_recording[-2]["data"], of_recording[-1]["data"]
        for key in ("from", "fromName", "to", "duration", "size", "sha256", "metadata", "format", "audioUrl"):
            self.assertEqual(completed[key], recording[key], key)
        self.assertEqual((deleted["id"], deleted["from"], deleted["to"]), (recording["id"], None, None))
