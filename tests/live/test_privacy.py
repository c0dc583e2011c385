"""Withheld numbers: what trusted and untrusted far ends receive of the caller, byte by byte."""

from collections.abc import Mapping

from tests.live.live_test_case import PROFILE_SECONDS, UNTRUSTED_ADDRESS, LiveTestCase, shared_stack
from voxrec.sandbox.rootfs import ASTERISK_16
from voxrec.sandbox.sip_user_agent import SipMessage, SipUserAgent
from voxrec.sandbox.stack import Stack

NUMBER = "4930877665"
NAME = "Zacharias"
IDENTITY = f'"{NAME}" <sip:+{NUMBER}@pbx.example>'
COPIED = {
    "Diversion": f"<sip:+{NUMBER}@pbx.example>;reason=unconditional",
    "History-Info": f"<sip:+{NUMBER}@pbx.example>;index=1",
    "P-Preferred-Identity": IDENTITY,
    "Remote-Party-ID": f"{IDENTITY};party=calling;privacy=full",
}
ANONYMOUS = '"Anonymous" <sip:anonymous@anonymous.invalid>'
# From and headers of callers that withhold their number
WITHHELD: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "Privacy: id with an asserted identity": (ANONYMOUS, {"Privacy": "id", "P-Asserted-Identity": IDENTITY}),
    "Privacy: user;id;critical": (IDENTITY, {"Privacy": "user; id; critical", "P-Asserted-Identity": IDENTITY}),
    "Privacy: user without an asserted identity": (IDENTITY, {"Privacy": "user"}),
    "Privacy: header in capitals": (IDENTITY, {"Privacy": "HEADER"}),
    "Privacy: id with two asserted identities": (
        IDENTITY,
        {"Privacy": "id", "P-Asserted-Identity": f"{IDENTITY}, <tel:+{NUMBER}>"},
    ),
}


class PrivacyTests(LiveTestCase):
    async def start_agent(self, stack: Stack, address: str) -> SipUserAgent:
        agent = SipUserAgent(stack.asterisk.sip_address, address)
        agent.listen(self.reactor)
        self.addCleanup(agent.stop)
        return agent

    async def call(
        self, stack: Stack, far_end: SipUserAgent, from_: str, headers: Mapping[str, str]
    ) -> tuple[SipUserAgent, SipMessage]:
        """Place a call to a far end; return the caller, and the INVITE that the far end received."""
        uri = f"sip:desk@{far_end.host_port}"
        profile = await stack.request_json("PUT", "/profiles", {"remoteSipUri": uri, "record": False})
        await self.sleep(PROFILE_SECONDS)
        caller = await self.start_agent(stack, "127.0.0.1")
        before = len(far_end.requests("INVITE"))
        response = await caller.request(self.reactor, "INVITE", profile["id"], from_=from_, headers=headers)
        self.assertEqual(response.status, 200, response.start_line)
        return caller, far_end.requests("INVITE")[before]

    async def hang_up(self, stack: Stack, caller: SipUserAgent) -> None:
        caller.hang_up()
        await self.assert_asterisk_is_idle(stack)

    def assert_anonymous(self, far_end: SipUserAgent, case: str) -> None:
        """Assert that nothing that a far end has received names the caller."""
        for message in far_end.received:
            text = message.raw.decode("utf-8", "replace")
            for secret in (NUMBER, NAME.lower(), "pbx.example"):
                self.assertNotIn(secret, text.lower(), f"{case}:\n{text}")
            names = {name for name, _ in message.headers}
            self.assertEqual(names & {"p-asserted-identity", "remote-party-id", "p-preferred-identity"}, set(), text)

    async def test_an_untrusted_far_end_learns_nothing_of_a_withheld_number(self) -> None:
        stack = await shared_stack(self.recipe)
        for case, (from_, headers) in WITHHELD.items():
            far_end = await self.start_agent(stack, UNTRUSTED_ADDRESS)
            caller, invite = await self.call(stack, far_end, from_, {**COPIED, **headers})
            self.assertIn("<sip:anonymous@anonymous.invalid>", invite.header("from"), case)
            await self.hang_up(stack, caller)
            self.assertEqual(len(far_end.requests("BYE")), 1)
            self.assert_anonymous(far_end, case)

    async def test_an_untrusted_target_of_a_transfer_learns_nothing_either(self) -> None:
        stack = await shared_stack(self.recipe)
        from_, headers = next(iter(WITHHELD.values()))
        trusted, untrusted = [await self.start_agent(stack, each) for each in ("127.0.0.1", UNTRUSTED_ADDRESS)]
        caller, invite = await self.call(stack, trusted, from_, {**COPIED, **headers})
        await self.wait_until_talking(stack)
        trusted.transfer(invite, f"sip:other@{untrusted.host_port}")

        async def transferred() -> bool:
            return bool(untrusted.requests("ACK"))

        self.assertTrue(await stack.wait_until(transferred, 30), "the target was not called")
        await self.hang_up(stack, caller)
        self.assert_anonymous(untrusted, "transfer")

    async def test_a_trusted_far_end_gets_the_number_and_the_request_for_privacy(self) -> None:
        stack = await shared_stack(self.recipe)
        from_, headers = next(iter(WITHHELD.values()))
        far_end = await self.start_agent(stack, "127.0.0.1")
        caller, invite = await self.call(stack, far_end, from_, {**COPIED, **headers})
        self.assertIn("<sip:anonymous@anonymous.invalid>", invite.header("from"))
        self.assertIn(f"<sip:+{NUMBER}@", invite.header("p-asserted-identity"))
        self.assertEqual(invite.header("privacy"), "id")
        self.assertEqual(invite.header("diversion"), COPIED["Diversion"])
        await self.hang_up(stack, caller)

    async def test_an_untrusted_far_end_gets_a_number_that_is_not_withheld_in_from_only(self) -> None:
        stack = await shared_stack(self.recipe)
        for privacy in ({}, {"Privacy": "none"}):
            far_end = await self.start_agent(stack, UNTRUSTED_ADDRESS)
            headers = {**COPIED, "P-Asserted-Identity": IDENTITY, **privacy}
            caller, invite = await self.call(stack, far_end, ANONYMOUS, headers)
            self.assertIn(f"<sip:+{NUMBER}@", invite.header("from"))
            self.assertEqual(invite.header("p-asserted-identity"), "")
            self.assertEqual(invite.header("diversion"), COPIED["Diversion"])
            await self.hang_up(stack, caller)


class PrivacyOnAsterisk16Tests(PrivacyTests):
    """The same on Asterisk 16."""

    recipe = ASTERISK_16
