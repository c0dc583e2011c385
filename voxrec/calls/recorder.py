"""Records one call: both sides into files of their own, the Recording and its timeline, pauses and limits.

Asterisk is asked to record, and counts as recording when it reports that it has opened a file. What a file contains is
for the finish job to find out.
"""

from collections.abc import Collection
from typing import Final

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from voxrec.ari.client import AriClient
from voxrec.calls.deadline import Deadline
from voxrec.calls.ids import snoop_role
from voxrec.calls.pause import PauseControl
from voxrec.calls.recording_log import RecordingLog, RecordingLogInputs, RecordingSink, recording_log_machine
from voxrec.calls.side_recording import SideInputs, SideRecording, side_machine
from voxrec.calls.takeover_state import Pause
from voxrec.model import PauseBehavior, Recording, RecordingState, Side

# Linear PCM: lossless for G.711 and G.722, with a header that can be repaired, readable by libsndfile, and without work
# for Asterisk, which has the audio of a snoop channel as PCM anyway.
NARROWBAND: Final = "wav"
WIDEBAND: Final = "wav16"
PAUSE_UNDETERMINED: Final = "pause-unsure"
"""Why a recording was stopped: it was not known whether it was paused."""


class Recorder:
    """The recording of one call, from the answer until both files are closed.

    ``format_`` is the format of the files in Asterisk, `NARROWBAND` or `WIDEBAND`; ``channel`` is the caller's channel.
    """

    def __init__(
        self,
        clock: IReactorTime,
        asterisk: AriClient,
        sink: RecordingSink,
        recording: Recording,
        channel: str,
        format_: str,
    ) -> None:
        self._log = RecordingLog(clock, sink, recording)
        self.log: RecordingLogInputs = recording_log_machine(self._log)
        """The timeline and the state of the Recording."""
        self.started: Deferred[None] = Deferred()
        """Fires when Asterisk records both sides, or all that it is going to record."""
        self.over: Deferred[None] = Deferred()
        """Fires when both files are closed, or those that were opened."""
        self._not_started = set(Side)
        self._open = set(Side)
        self.sides: dict[Side, SideInputs] = {}
        """The machine of each side, which gets the events about its file."""
        self._snoops: dict[str, SideRecording] = {}
        for side in Side:
            core = self._snoops[snoop_role(side)] = SideRecording(
                clock,
                asterisk,
                recording,
                side,
                channel,
                format_,
                self._note_failure,
                self._side_started,
                self._side_over,
            )
            self.sides[side] = side_machine(core)
        self._limit = Deadline(clock)
        self._pause = PauseControl(
            asterisk,
            channel,
            self._log,
            self.log,
            tuple(self.sides.values()),
            lambda: {side.side for side in self._snoops.values() if side.muted_before},
            lambda: self.stop(PAUSE_UNDETERMINED),
        )

    @property
    def recording(self) -> Recording:
        """The Recording as it is now."""
        return self._log.recording

    @property
    def open_sides(self) -> frozenset[Side]:
        """The sides whose files are open, or about to be opened."""
        return frozenset(self._open)

    @property
    def is_live(self) -> bool:
        """Whether the Recording has not ended."""
        return self._log.recording.state.live

    @property
    def is_audible(self) -> bool:
        """Whether what is said now is recorded: it has not ended and is not paused."""
        return self._log.recording.state is RecordingState.RECORDING

    @property
    def pause_in_progress(self) -> bool:
        """Whether the recording is being paused or resumed."""
        return self._pause.in_progress

    # The beginning.

    def begin(self) -> None:
        """Ask Asterisk to record both sides."""
        self.log.begin()
        for side in self.sides.values():
            side.begin()

    def refuse(self, reason: str) -> None:
        """Do not record, and give the Recording the state ``absent`` with this reason."""
        self.log.refuse(reason)

    def take_over(self, running: Collection[Side], pause: Pause | None, muted_before: Collection[Side] = ()) -> None:
        """Continue the recording of another process; Asterisk is recording the sides ``running``.

        ``muted_before``: the sides that the other process has muted once.
        """
        for core in self._snoops.values():
            core.muted_before = core.side in muted_before
        state = RecordingState.RECORDING if pause is None else RecordingState.PAUSED
        self._log.recording = msgspec.structs.replace(self._log.recording, state=state)
        self.log.note("taken-over", by="voxrec")
        for side, inputs in self.sides.items():
            if side not in running:
                inputs.closed()
            elif pause is None:
                inputs.found_recording()
            else:
                inputs.found_silent()
        self._not_started.clear()
        if pause is not None and pause.settled:
            self._pause.inputs.found_paused(pause)
        elif pause is not None:
            self._pause.inputs.found_changing()

    # Control.

    async def pause(self, behavior: PauseBehavior, seconds: float | None, *, by: str) -> None:
        """See `PauseControl.pause`."""
        await self._pause.pause(behavior, seconds, by=by)

    async def resume(self, *, by: str) -> None:
        """See `PauseControl.resume`."""
        await self._pause.resume(by=by)

    def stop_after(self, seconds: float, reason: str) -> None:
        """End the recording after ``seconds``; the call continues."""
        self._limit.start(seconds, lambda: self.stop(reason))

    def stop(self, reason: str) -> None:
        """End the recording; the call continues."""
        self.log.stop(reason)
        for side in self.sides.values():
            side.stop()

    def close_files(self) -> None:
        """Close the files, whatever the state of the recording is."""
        for side in self.sides.values():
            side.stop()

    # Events.

    def snoop_entered(self, role: str) -> None:
        """Handle the StasisStart of a snoop channel of the call."""
        if role in self._snoops:
            self._snoops[role].ready.entered()

    def _note_failure(self, side: Side, detail: str) -> None:
        self.log.note("recording.failed", by=side, detail=detail)

    def _side_started(self, side: Side) -> None:
        self._not_started.discard(side)
        if not self._not_started and not self.started.called:
            self.started.callback(None)

    def _side_over(self, side: Side) -> None:
        self._open.discard(side)
        if not self._open:
            self.over.callback(None)

    # The end.

    def close(self, *, cause: int | None = None, by: str | None = None) -> None:
        """End the Recording: with the call, which ``by`` ended with this Q.850 ``cause``, or earlier."""
        self.log.close(cause, by)
        self._limit.cancel()
        self._pause.inputs.end()
        for side in self.sides.values():
            side.call_ended()

    def detach(self) -> None:
        """Leave the recording to another process: change nothing in Asterisk any more.

        If no file was opened, no process could find the Recording by its files, so it ends here.
        """
        self._limit.cancel()
        self._pause.inputs.end()
        for side in self.sides.values():
            side.call_ended()
        if self._open:
            self.log.detach()
        else:
            self.log.close(None, None)
            self.log.release()
