"""The call machine: from the caller's INVITE to the last file closed.

Read `_make_machine` as a table. What arrives from Asterisk becomes an input; what an input does to Asterisk is a method
of `_Core`. Failures of Asterisk's answers come back as inputs too, so that every way through a call stands here.
"""

from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID, uuid4

from automat import TypeMachineBuilder, pep614
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from voxrec.ari.client import AriClient
from voxrec.calls.beeper import Beeper
from voxrec.calls.causes import Cause
from voxrec.calls.names import owned_id
from voxrec.calls.recorder import Ledger, Recorder
from voxrec.calls.steps import together
from voxrec.errors import Conflict, VoxrecError
from voxrec.model import (
    Call,
    CallState,
    EventType,
    Profile,
    RecordChannels,
    Recording,
    RecordingState,
    RecordPrompt,
    Side,
)

_CLEARING_LIMIT = 10.0  # seconds that Asterisk may take to end channels and close files
_RECORDING_LIMIT = 3.0  # seconds that Asterisk may take to open both files before the call goes on without waiting
_ANNOUNCEMENT_LIMIT = 120.0  # seconds after which a call goes on even if Asterisk forgot to say that all was played


@dataclass(frozen=True, slots=True)
class CallSettings:
    """What is the same for every call; times in seconds, ``beep`` as ARI media.

    ``announcement`` says what a Profile's calls are told, as ARI media, and None where that cannot be played.
    """

    endpoint: str
    ring_timeout: float
    setup_timeout: float
    announcement: Callable[[Profile], str | None]
    beep: str


@dataclass(frozen=True, slots=True)
class Incoming:
    """A call as it came in: Asterisk's channel, who calls, and what was dialled."""

    channel: str
    number: str
    name: str
    dialled: str


class CallInputs(Protocol):
    """What can happen to a call."""

    def begin(self) -> None:
        """The Profile is known: call its far end."""

    def leg_entered(self) -> None:
        """The outgoing channel is voxrec's, and can be bridged and dialled."""

    def leg_answered(self) -> None:
        """The far end has answered."""

    def leg_left(self, cause: int) -> None:
        """The outgoing channel is gone, or was never made."""

    def caller_left(self, cause: int) -> None:
        """The caller is gone."""

    def too_late(self) -> None:
        """A step took longer than it may."""

    def setup_failed(self) -> None:
        """Asterisk refused a step without which there is no call."""

    def recording_runs(self) -> None:
        """Both files are open, or all that can be expected of them."""

    def announcement_ended(self, complete: bool) -> None:
        """The announcement was played to its end, or not."""

    def release(self, cause: int) -> None:
        """Voxrec ends the call by itself."""

    def cleared(self) -> None:
        """Nothing of the call is left in Asterisk."""


