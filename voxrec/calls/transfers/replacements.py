"""Channels that Asterisk has put in the place of the caller's channel or of the current leg.

Asterisk completes some transfers itself and reports them afterwards: a REFER whose Replaces names a dialog of the same
Asterisk, an INVITE with Replaces (RFC 3891), and call pick-up. The new channel enters the application as the
replacement of the old one (``replace_channel`` of its `StasisStart`). It takes its place in the bridge (Asterisk's
res/stasis/stasis_bridge.c, ``bridge_stasis_push_peek``), or its identity (``channel_replaced_cb`` in res/res_stasis.c).
It is a channel from the trunk, or one half of a Local channel whose other half is in another bridge. Asterisk reports
nothing more of the old channel but that it leaves the application, which it does only when it is hung up.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

from twisted.internet.defer import Deferred

from voxrec.ari.client import AriClient
from voxrec.calls.call_data import CallData
from voxrec.calls.channels.legs import NO_TRANSFER_CONTEXT, TRANSFER_CONTEXT, TRANSFER_CONTEXT_VARIABLE, Legs
from voxrec.calls.channels.resources import Resources
from voxrec.calls.channels.steps import Steps
from voxrec.calls.channels.takeover_state import CALLER_VARIABLES
from voxrec.deadline import Deadline
from voxrec.model import CallState, Side

TRANSFERRED: Final = "transferred"
"""An event of the timeline: another party has joined the call in the place of the one that the entry names."""
SETTLING_TIME: Final = 0.5
"""Seconds that Asterisk may take to exchange the channels in the bridge after it has reported the new one."""
_NOT_BRIDGED: Final = frozenset({CallState.NEW, CallState.PLACING})


@dataclass(frozen=True, slots=True)
class ReplacingChannel:
    """A channel that replaces another one. ``name`` is Asterisk's name for it; ``answered``: its party has answered."""

    id: str
    name: str
    answered: bool


class RecordedSides(Protocol):
    """What the recording of a call has to know of a replacement."""

    def note(self, event: str, *, by: str | None = None, detail: str | None = None) -> None:
        """Add an entry to the timeline."""

    def caller_replaced(self) -> Deferred[None]:
        """The caller has another channel. The Deferred fires when it stores whether the recording is paused."""

    def leg_replaced(self) -> None:
        """Another leg is the current one."""

    def leg_joined(self) -> None:
        """The new leg is in the bridge."""


class Replacements:
    """Makes channels that replace others part of one call, and ends the channels that they have replaced."""

    def __init__(
        self,
        asterisk: AriClient,
        call: CallData,
        legs: Legs,
        resources: Resources,
        steps: Steps,
        recording: RecordedSides,
        joined: Callable[[], None],
    ) -> None:
        """``joined`` is called when a party has joined a call that was answered before."""
        self._asterisk = asterisk
        self._call = call
        self._legs = legs
        self._resources = resources
        self._steps = steps
        self._recording = recording
        self._joined = joined
        self._settling: dict[str, Deadline] = {}

    def replace_caller(self, channel: ReplacingChannel, placeholder: str, failed: Callable[[], object]) -> None:
        """Make ``channel`` the caller's. ``failed`` is called if it cannot be put into the bridge."""
        former = self._call.inbound.channel
        self._call.inbound = replace(self._call.inbound, channel=channel.id)
        self._resources.add(channel.id)
        stored = self._recording.caller_replaced()
        self._steps.attempt(self._hand_over(former, channel.id, stored, placeholder))
        self._replaced(Side.CALLER, channel.id, former, failed)

    def replace_leg(self, channel: ReplacingChannel, placeholder: str, failed: Callable[[], object]) -> None:
        """Make ``channel`` the current leg. ``failed`` is called if it cannot be put into the bridge."""
        former = self._legs.current
        self._legs.use_channel(channel.id, channel.name)
        self._recording.leg_replaced()
        self._steps.attempt(self._legs.store_state(placeholder))
        self._replaced(Side.CALLEE, channel.id, former, failed)

    def cancel(self) -> None:
        """Leave all channels as they are: the call ends, or another process has it."""
        for deadline in self._settling.values():
            deadline.cancel()
        self._settling.clear()

    async def _hand_over(self, former: str, channel: str, pause_stored: Deferred[None], placeholder: str) -> None:
        """Let another process know of the caller's new channel, when that stores all that the former one did.

        Else a process that takes over the call could record audio during a pause.
        """
        await pause_stored
        for name in CALLER_VARIABLES:
            if value := await self._asterisk.get_variable(former, name):
                await self._asterisk.set_variable(channel, name, value)
        await self._legs.store_state(placeholder)

    def _replaced(self, side: Side, channel: str, former: str, failed: Callable[[], object]) -> None:
        self._recording.note(TRANSFERRED, by=side)
        context = TRANSFER_CONTEXT if side is Side.CALLEE else NO_TRANSFER_CONTEXT
        self._steps.attempt(self._asterisk.set_variable(channel, TRANSFER_CONTEXT_VARIABLE, context))
        answered = self._call.answered_at is not None
        settling = self._settling[channel] = Deadline(self._call.clock)
        settling.start(SETTLING_TIME, lambda: self._settle(channel, former, failed, answered=answered))

    def _settle(self, channel: str, former: str, failed: Callable[[], object], *, answered: bool) -> None:
        def joined() -> None:
            if channel == self._legs.current:
                self._recording.leg_joined()
            if answered:
                self._joined()

        del self._settling[channel]
        if channel in self._resources:
            self._steps.run(self._join(channel), succeeded=lambda _: joined(), failed=failed)
        if former in self._resources:
            self._steps.attempt(self._legs.hang_up(former), succeeded=lambda existed: self._ended(former, existed))

    async def _join(self, channel: str) -> None:
        """Put a channel into the bridge, unless it is there: Asterisk fails to if the old one hangs up meanwhile."""
        unanswered = channel == self._call.inbound.channel and self._call.answered_at is None
        if unanswered or self._call.status in _NOT_BRIDGED:  # it joins later
            return
        if channel not in await self._asterisk.bridge_channels(self._legs.bridge):
            await self._asterisk.add_to_bridge(self._legs.bridge, (channel,))

    def _ended(self, former: str, existed: bool) -> None:
        if not existed:
            self._resources.gone(former)
