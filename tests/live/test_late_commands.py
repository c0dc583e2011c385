"""AMI commands that Asterisk receives after voxrec has lost the connection: a proxy holds them back."""

import time
from typing import Any

from twisted.protocols.portforward import ProxyServer

from tests.live.live_test_case import RecordedCallTestCase
from tests.live.test_recording_engine import BLOCK_SECONDS, QUEUED_SECONDS
from voxrec.model import Side
from voxrec.sandbox import tones
from voxrec.sandbox.impaired_call import ImpairedCall
from voxrec.sandbox.noise import find_pieces
from voxrec.sandbox.stack import Stack
from voxrec.sandbox.tcp_proxy import TcpProxy


class HoldingServer(ProxyServer):
    """One connection of voxrec, which is lost with the action that ``factory.awaited`` names.

    The action is held back, or only its response is lost, if ``factory.passes`` is set.
    """

    noisy = False

    def dataReceived(self, data: bytes) -> None:
        proxy: Any = self.factory
        is_login = b"voxrec-no-channel" in data  # which contains StopMixMonitor, too
        if not proxy.awaited or is_login or b"Action: %s\r\n" % proxy.awaited not in data:
            super().dataReceived(data)
            return
        proxy.awaited = b""
        asterisk: Any = self.peer
        if proxy.passes:
            asterisk.transport.write(data)
        else:
            proxy.held.append((asterisk.transport, data))
            asterisk.dataReceived = proxy.responses.append
        proxy.lost += 1
        self.peer = None  # the connection to Asterisk stays open
        client: Any = self.transport
        client.unregisterProducer()  # which it would end
        client.abortConnection()


class HoldingProxy(TcpProxy):
    """A proxy that delivers an action when `deliver` is called."""

    protocol = HoldingServer
    awaited = b""
    passes = False
    lost = 0  # connections

    def __init__(self, target: int) -> None:
        super().__init__(target)
        self.held: list[tuple[Any, bytes]] = []
        self.responses: list[bytes] = []  # to the actions that were held back

    def deliver(self) -> None:
        """Send to Asterisk what was held back."""
        held, self.held = self.held, []
        for transport, data in held:
            transport.write(data)


class LateCommandTestCase(RecordedCallTestCase):
    """A stack whose connection to AMI leads through a `HoldingProxy`."""

    proxy_type = HoldingProxy

    async def wait_for_mix_monitor(self, stack: Stack) -> None:
        """Wait until exactly one MixMonitor writes both files; one that was executed late has none."""
        shown: list[str] = []

        async def one() -> bool:
            shown[:] = await self.mix_monitors(stack)
            writing = [line.count("/.voxrec-sessions-") for line in shown if "/recording/" in line]
            return writing == [len(Side)]

        self.assertTrue(await stack.wait_until(one, 30), shown)

    async def pieces_of_call(self, stack: Stack, call: ImpairedCall, profile: str) -> list[list[float]]:
        """End the call; return for each side when the pieces of its audio that were recorded were sent."""
        await call.wait_until_sent()
        await call.caller.hang_up_call()
        recording = await stack.wait_for_recording(profile)
        audio = self.directory / "recording.wav"
        audio.write_bytes((await stack.request("GET", f"/recordings/{recording['id']}/audio")).body)
        samples, rate = tones.load_audio(audio)
        moments = []
        for channel, peer in enumerate((call.caller, call.callee)):
            recorded = (samples[:, channel] * 32768).round().astype("int16")
            pieces = find_pieces(peer.media.noise, peer.media.codec.rate, recorded, rate)
            moments.append([peer.media.piece_times[one.index] for one in pieces if one.index in peer.media.piece_times])
        return moments

    def assert_silent(self, call: ImpairedCall, moments: list[list[float]], paused: float, resuming: float) -> None:
        """Assert that nothing that was said in a pause was recorded."""
        for peer, of_side in zip((call.caller, call.callee), moments, strict=True):
            first, last = paused + peer.media.ptime / 1000, resuming - QUEUED_SECONDS
            leaked = [round(at - resuming, 3) for at in of_side if first <= at < last]
            self.assertEqual(leaked, [], "recorded in a pause")

    def assert_recorded(self, moments: list[list[float]], resuming: float) -> None:
        """Assert that the recording has not ended with the last pause."""
        for of_side in moments:
            self.assertGreater(sum(at > resuming + 0.5 for at in of_side), 30, "nothing after the last pause")

    async def mix_monitors(self, stack: Stack) -> list[str]:
        """Return the lines of Asterisk's console about all MixMonitors."""
        shown: list[str] = []
        for name in await self.channel_names(stack):
            listed = await stack.asterisk.run_console_command(self.reactor, f"mixmonitor list {name}")
            shown.extend(line for line in listed.splitlines() if line.startswith("0x"))
        return shown

    async def channel_names(self, stack: Stack) -> list[str]:
        """Return Asterisk's names for all channels."""
        lines = (await stack.asterisk.run_console_command(self.reactor, "core show channels concise")).splitlines()
        return [line.split("!")[0] for line in lines if "!" in line]


class LateCommandTests(LateCommandTestCase):
    async def test_commands_to_record_are_executed_during_later_pauses(self) -> None:
        stack, proxy = await self.start_stack_behind_proxy()
        assert isinstance(proxy, HoldingProxy)
        call = ImpairedCall(stack, self.reactor, self.directory, seconds=20)
        self.addCleanup(call.close)
        proxy.awaited = b"MixMonitor"  # the start
        profile = await call.place()
        assert profile is not None
        path = await self.live_recording_path(stack, profile)
        await self.wait_for_mix_monitor(stack)
        await self.sleep(0.3)
        pauses = [await self.pause(stack, path, proxy, 0.5, awaited=b"MixMonitor")]  # the resumption is held back
        await self.wait_for_mix_monitor(stack)
        await self.sleep(0.3)
        pauses.append(await self.pause(stack, path, proxy, BLOCK_SECONDS + 0.5, awaited=b""))
        await self.wait_for_mix_monitor(stack)
        moments = await self.pieces_of_call(stack, call, profile)
        for paused, resuming in pauses:
            self.assert_silent(call, moments, paused, resuming)
        self.assert_recorded(moments, pauses[-1][1])

    async def pause(
        self, stack: Stack, path: str, proxy: HoldingProxy, seconds: float, *, awaited: bytes
    ) -> tuple[float, float]:
        """Pause, deliver what was held back, and resume; return when it was paused and resumed."""
        await stack.request_json("POST", path, {"state": "paused"})
        paused = time.monotonic()
        self.assertEqual(len(proxy.held), 1)
        proxy.responses.clear()
        proxy.deliver()
        await self.wait_until_stopped(stack, proxy)
        await self.sleep(seconds)
        proxy.awaited = awaited
        resuming = time.monotonic()
        await stack.request_json("POST", path, {"state": "recording"})
        return paused, resuming

    async def wait_until_stopped(self, stack: Stack, proxy: HoldingProxy) -> None:
        """Wait until Asterisk has started the MixMonitor that was held back, and voxrec has stopped it."""

        async def stopped() -> bool:
            executed = await self.mix_monitors(stack)
            self.assertEqual([line for line in executed if "/recording/" in line], [], "it has files")
            return not executed and b"MixMonitorID: " in b"".join(proxy.responses)

        self.assertTrue(await stack.wait_until(stopped, 10))
