"""Checks whether Asterisk can play the default announcement, by playing it into an empty bridge.

Asterisk runs as another account, perhaps in a container, so only Asterisk itself can tell: it may not be allowed to
read the file, or see another file system. It reports a file that it cannot open only when it plays it.
"""

import math
from collections.abc import Callable
from typing import Final
from uuid import uuid4

from twisted.application.internet import TimerService
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec.ari.client import AriClient
from voxrec.ari.events import Playback
from voxrec.calls.channels.ids import ANNOUNCEMENT, BRIDGE, owned_id
from voxrec.errors import VoxrecError
from voxrec.threads import DeferToThread

_INTERVAL: Final = 60.0  # seconds between checks
_FAILURE_TIMEOUT: Final = 0.5  # seconds; Asterisk opens the file at once, and the announcement is longer
_NAME: Final = "voxrec-announcement-check"


class AnnouncementCheck(TimerService):
    """Plays an announcement into an empty bridge after each connect to Asterisk, and every 60 s.

    ``media`` returns its media URI. ``explain`` returns what may be wrong with the files, for the log; it blocks, and
    runs in a thread.
    """

    name = "announcement check"
    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        asterisk: AriClient,
        media: Callable[[], str],
        explain: Callable[[], str],
        defer_to_thread: DeferToThread,
    ) -> None:
        super().__init__(_INTERVAL, self._check_while_connected)
        self.clock = self._clock = clock
        self._asterisk = asterisk
        self._media = media
        self._explain = explain
        self._defer_to_thread = defer_to_thread
        self._connected = False
        self._checking = False
        self._playback = ""
        self._finished: Deferred[bool] = Deferred()
        self.playable: bool | None = None
        """Whether Asterisk could play the announcement at the last check; None before the first."""

    @property
    def gauge(self) -> float:
        """1 if the announcement can be played, 0 if not, NaN if that is not known."""
        return math.nan if self.playable is None else float(self.playable)

    async def asterisk_connected(self) -> None:
        """Check now, and from now on."""
        self._connected = True
        await self._check_while_connected()

    def asterisk_disconnected(self) -> None:
        """Wait for the next connect."""
        self._connected = False

    def playback_finished(self, playback: Playback) -> None:
        """Handle PlaybackFinished, of this check or of anything else."""
        if playback.id == self._playback and not self._finished.called:
            self._finished.callback(playback.state == "done")

    async def _check_while_connected(self) -> None:
        if not self._connected or self._checking:
            return
        self._checking = True
        try:
            playable = await self._play()
        except VoxrecError as error:
            self._log.warn(
                "could not check whether Asterisk can play the announcement; retrying in {interval:.0f} s: {error}",
                interval=_INTERVAL,
                error=error,
            )
        else:
            await self._report(playable)
        finally:
            self._checking = False

    async def _play(self) -> bool:
        # ids of a call that does not exist: if voxrec dies, the next process removes the bridge
        call_id = uuid4()
        bridge, self._playback = owned_id(call_id, BRIDGE), owned_id(call_id, ANNOUNCEMENT)
        self._finished = Deferred()
        await self._asterisk.create_bridge(bridge, _NAME)
        try:
            await self._asterisk.subscribe_to_bridge(bridge)
            await self._asterisk.play_to_bridge(bridge, self._playback, self._media())
            return await self._finished.addTimeout(
                _FAILURE_TIMEOUT, self._clock, onTimeoutCancel=lambda _result, _timeout: True
            )
        finally:
            self._playback = ""
            await self._asterisk.destroy_bridge(bridge)

    async def _report(self, playable: bool) -> None:
        before, self.playable = self.playable, playable
        if playable:
            if before is False:
                self._log.warn("Asterisk can play the announcement {media} again", media=self._media())
            return
        if before is not False:
            self._log.critical(
                "Asterisk cannot play the announcement {media}; calls are recorded without it, or not at all if their"
                " Profile requires it: {reason}",
                media=self._media(),
                reason=await self._defer_to_thread(self._explain),
            )
