"""REFER, and INVITE with Replaces, at any moment of a call.

Asterisk itself refuses a REFER of a party that is not connected with another one yet (400 in NOTIFY); the call goes on.
At any other moment the target is called, and the recording continues.
"""

import re
from collections.abc import Sequence
from typing import Any, TypeVar
from urllib.parse import quote

from twisted.internet.defer import Deferred

from tests.live.live_test_case import PROFILE_SECONDS, RecordedCallTestCase, shared_stack
from tests.live.test_replaced_channels import JOIN_SECONDS, RINGING, replaces_of
from voxrec.sandbox.rootfs import ASTERISK_16
from voxrec.sandbox.sip_user_agent import OK, SipMessage, SipResponse, SipUserAgent
from voxrec.sandbox.stack import Stack

Agent = TypeVar("Agent", bound=SipUserAgent)


class ImpatientAgent(SipUserAgent):
    """A far end that sends REFER right behind its 200 (``moment`` INVITE), or when it has received the ACK."""

    moment = ""
    target = ""

    def request_received(self, request: SipMessage) -> None:
        """Respond, and transfer the call if it is the moment."""
        super().request_received(request)
        if request.method == self.moment:
            self.moment = ""
            self.transfer(self.requests("INVITE")[-1], self.target)


class AgentOfTwoCalls(SipUserAgent):
    """A far end that answers, but lets the calls to its user ``ringing`` ring."""

    def responses_to(self, invite: SipMessage) -> Sequence[SipResponse]:
        """Return the responses to an INVITE."""
        return (RINGING,) if " sip:ringing@" in invite.start_line else (OK,)


