"""The recording of calls by MixMonitor and AMI: what is recorded exactly, and what happens when it fails."""

import time
from typing import Any

from tests.live.live_test_case import RecordedCallTestCase, make_stack, shared_stack
from voxrec.sandbox import demo_call, tones
from voxrec.sandbox.impaired_call import ImpairedCall
from voxrec.sandbox.noise import find_pieces
from voxrec.sandbox.phone import Phone
from voxrec.sandbox.rootfs import ASTERISK_16
from voxrec.sandbox.stack import Stack

BLOCK_SECONDS = 32_768 / 16_000
"""What Asterisk keeps in memory of each file at 8 kHz, at most."""
QUEUED_SECONDS = 0.06
"""What may be said before the end of a pause and recorded: frames that are in Asterisk's queue, on a busy machine."""


class PauseTests(RecordedCallTestCase):
    async def test_what_is_said_in_a_pause_is_in_neither_channel(self) -> None:
        stack = await shared_stack(self.recipe)
        call = ImpairedCall(stack, self.reactor, self.directory, seconds=3.5)
        self.addCleanup(call.close)
        profile = await call.place()
        assert profile is not None
        await self.sleep(0.7)
        path = await self.live_recording_path(stack, profile)
        await stack.request_json("POST", path, {"state": "paused"})
        paused = time.monotonic()
        await self.sleep(1.2)
        resuming = time.monotonic()
        await stack.request_json("POST", path, {"state": "recording"})
        resumed = time.monotonic()
        await call.wait_until_sent()
        await call.caller.hang_up_call()
        recording = await stack.wait_for_recording(profile)
        audio = self.directory / "recording.wav"
        audio.write_bytes((await stack.request("GET", f"/recordings/{recording['id']}/audio")).body)
        samples, rate = tones.load_audio(audio)
        self.assertTrue(recording["verdict"]["caller"], recording)
        for channel, peer in enumerate((call.caller, call.callee)):
            recorded = (samples[:, channel] * 32768).round().astype("int16")
            media = peer.media
            pieces = find_pieces(media.noise, media.codec.rate, recorded, rate)
            times = [media.piece_times[piece.index] for piece in pieces if piece.index in media.piece_times]
            # the second half of a packet is sent with the first one, 10 ms before its own time
            first = paused + media.ptime / 1000
            leaked = [round(at - resuming, 3) for at in times if first <= at < resuming - QUEUED_SECONDS]
            self.assertEqual(leaked, [], "seconds before the end of the pause")
            self.assertGreater(sum(at > resumed + 0.1 for at in times), 50, "nothing was recorded after the pause")
            self.assertGreater(sum(at < paused - 0.2 for at in times), 20, "nothing was recorded before the pause")


class PauseOnAsterisk16Tests(PauseTests):
    """The same tests on Asterisk 16."""

    recipe = ASTERISK_16


