"""From event to call: opens a call for each caller, and tells every call what happened to it."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Protocol
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec import sipuri
from voxrec.ari import events
from voxrec.ari.client import AriClient
from voxrec.calls.causes import Cause
from voxrec.calls.machine import CallSettings, Incoming, LiveCall
from voxrec.calls.names import owner_of
from voxrec.calls.recorder import Ledger
from voxrec.errors import Conflict, NotFound, VoxrecError
from voxrec.model import Call, EventType, Profile, Recording, RecordingState, Side, leg_name


class Directory(Protocol):
    """Who is called for what was dialled; answers from memory."""

    @property
    def loaded(self) -> bool:
        """Whether it has been filled: before that nobody can say that a Profile does not exist."""
        ...

    def find(self, dialled: str) -> Profile | None:
        """The Profile with this id or number."""
        ...


@dataclass(frozen=True, slots=True)
class Strays:
    """Channels and bridges of voxrec's in Asterisk that belong to no call, by id."""

    channels: frozenset[str]
    bridges: frozenset[str]

    def still(self, later: "Strays") -> "Strays":
        """Those that are strays ``later`` as well."""
        return Strays(self.channels & later.channels, self.bridges & later.bridges)


class Watcher(Protocol):
    """Who wants to know what becomes of callers. Never blocks and never fails."""

    def call_changed(self, happened: EventType, call: Call) -> None:
        """Something happened to a call."""
        ...

    def call_refused(self, cause: int) -> None:
        """A caller was sent away with this Q.850 cause before there was a call."""
        ...


@dataclass(frozen=True, slots=True)
class _Refusal:
    cause: Cause
    reason: str


