"""The listeners of one call: they share what Asterisk sends, and hear nothing while its recording is paused."""

import secrets
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from twisted.internet.defer import Deferred

from voxrec.calls.listening.call_audio import CallAudio, ListeningContext, encoding_of
from voxrec.calls.listening.frames import FRAMES_PER_SECOND, Frame
from voxrec.calls.listening.listener import Listener
from voxrec.calls.listening.rtp import NARROWBAND
from voxrec.calls.listening.tap import Connection, TapCore, TapInputs, tap_machine
from voxrec.calls.live_call import LiveCall
from voxrec.deadline import Deadline
from voxrec.model import RecordingState

CALL_ENDED: Final = "the call has ended"
NO_AUDIO: Final = "Asterisk sends no audio"
SILENCE_AFTER_PAUSE: Final = 1.0
"""Seconds after a pause in which listeners hear nothing: what was said in the pause is still on its way."""
INTERRUPTED_AFTER: Final = 3.0
"""Seconds without audio after which it is requested again."""
RENEWAL_DELAY: Final = 1.0
"""Seconds from a sound, or the replacement of the caller, until the decoders are renewed."""


class CallListeners:
    """The listeners of ``call``. ``closed`` is called when there are none, and nothing is left in Asterisk."""

    def __init__(
        self,
        context: ListeningContext,
        call: LiveCall,
        silent_in_pauses: Callable[[], bool],
        closed: Callable[["CallListeners"], None],
    ) -> None:
        self.call = call
        self._context = context
        self._clock = clock = context.clock
        self._asterisk = context.asterisk
        self._silent_in_pauses = silent_in_pauses
        self._listeners: list[Listener] = []
        self._encoding = NARROWBAND
        self._current: CallAudio | None = None
        self._in_asterisk: set[CallAudio] = set()
        self._key, self._attempts = secrets.token_hex(4), 0
        self._last_frame_at = self._silent_until = clock.seconds()
        self._renewal = Deadline(clock)
        self._started = False
        self._starting: dict[Listener, Deferred[None]] = {}
        self._inputs: TapInputs = tap_machine(
            TapCore(
                clock,
                self._connect,
                started=self._audio_started,
                failed=self._audio_failed,
                lost=lambda: self.end_all(NO_AUDIO),
                closed=lambda: closed(self),
            )
        )

    def __iter__(self) -> Iterator[Listener]:
        return iter(tuple(self._listeners))

    def __len__(self) -> int:
        return len(self._listeners)

    async def add(self, listener: Listener) -> None:
        """Add a listener, and return when there is audio. Raises a VoxrecError if there can be none."""
        self._listeners.append(listener)
        if not self._started:
            start = self._starting[listener] = Deferred()
            if len(self._listeners) == 1:
                self._inputs.open()
            await start
        listener.rate = self._encoding.rate

    def remove(self, listener: Listener) -> None:
        """Remove a listener; with the last one, everything is removed from Asterisk."""
        if listener in self._listeners:
            self._listeners.remove(listener)
            if (start := self._starting.pop(listener, None)) is not None:
                start.callback(None)
            if not self._listeners:
                self._renewal.cancel()
                self._inputs.close()

    def end_all(self, reason: str) -> None:
        """End all listeners."""
        for listener in self:
            listener.end(reason)

    def check(self) -> None:
        """Request the audio again if it has stopped; call this every second."""
        if self._started and self._clock.seconds() - self._last_frame_at > INTERRUPTED_AFTER:
            self._inputs.interrupted()

    # Events from Asterisk.

    def owns(self, object_id: str) -> bool:
        """Return whether a channel or bridge in Asterisk was created for these listeners."""
        return any(audio.owns(object_id) for audio in self._in_asterisk)

    def channel_entered(self, channel: str) -> None:
        """Handle the StasisStart of a channel."""
        for audio in tuple(self._in_asterisk):
            audio.channel_entered(channel)

    def channel_gone(self, channel: str) -> None:
        """Handle the end of a channel, such as that of the far end, with which its snoop channels end."""
        if self._current is not None and self._current.is_channel(channel):
            self._inputs.interrupted()

    def decoders_outdated(self) -> None:
        """Renew the decoders of the far end's channel soon: its audio has other sequence numbers from now on.

        Only decoders that drop late audio need it (docs/asterisk.md).
        """
        if self._asterisk.drops_late_audio and self._listeners:
            self._renewal.start(RENEWAL_DELAY, self._inputs.interrupted)

    # The audio.

    def _connect(self) -> tuple[Connection, Coroutine[Any, Any, None]]:
        self._attempts += 1
        audio = CallAudio(self._context, self.call.id, f"{self._key}-{self._attempts}", self._frame_received)
        self._current = audio
        self._in_asterisk.add(audio)
        return _TrackedAudio(audio, self._in_asterisk), self._open(audio)

    async def _open(self, audio: CallAudio) -> None:
        leg = self.call.leg
        if not self._started:
            self._encoding = await encoding_of(self._asterisk, leg)
        await audio.open(leg, self._encoding)
        self._last_frame_at = self._clock.seconds()

    def _audio_started(self) -> None:
        self._started = True
        starting, self._starting = self._starting, {}
        for start in starting.values():
            start.callback(None)

    def _audio_failed(self, error: BaseException) -> None:
        starting, self._starting = self._starting, {}
        for start in starting.values():
            start.errback(error)

    def _frame_received(self, frame: Frame) -> None:
        self._last_frame_at = self._clock.seconds()
        heard = self._silence() if self._is_private() else frame
        for listener in self:
            listener.add(heard)

    def _is_private(self) -> bool:
        """Return whether the parties say now what must not be recorded, or have said it just before."""
        recorder, now = self.call.recorder, self._clock.seconds()
        if recorder is not None and self._silent_in_pauses():
            paused = recorder.recording.state is RecordingState.PAUSED
            if recorder.is_live and (paused or recorder.pause_in_progress):
                self._silent_until = now + SILENCE_AFTER_PAUSE
        return now < self._silent_until

    def _silence(self) -> Frame:
        silence = np.zeros(self._encoding.rate // FRAMES_PER_SECOND, dtype=np.int16)
        return Frame(silence, silence)


@dataclass(frozen=True, slots=True)
class _TrackedAudio:
    """A connection, which is in ``in_asterisk`` until it is removed."""

    audio: CallAudio
    in_asterisk: set[CallAudio]

    async def remove(self) -> None:
        """See `Connection`."""
        await self.audio.remove()
        self.in_asterisk.discard(self.audio)
