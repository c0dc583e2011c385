"""Records one call: two snoops on the caller's channel, each side in its own file, and what is known written down.

Asterisk is asked to record and believed only when it says that it began; what a file holds is for the finish to find
out. Each change goes to the ledger as a whole Recording, so that writing one down again does no harm.
"""

from collections.abc import Callable, Collection, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, Final, Protocol

import msgspec
from twisted.internet.defer import Deferred, DeferredLock
from twisted.internet.interfaces import IDelayedCall, IReactorTime
from twisted.logger import Logger

from voxrec.ari.client import AriClient, Direction
from voxrec.ari.transport import AriResponseError
from voxrec.calls import takeover_state as memory
from voxrec.calls.causes import Cause
from voxrec.calls.channel_ready import ChannelReady
from voxrec.calls.ids import owned_id, snoop_role
from voxrec.deferreds import gather, gather_failures
from voxrec.errors import VoxrecError
from voxrec.model import PauseBehavior, Recording, RecordingState, Side, TimelineEntry, Verdict, leg_name

# PCM: no loss after G.711 or G.722, a header that can be repaired, readable by libsndfile, and nothing for Asterisk to
# encode, which already has the audio as PCM where a snoop hears it.
NARROW, WIDE = "wav", "wav16"
# What each snoop hears on the caller's channel: what comes from the caller, and all that goes to the caller.
_SPIES: Final[dict[Side, Direction]] = {Side.CALLER: "in", Side.CALLEE: "out"}
_FLUSH: Final = 2.0  # seconds that an entry of the timeline may be known to this process only
_AGAIN: Final = 1.0  # seconds until a resume that failed is tried again
UNSURE: Final = "pause-unsure"
_LONGEST_TIMELINE: Final = 5000  # entries: somebody may lean on a key


class RecordingSink(Protocol):
    """Where the facts of calls are kept; never blocks and never fails."""

    def append(self, recording: Recording) -> None:
        """Write down a Recording as it stands now."""
        ...


