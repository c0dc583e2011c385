"""From event to call: opens a call for each caller, and tells every call what happened to it."""

from collections.abc import Callable, Iterable
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
from voxrec.errors import VoxrecError
from voxrec.model import Profile, Side, leg_name


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
    ) -> None:
        self._clock = clock
        self._asterisk = asterisk
        self._directory = directory
        self._ledger = ledger
        self._settings = settings
        self._allowed_hosts = allowed_hosts
        self._calls: dict[UUID, LiveCall] = {}
        self._by_caller: dict[str, LiveCall] = {}
        self._by_recording: dict[UUID, LiveCall] = {}
        self._draining = False
        self._drained: list[Deferred[None]] = []

    @property
    def calls(self) -> Iterable[LiveCall]:
        """The live calls, oldest first."""
        return tuple(self._calls.values())

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
            return
        call = LiveCall(self._clock, self._asterisk, self._ledger, self._settings, incoming, profile, over=self._over)
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

    async def reconcile(self) -> set[str]:
        """Ask Asterisk how things stand, and tell each call what it missed while there was no websocket.

        Gives back the channels in voxrec's application that belong to no call of this process.
        """
        channels = {channel.id: channel for channel in await self._asterisk.channels()}
        own = set(await self._asterisk.own_channels())
        for call in self.calls:
            await self._catch_up(call, channels, own)
        known = self._by_caller.keys() | {channel for channel in own if self._is_ours(channel)}
        return {channel for channel in own if channel in channels} - known

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

    def _is_ours(self, channel: str) -> bool:
        owner = owner_of(channel)
        return owner is not None and owner[0] in self._calls

    def owns(self, recording_id: UUID) -> bool:
        """Whether a Recording belongs to a live call."""
        return recording_id in self._by_recording

    def hang_up(self, channel: str, cause: Cause) -> None:
        """End a channel that belongs to no call."""
        Deferred.fromCoroutine(self._hang_up(channel, cause))

    async def _hang_up(self, channel: str, cause: Cause) -> None:
        try:
            await self._asterisk.hang_up(channel, cause)
        except VoxrecError as error:
            self._log.warn("Asterisk: {channel} stays: {error}", channel=channel, error=error)


_NOWHERE = events.Channel(id="")
