"""Offers with other media behind an audio line: an ordinary call with audio, of which the far end notices nothing.

If another medium comes first, Asterisk sends the far end a re-INVITE with the same audio line.
"""

from typing import Final

from tests.live.live_test_case import PROFILE_SECONDS, RecordedCallTestCase, shared_stack
from voxrec.sandbox.rootfs import ASTERISK_16
from voxrec.sandbox.sip_user_agent import OK, SipResponse, SipUserAgent
from voxrec.sandbox.stack import Stack

AUDIO: Final = ("m=audio 9 RTP/AVP 0 8",)
VIDEO: Final = ("m=video 11 RTP/AVP 96", "a=rtpmap:96 H264/90000")
DECLINED: Final = ("m=video 0 RTP/AVP 96",)
TEXT: Final = ("m=text 13 RTP/AVP 98", "a=rtpmap:98 t140/1000")
IMAGE: Final = ("m=image 15 udptl t38", "a=T38FaxVersion:0")
APPLICATION: Final = ("m=application 17 UDP/BFCP *",)
MESSAGES: Final = ("m=message 21 TCP/MSRP *", "a=path:msrp://127.0.0.1:21/x;tcp")
OFFERS: Final = {
    "video": AUDIO + VIDEO,
    "declined video": AUDIO + DECLINED,
    "text": AUDIO + TEXT,
    "fax": AUDIO + IMAGE,
    "application": AUDIO + APPLICATION,
    "messages": AUDIO + MESSAGES,
    "two audio lines": AUDIO + AUDIO,
    "everything": AUDIO + VIDEO + TEXT + IMAGE + APPLICATION + AUDIO + MESSAGES,
}
# Other media before the audio: one re-INVITE (docs/asterisk.md)
AUDIO_LATER: Final = {
    "video": VIDEO + AUDIO,
    "application": APPLICATION + AUDIO,
    "fax": IMAGE + AUDIO,
    "video around": VIDEO + AUDIO + VIDEO,
}
SETTLED: Final = 0.7  # seconds after which a re-INVITE would have been sent


class OfferTests(RecordedCallTestCase):
    async def start_agent(self, stack: Stack) -> SipUserAgent:
        agent = SipUserAgent(stack.asterisk.sip_address)
        agent.listen(self.reactor)
        self.addCleanup(agent.stop)
        return agent

    async def call(self, stack: Stack, far_end: SipUserAgent, profile: str, media: tuple[str, ...]) -> SipUserAgent:
        """Place a call that is answered, and return the caller some time later."""
        caller = await self.start_agent(stack)
        far_end.received.clear()
        session = ["v=0", "o=- 1 1 IN IP4 127.0.0.1", "s=-", "c=IN IP4 127.0.0.1", "t=0 0"]
        body = "\r\n".join([*session, *media, ""])
        response = await caller.request(self.reactor, "INVITE", profile, body=body)
        self.assertEqual(response.status, 200, media)
        await self.sleep(SETTLED)
        return caller

    async def test_the_far_end_gets_one_invite(self) -> None:
        stack = await shared_stack(self.recipe)
        self.addCleanup(self.end_calls, stack)
        far_end = await self.start_agent(stack)
        fields = {"remoteSipUri": f"sip:desk@{far_end.host_port}", "record": True, "recordBeepAtStart": False}
        profile = await stack.request_json("PUT", "/profiles", fields)
        await self.sleep(PROFILE_SECONDS)
        for responses in ((OK,), (SipResponse(180), OK), (SipResponse(183, sdp=True), OK)):
            far_end.invite_responses = responses
            for name, media in OFFERS.items():
                caller = await self.call(stack, far_end, profile["id"], media)
                (invite, *further) = far_end.requests("INVITE")
                self.assertEqual(invite.body.count("m="), 1, name)
                self.assertEqual((further, caller.requests("INVITE")), ([], []), f"{name}, {responses}")
                # the BYE of the call before may arrive late
                ended = [bye for bye in far_end.requests("BYE") if bye.header("call-id") == invite.header("call-id")]
                self.assertEqual((ended, caller.requests("BYE")), ([], []), name)
                caller.hang_up()
        await self.assert_asterisk_is_idle(stack)

    async def test_other_media_before_the_audio(self) -> None:
        stack = await shared_stack(self.recipe)
        self.addCleanup(self.end_calls, stack)
        far_end = await self.start_agent(stack)
        fields = {"remoteSipUri": f"sip:desk@{far_end.host_port}", "record": True, "recordBeepAtStart": False}
        profile = await stack.request_json("PUT", "/profiles", fields)
        await self.sleep(PROFILE_SECONDS)
        for name, media in AUDIO_LATER.items():
            caller = await self.call(stack, far_end, profile["id"], media)
            (invite, *further) = far_end.requests("INVITE")
            self.assertLessEqual(len(further), 1, name)
            for each in (
                invite,
                *further,
            ):  # an offer must not change the order of the media lines (RFC 3264 section 8)
                lines = [line for line in each.body.splitlines() if line.startswith("m=")]
                self.assertEqual([line.split()[0] for line in lines], ["m=audio"], name)
                self.assertNotEqual(lines[0].split()[1], "0", name)
            self.assertEqual((caller.requests("INVITE"), caller.requests("BYE")), ([], []), name)
            caller.hang_up()
        await self.assert_asterisk_is_idle(stack)


class OfferOnAsterisk16Tests(OfferTests):
    """The same on Asterisk 16."""

    recipe = ASTERISK_16
