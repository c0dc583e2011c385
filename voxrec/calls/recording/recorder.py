"""Records one call: both sides into files of their own, the Recording and its timeline, pauses and limits.

Asterisk is asked to record, and counts as recording when it has created the files. What a file contains is for the
finish job to find out.
"""

from collections.abc import Callable

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime

from voxrec.ari.client import AriClient
from voxrec.calls.channels.takeover_state import Pause
from voxrec.calls.recording.monitor import monitor_machine
from voxrec.calls.recording.monitor_core import MonitorCore
from voxrec.calls.recording.monitor_inputs import MonitorInputs
from voxrec.calls.recording.pause import PauseControl
from voxrec.calls.recording.recording_commands import RecordingCommands
from voxrec.calls.recording.recording_log import RecordingLog, RecordingLogInputs, RecordingSink, recording_log_machine
from voxrec.deadline import Deadline
from voxrec.model import (
    NOT_BEGUN,
    RECORDING_CONTINUED,
    RECORDING_FAILED,
    RECORDING_STARTED,
    RECORDING_STOPPED,
    RECORDING_SUSPENDED,
    TAKEN_OVER,
    PauseBehavior,
    Recording,
    RecordingState,
    Side,
)


class Recorder:
    """The recording of one call, from the answer until both files are closed.

    ``format_`` is the format of the files in Asterisk, `NARROWBAND` or `WIDEBAND`, if there is no ``late_offer``, after
    which the ACK determines it; ``channel`` is the caller's channel.
    ``failed`` is called when the call, or one side of it, is not recorded.
    """

    def __init__(
        self,
        clock: IReactorTime,
        asterisk: AriClient,
        commands: RecordingCommands,
        sink: RecordingSink,
        recording: Recording,
        channel: str,
        format_: str,
        late_offer: bool,
        failed: Callable[[], object],
    ) -> None:
        self._log = RecordingLog(clock, sink, recording)
        self.log: RecordingLogInputs = recording_log_machine(self._log)
        """The timeline and the state of the Recording."""
        self.started: Deferred[None] = Deferred()
        """Fires when Asterisk records, or cannot record now."""
        self.over: Deferred[None] = Deferred()
        """Fires when both files are closed, or those that were opened."""
        self._failed = failed
        self._ended_before = False
        self._core = MonitorCore(
            clock,
            commands,
            recording,
            channel,
            format_,
            late_offer=late_offer,
            note=self._note_failure,
            started=self._started,
            late=self._note_late_start,
            over=lambda: self.over.callback(None),
            suspended=self._note_suspension,
        )
        self.monitor: MonitorInputs = monitor_machine(self._core)
        """The machine of the MixMonitor."""
        self._limit = Deadline(clock)
        self._pause = PauseControl(asterisk, channel, self._log, self.log, self.monitor)

    @property
    def recording(self) -> Recording:
        """The Recording as it is now."""
        return self._log.recording

    @property
    def is_open(self) -> bool:
        """Whether Asterisk records, or is about to."""
        return not (self.over.called or self._ended_before)

    @property
    def is_live(self) -> bool:
        """Whether the Recording has not ended."""
        return self._log.recording.state.live

    @property
    def is_audible(self) -> bool:
        """Whether what is said now is recorded: it has not ended and is not paused."""
        return self._log.recording.state is RecordingState.RECORDING

    @property
    def retries(self) -> bool:
        """Whether a command has failed and is to be repeated, or it is to be checked again what Asterisk does."""
        return self._core.retry_timer.pending or self._core.check_timer.pending

    @property
    def pause_in_progress(self) -> bool:
        """Whether the recording is being paused or resumed."""
        return self._pause.in_progress

    # The beginning.

    def begin(self) -> None:
        """Ask Asterisk to record."""
        self.log.begin()
        self.monitor.begin()

    def refuse(self, reason: str) -> None:
        """Do not record, and give the Recording the state ``absent`` with this reason."""
        self.log.refuse(reason)

    def take_over(self, monitor: str, pause: Pause | None, stopped: str, *, has_files: bool) -> None:
        """Continue the recording of another process.

        ``monitor`` is the id of the MixMonitor that it has started, empty if none; ``has_files``: Asterisk has opened a
        file. Without either the recording was due, and begins now; the timeline says that it is late. ``stopped``: why
        that process has ended the recording, empty if it is not known to have done so.
        """
        was_paused = self._log.recording.state is RecordingState.PAUSED
        self.log.note(TAKEN_OVER, by="voxrec")
        self._core.doubts.begin_after_takeover()
        if pause is not None and not was_paused:
            self.log.change_state(RecordingState.PAUSED, "paused", by="voxrec", detail=pause.behavior)
        elif pause is None and was_paused:
            self.log.change_state(RecordingState.RECORDING, "resumed", by="voxrec")
        if self._has_been_stopped(stopped):
            self._ended_before = True
            self._end_taken_over(monitor)
        elif monitor:
            self.monitor.found(monitor, muted=pause is not None)
        elif has_files and pause is not None:
            self.monitor.found_suspended()
        elif has_files:
            self.monitor.found_files()
        else:
            self._core.is_late = True
            if not self._log.recording.reports_failure:
                self._note_failure(None, NOT_BEGUN)
            if pause is not None:
                self.monitor.mute(Deferred())
            self.monitor.begin()
        if pause is not None:
            self._pause.inputs.found_paused(pause)

    def _has_been_stopped(self, reason: str) -> bool:
        """Return whether the other process has ended the recording, and note it in the timeline if it has not."""
        if any(entry.event == RECORDING_STOPPED for entry in self._log.recording.timeline):
            return True
        if reason:
            self.log.stop(reason)
        return bool(reason)

    def _end_taken_over(self, monitor: str) -> None:
        """Stop the MixMonitor of a recording that another process may not have been able to stop."""
        if monitor:
            self.monitor.found(monitor, muted=True)
            self.monitor.stop()
        else:
            self.monitor.found_ended()

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
        self._core.commands.store_stop(self._core.channel, reason)
        self.monitor.stop()

    def close_files(self) -> None:
        """Close the files, whatever the state of the recording is."""
        self.monitor.stop()

    # Events.

    def caller_replaced(self, channel: str) -> Deferred[None]:
        """Handle that ``channel`` is the caller's now. The Deferred fires when it stores the pause, if there is one."""
        stored = self._pause.use_channel(channel)
        self.monitor.use_channel(channel)
        return stored

    def renew_decoders(self) -> None:
        """Continue with new decoders: the present ones may drop what a party says."""
        self.monitor.renew()

    def _note_late_start(self) -> None:
        self.log.note(RECORDING_CONTINUED if self._core.appends else RECORDING_STARTED)

    def _note_suspension(self, duration: float) -> None:
        """Let the finish job know where silence is missing in the files, of ``duration`` seconds, unless it does."""
        events = (entry.event for entry in reversed(self._log.recording.timeline))
        if next((event for event in events if event in (RECORDING_SUSPENDED, "resumed")), None) != RECORDING_SUSPENDED:
            self.log.store(RECORDING_SUSPENDED, detail=f"{duration:.4f}")

    def _note_failure(self, side: Side | None, detail: str) -> None:
        self.log.store(RECORDING_FAILED, by=side, detail=detail)
        self._failed()

    def _started(self) -> None:
        if not self.started.called:
            self.started.callback(None)

    # The end.

    def close(self, *, cause: int | None = None, by: str | None = None) -> None:
        """End the Recording: with the call, which ``by`` ended with this Q.850 ``cause``, or earlier."""
        self.log.close(cause, by)
        self._limit.cancel()
        self._pause.inputs.end()
        self.monitor.call_ended()

    def detach(self) -> None:
        """Leave the recording to another process: change nothing in Asterisk any more.

        If Asterisk was not even asked to record, no process could find the Recording, so it ends here.
        """
        self._limit.cancel()
        self._pause.inputs.end()
        self.monitor.detach()
        if self.over.called:
            self.log.close(None, None)
            self.log.release()
        else:
            self.log.detach()
