"""Channels in voxrec's application that are no calls: they are ended, and do not hurt calls."""

import contextlib
import secrets
from typing import Any

from twisted.internet.defer import TimeoutError  # noqa: A004

from tests.live.live_test_case import LiveTestCase, shared_stack
from voxrec.ari.client import AriClient
from voxrec.sandbox.observer import observe_asterisk
from voxrec.sandbox.rootfs import ASTERISK_16
from voxrec.sandbox.sip_user_agent import SipUserAgent
from voxrec.sandbox.stack import Stack

ROUTED_SECONDS = 3.0
"""The time within which a channel is ended whose event voxrec has received."""
SWEPT_SECONDS = 25.0
"""The time within which a channel is ended that no event has announced as a stranger: two searches."""


class StaleChannelTests(LiveTestCase):
    async def start(self) -> tuple[Stack, AriClient, str]:
        """Return the stack, an ARI client and a number that leads to a far end that would not answer."""
        stack = await shared_stack(self.recipe)
        number = f"+49307{secrets.randbelow(10**7):07}"
        fields = {"remoteSipUri": "sip:desk@127.0.0.1:9", "record": True, "numbers": [number]}
        await stack.request_json("PUT", "/profiles", fields)
        return stack, observe_asterisk(stack, self.reactor), number

    async def assert_ended(self, stack: Stack, asterisk: AriClient, prefix: str, seconds: float) -> None:
        """Assert that no channel whose name begins with ``prefix`` exists within ``seconds``."""
        left: list[str] = []

        async def ended() -> bool:
            left[:] = [channel.name for channel in await asterisk.list_channels() if channel.name.startswith(prefix)]
            return not left

        self.assertTrue(await stack.wait_until(ended, seconds), f"left in Asterisk: {left}")
        self.assertEqual(await stack.request_json("GET", "/calls"), [])

    async def originate(self, asterisk: AriClient, endpoint: str, **query: str) -> None:
        await asterisk._transport.request("POST", ("channels",), {"endpoint": endpoint, **query})

    async def start_agent(self, stack: Stack) -> SipUserAgent:
        agent = SipUserAgent(stack.asterisk.sip_address)
        agent.listen(self.reactor)
        self.addCleanup(agent.stop)
        return agent

    async def test_a_local_channel_in_the_context_of_the_trunk_is_no_call(self) -> None:
        stack, asterisk, number = await self.start()
        before = stack.count_log_lines(": to Profile ")
        await stack.asterisk.run_console_command(
            self.reactor, f"channel originate Local/{number}@from-trunk application Wait 60"
        )
        await self.assert_ended(stack, asterisk, "Local/", ROUTED_SECONDS)
        self.assertEqual(stack.count_log_lines(": to Profile "), before)

    async def test_a_sip_message_in_the_context_of_the_trunk_is_no_call(self) -> None:
        stack, asterisk, number = await self.start()
        configuration = stack.asterisk.directory / "etc" / "pjsip.conf"
        before = configuration.read_text()
        configuration.write_text(f"{before}[trunk](+)\nmessage_context = from-trunk\n")
        reload = ("module reload res_pjsip.so",)
        await stack.asterisk.run_console_command(self.reactor, *reload)
        self.addCleanup(stack.asterisk.run_console_command, self.reactor, *reload)
        self.addCleanup(configuration.write_text, before)
        agent = await self.start_agent(stack)
        calls = stack.count_log_lines(": to Profile ")
        for _ in range(2):  # one channel handles all of them, one after the other
            with contextlib.suppress(TimeoutError):
                await agent.request(self.reactor, "MESSAGE", number, body="hello", timeout=2.0)
            await self.sleep(0.5)
        self.assertEqual(stack.count_log_lines(": to Profile "), calls)

        async def left() -> bool:
            return not await AriClient(asterisk._http, "voxrec").application_channels()

        self.assertTrue(await stack.wait_until(left, SWEPT_SECONDS), "the channel of the message is in the application")
        self.assertEqual(await stack.request_json("GET", "/calls"), [])

    async def test_channels_of_others_in_the_application_are_ended(self) -> None:
        stack, asterisk, _ = await self.start()
        await self.originate(asterisk, "Local/s@nowhere", app="voxrec")
        await self.assert_ended(stack, asterisk, "Local/", ROUTED_SECONDS)

    async def test_a_channel_that_pretended_to_belong_to_a_call_ends_after_it(self) -> None:
        stack, asterisk, _ = await self.start()
        far_end, caller = await self.start_agent(stack), await self.start_agent(stack)
        uri = f"sip:desk@{far_end.host_port}"
        profile = await stack.request_json("PUT", "/profiles", {"remoteSipUri": uri, "record": False})
        await self.sleep(0.3)
        response = await caller.request(self.reactor, "INVITE", profile["id"])
        self.assertEqual(response.status, 200)
        (call,) = await stack.request_json("GET", "/calls")
        (leg,) = [channel for channel in await asterisk.list_channels() if channel.id.endswith("-leg")]
        stranger = f"voxrec-{call['id']}-stranger"
        snoop: dict[str, Any] = {"app": "voxrec", "spy": "in", "snoopId": stranger}
        await asterisk._transport.request("POST", ("channels", leg.id, "snoop"), snoop)
        await self.originate(asterisk, "Local/100@nowhere", app="voxrec", channelId=f"{stranger}2")
        await self.sleep(1)
        names = [channel.name for channel in await asterisk.list_channels()]
        self.assertIn(leg.name, names, "the call was hurt")
        caller.hang_up()
        await self.assert_ended(stack, asterisk, "", SWEPT_SECONDS)


class StaleChannelOnAsterisk16Tests(StaleChannelTests):
    """The same on Asterisk 16."""

    recipe = ASTERISK_16
