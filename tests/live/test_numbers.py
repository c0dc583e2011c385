"""Telephone numbers in their forms: dialled, as targets of transfers, and in asserted identities."""

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from tests.live.live_test_case import PROFILE_SECONDS, UNTRUSTED_ADDRESS, RecordedCallTestCase, shared_stack
from voxrec.sandbox.asterisk import LOOPBACK
from voxrec.sandbox.rootfs import ASTERISK_16
from voxrec.sandbox.sip_user_agent import SipMessage, SipUserAgent
from voxrec.sandbox.stack import Stack

NUMBER: Final = "+4930555123"
LOCAL: Final = "+49301234567"  # dialled as 1234567 with phone-context=+4930
# Users of request URIs that stand for NUMBER
SAME_NUMBER: Final = (
    NUMBER,
    "4930555123",
    "%2B4930555123",
    "%2b49%330555123",
    "+4930555123;npdi",
    "+4930555123;npdi;rn=+4917012345;cic=+4912",
    "+4930555123;isub=12;postd=pp22;ext=5",
    "+4930555123;phone-context=+49",
    "+4930555123;phone-context=example.com",
    "+4930555123;" + "x" * 200,
    "+49-30-555.123",
    "+49(30)555-123;npdi",
    "(+49)30555123",
    "+49%2030%20555123",
    "+4930555123:password",
)
# Users that stand for nothing, among them attempts to inject dial strings, dialplan expressions and other headers
UNKNOWN: Final = (
    "+4930555124", "0", "h", "i", "t", "s", "*31%23", "%23", "-", "~", "!", "_X.", "555123;phone-context=example.com",
    "+4930555123%26PJSIP/x", "+4930555123%2C1", "+4930555123&PJSIP/x", "+4930555123,1", "+4930555123,14",
    "+4930555123%0d%0aX-Evil:1",
    "%24%7BSHELL(id)%7D", "+49%24%7BSHELL(id)%7D", "$(id)", "+49%C3%BC30", "%E2%98%83", "%FF%FE", "9" * 300,
    "%5B0-9%5D", "+4930555123%22", "+49%60id%60", "..", "(((", "+", "a", "ab", "+;npdi", ";npdi",
)  # fmt: skip


class NumberTestCase(RecordedCallTestCase):
    async def start_agent(self, stack: Stack, address: str = LOOPBACK) -> SipUserAgent:
        agent = SipUserAgent(stack.asterisk.sip_address, address)
        agent.listen(self.reactor)
        self.addCleanup(agent.stop)
        self.addCleanup(self.end_calls, stack)
        return agent

    async def create_profile(self, stack: Stack, far_end: SipUserAgent, **fields: Any) -> str:
        uri = f"sip:desk@{far_end.host_port}"
        profile = await stack.request_json("PUT", "/profiles", {"remoteSipUri": uri, "record": False, **fields})
        self.addCleanup(stack.request, "DELETE", f"/profiles/{profile['id']}")
        await self.sleep(PROFILE_SECONDS)
        return str(profile["id"])


class DialledNumberTests(NumberTestCase):
    # Asterisk 22 knows tel URIs
    tel_uris: ClassVar[Mapping[str, int]] = {
        f"tel:{NUMBER}": 200,
        "tel:+49-30-555-123;npdi": 200,
        "tel:1234567;phone-context=+4930": 200,
        "tel:123-4567;phone-context=+49-30": 200,
        "tel:4930555123;phone-context=example.com": 200,
        "tel:1234567;phone-context=example.com": 404,
        "tel:+4930555124": 404,
    }

    async def call(self, stack: Stack, caller: SipUserAgent, user: str, uri: str = "") -> int | None:
        """Call a user, or a request URI, and hang up if the call is answered; return the final status."""
        response = await caller.request(self.reactor, "INVITE", user, request_uri=uri)
        if response.status == 200:
            caller.hang_up()
        return response.status

    async def test_forms_of_a_number(self) -> None:
        stack = await shared_stack(self.recipe)
        far_end, caller = [await self.start_agent(stack) for _ in range(2)]
        profile = await self.create_profile(stack, far_end, numbers=[NUMBER, LOCAL])
        forms = dict.fromkeys(SAME_NUMBER, NUMBER.removeprefix("+"))
        forms["1234567;phone-context=+4930"] = forms["123-4567;npdi;phone-context=+49(30)"] = LOCAL.removeprefix("+")
        for user in (profile, profile.upper(), f"{profile};npdi"):
            forms[user] = user.partition(";")[0]
        for user, dialled in forms.items():
            self.assertEqual(await self.call(stack, caller, user), 200, user)
            invite = far_end.requests("INVITE")[-1]
            self.assertEqual(invite.header("x-voxrec-dialled").removeprefix("+"), dialled, user)
        uri = f"sip:{NUMBER};npdi@{stack.sip_host_port};user=phone;transport=udp"
        self.assertEqual(await self.call(stack, caller, NUMBER, uri), 200)
        await self.assert_asterisk_is_idle(stack)

    async def test_unknown_and_hostile_users(self) -> None:
        stack = await shared_stack(self.recipe)
        far_end, caller = [await self.start_agent(stack) for _ in range(2)]
        await self.create_profile(stack, far_end, numbers=[NUMBER])
        errors = stack.count_log_lines("Traceback")
        for user in UNKNOWN:
            self.assertIn(await self.call(stack, caller, user), (400, 404, 484), user)
        self.assertEqual(far_end.received, [])
        self.assertEqual(stack.count_log_lines("Traceback"), errors)
        await self.assert_asterisk_is_idle(stack)

    async def test_tel_uris(self) -> None:
        stack = await shared_stack(self.recipe)
        far_end, caller = [await self.start_agent(stack) for _ in range(2)]
        await self.create_profile(stack, far_end, numbers=[NUMBER, LOCAL])
        for uri, status in self.tel_uris.items():
            self.assertEqual(await self.call(stack, caller, NUMBER, uri), status, uri)
        await self.assert_asterisk_is_idle(stack)