@dataclass
class _Core:
    """What a call depends on, what it made, and what it is doing."""

    clock: IReactorTime
    asterisk: AriClient
    ledger: Ledger
    settings: CallSettings
    call_id: UUID
    recording_id: UUID
    incoming: Incoming
    profile: Profile
    over: Callable[[], None]
    tell: Callable[[EventType], None]
    started_at: datetime
    status: str = "new"
    answered_at: datetime | None = None
    ended_at: datetime | None = None
    hangup_cause: int | None = None
    hangup_by: str | None = None
    rang: bool = False
    caller_there: bool = True
    leg_there: bool = False
    recorder: Recorder | None = None
    beeper: Beeper | None = None
    timer: IDelayedCall | None = None
    inputs: CallInputs = field(init=False)
    log = Logger()

    @property
    def leg(self) -> str:
        return owned_id(self.call_id, "leg")

    @property
    def bridge(self) -> str:
        return owned_id(self.call_id, "bridge")

    @property
    def announces(self) -> bool:
        return self.recorder is not None and self.profile.record_prompt is not RecordPrompt.NONE

    # steps

    async def place(self) -> None:
        assert self.profile.remote_sip_uri is not None, "the router refuses calls that lead nowhere"
        bridge = self.asterisk.create_bridge(self.bridge, f"voxrec {self.call_id}")
        leg = self.asterisk.create_channel(
            self.leg,
            f"PJSIP/{self.settings.endpoint}/{self.profile.remote_sip_uri}",
            "leg",
            originator=self.incoming.channel,
            variables={
                "PJSIP_HEADER(add,X-Voxrec-Call)": str(self.call_id),
                "PJSIP_HEADER(add,X-Voxrec-Profile)": str(self.profile.id),
                "PJSIP_HEADER(add,X-Voxrec-Dialled)": self.incoming.dialled,
            },
        )
        await together(bridge, leg)

    async def dial(self) -> None:
        await self.asterisk.add_to_bridge(self.bridge, (self.incoming.channel, self.leg))
        # Asterisk's own limit is only there for the case that voxrec is not
        await self.asterisk.dial(self.leg, caller=self.incoming.channel, timeout=round(self.settings.ring_timeout) + 30)

    async def connect(self) -> None:
        answer = self.asterisk.answer(self.incoming.channel)
        if self.recorder is None:
            await answer
        else:
            await together(answer, self.recorder.begin())

    def make_recorder(self) -> Recorder:
        now = self.now()
        recording = Recording(
            id=self.recording_id,
            profile_id=self.profile.id,
            call_id=self.call_id,
            state=RecordingState.RECORDING,
            format=self.profile.record_format,
            channels=2 if self.profile.record_channels is RecordChannels.DUAL else 1,
            started_at=now,
            from_=self.incoming.number or None,
            from_name=self.incoming.name or None,
            to=self.incoming.dialled,
            remote_sip_uri=self.profile.remote_sip_uri,
            metadata=self.profile.metadata,
            expires_at=_expiry(now, self.profile.retention_days),
            created_at=now,
            updated_at=now,
        )
        recorder = Recorder(
            self.clock,
            self.asterisk,
            self.ledger,
            recording,
            self.incoming.channel,
            running=self.inputs.recording_runs,
            over=self.check_cleared,
        )
        recorder.note("answered", by=Side.CALLEE)
        return recorder

    async def announce(self) -> None:
        self.note("announcement.started")
        playback = owned_id(self.call_id, "announcement")
        media = self.settings.announcement(self.profile)
        if media is None:
            self.log.error("call {call}: the announcement of its Profile is not there", call=self.call_id)
            self.inputs.announcement_ended(complete=False)
            return
        try:
            await self.asterisk.play_to_bridge(self.bridge, playback, media)
        except VoxrecError as error:
            self.log.error("call {call}: no announcement: {error}", call=self.call_id, error=error)
            self.inputs.announcement_ended(complete=False)

    def beep(self) -> None:
        interval = self.profile.record_beep_interval
        self.beeper = Beeper(
            self.clock,
            self.asterisk,
            self.call_id,
            self.incoming.channel,
            media=self.settings.beep,
            interval=interval,
            silent=lambda: self.recorder is not None and self.recorder.recording.state is RecordingState.PAUSED,
            beeped=lambda: self.note("beep"),
        )
        self.beeper.start(at_start=self.profile.record_beep_at_start)

    def clear(self, *, cause: int, by: str) -> None:
        """End what is left of the call; the files close by themselves when the caller's channel goes."""
        self.status = "clearing"
        self.ended_at, self.hangup_cause, self.hangup_by = self.now(), cause, by
        self.wait(_CLEARING_LIMIT)
        if self.beeper is not None:
            self.beeper.stop()
        if self.recorder is not None:
            self.recorder.close(cause=cause, by=by)
        if self.caller_there:
            self.attempt(self.end_caller(cause))
        if self.leg_there:
            self.attempt(self.end_leg())
        self.tell(EventType.CALL_ENDED)
        self.check_cleared()

    async def end_caller(self, cause: int) -> None:
        if not await self.asterisk.hang_up(self.incoming.channel, cause):
            self.inputs.caller_left(cause)

    async def end_leg(self) -> None:
        if not await self.asterisk.hang_up(self.leg, Cause.NORMAL):
            self.inputs.leg_left(Cause.NORMAL)

    def check_cleared(self) -> None:
        recorded = self.recorder is None or self.recorder.is_over
        if self.status == "clearing" and not self.caller_there and not self.leg_there and recorded:
            self.inputs.cleared()

    def finish(self) -> None:
        self.status = "over"
        self.stop_waiting()
        self.attempt(self.asterisk.destroy_bridge(self.bridge))
        if self.recorder is not None:
            self.recorder.hand_over()
        self.over()

    # means

    def now(self) -> datetime:
        return datetime.fromtimestamp(self.clock.seconds(), UTC)

    def note(self, event: str, *, by: str | None = None) -> None:
        if self.recorder is not None:
            self.recorder.note(event, by=by)

    def wait(self, seconds: float) -> None:
        """Let `CallInputs.too_late` come after so many seconds, in place of what was waited for before."""
        self.stop_waiting()
        self.timer = self.clock.callLater(seconds, self.inputs.too_late)

    def stop_waiting(self) -> None:
        timer, self.timer = self.timer, None
        if timer is not None and timer.active():
            timer.cancel()

    def step(self, step: Coroutine[Any, Any, None]) -> None:
        """Run a step without which there is no call."""
        Deferred.fromCoroutine(self._step(step))

    async def _step(self, step: Coroutine[Any, Any, None]) -> None:
        try:
            await step
        except VoxrecError as error:
            self.log.error("call {call}: {status}: {error}", call=self.call_id, status=self.status, error=error)
            self.inputs.setup_failed()
        except Exception:
            self.log.failure("call {call}: {status} failed", call=self.call_id, status=self.status)
            self.inputs.setup_failed()

    def attempt(self, command: Coroutine[Any, Any, None]) -> None:
        """Run a command whose failure changes nothing: what it should end is ended by the recovery at the latest."""
        Deferred.fromCoroutine(command).addErrback(
            lambda failure: self.log.warn("call {call}: {error}", call=self.call_id, error=failure.value)
        )


