"""Watches the free space of the file system to which Asterisk records.

When the disk is full, Asterisk discards what it cannot write and continues, so that audio would be missing in the
middle of a file; and a full system disk stops more than recordings. Below a floor voxrec therefore stops all
recordings; calls continue, and new calls are recorded again once there is free space.
"""

import math
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

from twisted.application.internet import TimerService
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec.threads import DeferToThread

_INTERVAL: Final = 2.0  # seconds between checks


class DiskSpaceMonitor(TimerService):
    """Checks every 2 s whether at least ``floor`` bytes are free; see `set_low_space_callback`."""

    name = "disk space"
    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        directory: Path,
        floor: int,
        defer_to_thread: DeferToThread,
    ) -> None:
        super().__init__(_INTERVAL, self.check)
        self.clock = clock
        self._directory = directory
        self.floor = floor
        """Free bytes that are required."""
        self._defer_to_thread = defer_to_thread
        self._on_low: Callable[[], object] = lambda: None
        self.sufficient = True
        """Whether there is free space to record. True if it cannot be read: Asterisk may run on another host."""
        self.free = math.nan
        """Free bytes at the last check; NaN if they could not be read."""

    def set_low_space_callback(self, callback: Callable[[], object]) -> None:
        """Call ``callback`` at every check that finds fewer than ``floor`` bytes free."""
        self._on_low = callback

    def set_floor(self, floor: int) -> None:
        """Require ``floor`` free bytes from the next check on."""
        self.floor = floor

    async def check(self) -> None:
        """Read the free space and act on it."""
        try:
            usage = await self._defer_to_thread(shutil.disk_usage, self._directory)
        except OSError:
            self.free, sufficient = math.nan, True
        else:
            self.free, sufficient = usage.free, usage.free >= self.floor
        if sufficient != self.sufficient:
            self.sufficient = sufficient
            if sufficient:
                self._log.warn(
                    "{directory} has sufficient free space again; new calls are recorded",
                    directory=str(self._directory),
                )
            else:
                self._log.critical(
                    "{directory} has {free} bytes free, below the floor of {floor}; calls are not recorded until"
                    " there is more free space",
                    directory=str(self._directory),
                    free=int(self.free),
                    floor=self.floor,
                )
        if not sufficient:
            self._on_low()