class DialledNumberOnAsterisk16Tests(DialledNumberTests):
    """The same on Asterisk 16, which refuses tel URIs."""

    recipe = ASTERISK_16
    tel_uris: ClassVar[Mapping[str, int]] = {f"tel:{NUMBER}": 416}


class TransferTargetTests(NumberTestCase):
    async def test_targets_of_any_form(self) -> None:
        stack = await shared_stack(self.recipe)
        far_end, target, caller = [await self.start_agent(stack) for _ in range(3)]
        profile = await self.create_profile(stack, far_end)
        for user in ("a", "1", "h", "s", "*31%23", "%23", "*", "+49-30-555.123;npdi", "(030)555", "!", "9" * 100):
            response = await caller.request(self.reactor, "INVITE", profile)
            self.assertEqual(response.status, 200)
            await self.wait_until_talking(stack)
            uri = f"sip:{user}@{target.host_port}"
            far_end.transfer(far_end.requests("INVITE")[-1], uri)

            async def called() -> bool:
                return bool(target.requests("ACK"))

            self.assertTrue(await stack.wait_until(called, 30), f"{user} was not called")
            (invite,) = target.requests("INVITE")
            self.assertEqual(invite.start_line.split()[1], uri)
            caller.hang_up()
            target.received.clear()
        await self.assert_asterisk_is_idle(stack)

    async def test_target_that_the_dialplan_does_not_match(self) -> None:
        """The call continues."""
        stack = await shared_stack(self.recipe)
        far_end, target, caller = [await self.start_agent(stack) for _ in range(3)]
        profile = await self.create_profile(stack, far_end)
        await caller.request(self.reactor, "INVITE", profile)
        await self.wait_until_talking(stack)
        far_end.transfer(far_end.requests("INVITE")[-1], f"sip:%C3%BC@{target.host_port}")

        async def refused() -> bool:
            return any("SIP/2.0 404" in notify.body for notify in far_end.requests("NOTIFY"))

        self.assertTrue(await stack.wait_until(refused, 30), "the transfer is not refused")
        self.assertEqual((target.received, caller.requests("BYE")), ([], []))
        caller.hang_up()
        await self.assert_asterisk_is_idle(stack)


class TransferTargetOnAsterisk16Tests(TransferTargetTests):
    """The same on Asterisk 16."""

    recipe = ASTERISK_16


SIP_IDENTITY: Final = '"Smith, \\"Jo\\"" <sip:+4930877665@ims.example;user=phone>'
TEL_IDENTITY: Final = "<tel:+49-30-877665>"
NAME: Final = 'Smith, "Jo"'


