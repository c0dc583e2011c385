"""How the caller is connected with the far end: ringing, early media, and the bridge from the answer on.

Until the answer the far end's leg is alone in the bridge. If the caller were in it too, the answer of the far end would
answer the caller, and nothing would be passed to the caller before its own first packet has arrived or 500 ms have
passed (`__ast_answer` in main/channel.c, called by main/bridge_channel.c): the first words of the far end would arrive
late and in a burst, and the two sides of the recording would be displaced against each other. ARI's command to answer
does not wait.

Early media can be heard in the bridge only. A silent tone is played to the bridge then: Asterisk mixes a bridge of
three channels, and a bridge that mixes does not pass an answer to the other channels (bridges/bridge_softmix.c).

Before 18.25, 20.10, 21.5 and 22, a channel that is in no bridge looks for commands only every 200 ms (`MAX_WAIT_MS` in
res/res_stasis.c), and the first words of the far end would be lost. The thread of a channel in a bridge waits for
commands and nothing else (`control_wait` in res/stasis/control.c): in these versions the caller waits alone in a bridge
of its own, and the far end is dialled when it is there.
"""

from typing import Final

from twisted.internet.defer import Deferred, succeed
from twisted.logger import Logger

from voxrec.ari.client import AriClient
from voxrec.calls.call_data import CallData
from voxrec.calls.channels.ids import EARLY_MEDIA, PROGRESS, owned_id
from voxrec.calls.channels.legs import Legs
from voxrec.calls.channels.steps import is_channel_gone
from voxrec.deferreds import gather, shielded
from voxrec.errors import AsteriskUnavailable, VoxrecError

_SILENCE: Final = "tone:0"  # 0 Hz, without an end
_NOTHING: Final = "digits:x"  # not a digit, so that the playback ends at once


class CallerConnection:
    """Connects the caller of one call with the current leg."""

    _log = Logger()

    def __init__(self, asterisk: AriClient, call: CallData, legs: Legs) -> None:
        self._asterisk = asterisk
        self._call = call
        self._legs = legs
        self._waiting: Deferred[None] | None = None  # None: this process did not let the caller wait in a bridge
        self._destroyed = False  # the bridge in which the caller has waited
        self._early_media: Deferred[None] | None = None  # None: there was none
        self._connected: Deferred[None] = Deferred()

    def let_caller_wait(self) -> None:
        """See to it that the caller's channel executes commands at once."""
        if not self._asterisk.wakes_channels:
            self._waiting = Deferred.fromCoroutine(self._let_caller_wait())

    async def _let_caller_wait(self) -> None:
        try:
            await self._legs.let_caller_wait()
        except VoxrecError as error:
            if not is_channel_gone(error):  # else the caller has hung up
                self._log.warn(
                    "call {call}: the caller will be connected with a delay: {error}", call=self._call.id, error=error
                )

    async def when_waiting(self) -> None:
        """Wait until the caller's channel executes commands at once, or is not going to."""
        if self._waiting is not None:
            await self._waiting

    async def release(self) -> None:
        """Destroy the bridge in which the caller has waited; the caller has left it, or is to leave it.

        Raises a VoxrecError if Asterisk cannot be told to.
        """
        if not self._asterisk.wakes_channels and not self._destroyed:
            await self.when_waiting()
            await self._legs.destroy_waiting_bridge()
            self._destroyed = True

    def start_early_media(self) -> None:
        """Let the caller hear what the far end sends before it answers."""
        if self._early_media is None:
            self._early_media = Deferred.fromCoroutine(self._start_early_media())

    async def _start_early_media(self) -> None:
        try:
            await self._asterisk.play_to_bridge(self._legs.bridge, self._playback(EARLY_MEDIA), _SILENCE)
            if not self._legs.has_caller:
                return
            # Asterisk sends 183 when it plays to an unanswered channel; before 22.6 it has no other command for that
            await self._asterisk.play_to_channel(self._call.inbound.channel, self._playback(PROGRESS), _NOTHING)
            if self._legs.has_caller:
                await self._join_caller()
        except VoxrecError as error:
            self._log.warn(
                "call {call}: the caller cannot hear the far end before the answer: {error}",
                call=self._call.id,
                error=error,
            )

    def found_early_media(self) -> None:
        """Taken over from another process, which had put the caller into the bridge before the answer."""
        self._early_media = succeed(None)

    def found_connected(self) -> None:
        """The caller was answered, and is in the bridge."""
        if not self._connected.called:
            self._connected.callback(None)

    @property
    def is_connected(self) -> bool:
        """Whether the caller was answered, and is in the bridge."""
        return self._connected.called

    async def connect(self) -> None:
        """Answer the caller, and put it into the bridge; the far end has answered.

        Raises AriResponseError if Asterisk refuses to. If Asterisk does not respond, reconciliation finds out whether
        the caller is connected.
        """
        try:
            await gather(self._legs.answer_caller(), self._join())
        except AsteriskUnavailable as error:
            self._log.warn(
                "call {call}: the caller may not be connected; trying again when ARI is connected: {error}",
                call=self._call.id,
                error=error,
            )
            return
        if not self._connected.called:
            self._connected.callback(None)

    async def _join(self) -> None:
        """Put the caller into the bridge, or end the early media if it is in it."""
        if self._early_media is not None:
            await self._early_media
            if await self._asterisk.stop_playback(self._playback(EARLY_MEDIA)):
                return
        await self._join_caller()

    async def _join_caller(self) -> None:
        await self.when_waiting()  # else it could be put into that bridge afterwards
        await self._legs.join_caller()

    def refuse(self, status: int, cause: int) -> Deferred[bool]:
        """Answer the caller, who was not answered, with a SIP status of 400 or above. Return whether it existed."""
        in_bridge = not self._asterisk.wakes_channels or self._early_media is not None
        return self._legs.refuse_caller(status, cause, in_bridge=in_bridge)

    def when_connected(self) -> Deferred[None]:
        """Return a Deferred that fires when the caller is in the bridge after the answer."""
        return shielded(self._connected)

    def _playback(self, role: str) -> str:
        return owned_id(self._call.id, role)
