"""Where the events of a call are in the audio of its Recording, and which parts of the audio are pauses."""

from collections.abc import Sequence
from typing import NamedTuple

from voxrec.audio.pause_cuts import PAUSE_ENDS, Span, skipped_spans
from voxrec.model import RECORDING_STARTED, PauseBehavior, TimelineEntry


class Pause(NamedTuple):
    """A pause between two positions in the audio, in seconds. All of it is silence."""

    start: float
    end: float


class AudioPositions:
    """The positions in audio of ``duration`` seconds that belong to the times of a timeline.

    Times count from the answer. The audio begins there, or at the last ``recording.started``, and it lacks the pauses
    with the behaviour ``skip``.
    """

    def __init__(self, timeline: Sequence[TimelineEntry], duration: float) -> None:
        self._began = max((entry.at for entry in timeline if entry.event == RECORDING_STARTED), default=0.0)
        self._skipped = skipped_spans(timeline)
        self._duration = duration
        self.pauses = self._pauses(timeline)

    def position(self, at: float) -> float:
        """Return the position for a time, in seconds; the nearest one if the audio does not contain that time."""
        since_begin = max(0.0, at - self._began)
        removed = sum(_overlap(span, since_begin) for span in self._skipped)
        return round(min(max(0.0, since_begin - removed), self._duration), 3)

    def _pauses(self, timeline: Sequence[TimelineEntry]) -> list[Pause]:
        """Return the pauses that are silence in the audio, in ascending order."""
        pauses: list[Pause] = []
        start: float | None = None
        for entry in sorted(timeline, key=lambda entry: entry.at):
            if entry.event == "paused" and entry.detail != PauseBehavior.SKIP and start is None:
                start = self.position(entry.at)
            elif entry.event in PAUSE_ENDS and start is not None:
                pauses.append(Pause(start, self.position(entry.at)))
                start = None
        if start is not None:
            pauses.append(Pause(start, self._duration))
        return [pause for pause in pauses if pause.end > pause.start]


def _overlap(span: Span, until: float) -> float:
    """Return how many seconds of ``span`` are before ``until``."""
    end = until if span.end is None else min(span.end, until)
    return max(0.0, end - span.start)