class TransferMomentTests(RecordedCallTestCase):
    async def start_agent(self, stack: Stack) -> SipUserAgent:
        return await self.start(SipUserAgent(stack.asterisk.sip_address))

    async def start(self, agent: Agent) -> Agent:
        agent.listen(self.reactor)
        self.addCleanup(agent.stop)
        return agent

    async def begin_call(
        self, stack: Stack, far_end: SipUserAgent, user: str = "desk", **profile: Any
    ) -> tuple[SipUserAgent, str, Deferred[SipMessage]]:
        """Place a recorded call; return the caller, the id of the Profile, and the final response that will arrive."""
        self.addCleanup(self.end_calls, stack)
        caller = await self.start_agent(stack)
        fields = {"recordPrompt": "none", "recordBeepAtStart": False, **profile}
        created = await stack.request_json(
            "PUT", "/profiles", {"remoteSipUri": f"sip:{user}@{far_end.host_port}", "record": True, **fields}
        )
        await self.sleep(PROFILE_SECONDS)
        response = Deferred.fromCoroutine(caller.request(self.reactor, "INVITE", created["id"]))
        return caller, created["id"], response

    async def call(self, stack: Stack, far_end: SipUserAgent, **profile: Any) -> tuple[SipUserAgent, str]:
        """Place a recorded call that the far end answers; return the caller and the id of the Profile."""
        caller, profile_id, response = await self.begin_call(stack, far_end, **profile)
        self.assertEqual((await response).status, 200)
        return caller, profile_id

    async def wait_for_request(self, stack: Stack, agent: SipUserAgent, method: str, count: int = 1) -> SipMessage:
        """Wait until an agent has received ``count`` requests of this method; return the last one."""

        async def received() -> bool:
            return len(agent.requests(method)) >= count

        self.assertTrue(await stack.wait_until(received, 30), method)
        return agent.requests(method)[-1]

    def outcomes(self, agent: SipUserAgent) -> list[str]:
        """Return the status lines of which the NOTIFY requests about its transfers have informed an agent."""
        return [
            line for notify in agent.requests("NOTIFY") for line in re.findall(r"(?m)^SIP/2.0 (.*?)\r?$", notify.body)
        ]

    async def assert_refused(self, stack: Stack, agent: SipUserAgent) -> None:
        """Wait until Asterisk has refused the transfer by an agent."""

        async def refused() -> bool:
            return "400 Bad Request" in self.outcomes(agent)

        self.assertTrue(await stack.wait_until(refused, 30), self.outcomes(agent))

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

    async def test_at_the_answer(self) -> None:
        for moment in ("INVITE", "ACK"):
            stack = await shared_stack(self.recipe)
            far_end, target = (
                await self.start(ImpatientAgent(stack.asterisk.sip_address)),
                await self.start_agent(stack),
            )
            far_end.moment, far_end.target = moment, f"sip:target@{target.host_port}"
            caller, profile = await self.call(stack, far_end)

            async def decided(far_end: SipUserAgent = far_end, target: SipUserAgent = target) -> bool:
                return bool(target.requests("ACK")) or "400 Bad Request" in self.outcomes(far_end)

            self.assertTrue(await stack.wait_until(decided, 30), self.outcomes(far_end))
            await self.wait_for_state(stack, profile, "talking")
            refused = not target.requests("INVITE")
            if refused:  # the parties were not connected yet: the call goes on, and can be transferred now
                far_end.transfer(far_end.requests("INVITE")[0], far_end.target)
                await self.assert_called(stack, target)
            events = await self.finish(stack, caller, profile)
            self.assertEqual(events.count("transferred"), 1, moment)
            self.assertEqual(events.count("transfer.refused"), int(refused), moment)

    async def test_while_it_rings(self) -> None:
        stack = await shared_stack(self.recipe)
        far_end, target = [await self.start_agent(stack) for _ in range(2)]
        far_end.invite_responses = (RINGING,)
        caller, profile, response = await self.begin_call(stack, far_end)
        invite = await self.wait_for_request(stack, far_end, "INVITE")
        await self.wait_for_state(stack, profile, "ringing")
        far_end.transfer(invite, f"sip:target@{target.host_port}")
        await self.assert_refused(stack, far_end)
        far_end.respond(invite, 200, far_end.sdp_offer())
        self.assertEqual((await response).status, 200)
        await self.wait_for_state(stack, profile, "talking")
        events = await self.finish(stack, caller, profile)
        self.assertEqual((events.count("transferred"), events.count("transfer.refused")), (0, 1))
        self.assertEqual(target.requests("INVITE"), [])

    async def test_during_early_media(self) -> None:
        stack = await shared_stack(self.recipe)
        far_end, target = [await self.start_agent(stack) for _ in range(2)]
        far_end.invite_responses = (SipResponse(183, sdp=True),)
        caller, profile, response = await self.begin_call(stack, far_end)
        invite = await self.wait_for_request(stack, far_end, "INVITE")

        async def hears_early_media() -> bool:
            return any(message.status == 183 for message in caller.received)

        self.assertTrue(await stack.wait_until(hears_early_media, 30))
        await self.sleep(0.3)
        far_end.transfer(invite, f"sip:target@{target.host_port}")
        await self.assert_called(stack, target)
        self.assertEqual((await response).status, 200)
        await self.wait_for_state(stack, profile, "talking")
        far_end.respond(invite, 480)  # else Asterisk cancels it 60 s later
        await self.finish(stack, caller, profile)

    async def test_with_replaces_while_one_of_the_two_calls_rings(self) -> None:
        for user_of_refer in ("desk", "ringing"):
            stack = await shared_stack(self.recipe)
            far_end = await self.start(AgentOfTwoCalls(stack.asterisk.sip_address))
            callers = {}
            for user in ("desk", "ringing"):
                callers[user] = await self.begin_call(stack, far_end, user)
                await self.wait_for_request(stack, far_end, "INVITE", len(callers))
            await self.wait_for_state(stack, callers["desk"][1], "talking")
            invites = dict(zip(("desk", "ringing"), far_end.requests("INVITE"), strict=True))
            (other,) = set(invites) - {user_of_refer}
            replaces = quote(replaces_of(invites[other], far_end.tag), safe="")
            far_end.transfer(invites[user_of_refer], f"sip:x@{far_end.host_port}?Replaces={replaces}")
            for caller, profile, response in callers.values():  # the caller of the ringing call is answered
                self.assertEqual((await response).status, 200)
                await self.wait_for_state(stack, profile, "talking")
                self.assertEqual(caller.requests("BYE"), [])
            self.assertIn("200 OK", self.outcomes(far_end))
            await self.sleep(JOIN_SECONDS)
            callers["desk"][0].hang_up()
            await self.wait_for_request(stack, callers["ringing"][0], "BYE")
            for user, (_, profile, _) in callers.items():  # the Recording of the ringing call begins with the transfer
                recording = await stack.wait_for_recording(profile)
                self.assertEqual(self.events(recording).count("transferred"), int(user == "desk"), user)
            await self.assert_asterisk_is_idle(stack)

    async def test_with_replaces_at_the_answer(self) -> None:
        stack = await shared_stack(self.recipe)
        far_end = await self.start(ImpatientAgent(stack.asterisk.sip_address))
        first, first_profile = await self.call(stack, far_end)
        await self.wait_for_state(stack, first_profile, "talking")
        replaces = quote(replaces_of(far_end.requests("INVITE")[0], far_end.tag), safe="")
        far_end.moment, far_end.target = "INVITE", f"sip:x@{far_end.host_port}?Replaces={replaces}"
        second, second_profile = await self.call(stack, far_end)

        async def joined() -> bool:
            return "200 OK" in self.outcomes(far_end)

        self.assertTrue(await stack.wait_until(joined, 30), self.outcomes(far_end))
        await self.sleep(JOIN_SECONDS)
        for profile in (first_profile, second_profile):
            await self.wait_for_state(stack, profile, "talking")
        self.assertEqual((first.requests("BYE"), second.requests("BYE")), ([], []))
        first.hang_up()
        await self.wait_for_request(stack, second, "BYE")
        for profile in (first_profile, second_profile):
            self.assertIn("transferred", self.events(await stack.wait_for_recording(profile)))
        await self.assert_asterisk_is_idle(stack)

    async def test_invite_with_replaces_at_the_answer(self) -> None:
        stack = await shared_stack(self.recipe)
        far_end, taker = [await self.start_agent(stack) for _ in range(2)]
        caller, profile, response = await self.begin_call(stack, far_end)
        await self.wait_for_request(stack, far_end, "ACK")
        replaces = replaces_of(far_end.requests("INVITE")[0], far_end.tag)
        answer = await taker.request(self.reactor, "INVITE", "anything", headers={"Replaces": replaces})
        self.assertEqual((answer.status, (await response).status), (200, 200))
        await self.wait_for_request(stack, far_end, "BYE")
        await self.wait_for_state(stack, profile, "talking")
        events = await self.finish(stack, caller, profile)
        self.assertEqual(events.count("transferred"), 1)
        self.assertEqual(len(taker.requests("BYE")), 1)


class TransferMomentOnAsterisk16Tests(TransferMomentTests):
    """The same on Asterisk 16."""

    recipe = ASTERISK_16
