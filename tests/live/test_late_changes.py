"""Pauses and resumptions that Asterisk executes when voxrec has lost the connection, or whose responses are lost."""

import time

from tests.live.test_late_commands import HoldingProxy, LateCommandTestCase
from tests.live.test_recording_engine import BLOCK_SECONDS
from voxrec.sandbox.impaired_call import ImpairedCall
from voxrec.sandbox.stack import Stack


class LateChangeTests(LateCommandTestCase):
    """A command that mutes or unmutes is executed when the connection is lost, or later."""

    async def change(self, stack: Stack, path: str, state: str) -> tuple[int, float]:
        """Pause or resume; return the status, and when the pause had begun, or the resumption was requested."""
        sent = time.monotonic()
        status = (await stack.request("POST", path, {"state": state})).status
        return status, time.monotonic() if state == "paused" else sent

    async def change_surely(self, stack: Stack, path: str, state: str) -> float:
        """Pause or resume, as soon as AMI is connected again; return the moment."""
        moments: list[float] = []

        async def changed() -> bool:
            status, moment = await self.change(stack, path, state)
            moments.append(moment)
            return 200 <= status < 300

        self.assertTrue(await stack.wait_until(changed, 10), state)
        return moments[-1]

    async def start_call_behind_proxy(self) -> tuple[Stack, HoldingProxy, ImpairedCall, str, str]:
        """Start a stack and a call, and return them, the id of its Profile, and the path of its live recording."""
        stack, proxy = await self.start_stack_behind_proxy()
        assert isinstance(proxy, HoldingProxy)
        call = ImpairedCall(stack, self.reactor, self.directory, seconds=14)
        self.addCleanup(call.close)
        profile = await call.place()
        assert profile is not None
        path = await self.live_recording_path(stack, profile)
        await self.wait_for_mix_monitor(stack)
        await self.sleep(0.3)
        return stack, proxy, call, profile, path

    async def resume_late(self, stack: Stack, path: str, proxy: HoldingProxy, *, passes: bool) -> tuple[float, float]:
        """Pause; resume by a command that is lost, which counts as a resumption. Return when that was."""
        paused = await self.change_surely(stack, path, "paused")
        await self.sleep(0.5)
        proxy.passes, proxy.awaited = passes, b"MixMonitorMute"
        status, resuming = await self.change(stack, path, "recording")
        self.assertLess(status, 300)
        await self.sleep(0.5)
        return paused, resuming

    async def pause_while_late(self, stack: Stack, path: str, proxy: HoldingProxy) -> tuple[float, float]:
        """Pause; what was held back is executed meanwhile; resume, and return when that was."""
        paused = await self.change_surely(stack, path, "paused")
        proxy.deliver()
        await self.sleep(BLOCK_SECONDS + 0.5)
        resuming = await self.change_surely(stack, path, "recording")
        await self.wait_for_mix_monitor(stack)
        return paused, resuming

    async def check_pause(self, *, passes: bool) -> None:
        """Lose a pause: it has failed, so that what Asterisk does nevertheless is undone within 2 s."""
        stack, proxy, call, profile, path = await self.start_call_behind_proxy()
        proxy.passes, proxy.awaited = passes, b"MixMonitorMute"
        status, _ = await self.change(stack, path, "paused")
        self.assertEqual(status, 503)
        await self.sleep(0.5)
        proxy.deliver()
        await self.sleep(2.5)
        undone = time.monotonic()
        await self.sleep(1)
        pause = await self.pause_while_late(stack, path, proxy)
        moments = await self.pieces_of_call(stack, call, profile)
        self.assert_silent(call, moments, *pause)
        for of_side in moments:
            self.assertGreater(sum(undone <= at < pause[0] for at in of_side), 80, "the pause that failed")
        self.assert_recorded(moments, pause[1])

    async def test_a_pause_is_executed_late(self) -> None:
        await self.check_pause(passes=False)

    async def test_the_response_to_a_pause_is_lost(self) -> None:
        await self.check_pause(passes=True)

    async def check_resumption(self, *, passes: bool) -> None:
        stack, proxy, call, profile, path = await self.start_call_behind_proxy()
        pauses = [await self.resume_late(stack, path, proxy, passes=passes)]
        pauses.append(await self.pause_while_late(stack, path, proxy))
        self.assertEqual(proxy.lost, 1)
        moments = await self.pieces_of_call(stack, call, profile)
        for pause in pauses:
            self.assert_silent(call, moments, *pause)
        self.assert_recorded(moments, pauses[-1][1])

    async def test_a_resumption_is_executed_during_the_next_pause(self) -> None:
        await self.check_resumption(passes=False)

    async def test_the_response_to_a_resumption_is_lost(self) -> None:
        await self.check_resumption(passes=True)
