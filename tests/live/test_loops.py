"""Calls whose far end leads back to voxrec: they end, and the caller learns why."""

from itertools import pairwise
from typing import Any

from tests.live.live_test_case import PROFILE_SECONDS, LiveTestCase, shared_stack
from voxrec.sandbox.rootfs import ASTERISK_16
from voxrec.sandbox.sip_user_agent import SipMessage, SipUserAgent
from voxrec.sandbox.stack import Stack


class LoopTests(LiveTestCase):
    loop_detected = 482
    too_many_hops = 483

    async def start_agent(self, stack: Stack) -> SipUserAgent:
        agent = SipUserAgent(stack.asterisk.sip_address)
        agent.listen(self.reactor)
        self.addCleanup(agent.stop)
        return agent

    async def create_profile(self, stack: Stack, host_port: str, user: str, **fields: Any) -> str:
        """Create a Profile that calls ``user`` at a host, and return its id."""
        uri = f"sip:{user}@{host_port}"
        profile = await stack.request_json("PUT", "/profiles", {"remoteSipUri": uri, "record": True, **fields})
        await self.sleep(PROFILE_SECONDS)
        return str(profile["id"])

    async def place_call(self, stack: Stack, user: str, **headers: str) -> tuple[SipUserAgent, SipMessage]:
        """Place a call; return the caller and the final response."""
        caller = await self.start_agent(stack)
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return caller, await caller.request(self.reactor, "INVITE", user, headers=named)

    async def count_calls(self, stack: Stack) -> int:
        """Return how many calls voxrec has accepted."""
        return stack.count_log_lines(": to Profile ")

    async def test_a_profile_that_calls_itself(self) -> None:
        stack = await shared_stack(self.recipe)
        number = "+4930700001"
        await self.create_profile(stack, stack.sip_host_port, number, numbers=[number])
        before = await self.count_calls(stack)
        _, response = await self.place_call(stack, number)
        self.assertEqual(response.status, self.loop_detected, response.start_line)
        self.assertEqual(await self.count_calls(stack), before + 1)
        await self.assert_asterisk_is_idle(stack)

    async def test_two_profiles_that_call_each_other(self) -> None:
        stack = await shared_stack(self.recipe)
        numbers = ("+4930700002", "+4930700003")
        for own, other in (numbers, numbers[::-1]):
            await self.create_profile(stack, stack.sip_host_port, other, numbers=[own])
        before = await self.count_calls(stack)
        _, response = await self.place_call(stack, numbers[0])
        self.assertEqual(response.status, self.loop_detected, response.start_line)
        self.assertEqual(await self.count_calls(stack), before + 2)
        await self.assert_asterisk_is_idle(stack)

    async def test_a_chain_of_profiles_ends_at_the_limit(self) -> None:
        stack = await shared_stack(self.recipe)
        numbers = [f"+493070001{index}" for index in range(6)]
        for own, other in pairwise(numbers):
            await self.create_profile(stack, stack.sip_host_port, other, numbers=[own])
        before = await self.count_calls(stack)
        _, response = await self.place_call(stack, numbers[0])
        self.assertEqual(response.status, self.too_many_hops, response.start_line)
        self.assertEqual(await self.count_calls(stack), before + 3)
        await self.assert_asterisk_is_idle(stack)

    async def test_a_call_may_pass_through_several_profiles(self) -> None:
        stack = await shared_stack(self.recipe)
        far_end = await self.start_agent(stack)
        last = await self.create_profile(stack, far_end.host_port, "desk", numbers=["+4930700021"])
        first = await self.create_profile(stack, stack.sip_host_port, "+4930700021")
        caller, response = await self.place_call(stack, first)
        self.assertEqual(response.status, 200, response.start_line)
        (invite,) = far_end.requests("INVITE")
        self.assertEqual(invite.header("x-voxrec-path"), f"{first}, {last}")
        self.assertEqual([value for name, value in invite.headers if name == "max-forwards"], ["68"])
        caller.hang_up()
        await self.assert_asterisk_is_idle(stack)

    async def test_max_forwards_limits_loops_through_equipment_that_removes_headers(self) -> None:
        stack = await shared_stack(self.recipe)
        far_end = await self.start_agent(stack)
        profile = await self.create_profile(stack, far_end.host_port, "desk")
        _, response = await self.place_call(stack, profile, Max_Forwards="0")
        self.assertEqual(response.status, self.too_many_hops, response.start_line)
        self.assertEqual(far_end.requests("INVITE"), [])
        caller, response = await self.place_call(stack, profile, Max_Forwards="1")
        self.assertEqual(response.status, 200)
        (invite,) = far_end.requests("INVITE")
        self.assertEqual([value for name, value in invite.headers if name == "max-forwards"], ["0"])
        caller.hang_up()
        await self.assert_asterisk_is_idle(stack)

    async def test_a_transfer_back_to_the_same_profile(self) -> None:
        stack = await shared_stack(self.recipe)
        far_end = await self.start_agent(stack)
        profile = await self.create_profile(stack, far_end.host_port, "desk", numbers=["+4930700031"])
        before = await self.count_calls(stack)
        caller, response = await self.place_call(stack, profile)
        self.assertEqual(response.status, 200)
        await self.wait_until_talking(stack)
        far_end.transfer(far_end.requests("INVITE")[0], f"sip:+4930700031@{stack.sip_host_port}")

        async def ended() -> bool:
            return bool(caller.requests("BYE"))

        self.assertTrue(await stack.wait_until(ended, 30), "the call continues")
        self.assertEqual((len(far_end.requests("INVITE")), await self.count_calls(stack)), (1, before + 1))
        await self.assert_asterisk_is_idle(stack)


class LoopOnAsterisk16Tests(LoopTests):
    """The same on Asterisk 16, which cannot send 482 and 483."""

    recipe = ASTERISK_16
    loop_detected = 403
    too_many_hops = 403