def _expiry(began: datetime, retention_days: int | None) -> datetime | None:
    return None if retention_days is None else began + timedelta(days=retention_days)


def _make_machine() -> Callable[[_Core], CallInputs]:
    builder = TypeMachineBuilder(CallInputs, _Core)

    new = builder.state("new")
    placing = builder.state("placing")
    ringing = builder.state("ringing")
    connecting = builder.state("connecting")
    announcing = builder.state("announcing")
    talking = builder.state("talking")
    clearing = builder.state("clearing")
    over = builder.state("over")
    unanswered = (placing, ringing)
    answered = (connecting, announcing, talking)

    # Transitions without behaviour: what comes twice, or too late to matter.

    for state in (*answered, clearing, over):
        state.upon(CallInputs.setup_failed).loop().returns(None)
        state.upon(CallInputs.leg_answered).loop().returns(None)
    for state in (ringing, *answered, over):
        state.upon(CallInputs.leg_entered).loop().returns(None)
    for state in (announcing, talking, clearing, over):
        state.upon(CallInputs.recording_runs).loop().returns(None)
    for state in (*unanswered, connecting, talking, clearing, over):
        state.upon(CallInputs.announcement_ended).loop().returns(None)
    for state in (clearing, over):
        state.upon(CallInputs.release).loop().returns(None)
    over.upon(CallInputs.leg_left).loop().returns(None)
    over.upon(CallInputs.caller_left).loop().returns(None)
    placing.upon(CallInputs.leg_answered).loop().returns(None)

    # The way of a call that succeeds.

    @pep614(new.upon(CallInputs.begin).to(placing))
    def place(inputs: CallInputs, core: _Core) -> None:
        core.status = "placing"
        core.wait(core.settings.setup_timeout)
        core.leg_there = True
        core.step(core.place())

    @pep614(placing.upon(CallInputs.leg_entered).to(ringing))
    def ring(inputs: CallInputs, core: _Core) -> None:
        core.status = "ringing"
        core.wait(core.settings.ring_timeout)
        core.step(core.dial())

    @pep614(ringing.upon(CallInputs.leg_answered).to(connecting))
    def connect(inputs: CallInputs, core: _Core) -> None:
        core.status = "connecting"
        core.wait(_RECORDING_LIMIT)
        if core.profile.record:
            core.recorder = core.make_recorder()
        core.answered_at = core.now()
        core.step(core.connect())
        core.tell(EventType.CALL_ANSWERED)
        if core.recorder is None:
            inputs.recording_runs()

    @pep614(connecting.upon(CallInputs.recording_runs).to(announcing))
    def announce(inputs: CallInputs, core: _Core) -> None:
        core.status = "announcing"
        core.wait(_ANNOUNCEMENT_LIMIT)
        if core.announces:
            core.step(core.announce())
        else:
            inputs.announcement_ended(complete=True)

    @pep614(announcing.upon(CallInputs.announcement_ended).to(talking))
    def talk(inputs: CallInputs, core: _Core, complete: bool) -> None:
        core.status = "talking"
        core.stop_waiting()
        if core.announces:
            core.note("announcement.finished" if complete else "announcement.failed")
        if core.recorder is not None:
            core.beep()

    # What may go wrong on it without ending the call.

    @pep614(connecting.upon(CallInputs.too_late).loop())
    def go_on_unconfirmed(inputs: CallInputs, core: _Core) -> None:
        core.log.error("call {call}: Asterisk does not say that it records", call=core.call_id)
        core.note("recording.unconfirmed")
        inputs.recording_runs()

    @pep614(announcing.upon(CallInputs.too_late).loop())
    def go_on_unannounced(inputs: CallInputs, core: _Core) -> None:
        inputs.announcement_ended(complete=False)

    # Ways out. An unanswered caller is told the far end's own cause; 0 is a far end that could not be reached.

    def refuse(inputs: CallInputs, core: _Core, cause: int) -> None:
        core.leg_there = False
        core.clear(cause=cause or Cause.CONGESTION, by=Side.CALLEE)

    def callee_hung_up(inputs: CallInputs, core: _Core, cause: int) -> None:
        core.leg_there = False
        core.clear(cause=cause or Cause.NORMAL, by=Side.CALLEE)

    def caller_hung_up(inputs: CallInputs, core: _Core, cause: int) -> None:
        core.caller_there = False
        core.clear(cause=cause or Cause.NORMAL, by=Side.CALLER)

    def release(inputs: CallInputs, core: _Core, cause: int) -> None:
        core.clear(cause=cause, by="voxrec")

    def cannot(inputs: CallInputs, core: _Core) -> None:
        core.clear(cause=Cause.CONGESTION, by="voxrec")

    for state in unanswered:
        pep614(state.upon(CallInputs.leg_left).to(clearing))(refuse)
        pep614(state.upon(CallInputs.setup_failed).to(clearing))(cannot)
    for state in answered:
        pep614(state.upon(CallInputs.leg_left).to(clearing))(callee_hung_up)
    for state in (*unanswered, *answered):
        pep614(state.upon(CallInputs.caller_left).to(clearing))(caller_hung_up)
        pep614(state.upon(CallInputs.release).to(clearing))(release)
    pep614(placing.upon(CallInputs.too_late).to(clearing))(cannot)

    @pep614(ringing.upon(CallInputs.too_late).to(clearing))
    def no_answer(inputs: CallInputs, core: _Core) -> None:
        core.clear(cause=Cause.NO_ANSWER, by="voxrec")

    # The end: whichever goes last.

    @pep614(clearing.upon(CallInputs.leg_left).loop())
    def leg_gone(inputs: CallInputs, core: _Core, cause: int) -> None:
        core.leg_there = False
        core.check_cleared()

    @pep614(clearing.upon(CallInputs.caller_left).loop())
    def caller_gone(inputs: CallInputs, core: _Core, cause: int) -> None:
        core.caller_there = False
        core.check_cleared()

    @pep614(clearing.upon(CallInputs.leg_entered).loop())
    def leg_too_late(inputs: CallInputs, core: _Core) -> None:
        core.attempt(core.end_leg())

    @pep614(clearing.upon(CallInputs.too_late).to(over))
    def clear_by_force(inputs: CallInputs, core: _Core) -> None:
        core.log.warn("call {call}: Asterisk did not end all of it in time", call=core.call_id)
        core.finish()

    @pep614(clearing.upon(CallInputs.cleared).to(over))
    def end(inputs: CallInputs, core: _Core) -> None:
        core.finish()

    return builder.build()


