"""Ends channels and bridges of voxrec's application that belong to no call, also if no event has announced them."""

from collections.abc import Callable
from typing import Final, Protocol

from twisted.application.internet import TimerService
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec.calls.stasis.reconciliation import OrphanedChannels
from voxrec.errors import VoxrecError

SWEEP_INTERVAL: Final = 10.0
"""Seconds between searches."""


class Orphans(Protocol):
    """Finds and ends what belongs to no call."""

    async def find_orphaned(self) -> OrphanedChannels:
        """Return what belongs to no call. Raises a VoxrecError."""
        ...

    async def end_orphaned(self, orphaned: OrphanedChannels, /) -> None:
        """End it. Raises a VoxrecError."""
        ...


class OrphanSweep(TimerService):
    """Searches every 10 s while ``is_connected``, and ends what belonged to no call in two searches in succession.

    A channel can be in the application before its event is read, or just after its call is over.
    """

    name = "orphaned channels"
    _log = Logger()

    def __init__(self, clock: IReactorTime, orphans: Orphans, is_connected: Callable[[], bool]) -> None:
        super().__init__(SWEEP_INTERVAL, self.sweep)
        self.clock = clock
        self._orphans = orphans
        self._is_connected = is_connected
        self._found_before = OrphanedChannels()

    async def sweep(self) -> None:
        """Search once."""
        if not self._is_connected():
            return
        try:
            found = await self._orphans.find_orphaned()
            ending, self._found_before = self._found_before.still_orphaned(found), found
            if ending:
                await self._orphans.end_orphaned(ending)
        except VoxrecError as error:
            self._log.warn("the search for channels without a call failed, and is repeated: {error}", error=error)
