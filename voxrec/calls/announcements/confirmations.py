"""Plays a sound that only one party of a call hears: the confirmation of a DTMF code, or the notice of a listener.

A snoop channel whispers it into what the party hears. The recording does not contain it: the frames of a channel are
recorded before whispered audio is added to them (Asterisk, main/audiohook.c).
"""

from collections.abc import Callable
from typing import Final
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec.ari.client import AriClient
from voxrec.calls.channels.channel_ready import ChannelReady
from voxrec.calls.channels.ids import confirmation_role, owned_id
from voxrec.calls.signalling.causes import Cause
from voxrec.deadline import Deadline
from voxrec.errors import VoxrecError
from voxrec.model import Side

_LONGEST: Final = 5.0  # seconds of a sound
_TONE_SECONDS: Final = 0.6  # Asterisk plays a tone until it is stopped


class Confirmations:
    """The confirmations of one call; ``channel_of`` returns the channel of a party."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        asterisk: AriClient,
        call_id: UUID,
        channel_of: Callable[[Side], str],
        *,
        language: str | None,
    ) -> None:
        self._clock = clock
        self._asterisk = asterisk
        self._call_id = call_id
        self._channel_of = channel_of
        self._language = language
        self._whispering: dict[str, tuple[ChannelReady, Deadline]] = {}  # by the role of the snoop channel

    def play(self, side: Side, media: str) -> None:
        """Play ``media``, an ARI media URI, to a party."""
        Deferred.fromCoroutine(self._play(side, media))

    def is_playing(self, role: str) -> bool:
        """Return whether the channel with this role plays a sound of this process."""
        return role in self._whispering

    async def _play(self, side: Side, media: str) -> None:
        # the time makes the id differ from those of another process from which this one took over the call
        role = confirmation_role(f"{side}-{round(self._clock.seconds() * 1000)}-{len(self._whispering)}")
        channel = owned_id(self._call_id, role)
        ready, end = self._whispering[role] = ChannelReady(self._clock), Deadline(self._clock)
        try:
            await self._asterisk.snoop(self._channel_of(side), channel, "confirm", spy="none", whisper="out")
            await ready.wait()
            end.start(_TONE_SECONDS if media.startswith("tone:") else _LONGEST, lambda: self.playback_finished(role))
            await self._asterisk.play_to_channel(channel, channel, media, language=self._language)
        except VoxrecError as error:
            self._log.warn(
                "call {call}: the {side} does not hear {media}: {error}",
                call=self._call_id,
                side=side,
                media=media,
                error=error,
            )
            self.playback_finished(role)

    def channel_entered(self, role: str) -> None:
        """Handle the StasisStart of a snoop channel of the call."""
        if role in self._whispering:
            self._whispering[role][0].entered()

    def playback_finished(self, role: str) -> None:
        """Handle PlaybackFinished: the snoop channel is not needed any more."""
        if role in self._whispering:
            _, end = self._whispering.pop(role)
            end.cancel()
            Deferred.fromCoroutine(self._hang_up(owned_id(self._call_id, role)))

    def stop(self) -> None:
        """Stop because the call ends, and the snoop channels with it, or another process has it."""
        for _, end in self._whispering.values():
            end.cancel()
        self._whispering.clear()

    async def _hang_up(self, channel: str) -> None:
        try:
            await self._asterisk.hang_up(channel, Cause.NORMAL)
        except VoxrecError as error:
            self._log.warn(
                "call {call}: the channel that played a confirmation could not be ended and stays until the call ends: "
                "{error}",
                call=self._call_id,
                error=error,
            )
