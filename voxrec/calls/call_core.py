"""The events of a call, and what its machine works with: one collaborator for each concern."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger

from voxrec.calls.call_data import CallData
from voxrec.calls.call_recording import CallRecording
from voxrec.calls.channels.caller_connection import CallerConnection
from voxrec.calls.channels.invited_caller import InvitedCaller
from voxrec.calls.channels.legs import Legs
from voxrec.calls.channels.resources import RECORDING, Resources
from voxrec.calls.channels.steps import Steps
from voxrec.calls.signalling.causes import Cause
from voxrec.calls.signalling.sip_status import status_of_cause
from voxrec.calls.transfers.replacements import Replacements, ReplacingChannel
from voxrec.calls.transfers.transfer_core import TransferCore, TransferInputs, TransferRequest
from voxrec.deadline import Deadline
from voxrec.deferreds import gather
from voxrec.model import CallState, EventType

_UNREACHABLE: Final = frozenset({0, 408, 503})  # SIP statuses of Asterisk itself, and also of far ends
_SILENCE: Final = 1.0  # seconds in which a far end usually reports that it rings
CLEARING_TIMEOUT: Final = 10.0  # seconds that Asterisk may take to end channels and close files
RECORDING_TIMEOUT: Final = 3.0  # seconds that Asterisk may take to open both files before the call continues
ANNOUNCEMENT_CHECK: Final = 120.0  # seconds after which Asterisk is asked whether it still plays the announcement


class CallInputs(Protocol):
    """The events of a call."""

    def begin(self) -> None:
        """The call was accepted: call the far end."""

    def invite(self) -> None:
        """A client has requested the call: call the person who is to be connected with the far end."""

    def caller_entered(self) -> None:
        """The channel of a caller whom voxrec calls has entered the application: it can be dialled."""

    def caller_answered(self) -> None:
        """A caller whom voxrec calls has answered."""

    def found_calling(self) -> None:
        """Taken over from another process, which was calling the person."""

    def bridge_created(self) -> None:
        """The bridge exists."""

    def leg_joined(self) -> None:
        """The first leg is in the bridge."""

    def leg_entered(self) -> None:
        """The current leg has entered the application: it can be put into the bridge and dialled."""

    def leg_rings(self) -> None:
        """The far end reports that it rings."""

    def leg_is_silent(self) -> None:
        """The far end has reported progress, but neither that it rings nor with media."""

    def leg_answered(self) -> None:
        """The far end has answered."""

    def leg_hung_up(self, cause: int) -> None:
        """The current leg is gone, or was never created."""

    def leg_redirected(self, callee: str) -> None:
        """The current leg is gone, because its far end has redirected the call to another SIP URI."""

    def caller_hung_up(self, cause: int) -> None:
        """The caller's channel is gone."""

    def channel_not_found(self, channel: str) -> None:
        """A channel that was to be hung up does not exist."""

    def timed_out(self) -> None:
        """The current state has lasted as long as it may."""

    def duration_reached(self) -> None:
        """The call has reached its maximum duration."""

    def setup_failed(self) -> None:
        """Asterisk did not execute a command without which there is no call."""

    def recording_started(self) -> None:
        """Asterisk records both sides, or all that it is going to record; also if the call is not recorded."""

    def recording_closed(self) -> None:
        """All files of the recording are closed."""

    def announcement_finished(self, complete: bool) -> None:
        """The announcement was played, completely or not; also if there is none."""

    def announcement_lost(self) -> None:
        """Asterisk does not play the announcement any more, and it is not known whether it was played completely."""

    def record(self) -> None:
        """A call that is not recorded is to be recorded from now on."""

    def caller_replaced(self, channel: ReplacingChannel) -> None:
        """Asterisk has put another channel in the place of the caller's."""

    def leg_replaced(self, channel: ReplacingChannel) -> None:
        """Asterisk has put a channel in the place of the current leg."""

    def caller_left(self) -> None:
        """The caller's channel has left the application: it hangs up, or another program uses it."""

    def leg_left(self) -> None:
        """The current leg has left the application: it hangs up, or another program uses it."""

    def transfer_requested(self, request: TransferRequest) -> None:
        """The far end has transferred the call."""

    def replacement_failed(self) -> None:
        """A channel that has replaced one of the call's cannot be put into the bridge."""

    def transfer_forbidden(self) -> None:
        """The far end has transferred the call to a party that voxrec must not call."""

    def transfer_failed(self) -> None:
        """The target of a transfer cannot be reached."""

    def superseded(self) -> None:
        """Another node has got the call, because the SIP proxy has had no response of this one in time."""

    def release(self, cause: int) -> None:
        """voxrec ends the call."""

    def cleared(self) -> None:
        """Nothing of the call is left in Asterisk."""

    def detach(self) -> None:
        """Another process has the call now; the outcomes of commands that are in progress do not matter."""

    def found_placing(self) -> None:
        """Taken over from another process, which was creating the leg."""

    def found_ringing(self) -> None:
        """Taken over from another process, which had dialled the far end."""

    def found_announcing(self) -> None:
        """Taken over while the announcement is played."""

    def found_unannounced(self) -> None:
        """Taken over after the answer; it is not known whether the parties have heard the announcement."""

    def found_talking(self) -> None:
        """Taken over while the parties talk."""


