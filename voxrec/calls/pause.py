"""The machine that pauses and resumes the recording of one call."""

from collections.abc import Callable, Collection, Coroutine
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Protocol

from automat import TypeMachineBuilder, pep614
from twisted.internet.defer import Deferred, DeferredLock
from twisted.logger import Logger

from voxrec.ari.client import AriClient
from voxrec.ari.transport import AriResponseError
from voxrec.calls.deadline import Deadline
from voxrec.calls.machine_builder import build
from voxrec.calls.recording_log import RecordingLog, RecordingLogInputs
from voxrec.calls.side_recording import SideInputs
from voxrec.calls.takeover_state import MUTED_VARIABLE, PAUSE_VARIABLE, Pause, encode, encode_sides
from voxrec.deferreds import gather_failures
from voxrec.errors import VoxrecError
from voxrec.model import PauseBehavior, RecordingState, Side

_RETRY_INTERVAL: Final = 1.0  # seconds until a timed resume that failed is attempted again
_RESUMING: Final = Pause(behavior=PauseBehavior.SILENCE, settled=False)


class _UndeterminedError(Exception):
    """It is not known whether Asterisk records silence or audio; ``error`` is the error of the command."""

    def __init__(self, error: BaseException) -> None:
        super().__init__(str(error))
        self.error = error


class PauseInputs(Protocol):
    """The events of the pauses of one recording."""

    def pause(self, pause: Pause, by: str) -> None:
        """The recording is to be paused, or to stay paused until another time."""

    def resume(self, by: str) -> None:
        """The recording is to be resumed."""

    def done(self) -> None:
        """The step is complete."""

    def failed(self) -> None:
        """The step failed and changed nothing."""

    def undetermined(self) -> None:
        """The step failed, and it is not known what Asterisk records now."""

    def found_paused(self, pause: Pause) -> None:
        """The recording was paused when this process took over the call."""

    def found_changing(self) -> None:
        """Another process was pausing or resuming the recording when this process took over the call."""

    def retry_resume(self) -> None:
        """A timed resume failed."""

    def end(self) -> None:
        """The recording ends, or another process has it now."""


@dataclass
class PauseCore:
    """What the pause machine works with. ``stop`` ends the recording when it is not known what Asterisk records.

    ``muted_before`` returns the sides that were muted once; ``stored_muted`` are those that the channel variable names.
    A transition sets ``step``; `PauseControl` runs it and returns the outcome as an input.
    """

    asterisk: AriClient
    channel: str
    log: RecordingLog
    log_inputs: RecordingLogInputs
    sides: tuple[SideInputs, ...]
    muted_before: Callable[[], Collection[Side]]
    stop: Callable[[], None]
    resume_due: Callable[[], None]
    deadline: Deadline
    request: Pause = _RESUMING
    requested_by: str = ""
    stored_muted: Collection[Side] = ()
    step: Callable[[], Coroutine[Any, Any, None]] | None = None

    async def begin(self) -> None:
        """Record silence on all sides, or on none."""
        await self._store(_unsettled(self.request))
        failures = await gather_failures(*(side.mute() for side in self.sides))
        if not failures:
            return
        if not all(isinstance(failure, AriResponseError) for failure in failures):
            raise _UndeterminedError(failures[0])
        await self._unmute()
        await self._store(None)
        raise failures[0]

    async def settle(self) -> None:
        """Store the pause for another process."""
        await self._store(self.request)

    async def end(self) -> None:
        """Record audio on all sides again."""
        await self._store(_RESUMING)
        await self._unmute()
        await self._store(None)

    async def _unmute(self) -> None:
        failures = await gather_failures(*(side.unmute() for side in self.sides))
        if failures:
            raise _UndeterminedError(failures[0])

    async def _store(self, pause: Pause | None) -> None:
        # while the variable says that the pause is not settled, another process ends the recording
        if pause is None or pause.settled:
            await self._store_muted_sides()
        await self.asterisk.set_variable(self.channel, PAUSE_VARIABLE, "" if pause is None else encode(pause))

    async def _store_muted_sides(self) -> None:
        muted = self.muted_before()
        if self.asterisk.unmute_keeps_flag and muted != self.stored_muted:
            await self.asterisk.set_variable(self.channel, MUTED_VARIABLE, encode_sides(muted))
            self.stored_muted = muted

    def resume_at(self, moment: datetime | None) -> None:
        """Resume at a moment; None: not by a timer."""
        self.deadline.cancel()
        if moment is not None:
            self.deadline.start(max(0.0, (moment - self.log.now()).total_seconds()), self.resume_due)


