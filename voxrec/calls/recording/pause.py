"""The machine that pauses and resumes the recording of one call.

A variable of the caller's channel says whether the recording is to be paused. It is set before Asterisk is told to
record silence, and cleared before Asterisk is told to record audio: a process that takes over the call repeats the
command, which sets a state.
"""

from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from automat import TypeMachineBuilder, pep614
from twisted.internet.defer import Deferred, DeferredLock, succeed
from twisted.logger import Logger

from voxrec.ari.client import AriClient
from voxrec.calls.channels.takeover_state import PAUSE_VARIABLE, Pause, encode
from voxrec.calls.recording.monitor_inputs import MonitorInputs
from voxrec.calls.recording.recording_log import RecordingLog, RecordingLogInputs
from voxrec.deadline import Deadline
from voxrec.errors import VoxrecError
from voxrec.machine_builder import build
from voxrec.model import PauseBehavior, RecordingState

_RETRY_INTERVAL: Final = 1.0  # seconds until a timed resume that failed is attempted again


class PauseInputs(Protocol):
    """The events of the pauses of one recording."""

    def pause(self, pause: Pause, by: str) -> None:
        """The recording is to be paused, or to stay paused until another time."""

    def resume(self, by: str) -> None:
        """The recording is to be resumed."""

    def done(self) -> None:
        """The step is complete."""

    def failed(self) -> None:
        """The step failed."""

    def found_paused(self, pause: Pause) -> None:
        """The recording was to be paused when this process took over the call."""

    def retry_resume(self) -> None:
        """A timed resume failed."""

    def end(self) -> None:
        """The recording ends, or another process has it now."""


@dataclass
class PauseCore:
    """What the pause machine works with.

    ``request`` is the pause that was requested last, ``stored`` the one that the channel's variable contains. A
    transition sets ``step``; `PauseControl` runs it and returns the outcome as an input. ``ended``: nothing is stored
    any more.
    """

    asterisk: AriClient
    channel: str
    log: RecordingLog
    log_inputs: RecordingLogInputs
    monitor: MonitorInputs
    resume_due: Callable[[], None]
    deadline: Deadline
    request: Pause | None = None
    requested_by: str = ""
    stored: Pause | None = None
    ended: bool = False
    step: Callable[[], Coroutine[Any, Any, None]] | None = None

    async def begin(self) -> None:
        """Record silence. Raises a VoxrecError, after an attempt to record audio as before."""
        await self.store(self.request)
        try:
            await self._change(self.monitor.mute)
        except VoxrecError:
            await self._attempt(self.store(None))
            raise

    async def change(self) -> None:
        """Store another end of the pause."""
        await self.store(self.request)

    async def end(self) -> None:
        """Record audio again. Raises a VoxrecError; the recording is still paused then."""
        await self.store(None)
        try:
            await self._change(self.monitor.unmute)
        except VoxrecError:
            await self._attempt(self.store(self.request))
            raise

    @staticmethod
    def _change(change: Callable[[Deferred[None]], None]) -> Deferred[None]:
        changed: Deferred[None] = Deferred()
        change(changed)
        return changed

    async def store(self, pause: Pause | None) -> None:
        """Let another process know of a pause, or that there is none."""
        if self.ended:  # another process has the channel, or none needs to know
            return
        self.stored = pause
        await self.asterisk.set_variable(self.channel, PAUSE_VARIABLE, "" if pause is None else encode(pause))

    async def _attempt(self, step: Coroutine[Any, Any, None]) -> None:
        """Run a step that restores the state before the request; its failure adds nothing to the first one."""
        with suppress(VoxrecError):
            await step

    def resume_at(self, moment: datetime | None) -> None:
        """Resume at a moment; None: not by a timer."""
        self.deadline.cancel()
        if moment is not None:
            self.deadline.start(max(0.0, (moment - self.log.now()).total_seconds()), self.resume_due)


