"""What the log says of far ends that cannot be called, and that it is silent about parties that hang up."""

import re

from twisted.internet.defer import Deferred
from twisted.internet.defer import TimeoutError as DeferredTimeoutError

from tests.live.live_test_case import PROFILE_SECONDS, RecordedCallTestCase, make_stack
from voxrec.sandbox.rootfs import ASTERISK_16
from voxrec.sandbox.sip_user_agent import OK, SipResponse, SipUserAgent
from voxrec.sandbox.stack import Stack

MESSAGES = {
    "sip:a@127.0.0.1:5;transport=tcp": "the far end is called over tcp, but the endpoint trunk has a transport for udp",
    "sips:a@127.0.0.1:5": "the far end is called over tls, but the endpoint trunk has a transport for udp",
    "sip:a@no-such-host.invalid": "the host no-such-host.invalid has no address in the DNS",
}
MOMENTS = (0.0, 0.002, 0.004, 0.007, 0.012, 0.02, 0.04)  # seconds after the INVITE or the answer


class OperatorsViewTests(RecordedCallTestCase):
    async def start_stack(self) -> Stack:
        stack = make_stack({"calls": {"ring_timeout": 1}}, self.recipe)
        self.addCleanup(stack.stop)
        await stack.start()
        return stack

    async def start_agent(self, stack: Stack) -> SipUserAgent:
        agent = SipUserAgent(stack.asterisk.sip_address)
        agent.listen(self.reactor)
        self.addCleanup(agent.stop)
        return agent

    async def create_profile(self, stack: Stack, uri: str) -> str:
        profile = await stack.request_json("PUT", "/profiles", {"remoteSipUri": uri, "record": True})
        await self.sleep(PROFILE_SECONDS)
        return str(profile["id"])

    async def test_far_ends_that_cannot_be_called(self) -> None:
        stack = await self.start_stack()
        caller = await self.start_agent(stack)
        for uri, message in MESSAGES.items():
            profile = await self.create_profile(stack, uri)
            response = await caller.request(self.reactor, "INVITE", profile)
            self.assertIn(response.status, (408, 503), uri)

            async def logged(message: str = message) -> bool:
                return stack.count_log_lines(message) == 1

            self.assertTrue(await stack.wait_until(logged, 30), uri)
        metrics = (await stack.request("GET", "/metrics")).body.decode()
        counted = re.findall(r'voxrec_far_ends_unreachable_total{.*reason="(\w+)".*} (\S+)', metrics)
        self.assertEqual(sorted(counted), [("dns", "1.0"), ("transport", "2.0")])

    async def test_parties_that_hang_up_at_any_moment_are_no_errors(self) -> None:
        stack = await self.start_stack()
        far_end = await self.start_agent(stack)
        profile = await self.create_profile(stack, f"sip:a@{far_end.host_port}")
        for moment in MOMENTS:
            for answers in (False, True):
                far_end.invite_responses = (SipResponse(180), OK) if answers else (SipResponse(180),)
                await self.hang_up_after(stack, profile, moment, answers=answers)

        async def over() -> bool:
            return not await stack.request_json("GET", "/calls")

        self.assertTrue(await stack.wait_until(over, 30))
        lines = stack.log_file.read_text().splitlines()
        self.assertEqual(
            [line for line in lines if any(f"#{level}]" in line for level in ("warn", "error", "critical"))], []
        )

    async def hang_up_after(self, stack: Stack, profile: str, seconds: float, *, answers: bool) -> None:
        caller = await self.start_agent(stack)
        response = Deferred.fromCoroutine(caller.request(self.reactor, "INVITE", profile, timeout=3))
        if answers:
            await response
            await self.sleep(seconds)
            caller.hang_up()
            return
        await self.sleep(seconds)
        caller.cancel()
        try:
            await response
        except DeferredTimeoutError:
            self.fail("the call was not cancelled")


class OperatorsViewOnAsterisk16Tests(OperatorsViewTests):
    """The same on Asterisk 16."""

    recipe = ASTERISK_16
