"""How much room there is where Asterisk records.

A recording that meets a full disk ends without a word, and a full system disk ends more than that. So below a floor
nobody is recorded, and calls go on; with room again, the calls that come are recorded again.
"""

import math
import shutil
from collections.abc import Callable
from pathlib import Path

from twisted.logger import Logger

from voxrec.threads import DeferToThread


class DiskSpaceMonitor:
    """Looks when `look` is called; ``on_low`` is called each time that there is not ``floor`` bytes."""

    _log = Logger()

    def __init__(
        self, directory: Path, floor: int, defer_to_thread: DeferToThread, *, on_low: Callable[[], object]
    ) -> None:
        self._directory = directory
        self._floor = floor
        self._defer_to_thread = defer_to_thread
        self._on_low = on_low
        self.enough = True
        """Whether there is room to record. Where nobody can tell, there is: Asterisk may be on another machine."""
        self.free = math.nan
        """Bytes, as last seen."""

    async def look(self) -> None:
        """Look again."""
        try:
            usage = await self._defer_to_thread(shutil.disk_usage, self._directory)
        except OSError:
            self.free, enough = math.nan, True
        else:
            self.free, enough = usage.free, usage.free >= self._floor
        if enough != self.enough:
            self.enough = enough
            if enough:
                self._log.warn("{directory} has room again: calls are recorded", directory=str(self._directory))
            else:
                self._log.critical(
                    "{directory} has {free} bytes left, less than the floor of {floor}: calls are not recorded",
                    directory=str(self._directory),
                    free=int(self.free),
                    floor=self._floor,
                )
        if not enough:
            self._on_low()
