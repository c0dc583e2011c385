"""Reads the state of Asterisk: all channels and bridges, and the state of each call of which no process takes care.

After a restart, a process has no calls. The channels say to which call they belong
(`voxrec.calls.channels.takeover_state`), and Asterisk says how far each call has got.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from voxrec.ari.client import AriClient
from voxrec.ari.events import Channel
from voxrec.calls.channels.ids import ANNOUNCEMENT, BRIDGE, CALLER, WHISPER, is_leg, leg_role, owned_id, owner_of
from voxrec.calls.channels.takeover_state import (
    ANNOUNCED_VARIABLE,
    ANSWERED_VARIABLE,
    CALL_VARIABLE,
    PAUSE_VARIABLE,
    PLACED_VARIABLE,
    STOPPED_VARIABLE,
    Pause,
    TakeoverState,
    decode_pause,
    decode_takeover_state,
    generation_of,
)
from voxrec.calls.recording.recording_commands import MONITOR_VARIABLE
from voxrec.deferreds import gather
from voxrec.model import Recording

RecordingLookup = Callable[[Collection[UUID]], Awaitable[Mapping[UUID, Recording]]]
"""Returns the Recordings that are known; omits those that are not known, or cannot be looked up quickly."""


@dataclass(frozen=True, slots=True)
class AsteriskSnapshot:
    """Asterisk at one moment: all channels by id, the ids of voxrec's channels, and the channels in each bridge."""

    channels: Mapping[str, Channel]
    own: frozenset[str]
    bridges: Mapping[str, frozenset[str]]

    def is_up(self, channel: str) -> bool:
        """Return whether a channel exists and was answered."""
        return channel in self.channels and self.channels[channel].state == "Up"

    def channel_name(self, channel: str) -> str:
        """Return Asterisk's name for a channel; empty if it does not exist."""
        return self.channels[channel].name if channel in self.channels else ""

    def channels_in(self, call_id: UUID) -> frozenset[str]:
        """Return the ids of the channels in the bridge of a call."""
        return self.bridges.get(owned_id(call_id, BRIDGE), frozenset())

    def legs_of(self, call_id: UUID) -> list[str]:
        """Return the ids of the outgoing legs of a call."""
        owners = ((channel, owner_of(channel)) for channel in self.channels)
        return [channel for channel, owner in owners if owner and owner[0] == call_id and is_leg(owner[1])]


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSnapshot:
    """One call in Asterisk.

    ``legs`` are all its outgoing legs that exist; ``leg_...`` is about the current one. ``bridged``: the current leg is
    in the bridge; ``caller_bridged``: the caller is. ``monitor``: the id of the MixMonitor that was started on the
    caller's channel, and which may have ended; empty if none was. ``pause``: the recording was to be paused.
    ``files_began``: when Asterisk began to write the files of the Recording, None if there are none. ``recording``: the
    Recording as last stored, if it is known. ``announced``: it is known that a required announcement was played
    completely. ``stopped``: why the recording was ended before the call; empty if it was not, or that is not known.
    ``answered_at``: None if it is not known. ``placed``: the caller was called by voxrec, and its far end
    is being called, or was.
    """

    legs: frozenset[str]
    leg_exists: bool
    leg_entered: bool
    leg_up: bool
    caller_exists: bool
    caller_up: bool
    bridged: bool
    caller_bridged: bool
    monitor: str
    announcing: bool
    whisper_exists: bool
    files_began: datetime | None
    recording: Recording | None
    pause: Pause | None
    announced: bool = False
    stopped: str = ""
    answered_at: datetime | None = None
    placed: bool = False

    @property
    def was_recorded(self) -> bool:
        """Whether recording has begun, in which case it must not begin again."""
        return bool(self.monitor) or self.files_began is not None or self.recording is not None


async def take_snapshot(asterisk: AriClient) -> AsteriskSnapshot:
    """Read all channels and bridges."""
    # voxrec's channels first: a channel that appears between the queries is then not taken for an orphan
    own = frozenset(await asterisk.application_channels())
    return AsteriskSnapshot(
        {channel.id: channel for channel in await asterisk.list_channels()},
        own,
        {bridge.id: frozenset(bridge.channels) for bridge in await asterisk.list_bridges()},
    )


