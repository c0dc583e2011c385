"""What the machine that records one call works with: the MixMonitor and its files."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxrec.calls.channels.steps import is_channel_gone
from voxrec.calls.recording.doubts import Doubts
from voxrec.calls.recording.monitor_inputs import MonitorInputs
from voxrec.calls.recording.polling import Polling
from voxrec.calls.recording.recording_commands import RecordingCommands
from voxrec.deadline import Deadline
from voxrec.error_codes import ProblemReason
from voxrec.errors import AsteriskUnavailable, CommandNotSent, Conflict, VoxrecError
from voxrec.model import Recording, Side

_OPEN_TIMEOUT: Final = 10.0  # seconds that Asterisk may take to create the files
_RETRY_INTERVAL: Final = 2.0  # seconds
_DECODER_GAP: Final = 0.06  # seconds without a MixMonitor after which a channel has no decoder for it any more
_ACK_TIMEOUT: Final = 2.0  # seconds, less than the call waits for the recording
_ACK_INTERVAL: Final = 0.02  # seconds between two questions whether the ACK has arrived
_CLOSE_INTERVAL: Final = 0.05  # seconds between two looks whether Asterisk has closed the files
_INTERRUPTED: Final = "its MixMonitor has ended; another one continues"
NOT_OPENED: Final = "Asterisk has not opened the file; its log says why"


@dataclass
class MonitorCore:
    """What the machine works with.

    ``late_offer``: the ACK of the caller determines the format, and ``format_`` is what is expected.
    ``started`` is called when both files are open, or what can be recorded now is; ``over`` is called once: when the
    files are closed, or will not be opened. ``note`` adds an error to the timeline; ``late`` is called when a recording
    starts or continues that could not when it was due (``is_late``). ``suspended`` is called with the duration of the
    files, in seconds, when nothing will be written to them until the end of a pause.

    ``muted``: the recording is paused, so that Asterisk was told to write silence, or is not told to start a
    MixMonitor. ``change``: fires when a pause or resumption has its effect that waits for the outcome of a command.
    ``doubts``: whether a command without a response may be executed later; while they remain, it is checked repeatedly.
    ``expected``: the sides whose files Asterisk has opened, or is about to open. ``appends``: the next MixMonitor
    continues the files of another one, whose id was ``former`` on the channel ``former_channel``, if that is known.
    ``recorded``: the duration of these files. ``detached``: another process has the recording now.
    """

    clock: IReactorTime
    commands: RecordingCommands
    recording: Recording
    channel: str
    format_: str
    note: Callable[[Side | None, str], None]
    started: Callable[[], None]
    late: Callable[[], None]
    over: Callable[[], None]
    suspended: Callable[[float], None]
    late_offer: bool = False
    monitor: str = ""
    former: str = ""
    former_channel: str = ""
    appends: bool = False
    recorded: float = 0.0
    muted: bool = False
    change: Deferred[None] | None = None
    is_late: bool = False
    detached: bool = False
    stop_reported: bool = False
    expected: frozenset[Side] = frozenset()
    doubts: Doubts = field(init=False)
    polling: Polling = field(init=False)
    retry_timer: Deadline = field(init=False)
    check_timer: Deadline = field(init=False)
    gap_timer: Deadline = field(init=False)
    log = Logger()

    def __post_init__(self) -> None:
        self.doubts = Doubts(self.clock)
        self.polling = Polling(self.clock)
        self.retry_timer = Deadline(self.clock)
        self.check_timer = Deadline(self.clock)
        self.gap_timer = Deadline(self.clock)

    # Commands.

    async def start(self, channel: str) -> str:
        """Start a MixMonitor on a channel, and return its id."""
        if self.late_offer:
            self.format_ = await self._agreed_format(channel)
            self.late_offer = False
        if self.detached:
            raise self.not_recorded()
        return await self.commands.start(channel, self.recording.id, self.format_, append=self.appends)

    async def locate(self, channel: str) -> str:
        """Return the id of the MixMonitor that a command of unknown outcome has started; start one if it has not.

        One that has not opened both files when this is called will not open any more: the AMI session is over, or it
        was started on another channel, which has ended.
        """
        monitor = await self.find(channel)
        if monitor and await self.commands.files.written(self.recording.id) == frozenset(Side):
            return monitor
        if monitor:
            await self.commands.stop(channel, monitor)
        self.appends = bool(await self.commands.files.created(self.recording.id))
        deadline = self.clock.seconds() + _OPEN_TIMEOUT
        while await self.commands.files.written(self.recording.id):
            if self.clock.seconds() >= deadline:
                raise CommandNotSent(f"Asterisk still writes to the files of Recording {self.recording.id}")
            await deferLater(self.clock, _CLOSE_INTERVAL)
        return await self.start(channel)

    async def find(self, channel: str) -> str:
        """Return what `RecordingCommands.find` does. If that is not known, raise an error that leaves no doubt."""
        try:
            return await self.commands.find(channel)
        except VoxrecError as error:
            raise CommandNotSent(error.detail) from error

    def use_monitor(self, monitor: str) -> None:
        """Handle that Asterisk has started a MixMonitor, which opens both files."""
        self.monitor, self.former, self.expected = monitor, "", frozenset(Side)

    def leave_channel(self, inputs: MonitorInputs, channel: str) -> None:
        """Stop the MixMonitor on ``channel``, which another one is to continue."""
        self.cancel_timers()
        self.polling.cancel()
        self.former_channel, self.former, self.appends = channel, self.monitor, True
        Deferred.fromCoroutine(self.stop_former(inputs))

    async def stop_former(self, inputs: MonitorInputs) -> None:
        """Stop the former MixMonitor. If it is not known whether Asterisk has done it, repeat it until it is.

        With a channel that was replaced it ends in any case.
        """
        try:
            await self.commands.stop(self.former_channel, self.former)
        except VoxrecError as error:
            if self.former_channel == self.channel:
                if not may_be_executed(error):
                    inputs.not_left(Failure())
                    return
                inputs.leave_failed(Failure())
                return
        inputs.left(_DECODER_GAP if self.former_channel == self.channel else 0.0)

    async def _agreed_format(self, channel: str) -> str:
        """Wait for the ACK of a late offer, which determines the codec; until then nothing can be sent to the caller.

        If it is not known after two seconds, record in the format of the first codec that was offered. Raises
        `CommandNotSent` if the channel is replaced: the codec of the present one is needed.
        """
        deadline = self.clock.seconds() + _ACK_TIMEOUT
        while self.clock.seconds() < deadline:
            if channel != self.channel:
                raise CommandNotSent(f"channel {channel} was replaced")
            with suppress(VoxrecError):
                if (format_ := await self.commands.agreed_format(channel)) is not None:
                    return format_
            await deferLater(self.clock, _ACK_INTERVAL)
        return self.format_

    # Pauses.

    def change_now(self, inputs: MonitorInputs, changed: Deferred[None], *, muted: bool) -> None:
        """Pause or resume a recording in progress. If there is no MixMonitor any more, another one continues."""

        def changed_if(recording: bool) -> None:
            if recording:
                changed.callback(None)
            else:
                self.request_change(changed, muted=muted)
                self.report_interruption()
                inputs.interrupted()

        Deferred.fromCoroutine(self._set_muted(inputs, muted=muted)).addCallbacks(changed_if, changed.errback)

    async def _set_muted(self, inputs: MonitorInputs, *, muted: bool) -> bool:
        """Record silence or audio. Return False if the MixMonitor does not record any more, and nothing follows it.

        If it is not the current one any more, another one is about to continue, or to be withheld.

        If it is not known whether Asterisk records audio again, the recording is not paused any more: during a pause
        nothing may be recorded.
        """
        before, self.muted = self.muted, muted
        monitor = self.monitor
        try:
            recording = await self.commands.set_muted(self.channel, monitor, muted=muted)
        except VoxrecError as error:
            if is_channel_gone(error) and not self.is_current(monitor):
                return True
            self.check_later(inputs)
            if may_be_executed(error):
                self.doubts.begin()
                if not muted:
                    self.report_failure(None, error.detail)
                    return True
            self.muted = before
            if is_channel_gone(error):
                raise self.not_recorded() from None
            raise
        return recording or not self.is_current(monitor)

    def request_change(self, changed: Deferred[None], *, muted: bool) -> None:
        """Pause or resume when the outcome of the present command is known; ``changed`` fires when it has its effect.

        It fails if the command does. Only one change is requested at a time.
        """
        self.muted, self.change = muted, changed

    def settle_change(self, error: BaseException | None = None) -> None:
        """Fire the Deferred of the change that was requested, or fail it with ``error``."""
        change, self.change = self.change, None
        if change is None:
            return
        if error is None:
            change.callback(None)
        else:
            change.errback(error)

    def fail_change(self, error: BaseException | None) -> None:
        """Fail the change that was requested: the recording stays paused, or it is not paused."""
        if self.change is not None:
            self.muted = not self.muted
            self.settle_change(error)

    async def carry_out_change(self, inputs: MonitorInputs, failure: BaseException | None = None) -> None:
        """Pause or resume a MixMonitor that records, or has failed to be stopped, as was requested meanwhile.

        One that was started records audio; one that could not be stopped, because of ``failure``, has been told so
        before, or silence.
        """
        if self.change is None:
            return
        if self.muted and self.doubts.exist:
            if failure is not None:
                self.fail_change(failure)
            else:
                inputs.renew()
            return
        muted = self.muted
        self.muted = not muted if failure is not None else False
        try:
            recording = muted == self.muted or await self._set_muted(inputs, muted=muted)
        except VoxrecError as error:
            self.settle_change(error)
            return
        if recording:
            self.settle_change()
        else:
            self.muted = muted
            self.report_interruption()
            inputs.interrupted()

    def not_recorded(self) -> Conflict:
        """Return the error of a pause or resumption while Asterisk does not record the call."""
        detail = f"Recording {self.recording.id} cannot be changed: Asterisk does not record the call now."
        return Conflict(detail, reason=ProblemReason.NOT_RECORDED_NOW)

    def is_current(self, monitor: str) -> bool:
        """Return whether a MixMonitor is the one that records, which is not being replaced by another one."""
        return monitor == self.monitor != self.former

    def retry_later(self, inputs: MonitorInputs) -> None:
        """Repeat what has failed after 2 s, or earlier if AMI is connected before."""
        self.retry_timer.start(_RETRY_INTERVAL, inputs.retry)

    def check_later(self, inputs: MonitorInputs) -> None:
        """Check later, or when AMI is connected before, that Asterisk records as it is to."""
        self.check_timer.start(self.doubts.next_check, inputs.retry)

    def cancel_timers(self) -> None:
        """Repeat nothing: another command or the end follows."""
        for timer in (self.retry_timer, self.check_timer, self.gap_timer):
            timer.cancel()

    # The files.

    def watch_creation(self, inputs: MonitorInputs) -> None:
        """Look for the files until both are open, or for 10 s."""
        deadline = self.clock.seconds() + _OPEN_TIMEOUT
        sides: frozenset[Side] = frozenset()

        async def complete() -> bool:
            nonlocal sides
            sides = await self.commands.files.created(self.recording.id)
            if self.appends:  # they existed before
                sides &= await self.commands.files.written(self.recording.id)
            return len(sides) == len(Side) or self.clock.seconds() >= deadline

        self.polling.start(complete, lambda: inputs.created(sides))

    def watch_end(self, succeeded: Callable[[], object]) -> None:
        """Look at the files until Asterisk has closed them, or has not even created them within 10 s."""
        self.cancel_timers()
        deadline = self.clock.seconds() + _OPEN_TIMEOUT

        async def closed() -> bool:
            expected = self.expected if self.clock.seconds() < deadline else ()
            if not await self.commands.files.closed(self.recording.id, expected):
                return False
            self.recorded = await self.commands.files.duration(self.recording.id) if self.appends else 0.0
            return True

        self.polling.start(closed, succeeded)

    # Reports.

    def report_stop_failure(self, failure: Failure) -> None:
        """Log that the recording could not be ended, but not again when an attempt to repeat it fails."""
        if self.stop_reported:
            return
        self.stop_reported = True
        self.log.error(
            "Recording {id} cannot be stopped and continues until AMI is connected or the call ends: {error}",
            id=self.recording.id,
            error=failure.value,
        )

    def report_refusal(self, failure: Failure) -> None:
        """Log that Asterisk does not record the call, unless a party has hung up, and note it in the timeline."""
        if is_channel_gone(failure.value):
            self.log.debug("call {call}: not recorded, a party has hung up", call=self.recording.call_id)
            if not self.appends:
                self.note(None, detail_of(failure))
        else:
            self.report_failure(None, detail_of(failure))

    def report_delay(self, failure: Failure) -> None:
        """Log once that the call is not recorded until AMI is connected, and note it in the timeline."""
        if not self.is_late:
            self.is_late = True
            self.report_failure(None, detail_of(failure))

    def report_interruption(self) -> None:
        """Log that Asterisk has ended the MixMonitor, unless only silence is missing, and note it in the timeline."""
        if not self.muted and not self.is_late:
            self.is_late = True
            self.report_failure(None, _INTERRUPTED)

    def report_failure(self, side: Side | None, detail: str) -> None:
        """Log that the call, or one side of it, is not recorded, and note it in the timeline."""
        self.log.error(
            "call {call}: {what} is not recorded: {error}",
            call=self.recording.call_id,
            what="the call" if side is None else f"the {side}",
            error=detail,
        )
        self.note(side, detail)


def may_be_executed(error: BaseException | None) -> bool:
    """Return whether Asterisk may have executed a command that has failed."""
    return isinstance(error, AsteriskUnavailable) and not isinstance(error, CommandNotSent)


def detail_of(failure: Failure) -> str:
    """Return the text of an error for the timeline."""
    error = failure.value
    return error.detail if isinstance(error, VoxrecError) else str(error)
