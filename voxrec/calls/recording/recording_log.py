"""The Recording of a live call and its timeline, and when each change of them is appended to the sink.

Every change is appended as a complete Recording, so that appending one twice does no harm.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from functools import reduce
from operator import add
from typing import Final, Protocol

import msgspec
from automat import TypeMachineBuilder, pep614
from twisted.internet.interfaces import IReactorTime

from voxrec.clock import utc_now
from voxrec.deadline import Deadline
from voxrec.machine_builder import build
from voxrec.model import (
    ANNOUNCEMENT_FAILED,
    ANNOUNCEMENT_FINISHED,
    HANGUP,
    RECORDING_STOPPED,
    Recording,
    RecordingState,
    RtpCounters,
    RtpStatistics,
    Side,
    TimelineEntry,
    Verdict,
)

_FLUSH_DELAY: Final = 2.0  # seconds for which an entry of the timeline may exist only in this process
_MAX_ENTRIES: Final = 5000  # of a timeline: a party may press keys for hours


class RecordingSink(Protocol):
    """Stores the changes of Recordings."""

    def append(self, recording: Recording) -> None:
        """Store a Recording as it is now. Never blocks, never fails."""
        ...


class RecordingLogInputs(Protocol):
    """The changes of one Recording."""

    def begin(self) -> None:
        """Recording begins."""

    def refuse(self, reason: str) -> None:
        """Nothing will be recorded."""

    def note(self, event: str, by: str | None = None, detail: str | None = None) -> None:
        """Something happened that belongs into the timeline."""

    def store(self, event: str, by: str | None = None, detail: str | None = None) -> None:
        """Something happened that no other process could know: it must be stored at once."""

    def change_state(self, state: RecordingState, event: str, by: str, detail: str | None = None) -> None:
        """The recording was paused or resumed."""

    def announced(self) -> None:
        """The announcement was played completely."""

    def stop(self, reason: str) -> None:
        """Asterisk is asked to close the files, although the call continues."""

    def close(self, cause: int | None, by: str | None) -> None:
        """The recording ends: with the call, which ``by`` ended with this Q.850 ``cause``, or earlier (both None)."""

    def rtp_reported(self, side: Side, channel: str, counters: RtpCounters) -> None:
        """Asterisk has reported what it has received from a party on a channel."""

    def release(self) -> None:
        """All files are closed, or will be finished as they are."""

    def detach(self) -> None:
        """Another process has the call now."""


@dataclass
class RecordingLog:
    """The data of the log of one Recording."""

    clock: IReactorTime
    sink: RecordingSink
    recording: Recording
    flush: Deadline = field(init=False)
    _counters: dict[Side, dict[str, RtpCounters]] = field(init=False)

    def __post_init__(self) -> None:
        self.flush = Deadline(self.clock)
        statistics = self.recording.rtp_statistics or RtpStatistics()
        stored = {Side.CALLER: statistics.caller, Side.CALLEE: statistics.callee}
        # the counters of each channel, and those of a process that had the call before
        self._counters = {side: {} if counters is None else {"": counters} for side, counters in stored.items()}

    def now(self) -> datetime:
        """Return the current time in UTC."""
        return utc_now(self.clock)

    def append(self) -> None:
        """Append the Recording to the sink, with all entries of the timeline so far."""
        self.flush.cancel()
        self.sink.append(self.recording)

    def count_packets(self, side: Side, channel: str, counters: RtpCounters) -> None:
        """Add what was received on a channel, in place of an earlier report about it, to that of the other ones."""
        of_side = self._counters[side]
        of_side[channel] = counters
        statistics = self.recording.rtp_statistics or RtpStatistics()
        changed = msgspec.structs.replace(statistics, **{side.value: reduce(add, of_side.values())})
        self.recording = msgspec.structs.replace(self.recording, rtp_statistics=changed)

    def add_entry(self, event: str, by: str | None, detail: str | None) -> None:
        """Add an entry to the timeline, with the time since the recording began; append it within 2 s."""
        started_at, timeline = self.recording.started_at, self.recording.timeline
        assert started_at is not None, "a live Recording has begun"
        if len(timeline) > _MAX_ENTRIES:
            return
        now = self.now()
        entry = TimelineEntry(at=round((now - started_at).total_seconds(), 3), event=event, by=by, detail=detail)
        self.recording = msgspec.structs.replace(self.recording, timeline=(*timeline, entry), updated_at=now)
        if not self.flush.pending:
            self.flush.start(_FLUSH_DELAY, self.append)


def _make_machine() -> Callable[[RecordingLog], RecordingLogInputs]:
    builder = TypeMachineBuilder(RecordingLogInputs, RecordingLog)

    # States: a live Recording; one whose files are to be closed before its call ends; one that has ended, whose files
    # are still open; one that belongs to the finish job or another process.

    live = builder.state("live")
    stopping = builder.state("stopping")
    closed = builder.state("closed")
    released = builder.state("released")

    # Transitions without behaviour.

    for state in (closed, released):
        for ignored in (
            RecordingLogInputs.begin,
            RecordingLogInputs.refuse,
            RecordingLogInputs.note,
            RecordingLogInputs.store,
            RecordingLogInputs.change_state,
            RecordingLogInputs.announced,
            RecordingLogInputs.stop,
            RecordingLogInputs.close,
        ):
            state.upon(ignored).loop().returns(None)
    stopping.upon(RecordingLogInputs.begin).loop().returns(None)
    stopping.upon(RecordingLogInputs.refuse).loop().returns(None)
    stopping.upon(RecordingLogInputs.stop).loop().returns(None)
    closed.upon(RecordingLogInputs.detach).to(released).returns(None)
    released.upon(RecordingLogInputs.rtp_reported).loop().returns(None)
    released.upon(RecordingLogInputs.release).loop().returns(None)
    released.upon(RecordingLogInputs.detach).loop().returns(None)

    # Transitions with behaviour.

    @pep614(live.upon(RecordingLogInputs.begin).loop())
    def begin(inputs: RecordingLogInputs, log: RecordingLog) -> None:
        log.append()

    @pep614(live.upon(RecordingLogInputs.note).loop())
    @pep614(stopping.upon(RecordingLogInputs.note).loop())
    def note(
        inputs: RecordingLogInputs, log: RecordingLog, event: str, by: str | None = None, detail: str | None = None
    ) -> None:
        log.add_entry(event, by, detail)

    @pep614(live.upon(RecordingLogInputs.store).loop())
    @pep614(stopping.upon(RecordingLogInputs.store).loop())
    def store(
        inputs: RecordingLogInputs, log: RecordingLog, event: str, by: str | None = None, detail: str | None = None
    ) -> None:
        log.add_entry(event, by, detail)
        log.append()

    @pep614(live.upon(RecordingLogInputs.change_state).loop())
    @pep614(stopping.upon(RecordingLogInputs.change_state).loop())
    def change_state(
        inputs: RecordingLogInputs,
        log: RecordingLog,
        state: RecordingState,
        event: str,
        by: str,
        detail: str | None = None,
    ) -> None:
        log.add_entry(event, by, detail)
        log.recording = msgspec.structs.replace(log.recording, state=state)
        log.append()

    @pep614(live.upon(RecordingLogInputs.announced).loop())
    def announced(inputs: RecordingLogInputs, log: RecordingLog) -> None:
        log.add_entry(ANNOUNCEMENT_FINISHED, None, None)
        if log.recording.lacks_required_prompt:
            log.recording = msgspec.structs.replace(log.recording, prompt_played=True)
        # another process that takes over the call now must not play it again
        log.append()

    @pep614(stopping.upon(RecordingLogInputs.announced).loop())
    def announced_too_late(inputs: RecordingLogInputs, log: RecordingLog) -> None:
        log.add_entry(ANNOUNCEMENT_FINISHED, None, None)

    @pep614(live.upon(RecordingLogInputs.stop).to(stopping))
    def stop(inputs: RecordingLogInputs, log: RecordingLog, reason: str) -> None:
        log.add_entry(RECORDING_STOPPED, "voxrec", reason)
        log.append()  # another process that takes over the call now must not continue the recording

    @pep614(live.upon(RecordingLogInputs.refuse).to(released))
    def refuse(inputs: RecordingLogInputs, log: RecordingLog, reason: str) -> None:
        log.recording = msgspec.structs.replace(
            log.recording,
            state=RecordingState.ABSENT,
            ended_at=log.recording.started_at,
            duration=0.0,
            verdict=Verdict(ok=False, reasons=(reason,)),
            updated_at=log.now(),
        )
        log.append()

    @pep614(live.upon(RecordingLogInputs.close).to(closed))
    @pep614(stopping.upon(RecordingLogInputs.close).to(closed))
    def close(inputs: RecordingLogInputs, log: RecordingLog, cause: int | None, by: str | None) -> None:
        if by is not None:
            log.add_entry(HANGUP, by, None)
        now = log.now()
        log.recording = msgspec.structs.replace(
            log.recording, state=RecordingState.PROCESSING, ended_at=now, updated_at=now, hangup_cause=cause
        )
        if log.recording.lacks_required_prompt:
            log.recording = msgspec.structs.replace(
                log.recording, verdict=Verdict(ok=False, reasons=(ANNOUNCEMENT_FAILED,))
            )
        log.flush.cancel()

    def rtp_reported(
        inputs: RecordingLogInputs, log: RecordingLog, side: Side, channel: str, counters: RtpCounters
    ) -> None:
        log.count_packets(side, channel, counters)

    for state in (live, stopping, closed):
        pep614(state.upon(RecordingLogInputs.rtp_reported).loop())(rtp_reported)

    @pep614(closed.upon(RecordingLogInputs.release).to(released))
    def release(inputs: RecordingLogInputs, log: RecordingLog) -> None:
        log.recording = msgspec.structs.replace(log.recording, updated_at=log.now())
        log.sink.append(log.recording)

    @pep614(live.upon(RecordingLogInputs.detach).to(released))
    @pep614(stopping.upon(RecordingLogInputs.detach).to(released))
    def detach(inputs: RecordingLogInputs, log: RecordingLog) -> None:
        if log.flush.pending:
            log.append()

    return build(builder)


recording_log_machine = _make_machine()
"""Makes the machine of one Recording's log, with the state ``live``."""
