"""Plays the beeps of a recorded call to both parties.

A snoop channel whispers them: into the caller's channel, where the MixMonitor does not hear them, or into the current
leg, from where they reach the recording as if the far end had sent them.
"""

from collections.abc import Callable
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec.ari.client import AriClient
from voxrec.calls.channels.channel_ready import ChannelReady
from voxrec.calls.channels.ids import WHISPER, owned_id
from voxrec.calls.channels.steps import is_channel_gone
from voxrec.calls.signalling.causes import Cause
from voxrec.deadline import Deadline
from voxrec.errors import VoxrecError


class Beeper:
    """Beeps at the start of a recording, every ``interval`` seconds, or both; never while it is not ``is_audible``.

    ``channel`` returns the channel to whisper into. ``on_beep`` is called for each beep that Asterisk accepts.
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
        is_audible: Callable[[], bool],
        on_beep: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._asterisk = asterisk
        self._call_id = call_id
        self._channel = channel
        self._whisper = owned_id(call_id, WHISPER)
        self._media = media
        self._language = language
        self._interval = interval
        self._is_audible = is_audible
        self._on_beep = on_beep
        self._whisper_ready: ChannelReady | None = None  # None: there is no whisper channel
        self._next_at = 0.0
        self._timer = Deadline(clock)

    def start(self, *, at_start: bool) -> None:
        """Start. Intervals count from now, however long the playback of a beep takes."""
        self._next_at = self._clock.seconds()
        self._schedule()
        if at_start:
            Deferred.fromCoroutine(self._beep())

    def take_over(self, since_last: float, *, whisper_exists: bool) -> None:
        """Continue the beeps of another process, the last of which was ``since_last`` seconds ago."""
        if whisper_exists:
            self._whisper_ready = ChannelReady(self._clock)
            self._whisper_ready.entered()
        self._next_at = self._clock.seconds() - since_last
        self._schedule()

    def stop(self) -> None:
        """Stop because the call ends. The whisper channel ends with the channel that it whispers into."""
        self._timer.cancel()

    def end(self) -> None:
        """Stop while the call continues."""
        self.stop()
        if self._whisper_ready is not None:
            Deferred.fromCoroutine(self._hang_up())

    def whisper_entered(self) -> None:
        """Handle the StasisStart of the whisper channel."""
        if self._whisper_ready is not None:
            self._whisper_ready.entered()

    def leg_replaced(self) -> None:
        """Create another whisper channel for the next beep: the one of the replaced leg ends with that leg."""
        self._whisper_ready = None

    def playback_finished(self) -> None:
        """Handle PlaybackFinished: without an interval, no other beep needs the whisper channel."""
        if not self._interval:
            Deferred.fromCoroutine(self._hang_up())

    def _schedule(self) -> None:
        if self._interval:
            now = self._clock.seconds()
            while self._next_at <= now:
                self._next_at += self._interval
            self._timer.start(self._next_at - now, self._due)

    def _due(self) -> None:
        self._schedule()
        Deferred.fromCoroutine(self._beep())

    async def _beep(self) -> None:
        if not self._is_audible():
            return
        # the time makes the id differ from those of another process from which this one took over the call
        playback = owned_id(self._call_id, f"beep-{round(self._clock.seconds() * 1000)}")
        try:
            ready = self._whisper_ready
            if ready is None:
                ready = self._whisper_ready = ChannelReady(self._clock)
                await self._asterisk.snoop(self._channel(), self._whisper, "whisper", spy="none", whisper="both")
            await ready.wait()
            await self._asterisk.play_to_channel(self._whisper, playback, self._media, language=self._language)
            self._on_beep()
        except VoxrecError as error:
            self._whisper_ready = None  # the next beep creates another whisper channel
            if is_channel_gone(error):
                self._log.debug("call {call}: no beep, a party has hung up: {error}", call=self._call_id, error=error)
            else:
                self._log.warn("call {call}: beep failed: {error}", call=self._call_id, error=error)

    async def _hang_up(self) -> None:
        self._whisper_ready = None
        try:
            await self._asterisk.hang_up(self._whisper, Cause.NORMAL)
        except VoxrecError as error:
            self._log.warn(
                "call {call}: the channel that plays beeps could not be ended and stays until the call ends: {error}",
                call=self._call_id,
                error=error,
            )
