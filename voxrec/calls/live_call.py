"""One live call, as the router and REST see it."""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from voxrec.ari.client import AriClient
from voxrec.calls.causes import Cause
from voxrec.calls.core import CallInputs, CallSettings, Core, InboundCall
from voxrec.calls.dtmf import KeyCodes
from voxrec.calls.ids import WHISPER, leg_number, leg_role, owned_id
from voxrec.calls.machine import machine
from voxrec.calls.recorder import RecordingSink
from voxrec.calls.takeover_state import Pause, TakeoverState
from voxrec.errors import Conflict
from voxrec.model import Call, CallState, EventType, PauseBehavior, Profile, Recording, RecordingState, Side


@dataclass(frozen=True, slots=True, kw_only=True)
class CallSnapshot:
    """How a call that another process left stands in Asterisk.

    ``leg_there`` and ``caller_there`` say which channels are left, ``bridged`` that both are in the bridge,
    ``recorded`` which sides Asterisk records now; ``recording`` is what is known of the Recording, and ``began`` when
    Asterisk began with it.
    """

    leg_there: bool
    caller_there: bool
    leg_entered: bool
    bridged: bool
    leg_up: bool
    caller_up: bool
    recorded: frozenset[Side]
    announcing: bool
    whispering: bool
    began: datetime | None
    recording: Recording | None
    pause: Pause | None


