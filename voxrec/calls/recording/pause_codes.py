"""Pauses and resumes the recording of one call when a party presses the codes of its Profile."""

import enum
from collections.abc import Callable
from typing import Protocol
from uuid import UUID

from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxrec.calls.recording.dtmf import DtmfCodes
from voxrec.errors import Conflict, VoxrecError
from voxrec.model import PauseBehavior, Profile, Recording, RecordingState, Side


class CodeOutcome(enum.StrEnum):
    """What became of a code: it was carried out, there is no recording to pause, or Asterisk did not execute it."""

    DONE = "done"
    NOT_RECORDING = "not_recording"
    FAILED = "failed"


class PausableCall(Protocol):
    """The call whose recording is paused."""

    @property
    def id(self) -> UUID:
        """The id of the call."""

    @property
    def recording(self) -> Recording | None:
        """The Recording as it is now; None if the call is not recorded."""

    @property
    def recording_is_to_begin(self) -> bool:
        """Whether the call is going to be recorded, but Asterisk does not record it yet."""

    async def pause(self, behavior: PauseBehavior, seconds: float | None, *, by: str) -> Recording:
        """Pause the recording. Raises a VoxrecError; Conflict if nothing is being recorded."""

    async def resume(self, *, by: str) -> Recording:
        """Resume the recording. Raises as `pause`."""


class _Action(enum.Enum):
    PAUSE = enum.auto()
    RESUME = enum.auto()
    TOGGLE = enum.auto()

    def pauses(self, *, paused: bool) -> bool:
        """Return whether the recording is to be paused after the action, if it was ``paused`` before."""
        return not paused if self is _Action.TOGGLE else self is _Action.PAUSE


class PauseCodes:
    """The codes of one call.

    Actions are carried out one after the other, in the order in which the codes were completed. What is pressed before
    Asterisk records is carried out when it does: at the answer, or before the announcement. ``note`` adds an entry to
    the timeline, ``confirm`` lets a party hear that the recording is now paused or not, ``count`` counts a code.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        profile: Profile,
        call: PausableCall,
        *,
        note: Callable[[str, Side, str], None],
        confirm: Callable[[Side, bool], None],
        count: Callable[[str, CodeOutcome], object],
    ) -> None:
        self._clock = clock
        self._call = call
        self._note = note
        self._confirm = confirm
        self._count = count
        self._codes = DtmfCodes(
            clock,
            {code: lambda side, action=action: self._entered(action, side) for code, action in _actions(profile)},  # type: ignore[misc]
        )
        self._lock = DeferredLock()
        self._early: list[tuple[_Action, Side]] = []

    def digit_received(self, side: Side, digit: str) -> None:
        """Handle a DTMF digit of a party."""
        self._codes.digit_received(side, digit)

    def party_replaced(self, side: Side) -> None:
        """Forget the digits of a party that has left the call."""
        self._codes.forget(side)

    def recording_started(self) -> None:
        """Carry out what was pressed before Asterisk recorded."""
        early, self._early = self._early, []
        paused = False
        for action, _ in early:
            paused = action.pauses(paused=paused)
        if paused:
            # later: the machine that reports the start accepts no command before it has done so
            self._clock.callLater(0, self._entered, _Action.PAUSE, early[-1][1])

    def _entered(self, action: _Action, side: Side) -> None:
        if self._call.recording_is_to_begin:
            self._early.append((action, side))
        else:
            self._lock.run(self._start, action, side).addErrback(self._unexpected)

    def _unexpected(self, failure: Failure) -> None:
        self._log.failure("call {call}: a DTMF code could not be processed", failure, call=self._call.id)

    def _start(self, action: _Action, side: Side) -> Deferred[None]:
        return Deferred.fromCoroutine(self._carry_out(action, side))

    async def _carry_out(self, action: _Action, side: Side) -> None:
        recording = self._call.recording
        pause = action.pauses(paused=recording is not None and recording.state is RecordingState.PAUSED)
        name = "pause" if pause else "resume"
        try:
            if pause:
                await self._call.pause(PauseBehavior.SILENCE, None, by=side)
            else:
                await self._call.resume(by=side)
        except VoxrecError as error:
            if isinstance(error, Conflict):
                outcome = CodeOutcome.NOT_RECORDING
                self._log.debug("call {call}: a DTMF code has no effect: {error}", call=self._call.id, error=error)
            else:
                outcome = CodeOutcome.FAILED
                self._log.warn("call {call}: a DTMF code was ignored: {error}", call=self._call.id, error=error)
            self._note(f"{name}.failed", side, error.detail)
        else:
            outcome = CodeOutcome.DONE
            self._confirm(side, pause)
        self._count(name, outcome)


def _actions(profile: Profile) -> list[tuple[str, _Action]]:
    pause, resume = profile.record_pause_code, profile.record_resume_code
    if pause is None:
        return []
    if resume is None or resume == pause:
        return [(pause, _Action.TOGGLE)]
    return [(pause, _Action.PAUSE), (resume, _Action.RESUME)]