@dataclass
class CallCore:
    """What the call machine works with: one collaborator for each concern.

    ``publish`` notifies the listeners of an event of the call; ``over`` is called once, when the call is over;
    ``recording_started`` when Asterisk records.
    """

    data: CallData
    resources: Resources
    steps: Steps
    legs: Legs
    connection: CallerConnection
    invited: InvitedCaller
    recording: CallRecording
    transfer: TransferInputs
    transfer_core: TransferCore
    replacements: Replacements
    publish: Callable[[EventType], None]
    over: Callable[[], None]
    recording_started: Callable[[], None]
    deadline: Deadline = field(init=False)
    duration_limit: Deadline = field(init=False)
    departure: Deadline = field(init=False)
    silence_check: Deadline = field(init=False)
    log = Logger()

    def __post_init__(self) -> None:
        self.deadline = Deadline(self.data.clock)
        self.duration_limit = Deadline(self.data.clock)
        self.departure = Deadline(self.data.clock)
        self.silence_check = Deadline(self.data.clock)

    def enter(self, inputs: CallInputs, status: CallState, timeout: float) -> None:
        """Enter a state that lasts at most ``timeout`` seconds."""
        self.silence_check.cancel()
        self.data.status = status
        self.deadline.start(timeout, inputs.timed_out)

    def enter_talking(self) -> None:
        """Enter the state that lasts until the call ends."""
        self.data.status = CallState.TALKING
        self.deadline.cancel()

    def limit_duration(self, inputs: CallInputs) -> None:
        """Start the timer of the maximum duration, which counts from the answer and runs in all states after it."""
        self.duration_limit.start(self.data.remaining_duration, inputs.duration_reached)

    def cancel_timers(self) -> None:
        """Stop all timers."""
        self.deadline.cancel()
        self.duration_limit.cancel()
        self.departure.cancel()
        self.silence_check.cancel()

    def explain_failure(self) -> None:
        """Find out why the far end was not reached, unless it has certainly responded."""
        unanswered = self.data.status in (CallState.PLACING, CallState.RINGING)
        if unanswered and not self.legs.has_progressed and self.legs.refusal_status in _UNREACHABLE:
            self.data.settings.far_end_unreachable(self.data.id, self.data.callee)

    def watch_silence(self, inputs: CallInputs, delay: float = _SILENCE) -> None:
        """Look after ``delay`` seconds, and then less and less often, whether the caller waits in silence."""

        def checked(silent: bool) -> None:
            if silent:
                inputs.leg_is_silent()

        def check() -> None:
            self.watch_silence(inputs, 2 * delay)
            self.steps.attempt(self.legs.is_silent(), succeeded=checked)

        self.silence_check.start(delay, check)

    def join_leg(self, inputs: CallInputs) -> None:
        """Put the leg into the bridge; if commands can be pipelined, dial it at once."""
        if self.legs.can_pipeline:
            self.steps.run(self.legs.join(), failed=inputs.setup_failed)
            self.steps.run(self.legs.dial(), failed=inputs.setup_failed)
        else:
            joined = inputs.leg_joined
            self.steps.run(
                gather(self.legs.join(), self.connection.when_waiting()),
                succeeded=lambda _: joined(),
                failed=inputs.setup_failed,
            )

    def start_recording(self, inputs: CallInputs) -> None:
        """Start the recording that was prepared, if any."""

        def started(_: None) -> None:
            inputs.recording_started()
            self.recording_started()

        self.steps.attempt(self.recording.when_started(), succeeded=started)
        self.watch_recording(inputs)
        self.recording.begin()

    def watch_recording(self, inputs: CallInputs) -> None:
        """Observe the end of the recording."""
        recorder = self.recording.recorder
        if recorder is not None:
            self.resources.add(RECORDING)
            self.steps.attempt(recorder.over, succeeded=lambda _: inputs.recording_closed())

    def start_announcement(self, inputs: CallInputs) -> None:
        """Start the announcement, if one is required and available."""

        def started(playing: bool) -> None:
            if not playing:
                inputs.announcement_finished(complete=False)

        self.steps.run(
            self._announce(),
            succeeded=started,
            failed=lambda: inputs.announcement_finished(complete=False),
        )

    def check_announcement(self, inputs: CallInputs) -> None:
        """Give up the announcement if Asterisk does not play it any more: its end was not reported."""

        def checked(exists: bool) -> None:
            if not exists:
                inputs.announcement_finished(complete=False)

        self.steps.run(
            self.recording.announcement_exists(),
            succeeded=checked,
            failed=lambda: inputs.announcement_finished(complete=False),
        )

    async def _announce(self) -> bool:
        """Play the announcement; the caller would not hear its beginning if it were not in the bridge yet."""
        await self.connection.when_connected()
        return await self.recording.start_announcement()

    def connect_caller(self, inputs: CallInputs) -> None:
        """Answer the caller, and put it into the bridge with the far end, which has answered."""
        if self.legs.needs_jitter_buffer:
            self.steps.attempt(self.legs.buffer_caller())

        def connected(_: None) -> None:
            if self.connection.is_connected:
                self.steps.attempt(self.connection.release())

        self.steps.run(self.connection.connect(), succeeded=connected, failed=lambda: inputs.release(Cause.NORMAL))

    def clear(self, inputs: CallInputs, *, cause: int, by: str, status: int = 0) -> None:
        """Begin to end everything that is left of the call.

        ``status`` is the SIP status for an unanswered caller; 0: the one to which Asterisk maps the Q.850 cause.
        """
        data = self.data
        self.duration_limit.cancel()
        self.departure.cancel()
        self.replacements.cancel()
        self.enter(inputs, CallState.CLEARING, CLEARING_TIMEOUT)
        data.ended_at, data.hangup_cause, data.hangup_by = data.now(), cause, by
        data.sip_status = data.sip_status or status or None
        self.recording.close(cause=cause, by=by)
        for channel in self.resources.channels:
            if channel != data.inbound.channel:
                self.hang_up(inputs, channel)
            elif (refusal := status or status_of_cause(cause)) and not (data.inbound.invited or data.answered_at):
                self._await_hangup(inputs, channel, self.connection.refuse(refusal, cause))
            else:
                self.hang_up(inputs, channel, cause)
        self.transfer.call_ended()
        self.publish(EventType.CALL_ENDED)
        self.steps.attempt(self.resources.when_gone(), succeeded=lambda _: inputs.cleared())

    def warn_of_remains(self) -> None:
        """Log that something of the call may be left in Asterisk."""
        self.log.warn(
            "call {call}: Asterisk did not end everything within {timeout:g} s; the call is over nevertheless",
            call=self.data.id,
            timeout=CLEARING_TIMEOUT,
        )

    def hang_up(self, inputs: CallInputs, channel: str, cause: int = Cause.NORMAL) -> None:
        """Hang up a channel of the call."""
        self._await_hangup(inputs, channel, self.legs.hang_up(channel, cause))

    def _await_hangup(self, inputs: CallInputs, channel: str, command: Deferred[bool]) -> None:
        def hung_up(existed: bool) -> None:
            if not existed:
                inputs.channel_not_found(channel)

        self.steps.attempt(command, succeeded=hung_up)
