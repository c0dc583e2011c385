"""Find and remove the silence of pauses with behaviour ``skip``, identically in both legs.

While a recording is paused both legs are muted, so they keep their lengths and stay aligned. The exact borders of a
pause are only in the samples: recording starts some milliseconds after it was requested, and muting has a delay, too.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import soundfile
from numpy.typing import NDArray

from voxrec.audio.formats import WAV
from voxrec.audio.pcm_wav import PcmWavReader
from voxrec.audio.probe import probe
from voxrec.audio.reader import BLOCK_FRAMES, Samples, open_audio, read_blocks
from voxrec.audio.writer import write_audio
from voxrec.model import PauseBehavior, Side, TimelineEntry

TIMELINE_TOLERANCE: Final = 0.5  # seconds by which the timeline and the samples may differ
_PAUSE_END_EVENTS: Final = frozenset({"resumed", "hangup"})


class Span(NamedTuple):
    """A part of the timeline, in seconds; ``end`` None means the end of the file."""

    start: float
    end: float | None


class Cut(NamedTuple):
    """A range of frames: ``start`` is included, ``end`` is not."""

    start: int
    end: int


def skipped_spans(timeline: Sequence[TimelineEntry]) -> list[Span]:
    """Return the pauses with behaviour ``skip``, in ascending order, each up to its ``resumed`` or ``hangup``."""
    spans = []
    start: float | None = None
    for entry in sorted(timeline, key=_time_of):
        if start is None and entry.event == "paused" and entry.detail == PauseBehavior.SKIP:
            start = entry.at
        elif start is not None and entry.event in _PAUSE_END_EVENTS:
            spans.append(Span(start, entry.at))
            start = None
    return spans if start is None else [*spans, Span(start, None)]


def find_cuts(legs: Mapping[Side, Path], spans: Iterable[Span]) -> list[Cut]:
    """Return the silence of these pauses in the legs, as ascending ranges that do not overlap.

    The legs must have one sample rate. Each cut is the longest run of zeros that both legs share near its span; a leg
    counts as silent after its end. A cut has the exact borders of the silence, except that silence which continues for
    more than TIMELINE_TOLERANCE beyond a span, because nobody spoke, is only cut up to the span's border. A sample that
    is not zero is never cut. Raises the same exceptions as `probe`.
    """
    infos = [probe(leg) for leg in legs.values()]
    if not infos:
        return []
    rate, length = infos[0].rate, max(info.frames for info in infos)
    cuts: list[Cut] = []
    for span in spans:
        limits = _to_frames(span, 0.0, rate, length)
        window = _to_frames(span, TIMELINE_TOLERANCE, rate, length)
        start = max(window.start, cuts[-1].end if cuts else 0)
        silence = _longest_silence(legs.values(), Cut(start, window.end))
        if silence.start == window.start:
            silence = Cut(max(silence.start, limits.start), silence.end)
        if silence.end == window.end:
            silence = Cut(silence.start, min(silence.end, limits.end))
        if silence.end > silence.start:
            cuts.append(silence)
    return cuts


def remove_cuts(leg: Path, output: Path, cuts: Sequence[Cut]) -> None:
    """Write ``leg`` without the frames of ``cuts`` to ``output``, a WAV file. Raises as `probe`, and OSError."""
    with open_audio(leg) as reader:
        remaining = _outside_cuts(read_blocks(reader, leg), cuts)
        write_audio(remaining, output, reader.samplerate, reader.channels, WAV)


def _time_of(entry: TimelineEntry) -> float:
    return entry.at


def _to_frames(span: Span, tolerance: float, rate: int, length: int) -> Cut:
    end = length if span.end is None else round((span.end + tolerance) * rate)
    return Cut(min(max(round((span.start - tolerance) * rate), 0), length), min(max(end, 0), length))


def _longest_silence(legs: Iterable[Path], window: Cut) -> Cut:
    """Return the longest range in ``window`` in which every leg is zero; the first of several."""
    longest = Cut(window.start, window.start)
    silence_start = position = window.start
    for audible in _audible_blocks(legs, window):
        audible_frames = np.flatnonzero(audible) + position
        position += len(audible)
        if len(audible_frames) == 0:
            continue
        starts = np.concatenate(([silence_start], audible_frames[:-1] + 1))
        lengths = audible_frames - starts
        index = int(np.argmax(lengths))
        longest = max(longest, Cut(int(starts[index]), int(audible_frames[index])), key=_length)
        silence_start = int(audible_frames[-1]) + 1
    return max(longest, Cut(silence_start, window.end), key=_length)


def _length(cut: Cut) -> int:
    return cut.end - cut.start


def _audible_blocks(legs: Iterable[Path], window: Cut) -> Iterator[NDArray[np.bool_]]:
    """Yield, block by block, whether any leg is not zero at each frame of ``window``."""
    legs = tuple(legs)
    for start in range(window.start, window.end, BLOCK_FRAMES):
        count = min(BLOCK_FRAMES, window.end - start)
        audible = np.zeros(count, dtype=np.bool_)
        for leg in legs:
            samples = _read(leg, start, count)
            audible[: len(samples)] |= samples != 0
        yield audible


def _read(leg: Path, start: int, count: int) -> NDArray[np.int16]:
    with open_audio(leg) as reader:
        assert isinstance(reader, PcmWavReader | soundfile.SoundFile), "legs are WAV files"
        if start >= reader.frames:
            return np.zeros(0, dtype=np.int16)
        reader.seek(start)
        samples: NDArray[np.int16] = reader.read(count, dtype="int16", always_2d=True)[:, 0]
        return samples


def _outside_cuts(blocks: Iterable[Samples], cuts: Sequence[Cut]) -> Iterator[Samples]:
    position = 0
    for block in blocks:
        end = position + len(block)
        inside = [Cut(max(cut.start, position) - position, min(cut.end, end) - position) for cut in cuts]
        # between the edges, ranges outside and inside the cuts alternate
        edges = [0, *(edge for cut in inside if cut.end > cut.start for edge in cut), len(block)]
        for number, (start, stop) in enumerate(pairwise(edges)):
            if number % 2 == 0 and stop > start:
                yield block[start:stop]
        position = end