class LiveCall:
    """One call, from the caller's INVITE until nothing of it is left in Asterisk: then ``over`` is called with it.

    With ``memory`` it is one that another process began; `take_over` then tells it how it stands.
    """

    def __init__(
        self,
        clock: IReactorTime,
        asterisk: AriClient,
        ledger: RecordingSink,
        settings: CallSettings,
        incoming: InboundCall,
        profile: Profile,
        over: Callable[["LiveCall"], None],
        tell: Callable[[EventType, "LiveCall"], None] = lambda _type, _call: None,
        memory: TakeoverState | None = None,
    ) -> None:
        self.id = memory.call_id if memory is not None else uuid4()
        self.incoming = incoming
        self.profile = profile
        self.recording_id = memory.recording_id if memory is not None else uuid4()
        self._core = Core(
            clock,
            asterisk,
            ledger,
            settings,
            self.id,
            self.recording_id,
            incoming,
            profile,
            over=lambda: over(self),
            tell=lambda type_: tell(type_, self),
            started_at=memory.started_at if memory is not None else datetime.fromtimestamp(clock.seconds(), UTC),
            leg=memory.leg if memory is not None else owned_id(self.id, leg_role(1)),
            callee=profile.remote_sip_uri or "",
            legs=leg_number(memory.leg) if memory is not None else 1,
            placeholder=memory.placeholder if memory is not None else "",
        )
        self._core.leg_there = memory is not None
        self.leg_name = ""
        """What Asterisk calls the outgoing channel once it is there."""
        self.inputs: CallInputs = machine(self._core)
        self._core.inputs = self.inputs
        self._keys = KeyCodes(clock, self._codes())

    # what it is

    @property
    def status(self) -> CallState:
        """The state of the call machine."""
        return self._core.status

    @property
    def placeholder(self) -> str:
        """The channel that a transfer left in the bridge; empty where there is none."""
        return self._core.transfer or self._core.placeholder

    @property
    def recording(self) -> Recording | None:
        """What is being recorded, as it stands now."""
        return self._core.recorder.recording if self._core.recorder is not None else None

    @property
    def leg(self) -> str:
        """The id of the outgoing channel."""
        return self._core.leg

    def shown(self) -> Call:
        """The call as it stands now."""
        core, recording = self._core, self.recording
        return Call(
            id=self.id,
            profile_id=self.profile.id,
            state=core.status,
            age=round((core.now() - core.started_at).total_seconds(), 3),
            from_=self.incoming.number or None,
            from_name=self.incoming.name or None,
            to=self.incoming.dialled,
            remote_sip_uri=core.callee or None,
            started_at=core.started_at,
            answered_at=core.answered_at,
            ended_at=core.ended_at,
            hangup_cause=core.hangup_cause,
            hangup_by=core.hangup_by,
            recording_id=recording.id if recording is not None else None,
            recording_state=recording.state if recording is not None else None,
        )

    # what others may ask for

    async def pause(self, behavior: PauseBehavior, seconds: float | None, *, by: str = "rest") -> Recording:
        """Pause the recording, for so many ``seconds`` or until it is resumed, and give it back as it stands then.

        Conflict where the call is not being recorded now, or the announcement is still being played.
        """
        recorder = self._core.recorder
        if recorder is None or self.status is not CallState.TALKING or not recorder.recording.state.live:
            raise Conflict(f"Recording {self.recording_id} is not at a point where it can be paused.")
        await recorder.pause(behavior, seconds, by=by)
        return recorder.recording

    async def resume(self, *, by: str = "rest") -> Recording:
        """Resume the recording, and give it back as it stands then. Conflict as `pause`."""
        recorder = self._core.recorder
        if recorder is None or self.status is not CallState.TALKING or not recorder.recording.state.live:
            raise Conflict(f"Recording {self.recording_id} is not at a point where it can be resumed.")
        await recorder.resume(by=by)
        return recorder.recording

    def record(self) -> None:
        """Record from now on a call that is not recorded; one that is stays as it is.

        Conflict where it is too early or too late for that, where it was recorded before, or the disk has no room.
        """
        core = self._core
        if core.recorder is not None and core.recorder.recording.state.live:
            return
        if core.recorded:
            raise Conflict(f"Call {self.id} was recorded already, and its recording has ended.")
        if self.status is not CallState.TALKING:
            raise Conflict(f"Call {self.id} is {self.status}: only one in which both talk can be recorded from now on.")
        if not core.settings.has_disk_space():
            raise Conflict("There is no room on the disk for another recording.")
        self.inputs.record()

    def stop_recording(self, reason: str) -> None:
        """End its recording now; the call goes on."""
        if self._core.recorder is not None and self._core.recorder.recording.state.live:
            self._core.recorder.stop(reason)

    def let_go(self) -> None:
        """Do nothing any more, and change nothing in Asterisk: another process goes on with it."""
        self.inputs.let_go()

    # what Asterisk tells

    def leg_entered(self, name: str) -> None:
        """The outgoing channel, or the one to which the call is transferred, is there under this name."""
        self.leg_name = name
        if self._core.transfer is not None:
            self._core.transfer_entered()
        else:
            self.inputs.leg_entered()

    def helper_entered(self, role: str) -> None:
        """A channel that hears or whispers is there, and can be used."""
        if self._core.recorder is not None:
            self._core.recorder.snoop_entered(role)
        if self._core.beeper is not None and role == WHISPER:
            self._core.beeper.whisper_entered()

    def transferred(self, callee: str, placeholder: str, replaces: str = "") -> None:
        """The far end has transferred the call to a SIP URI, and left ``placeholder`` in its place.

        ``replaces`` names the dialog (RFC 3891) in which the far end has consulted whom it transfers to.
        """
        self._core.transfer_to(callee, placeholder, replaces)

    def cannot_transfer(self) -> None:
        """The far end has left the call to somebody whom voxrec must not call."""
        self._core.note("transfer.refused", by=Side.CALLEE)
        self.inputs.leg_left(Cause.NORMAL)

    def far_end_rings(self) -> None:
        """The far end says that it rings; it may say so several times."""
        if self._core.status is CallState.RINGING and not self._core.rang:
            self._core.rang = True
            self._core.tell(EventType.CALL_RINGING)

    def recording_started(self, side: Side) -> None:
        """Asterisk records one side."""
        if self._core.recorder is not None:
            self._core.recorder.started(side)

    def recording_ended(self, side: Side) -> None:
        """Asterisk has closed one side's file."""
        if self._core.recorder is not None:
            self._core.recorder.ended(side)

    def playback_ended(self, role: str, *, complete: bool) -> None:
        """The announcement, or a beep, was played to its end or not."""
        if role == "announcement":
            self.inputs.announcement_ended(complete=complete)
        elif self._core.beeper is not None:
            self._core.beeper.sounded()

    def held(self, side: Side) -> None:
        """A party put the call on hold."""
        self._core.note("held", by=side)

    def unheld(self, side: Side) -> None:
        """A party resumed the call."""
        self._core.note("unheld", by=side)

    def key_pressed(self, side: Side, key: str) -> None:
        """A party pressed a key. Which one is not written down: it may be a digit of a card or a password."""
        self._core.note("dtmf", by=side)
        self._keys.pressed(side, key)

    def _codes(self) -> dict[str, Callable[[Side], None]]:
        pause, resume = self.profile.record_pause_code, self.profile.record_resume_code
        if pause is None:
            return {}
        if resume is None or resume == pause:
            return {pause: self._toggle}
        return {
            pause: lambda side: self._steer_by_key(self.pause(PauseBehavior.SILENCE, None, by=side)),
            resume: lambda side: self._steer_by_key(self.resume(by=side)),
        }

    def _toggle(self, side: Side) -> None:
        recording = self.recording
        if recording is not None and recording.state is RecordingState.PAUSED:
            self._steer_by_key(self.resume(by=side))
        else:
            self._steer_by_key(self.pause(PauseBehavior.SILENCE, None, by=side))

    def _steer_by_key(self, steering: Coroutine[Any, Any, Recording]) -> None:
        Deferred.fromCoroutine(steering).addErrback(
            lambda failure: self._core.log.warn(
                "call {call}: a key changed nothing: {error}", call=self.id, error=failure.value
            )
        )

    # what another process left

    def take_over(self, situation: CallSnapshot) -> None:
        """Go on from where the call stands."""
        core, inputs = self._core, self.inputs
        # what went while this was found out was told to a machine that could not act on it yet
        leg_left = not (core.leg_there and situation.leg_there)
        caller_left = not (core.caller_there and situation.caller_there)
        answered = situation.leg_up and situation.caller_up
        unrecorded = not situation.recorded and situation.recording is None
        if not situation.leg_entered:
            inputs.found_placing()
        elif not situation.leg_up and not situation.bridged:
            inputs.found_placing()
            inputs.leg_entered()
        elif not answered or (self.profile.record and unrecorded):
            inputs.found_ringing()
            if situation.leg_up:
                inputs.leg_answered()
        else:
            self._take_over_answered(situation)
        if caller_left:
            inputs.caller_left(Cause.NORMAL)
        if leg_left:
            inputs.leg_left(Cause.NORMAL)

    def _take_over_answered(self, situation: CallSnapshot) -> None:
        core, recording = self._core, situation.recording
        began = situation.began or core.started_at
        core.answered_at = recording.started_at if recording is not None and recording.started_at else began
        core.recorded = bool(situation.recorded) or recording is not None
        if situation.recorded or (recording is not None and recording.state.live):
            core.recorder = core.recorder_of(
                recording if recording is not None and recording.state.live else core.new_recording(began)
            )
            core.recorder.adopt(situation.recorded, situation.pause)
            core.limit_recording(core.since(core.answered_at))
        if situation.announcing:
            self.inputs.found_announcing()
        else:
            self.inputs.found_talking()
            self._take_over_beeps(situation)
        if core.recorder is not None and core.recorder.is_over:
            core.recording_over()

    def _take_over_beeps(self, situation: CallSnapshot) -> None:
        core = self._core
        core.beeper = core.make_beeper()
        if core.beeper is None or core.recorder is None:
            return
        recording = core.recorder.recording
        assert recording.started_at is not None, "a live Recording has begun"
        last = max((entry.at for entry in recording.timeline if entry.event == "beep"), default=0.0)
        core.beeper.adopt(core.since(recording.started_at) - last, is_open=situation.whispering)