class AssertedIdentityTests(NumberTestCase):
    # Values of the P-Asserted-Identity headers, and the number and the name that they assert
    identities: ClassVar[Mapping[tuple[str, ...], tuple[str, str]]] = {
        (SIP_IDENTITY,): ("+4930877665", NAME),
        (f"{SIP_IDENTITY}, {TEL_IDENTITY}",): ("+4930877665", NAME),
        (f"{TEL_IDENTITY},{SIP_IDENTITY}",): ("+4930877665", NAME),
        (SIP_IDENTITY, TEL_IDENTITY): ("+4930877665", NAME),
        (TEL_IDENTITY, SIP_IDENTITY): ("+4930877665", NAME),
        (TEL_IDENTITY,): ("+4930877665", ""),
        ('"Jo, S" <tel:+4930877665;cpc=ordinary>, sip:jo@ims.example;user=phone',): ("+4930877665", "Jo, S"),
        ("<sip:jo@ims.example>",): ("jo", ""),
        ("Jo Smith <sip:+4930877665;npdi@ims.example>, <tel:+4930877665>",): ("+4930877665", "Jo Smith"),
        ("<sips:+4930877665@[2001:db8::1]:5061>, <tel:+4930877665>",): ("+4930877665", ""),
    }

    async def call(
        self, stack: Stack, far_end: SipUserAgent, headers: tuple[str, ...], **further: str
    ) -> tuple[SipUserAgent, SipMessage, dict[str, Any]]:
        """Place a call; return the caller, the INVITE that the far end received, and the call as REST shows it."""
        caller = await self.start_agent(stack)
        before = len(far_end.requests("INVITE"))
        response = await caller.request(
            self.reactor,
            "INVITE",
            self.profile,
            from_='"From" <sip:from@caller.example>',
            headers={"P-Asserted-Identity": "\r\nP-Asserted-Identity: ".join(headers), **further},
        )
        self.assertEqual(response.status, 200, headers)
        call = (await stack.request_json("GET", "/calls"))[0]  # the newest
        self.assertEqual(call["profileId"], self.profile)
        return caller, far_end.requests("INVITE")[before], call

    async def test_identity_is_shown_and_passed(self) -> None:
        stack = await shared_stack(self.recipe)
        trusted, untrusted = [await self.start_agent(stack, each) for each in (LOOPBACK, UNTRUSTED_ADDRESS)]
        for far_end in (untrusted, trusted):
            self.profile = await self.create_profile(stack, far_end)
            for headers, (number, name) in self.identities.items():
                caller, invite, call = await self.call(stack, far_end, headers)
                self.assertEqual((call["from"], call["fromName"] or ""), (number, name), headers)
                self.assertIn(f"<sip:{number}@", invite.header("from"), headers)
                if name:
                    self.assertIn(name.replace('"', '\\"'), invite.header("from"), headers)
                asserted = invite.header("p-asserted-identity")
                self.assertEqual(f"<sip:{number}@" in asserted, far_end is trusted, asserted)
                caller.hang_up()

    async def test_privacy_is_honoured(self) -> None:
        stack = await shared_stack(self.recipe)
        trusted, untrusted = [await self.start_agent(stack, each) for each in (LOOPBACK, UNTRUSTED_ADDRESS)]
        for far_end in (untrusted, trusted):
            self.profile = await self.create_profile(stack, far_end)
            for headers, (number, _) in self.identities.items():
                caller, invite, call = await self.call(stack, far_end, headers, Privacy="id")
                self.assertEqual((call["from"], call["fromName"]), (None, None), headers)
                self.assertIn("<sip:anonymous@anonymous.invalid>", invite.header("from"))
                caller.hang_up()
                if far_end is trusted:
                    self.assertIn(f"<sip:{number}@", invite.header("p-asserted-identity"))
                    self.assertEqual(invite.header("privacy"), "id")
                else:
                    received = b"".join(message.raw for message in far_end.received).decode()
                    for secret in ("877665", "Smith", "ims.example"):
                        self.assertNotIn(secret, received, headers)

    async def test_invalid_identities_are_ignored(self) -> None:
        stack = await shared_stack(self.recipe)
        far_end = await self.start_agent(stack)
        self.profile = await self.create_profile(stack, far_end)
        for header in ("", ",", '"unterminated <sip:a@b>', "<sip:@b>", "<tel:>", "nonsense", "<"):
            caller, invite, call = await self.call(stack, far_end, (header,))
            self.assertEqual((call["from"], call["fromName"]), ("from", "From"), header)
            self.assertIn("sip:from@", invite.header("from"), header)
            caller.hang_up()

    async def test_an_endpoint_that_does_not_trust_the_identity(self) -> None:
        stack = await shared_stack(self.recipe)
        far_end = await self.start_agent(stack)
        self.profile = await self.create_profile(stack, far_end)
        settings = stack.asterisk.directory / "etc" / "voxrec" / "pjsip.conf"
        before = settings.read_text()
        try:
            settings.write_text(before.replace("trust_id_inbound = yes", "trust_id_inbound = no"))
            await stack.asterisk.run_console_command(self.reactor, "module reload res_pjsip.so")
            caller, _, call = await self.call(stack, far_end, (f"{SIP_IDENTITY}, {TEL_IDENTITY}",))
            self.assertEqual(call["from"], "from")
            caller.hang_up()
        finally:
            settings.write_text(before)
            await stack.asterisk.run_console_command(self.reactor, "module reload res_pjsip.so")


class AssertedIdentityOnAsterisk16Tests(AssertedIdentityTests):
    """The same on Asterisk 16."""

    recipe = ASTERISK_16