class Router:
    """All live calls of this process."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        asterisk: AriClient,
        directory: Directory,
        ledger: Ledger,
        settings: CallSettings,
        allowed_hosts: tuple[str, ...],
        watchers: tuple[Watcher, ...] = (),
    ) -> None:
        self._clock = clock
        self._asterisk = asterisk
        self._directory = directory
        self._ledger = ledger
        self._settings = settings
        self._allowed_hosts = allowed_hosts
        self._watchers = watchers
        self._calls: dict[UUID, LiveCall] = {}
        self._by_caller: dict[str, LiveCall] = {}
        self._by_recording: dict[UUID, LiveCall] = {}
        self._draining = False
        self._drained: list[Deferred[None]] = []

    @property
    def calls(self) -> Iterable[LiveCall]:
        """The live calls, oldest first."""
        return tuple(self._calls.values())

    # what others may know and ask for

    def shown(self) -> list[Call]:
        """The live calls as they stand now, newest first."""
        return [call.shown() for call in reversed(self._calls.values())]

    def find(self, call_id: UUID) -> Call:
        """A live call as it stands now. NotFound."""
        return self._live(call_id).shown()

    def release(self, call_id: UUID) -> None:
        """End a live call; one that is ending already is none the wiser. NotFound."""
        self._live(call_id).inputs.release(Cause.NORMAL)

    async def steer(self, recording_id: UUID, state: RecordingState) -> Recording:
        """Pause a live Recording, or resume it; give it back as it stands then. Conflict where that cannot be."""
        if recording_id not in self._by_recording:
            raise Conflict(f"Recording {recording_id} belongs to no live call here.")
        return await self._by_recording[recording_id].steer(state)

    def _live(self, call_id: UUID) -> LiveCall:
        if call_id not in self._calls:
            raise NotFound(f"There is no live call {call_id} here.")
        return self._calls[call_id]

    def _tell(self, happened: EventType, call: LiveCall) -> None:
        shown = call.shown()
        for watcher in self._watchers:
            watcher.call_changed(happened, shown)

    # the way down

    def refuse_new_calls(self) -> None:
        """Send whoever calls from now on elsewhere (503)."""
        self._draining = True

    def when_empty(self) -> Deferred[None]:
        """Fire once no call is live."""
        empty: Deferred[None] = Deferred()
        self._drained.append(empty)
        self._check_empty()
        return empty

    def release_all(self) -> None:
        """End all live calls."""
        for call in self.calls:
            call.inputs.release(Cause.NORMAL)

    # events

    def handle(self, event: events.Event) -> None:
        """Act on one event; one that concerns no live call is passed over."""
        match event:
            case events.StasisStart(channel, args):
                self._entered(channel, args)
            case events.ChannelStateChange(channel) if channel.state == "Up":
                self._for_leg(channel.id, lambda call: call.inputs.leg_answered())
            case events.ChannelStateChange(channel) if channel.state == "Ringing":
                self._for_leg(channel.id, lambda call: call.far_end_rings())
            case events.StasisEnd(channel):
                self._for_caller(channel.id, lambda call: call.inputs.caller_left(Cause.NORMAL))
            case events.ChannelDestroyed(channel, cause):
                self._for_caller(channel.id, lambda call: call.inputs.caller_left(cause))
                self._for_leg(channel.id, lambda call: call.inputs.leg_left(cause))
            case events.PlaybackFinished(playback):
                self._playback_ended(playback)
            case events.RecordingStarted(recording):
                self._for_file(recording.name, lambda call, side: call.recording_started(side))
            case events.RecordingFinished(recording) | events.RecordingFailed(recording):
                self._for_file(recording.name, lambda call, side: call.recording_ended(side))
            case _:
                pass

    def _entered(self, channel: events.Channel, args: tuple[str, ...]) -> None:
        if args[:1] == ("incoming",):
            self._incoming(channel)
        elif (owner := owner_of(channel.id)) is None or owner[0] not in self._calls:
            self._log.warn("Asterisk: ending {channel}, which belongs to no call", channel=channel.name)
            self.hang_up(channel.id, Cause.NORMAL)
        elif owner[1] == "leg":
            self._calls[owner[0]].inputs.leg_entered()

    def _incoming(self, channel: events.Channel) -> None:
        incoming = Incoming(
            channel=channel.id,
            number=channel.caller.number[:255],
            name=channel.caller.name[:255],
            dialled=channel.dialplan.exten[:255],
        )
        profile = self._profile_for(incoming)
        if isinstance(profile, _Refusal):
            self._log.info(
                "refused {number!r} calling {dialled!r}: {reason}",
                number=incoming.number,
                dialled=incoming.dialled,
                reason=profile.reason,
            )
            self.hang_up(channel.id, profile.cause)
            for watcher in self._watchers:
                watcher.call_refused(profile.cause)
            return
        call = LiveCall(
            self._clock,
            self._asterisk,
            self._ledger,
            self._settings,
            incoming,
            profile,
            over=self._over,
            tell=self._tell,
        )
        self._log.info(
            "call {call}: {number!r} calls {dialled!r}, Profile {profile}",
            call=call.id,
            number=incoming.number,
            dialled=incoming.dialled,
            profile=profile.id,
        )
        self._calls[call.id] = call
        self._by_caller[channel.id] = call
        self._by_recording[call.recording_id] = call
        self._tell(EventType.CALL_STARTED, call)
        call.inputs.begin()

    def _profile_for(self, incoming: Incoming) -> Profile | _Refusal:
        if self._draining:
            return _Refusal(Cause.CONGESTION, "voxrec is stopping")
        if not self._directory.loaded:
            return _Refusal(Cause.CONGESTION, "the Profiles are not known yet")
        profile = self._directory.find(incoming.dialled)
        if profile is None:
            return _Refusal(Cause.UNALLOCATED, "no such Profile")
        if profile.remote_sip_uri is None:
            return _Refusal(Cause.NO_ANSWER, f"Profile {profile.id} has no remoteSipUri")
        if not sipuri.host_allowed(sipuri.parse(profile.remote_sip_uri).host, self._allowed_hosts):
            return _Refusal(Cause.REJECTED, f"the host of Profile {profile.id} is not allowed")
        return profile

    def _over(self, call: LiveCall) -> None:
        self._log.info("call {call}: over", call=call.id)
        self._calls.pop(call.id, None)
        self._by_caller.pop(call.incoming.channel, None)
        self._by_recording.pop(call.recording_id, None)
        self._check_empty()

    def _check_empty(self) -> None:
        if not self._calls:
            drained, self._drained = self._drained, []
            for each in drained:
                each.callback(None)

    def _for_caller(self, channel: str, act: Callable[[LiveCall], None]) -> None:
        if (call := self._by_caller.get(channel)) is not None:
            act(call)

    def _for_leg(self, channel: str, act: Callable[[LiveCall], None]) -> None:
        owner = owner_of(channel)
        if owner is not None and owner[1] == "leg" and (call := self._calls.get(owner[0])) is not None:
            act(call)

    def _for_file(self, name: str, act: Callable[[LiveCall, Side], None]) -> None:
        owner = owner_of(name)
        if owner is not None and (call := self._by_recording.get(owner[0])) is not None:
            act(call, Side(owner[1]))

    def _playback_ended(self, playback: events.Playback) -> None:
        owner = owner_of(playback.id)
        if owner is not None and (call := self._calls.get(owner[0])) is not None:
            call.playback_ended(owner[1], complete=playback.state == "done")

    # recovery

    async def reconcile(self) -> Strays:
        """Ask Asterisk how things stand, and tell each call what it missed while there was no websocket.

        Gives back what is voxrec's in Asterisk and belongs to no call of this process.
        """
        channels = {channel.id: channel for channel in await self._asterisk.channels()}
        own = set(await self._asterisk.own_channels())
        for call in self.calls:
            await self._catch_up(call, channels, own)
        bridges = {bridge.id for bridge in await self._asterisk.bridges() if owner_of(bridge.id) is not None}
        return Strays(
            frozenset(
                channel
                for channel in own
                if channel in channels and channel not in self._by_caller and not self._is_ours(channel)
            ),
            frozenset(bridge for bridge in bridges if not self._is_ours(bridge)),
        )

    async def _catch_up(self, call: LiveCall, channels: dict[str, events.Channel], own: set[str]) -> None:
        if call.leg in own:
            call.inputs.leg_entered()
            if channels.get(call.leg, _NOWHERE).state == "Up":
                call.inputs.leg_answered()
        elif call.leg not in channels and call.status not in ("new", "placing"):
            call.inputs.leg_left(Cause.NORMAL)
        if call.incoming.channel not in own:
            call.inputs.caller_left(Cause.NORMAL)
        names = {leg_name(call.recording_id, side): side for side in Side}
        running = {recording.name for recording in await self._asterisk.recordings(names)}
        for name, side in names.items():
            if name in running:
                call.recording_started(side)
            elif call.status not in ("new", "placing", "ringing", "connecting"):
                call.recording_ended(side)

    def _is_ours(self, owned: str) -> bool:
        owner = owner_of(owned)
        return owner is not None and owner[0] in self._calls

    def owns(self, recording_id: UUID) -> bool:
        """Whether a Recording belongs to a live call."""
        return recording_id in self._by_recording

    def remove(self, strays: Strays) -> None:
        """End what belongs to no call."""
        for channel in strays.channels:
            self._log.warn("Asterisk: ending {channel}, left over from before", channel=channel)
            self.hang_up(channel, Cause.NORMAL)
        for bridge in strays.bridges:
            Deferred.fromCoroutine(self._attempt(bridge, self._asterisk.destroy_bridge(bridge)))

    def hang_up(self, channel: str, cause: Cause) -> None:
        """End a channel that belongs to no call."""
        Deferred.fromCoroutine(self._attempt(channel, self._asterisk.hang_up(channel, cause)))

    async def _attempt(self, what: str, command: Awaitable[object]) -> None:
        try:
            await command
        except VoxrecError as error:
            self._log.warn("Asterisk: {what} stays: {error}", what=what, error=error)


_NOWHERE = events.Channel(id="")
