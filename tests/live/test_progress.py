"""Provisional responses of the far end: what the caller hears before the answer."""

from collections.abc import Mapping
from typing import ClassVar, Final

from tests.live.live_test_case import PROFILE_SECONDS, RecordedCallTestCase, shared_stack
from voxrec.sandbox.rootfs import ASTERISK_16
from voxrec.sandbox.sip_user_agent import SipMessage, SipResponse, SipUserAgent
from voxrec.sandbox.stack import Stack

RELIABLE: Final = (("Require", "100rel"), ("RSeq", "1"))
MEDIA: Final = SipResponse(183, sdp=True)
NO_MEDIA: Final = SipResponse(183)
RINGING: Final = SipResponse(180)


class ProgressTests(RecordedCallTestCase):
    # Responses of the far end, and those that the caller gets, with whether they have SDP
    sequences: ClassVar[Mapping[tuple[SipResponse, ...], list[tuple[int, bool]]]] = {
        (RINGING,): [(180, False)],
        (NO_MEDIA,): [(180, False)],
        (SipResponse(183, RELIABLE),): [(180, False)],
        (SipResponse(182),): [(180, False)],
        (SipResponse(100), NO_MEDIA, RINGING): [(180, False)],
        (NO_MEDIA, MEDIA): [(183, True)],
        (MEDIA,): [(183, True)],
        (SipResponse(183, RELIABLE, sdp=True),): [(183, True)],
        (RINGING, MEDIA): [(180, False), (183, True)],
        (MEDIA, NO_MEDIA): [(183, True)],
        (SipResponse(181),): [(181, False), (180, False)],
        (SipResponse(199),): [],
        (SipResponse(100),): [],
    }

    async def start_agent(self, stack: Stack) -> SipUserAgent:
        agent = SipUserAgent(stack.asterisk.sip_address)
        agent.listen(self.reactor)
        self.addCleanup(agent.stop)
        return agent

    async def test_what_the_caller_gets(self) -> None:
        stack = await shared_stack(self.recipe)
        self.addCleanup(self.end_calls, stack)
        far_end = await self.start_agent(stack)
        fields = {"remoteSipUri": f"sip:desk@{far_end.host_port}", "record": False, "ringTimeoutSeconds": 2}
        profile = await stack.request_json("PUT", "/profiles", fields)
        await self.sleep(PROFILE_SECONDS)
        for responses, expected in self.sequences.items():
            caller = await self.start_agent(stack)
            far_end.invite_responses = responses
            response = await caller.request(self.reactor, "INVITE", profile["id"])
            self.assertIn(response.status, (408, 480), responses)
            self.assertEqual([_provisional(each) for each in caller.received[1:-1]], expected, responses)
        await self.assert_asterisk_is_idle(stack)


def _provisional(message: SipMessage) -> tuple[int | None, bool]:
    return message.status, "m=audio" in message.body


class ProgressOnAsterisk16Tests(ProgressTests):
    """The same on Asterisk 16."""

    recipe = ASTERISK_16
