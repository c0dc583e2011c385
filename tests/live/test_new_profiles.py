"""A Profile can be called, and a change applies to calls, as soon as the response was received."""

from uuid import uuid4

from tests.live.live_test_case import LiveTestCase, shared_stack
from tests.subtest import subtest
from voxrec.sandbox.sip_user_agent import SipUserAgent
from voxrec.sandbox.stack import Stack

ROUNDS = 20
NO_REMOTE_SIP_URI, UNKNOWN = 480, 404


class NewProfileTests(LiveTestCase):
    async def start_user_agent(self) -> tuple[Stack, SipUserAgent]:
        stack = await shared_stack(self.recipe)
        agent = SipUserAgent(stack.asterisk.sip_address, "127.0.0.1")
        agent.listen(self.reactor)
        self.addCleanup(agent.stop)
        return stack, agent

    async def test_new_profile_is_called(self) -> None:
        stack, agent = await self.start_user_agent()
        for number in range(ROUNDS):
            profile_id, phone_number = str(uuid4()), f"+49308{number:05}"
            dialled = phone_number if number % 2 else profile_id
            with subtest(dialled):
                await stack.request_json("PUT", "/profiles", {"id": profile_id, "numbers": [phone_number]})
                response = await agent.request(self.reactor, "INVITE", dialled)
                self.assertEqual(response.status, NO_REMOTE_SIP_URI, response.start_line)

    async def test_change_applies_to_the_next_call(self) -> None:
        stack, agent = await self.start_user_agent()
        profile = await stack.request_json("PUT", "/profiles", {})
        for number in range(ROUNDS):
            phone_number, former = f"+49309{number:05}", f"+49309{number - 1:05}"
            with subtest(phone_number):
                await stack.request_json("POST", f"/profiles/{profile['id']}", {"numbers": [phone_number]})
                response = await agent.request(self.reactor, "INVITE", former)
                self.assertEqual(response.status, UNKNOWN, response.start_line)

    async def test_unknown_number_is_refused_at_once(self) -> None:
        _, agent = await self.start_user_agent()
        for user in ("+4930404404", str(uuid4()), "nobody"):
            with subtest(user):
                started = self.reactor.seconds()
                response = await agent.request(self.reactor, "INVITE", user)
                self.assertEqual(response.status, UNKNOWN, response.start_line)
                self.assertLess(self.reactor.seconds() - started, 2.0)