def _make_machine() -> Callable[[PauseCore], PauseInputs]:
    builder = TypeMachineBuilder(PauseInputs, PauseCore)

    # States.

    recording = builder.state("recording")
    pausing = builder.state("pausing")
    paused = builder.state("paused")
    changing = builder.state("changing")
    resuming = builder.state("resuming")
    ended = builder.state("ended")
    in_progress = (pausing, changing, resuming)

    # Transitions without behaviour. `PauseControl` runs one request at a time, so none arrives in these states.

    recording.upon(PauseInputs.resume).loop().returns(None)
    pausing.upon(PauseInputs.failed).to(recording).returns(None)
    changing.upon(PauseInputs.done).to(paused).returns(None)
    changing.upon(PauseInputs.failed).to(paused).returns(None)
    resuming.upon(PauseInputs.failed).to(paused).returns(None)
    for state in (recording, *in_progress, ended):
        state.upon(PauseInputs.retry_resume).loop().returns(None)
    for ignored in (PauseInputs.done, PauseInputs.failed, PauseInputs.end):
        ended.upon(ignored).loop().returns(None)
    ended.upon(PauseInputs.pause).loop().returns(None)
    ended.upon(PauseInputs.resume).loop().returns(None)
    ended.upon(PauseInputs.found_paused).loop().returns(None)

    # Transitions with behaviour.

    @pep614(recording.upon(PauseInputs.pause).to(pausing))
    def begin(inputs: PauseInputs, core: PauseCore, pause: Pause, by: str) -> None:
        core.request, core.requested_by = pause, by
        core.step = core.begin

    @pep614(pausing.upon(PauseInputs.done).to(paused))
    def silent(inputs: PauseInputs, core: PauseCore) -> None:
        assert core.request is not None, "a pause was requested"
        core.log_inputs.change_state(
            RecordingState.PAUSED, "paused", by=core.requested_by, detail=core.request.behavior
        )
        core.resume_at(core.request.until)

    @pep614(paused.upon(PauseInputs.pause).to(changing))
    def change_end(inputs: PauseInputs, core: PauseCore, pause: Pause, by: str) -> None:
        core.request = pause
        core.resume_at(pause.until)
        core.step = core.change

    @pep614(paused.upon(PauseInputs.resume).to(resuming))
    def resume(inputs: PauseInputs, core: PauseCore, by: str) -> None:
        core.requested_by = by
        core.step = core.end

    @pep614(resuming.upon(PauseInputs.done).to(recording))
    def audible(inputs: PauseInputs, core: PauseCore) -> None:
        core.deadline.cancel()
        core.log_inputs.change_state(RecordingState.RECORDING, "resumed", by=core.requested_by)

    @pep614(paused.upon(PauseInputs.retry_resume).loop())
    def retry_resume(inputs: PauseInputs, core: PauseCore) -> None:
        core.deadline.start(_RETRY_INTERVAL, core.resume_due)

    @pep614(recording.upon(PauseInputs.found_paused).to(paused))
    def continue_pause(inputs: PauseInputs, core: PauseCore, pause: Pause) -> None:
        core.request = core.stored = pause
        core.resume_at(pause.until)

    def end(inputs: PauseInputs, core: PauseCore) -> None:
        core.ended = True
        core.deadline.cancel()

    for state in (recording, paused, *in_progress):
        state.upon(PauseInputs.end).to(ended)(end)

    return build(builder)


pause_machine = _make_machine()
"""Makes the machine of the pauses of one recording, with the state ``recording``."""


class PauseControl:
    """Pauses and resumes one recording.

    During a pause Asterisk writes silence, so that the files keep their length; the finish job removes the silence if
    the behaviour is `PauseBehavior.SKIP`. Requests are carried out one after the other.
    """

    _log = Logger()

    def __init__(
        self,
        asterisk: AriClient,
        channel: str,
        log: RecordingLog,
        log_inputs: RecordingLogInputs,
        monitor: MonitorInputs,
    ) -> None:
        """``channel`` is the caller's channel, which stores the pause; ``monitor`` is the machine that records."""
        self._recording_log = log
        self._core = PauseCore(asterisk, channel, log, log_inputs, monitor, self._resume_by_timer, Deadline(log.clock))
        self.inputs: PauseInputs = pause_machine(self._core)
        self._lock = DeferredLock()

    @property
    def in_progress(self) -> bool:
        """Whether a request is being carried out."""
        return bool(self._lock.locked)

    def use_channel(self, channel: str) -> Deferred[None]:
        """Store the pauses in another channel: the caller's was replaced.

        The Deferred fires when the present pause is stored there, or fails with a VoxrecError.
        """
        self._core.channel = channel
        stored = self._core.stored
        return succeed(None) if stored is None else Deferred.fromCoroutine(self._core.store(stored))

    async def pause(self, behavior: PauseBehavior, seconds: float | None, *, by: str) -> None:
        """Pause until `resume`, or for ``seconds``. If it is paused already, only the time of its end changes.

        Raises a VoxrecError if Asterisk does not confirm it; the recording is not paused then. If Asterisk has executed
        the command nevertheless, it is told to record audio when AMI is connected again.
        """

        def request() -> None:
            until = None if seconds is None else self._recording_log.now() + timedelta(seconds=seconds)
            self.inputs.pause(Pause(behavior=behavior, until=until), by)

        await self._lock.run(self._start, request)

    async def resume(self, *, by: str) -> None:
        """Resume. Raises a VoxrecError as `pause`."""
        await self._lock.run(self._start, lambda: self.inputs.resume(by))

    def _start(self, request: Callable[[], None]) -> Deferred[None]:
        return Deferred.fromCoroutine(self._carry_out(request))

    async def _carry_out(self, request: Callable[[], None]) -> None:
        request()
        while self._core.step is not None:
            step, self._core.step = self._core.step, None
            try:
                await step()
            except VoxrecError:
                self.inputs.failed()
                raise
            self.inputs.done()

    def _resume_by_timer(self) -> None:
        def retry(failure: Any) -> None:
            self._log.error(
                "Recording {id} cannot be resumed: {error}; retrying in {interval:g} s",
                id=self._recording_log.recording.id,
                error=failure.value,
                interval=_RETRY_INTERVAL,
            )
            self.inputs.retry_resume()

        Deferred.fromCoroutine(self.resume(by="timer")).addErrback(retry)
