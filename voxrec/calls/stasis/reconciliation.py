"""Brings this process and Asterisk into agreement after the event websocket has connected.

Calls of this process get the events that they have missed; calls that another process left are taken over; channels and
bridges that belong to no call are ended.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from voxrec.ari import events
from voxrec.ari.client import AriClient
from voxrec.calls.call_data import InboundCall
from voxrec.calls.channels.ids import BRIDGE, owned_id, owner_of
from voxrec.calls.channels.takeover_state import TakeoverState
from voxrec.calls.live_call import LiveCall
from voxrec.calls.live_calls import LiveCalls
from voxrec.calls.signalling.causes import Cause
from voxrec.calls.signalling.stasis_args import ARGS_VARIABLE, split_args
from voxrec.calls.stasis.router import Router
from voxrec.calls.stasis.snapshot import (
    AsteriskSnapshot,
    RecordingLookup,
    abandoned_calls,
    take_call_snapshot,
    take_snapshot,
)
from voxrec.calls.stasis.takeover import take_over
from voxrec.errors import VoxrecError
from voxrec.model import CallState

_WITHOUT_LEG: Final = frozenset({CallState.NEW, CallState.CALLING, CallState.PLACING})
_ANSWERED: Final = frozenset({CallState.CONNECTING, CallState.ANNOUNCING, CallState.TALKING})


@dataclass(frozen=True, slots=True)
class OrphanedChannels:
    """The ids of voxrec's channels and bridges in Asterisk that belong to no live call.

    ``unbridged``: the bridge and the channel of parties that talk, but that an operator has taken out of the bridge.
    """

    channels: frozenset[str] = frozenset()
    bridges: frozenset[str] = frozenset()
    unbridged: frozenset[tuple[str, str]] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.channels or self.bridges or self.unbridged)

    def still_orphaned(self, later: "OrphanedChannels") -> "OrphanedChannels":
        """Return those that are orphaned ``later`` as well."""
        return OrphanedChannels(
            self.channels & later.channels, self.bridges & later.bridges, self.unbridged & later.unbridged
        )


@dataclass(frozen=True, slots=True)
class Comparison:
    """What belongs to no call, and the calls of another process that were opened, with their states."""

    orphaned: OrphanedChannels
    opened: Sequence[tuple[LiveCall, TakeoverState]]


class Reconciler:
    """Compares the live calls with Asterisk.

    ``find_recordings`` looks up the Recordings of calls that are taken over; ``find_files`` returns the ids of the
    Recordings that have files in Asterisk's recording directory, and when Asterisk began to write them.
    """

    _log = Logger()

    def __init__(
        self,
        asterisk: AriClient,
        live_calls: LiveCalls,
        router: Router,
        find_recordings: RecordingLookup,
        find_files: Callable[[], Awaitable[Mapping[UUID, datetime]]],
    ) -> None:
        self._asterisk = asterisk
        self._live_calls = live_calls
        self._router = router
        self._find_recordings = find_recordings
        self._find_files = find_files

    async def reconcile(self) -> OrphanedChannels:
        """Update the live calls, take over abandoned ones, and return what belongs to no call.

        Raises a VoxrecError if Asterisk cannot be queried.
        """
        comparison = await self.compare()
        await self.take_over(comparison)
        return comparison.orphaned

    async def compare(self) -> Comparison:
        """Update the live calls, and return what else there is in Asterisk; pass it to `take_over`.

        It does not wait for PostgreSQL. Raises a VoxrecError if Asterisk cannot be queried.
        """
        # the snapshot can be older than what has happened since: it is compared with the calls as they were before it
        before = [(call, call.status, call.leg, call.former_legs) for call in self._live_calls]
        announcing = [call for call in self._live_calls if call.is_announcing]
        snapshot = await take_snapshot(self._asterisk)
        for call, status, leg, former_legs in before:
            for former_leg in former_legs:
                if former_leg not in snapshot.channels:
                    call.leg_destroyed(former_leg, Cause.NORMAL)
            self._catch_up(call, status, leg, snapshot)
        for call in announcing:
            if not await call.announcement_exists() and call.is_announcing:
                call.inputs.announcement_lost()
        opened = await self._open_abandoned(snapshot)
        return Comparison(self._orphaned(snapshot), opened)

    # Calls of this process.

    def _catch_up(self, call: LiveCall, status: CallState, leg: str, snapshot: AsteriskSnapshot) -> None:
        """Feed a call the events that it missed; it had this ``status`` and current ``leg`` before the snapshot."""
        if leg != call.leg:
            pass  # it was transferred since
        elif leg in snapshot.own:
            call.leg_entered(leg, snapshot.channel_name(leg))
            if snapshot.is_up(leg):
                call.inputs.leg_answered()
        elif leg not in snapshot.channels and status not in _WITHOUT_LEG:
            call.inputs.leg_hung_up(Cause.NORMAL)
        if call.inbound.channel not in snapshot.own:
            call.inputs.caller_hung_up(Cause.NORMAL)
        elif status is CallState.CALLING:
            if snapshot.is_up(call.inbound.channel):
                call.inputs.caller_answered()
        elif status in _ANSWERED and not call.core.connection.is_connected:
            self._catch_up_connection(call, snapshot)

    def _catch_up_connection(self, call: LiveCall, snapshot: AsteriskSnapshot) -> None:
        if snapshot.is_up(call.inbound.channel) and call.inbound.channel in snapshot.channels_in(call.id):
            call.core.connection.found_connected()
        else:
            call.core.connect_caller(call.inputs)

    # Calls of another process.

    async def _open_abandoned(self, snapshot: AsteriskSnapshot) -> list[tuple[LiveCall, TakeoverState]]:
        """Open the calls of another process, so that events reach them from now on."""
        found = await abandoned_calls(self._asterisk, snapshot, self._belongs_to_live_call)
        if self._live_calls.detached:
            return []
        for leg in found.legs_without_caller:
            self._log.info("channel {channel}: its caller has hung up meanwhile; ending it", channel=leg)
            self._router.hang_up(leg, Cause.NORMAL)
        # a reconciliation that began earlier may have opened them meanwhile
        states = [state for state in found.with_caller if state.call_id not in self._live_calls]
        return [(self._open(state, snapshot), state) for state in states]

    async def take_over(self, comparison: Comparison) -> None:
        """Continue the calls of another process. Raises a VoxrecError if Asterisk cannot be queried."""
        if not comparison.opened:
            return
        calls = [call for call, _ in comparison.opened]
        try:
            await self._continue(calls, [state for _, state in comparison.opened])
        except VoxrecError:
            self._live_calls.forget([call for call in calls if call.status is CallState.NEW])
            raise

    async def _continue(self, calls: Sequence[LiveCall], states: Sequence[TakeoverState]) -> None:
        """Bring calls that were opened into the states that they have in Asterisk."""
        recordings = await self._find_recordings([state.recording_id for state in states])
        files_began = await self._find_files()
        current = await take_snapshot(self._asterisk)
        for call, state in zip(calls, states, strict=True):
            recording = recordings.get(state.recording_id)
            call_snapshot = await take_call_snapshot(
                self._asterisk, state, current, recording, files_began=files_began.get(state.recording_id)
            )
            if self._live_calls.detached:
                return
            if name := current.channel_name(call.leg):
                call.leg_channel_name = name
            take_over(call.core, call.inputs, call_snapshot)
            self._log.info("call {call}: taken over, {status}", call=call.id, status=call.status)

    def _belongs_to_live_call(self, channel: str) -> bool:
        calls = self._live_calls
        return calls.owns(channel) or calls.of_caller(channel) is not None or calls.of_leg(channel) is not None

    def _open(self, state: TakeoverState, snapshot: AsteriskSnapshot) -> LiveCall:
        inbound = InboundCall(
            channel=state.caller,
            number=state.number,
            name=state.name,
            dialled=state.dialled,
            wideband=state.wideband,
            withheld=state.withheld,
            hops=state.hops,
            attempt=state.attempt,
            invited=state.invited,
            late_offer=bool(state.invited),
        )
        call = self._live_calls.open(inbound, state.profile, state)
        call.leg_channel_name = snapshot.channel_name(call.leg)
        return call

    # Channels and bridges without a call.

    async def find_orphaned(self) -> OrphanedChannels:
        """Return what belongs to no call, without an effect on the live calls.

        Raises a VoxrecError if Asterisk cannot be queried.
        """
        return self._orphaned(await take_snapshot(self._asterisk))

    def _orphaned(self, snapshot: AsteriskSnapshot) -> OrphanedChannels:
        if self._live_calls.detached:
            return OrphanedChannels()
        placeholders = self._placeholders(snapshot)
        return OrphanedChannels(
            frozenset(
                channel
                for channel in snapshot.own
                if self._live_calls.of_caller(channel) is None
                and self._live_calls.of_leg(channel) is None
                and not self._live_calls.owns(channel)
                and _without_half(snapshot.channel_name(channel)) not in placeholders
            ),
            frozenset(
                bridge
                for bridge in snapshot.bridges
                if owner_of(bridge) is not None and not self._live_calls.owns(bridge)
            ),
            self._unbridged(snapshot),
        )

    def _unbridged(self, snapshot: AsteriskSnapshot) -> frozenset[tuple[str, str]]:
        parties = (
            (owned_id(call.id, BRIDGE), channel)
            for call in self._live_calls
            if call.status is CallState.TALKING
            for channel in (call.inbound.channel, call.leg)
        )
        return frozenset(
            (bridge, channel)
            for bridge, channel in parties
            if channel in snapshot.own and channel not in snapshot.bridges.get(bridge, frozenset())
        )

    def _placeholders(self, snapshot: AsteriskSnapshot) -> set[str]:
        """Return the names of the Local channels that transfers of live calls have put into bridges."""
        channels = (channel for call in self._live_calls for channel in call.placeholders)
        return {_without_half(snapshot.channel_name(channel)) for channel in channels if channel in snapshot.channels}

    async def end_orphaned(self, orphaned: OrphanedChannels) -> None:
        """End channels and bridges; a caller that still waits for voxrec is accepted or refused instead.

        Raises a VoxrecError if Asterisk cannot be queried.
        """
        if self._live_calls.detached:
            return
        # the arguments of a StasisStart that went to a process that is gone; read first, since the caller may hang up
        args = {
            channel.id: split_args(await self._asterisk.get_variable(channel.id, ARGS_VARIABLE))
            for channel in await self._asterisk.list_channels()
            if channel.id in orphaned.channels and _is_waiting_caller(channel)
        }
        channels = {channel.id: channel for channel in await self._asterisk.list_channels()}
        if self._live_calls.detached:
            return
        for channel in orphaned.channels:
            if channel in args and channel in channels and _is_waiting_caller(channels[channel]):
                self._router.caller_entered(channels[channel], args[channel])
                continue
            self._log.warn("ending channel {channel}, which belongs to no live call", channel=channel)
            self._router.hang_up(channel, Cause.NORMAL)
        for bridge, channel in orphaned.unbridged:
            if self._live_calls.owns(bridge):
                self._log.warn("channel {channel} is not in the bridge of its call; putting it back", channel=channel)
                Deferred.fromCoroutine(self._put_back(bridge, channel))
        for bridge in orphaned.bridges:
            Deferred.fromCoroutine(self._attempt(bridge, self._asterisk.destroy_bridge(bridge)))

    async def _put_back(self, bridge: str, channel: str) -> None:
        try:
            await self._asterisk.add_to_bridge(bridge, (channel,))
        except VoxrecError as error:
            self._log.warn(
                "channel {channel} could not be put into the bridge of its call, whose parties do not hear each other: "
                "{error}",
                channel=channel,
                error=error,
            )

    async def _attempt(self, bridge: str, command: Awaitable[object]) -> None:
        try:
            await command
        except VoxrecError as error:
            self._log.warn(
                "bridge {bridge} could not be destroyed and stays until the next reconciliation: {error}",
                bridge=bridge,
                error=error,
            )


def _is_waiting_caller(channel: events.Channel) -> bool:
    """Return whether a channel is an inbound call to which no process has reacted yet."""
    return channel.is_inbound_call and owner_of(channel.id) is None


def _without_half(name: str) -> str:
    """Return what the names of both halves of a Local channel have in common; the whole name of any other channel."""
    return name.partition(";")[0]