_machine = _make_machine()


class LiveCall:
    """One call, from the caller's INVITE until nothing of it is left in Asterisk: then ``over`` is called with it."""

    def __init__(
        self,
        clock: IReactorTime,
        asterisk: AriClient,
        ledger: Ledger,
        settings: CallSettings,
        incoming: Incoming,
        profile: Profile,
        over: Callable[["LiveCall"], None],
        tell: Callable[[EventType, "LiveCall"], None] = lambda _type, _call: None,
    ) -> None:
        self.id = uuid4()
        self.incoming = incoming
        self.profile = profile
        self.recording_id = uuid4()
        self._core = _Core(
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
            started_at=datetime.fromtimestamp(clock.seconds(), UTC),
        )
        self.inputs = self._core.inputs = _machine(self._core)

    @property
    def status(self) -> str:
        """The state of the call machine."""
        return self._core.status

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
            state=CallState(core.status),
            age=round((core.now() - core.started_at).total_seconds(), 3),
            from_=self.incoming.number or None,
            from_name=self.incoming.name or None,
            to=self.incoming.dialled,
            remote_sip_uri=self.profile.remote_sip_uri,
            started_at=core.started_at,
            answered_at=core.answered_at,
            ended_at=core.ended_at,
            hangup_cause=core.hangup_cause,
            hangup_by=core.hangup_by,
            recording_id=recording.id if recording is not None else None,
            recording_state=recording.state if recording is not None else None,
        )

    def far_end_rings(self) -> None:
        """The far end says that it rings; it may say so several times."""
        if self._core.status == CallState.RINGING and not self._core.rang:
            self._core.rang = True
            self._core.tell(EventType.CALL_RINGING)

    async def steer(self, state: RecordingState) -> Recording:
        """Pause the recording, or resume it, and give it back as it stands then.

        Conflict where the call is not being recorded now, or the announcement is still being played.
        """
        recorder = self._core.recorder
        if recorder is None or self.status != "talking":
            raise Conflict(f"Recording {self.recording_id} is not at a point where it can be paused or resumed.")
        if recorder.recording.state is not state:
            await (recorder.pause() if state is RecordingState.PAUSED else recorder.resume())
        return recorder.recording

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