def _unsettled(pause: Pause) -> Pause:
    return Pause(behavior=pause.behavior, until=pause.until, settled=False)


def _make_machine() -> Callable[[PauseCore], PauseInputs]:
    builder = TypeMachineBuilder(PauseInputs, PauseCore)

    # States. `settling` and `paused` differ in whether the channel variable has been set.

    recording = builder.state("recording")
    pausing = builder.state("pausing")
    settling = builder.state("settling")
    paused = builder.state("paused")
    resuming = builder.state("resuming")
    ended = builder.state("ended")
    changing = (pausing, settling, resuming)

    # Transitions without behaviour. `PauseControl` runs one request at a time, so none arrives in a changing state.

    recording.upon(PauseInputs.resume).loop().returns(None)
    pausing.upon(PauseInputs.failed).to(recording).returns(None)
    settling.upon(PauseInputs.done).to(paused).returns(None)
    settling.upon(PauseInputs.failed).to(paused).returns(None)
    resuming.upon(PauseInputs.failed).to(paused).returns(None)
    for state in (recording, *changing, ended):
        state.upon(PauseInputs.retry_resume).loop().returns(None)
    for ignored in (
        PauseInputs.done,
        PauseInputs.failed,
        PauseInputs.undetermined,
        PauseInputs.found_changing,
        PauseInputs.end,
    ):
        ended.upon(ignored).loop().returns(None)
    ended.upon(PauseInputs.pause).loop().returns(None)
    ended.upon(PauseInputs.resume).loop().returns(None)
    ended.upon(PauseInputs.found_paused).loop().returns(None)

    # Transitions with behaviour.

    @pep614(recording.upon(PauseInputs.pause).to(pausing))
    def begin(inputs: PauseInputs, core: PauseCore, pause: Pause, by: str) -> None:
        core.request, core.requested_by = pause, by
        core.step = core.begin

    @pep614(pausing.upon(PauseInputs.done).to(settling))
    def silent(inputs: PauseInputs, core: PauseCore) -> None:
        core.log_inputs.change_state(
            RecordingState.PAUSED, "paused", by=core.requested_by, detail=core.request.behavior
        )
        core.resume_at(core.request.until)
        core.step = core.settle

    @pep614(paused.upon(PauseInputs.pause).to(settling))
    def change_end(inputs: PauseInputs, core: PauseCore, pause: Pause, by: str) -> None:
        core.request = pause
        core.resume_at(pause.until)
        core.step = core.settle

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
        core.request = pause
        core.resume_at(pause.until)

    def stop(inputs: PauseInputs, core: PauseCore) -> None:
        core.deadline.cancel()
        core.stop()

    recording.upon(PauseInputs.found_changing).to(ended)(stop)
    for state in (pausing, resuming):
        state.upon(PauseInputs.undetermined).to(ended)(stop)

    def end(inputs: PauseInputs, core: PauseCore) -> None:
        core.deadline.cancel()

    for state in (recording, paused, *changing):
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
        sides: tuple[SideInputs, ...],
        muted_before: Callable[[], Collection[Side]],
        stop: Callable[[], None],
    ) -> None:
        """``channel`` is the caller's channel, which stores the pause; ``stop`` ends the recording.

        ``muted_before`` returns the sides that Asterisk has muted once.
        """
        self._recording_log = log
        self._core = PauseCore(
            asterisk, channel, log, log_inputs, sides, muted_before, stop, self._resume_by_timer, Deadline(log.clock)
        )
        self.inputs: PauseInputs = pause_machine(self._core)
        self._lock = DeferredLock()

    @property
    def in_progress(self) -> bool:
        """Whether a request is being carried out."""
        return bool(self._lock.locked)

    async def pause(self, behavior: PauseBehavior, seconds: float | None, *, by: str) -> None:
        """Pause until `resume`, or for ``seconds``. If it is paused already, only the time of its end changes.

        Raises a VoxrecError if Asterisk does not execute it; the recording continues, or ends if it is not known
        whether it is paused.
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
            except _UndeterminedError as error:
                self.inputs.undetermined()
                raise error.error from None
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
