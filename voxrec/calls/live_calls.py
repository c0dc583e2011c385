"""All live calls of this process."""

from collections.abc import Callable, Iterable, Iterator
from typing import Protocol
from uuid import UUID

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec.ari.client import AriClient
from voxrec.calls.call_data import CallSettings, InboundCall
from voxrec.calls.channels.ids import is_confirmation, is_leg, is_listening, owner_of
from voxrec.calls.channels.takeover_state import TakeoverState
from voxrec.calls.live_call import UNANSWERED, LiveCall
from voxrec.calls.recording.recording_commands import RecordingCommands
from voxrec.calls.recording.recording_log import RecordingSink
from voxrec.calls.signalling.causes import Cause
from voxrec.calls.transfers.replacements import ReplacingChannel
from voxrec.model import Attempt, Call, CallState, EventType, Profile, Side


class CallListener(Protocol):
    """Is notified of the events of calls. Its methods never block and never fail."""

    def call_changed(self, event: EventType, call: Call) -> None:
        """Handle an event of a call."""
        ...

    def call_refused(self, cause: int) -> None:
        """Handle the refusal of an inbound call with this Q.850 cause."""
        ...


class LiveCalls:
    """Creates calls, and finds them by their ids, channels and recordings until they are over."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        asterisk: AriClient,
        commands: RecordingCommands,
        sink: RecordingSink,
        settings: CallSettings,
        listeners: tuple[CallListener, ...] = (),
    ) -> None:
        self._clock = clock
        self._asterisk = asterisk
        self._commands = commands
        self._sink = sink
        self._settings = settings
        self._listeners = listeners
        self._by_id: dict[UUID, LiveCall] = {}
        self._by_caller: dict[str, LiveCall] = {}
        self._by_recording: dict[UUID, LiveCall] = {}
        self._by_dialog: dict[str, LiveCall] = {}
        # former callers, and the channels that Asterisk has put in the place of legs
        self._by_foreign_channel: dict[str, LiveCall] = {}
        self._waiting_until_empty: list[Deferred[None]] = []
        self.detached = False
        """Whether another process has the calls now."""
        self.is_listening_object: Callable[[str], bool] = lambda _object_id: False
        """Returns whether a channel or bridge passes the audio of a call to listeners of this process."""

    def set_settings(self, settings: CallSettings) -> None:
        """Change the settings of the following calls; live calls keep theirs."""
        self._settings = settings

    def add_listener(self, listener: CallListener) -> None:
        """Notify another listener of the events of calls."""
        self._listeners = (*self._listeners, listener)

    def __iter__(self) -> Iterator[LiveCall]:
        """Iterate over the calls, oldest first. Calls may begin and end meanwhile."""
        return iter(tuple(self._by_id.values()))

    def __len__(self) -> int:
        return len(self._by_id)

    def __contains__(self, call_id: UUID) -> bool:
        return call_id in self._by_id

    def get(self, call_id: UUID) -> LiveCall | None:
        """Return the call with this id, or None."""
        return self._by_id.get(call_id)

    def of_caller(self, channel: str) -> LiveCall | None:
        """Return the call whose caller has this channel, or None."""
        return self._by_caller.get(channel)

    def of_dialog(self, dialog: str) -> LiveCall | None:
        """Return the call of this dialog of a caller, or None; not one that has ended for the caller."""
        call = self._by_dialog.get(dialog)
        return None if call is None or call.status is CallState.CLEARING else call

    def of_recording(self, recording_id: UUID) -> LiveCall | None:
        """Return the call with this recording id, or None."""
        return self._by_recording.get(recording_id)

    def of_leg(self, channel: str) -> LiveCall | None:
        """Return the call to which this outgoing leg belongs, whether it is the current leg or not, or None."""
        owner = owner_of(channel)
        if owner is None:
            return self._by_foreign_channel.get(channel)
        return self._by_id.get(owner[0]) if is_leg(owner[1]) else None

    def of_leg_channel_name(self, name: str) -> LiveCall | None:
        """Return the call whose current leg has this name in Asterisk, or None."""
        return next((call for call in self._by_id.values() if name and call.leg_channel_name == name), None)

    def replace_channel(self, former: str, channel: ReplacingChannel) -> bool:
        """Replace the channel ``former`` of a party. Return False if it is not in use by any call."""
        if (call := self.of_caller(former)) is not None:
            side = Side.CALLER
            self._by_foreign_channel[former] = self._by_caller[channel.id] = call
            del self._by_caller[former]
        elif (call := self.of_leg(former)) is not None and call.leg == former:
            side = Side.CALLEE
            self._by_foreign_channel[channel.id] = call
        else:
            return False
        call.replaced(side, channel)
        return True

    def owns(self, object_id: str) -> bool:
        """Return whether a channel or bridge with this id was created for a live call, and is in use."""
        owner = owner_of(object_id)
        call = None if owner is None else self._by_id.get(owner[0])
        if owner is None or call is None:
            return False
        # those of another process, from which the call was taken over, are of no use, and a tone that one plays to a
        # party would not end
        if is_confirmation(owner[1]):
            return call.confirmations.is_playing(owner[1])
        return not is_listening(owner[1]) or self.is_listening_object(object_id)

    def is_recording(self, recording_id: UUID) -> bool:
        """Return whether a Recording belongs to a live call, or may belong to one that another process has now."""
        return self.detached or recording_id in self._by_recording

    def open(
        self,
        inbound: InboundCall,
        profile: Profile,
        takeover_state: TakeoverState | None = None,
    ) -> LiveCall:
        """Create a call, which is found from now on."""
        call = LiveCall(
            self._clock,
            self._asterisk,
            self._commands,
            self._sink,
            self._settings,
            inbound,
            profile,
            on_over=self._over,
            on_event=self.publish,
            takeover_state=takeover_state,
        )
        self._by_id[call.id] = call
        self._by_caller[inbound.channel] = call
        self._by_recording[call.recording_id] = call
        if inbound.dialog:
            self._by_dialog[inbound.dialog] = call
        if owner_of(call.leg) is None:
            self._by_foreign_channel[call.leg] = call
        return call

    def publish(self, event: EventType, call: LiveCall) -> None:
        """Notify the listeners of an event of a call."""
        representation = call.representation()
        for listener in self._listeners:
            listener.call_changed(event, representation)

    def publish_refusal(self, cause: int) -> None:
        """Notify the listeners that an inbound call was refused."""
        for listener in self._listeners:
            listener.call_refused(cause)

    def ami_connected(self) -> None:
        """Do what could not be done while AMI was not connected."""
        for call in self:
            call.manager_connected()

    def ami_disconnected(self) -> None:
        """Do nothing: each command that is due fails, and is repeated at the next connect."""

    def stop_recordings(self, reason: str) -> None:
        """End all recordings; the calls continue."""
        for call in self:
            call.stop_recording(reason)

    @property
    def attempts(self) -> list[Attempt]:
        """Which attempts of a SIP proxy the calls are whose far ends have not answered."""
        attempts = (call.inbound.attempt for call in self if call.status in UNANSWERED)
        return [attempt for attempt in attempts if attempt is not None]

    def give_up(self, later: Attempt) -> None:
        """Give up a call that the SIP proxy has passed to another node, unless its far end has answered."""
        for call in self:
            if call.inbound.attempt is not None and later.supersedes(call.inbound.attempt):
                call.inputs.superseded()

    def release_all(self) -> None:
        """End all calls."""
        for call in self:
            call.inputs.release(Cause.NORMAL)

    def detach_all(self) -> None:
        """Leave all calls to another process, as they are in Asterisk, and accept no more."""
        self.detached = True
        for call in self:
            call.inputs.detach()
        self._by_id.clear()
        self._by_caller.clear()
        self._by_recording.clear()
        self._by_dialog.clear()
        self._by_foreign_channel.clear()
        self._check_empty()

    def forget(self, calls: Iterable[LiveCall]) -> None:
        """Leave some calls as they are in Asterisk; they can be opened again."""
        for call in calls:
            call.inputs.detach()
            self._remove(call)

    def attach(self) -> None:
        """Have calls again: this process has the application."""
        self.detached = False

    def when_empty(self) -> Deferred[None]:
        """Return a Deferred that fires when there is no live call."""
        empty: Deferred[None] = Deferred()
        self._waiting_until_empty.append(empty)
        self._check_empty()
        return empty

    def _over(self, call: LiveCall) -> None:
        self._log.info("call {call}: over", call=call.id)
        self._remove(call)
        self._check_empty()

    def _remove(self, call: LiveCall) -> None:
        self._by_id.pop(call.id, None)
        self._by_caller.pop(call.inbound.channel, None)
        self._by_recording.pop(call.recording_id, None)
        if self._by_dialog.get(call.inbound.dialog) is call:  # else the caller has called again
            del self._by_dialog[call.inbound.dialog]
        for channel in [channel for channel, owner in self._by_foreign_channel.items() if owner is call]:
            del self._by_foreign_channel[channel]

    def _check_empty(self) -> None:
        if not self._by_id:
            waiting, self._waiting_until_empty = self._waiting_until_empty, []
            for each in waiting:
                each.callback(None)