class Recorder:
    """One call's recording, from the answer to the end of both files.

    ``format_`` is what Asterisk writes (`NARROW` or `WIDE`). ``running`` is called when both sides are recorded, or
    all that can be expected of them; ``over`` when nothing is being written any more.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        asterisk: AriClient,
        ledger: RecordingSink,
        recording: Recording,
        channel: str,
        *,
        format_: str,
        running: Callable[[], None],
        over: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._asterisk = asterisk
        self._ledger = ledger
        self._recording = recording
        self._channel = channel
        self._format = format_
        self._running = running
        self._over = over
        self._waiting_for_start = set(Side)
        self._open = set(Side)
        self._flush: IDelayedCall | None = None
        self._resume_timer: IDelayedCall | None = None
        self._limit: IDelayedCall | None = None
        self._handed_over = False
        self._muted: set[Side] = set()
        self._arrivals: dict[str, ChannelReady] = {}
        self._steering = DeferredLock()

    @property
    def recording(self) -> Recording:
        """The Recording as it stands now."""
        return self._recording

    @property
    def is_over(self) -> bool:
        """Whether nothing is being written any more."""
        return not self._open

    @property
    def is_silent(self) -> bool:
        """Whether nobody is being recorded now: paused, or at an end."""
        return self._recording.state is not RecordingState.RECORDING

    # the beginning

    async def begin(self) -> None:
        """Ask Asterisk to record both sides; ``running`` is called when it does."""
        self._ledger.append(self._recording)
        await gather(*(self._begin_side(side) for side in Side))

    def refuse(self, reason: str) -> None:
        """Not to record after all, and why."""
        self._open.clear()
        self._recording = msgspec.structs.replace(
            self._recording,
            state=RecordingState.ABSENT,
            ended_at=self._recording.started_at,
            duration=0.0,
            verdict=Verdict(ok=False, reasons=(reason,)),
        )
        self.hand_over()

    def adopt(self, running: Collection[Side], pause: memory.Pause | None) -> None:
        """Go on with what another process began: Asterisk records ``running`` now."""
        self._waiting_for_start.clear()
        self._open.intersection_update(running)
        state = RecordingState.PAUSED if pause is not None else RecordingState.RECORDING
        self._recording = msgspec.structs.replace(self._recording, state=state)
        self.note("taken-over", by="voxrec")
        if pause is None:
            return
        self._muted = set(self._open)
        if not pause.settled:
            self.stop(UNSURE)
        elif pause.until is not None:
            self._resume_in(max(0.0, (pause.until - self._now()).total_seconds()))

    async def _begin_side(self, side: Side) -> None:
        snoop = self._snoop(side)
        arrival = self._arrivals[snoop_role(side)] = ChannelReady(self._clock)
        try:
            await self._asterisk.snoop(self._channel, snoop, f"snoop,{side}", spy=_SPIES[side])
            await arrival.there()
            if not self._handed_over:  # else the call is over, or another process has it
                await self._asterisk.record(snoop, leg_name(self._recording.id, side), self._format)
        except VoxrecError as error:
            self._log.error(
                "call {call}: {side} is not recorded: {error}", call=self._recording.call_id, side=side, error=error
            )
            self.note("recording.failed", by=side, detail=error.detail)
            self.ended(side)

    def snoop_entered(self, role: str) -> None:
        """A snoop can be recorded from here on."""
        if role in self._arrivals:
            self._arrivals[role].came()

    def _snoop(self, side: Side) -> str:
        assert self._recording.call_id is not None, "a live Recording belongs to a call"
        return owned_id(self._recording.call_id, snoop_role(side))

    # what is steered

    async def pause(self, behavior: PauseBehavior, seconds: float | None, *, by: str) -> None:
        """Write silence on both sides until `resume`, or for so many ``seconds``.

        What is said meanwhile is in no file; with `PauseBehavior.SKIP` the finish cuts the silence out. Paused again,
        only when it resumes changes.
        """
        await self._steering.run(_started, self._pause(behavior, seconds, by))

    async def resume(self, *, by: str) -> None:
        """Write what is said again."""
        await self._steering.run(_started, self._resume(by))

    async def _pause(self, behavior: PauseBehavior, seconds: float | None, by: str) -> None:
        until = None if seconds is None else self._now() + timedelta(seconds=seconds)
        pause = memory.Pause(behavior=behavior, until=until)
        if self._recording.state is RecordingState.RECORDING:
            await self._keep(msgspec.structs.replace(pause, settled=False))
            await self._mute()
            self._turn(RecordingState.PAUSED, "paused", by=by, detail=behavior)
        if self._recording.state is RecordingState.PAUSED:  # else the call ended meanwhile
            self._resume_in(seconds)
            await self._keep(pause)

    async def _resume(self, by: str) -> None:
        if self._recording.state is not RecordingState.PAUSED:
            return
        self._resume_in(None)
        await self._keep(memory.Pause(behavior=PauseBehavior.SILENCE, settled=False))
        await self._unmute()
        await self._keep(None)
        self._turn(RecordingState.RECORDING, "resumed", by=by)

    async def _keep(self, pause: memory.Pause | None) -> None:
        value = "" if pause is None else memory.written(pause)
        await self._asterisk.set_variable(self._channel, memory.PAUSE, value)

    # Asterisk turns silence on and off; it does not say which it is, and asked twice it turns it back (measured on 16
    # and 22). So each side is asked once, and where nobody knows whether it was done, the recording ends there.

    async def _mute(self) -> None:
        failures = await gather_failures(*(self._mute_side(side) for side in _in_order(self._open - self._muted)))
        if not failures:
            return
        if all(isinstance(failure, AriResponseError) for failure in failures):
            await self._unmute()
            await self._keep(None)
        else:
            self.stop(UNSURE)
        raise failures[0]

    async def _unmute(self) -> None:
        failures = await gather_failures(*(self._unmute_side(side) for side in _in_order(self._muted)))
        if failures:
            self.stop(UNSURE)
            raise failures[0]

    async def _mute_side(self, side: Side) -> None:
        await self._asterisk.mute_recording(leg_name(self._recording.id, side))
        self._muted.add(side)

    async def _unmute_side(self, side: Side) -> None:
        await self._asterisk.unmute_recording(leg_name(self._recording.id, side))
        self._muted.discard(side)

    def _turn(self, state: RecordingState, event: str, *, by: str, detail: str | None = None) -> None:
        if self._handed_over or not self._recording.state.live:
            return  # the call ended meanwhile
        self.note(event, by=by, detail=detail)
        self._recording = msgspec.structs.replace(self._recording, state=state)
        self._ledger.append(self._recording)

    def _resume_in(self, seconds: float | None) -> None:
        wanted = None if self._handed_over else seconds
        self._resume_timer = _replaced(self._resume_timer, self._clock, wanted, self._resume_now)

    def _resume_now(self) -> None:
        def again(failure: object) -> None:
            self._log.error("Recording {id} cannot be resumed yet: {why}", id=self._recording.id, why=failure)
            if self._recording.state is RecordingState.PAUSED:
                self._resume_in(_AGAIN)

        Deferred.fromCoroutine(self.resume(by="timer")).addErrback(again)

    def stop_in(self, seconds: float, reason: str) -> None:
        """End the recording, though not the call, then; in place of what was said before."""
        self._limit = _replaced(self._limit, self._clock, seconds, lambda: self.stop(reason))

    def stop(self, reason: str) -> None:
        """End the recording, though not the call: both files are closed as they are."""
        self.note("recording.stopped", by="voxrec", detail=reason)
        self._end_snoops()

    def discard(self, reason: str) -> None:
        """End the recording, and let nothing of it be kept."""
        self.note("recording.stopped", by="voxrec", detail=reason)
        self._recording = msgspec.structs.replace(self._recording, verdict=Verdict(ok=False, reasons=(reason,)))
        self._end_snoops()

    def _end_snoops(self) -> None:
        for side in _in_order(self._open):
            Deferred.fromCoroutine(self._end_snoop(side))

    async def _end_snoop(self, side: Side) -> None:
        """A recording ends with the channel that it listens to."""
        try:
            if not await self._asterisk.hang_up(self._snoop(side), Cause.NORMAL):
                self.ended(side)
        except VoxrecError as error:
            self._log.error(
                "Recording {id}: {side} cannot be stopped: {error}", id=self._recording.id, side=side, error=error
            )

    # what Asterisk tells

    def started(self, side: Side) -> None:
        """Asterisk has opened this side's file."""
        if not self._waiting_for_start:
            return
        self._waiting_for_start.discard(side)
        if not self._waiting_for_start:
            self._running()

    def ended(self, side: Side) -> None:
        """This side's file is closed, or never was opened."""
        if side not in self._open:
            return
        self._open.discard(side)
        self.started(side)
        if self.is_over:
            self._over()

    # what is written down

    def note(self, event: str, *, by: str | None = None, detail: str | None = None) -> None:
        """Put an entry with the time since the beginning into the timeline."""
        assert self._recording.started_at is not None, "a live Recording has begun"
        if self._handed_over or not self._recording.state.live or len(self._recording.timeline) > _LONGEST_TIMELINE:
            return
        now = self._now()
        entry = TimelineEntry(
            at=round((now - self._recording.started_at).total_seconds(), 3), event=event, by=by, detail=detail
        )
        self._recording = msgspec.structs.replace(
            self._recording, timeline=(*self._recording.timeline, entry), updated_at=now
        )
        if self._flush is None:
            self._flush = self._clock.callLater(_FLUSH, self._write_down)

    def _write_down(self) -> None:
        self._flush = None
        self._ledger.append(self._recording)

    def close(self, *, cause: int | None, by: str | None) -> None:
        """The recording has ended: with the call, of which ``cause`` and ``by`` tell, or before it."""
        if not self._recording.state.live:
            return
        if by is not None:
            self.note("hangup", by=by)
        self._recording = msgspec.structs.replace(
            self._recording,
            state=RecordingState.PROCESSING,
            ended_at=self._now(),
            updated_at=self._now(),
            hangup_cause=cause,
        )
        self._stop_timers()

    def hand_over(self) -> None:
        """Both files are closed, or will be looked at as they are: from here on it is the finish's."""
        if self._handed_over:
            return
        self._handed_over = True
        self._stop_timers()
        self._recording = msgspec.structs.replace(self._recording, updated_at=self._now())
        self._ledger.append(self._recording)

    def let_go(self) -> None:
        """Do nothing any more, and change nothing in Asterisk: another process goes on."""
        if self._flush is not None and self._flush.active():
            self._ledger.append(self._recording)
        self._handed_over = True
        self._stop_timers()

    def _stop_timers(self) -> None:
        for timer in (self._flush, self._resume_timer, self._limit):
            if timer is not None and timer.active():
                timer.cancel()

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.seconds(), UTC)


def _replaced(
    timer: IDelayedCall | None, clock: IReactorTime, seconds: float | None, then: Callable[[], None]
) -> IDelayedCall | None:
    """A timer in place of another; none where ``seconds`` is None."""
    if timer is not None and timer.active():
        timer.cancel()
    return None if seconds is None else clock.callLater(seconds, then)


def _started(step: Coroutine[Any, Any, None]) -> Deferred[None]:
    return Deferred.fromCoroutine(step)


def _in_order(sides: Collection[Side]) -> list[Side]:
    return [side for side in Side if side in sides]
