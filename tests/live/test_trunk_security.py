"""Requests that must not become calls, and hosts that must not be called."""

from typing import Any

from tests.live.live_test_case import LiveTestCase, RecordedCallTestCase, shared_stack
from voxrec.sandbox.observer import observe_asterisk
from voxrec.sandbox.rootfs import ASTERISK_16
from voxrec.sandbox.sip_user_agent import SipMessage, SipUserAgent
from voxrec.sandbox.stack import Stack

UNLISTED = "127.0.0.66"
"""A loopback address that is not among the trunk's (etc/asterisk/pjsip.conf, [trunk-identify])."""
CLAIMED_IDENTITIES = (
    "<sip:trunk@evil.example>",  # the name of the endpoint
    "<sip:trunk@127.0.0.1>",
    '"trunk" <sip:+4930111@127.0.0.1>',
    "<sip:trunk-identify@127.0.0.1>",
    "<sip:voxrec@127.0.0.1>",
    "<sip:anonymous@anonymous.invalid>",
)
ASSERTED = {"P-Asserted-Identity": "<sip:+4930999@127.0.0.1>", "Privacy": "none"}


class TrunkSecurityTests(LiveTestCase):
    async def start_user_agent(self, address: str) -> tuple[Stack, SipUserAgent]:
        stack = await shared_stack(self.recipe)
        agent = SipUserAgent(stack.asterisk.sip_address, address)
        agent.listen(self.reactor)
        self.addCleanup(agent.stop)
        return stack, agent

    async def profile_of_unreachable_far_end(self, stack: Stack) -> str:
        """Return the id of a new Profile; a call to it would ring, then be refused."""
        profile = await stack.request_json("PUT", "/profiles", {"remoteSipUri": "sip:desk@127.0.0.1:9", "record": True})
        return str(profile["id"])

    async def assert_no_call(self, stack: Stack) -> None:
        self.assertEqual(await stack.request_json("GET", "/calls"), [])
        await self.assert_asterisk_is_idle(stack)

    async def request(self, agent: SipUserAgent, method: str, user: str, **arguments: Any) -> SipMessage:
        return await agent.request(self.reactor, method, user, **arguments)

    async def test_invite_from_an_unlisted_address_is_rejected_whoever_it_claims_to_be(self) -> None:
        stack, agent = await self.start_user_agent(UNLISTED)
        profile = await self.profile_of_unreachable_far_end(stack)
        for identity in CLAIMED_IDENTITIES:
            response = await self.request(agent, "INVITE", profile, from_=identity, headers=ASSERTED)
            self.assertEqual(response.status, 401, f"{identity}: {response.start_line}")
        await self.assert_no_call(stack)

    async def test_password_of_the_trunk_cannot_be_guessed_because_there_is_none(self) -> None:
        stack, agent = await self.start_user_agent(UNLISTED)
        profile = await self.profile_of_unreachable_far_end(stack)
        digest = 'Digest username="trunk", realm="asterisk", nonce="x", uri="sip:x", response="0", algorithm=MD5'
        response = await self.request(
            agent, "INVITE", profile, from_=CLAIMED_IDENTITIES[0], headers={"Authorization": digest}
        )
        self.assertEqual(response.status, 401)
        await self.assert_no_call(stack)

    async def test_request_outside_a_call_from_an_unlisted_address_is_rejected(self) -> None:
        stack, agent = await self.start_user_agent(UNLISTED)
        for method in ("MESSAGE", "OPTIONS", "SUBSCRIBE"):
            headers = {"Event": "presence", "Expires": "60"} if method == "SUBSCRIBE" else {}
            response = await self.request(
                agent, method, "100", from_=CLAIMED_IDENTITIES[0], headers=headers, body="x" * (method == "MESSAGE")
            )
            self.assertEqual(response.status, 401, f"{method}: {response.start_line}")
        await self.assert_no_call(stack)

    async def test_message_and_subscription_of_the_trunk_do_not_start_a_call(self) -> None:
        stack, agent = await self.start_user_agent("127.0.0.1")
        profile = await self.profile_of_unreachable_far_end(stack)
        for user in (profile, "+4930123", "s", "voxrec"):
            response = await self.request(agent, "MESSAGE", user, body="hello")
            self.assertEqual(response.status, 404, f"MESSAGE {user}: {response.start_line}")
        for event in ("presence", "dialog", "message-summary"):
            response = await self.request(agent, "SUBSCRIBE", profile, headers={"Event": event, "Expires": "60"})
            self.assertGreaterEqual(response.status or 0, 400, f"SUBSCRIBE {event}: {response.start_line}")
        self.assertEqual(await observe_asterisk(stack, self.reactor).list_channels(), [])
        await self.assert_no_call(stack)

    async def test_call_of_the_trunk_is_accepted_by_its_address_whatever_its_from_header_says(self) -> None:
        stack, agent = await self.start_user_agent("127.0.0.1")
        for identity in CLAIMED_IDENTITIES:
            response = await self.request(agent, "INVITE", "+4930404404", from_=identity)
            self.assertEqual(response.status, 404, f"{identity}: {response.start_line}")
        await self.assert_no_call(stack)


class TrunkSecurityOnAsterisk16Tests(TrunkSecurityTests):
    """The same on Asterisk 16."""

    recipe = ASTERISK_16


class CalledHostTests(RecordedCallTestCase):
    """The host that is checked against calls.allowed_hosts is the host that is called."""

    async def start_bystander(self) -> tuple[SipUserAgent, str]:
        """Return a user agent at an address that must not be called, and a URI of an allowed host that leads to it."""
        stack = await shared_stack(self.recipe)
        bystander = SipUserAgent(stack.asterisk.sip_address, UNLISTED)
        bystander.listen(self.reactor)
        self.addCleanup(bystander.stop)
        address, _, port = bystander.host_port.rpartition(":")
        return bystander, f"sip:desk@127.0.0.1:{port};maddr={address}"

    async def test_profile_with_maddr_is_refused(self) -> None:
        stack = await shared_stack(self.recipe)
        _, uri = await self.start_bystander()
        response = await stack.request("PUT", "/profiles", {"remoteSipUri": uri, "record": True})
        self.assertEqual(response.status, 422)
        self.assertIn("maddr", response.body.decode())

    async def test_transfer_with_maddr_is_refused(self) -> None:
        bystander, uri = await self.start_bystander()
        stack, profile, caller, callee = await self.start_call(20.0)
        await self.sleep(1)
        await callee.transfer(uri)
        recording, _, _ = await self.finished_recording(stack, profile, caller)
        self.assertIn("transfer.refused", self.events(recording))
        self.assertEqual(bystander.received, [])


class CalledHostOnAsterisk16Tests(CalledHostTests):
    """The same on Asterisk 16."""

    recipe = ASTERISK_16
