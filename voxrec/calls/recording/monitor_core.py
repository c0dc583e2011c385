"""What the machine that records one call works with: its inputs, and the MixMonitor and its files."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxrec.calls.channels.steps import is_channel_gone
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
NOT_OPENED: Final = "Asterisk has not opened the file; its log says why"


class MonitorInputs(Protocol):
    """The events of the recording of a call."""

    def begin(self) -> None:
        """The call is to be recorded."""

    def found(self, monitor: str, muted: bool) -> None:
        """This MixMonitor was started before this process took over the call, which was paused if ``muted``."""

    def found_suspended(self) -> None:
        """The recording was paused when this process took over the call; there are files, but no MixMonitor."""

    def found_files(self) -> None:
        """There are files, but no MixMonitor: the recording has ended, or a version with snoop channels began it."""

    def begun(self, monitor: str) -> None:
        """Asterisk has started this MixMonitor."""

    def unsent(self, failure: Failure) -> None:
        """The command to start could not be sent."""

    def unavailable(self, failure: Failure) -> None:
        """It is not known whether Asterisk has executed the command to start."""

    def refused(self, failure: Failure) -> None:
        """Asterisk cannot record the call."""

    def suspend(self) -> None:
        """The recording is paused: no MixMonitor is to be started until it is resumed."""

    def created(self, sides: frozenset[Side]) -> None:
        """Asterisk has opened the files of these sides, and will open no other."""

    def retry(self) -> None:
        """AMI is connected again, or some time has passed since a command has failed."""

    def mute(self) -> Deferred[None]:
        """Record silence. Return a Deferred that fires when it is done, or fails with the error of the command."""

    def unmute(self) -> Deferred[None]:
        """Record audio again. Return a Deferred that fires when it is done, or fails with the error of the command."""

    def lost(self) -> None:
        """The MixMonitor does not record any more."""

    def interrupted(self) -> None:
        """The MixMonitor of a recording that is paused does not write silence any more."""

    def use_channel(self, channel: str) -> None:
        """The recording is to continue with a new MixMonitor on another channel of the caller."""

    def renew(self) -> None:
        """The recording is to continue with a new MixMonitor on the same channel, which has new decoders."""

    def left(self, gap: float) -> None:
        """Asterisk was told to stop the former MixMonitor, or ends it with its channel; continue after ``gap`` s."""

    def not_left(self) -> None:
        """The former MixMonitor could not be stopped, and continues."""

    def moved(self) -> None:
        """Asterisk has closed the files of the former MixMonitor."""

    def stop(self) -> None:
        """The recording is to end, but not the call; or its channel is to continue without voxrec."""

    def stop_failed(self, failure: Failure) -> None:
        """It is not known whether Asterisk has executed the command to stop."""

    def call_ended(self) -> None:
        """The call is being cleared."""

    def closed(self) -> None:
        """Asterisk has closed all files, or never opened one, or has ended."""

    def detach(self) -> None:
        """Another process has the call now."""


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
    ``expected``: the sides whose files Asterisk has opened, or is about to open. ``appends``: the next MixMonitor
    continues the files of another one, whose id was ``former``, if it is known. ``recorded``: the duration of these
    files.
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
    appends: bool = False
    recorded: float = 0.0
    muted: bool = False
    change: Deferred[None] | None = None
    is_late: bool = False
    stop_reported: bool = False
    expected: frozenset[Side] = frozenset()
    polling: Polling = field(init=False)
    retry_timer: Deadline = field(init=False)
    log = Logger()

    def __post_init__(self) -> None:
        self.polling = Polling(self.clock)
        self.retry_timer = Deadline(self.clock)

    # Commands.

    async def start(self, *, again: bool = False) -> str:
        """Start the MixMonitor, unless an attempt before, whose outcome is not known, has started it."""
        if again and (monitor := await self.commands.find(self.channel)) not in ("", self.former):
            return monitor
        if self.late_offer:
            self.format_ = await self._agreed_format()
            self.late_offer = False
        return await self.commands.start(self.channel, self.recording.id, self.format_, append=self.appends)

    async def leave(self, inputs: MonitorInputs, channel: str) -> None:
        """Stop the MixMonitor, which another one on ``channel`` is to continue."""
        former, self.channel, self.former, self.appends = self.channel, channel, self.monitor, True
        try:
            await self.commands.stop(former, self.former)
        except VoxrecError:
            if former == channel:
                inputs.not_left()
                return
        inputs.left(_DECODER_GAP if former == channel else 0.0)

    async def _agreed_format(self) -> str:
        """Wait for the ACK of a late offer, which determines the codec; until then nothing can be sent to the caller.

        If it is not known after two seconds, record in the format of the first codec that was offered.
        """
        deadline = self.clock.seconds() + _ACK_TIMEOUT
        while self.clock.seconds() < deadline:
            if (format_ := await self.commands.agreed_format(self.channel)) is not None:
                return format_
            await deferLater(self.clock, _ACK_INTERVAL)
        return self.format_

    # Pauses.

    async def set_muted(self, inputs: MonitorInputs, *, muted: bool) -> None:
        """Record silence or audio. Raises Conflict if the call is not being recorded any more.

        If it is not known whether Asterisk records audio again, the recording is not paused any more: during a pause
        nothing may be recorded.
        """
        before, self.muted = self.muted, muted
        monitor = self.monitor
        try:
            recording = await self.commands.set_muted(self.channel, monitor, muted=muted)
        except VoxrecError as error:
            self.retry_later(inputs)
            if not muted and _may_be_executed(error):
                self.report_failure(None, error.detail)
                return
            self.muted = before
            raise
        if not recording and monitor != self.former:  # else another one is about to continue, or to be withheld
            inputs.lost()
            raise self.not_recorded()

    def request_change(self, *, muted: bool) -> Deferred[None]:
        """Pause or resume when the outcome of the present command is known; the Deferred fires when it has its effect.

        It fails if the command does. Only one change is requested at a time.
        """
        self.muted, self.change = muted, Deferred()
        return self.change

    def settle_change(self, error: BaseException | None = None) -> None:
        """Fire the Deferred of the change that was requested, or fail it with ``error``."""
        change, self.change = self.change, None
        if change is None:
            return
        if error is None:
            change.callback(None)
        else:
            change.errback(error)

    async def carry_out_change(self, inputs: MonitorInputs, *, is_muted: bool) -> None:
        """Tell a MixMonitor that writes silence (``is_muted``) or audio now what was requested meanwhile."""
        if self.change is None:
            return
        muted, self.muted = self.muted, is_muted
        try:
            if muted != is_muted:
                await self.set_muted(inputs, muted=muted)
        except VoxrecError as error:
            self.settle_change(error)
        else:
            self.settle_change()

    def not_recorded(self) -> Conflict:
        """Return the error of a pause or resumption while Asterisk does not record the call."""
        detail = f"Recording {self.recording.id} cannot be changed: Asterisk does not record the call now."
        return Conflict(detail, reason=ProblemReason.NOT_RECORDED_NOW)

    async def assert_muted(self, inputs: MonitorInputs) -> None:
        """Tell Asterisk again whether to record silence, and find out whether it still records."""
        monitor = self.monitor
        try:
            recording = await self.commands.set_muted(self.channel, monitor, muted=self.muted)
        except VoxrecError:
            self.retry_later(inputs)
        else:
            if not recording and monitor != self.former:
                (inputs.interrupted if self.muted else inputs.lost)()

    def retry_later(self, inputs: MonitorInputs) -> None:
        """Repeat what has failed after 2 s, or earlier if AMI is connected before."""
        self.retry_timer.start(_RETRY_INTERVAL, inputs.retry)

    # The files.

    def watch_creation(self, inputs: MonitorInputs) -> None:
        """Look for the files until both exist, or for 10 s."""
        deadline = self.clock.seconds() + _OPEN_TIMEOUT
        sides: frozenset[Side] = frozenset()

        async def complete() -> bool:
            nonlocal sides
            sides = await self.commands.files.created(self.recording.id)
            return len(sides) == len(Side) or self.clock.seconds() >= deadline

        self.polling.start(complete, lambda: inputs.created(sides))

    def watch_end(self, succeeded: Callable[[], object]) -> None:
        """Look at the files until Asterisk has closed them, or has not even created them within 10 s."""
        self.retry_timer.cancel()
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
            self.note(None, detail_of(failure))
        else:
            self.report_failure(None, detail_of(failure))

    def report_delay(self, failure: Failure) -> None:
        """Log once that the call is not recorded until AMI is connected, and note it in the timeline."""
        if not self.is_late:
            self.is_late = True
            self.report_failure(None, detail_of(failure))

    def report_failure(self, side: Side | None, detail: str) -> None:
        """Log that the call, or one side of it, is not recorded, and note it in the timeline."""
        self.log.error(
            "call {call}: {what} is not recorded: {error}",
            call=self.recording.call_id,
            what="the call" if side is None else f"the {side}",
            error=detail,
        )
        self.note(side, detail)


def _may_be_executed(error: VoxrecError) -> bool:
    """Return whether Asterisk may have executed a command that has failed."""
    return isinstance(error, AsteriskUnavailable) and not isinstance(error, CommandNotSent)


def detail_of(failure: Failure) -> str:
    """Return the text of an error for the timeline."""
    error = failure.value
    return error.detail if isinstance(error, VoxrecError) else str(error)
