"""Tests of voxrec.calls.recording.disk_space."""

from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from voxrec.calls.recording.disk_space import DiskSpaceMonitor


class DiskSpaceMonitorTests(SynchronousTestCase):
    def test_state_and_notification_at_every_check(self) -> None:
        readings: list[Any] = [5000, 999, 998, OSError("Asterisk runs on another host"), 999, 1000]
        low: list[float] = []
        sufficient = []

        async def defer_to_thread(_function: Any, *_args: Any) -> Any:
            reading = readings.pop(0)
            if isinstance(reading, OSError):
                raise reading

            class Usage:
                free = reading

            return Usage

        clock = Clock()
        monitor = DiskSpaceMonitor(clock, Path("/spool"), 1000, defer_to_thread)
        monitor.set_low_space_callback(lambda: low.append(monitor.free))
        monitor.startService()
        while True:
            sufficient.append(monitor.sufficient)
            if not readings:
                break
            clock.advance(2)
        self.successResultOf(monitor.stopService())
        self.assertEqual(sufficient, [True, False, False, True, False, True])
        self.assertEqual(low, [999, 998, 999])
        self.assertEqual(clock.getDelayedCalls(), [])
