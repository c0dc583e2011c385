"""What a call depends on, what it made in Asterisk, and the steps that the call machine lets it do."""

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Protocol
from uuid import UUID

from twisted.internet.defer import Deferred, ensureDeferred
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from voxrec.ari.client import AriClient, CommandResult
from voxrec.calls import takeover_state as memory
from voxrec.calls.beeper import Beeper
from voxrec.calls.causes import Cause
from voxrec.calls.ids import leg_role, owned_id
from voxrec.calls.recorder import NARROW, WIDE, Recorder, RecordingSink
from voxrec.deferreds import Operation, gather
from voxrec.errors import VoxrecError
from voxrec.model import (
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
_TRANSFER_CONTEXT = "voxrec-transfer"  # etc/asterisk/extensions.conf
UNANNOUNCED = "announcement.failed"
TOO_LONG = "max-duration"
DISK_FULL = "disk-full"


@dataclass(frozen=True, slots=True)
class CallSettings:
    """What is the same for every call; times in seconds, ``beep`` as ARI media.

    ``announcement`` says what a Profile's calls are told, as ARI media, and None where that cannot be played;
    ``has_disk_space`` whether the disk has room for another recording.
    """

    endpoint: str
    ring_timeout: float
    setup_timeout: float
    max_call: float
    announcement: Callable[[Profile], str | None]
    beep: str
    has_disk_space: Callable[[], bool] = lambda: True


@dataclass(frozen=True, slots=True)
class InboundCall:
    """A call as it came in: Asterisk's channel, who calls, and what was dialled.

    ``headers`` are those of its INVITE that go on to the far end; ``wideband`` says that it brings more than 8 kHz.
    """

    channel: str
    number: str
    name: str
    dialled: str
    headers: Mapping[str, str] = field(default_factory=dict)
    wideband: bool = False


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

    def record(self) -> None:
        """Somebody wants a call recorded that is not."""

    def release(self, cause: int) -> None:
        """Voxrec ends the call by itself."""

    def cleared(self) -> None:
        """Nothing of the call is left in Asterisk."""

    def let_go(self) -> None:
        """Another process goes on with the call: what Asterisk still answers here does not matter any more."""

    def found_placing(self) -> None:
        """Taken over from another process: the outgoing channel is being made."""

    def found_ringing(self) -> None:
        """Taken over: the far end is being called."""

    def found_announcing(self) -> None:
        """Taken over: both hear the announcement."""

    def found_talking(self) -> None:
        """Taken over: both talk."""


@dataclass
class Core:
    """One call's means and steps; its state is the machine's."""

    clock: IReactorTime
    asterisk: AriClient
    ledger: RecordingSink
    settings: CallSettings
    call_id: UUID
    recording_id: UUID
    incoming: InboundCall
    profile: Profile
    over: Callable[[], None]
    tell: Callable[[EventType], None]
    started_at: datetime
    leg: str  # the id of the outgoing channel
    callee: str  # whom it calls
    legs: int = 1
    transfer: str | None = None  # what holds the place in the bridge for a leg that is being made
    placeholder: str = ""  # what held it, and stays in the bridge: see `_take_place`
    replaces: str = ""  # the dialog that the next leg is to take over (RFC 3891)
    status: CallState = CallState.NEW
    answered_at: datetime | None = None
    ended_at: datetime | None = None
    hangup_cause: int | None = None
    hangup_by: str | None = None
    rang: bool = False
    caller_there: bool = True
    leg_there: bool = False
    recorder: Recorder | None = None
    recorded: bool = False  # there is, or was, a Recording of this call
    beeper: Beeper | None = None
    timer: IDelayedCall | None = None
    inputs: CallInputs = field(init=False)
    log = Logger()

    @property
    def bridge(self) -> str:
        """The id of the bridge."""
        return owned_id(self.call_id, "bridge")

    @property
    def announcement(self) -> str:
        """The id of the announcement's playback."""
        return owned_id(self.call_id, "announcement")

    @property
    def announces(self) -> bool:
        """Whether both are told that they are recorded."""
        return self.recorder is not None and self.profile.record_prompt is not RecordPrompt.NONE

    @property
    def ring_timeout(self) -> float:
        """Seconds that the far end may ring."""
        return self.profile.ring_timeout_seconds or self.settings.ring_timeout

    # steps

    async def place(self) -> None:
        """Make the bridge and the outgoing channel."""
        if self.asterisk.executes_in_order:
            await gather(self.make_leg(), self.make_bridge())
        else:
            await self.make_bridge()
            await self.make_leg()

    def make_bridge(self) -> CommandResult:
        """Make the bridge."""
        return self.asterisk.create_bridge(self.bridge, f"voxrec {self.call_id}")

    def make_leg(self) -> CommandResult:
        """Make the outgoing channel, which knows all that another process needs to go on with the call."""
        return self.asterisk.create_channel(
            self.leg,
            f"PJSIP/{self.settings.endpoint}/{self.callee}",
            "leg",
            originator=self.incoming.channel,
            variables={
                **{f"PJSIP_HEADER(add,{name})": value for name, value in self.incoming.headers.items()},
                "PJSIP_HEADER(add,X-Voxrec-Call)": str(self.call_id),
                "PJSIP_HEADER(add,X-Voxrec-Profile)": str(self.profile.id),
                "PJSIP_HEADER(add,X-Voxrec-Dialled)": self.incoming.dialled,
                "TRANSFER_CONTEXT": _TRANSFER_CONTEXT,
                # what Asterisk makes a Replaces header of
                **({"SIPREPLACESHDR": self.replaces} if self.replaces else {}),
                memory.CALL: memory.written(self.memory()),
            },
        )

    def memory(self) -> memory.TakeoverState:
        """What another process would need."""
        return memory.TakeoverState(
            call_id=self.call_id,
            recording_id=self.recording_id,
            caller=self.incoming.channel,
            leg=self.leg,
            number=self.incoming.number,
            name=self.incoming.name,
            dialled=self.incoming.dialled,
            wideband=self.incoming.wideband,
            placeholder=self.transfer or "",
            started_at=self.started_at,
            profile=self.profile,
        )

    async def dial(self) -> None:
        """Call the far end, with both in the bridge so that ringing and early media pass."""
        caller, timeout = self.incoming.channel, round(self.ring_timeout) + 30  # for the case that voxrec is not there
        join = self.asterisk.add_to_bridge(self.bridge, (caller, self.leg))
        if self.asterisk.executes_in_order:
            await gather(join, self.asterisk.dial(self.leg, caller=caller, timeout=timeout))
        else:
            await join
            await self.asterisk.dial(self.leg, caller=caller, timeout=timeout)

    def transfer_to(self, callee: str, placeholder: str, replaces: str) -> None:
        """The far end wants somebody else to go on in its place; ``placeholder`` is what Asterisk put there."""
        self.note("transferred", by=Side.CALLEE, detail=callee)
        self.legs += 1
        self.leg, self.callee, self.transfer = owned_id(self.call_id, leg_role(self.legs)), callee, placeholder
        self.replaces = replaces
        if self.beeper is not None:
            self.beeper.moved()
        self.attempt(self._or_no_leg(self.make_leg()))

    def transfer_entered(self) -> None:
        """The new outgoing channel is there."""
        placeholder, self.transfer = self.transfer, None
        if placeholder is not None:
            self.attempt(self._or_no_leg(self._take_place(placeholder)))

    async def _take_place(self, placeholder: str) -> None:
        """Let the new leg go on where ``placeholder`` is.

        Snoops drop what has an RTP sequence number that is not later than the one before, and a new stream begins with
        any: on 22.10 who came was silent in half of all recordings. What a bridge of three has mixed has no numbers,
        so the placeholder stays as a third one that says nothing.
        """
        past, self.placeholder = self.placeholder, placeholder if self.recorder is not None else ""
        for other in {past, placeholder} - {self.placeholder, ""}:
            await self.asterisk.hang_up(other, Cause.NORMAL)
        await self.asterisk.add_to_bridge(self.bridge, (self.leg,))
        await self.asterisk.dial(self.leg, caller=self.incoming.channel, timeout=round(self.ring_timeout))

    async def _or_no_leg(self, step: Operation[Any]) -> None:
        try:
            await step
        except VoxrecError:
            self.attempt(self.end_leg())
            raise

    async def connect(self) -> None:
        """Answer the caller, and record where the Profile says so."""
        answer = self.asterisk.answer(self.incoming.channel)  # first of all: it is what the caller waits for
        if self.profile.record:
            self.make_recorder()
        if self.recorder is None:
            await answer
        else:
            await gather(answer, self.recorder.begin())

    async def record(self) -> None:
        """Record a call that was answered long ago."""
        if self.recorder is not None:
            await self.recorder.begin()

    def make_recorder(self) -> None:
        """Have the call recorded from now on, where the disk has room; where not, the Recording says so."""
        recorder = self.recorder_of(self.new_recording(self.now()))
        self.recorded = True
        if not self.settings.has_disk_space():
            self.log.error("call {call}: not recorded: the disk has no room", call=self.call_id)
            recorder.refuse(DISK_FULL)
            return
        recorder.note("answered", by=Side.CALLEE)
        self.recorder = recorder
        self.limit_recording(0.0)

    def new_recording(self, began: datetime) -> Recording:
        """The Recording as it begins."""
        return Recording(
            id=self.recording_id,
            profile_id=self.profile.id,
            call_id=self.call_id,
            state=RecordingState.RECORDING,
            format=self.profile.record_format,
            channels=2 if self.profile.record_channels is RecordChannels.DUAL else 1,
            started_at=began,
            from_=self.incoming.number or None,
            from_name=self.incoming.name or None,
            to=self.incoming.dialled,
            remote_sip_uri=self.profile.remote_sip_uri,
            metadata=self.profile.metadata,
            expires_at=_expiry(began, self.profile.retention_days),
            min_duration_seconds=self.profile.min_duration_seconds,
            created_at=began,
            updated_at=began,
        )

    def recorder_of(self, recording: Recording) -> Recorder:
        """Who records it."""
        return Recorder(
            self.clock,
            self.asterisk,
            self.ledger,
            recording,
            self.incoming.channel,
            format_=WIDE if self.incoming.wideband else NARROW,
            running=self.inputs.recording_runs,
            over=self.recording_over,
        )

    def limit_recording(self, elapsed: float) -> None:
        """Let the recording, so many seconds old, end when it is as long as the Profile allows."""
        longest = self.profile.max_duration_seconds
        if longest is not None and self.recorder is not None:
            self.recorder.stop_in(max(0.0, longest - elapsed), TOO_LONG)

    def recording_over(self) -> None:
        """Both files are closed: with the call, or before it."""
        if self.status is CallState.CLEARING:
            self.check_cleared()
        elif self.recorder is not None:
            if self.beeper is not None:
                self.beeper.end()
            self.recorder.close(cause=None, by=None)
            self.recorder.hand_over()

    async def announce(self) -> None:
        """Play the announcement to both."""
        self.note("announcement.started")
        media = self.settings.announcement(self.profile)
        if media is None:
            self.log.error("call {call}: the announcement of its Profile is not there", call=self.call_id)
            self.inputs.announcement_ended(complete=False)
            return
        try:
            await self.asterisk.play_to_bridge(self.bridge, self.announcement, media, language=self.profile.language)
        except VoxrecError as error:
            self.log.error("call {call}: no announcement: {error}", call=self.call_id, error=error)
            self.inputs.announcement_ended(complete=False)

    def announced(self, *, complete: bool) -> None:
        """Write down how the announcement went; without one that is required nothing is recorded."""
        if not self.announces or self.recorder is None:
            return
        self.note("announcement.finished" if complete else UNANNOUNCED)
        if not complete and self.profile.record_prompt_required:
            self.recorder.discard(UNANNOUNCED)

    def make_beeper(self) -> Beeper | None:
        """Who beeps, where the Profile asks for beeps."""
        if self.recorder is None or not (self.profile.record_beep_at_start or self.profile.record_beep_interval):
            return None
        recorder = self.recorder
        return Beeper(
            self.clock,
            self.asterisk,
            self.call_id,
            lambda: self.leg if self.profile.record_beep_in_recording else self.incoming.channel,
            media=self.settings.beep,
            language=self.profile.language,
            interval=self.profile.record_beep_interval,
            silent=lambda: recorder.is_silent,
            beeped=lambda: self.note("beep"),
        )

    def beep(self) -> None:
        """Begin to beep."""
        self.beeper = self.make_beeper()
        if self.beeper is not None:
            self.beeper.start(at_start=self.profile.record_beep_at_start)

    def clear(self, *, cause: int, by: str) -> None:
        """End what is left of the call; the files close by themselves when the caller's channel goes."""
        self.status = CallState.CLEARING
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
        for placeholder in filter(None, (self.transfer, self.placeholder)):
            self.attempt(self.asterisk.hang_up(placeholder, Cause.NORMAL))
        self.tell(EventType.CALL_ENDED)
        self.check_cleared()

    async def end_caller(self, cause: int) -> None:
        """Hang up on the caller."""
        if not await self.asterisk.hang_up(self.incoming.channel, cause):
            self.inputs.caller_left(cause)

    async def end_leg(self) -> None:
        """Hang up on the far end."""
        if not await self.asterisk.hang_up(self.leg, Cause.NORMAL):
            self.inputs.leg_left(Cause.NORMAL)

    def check_cleared(self) -> None:
        """Tell the machine once nothing of the call is left."""
        recorded = self.recorder is None or self.recorder.is_over
        if self.status is CallState.CLEARING and not self.caller_there and not self.leg_there and recorded:
            self.inputs.cleared()

    def finish(self) -> None:
        """The last step of all."""
        self.status = CallState.OVER
        self.stop_waiting()
        self.attempt(self.asterisk.destroy_bridge(self.bridge))
        if self.recorder is not None:
            self.recorder.hand_over()
        self.over()

    def let_go(self) -> None:
        """Do nothing any more: another process goes on with the call."""
        self.stop_waiting()
        if self.beeper is not None:
            self.beeper.stop()
        if self.recorder is not None:
            self.recorder.let_go()

    # means

    def now(self) -> datetime:
        """The time, in UTC."""
        return datetime.fromtimestamp(self.clock.seconds(), UTC)

    def since(self, moment: datetime) -> float:
        """Seconds from a moment until now."""
        return max(0.0, (self.now() - moment).total_seconds())

    def note(self, event: str, *, by: str | None = None, detail: str | None = None) -> None:
        """Put an entry into the timeline of what is recorded."""
        if self.recorder is not None:
            self.recorder.note(event, by=by, detail=detail)

    def wait(self, seconds: float) -> None:
        """Let `CallInputs.too_late` come after so many seconds, in place of what was waited for before."""
        self.stop_waiting()
        self.timer = self.clock.callLater(seconds, self.inputs.too_late)

    def wait_for_limit(self) -> None:
        """Let `CallInputs.too_late` come when the call is as long as it may be."""
        longest = min(self.profile.max_call_seconds or self.settings.max_call, self.settings.max_call)
        self.wait(max(0.0, longest - (0.0 if self.answered_at is None else self.since(self.answered_at))))

    def stop_waiting(self) -> None:
        """Let nothing come too late any more."""
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

    def attempt(self, command: Operation[Any]) -> None:
        """Run a command whose failure changes nothing: what it should end is ended by the recovery at the latest."""
        ensureDeferred(command).addErrback(
            lambda failure: self.log.warn("call {call}: {error}", call=self.call_id, error=failure.value)
        )


def _expiry(began: datetime, retention_days: int | None) -> datetime | None:
    return None if retention_days is None else began + timedelta(days=retention_days)
