"""Finds the calls that another process left in Asterisk, and how each stands.

A voxrec that was restarted, or took an application over, has no calls of its own; the channels say whose they are
(`voxrec.calls.takeover_state`), and Asterisk says how far they came.
"""

from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from voxrec.ari.client import AriClient
from voxrec.ari.events import Channel
from voxrec.calls import takeover_state as memory
from voxrec.calls.ids import WHISPER, is_leg, leg_number, owned_id, owner_of, snoop_role
from voxrec.calls.live_call import CallSnapshot
from voxrec.calls.takeover_state import TakeoverState
from voxrec.deferreds import gather
from voxrec.model import Recording, Side, leg_name

RecordingLookup = Callable[[Collection[UUID]], Awaitable[Mapping[UUID, Recording]]]
"""What is known of Recordings; those of which nothing is known, or can be found out in a moment, are left out."""


@dataclass(frozen=True, slots=True)
class AsteriskSnapshot:
    """All that is in Asterisk at one moment: channels by id, which of them are voxrec's, and who is in which bridge."""

    channels: Mapping[str, Channel]
    own: frozenset[str]
    bridges: Mapping[str, frozenset[str]]

    def up(self, channel: str) -> bool:
        """Whether a channel is there and answered."""
        return channel in self.channels and self.channels[channel].state == "Up"


async def look(asterisk: AriClient) -> AsteriskSnapshot:
    """Ask Asterisk for all that there is."""
    # what is voxrec's first: what begins meanwhile is then no stray
    own = frozenset(await asterisk.application_channels())
    return AsteriskSnapshot(
        {channel.id: channel for channel in await asterisk.list_channels()},
        own,
        {bridge.id: frozenset(bridge.channels) for bridge in await asterisk.list_bridges()},
    )


async def left_calls(
    asterisk: AriClient, scene: AsteriskSnapshot, known: Callable[[UUID], bool]
) -> list[TakeoverState]:
    """The calls in Asterisk that are not ``known`` here, and have a caller still."""
    legs = [
        channel
        for channel in scene.channels
        if (owner := owner_of(channel)) is not None and is_leg(owner[1]) and not known(owner[0])
    ]
    # a call that is just being transferred has two: the later one tells
    found = await gather(*(asterisk.get_variable(leg, memory.CALL) for leg in sorted(legs, key=leg_number)))
    memories = [memory.read_memory(value) for value in found]
    return list({one.call_id: one for one in memories if one is not None and one.caller in scene.own}.values())


async def situation_of(
    asterisk: AriClient, call: TakeoverState, scene: AsteriskSnapshot, recording: Recording | None
) -> CallSnapshot:
    """How a call stands."""
    leg, bridge = call.leg, owned_id(call.call_id, "bridge")
    names = {leg_name(call.recording_id, side): side for side in Side}
    live = {one.name for one in await asterisk.live_recordings(names)}
    pause = memory.read_pause(await asterisk.get_variable(call.caller, memory.PAUSE)) if live else None
    snoop = scene.channels.get(owned_id(call.call_id, snoop_role(Side.CALLER)))
    return CallSnapshot(
        leg_there=leg in scene.channels,
        caller_there=call.caller in scene.own,
        leg_entered=leg in scene.own,
        bridged=leg in scene.bridges.get(bridge, frozenset()),
        leg_up=scene.up(leg),
        caller_up=scene.up(call.caller),
        recorded=frozenset(side for name, side in names.items() if name in live),
        announcing=await asterisk.playback_exists(owned_id(call.call_id, "announcement")),
        whispering=owned_id(call.call_id, WHISPER) in scene.channels,
        began=_moment(snoop.creationtime) if snoop is not None else None,
        recording=recording,
        pause=pause,
    )


def _moment(text: str) -> datetime | None:
    """Asterisk's ``2026-11-23T12:00:00.123+0000``."""
    try:
        return datetime.fromisoformat(text).astimezone(UTC)
    except ValueError:
        return None
