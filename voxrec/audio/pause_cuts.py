"""Find and remove the silence of pauses with behaviour ``skip``, identically in both legs.

While a recording is paused both legs are muted, so they keep their lengths and stay aligned. The exact borders of a
pause are only in the samples: recording starts some milliseconds after it was requested, and muting has a delay, too.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from math import gcd
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
from voxrec.model import HANGUP, RECORDING_STARTED, PauseBehavior, Side, TimelineEntry

TIMELINE_TOLERANCE: Final = 0.5  # seconds by which the timeline and the samples may differ
PAUSE_ENDS: Final = frozenset({"resumed", HANGUP})
"""The events that end a pause."""


class Span(NamedTuple):
    """A part of the timeline, in seconds; ``end`` None means the end of the file."""

    start: float
    end: float | None


class Cut(NamedTuple):
    """A range of frames at `cut_rate`: ``start`` is included, ``end`` is not."""

    start: int
    end: int


def skipped_spans(timeline: Sequence[TimelineEntry]) -> list[Span]:
    """Return the pauses with behaviour ``skip``, in ascending order, each up to its ``resumed`` or ``hangup``.

    The times count from the beginning of the files: from the answer, or from the last ``recording.started``.
    """
    spans = []
    start: float | None = None
    began = max((entry.at for entry in timeline if entry.event == RECORDING_STARTED), default=0.0)
    for entry in sorted(timeline, key=_time_of):
        if start is None and entry.event == "paused" and entry.detail == PauseBehavior.SKIP:
            start = max(0.0, entry.at - began)
        elif start is not None and entry.event in PAUSE_ENDS:
            spans.append(Span(start, max(0.0, entry.at - began)))
            start = None
    return spans if start is None else [*spans, Span(start, None)]


def cut_pauses(
    legs: Mapping[Side, Path], spans: Sequence[Span], new_file: Callable[[str], Path]
) -> tuple[dict[Side, Path], float]:
    """Return the legs without these pauses, and the seconds that were removed.

    The legs must be as they were recorded: after resampling, the silence of a pause is not exactly zero. They may have
    different sample rates. A leg from which something is removed is written to the path that ``new_file`` returns for
    its name. Raises the same exceptions as `probe`, and OSError.
    """
    cuts = find_cuts(legs, spans) if spans else []
    if not cuts:
        return dict(legs), 0.0
    rate = cut_rate(legs.values())
    outputs = {side: new_file(f"cut-{side}.wav") for side in legs}
    for side, output in outputs.items():
        remove_cuts(legs[side], output, cuts, rate)
    return outputs, sum(map(_length, cuts)) / rate


def cut_rate(legs: Iterable[Path]) -> int:
    """Return the highest rate (Hz) whose frames begin together with frames of every leg. Raises as `probe`."""
    return gcd(*(probe(leg).rate for leg in legs))


def find_cuts(legs: Mapping[Side, Path], spans: Iterable[Span]) -> list[Cut]:
    """Return the silence of these pauses in the legs, as ascending ranges that do not overlap.

    The ranges are in frames at the `cut_rate` of the legs: their sample rate, if they have only one. Each cut is the
    longest run of zeros that both legs share near its span; a leg counts as silent after its end. A cut has the exact
    borders of the silence, except that silence which continues for more than TIMELINE_TOLERANCE beyond a span, because
    both parties were silent, is only cut up to the span's border. A sample that is not zero is never cut.

    Raises the same exceptions as `probe`.
    """
    if not legs:
        return []
    rate = cut_rate(legs.values())
    infos = [probe(leg) for leg in legs.values()]
    length = max(-(-info.frames * rate // info.rate) for info in infos)  # rounded up
    cuts: list[Cut] = []
    for span in spans:
        limits = _to_frames(span, 0.0, rate, length)
        window = _to_frames(span, TIMELINE_TOLERANCE, rate, length)
        start = max(window.start, cuts[-1].end if cuts else 0)
        silence = _longest_silence(legs.values(), Cut(start, window.end), rate)
        if silence.start == window.start:
            silence = Cut(max(silence.start, limits.start), silence.end)
        if silence.end == window.end:
            silence = Cut(silence.start, min(silence.end, limits.end))
        if silence.end > silence.start:
            cuts.append(silence)
    return cuts


def remove_cuts(leg: Path, output: Path, cuts: Sequence[Cut], rate: int) -> None:
    """Write ``leg`` without ``cuts``, which are at ``rate``, to ``output``, a WAV file.

    Raises the same exceptions as `probe`, and OSError.
    """
    with open_audio(leg) as reader:
        factor = reader.samplerate // rate
        remaining = _outside_cuts(read_blocks(reader, leg), [Cut(start * factor, end * factor) for start, end in cuts])
        write_audio(remaining, output, reader.samplerate, reader.channels, WAV)


def _time_of(entry: TimelineEntry) -> float:
    return entry.at


def _to_frames(span: Span, tolerance: float, rate: int, length: int) -> Cut:
    end = length if span.end is None else round((span.end + tolerance) * rate)
    return Cut(min(max(round((span.start - tolerance) * rate), 0), length), min(max(end, 0), length))


def _longest_silence(legs: Iterable[Path], window: Cut, rate: int) -> Cut:
    """Return the longest range in ``window`` in which every leg is zero; the first of several."""
    longest = Cut(window.start, window.start)
    silence_start = position = window.start
    for audible in _audible_blocks(legs, window, rate):
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


def _audible_blocks(legs: Iterable[Path], window: Cut, rate: int) -> Iterator[NDArray[np.bool_]]:
    """Yield, block by block, whether any leg is not zero at each frame, at ``rate``, of ``window``."""
    legs = tuple(legs)
    for start in range(window.start, window.end, BLOCK_FRAMES):
        count = min(BLOCK_FRAMES, window.end - start)
        audible = np.zeros(count, dtype=np.bool_)
        for leg in legs:
            audible_in_leg = _audible_frames(leg, start, count, rate)
            audible[: len(audible_in_leg)] |= audible_in_leg
        yield audible


def _audible_frames(leg: Path, start: int, count: int, rate: int) -> NDArray[np.bool_]:
    """Return whether any sample of ``leg`` is not zero in each of up to ``count`` frames at ``rate``."""
    with open_audio(leg) as reader:
        assert isinstance(reader, PcmWavReader | soundfile.SoundFile), "legs are WAV files"
        factor = reader.samplerate // rate
        if start * factor >= reader.frames:
            return np.zeros(0, dtype=np.bool_)
        reader.seek(start * factor)
        audible: NDArray[np.bool_] = reader.read(count * factor, dtype="int16", always_2d=True)[:, 0] != 0
    if factor == 1:
        return audible
    incomplete = -len(audible) % factor
    frames: NDArray[np.bool_] = np.pad(audible, (0, incomplete)).reshape(-1, factor)
    in_frame: NDArray[np.bool_] = np.logical_or.reduce(frames, axis=1)
    return in_frame


def _start_of(cut: Cut) -> int:
    return cut.start


def _end_of(cut: Cut) -> int:
    return cut.end


def _outside_cuts(blocks: Iterable[Samples], cuts: Sequence[Cut]) -> Iterator[Samples]:
    position = 0
    for block in blocks:
        end = position + len(block)
        first, last = bisect_right(cuts, position, key=_end_of), bisect_left(cuts, end, key=_start_of)
        inside = [Cut(max(cut.start, position) - position, min(cut.end, end) - position) for cut in cuts[first:last]]
        # between the edges, ranges outside and inside the cuts alternate
        edges = [0, *(edge for cut in inside if cut.end > cut.start for edge in cut), len(block)]
        for number, (start, stop) in enumerate(pairwise(edges)):
            if number % 2 == 0 and stop > start:
                yield block[start:stop]
        position = end
