"""The beeps of a recorded call: heard by both parties, and not in the recording.

They are whispered into the caller's channel by a channel of their own (ASTERISK: what a snoop whispers is not heard by
the other snoops).
"""

from collections.abc import Callable
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import LoopingCall
from twisted.logger import Logger

from voxrec.ari.client import AriClient
from voxrec.calls.causes import Cause
from voxrec.calls.names import owned_id
from voxrec.errors import VoxrecError


class Beeper:
    """Beeps once, every ``interval`` seconds, or both, but not while ``silent``.

    ``beeped`` is called for each beep that Asterisk took.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        asterisk: AriClient,
        call_id: UUID,
        channel: str,
        *,
        media: str,
        interval: int,
        silent: Callable[[], bool],
        beeped: Callable[[], None],
    ) -> None:
        self._asterisk = asterisk
        self._call_id = call_id
        self._channel = channel
        self._whisper = owned_id(call_id, "whisper")
        self._media = media
        self._interval = interval
        self._silent = silent
        self._beeped = beeped
        self._count = 0
        self._open = False
        self._loop = LoopingCall(lambda: Deferred.fromCoroutine(self._beep()))
        self._loop.clock = clock

    def start(self, *, at_start: bool) -> None:
        """Begin; an interval counts from now, in step with the clock, however long a beep takes."""
        if self._interval:
            self._loop.start(self._interval, now=at_start)
        elif at_start:
            Deferred.fromCoroutine(self._beep())

    def stop(self) -> None:
        """No more beeps. The whispering channel goes with the one that it whispers to."""
        if self._loop.running:
            self._loop.stop()

    def sounded(self) -> None:
        """A beep was played to its end: without an interval the whispering channel has done its work."""
        if not self._interval:
            Deferred.fromCoroutine(self._close())

    async def _beep(self) -> None:
        if self._silent():
            return
        self._count += 1
        try:
            if not self._open:
                self._open = True
                await self._asterisk.snoop(self._channel, self._whisper, "whisper", spy="none", whisper="both")
            playback = owned_id(self._call_id, f"beep-{self._count}")
            await self._asterisk.play_to_channel(self._whisper, playback, self._media)
            self._beeped()
        except VoxrecError as error:
            self._log.warn("call {call}: no beep: {error}", call=self._call_id, error=error)

    async def _close(self) -> None:
        self._open = False
        try:
            await self._asterisk.hang_up(self._whisper, Cause.NORMAL)
        except VoxrecError as error:
            self._log.warn("call {call}: the beep's channel stays: {error}", call=self._call_id, error=error)
