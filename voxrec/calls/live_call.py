"""One live call, as the event router, REST and reconciliation see it."""

from collections.abc import Callable
from typing import Final
from uuid import uuid4

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec.ari.client import AriClient
from voxrec.calls.announcements.confirmations import Confirmations
from voxrec.calls.call_core import CallCore, CallInputs
from voxrec.calls.call_data import CallData, CallSettings, InboundCall
from voxrec.calls.call_machine import call_machine
from voxrec.calls.call_recording import CallRecording
from voxrec.calls.channels.caller_connection import CallerConnection
from voxrec.calls.channels.ids import ANNOUNCEMENT, EARLY_MEDIA, PROGRESS, is_confirmation
from voxrec.calls.channels.invited_caller import InvitedCaller, new_call_id
from voxrec.calls.channels.legs import Legs
from voxrec.calls.channels.resources import Resources
from voxrec.calls.channels.steps import Steps
from voxrec.calls.channels.takeover_state import TakeoverState
from voxrec.calls.recording.pause_codes import PauseCodes
from voxrec.calls.recording.recorder import Recorder
from voxrec.calls.recording.recording_commands import RecordingCommands
from voxrec.calls.recording.recording_log import RecordingSink
from voxrec.calls.signalling.sip_status import FIRST_FINAL_FAILURE, nearest_cause, refusal_cause, status_for_caller
from voxrec.calls.transfer_announcements import TransferAnnouncements, is_transfer_announcement
from voxrec.calls.transfers.redirects import Redirects
from voxrec.calls.transfers.replacements import Replacements, ReplacingChannel
from voxrec.calls.transfers.transfer_core import TransferCore, TransferRequest
from voxrec.calls.transfers.transfer_machine import transfer_machine
from voxrec.clock import SteadyClock, utc_now
from voxrec.error_codes import ProblemReason
from voxrec.errors import Conflict
from voxrec.model import Call, CallState, EventType, PauseBehavior, Profile, Recording, RtpCounters, Side

_PAUSABLE: Final = (CallState.ANNOUNCING, CallState.TALKING)

_REDIRECTABLE: Final = frozenset(CallState) - {CallState.NEW, CallState.CLEARING, CallState.OVER}
UNANSWERED: Final = frozenset({CallState.PLACING, CallState.RINGING})
"""The states in which the far end has not answered."""


