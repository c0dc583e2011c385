"""The clock of the machine is set forward or back by an hour while a call is recorded."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final

from tests.live.live_test_case import RecordedCallTestCase, make_stack
from voxrec.sandbox.stack import Stack

# Runs twistd with a wall clock that differs by the seconds in a file, its first argument.
_TWISTD: Final = """
import sys, time
offset, wall_clock = sys.argv[1], time.time
def read_stepped_clock():
    with open(offset) as file:
        return wall_clock() + float(file.read() or 0)
time.time = read_stepped_clock
from twisted.scripts.twistd import run
sys.argv = ["twistd", *sys.argv[2:]]
run()
"""
_HOUR: Final = 3600


class ClockStepTests(RecordedCallTestCase):
    async def stack_for_calls(self) -> Stack:
        return self.stack

    async def test_a_recorded_call(self) -> None:
        self.stack = stack = make_stack({"calls": {"max_call": 600}})
        self.addCleanup(stack.stop)
        offset = self.directory / "offset"
        self.patch(stack, "daemon_command", _with_stepped_clock(stack.daemon_command, offset))
        offset.write_text("0")
        await stack.start()
        for step in (_HOUR, -_HOUR):
            offset.write_text("0")
            _, profile, caller, _ = await self.start_call(6.0)
            await self.sleep(1)
            path = await self.live_recording_path(stack, profile)
            await stack.request_json("POST", path, {"state": "paused", "resumeAfter": 2})
            offset.write_text(str(step))
            recording, samples, rate = await self.finished_recording(stack, profile, caller)
            talked = caller.event("disconnected").monotonic - caller.event("confirmed").monotonic
            self.assertApproximates(talked, 6.0, 0.5)  # the maximum of 600 s was not reached
            self.assertApproximates(len(samples) / rate, talked, 0.3)
            ((paused, resumed),) = self.pauses(recording)
            self.assertApproximates(resumed - paused, 2.0, 0.2)
            self.assertApproximates(self.event_times(recording)["hangup"], talked, 0.3)
            self.assertTrue(recording["verdict"]["ok"], recording["verdict"])


def _with_stepped_clock(command: Callable[[Path], list[str]], offset: Path) -> Callable[[Path], list[str]]:
    return lambda config_file: [sys.executable, "-c", _TWISTD, str(offset), *command(config_file)[1:]]
