"""The machine that records one side of a call: a snoop channel on the caller's channel, recorded to a file.

Asterisk toggles between silence and audio at each mute command, does not report which one it records, and undoes a
command that is repeated (measured with 16 and 22). So a side is muted once, and unmuted once. Before 18.21, 20.6 and
21.1 it matters for the command whether the recording was muted before (`AriClient.mute_recording`).
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final, Protocol

from automat import TypeMachineBuilder, pep614
from twisted.internet.defer import Deferred, succeed
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxrec.ari.client import AriClient, Direction
from voxrec.calls.causes import Cause
from voxrec.calls.channel_ready import ChannelReady
from voxrec.calls.ids import owned_id, snoop_role
from voxrec.calls.machine_builder import build
from voxrec.errors import VoxrecError
from voxrec.model import Recording, Side, leg_name

# What each snoop channel receives from the caller's channel: what the caller says, and all that the caller hears.
_DIRECTIONS: Final[dict[Side, Direction]] = {Side.CALLER: "in", Side.CALLEE: "out"}


class SideInputs(Protocol):
    """The events of the recording of one side."""

    def begin(self) -> None:
        """The side is to be recorded."""

    def found_recording(self) -> None:
        """Asterisk was recording this side when this process took over the call."""

    def found_silent(self) -> None:
        """Asterisk was recording silence on this side when this process took over the call."""

    def snoop_ready(self) -> None:
        """The snoop channel accepts commands."""

    def opened(self) -> None:
        """Asterisk has opened the file."""

    def failed(self, failure: Failure) -> None:
        """Asterisk cannot record this side."""

    def mute(self) -> Deferred[None]:
        """Record silence. Return a Deferred that fires when it is done, or fails with the error of the command."""

    def unmute(self) -> Deferred[None]:
        """Record audio again. Return a Deferred that fires when it is done, or fails with the error of the command."""

    def muted(self) -> None:
        """Asterisk records silence now."""

    def unmuted(self) -> None:
        """Asterisk records audio again."""

    def stop(self) -> None:
        """The recording is to end, but not the call."""

    def call_ended(self) -> None:
        """The call is being cleared, or another process has it now."""

    def closed(self) -> None:
        """Asterisk has closed the file, or never opened it."""


@dataclass
class SideRecording:
    """What the machine of one side works with.

    ``started`` is called once: when Asterisk has opened the file, or will not open it. ``over`` is called once: when
    the file is closed, or will not be opened. ``note`` adds an error to the timeline. ``muted_before``: Asterisk has
    executed a command to mute this recording, in this process or another.
    """

    clock: IReactorTime
    asterisk: AriClient
    recording: Recording
    side: Side
    channel: str
    format_: str
    note: Callable[[Side, str], None]
    started: Callable[[Side], None]
    over: Callable[[Side], None]
    muted_before: bool = False
    ready: ChannelReady = field(init=False)
    log = Logger()

    def __post_init__(self) -> None:
        self.ready = ChannelReady(self.clock)

    @property
    def snoop(self) -> str:
        """The id of the snoop channel."""
        assert self.recording.call_id is not None, "a live Recording belongs to a call"
        return owned_id(self.recording.call_id, snoop_role(self.side))

    @property
    def file_name(self) -> str:
        """The name of the file in Asterisk."""
        return leg_name(self.recording.id, self.side)

    async def open_snoop(self) -> None:
        """Create the snoop channel and wait until it accepts commands."""
        direction = _DIRECTIONS[self.side]
        await self.asterisk.snoop(self.channel, self.snoop, f"snoop,{self.side}", spy=direction)
        await self.ready.wait()

    def report_failure(self, failure: Failure) -> None:
        """Log that this side is not recorded, and note it in the timeline."""
        error = failure.value
        self.log.error(
            "call {call}: the {side} is not recorded: {error}",
            call=self.recording.call_id,
            side=self.side,
            error=error,
        )
        self.note(self.side, error.detail if isinstance(error, VoxrecError) else str(error))

    def report_stop_failure(self, failure: Failure) -> None:
        """Log that the recording could not be ended."""
        self.log.error(
            "Recording {id}: recording of the {side} cannot be stopped and continues until the call ends: {error}",
            id=self.recording.id,
            side=self.side,
            error=failure.value,
        )


def _make_machine() -> Callable[[SideRecording], SideInputs]:
    builder = TypeMachineBuilder(SideInputs, SideRecording)

    # States.

    idle = builder.state("idle")
    snooping = builder.state("snooping")
    opening = builder.state("opening")
    recording = builder.state("recording")
    silent = builder.state("silent")
    closed = builder.state("closed")
    starting = (snooping, opening)
    started = (recording, silent)

    # Transitions without behaviour.

    idle.upon(SideInputs.found_recording).to(recording).returns(None)
    for ignored in (SideInputs.opened, SideInputs.stop):
        idle.upon(ignored).loop().returns(None)
    for ignored in (SideInputs.snoop_ready, SideInputs.opened, SideInputs.muted, SideInputs.unmuted, SideInputs.stop):
        closed.upon(ignored).loop().returns(None)
    closed.upon(SideInputs.failed).loop().returns(None)
    closed.upon(SideInputs.closed).loop().returns(None)
    snooping.upon(SideInputs.opened).loop().returns(None)
    for state in started:
        state.upon(SideInputs.opened).loop().returns(None)
    # a record command that was executed although its response is an error
    recording.upon(SideInputs.failed).loop().returns(None)
    silent.upon(SideInputs.failed).loop().returns(None)
    for state in (opening, *started, closed):
        state.upon(SideInputs.call_ended).loop().returns(None)
    silent.upon(SideInputs.unmuted).to(recording).returns(None)

    # Transitions with behaviour: the beginning.

    @pep614(idle.upon(SideInputs.begin).to(snooping))
    def begin(inputs: SideInputs, side: SideRecording) -> None:
        opened = Deferred.fromCoroutine(side.open_snoop())
        opened.addCallbacks(lambda _: inputs.snoop_ready(), inputs.failed)

    @pep614(snooping.upon(SideInputs.snoop_ready).to(opening))
    def record(inputs: SideInputs, side: SideRecording) -> None:
        side.asterisk.record(side.snoop, side.file_name, side.format_).addErrback(inputs.failed)

    @pep614(opening.upon(SideInputs.opened).to(recording))
    def opened(inputs: SideInputs, side: SideRecording) -> None:
        side.started(side.side)

    def fail(inputs: SideInputs, side: SideRecording, failure: Failure) -> None:
        side.report_failure(failure)
        side.started(side.side)
        side.over(side.side)

    for state in starting:
        pep614(state.upon(SideInputs.failed).to(closed))(fail)

    # Pauses.

    def mute(inputs: SideInputs, side: SideRecording) -> Deferred[None]:
        command = side.asterisk.mute_recording(side.file_name, muted_before=side.muted_before)
        return command.addCallback(lambda _: inputs.muted())

    def muted(inputs: SideInputs, side: SideRecording) -> None:
        side.muted_before = True

    pep614(idle.upon(SideInputs.found_silent).to(silent))(muted)
    for state in (*starting, recording):
        pep614(state.upon(SideInputs.muted).to(silent))(muted)

    def do_nothing(inputs: SideInputs, side: SideRecording) -> Deferred[None]:
        return succeed(None)

    for state in (*starting, recording):
        pep614(state.upon(SideInputs.mute).loop())(mute)
        pep614(state.upon(SideInputs.unmute).loop())(do_nothing)
    for state in (idle, closed):
        pep614(state.upon(SideInputs.mute).loop())(do_nothing)
        pep614(state.upon(SideInputs.unmute).loop())(do_nothing)
    pep614(silent.upon(SideInputs.mute).loop())(do_nothing)

    @pep614(silent.upon(SideInputs.unmute).loop())
    def unmute(inputs: SideInputs, side: SideRecording) -> Deferred[None]:
        return side.asterisk.unmute_recording(side.file_name).addCallback(lambda _: inputs.unmuted())

    # The end.

    def stop(inputs: SideInputs, side: SideRecording) -> None:
        """A recording ends with the snoop channel that it records."""

        def hung_up(existed: bool) -> None:
            if not existed:
                inputs.closed()

        side.asterisk.hang_up(side.snoop, Cause.NORMAL).addCallback(hung_up).addErrback(side.report_stop_failure)

    def end(inputs: SideInputs, side: SideRecording) -> None:
        side.started(side.side)
        side.over(side.side)

    for state in (*starting, *started):
        pep614(state.upon(SideInputs.stop).loop())(stop)
    for state in (idle, *starting):
        pep614(state.upon(SideInputs.closed).to(closed))(end)
    for state in (idle, snooping):  # no file was opened, and none will be
        pep614(state.upon(SideInputs.call_ended).to(closed))(end)

    @pep614(recording.upon(SideInputs.closed).to(closed))
    @pep614(silent.upon(SideInputs.closed).to(closed))
    def end_started(inputs: SideInputs, side: SideRecording) -> None:
        side.over(side.side)

    return build(builder)


side_machine = _make_machine()
"""Makes the machine of one side, with the state ``idle``."""