class LiveCall:
    """One call, from the caller's INVITE until nothing of it is left in Asterisk.

    ``on_event`` is called for each event that listeners are notified of, ``on_over`` once, when the call is over. A
    call with a ``takeover_state`` was begun by another process; `voxrec.calls.stasis.takeover` continues it.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        asterisk: AriClient,
        commands: RecordingCommands,
        sink: RecordingSink,
        settings: CallSettings,
        inbound: InboundCall,
        profile: Profile,
        *,
        on_over: Callable[["LiveCall"], None],
        on_event: Callable[[EventType, "LiveCall"], None] = lambda _event, _call: None,
        takeover_state: TakeoverState | None = None,
    ) -> None:
        taken = takeover_state
        self.id = new_call_id(inbound) if taken is None else taken.call_id
        self.recording_id = uuid4() if taken is None else taken.recording_id
        self.profile = profile
        clock = SteadyClock(clock)
        started_at = utc_now(clock) if taken is None else taken.started_at
        self.data = data = CallData(
            clock, settings, self.id, self.recording_id, inbound, profile, started_at, profile.remote_sip_uri or ""
        )
        self._resources = Resources(filter(None, [inbound.channel, "" if taken is None else taken.leg]))
        steps = Steps(self.id)
        self._redirects = Redirects(data)
        self._leg_status = 0  # the SIP status with which the current leg ends
        self._legs = legs = Legs(asterisk, data, self._resources, taken)
        self._call_recording = recording = CallRecording(asterisk, commands, sink, data, legs)
        self._announcements = TransferAnnouncements(asterisk, data, legs, steps, recording)
        self._transfer = TransferCore(
            data,
            legs,
            steps,
            note=lambda callee: recording.note("transferred", by=Side.CALLEE, detail=callee),
            is_recorded=lambda: recording.recorder is not None,
            leg_replaced=self._leg_replaced,
            joined=self._announcements.party_joined,
            failed=lambda: self.inputs.transfer_failed(),
            placeholders=[] if taken is None or not taken.placeholder else [taken.placeholder],
        )
        self.core = CallCore(
            data,
            self._resources,
            steps,
            legs,
            CallerConnection(asterisk, data, legs),
            InvitedCaller(asterisk, data),
            recording,
            transfer_machine(self._transfer),
            self._transfer,
            Replacements(
                asterisk, data, legs, self._resources, steps, recording, joined=self._announcements.party_joined
            ),
            publish=lambda event: on_event(event, self),
            over=lambda: self._end(on_over),
            recording_started=lambda: self._codes.recording_started(),
        )
        self.inputs: CallInputs = call_machine(self.core)
        self.confirmations = Confirmations(
            clock,
            asterisk,
            self.id,
            lambda side: data.inbound.channel if side is Side.CALLER else legs.current,
            language=profile.language,
        )
        self._codes = PauseCodes(
            clock,
            profile,
            self,
            note=lambda event, side, detail: recording.note(event, by=side, detail=detail),
            confirm=self._confirm_code,
            count=lambda change, outcome: data.settings.count_code(change, outcome),
        )

    # What it is.

    @property
    def status(self) -> CallState:
        """The state of the call."""
        return self.data.status

    @property
    def inbound(self) -> InboundCall:
        """The call from the trunk, with the channel that the caller has now."""
        return self.data.inbound

    @property
    def leg(self) -> str:
        """The channel id of the current leg."""
        return self._legs.current

    @property
    def former_legs(self) -> list[str]:
        """The channel ids of legs and callers that transfers have replaced, and that still exist."""
        return [leg for leg in self._resources.channels if leg not in (self._legs.current, self.inbound.channel)]

    @property
    def leg_channel_name(self) -> str:
        """Asterisk's name for the channel of the current leg; empty before the leg has entered the application."""
        return self._legs.channel_name

    @leg_channel_name.setter
    def leg_channel_name(self, name: str) -> None:
        self._legs.channel_name = name

    @property
    def placeholders(self) -> list[str]:
        """The ids of the channels that transfers have put into the bridge."""
        return self._transfer.all_placeholders

    @property
    def recorder(self) -> Recorder | None:
        """The recorder; None if the call is not recorded."""
        return self._call_recording.recorder

    @property
    def recording(self) -> Recording | None:
        """The Recording as it is now; None if the call is not recorded."""
        recorder = self._call_recording.recorder
        return None if recorder is None else recorder.recording

    @property
    def is_announcing(self) -> bool:
        """Whether Asterisk plays the announcement, as far as this process knows."""
        return self.status is CallState.ANNOUNCING and self._call_recording.is_announcing

    async def announcement_exists(self) -> bool:
        """Return whether Asterisk plays the announcement. Raises a VoxrecError."""
        return await self._call_recording.announcement_exists()

    def representation(self) -> Call:
        """Return the call as it is now."""
        data, recording = self.data, self.recording
        return Call(
            id=self.id,
            profile_id=self.profile.id,
            state=data.status,
            age=round((data.now() - data.started_at).total_seconds(), 3),
            from_=self.inbound.number or None,
            from_name=self.inbound.name or None,
            to=self.inbound.dialled,
            remote_sip_uri=data.callee or None,
            started_at=data.started_at,
            answered_at=data.answered_at,
            ended_at=data.ended_at,
            hangup_cause=data.hangup_cause,
            hangup_by=data.hangup_by,
            sip_status=data.sip_status,
            recording_id=recording.id if recording is not None else None,
            recording_state=recording.state if recording is not None else None,
            node=data.settings.node,
        )

    # Control by REST and by DTMF.

    async def pause(self, behavior: PauseBehavior, seconds: float | None, *, by: str = "rest") -> Recording:
        """Pause the recording until it is resumed, or for ``seconds``, and return it as it is then.

        Raises Conflict unless the parties are recorded, and talk or hear the announcement.
        """
        recorder = self._require_recorder("paused")
        await recorder.pause(behavior, seconds, by=by)
        return recorder.recording

    async def resume(self, *, by: str = "rest") -> Recording:
        """Resume the recording, and return it as it is then. Raises Conflict as `pause`."""
        recorder = self._require_recorder("resumed")
        await recorder.resume(by=by)
        return recorder.recording

    def _require_recorder(self, change: str) -> Recorder:
        recorder = self._call_recording.recorder
        if recorder is None or not recorder.is_live or self.status not in _PAUSABLE:
            now = f"Recording {self.recording_id} cannot be {change} now: call {self.id} is {self.status}"
            detail = f"{now}, and only a recording in progress of a call that is {' or '.join(_PAUSABLE)} can be."
            raise Conflict(detail, reason=ProblemReason.NOT_RECORDED_NOW)
        return recorder

    def record(self) -> None:
        """Record the call from now on; if it is being recorded, change nothing.

        Raises Conflict if the parties do not talk, if a recording of the call has ended, or if the disk is full.
        """
        recording = self._call_recording
        if recording.is_live:
            return
        if recording.has_recording:
            detail = f"Call {self.id} was recorded already, and its recording has ended."
            raise Conflict(detail, reason=ProblemReason.RECORDED_ALREADY)
        if self.status is not CallState.TALKING:
            detail = f"Call {self.id} is {self.status}: recording can begin only while a call is {CallState.TALKING}."
            raise Conflict(detail, reason=ProblemReason.NOT_TALKING)
        if not self.data.settings.has_disk_space():
            raise Conflict("There is no free disk space for another recording.", reason=ProblemReason.NO_DISK_SPACE)
        self.inputs.record()

    def stop_recording(self, reason: str) -> None:
        """End the recording, if there is one; the call continues."""
        recorder = self._call_recording.recorder
        if recorder is not None and recorder.is_live:
            recorder.stop(reason)

    @property
    def recording_is_to_begin(self) -> bool:
        """Whether the call is going to be recorded, but Asterisk does not record it yet."""
        if self.status in UNANSWERED:
            return self.profile.record
        return self.status is CallState.CONNECTING and self._call_recording.is_live

    def _confirm_code(self, side: Side, paused: bool) -> None:
        settings = self.data.settings
        if sound := settings.pause_sound if paused else settings.resume_sound:
            self.confirmations.play(side, sound)

    def _leg_replaced(self) -> None:
        self._codes.party_replaced(Side.CALLEE)
        self._call_recording.leg_replaced()

    def _end(self, on_over: Callable[["LiveCall"], None]) -> None:
        self.confirmations.stop()
        on_over(self)

    # Events from Asterisk.

    def leg_entered(self, channel: str, name: str) -> None:
        """Handle the StasisStart of an outgoing leg; ``name`` is Asterisk's name for the channel."""
        if channel == self._legs.current:
            self._legs.channel_name = name
            self.inputs.leg_entered()
        elif channel not in self._resources:  # the process from which the call was taken over created it too late
            self._log.warn("call {call}: ending leg {channel}, which is not in use", call=self.id, channel=channel)
            self.core.steps.attempt(self._legs.hang_up(channel))

    def leg_redirected(self, channel: str, forward: str) -> None:
        """Handle the report that the far end of an outgoing leg has redirected it to a dial string."""
        if channel == self._legs.current:
            self._redirects.reported(forward)

    def leg_progressed(self, channel: str) -> None:
        """Handle the report that the far end of an outgoing leg sends early media."""
        if channel == self._legs.current:
            self._legs.has_progressed = True
            if self.status is CallState.RINGING:
                self.core.connection.start_early_media()

    def leg_refused(self, channel: str, status: int) -> None:
        """Handle the SIP status with which an outgoing leg ends; `leg_destroyed` follows."""
        if channel == self._legs.current:
            self._legs.refusal_status = status_for_caller(status)
            self._leg_status = status

    def caller_refused(self, status: int) -> None:
        """Handle the SIP status with which the channel of a caller ends whom voxrec calls."""
        if self.status is CallState.CALLING:
            self.data.sip_status = status if status >= FIRST_FINAL_FAILURE else None

    def leg_left(self, channel: str) -> None:
        """Handle the StasisEnd of an outgoing leg, or of a channel that was replaced.

        Asterisk does not report the end of a channel that was replaced.
        """
        if channel == self._legs.current:
            self.inputs.leg_left()
        else:
            self._resources.gone(channel)

    def leg_destroyed(self, channel: str, cause: int) -> None:
        """Handle the ChannelDestroyed of an outgoing leg."""
        if channel != self._legs.current:
            self._resources.gone(channel)
            return
        status, self._leg_status = self._leg_status, 0
        self._log.debug(
            "call {call}: leg {leg} ended: SIP status {status}, cause {cause}",
            call=self.id,
            leg=channel,
            status=status or "unknown",
            cause=cause,
        )
        redirection = self._redirects.decide(status) if self.status in _REDIRECTABLE else 0
        if isinstance(redirection, str):
            self._legs.refusal_status = 0
            self.inputs.leg_redirected(redirection)
            return
        if redirection:
            self._legs.refusal_status = status = redirection
            cause = nearest_cause(status)
        self.inputs.leg_hung_up(refusal_cause(status, cause))

    def transferred(self, request: TransferRequest) -> None:
        """Handle a transfer by the far end."""
        self.inputs.transfer_requested(request)

    def replaced(self, side: Side, channel: ReplacingChannel) -> None:
        """Handle the replacement of a party's channel by another one."""
        if side is Side.CALLER:
            self.inputs.caller_replaced(channel)
        else:
            self.inputs.leg_replaced(channel)

    def snoop_entered(self, role: str) -> None:
        """Handle the StasisStart of a snoop channel with this role."""
        if is_confirmation(role):
            self.confirmations.channel_entered(role)
        else:
            self._call_recording.snoop_entered(role)

    def asterisk_ended(self) -> None:
        """Handle that the Asterisk in which the call began has ended, whose files stay as they are."""
        recorder = self._call_recording.recorder
        if recorder is not None:
            recorder.monitor.closed()

    def manager_connected(self) -> None:
        """Handle that AMI is connected again."""
        self._call_recording.manager_connected()

    def playback_finished(self, role: str, *, complete: bool) -> None:
        """Handle PlaybackFinished of an announcement, of a confirmation or of a beep."""
        if role == ANNOUNCEMENT:
            self.inputs.announcement_finished(complete=complete)
        elif is_transfer_announcement(role):
            self._announcements.finished(role, complete=complete)
        elif is_confirmation(role):
            self.confirmations.playback_finished(role)
        elif role not in (EARLY_MEDIA, PROGRESS):
            self._call_recording.beep_finished()

    def rtp_reported(self, side: Side, channel: str, counters: RtpCounters) -> None:
        """Handle what Asterisk has received from a party on a channel, which ends."""
        recorder = self._call_recording.recorder
        if recorder is not None:
            recorder.log.rtp_reported(side, channel, counters)

    def held(self, side: Side) -> None:
        """Handle ChannelHold of a party."""
        self._call_recording.held(side)

    def unheld(self, side: Side) -> None:
        """Handle ChannelUnhold of a party."""
        self._call_recording.unheld(side)

    def digit_received(self, side: Side, digit: str) -> None:
        """Handle a DTMF digit. The timeline does not contain it: it may be part of a password or a card number."""
        self._call_recording.note("dtmf", by=side)
        self._codes.digit_received(side, digit)
