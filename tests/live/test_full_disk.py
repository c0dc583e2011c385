"""The file system to which Asterisk records fills up during a call: what is lost, and what voxrec says."""

import os
import subprocess
from typing import Any

from tests.live.live_test_case import RecordedCallTestCase, make_stack
from voxrec.sandbox import demo_call
from voxrec.sandbox.stack import Stack

SIZE = 256 * 1024
"""Bytes of the file system: 8.2 s of both sides at 8 kHz and 16 bits."""
BYTES_PER_SECOND = 32_000
BLOCK_SECONDS = 2.05
"""Asterisk writes each side in blocks of 32 KiB: the last one of one side can find space that the other's does not."""

DELAY_SECONDS = 0.2
"""The time from the answer, from which the timeline counts, to the begin of the file."""


class FullDiskTestCase(RecordedCallTestCase):
    """Asterisk records to a tmpfs of 256 KiB; voxrec ends recordings at ``floor`` free bytes."""

    floor = 0

    async def stack_for_calls(self) -> Stack:
        if os.geteuid():
            self.skipTest("mount(2) needs root")
        stack = make_stack({"asterisk": {"recordings_floor": self.floor}}, self.recipe)
        self.spool = stack.asterisk.recording_directory
        self.spool.mkdir(parents=True)
        self.run_program("mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0755", "tmpfs", str(self.spool))
        self.addCleanup(self.run_program, "umount", "--lazy", str(self.spool))
        self.addCleanup(stack.stop)
        await stack.start()
        return stack

    def run_program(self, *command: str) -> None:
        subprocess.run(command, check=True)  # noqa: S603

    def free_bytes(self) -> int:
        usage = os.statvfs(self.spool)
        return usage.f_bavail * usage.f_frsize

    async def record_until_full(self) -> tuple[Stack, dict[str, Any], float]:
        """Record a call until 3 s after the end of the space; return its Recording, and the seconds of the call."""
        stack, profile, caller, _ = await self.start_call(60.0)

        async def full() -> bool:
            return self.free_bytes() <= self.floor

        self.assertTrue(await stack.wait_until(full, 40), f"{self.free_bytes()} bytes are free")
        await self.sleep(3.0)
        await caller.hang_up()
        recording, samples, rate = await self.finished_recording(stack, profile, caller)
        seconds = len(samples) / rate
        end = self.end_of_audio(recording, seconds)
        self.assert_tones(samples, rate, [(demo_call.EDGE_SECONDS, end - demo_call.EDGE_SECONDS)])
        return stack, recording, seconds

    def end_of_audio(self, recording: dict[str, Any], seconds: float) -> float:
        """Return the time up to which the file of ``seconds`` must have the audio of both sides."""
        raise NotImplementedError


class FullDiskTests(FullDiskTestCase):
    def end_of_audio(self, recording: dict[str, Any], seconds: float) -> float:
        return seconds - BLOCK_SECONDS

    async def test_asterisk_cannot_write(self) -> None:
        """Asterisk discards what it cannot write. The file ends there, and the verdict says that it is too short."""
        _, recording, seconds = await self.record_until_full()
        self.assertApproximates(seconds, SIZE / BYTES_PER_SECOND, 1.5)
        at = self.event_times(recording)
        self.assertGreater(at["hangup"], seconds + 2.0)
        self.assertEqual(recording["verdict"]["reasons"], ["truncated"])


class FloorTests(FullDiskTestCase):
    floor = SIZE // 2

    def end_of_audio(self, recording: dict[str, Any], seconds: float) -> float:
        """Asterisk ends the files of the two sides one after the other, when voxrec has noted the end."""
        return min(seconds, self.event_times(recording)["recording.stopped"] - DELAY_SECONDS)

    async def test_voxrec_ends_the_recording(self) -> None:
        """It does so before Asterisk has to discard audio, and says why."""
        stack, recording, seconds = await self.record_until_full()
        self.assertGreater(seconds, (SIZE - self.floor) / BYTES_PER_SECOND - 1.0)
        (stop,) = [entry for entry in recording["timeline"] if entry["event"] == "recording.stopped"]
        self.assertEqual(stop["detail"], "disk-full")
        self.assertApproximates(stop["at"], seconds, 0.5)
        self.assertEqual(stack.count_log_lines(f"below the floor of {self.floor}"), 1)
