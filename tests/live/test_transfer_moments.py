"""REFER at any moment of an answered call: the target is called, and the recording continues."""

from typing import Any

from tests.live.live_test_case import PROFILE_SECONDS, RecordedCallTestCase, shared_stack
from voxrec.sandbox.rootfs import ASTERISK_16
from voxrec.sandbox.sip_user_agent import OK, SipResponse, SipUserAgent
from voxrec.sandbox.stack import Stack


class TransferMomentTests(RecordedCallTestCase):
    async def start_agent(self, stack: Stack) -> SipUserAgent:
        agent = SipUserAgent(stack.asterisk.sip_address)
        agent.listen(self.reactor)
        self.addCleanup(agent.stop)
        return agent

    async def call(self, stack: Stack, far_end: SipUserAgent, **profile: Any) -> tuple[SipUserAgent, str]:
        """Place a recorded call that the far end answers; return the caller and the id of the Profile."""
        self.addCleanup(self.end_calls, stack)
        caller = await self.start_agent(stack)
        fields = {"recordPrompt": "none", "recordBeepAtStart": False, **profile}
        created = await stack.request_json(
            "PUT", "/profiles", {"remoteSipUri": f"sip:desk@{far_end.host_port}", "record": True, **fields}
        )
        await self.sleep(PROFILE_SECONDS)
        response = await caller.request(self.reactor, "INVITE", created["id"])
        self.assertEqual(response.status, 200)
        return caller, created["id"]

    async def wait_for_state(self, stack: Stack, profile: str, state: str) -> None:
        """Wait until the call to a Profile has this state."""

        async def reached() -> bool:
            calls = await stack.request_json("GET", "/calls")
            return any(call["profileId"] == profile and call["state"] == state for call in calls)

        self.assertTrue(await stack.wait_until(reached, 30), state)

    async def assert_called(self, stack: Stack, target: SipUserAgent) -> None:
        async def acknowledged() -> bool:
            return bool(target.requests("ACK"))

        self.assertTrue(await stack.wait_until(acknowledged, 30), "the target was not called")

    async def finish(self, stack: Stack, caller: SipUserAgent, profile: str) -> list[str]:
        """Hang up, and return the events of the timeline."""
        await self.sleep(0.5)
        self.assertEqual(caller.requests("BYE"), [])
        caller.hang_up()
        recording = await stack.wait_for_recording(profile)
        await self.assert_asterisk_is_idle(stack)
        return [entry["event"] for entry in recording["timeline"]]

    async def test_during_the_announcement(self) -> None:
        stack = await shared_stack(self.recipe)
        far_end, target = [await self.start_agent(stack) for _ in range(2)]
        caller, profile = await self.call(stack, far_end, recordPrompt="default")
        await self.wait_for_state(stack, profile, "announcing")
        await self.sleep(0.5)
        far_end.transfer(far_end.requests("INVITE")[0], f"sip:target@{target.host_port}")
        await self.assert_called(stack, target)
        await self.wait_for_state(stack, profile, "talking")
        events = await self.finish(stack, caller, profile)
        self.assertIn("transferred", events)
        self.assertIn("announcement.finished", events)

    async def test_during_a_pause(self) -> None:
        stack = await shared_stack(self.recipe)
        far_end, target = [await self.start_agent(stack) for _ in range(2)]
        caller, profile = await self.call(stack, far_end)
        await self.wait_for_state(stack, profile, "talking")
        path = await self.live_recording_path(stack, profile)
        await stack.request_json("POST", path, {"state": "paused"})
        far_end.transfer(far_end.requests("INVITE")[0], f"sip:target@{target.host_port}")
        await self.assert_called(stack, target)
        self.assertEqual((await stack.request_json("GET", path))["state"], "paused")
        await stack.request_json("POST", path, {"state": "recording"})
        events = await self.finish(stack, caller, profile)
        self.assertEqual(
            [event for event in events if event in ("paused", "transferred", "resumed")],
            ["paused", "transferred", "resumed"],
        )

    async def test_the_target_transfers_as_soon_as_it_has_answered(self) -> None:
        stack = await shared_stack(self.recipe)
        far_end, target, last = [await self.start_agent(stack) for _ in range(3)]
        target.invite_responses = (SipResponse(180), OK)
        caller, profile = await self.call(stack, far_end)
        await self.wait_for_state(stack, profile, "talking")
        far_end.transfer(far_end.requests("INVITE")[0], f"sip:target@{target.host_port}")
        await self.assert_called(stack, target)
        target.transfer(target.requests("INVITE")[0], f"sip:last@{last.host_port}")
        await self.assert_called(stack, last)
        events = await self.finish(stack, caller, profile)
        self.assertEqual(events.count("transferred"), 2)


class TransferMomentOnAsterisk16Tests(TransferMomentTests):
    """The same on Asterisk 16."""

    recipe = ASTERISK_16
