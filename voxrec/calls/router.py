"""From event to call: opens a call for each caller, and tells every call what happened to it."""

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Protocol
from urllib.parse import unquote
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec import sipuri
from voxrec.ari import events
from voxrec.ari.client import AriClient
from voxrec.calls.causes import Cause
from voxrec.calls.core import CallSettings, InboundCall
from voxrec.calls.ids import is_leg, owner_of
from voxrec.calls.live_call import LiveCall
from voxrec.calls.recorder import RecordingSink
from voxrec.calls.snapshot import AsteriskSnapshot, RecordingLookup, left_calls, look, situation_of
from voxrec.calls.stasis_args import display_name, headers_of, is_wideband, is_withheld, refer_target, replaced_dialog
from voxrec.calls.takeover_state import TakeoverState
from voxrec.errors import Conflict, NotFound, VoxrecError
from voxrec.model import Call, CallState, EventType, PauseBehavior, Profile, Recording, Side, leg_name


class Directory(Protocol):
    """Who is called for what was dialled; answers from memory."""

    @property
    def confirmed(self) -> bool:
        """Whether it knows all: before that nobody can say that a Profile does not exist."""
        ...

    def find(self, dialled: str) -> Profile | None:
        """The Profile with this id or number."""
        ...


@dataclass(frozen=True, slots=True)
class OrphanedChannels:
    """Channels and bridges of voxrec's in Asterisk that belong to no call, by id."""

    channels: frozenset[str] = frozenset()
    bridges: frozenset[str] = frozenset()

    def still(self, later: "OrphanedChannels") -> "OrphanedChannels":
        """Those that are strays ``later`` as well."""
        return OrphanedChannels(self.channels & later.channels, self.bridges & later.bridges)


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
        ledger: RecordingSink,
        settings: CallSettings,
        recall: RecordingLookup,
        *,
        allowed_hosts: tuple[str, ...] = (),
        max_calls: int = 0,
        watchers: tuple[Watcher, ...] = (),
    ) -> None:
        """``max_calls`` 0: no limit but those of the Profiles."""
        self._clock = clock
        self._asterisk = asterisk
        self._directory = directory
        self._ledger = ledger
        self._settings = settings
        self._recall = recall
        self._allowed_hosts = allowed_hosts
        self._max_calls = max_calls
        self._watchers = watchers
        self._calls: dict[UUID, LiveCall] = {}
        self._by_caller: dict[str, LiveCall] = {}
        self._by_recording: dict[UUID, LiveCall] = {}
        self._draining = False
        self._gone = False  # another process has the calls now
        self._drained: list[Deferred[None]] = []

    @property
    def calls(self) -> Iterable[LiveCall]:
        """The live calls, oldest first."""
        return tuple(self._calls.values())

    # what others may know and ask for

    def list_calls(self) -> list[Call]:
        """The live calls as they stand now, newest first."""
        return [call.shown() for call in reversed(self._calls.values())]

    def get_call(self, call_id: UUID) -> Call:
        """A live call as it stands now. NotFound."""
        return self._live(call_id).shown()

    def release(self, call_id: UUID) -> None:
        """End a live call; one that is ending already is none the wiser. NotFound."""
        self._live(call_id).inputs.release(Cause.NORMAL)

    async def pause(self, recording_id: UUID, behavior: PauseBehavior, seconds: float | None) -> Recording:
        """Pause a live Recording, and give it back as it stands then. Conflict where that cannot be."""
        return await self._recorded(recording_id).pause(behavior, seconds)

    async def resume(self, recording_id: UUID) -> Recording:
        """Resume a live Recording, and give it back as it stands then. Conflict where that cannot be."""
        return await self._recorded(recording_id).resume()

    def record(self, call_id: UUID) -> Call:
        """Record a live call from now on, and give it back as it stands then. NotFound; Conflict."""
        call = self._live(call_id)
        call.record()
        return call.shown()

    def stop_recordings(self, reason: str) -> None:
        """End all recordings; the calls go on."""
        for call in self.calls:
            call.stop_recording(reason)

    def _recorded(self, recording_id: UUID) -> LiveCall:
        if recording_id not in self._by_recording:
            raise Conflict(f"Recording {recording_id} belongs to no live call here.")
        return self._by_recording[recording_id]

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

    def let_go_all(self) -> None:
        """Leave all live calls, as they are in Asterisk, to another process, and take no more."""
        self._gone = True
        for call in self.calls:
            call.let_go()
        self._calls.clear()
        self._by_caller.clear()
        self._by_recording.clear()
        self._check_empty()

    # events

    def handle(self, event: events.Event) -> None:
        """Act on one event; one that concerns no live call is passed over."""
        if self._gone:
            return
        match event:
            case events.StasisStart(channel, args, replaced):
                self._entered(channel, args, replaced)
            case events.ChannelStateChange(channel) if channel.state == "Up":
                self._for_leg(channel.id, lambda call: call.inputs.leg_answered())
            case events.ChannelStateChange(channel) if channel.state == "Ringing":
                self._for_leg(channel.id, lambda call: call.far_end_rings())
            case events.StasisEnd(channel):
                self._for_caller(channel.id, lambda call: call.inputs.caller_left(Cause.NORMAL))
            case events.ChannelDestroyed(channel, cause):
                self._for_caller(channel.id, lambda call: call.inputs.caller_left(cause))
                self._for_leg(channel.id, lambda call: call.inputs.leg_left(cause))
            case events.ChannelDtmfReceived(channel, digit):
                self._for_party(channel.id, lambda call, side: call.key_pressed(side, digit))
            case events.ChannelHold(channel):
                self._for_party(channel.id, lambda call, side: call.held(side))
            case events.ChannelUnhold(channel):
                self._for_party(channel.id, lambda call, side: call.unheld(side))
            case events.PlaybackFinished(playback):
                self._playback_ended(playback)
            case events.RecordingStarted(recording):
                self._for_file(recording.name, lambda call, side: call.recording_started(side))
            case events.RecordingFinished(recording) | events.RecordingFailed(recording):
                self._for_file(recording.name, lambda call, side: call.recording_ended(side))
            case _:
                pass

    def _entered(self, channel: events.Channel, args: tuple[str, ...], replaced: events.Channel | None) -> None:
        owner = owner_of(channel.id)
        if args[:1] == ("incoming",):
            self._incoming(channel, args[1:])
        elif args[:1] == ("transferred",):
            self._transferred(channel, args[1:])
        elif replaced is not None and self._call_of_leg(replaced.id, current=False) is not None:
            pass  # the other half of what was transferred: it holds the far end's place in the bridge
        elif owner is None or owner[0] not in self._calls:
            self._log.warn("Asterisk: ending {channel}, which belongs to no call", channel=channel.name)
            self.hang_up(channel.id, Cause.NORMAL)
        elif is_leg(owner[1]):
            self._for_leg(channel.id, lambda call: call.leg_entered(channel.name))
        else:
            self._calls[owner[0]].helper_entered(owner[1])

    def _transferred(self, placeholder: events.Channel, args: tuple[str, ...]) -> None:
        """The far end of a call has left it to somebody else (etc/asterisk/extensions.conf: voxrec-transfer)."""
        target, leg, replaces = (*(unquote(arg) for arg in args), "", "", "")[:3]
        call = next((call for call in self._calls.values() if leg and call.leg_name == leg), None)
        callee = refer_target(target)
        if call is not None and callee is not None and self._may_call(callee):
            self._log.info("call {call}: transferred to {callee}", call=call.id, callee=callee)
            call.transferred(callee, placeholder.id, replaced_dialog(replaces))
            return
        self._log.warn("transfer of {leg!r} to {target!r} refused", leg=leg, target=target)
        self.hang_up(placeholder.id, Cause.REJECTED)
        if call is not None:
            call.cannot_transfer()

    def _may_call(self, uri: str) -> bool:
        return sipuri.is_host_allowed(sipuri.parse(uri).host, self._allowed_hosts)

    def _incoming(self, channel: events.Channel, args: tuple[str, ...] = ()) -> None:
        if channel.id in self._by_caller:
            return  # found by `reconcile` already
        # what is withheld stays in Asterisk, which passes it on to those alone whom the trunk trusts
        caller = events.CallerId() if is_withheld(args) else channel.caller
        incoming = InboundCall(
            channel=channel.id,
            number=caller.number[:255],
            name=display_name(caller.name)[:255],
            dialled=channel.dialplan.exten[:255],
            headers=headers_of(args),
            wideband=is_wideband(args),
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
        call = self._opened(incoming, profile)
        self._tell(EventType.CALL_STARTED, call)
        call.inputs.begin()
        # afterwards: to write a line takes as long as to begin the call, and the caller waits
        self._log.info(
            "call {call}: {number!r} calls {dialled!r}, Profile {profile}",
            call=call.id,
            number=incoming.number,
            dialled=incoming.dialled,
            profile=profile.id,
        )

    def _opened(self, incoming: InboundCall, profile: Profile, memory: TakeoverState | None = None) -> LiveCall:
        call = LiveCall(
            self._clock,
            self._asterisk,
            self._ledger,
            self._settings,
            incoming,
            profile,
            over=self._over,
            tell=self._tell,
            memory=memory,
        )
        self._calls[call.id] = call
        self._by_caller[incoming.channel] = call
        self._by_recording[call.recording_id] = call
        return call

    def _profile_for(self, incoming: InboundCall) -> Profile | _Refusal:
        if self._draining:
            return _Refusal(Cause.CONGESTION, "voxrec is stopping")
        profile = self._directory.find(incoming.dialled)
        if profile is None and not self._directory.confirmed:
            return _Refusal(Cause.CONGESTION, "not all Profiles are known yet")
        if profile is None:
            return _Refusal(Cause.UNALLOCATED, "no such Profile")
        if profile.remote_sip_uri is None:
            return _Refusal(Cause.NO_ANSWER, f"Profile {profile.id} has no remoteSipUri")
        if not self._may_call(profile.remote_sip_uri):
            return _Refusal(Cause.REJECTED, f"the host of Profile {profile.id} is not allowed")
        if self._max_calls and len(self._calls) >= self._max_calls:
            return _Refusal(Cause.CONGESTION, f"{self._max_calls} calls are live")
        if profile.max_calls is not None and self._calls_of(profile) >= profile.max_calls:
            return _Refusal(Cause.BUSY, f"{profile.max_calls} calls of Profile {profile.id} are live")
        return profile

    def _calls_of(self, profile: Profile) -> int:
        return sum(call.profile.id == profile.id for call in self._calls.values())

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
        if (call := self._call_of_leg(channel)) is not None:
            act(call)

    def _call_of_leg(self, channel: str, *, current: bool = True) -> LiveCall | None:
        """Whose outgoing channel it is, or, where not only the ``current`` one counts, was before a transfer."""
        owner = owner_of(channel)
        if owner is None or not is_leg(owner[1]):
            return None
        call = self._calls.get(owner[0])
        return call if call is not None and (not current or call.leg == channel) else None

    def _for_party(self, channel: str, act: Callable[[LiveCall, Side], None]) -> None:
        self._for_caller(channel, lambda call: act(call, Side.CALLER))
        self._for_leg(channel, lambda call: act(call, Side.CALLEE))

    def _for_file(self, name: str, act: Callable[[LiveCall, Side], None]) -> None:
        owner = owner_of(name)
        if owner is not None and (call := self._by_recording.get(owner[0])) is not None:
            act(call, Side(owner[1]))

    def _playback_ended(self, playback: events.Playback) -> None:
        owner = owner_of(playback.id)
        if owner is not None and (call := self._calls.get(owner[0])) is not None:
            call.playback_ended(owner[1], complete=playback.state == "done")

    # recovery

    async def reconcile(self) -> OrphanedChannels:
        """Ask Asterisk how things stand; tell each call what it missed, and take over what another process left.

        Gives back what is voxrec's in Asterisk and belongs to no call of this process.
        """
        # what Asterisk answers can be older than what has happened since: it counts for what was there before
        before = [(call, call.status, call.leg) for call in self.calls]
        scene = await look(self._asterisk)
        for call, status, leg in before:
            await self._catch_up(call, status, leg, scene)
        await self._take_over(await left_calls(self._asterisk, scene, self._calls.__contains__))
        held = self._held(scene)
        return OrphanedChannels(
            frozenset(
                channel
                for channel in scene.own
                if channel in scene.channels
                and channel not in self._by_caller
                and not self._is_ours(channel)
                and _local(scene.channels[channel]) not in held
            ),
            frozenset(bridge for bridge in scene.bridges if owner_of(bridge) is not None and not self._is_ours(bridge)),
        )

    async def _take_over(self, left: list[TakeoverState]) -> None:
        left = [memory for memory in left if memory.call_id not in self._calls]  # a reconcile before this may have them
        if not left or self._gone:
            return
        # first of all, so that what happens from here on reaches them
        calls = {memory.call_id: self._opened(_incoming_of(memory), memory.profile, memory) for memory in left}
        known = await self._recall([memory.recording_id for memory in left])
        scene = await look(self._asterisk)
        for memory in left:
            call = calls[memory.call_id]
            situation = await situation_of(self._asterisk, memory, scene, known.get(memory.recording_id))
            if self._gone:
                return
            call.leg_name = scene.channels[call.leg].name if call.leg in scene.channels else ""
            call.take_over(situation)
            self._log.info("call {call}: taken over, {status}", call=call.id, status=call.status)

    async def _catch_up(self, call: LiveCall, status: CallState, leg: str, scene: AsteriskSnapshot) -> None:
        """Tell a call, which was at ``status`` and had that ``leg`` when Asterisk was asked, what it missed."""
        if leg != call.leg:
            pass  # it was transferred meanwhile
        elif leg in scene.own:
            call.leg_entered(scene.channels[leg].name if leg in scene.channels else "")
            if scene.up(leg):
                call.inputs.leg_answered()
        elif leg not in scene.channels and status not in (CallState.NEW, CallState.PLACING):
            call.inputs.leg_left(Cause.NORMAL)
        if call.incoming.channel not in scene.own:
            call.inputs.caller_left(Cause.NORMAL)
        if call.recording is None:
            return
        names = {leg_name(call.recording_id, side): side for side in Side}
        began = call.status is not CallState.CONNECTING
        running = {recording.name for recording in await self._asterisk.live_recordings(names)}
        for name, side in names.items():
            if name in running:
                call.recording_started(side)
            elif began:
                call.recording_ended(side)

    def _is_ours(self, owned: str) -> bool:
        owner = owner_of(owned)
        return owner is not None and owner[0] in self._calls

    def _held(self, scene: AsteriskSnapshot) -> set[str]:
        """The Local channels that hold a place in a bridge."""
        placeholders = (call.placeholder for call in self.calls)
        return {_local(scene.channels[channel]) for channel in placeholders if channel in scene.channels}

    def owns(self, recording_id: UUID) -> bool:
        """Whether a Recording belongs to a live call."""
        return recording_id in self._by_recording

    async def clear_away(self, strays: OrphanedChannels) -> None:
        """End what belongs to no call; a caller who still waits to be put through is put through."""
        if self._gone:
            return
        waiting = {channel.id: channel for channel in await self._asterisk.list_channels() if channel.state == "Ring"}
        strays = OrphanedChannels() if self._gone else strays
        for channel in strays.channels:
            if channel in waiting and owner_of(channel) is None:
                self._incoming(waiting[channel])
                continue
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


def _incoming_of(memory: TakeoverState) -> InboundCall:
    return InboundCall(
        channel=memory.caller,
        number=memory.number,
        name=memory.name,
        dialled=memory.dialled,
        wideband=memory.wideband,
    )


def _local(channel: events.Channel) -> str:
    """What the two halves of a Local channel have in common of their names; the whole name of any other."""
    return channel.name.partition(";")[0]