@dataclass(frozen=True, slots=True)
class AbandonedCalls:
    """The calls in Asterisk that have no channel that is part of a live call.

    ``with_caller``: the calls whose caller is in the application. ``legs_without_caller``: the channel ids of the legs
    of calls whose caller has hung up.
    """

    with_caller: Sequence[TakeoverState]
    legs_without_caller: Sequence[str]


async def abandoned_calls(
    asterisk: AriClient, snapshot: AsteriskSnapshot, is_live: Callable[[str], bool]
) -> AbandonedCalls:
    """Return the calls that another process has left.

    ``is_live`` returns whether a channel is part of a live call of this process.
    """
    legs = [channel for channel in snapshot.channels if _may_be_leg(channel, snapshot) and not is_live(channel)]
    values = await gather(*(asterisk.get_variable(leg, CALL_VARIABLE) for leg in legs))
    states = [
        (leg, state)
        for leg, value in zip(legs, values, strict=True)
        if (state := decode_takeover_state(value)) is not None
    ]
    # during a transfer a call has two legs, of which the later one has the current state
    states.sort(key=lambda found: generation_of(found[1]))
    calls = {state.call_id: state for _, state in states}
    # The channels were read after ``own``: a caller that is not among them existed before its leg, and has gone.
    return AbandonedCalls(
        [state for state in calls.values() if state.caller in snapshot.own],
        [leg for leg, state in states if calls[state.call_id].caller not in snapshot.channels],
    )


def _may_be_leg(channel: str, snapshot: AsteriskSnapshot) -> bool:
    """Return whether a channel was created as a leg or as a caller, or may have replaced a leg."""
    owner = owner_of(channel)
    return channel in snapshot.own if owner is None else is_leg(owner[1]) or owner[1] == CALLER


async def take_call_snapshot(
    asterisk: AriClient,
    call: TakeoverState,
    snapshot: AsteriskSnapshot,
    recording: Recording | None,
    *,
    files_began: datetime | None,
) -> CallSnapshot:
    """Read the state of one call; ``recording`` is its Recording as last stored, None if it is not known.

    ``files_began`` is when Asterisk began to write the files of the Recording, None if there are none.
    """
    leg, in_bridge = call.leg or owned_id(call.call_id, leg_role(1)), snapshot.channels_in(call.call_id)
    monitor = await asterisk.get_variable(call.caller, MONITOR_VARIABLE)
    was_recorded = bool(monitor) or files_began is not None or recording is not None
    return CallSnapshot(
        legs=frozenset(snapshot.legs_of(call.call_id)),
        leg_exists=leg in snapshot.channels,
        leg_entered=leg in snapshot.own,
        leg_up=snapshot.is_up(leg),
        caller_exists=call.caller in snapshot.own,
        caller_up=snapshot.is_up(call.caller),
        bridged=leg in in_bridge,
        caller_bridged=call.caller in in_bridge,
        monitor=monitor,
        files_began=files_began,
        announcing=await asterisk.playback_exists(owned_id(call.call_id, ANNOUNCEMENT)),
        whisper_exists=owned_id(call.call_id, WHISPER) in snapshot.channels,
        recording=recording,
        pause=decode_pause(await asterisk.get_variable(call.caller, PAUSE_VARIABLE)) if was_recorded else None,
        stopped=await asterisk.get_variable(call.caller, STOPPED_VARIABLE) if was_recorded else "",
        announced=bool(await asterisk.get_variable(call.caller, ANNOUNCED_VARIABLE)) if monitor else False,
        placed=bool(await asterisk.get_variable(call.caller, PLACED_VARIABLE)) if call.invited else False,
        answered_at=_parse_time(await asterisk.get_variable(call.caller, ANSWERED_VARIABLE)),
    )


def _parse_time(text: str) -> datetime | None:
    """Parse ISO 8601; None if it is something else."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return None
