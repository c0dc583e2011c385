"""The beeps of a recorded call, heard by both parties.

They are whispered by a channel of their own: into the caller's channel, where the snoops that record do not hear them,
or into the far end's, from where they reach the recording as if the far end had made them.
"""

from collections.abc import Callable
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from voxrec.ari.client import AriClient
from voxrec.calls.causes import Cause
from voxrec.calls.channel_ready import ChannelReady
from voxrec.calls.ids import WHISPER, owned_id
from voxrec.errors import VoxrecError


class Beeper:
    """Beeps once, every ``interval`` seconds, or both, but not while ``silent``; ``channel`` is whispered into.

    ``beeped`` is called for each beep that Asterisk took.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        asterisk: AriClient,
        call_id: UUID,
        channel: Callable[[], str],
        *,
        media: str,
        language: str | None,
        interval: int,
        silent: Callable[[], bool],
        beeped: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._asterisk = asterisk
        self._call_id = call_id
        self._channel = channel
        self._whisper = owned_id(call_id, WHISPER)
        self._media = media
        self._language = language
        self._interval = interval
        self._silent = silent
        self._beeped = beeped
        self._open = False
        self._arrival = ChannelReady(clock)
        self._next = 0.0
        self._timer: IDelayedCall | None = None

    def start(self, *, at_start: bool) -> None:
        """Begin. An interval counts from now, in step with the clock, however long a beep takes."""
        self._next = self._clock.seconds()
        self._wait()
        if at_start:
            Deferred.fromCoroutine(self._beep())

    def adopt(self, since_last: float, *, is_open: bool) -> None:
        """Go on with what another process began: the last beep was so many seconds ago."""
        self._open = is_open
        self._arrival.came()
        self._next = self._clock.seconds() - since_last
        self._wait()

    def stop(self) -> None:
        """No more beeps. The whispering channel goes with the one that it whispers to."""
        timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()

    def end(self) -> None:
        """No more beeps in a call that goes on."""
        self.stop()
        if self._open:
            Deferred.fromCoroutine(self._close())

    def whisper_entered(self) -> None:
        """The whispering channel is there."""
        self._arrival.came()

    def moved(self) -> None:
        """The far end's channel is another one: what whispered into the old one went with it."""
        self._open = False

    def sounded(self) -> None:
        """A beep was played to its end: without an interval the whispering channel has done its work."""
        if not self._interval:
            Deferred.fromCoroutine(self._close())

    def _wait(self) -> None:
        if self._interval:
            now = self._clock.seconds()
            while self._next <= now:
                self._next += self._interval
            self._timer = self._clock.callLater(self._next - now, self._due)

    def _due(self) -> None:
        self._wait()
        Deferred.fromCoroutine(self._beep())

    async def _beep(self) -> None:
        if self._silent():
            return
        # by its time: no beep of another process that this one took over from has the same
        playback = owned_id(self._call_id, f"beep-{round(self._clock.seconds() * 1000)}")
        try:
            if not self._open:
                self._open = True
                self._arrival = ChannelReady(self._clock)
                await self._asterisk.snoop(self._channel(), self._whisper, "whisper", spy="none", whisper="both")
            await self._arrival.there()
            await self._asterisk.play_to_channel(self._whisper, playback, self._media, language=self._language)
            self._beeped()
        except VoxrecError as error:
            self._open = False  # whatever became of it, the next one tries anew
            self._log.warn("call {call}: no beep: {error}", call=self._call_id, error=error)

    async def _close(self) -> None:
        self._open = False
        try:
            await self._asterisk.hang_up(self._whisper, Cause.NORMAL)
        except VoxrecError as error:
            self._log.warn("call {call}: the beep's channel stays: {error}", call=self._call_id, error=error)
