"""Pauses that are to leave no trace: their silence is cut out of both legs alike.

While a recording is paused both legs are muted, so that they keep their lengths and stay aligned. When exactly that was
only the samples can say: the recording begins some milliseconds after it was asked for, and muting takes its own.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray

from voxrec.audio.formats import WAV
from voxrec.audio.pcm_wav import PlainSource
from voxrec.audio.probe import probe
from voxrec.audio.sink import write
from voxrec.audio.source import BLOCK, Samples, blocks, opened
from voxrec.model import PauseBehavior, Side, TimelineEntry

SLACK_SECONDS: Final = 0.5  # by how much the timeline and the samples may differ
_ENDS: Final = frozenset({"resumed", "hangup"})


class Span(NamedTuple):
    """Seconds of the timeline; ``end`` None: to the end of the file."""

    start: float
    end: float | None


class Cut(NamedTuple):
    """Frames from ``start`` up to ``end``, that one not included."""

    start: int
    end: int


def skipped(timeline: Sequence[TimelineEntry]) -> list[Span]:
    """Return when a Recording was paused with ``skip``: rising, apart, each to its ``resumed`` or ``hangup``."""
    spans = []
    began: float | None = None
    for entry in sorted(timeline, key=_moment):
        if began is None and entry.event == "paused" and entry.detail == PauseBehavior.SKIP:
            began = entry.at
        elif began is not None and entry.event in _ENDS:
            spans.append(Span(began, entry.at))
            began = None
    return spans if began is None else [*spans, Span(began, None)]


def cuts(legs: Mapping[Side, Path], spans: Iterable[Span]) -> list[Cut]:
    """Return what of the legs, all of one rate, is the silence of these pauses: rising and apart.

    Each is the longest run of zeros that the legs share near its span; a leg is silent behind its end. It reaches to
    its exact borders. Where the silence goes on for longer than SLACK_SECONDS beyond a span, because nobody spoke
    there, the timeline is the border. A sample that is not zero is never cut. Raises as `probe`.
    """
    infos = [probe(leg) for leg in legs.values()]
    if not infos:
        return []
    rate, length = infos[0].rate, max(info.frames for info in infos)
    found: list[Cut] = []
    for span in spans:
        limits = _frames(span, 0.0, rate, length)
        window = _frames(span, SLACK_SECONDS, rate, length)
        start = max(window.start, found[-1].end if found else 0)
        run = _longest_run(legs.values(), Cut(start, window.end))
        if run.start == window.start:
            run = Cut(max(run.start, limits.start), run.end)
        if run.end == window.end:
            run = Cut(run.start, min(run.end, limits.end))
        if run.end > run.start:
            found.append(run)
    return found


def without(leg: Path, output: Path, gone: Sequence[Cut]) -> None:
    """Write a leg to ``output`` as a WAV file that lacks these frames. Raises as `probe`, and OSError."""
    with opened(leg) as sound:
        kept = _kept(blocks(sound, leg), gone)
        write(kept, output, sound.samplerate, sound.channels, WAV)


def _moment(entry: TimelineEntry) -> float:
    return entry.at


def _frames(span: Span, slack: float, rate: int, length: int) -> Cut:
    end = length if span.end is None else round((span.end + slack) * rate)
    return Cut(min(max(round((span.start - slack) * rate), 0), length), min(max(end, 0), length))


def _longest_run(legs: Iterable[Path], window: Cut) -> Cut:
    """The first of the longest runs within the window in which every leg is zero."""
    best = Cut(window.start, window.start)
    free = at = window.start  # where the current run began; what has been looked at
    for loud in _loudness(legs, window):
        places = np.flatnonzero(loud) + at
        at += len(loud)
        if len(places) == 0:
            continue
        starts = np.concatenate(([free], places[:-1] + 1))
        lengths = places - starts
        longest = int(np.argmax(lengths))
        best = max(best, Cut(int(starts[longest]), int(places[longest])), key=_length)
        free = int(places[-1]) + 1
    return max(best, Cut(free, window.end), key=_length)


def _length(cut: Cut) -> int:
    return cut.end - cut.start


def _loudness(legs: Iterable[Path], window: Cut) -> Iterator[NDArray[np.bool_]]:
    """Block by block, where any leg is not zero."""
    legs = tuple(legs)
    for start in range(window.start, window.end, BLOCK):
        count = min(BLOCK, window.end - start)
        loud = np.zeros(count, dtype=np.bool_)
        for leg in legs:
            samples = _read(leg, start, count)
            loud[: len(samples)] |= samples != 0
        yield loud


def _read(leg: Path, start: int, count: int) -> NDArray[np.int16]:
    with opened(leg) as sound:
        assert isinstance(sound, PlainSource | soundfile.SoundFile), "legs are WAV files"
        if start >= sound.frames:
            return np.zeros(0, dtype=np.int16)
        sound.seek(start)
        samples: NDArray[np.int16] = sound.read(count, dtype="int16", always_2d=True)[:, 0]
        return samples


def _kept(given: Iterable[Samples], gone: Sequence[Cut]) -> Iterator[Samples]:
    at = 0
    for block in given:
        end = at + len(block)
        inside = [Cut(max(cut.start, at) - at, min(cut.end, end) - at) for cut in gone if cut.start < end]
        edges = [0, *(edge for cut in inside if cut.end > cut.start for edge in cut), len(block)]
        for number, (start, stop) in enumerate(pairwise(edges)):
            if number % 2 == 0 and stop > start:
                yield block[start:stop]
        at = end
