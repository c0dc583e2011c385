"""Calls that a client requests: a person is called first, and then connected with the far end of a Profile."""

from typing import Any

from tests.database import until
from tests.live.live_test_case import RecordedCallTestCase, make_stack
from tests.webhooks.receivers import ReceiverTestCase
from voxrec.sandbox import demo_call, tones
from voxrec.sandbox.asterisk import LOOPBACK
from voxrec.sandbox.phone import Phone
from voxrec.sandbox.rootfs import ASTERISK_16
from voxrec.sandbox.sip_user_agent import SipResponse, SipUserAgent
from voxrec.sandbox.stack import Stack

FORBIDDEN = "sip:person@127.0.0.9"
"""A loopback address that is not among the allowed hosts of the shared stack."""


class RequestedCallTestCase(RecordedCallTestCase, ReceiverTestCase):
    async def start_person(self, *, ring_seconds: float = 0.2) -> Phone:
        tone = tones.write_tone(self.directory / "person.tone.wav", demo_call.CALLER_HZ, 1.0)
        person = await Phone.make_callee(
            self.reactor, self.directory, name="person", play=tone, ring_seconds=ring_seconds
        ).start()
        return self.kill_at_end(person)

    async def create_profile(self, stack: Stack, **fields: Any) -> tuple[str, Phone]:
        defaults = {"record": True, "recordChannels": "dual", "recordBeepAtStart": False, "recordPrompt": "default"}
        profile, callee = await demo_call.create_profile_and_callee(
            stack, self.reactor, self.directory, **{**defaults, **fields}
        )
        return str(profile["id"]), self.kill_at_end(callee)

    async def request_call(self, stack: Stack, profile_id: str, uri: str) -> dict[str, Any]:
        call: dict[str, Any] = await stack.request_json("POST", f"/profiles/{profile_id}/calls", {"from": uri})
        self.assertEqual(call["state"], "calling", call)
        return call

    async def wait_for_state(self, stack: Stack, call_id: str, state: str) -> None:
        async def reached() -> bool:
            calls = await stack.request_json("GET", "/calls")
            return [call["state"] for call in calls if call["id"] == call_id] == [state]

        self.assertTrue(await stack.wait_until(reached, 20), f"the call is not {state}")

    async def assert_connected_and_recorded(
        self, stack: Stack, profile_id: str, call_id: str, person: Phone, callee: Phone
    ) -> None:
        """Let the parties talk for two seconds, and measure the recording."""
        await self.wait_for_state(stack, call_id, "talking")
        await self.sleep(2.0)
        await stack.request("DELETE", f"/calls/{call_id}")
        await callee.wait_until_ended(20)
        recording, samples, rate = await self.finished_recording(stack, profile_id, person)
        self.assertEqual(recording["callId"], call_id)
        talking = len(samples) / rate
        self.assert_tones(samples, rate, [(talking - 1.5, talking - demo_call.EDGE_SECONDS)])
        audio = self.directory / "recording.wav"
        self.assertIsNotNone(demo_call.find_announcement(audio, demo_call.RIGHT))


class RequestedCallTests(RequestedCallTestCase):
    async def test_person_is_connected_with_the_far_end(self) -> None:
        stack = await self.stack_for_calls()
        self.addCleanup(self.end_calls, stack)
        person = await self.start_person()
        profile_id, callee = await self.create_profile(stack)
        call = await self.request_call(stack, profile_id, person.uri)
        await self.assert_connected_and_recorded(stack, profile_id, call["id"], person, callee)

    async def test_person_who_is_busy(self) -> None:
        stack = await self.stack_for_calls()
        person = SipUserAgent(stack.asterisk.sip_address, LOOPBACK)
        person.invite_responses = (SipResponse(180), SipResponse(486))
        person.listen(self.reactor)
        self.addCleanup(person.stop)
        receiver, url = await self.start_receiver()
        profile_id, _ = await self.create_profile(stack, webhookUrl=url)
        call = await self.request_call(stack, profile_id, f"sip:person@{person.host_port}")
        await until(lambda: len(receiver.requests) >= 2, 20)
        messages = [request.unverified for request in receiver.requests]
        self.assertEqual([message["type"] for message in messages], ["call.started", "call.ended"])
        ended = messages[1]["data"]
        self.assertEqual(
            (ended["id"], ended["hangupBy"], ended["hangupCause"], ended["sipStatus"]), (call["id"], "caller", 17, 486)
        )
        await self.assert_asterisk_is_idle(stack)


class RequestedCall16Tests(RequestedCallTests):
    recipe = ASTERISK_16


class UnconnectedCallTests(RequestedCallTestCase):
    async def test_person_who_must_not_be_called(self) -> None:
        stack = await self.stack_for_calls()
        profile_id, _ = await self.create_profile(stack)
        response = await stack.request("POST", f"/profiles/{profile_id}/calls", {"from": FORBIDDEN})
        self.assertEqual(response.status, 422)
        self.assertIn(b"calls.allowed_hosts", response.body)
        await self.assert_asterisk_is_idle(stack)

    async def test_cancellation(self) -> None:
        stack = await self.stack_for_calls()
        person = await self.start_person(ring_seconds=20)
        profile_id, callee = await self.create_profile(stack)
        call = await self.request_call(stack, profile_id, person.uri)
        await person.wait_for("incoming", 10)
        await stack.request("DELETE", f"/calls/{call['id']}")
        await person.wait_until_ended(10)
        self.assertFalse(callee.has_event("incoming"))
        await self.assert_asterisk_is_idle(stack)


class TakeoverTests(RequestedCallTestCase):
    async def test_voxrec_is_killed_while_the_person_is_called(self) -> None:
        stack = make_stack()
        self.addCleanup(stack.stop)
        await stack.start()
        person = await self.start_person(ring_seconds=6)
        profile_id, callee = await self.create_profile(stack)
        call = await self.request_call(stack, profile_id, person.uri)
        await person.wait_for("incoming", 10)
        stack.kill_voxrec()
        await stack.start_voxrec()
        await self.assert_connected_and_recorded(stack, profile_id, call["id"], person, callee)
