"""Records one call: two snoops on the caller's channel, each side in its own file, and what is known written down.

Asterisk is asked to record and believed only when it says that it began; what a file holds is for the finish to find
out. Each change goes to the ledger as a whole Recording, so that writing one down again does no harm.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

import msgspec
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec.ari.client import AriClient, Direction
from voxrec.calls.names import owned_id
from voxrec.calls.steps import together
from voxrec.errors import VoxrecError
from voxrec.model import Recording, RecordingState, Side, TimelineEntry, leg_name

CAPTURE_FORMAT = "wav"  # PCM at 8 kHz: no loss after G.711, a header that can be repaired, readable by libsndfile
# What each snoop hears on the caller's channel: what comes from the caller, and all that goes to the caller.
_SPIES: dict[Side, Direction] = {Side.CALLER: "in", Side.CALLEE: "out"}


class Ledger(Protocol):
    """Where the facts of calls are kept; never blocks and never fails."""

    def append(self, recording: Recording) -> None:
        """Write down a Recording as it stands now."""
        ...


class Recorder:
    """One call's recording, from the answer to the end of both files."""

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        asterisk: AriClient,
        ledger: Ledger,
        recording: Recording,
        channel: str,
        *,
        running: Callable[[], None],
        over: Callable[[], None],
    ) -> None:
        self._clock = clock
        self._asterisk = asterisk
        self._ledger = ledger
        self._recording = recording
        self._channel = channel
        self._running = running
        self._over = over
        self._waiting_for_start = set(Side)
        self._open = set(Side)

    @property
    def recording(self) -> Recording:
        """The Recording as it stands now."""
        return self._recording

    @property
    def is_over(self) -> bool:
        """Whether nothing is being written any more."""
        return not self._open

    async def begin(self) -> None:
        """Ask Asterisk to record both sides; ``running`` is called when it does."""
        self._ledger.append(self._recording)
        await together(*(self._begin_side(side) for side in Side))

    async def _begin_side(self, side: Side) -> None:
        call_id = self._recording.call_id
        assert call_id is not None, "a live Recording belongs to a call"
        snoop = owned_id(call_id, f"snoop-{side}")
        try:
            await self._asterisk.snoop(self._channel, snoop, f"snoop,{side}", spy=_SPIES[side])
            await self._asterisk.record(snoop, leg_name(self._recording.id, side), CAPTURE_FORMAT)
        except VoxrecError as error:
            self._log.error("call {call}: {side} is not recorded: {error}", call=call_id, side=side, error=error)
            self.note("recording.failed", by=side, detail=error.detail)
            self.ended(side)

    async def pause(self) -> None:
        """Write silence on both sides until `resume`; what is said meanwhile is in no file."""
        await together(*(self._asterisk.mute_recording(leg_name(self._recording.id, side)) for side in Side))
        self._turn(RecordingState.PAUSED, "paused")

    async def resume(self) -> None:
        """Write what is said again."""
        await together(*(self._asterisk.unmute_recording(leg_name(self._recording.id, side)) for side in Side))
        self._turn(RecordingState.RECORDING, "resumed")

    def _turn(self, state: RecordingState, event: str) -> None:
        if not self._recording.state.live:
            return  # the call ended meanwhile
        self.note(event, by="rest")
        self._recording = msgspec.structs.replace(self._recording, state=state)
        self._ledger.append(self._recording)

    def started(self, side: Side) -> None:
        """Asterisk has opened this side's file."""
        self._waiting_for_start.discard(side)
        if not self._waiting_for_start:
            self._running()

    def ended(self, side: Side) -> None:
        """This side's file is closed, or never was opened."""
        if side not in self._open:
            return
        self._open.discard(side)
        if side in self._waiting_for_start:
            self.started(side)
        if self.is_over:
            self._over()

    def note(self, event: str, *, by: str | None = None, detail: str | None = None) -> None:
        """Put an entry with the time since the answer into the timeline."""
        assert self._recording.started_at is not None, "a live Recording has begun"
        now = self._now()
        entry = TimelineEntry(
            at=round((now - self._recording.started_at).total_seconds(), 3), event=event, by=by, detail=detail
        )
        self._recording = msgspec.structs.replace(
            self._recording, timeline=(*self._recording.timeline, entry), updated_at=now
        )

    def close(self, *, cause: int, by: str) -> None:
        """The call has ended: write down how, and hand over to the finish."""
        self.note("hangup", by=by)
        self._recording = msgspec.structs.replace(
            self._recording,
            state=RecordingState.PROCESSING,
            ended_at=self._recording.updated_at,
            hangup_cause=cause,
        )

    def hand_over(self) -> None:
        """Both files are closed, or will be looked at as they are."""
        self._recording = msgspec.structs.replace(self._recording, updated_at=self._now())
        self._ledger.append(self._recording)

    def _now(self) -> datetime:
        return datetime.fromtimestamp(self._clock.seconds(), UTC)
