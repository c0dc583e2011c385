"""Calls that are not answered: the caller gets the SIP status of the far end, and redirections are followed."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, Final

from twisted.internet.defer import Deferred

from tests.live.live_test_case import PROFILE_SECONDS, UNTRUSTED_ADDRESS, LiveTestCase, shared_stack
from voxrec.sandbox.asterisk import LOOPBACK
from voxrec.sandbox.rootfs import ASTERISK_16
from voxrec.sandbox.sip_user_agent import OK, SipMessage, SipResponse, SipUserAgent
from voxrec.sandbox.stack import Stack

FORBIDDEN_ADDRESS: Final = "127.0.0.9"
"""A loopback address that is not among the allowed hosts of the shared stack."""
# All final failures of IANA's registry of SIP response codes, without 3xx.
REGISTERED: Final = (
    *(400, 401, 402, 403, 404, 405, 406, 407, 408, 410, 412, 413, 414, 415, 416, 417, 420, 421, 422, 423, 424, 425),
    *(428, 429, 430, 433, 436, 437, 438, 439, 440, 469, 470, 480, 481, 482, 483, 484, 485, 486, 487, 488, 489, 491),
    *(493, 494, 500, 501, 502, 503, 504, 505, 513, 555, 580, 600, 603, 604, 606, 607, 608),
)
UNREGISTERED: Final = (418, 499, 510, 599, 650, 699)
NOT_FOLLOWED: Final = (305, 380, 399)


def redirection(*contacts: str, status: int = 302, after: float = 0.05) -> tuple[SipResponse, ...]:
    """Return the responses of a far end that redirects to ``contacts``, values of the Contact header.

    Asterisk can lose a redirection that arrives at once (see `voxrec.calls.transfers.redirects.Redirects`).
    """
    headers = tuple(("Contact", contact) for contact in contacts)
    return SipResponse(100), SipResponse(status, headers, after=after)


class RedirectingAgent(SipUserAgent):
    """A far end that redirects each call for ``sip:N@...`` to ``sip:N+1@...`` at itself, and answers at ``last``."""

    last: int

    def responses_to(self, invite: SipMessage) -> Sequence[SipResponse]:
        """Choose by the user of the request URI."""
        number = int(invite.start_line.partition("sip:")[2].partition("@")[0])
        return (OK,) if number == self.last else redirection(f"<sip:{number + 1}@{self.host_port}>")


class RefusalTestCase(LiveTestCase):
    async def start_agent(self, stack: Stack, address: str = LOOPBACK) -> SipUserAgent:
        return self.listen(SipUserAgent(stack.asterisk.sip_address, address))

    def listen(self, agent: SipUserAgent) -> SipUserAgent:
        agent.listen(self.reactor)
        self.addCleanup(agent.stop)
        return agent

    async def create_profile(self, stack: Stack, uri: str, **fields: Any) -> str:
        profile = await stack.request_json("PUT", "/profiles", {"remoteSipUri": uri, "record": False, **fields})
        await self.sleep(PROFILE_SECONDS)
        return str(profile["id"])

    async def call(self, caller: SipUserAgent, dialled: str) -> int | None:
        """Place a call, end it if it is answered, and return the final status."""
        response = await caller.request(self.reactor, "INVITE", dialled, timeout=10)
        if response.status == 200:
            caller.hang_up()
        return response.status


class StatusTests(RefusalTestCase):
    # Statuses of the far end that the caller does not get. 401 and 407 ask voxrec for a password; a redirection that is
    # not followed would lead the caller past voxrec.
    changed: ClassVar[Mapping[int, int]] = {401: 403, 407: 403, **dict.fromkeys(NOT_FOLLOWED, 480)}

    async def test_the_caller_gets_the_status_of_the_far_end(self) -> None:
        stack = await shared_stack(self.recipe)
        far_end, caller = [await self.start_agent(stack) for _ in range(2)]
        profile = await self.create_profile(stack, f"sip:desk@{far_end.host_port}")
        received = {}
        for status in (*REGISTERED, *UNREGISTERED, *NOT_FOLLOWED):
            contact = (("Contact", f"<sip:other@{far_end.host_port}>"),) if status < 400 else ()
            far_end.invite_responses = (SipResponse(100), SipResponse(status, contact))
            received[status] = await self.call(caller, profile)
        self.assertEqual(received, {status: self.changed.get(status, status) for status in received})
        await self.assert_asterisk_is_idle(stack)

    async def test_the_status_is_passed_after_ringing_and_early_media(self) -> None:
        stack = await shared_stack(self.recipe)
        far_end, caller = [await self.start_agent(stack) for _ in range(2)]
        profile = await self.create_profile(stack, f"sip:desk@{far_end.host_port}")
        for provisional in (SipResponse(180), SipResponse(183, sdp=True)):
            far_end.invite_responses = (provisional, SipResponse(410))
            self.assertEqual(await self.call(caller, profile), 410, provisional)
        await self.assert_asterisk_is_idle(stack)

    async def test_the_cause_of_the_far_end_reaches_the_caller(self) -> None:
        stack = await shared_stack(self.recipe)
        far_end, caller = [await self.start_agent(stack) for _ in range(2)]
        profile = await self.create_profile(stack, f"sip:desk@{far_end.host_port}")
        busy = SipResponse(486, (("Reason", "Q.850;cause=17"),), after=0.05)
        far_end.invite_responses = (SipResponse(100), busy)
        response = await caller.request(self.reactor, "INVITE", profile)
        self.assertEqual((response.status, response.header("reason")), (486, "Q.850;cause=17"))

    async def test_a_far_end_that_does_not_respond(self) -> None:
        stack = await shared_stack(self.recipe)
        far_end, caller = [await self.start_agent(stack) for _ in range(2)]
        profile = await self.create_profile(stack, f"sip:desk@{far_end.host_port}", ringTimeoutSeconds=1)
        provisional_responses: Mapping[int, tuple[SipResponse, ...]] = {
            408: (),
            480: (SipResponse(180),),
        }
        for status, responses in provisional_responses.items():
            far_end.invite_responses = responses
            self.assertEqual(await self.call(caller, profile), status, responses)
        far_end.invite_responses = (SipResponse(183, sdp=True),)
        self.assertEqual(await self.call(caller, profile), 480, "an announcement, and no answer")
        far_end.invite_responses = (SipResponse(100),)
        self.assertEqual(await self.call(caller, profile), 408, "trying, and no more")
        await self.assert_asterisk_is_idle(stack)


class StatusOnAsterisk16Tests(StatusTests):
    """The same on Asterisk 16, which sends only the statuses of Q.850 causes: the caller gets the nearest one."""

    recipe = ASTERISK_16
    changed: ClassVar[Mapping[int, int]] = {
        **dict.fromkeys((401, 402, 407, 428, 429, 433, 436, 437, 438, 482, 483), 403),
        **dict.fromkeys((485, 604), 404),
        **dict.fromkeys((430, 440, 469, 487, 491, *NOT_FOLLOWED), 480),
        600: 486,
        **dict.fromkeys((406, 415, 606), 488),
        405: 501,
        **dict.fromkeys((504, 510, 555, 580, 599), 503),
        **dict.fromkeys((607, 608, 650, 699), 603),
        **dict.fromkeys((400, 412, 413, 414, 416, 417, 418, 420, 421, 422, 423, 424, 425, 439, 470, 481), 500),
        **dict.fromkeys((489, 493, 494, 499, 505, 513), 500),
    }


class RedirectionTests(RefusalTestCase):
    loop_detected = 482

    async def test_redirections_that_are_followed(self) -> None:
        stack = await shared_stack(self.recipe)
        far_end, target, other, caller = [await self.start_agent(stack) for _ in range(4)]
        profile = await self.create_profile(stack, f"sip:desk@{far_end.host_port}", record=True)
        at_target = f"sip:boss@{target.host_port}"
        at_other = f"sip:boss@{other.host_port}"
        cases = {
            "300": redirection(f"<{at_target}>", status=300),
            "301": redirection(f"<{at_target}>", status=301),
            "302": redirection(f"<{at_target}>"),
            "at once": redirection(f"<{at_target}>", after=0.0),
            "without brackets": redirection(at_target),
            "the contact of highest priority": redirection(f"<{at_other}>;q=0.2, <{at_target}>;q=0.9;expires=60"),
            "two header lines": redirection(f"<{at_other}>;q=0.5", f"<{at_target}>;q=1.0"),
            "header parameters, which are not sent": redirection(f"<{at_target}?X-Evil=1&Replaces=a%40b>"),
            "after ringing": (SipResponse(180), *redirection(f"<{at_target}>")),
            "after early media": (SipResponse(183, sdp=True), *redirection(f"<{at_target}>")),
        }
        for case, responses in cases.items():
            far_end.invite_responses = responses
            self.assertEqual(await self.call(caller, profile), 200, case)
            (invite,) = target.requests("INVITE")
            self.assertEqual(other.requests("INVITE"), [], case)
            self.assertEqual(invite.start_line.split()[1], at_target, case)
            self.assertEqual(invite.header("x-evil") + invite.header("replaces"), "", case)
            self.assertEqual(invite.header("x-voxrec-profile"), profile)
            await self.assert_asterisk_is_idle(stack)
            target.received.clear()
        recordings: list[Mapping[str, Any]] = []

        async def stored() -> bool:  # the row of a call that ends at once may be stored after its channels are gone
            recordings[:] = await stack.request_json("GET", f"/profiles/{profile}/recordings")
            return len(recordings) >= len(cases)

        await stack.wait_until(stored, 15)
        self.assertEqual([recording["remoteSipUri"] for recording in recordings], [at_target] * len(cases))

    async def test_redirections_that_are_not_followed(self) -> None:
        stack = await shared_stack(self.recipe)
        far_end, caller = [await self.start_agent(stack) for _ in range(2)]
        forbidden = await self.start_agent(stack, FORBIDDEN_ADDRESS)
        number = "+4930800001"
        desk = f"sip:desk@{far_end.host_port}"
        profile = await self.create_profile(stack, desk, numbers=[number])
        cases = {
            "a host that is not allowed": (redirection(f"<sip:boss@{forbidden.host_port}>"), 403),
            "maddr": (redirection(f"<sip:boss@{far_end.host_port};maddr={forbidden.host_port}>"), 403),
            "a second destination": (redirection(f"<sip:a&PJSIP/trunk/sip:b@{forbidden.host_port}>"), 403),
            "no contact": (redirection(), 480),
            "a telephone number": (redirection("<tel:+4930123>"), 480),
            "itself": (redirection(f"<{desk}>"), self.loop_detected),
            "voxrec": (redirection(f"<sip:{number}@{stack.sip_host_port}>"), self.loop_detected),
        }
        for case, (responses, status) in cases.items():
            far_end.received.clear()
            if case == "no contact":
                far_end.sends_contact = False
            far_end.invite_responses = responses
            self.assertEqual(await self.call(caller, profile), status, case)
            # without a contact to call, the far end is called once more: Asterisk may have lost it
            count = 2 if case in ("no contact", "a telephone number") else 1
            self.assertEqual(len(far_end.requests("INVITE")), count, case)
            far_end.sends_contact = True
        self.assertEqual(forbidden.received, [])
        await self.assert_asterisk_is_idle(stack)

    async def test_the_number_of_redirections_is_limited(self) -> None:
        stack = await shared_stack(self.recipe)
        caller = await self.start_agent(stack)
        far_end = RedirectingAgent(stack.asterisk.sip_address)
        self.listen(far_end)
        profile = await self.create_profile(stack, f"sip:1@{far_end.host_port}")
        for last, status in ((6, 200), (7, 480)):
            far_end.last = last
            far_end.received.clear()
            self.assertEqual(await self.call(caller, profile), status)
            self.assertEqual(len(far_end.requests("INVITE")), 6)
            await self.assert_asterisk_is_idle(stack)

    async def test_the_target_of_a_redirection_refuses(self) -> None:
        stack = await shared_stack(self.recipe)
        far_end, target, caller = [await self.start_agent(stack) for _ in range(3)]
        untrusted = await self.start_agent(stack, UNTRUSTED_ADDRESS)
        profile = await self.create_profile(stack, f"sip:desk@{far_end.host_port}")
        for last in (target, untrusted):
            far_end.invite_responses = redirection(f"<sip:boss@{last.host_port}>")
            last.invite_responses = (SipResponse(180), SipResponse(486))
            self.assertEqual(await self.call(caller, profile), 486)
            self.assertEqual(len(last.requests("INVITE")), 1)
        target.invite_responses = redirection(f"<sip:desk@{far_end.host_port}>")
        far_end.invite_responses = redirection(f"<sip:boss@{target.host_port}>")
        self.assertEqual(await self.call(caller, profile), self.loop_detected)
        await self.assert_asterisk_is_idle(stack)

    async def test_the_target_of_a_transfer_redirects(self) -> None:
        stack = await shared_stack(self.recipe)
        far_end, third, fourth, caller = [await self.start_agent(stack) for _ in range(4)]
        profile = await self.create_profile(stack, f"sip:desk@{far_end.host_port}", record=True)
        third.invite_responses = redirection(f"<sip:boss@{fourth.host_port}>")
        response = await caller.request(self.reactor, "INVITE", profile)
        self.assertEqual(response.status, 200)
        await self.wait_until_talking(stack)
        far_end.transfer(far_end.requests("INVITE")[0], f"sip:third@{third.host_port}")

        async def redirected() -> bool:
            return bool(fourth.requests("ACK"))

        self.assertTrue(await stack.wait_until(redirected, 30), "the target of the redirection was not called")
        self.assertEqual(caller.requests("BYE"), [])
        caller.hang_up()
        await self.assert_asterisk_is_idle(stack)

    async def test_the_caller_hangs_up_during_a_redirection(self) -> None:
        stack = await shared_stack(self.recipe)
        far_end, target, caller = [await self.start_agent(stack) for _ in range(3)]
        target.invite_responses = (SipResponse(180),)
        far_end.invite_responses = redirection(f"<sip:boss@{target.host_port}>")
        profile = await self.create_profile(stack, f"sip:desk@{far_end.host_port}")
        response = Deferred.fromCoroutine(caller.request(self.reactor, "INVITE", profile))

        async def rings() -> bool:
            return bool(target.requests("INVITE"))

        self.assertTrue(await stack.wait_until(rings, 30))
        caller.cancel()
        self.assertEqual((await response).status, 487)
        await self.assert_asterisk_is_idle(stack)


class RedirectionOnAsterisk16Tests(RedirectionTests):
    """The same on Asterisk 16."""

    recipe = ASTERISK_16
    loop_detected = 403