class ManagerTests(RecordedCallTestCase):
    """The connection to AMI is away: a proxy ends it, since Asterisk 16 has no command `manager kick session`."""

    stack: Stack | None = None

    async def test_a_call_is_recorded_from_when_ami_is_connected(self) -> None:
        stack = await self.stack_for_calls()
        await self.refuse_ami(stack)
        _, profile, caller, _ = await self.start_call(7.0)
        await self.live_recording_path(stack, profile)
        await self.sleep(1.0)
        await self.accept_ami(stack)
        recording, samples, rate = await self.finished_recording(stack, profile, caller)
        at = self.event_times(recording)
        failure = next(entry for entry in recording["timeline"] if entry["event"] == "recording.failed")
        self.assertIn("AMI", failure["detail"])
        self.assertGreater(at["recording.started"], 0.9)
        self.assertApproximates(len(samples) / rate, 7.0 - at["recording.started"], 0.4)
        self.assert_tones(samples, rate, [(0.3, len(samples) / rate - 0.3)])
        self.assertEqual(recording["verdict"]["reasons"], ["truncated"])

    async def test_a_call_that_was_paused_without_ami_is_recorded_from_its_resumption(self) -> None:
        stack = await self.stack_for_calls()
        await self.refuse_ami(stack)
        _, profile, caller, _ = await self.start_call(6.0)
        path = await self.live_recording_path(stack, profile)
        self.assertEqual((await stack.request("POST", path, {"state": "paused"})).status, 200)
        await self.accept_ami(stack)
        await self.sleep(0.5)
        self.assertEqual((await stack.request_json("GET", path))["state"], "paused")
        self.assertEqual((await stack.request("POST", path, {"state": "recording"})).status, 200)
        recording, samples, rate = await self.finished_recording(stack, profile, caller)
        at = self.event_times(recording)
        self.assertGreater(at["resumed"], at["paused"] + 0.5)
        self.assertGreater(at["recording.started"], at["resumed"] - 0.2)
        self.assertApproximates(len(samples) / rate, 6.0 - at["recording.started"], 0.4)
        self.assert_tones(samples, rate, [(0.3, len(samples) / rate - 0.3)])

    async def stack_for_calls(self) -> Stack:
        if self.stack is None:
            self.stack, self.proxy = await self.start_stack_behind_proxy()
            self.port = self.proxy.listening_port
        return self.stack

    async def refuse_ami(self, stack: Stack) -> None:
        """Close the connection of voxrec, and refuse others."""
        await self.proxy.stop()
        await self.wait_for_ami(stack, connected=False)

    async def accept_ami(self, stack: Stack) -> None:
        self.proxy.listen(self.reactor, self.port)
        await self.wait_for_ami(stack, connected=True)

    async def wait_for_ami(self, stack: Stack, *, connected: bool) -> None:
        async def reached() -> bool:
            return await self.metric(stack, "voxrec_ami_connected") == float(connected)

        self.assertTrue(await stack.wait_until(reached, 30), f"AMI connected: {not connected}")


class ManagerOnAsterisk16Tests(ManagerTests):
    """The same on Asterisk 16."""

    recipe = ASTERISK_16


class FailureTests(RecordedCallTestCase):
    async def test_files_that_cannot_be_opened(self) -> None:
        stack = await shared_stack(self.recipe)
        directory = stack.asterisk.recording_directory
        mode = directory.stat().st_mode
        directory.chmod(0o500)
        self.addCleanup(directory.chmod, mode)
        before = await self.failures(stack)
        _, profile, caller, _ = await self.start_call(13.0)
        await caller.wait_until_ended(60)
        recording = await stack.wait_for_recording(profile)
        self.assertEqual((recording["state"], recording["verdict"]["reasons"]), ("absent", ["empty"]))
        failed = [entry["by"] for entry in recording["timeline"] if entry["event"] == "recording.failed"]
        self.assertEqual(failed, ["caller", "callee"])
        self.assertEqual(await self.failures(stack), before + 2)

    async def failures(self, stack: Stack) -> float:
        return await self.metric(stack, "voxrec_recordings_failed_total")

    async def test_asterisk_is_killed(self) -> None:
        stack = make_stack(recipe=self.recipe)
        self.addCleanup(stack.kill)
        await stack.start()
        created, callee = await demo_call.create_profile_and_callee(
            stack, self.reactor, self.directory, record=True, recordChannels="dual", recordBeepAtStart=False
        )
        self.kill_at_end(callee)
        caller = await self.start_caller(stack, created["id"])
        await self.sleep(5.0)
        stack.asterisk.kill()
        await stack.asterisk.restart(self.reactor)
        recording = await stack.wait_for_recording(created["id"], 40)
        caller.kill()
        self.assertEqual((recording["state"], recording["verdict"]["repaired"]), ("completed", True))
        self.assertGreater(recording["duration"], 4.5 - BLOCK_SECONDS)
        reasons = "Asterisk did not end everything"
        self.assertEqual(stack.count_log_lines(reasons), 0)

    async def start_caller(self, stack: Stack, profile: str) -> Any:
        tone = tones.write_tone(self.directory / "caller.tone.wav", demo_call.CALLER_HZ, 1.0)
        caller = Phone.make_caller(
            self.reactor, self.directory, f"sip:{profile}@{stack.sip_host_port}", name="caller", play=tone, seconds=30.0
        )
        self.kill_at_end(caller)
        await caller.start()
        await caller.wait_for("confirmed")
        return caller


class FailureOnAsterisk16Tests(FailureTests):
    """The same tests on Asterisk 16."""

    recipe = ASTERISK_16
