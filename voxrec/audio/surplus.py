"""Finds packets that were recorded twice together with the silence that MixMonitor has written for the other party.

While a party is ahead by such a copy, the other one is displaced against it, or gets silence. Without both, each party
is where it was heard, and nothing that was said is lost: a copy equals the packet before it, and the silence is zeros.
"""

import math
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from voxrec.audio.meter import frames_per_block
from voxrec.audio.pause_cuts import Cut
from voxrec.audio.reader import AudioReader, Samples, open_audio, read_blocks
from voxrec.audio.repetitions import MIXMONITOR_FRAME, Spans, find_duplicates, find_gaps
from voxrec.model import Side

_MAX_AHEAD_SECONDS: Final = 0.1  # by which MixMonitor lets a party be ahead before it writes silence for the other one
# Copies are removed if they are at least 1 % of the audio. Then four packets of 20 ms, which make MixMonitor write
# silence, arrive twice within 8 s on average.
_MAX_WAIT_SECONDS: Final = 30.0
_OVERLAP_SECONDS: Final = 0.64  # of two windows: whole frames of MixMonitor, and longer than any event


def find_surplus(legs: Mapping[Side, Path]) -> Mapping[Side, list[Cut]]:
    """Return what is to be cut out of each leg, in ascending order; nothing unless both legs have one sample rate.

    Copies alone are no surplus: a gateway repeats a packet in place of a lost one. So most of them must have silence of
    the other party beside them, or copies of it. Raises the same exceptions as `probe`, and OSError.
    """
    if len(legs) < len(Side):
        return {}
    with ExitStack() as stack:
        readers = {side: stack.enter_context(open_audio(path)) for side, path in legs.items()}
        rates = {reader.samplerate for reader in readers.values()}
        if len(rates) > 1:
            return {}
        (rate,) = rates
        matching = _Matching(round(_MAX_AHEAD_SECONDS * rate), round(_MAX_WAIT_SECONDS * rate))
        for event in _events(legs, readers):
            if event.is_copy:
                matching.add_copy(event.side, event.cut)
            else:
                matching.add_gap(event.side, event.cut)
        return matching.finish()


@dataclass(frozen=True, slots=True)
class _Event:
    """A copy of a packet, or silence in place of audio, of one side."""

    side: Side
    cut: Cut
    is_copy: bool


def _events(legs: Mapping[Side, Path], readers: Mapping[Side, AudioReader]) -> Iterator[_Event]:
    """Yield the events of both sides in the order of their positions."""
    rate = next(iter(readers.values())).samplerate
    blocks = (read_blocks(readers[side], path, frames_per_block(rate)) for side, path in legs.items())
    for window in _windows(zip(*blocks, strict=False), rate):
        events: list[_Event] = []
        for side, samples in zip(legs, window.samples, strict=True):
            events += _events_of_window(side, samples, rate, window)
        yield from sorted(events, key=_order)


class _Window(NamedTuple):
    """The samples of both sides from the frame ``position`` on; events from ``start`` to ``end`` belong to it."""

    samples: list[Samples]
    position: int
    start: int
    end: float


def _windows(blocks: Iterator[tuple[Samples, ...]], rate: int) -> Iterator[_Window]:
    """Yield windows that overlap, so that each event is complete in one of them."""
    overlap = round(_OVERLAP_SECONDS * rate)
    start = position = 0
    block = next(blocks, None)
    tails = [np.zeros(0, dtype=np.int16)] * len(Side)
    while block is not None:
        following = next(blocks, None)
        samples = [np.concatenate((tail, side[:, 0])) for tail, side in zip(tails, block, strict=True)]
        end = position + min(len(side) for side in samples)
        yield _Window(samples, position, start, math.inf if following is None else end - overlap // 2)
        tails = [side[-overlap:] for side in samples]
        position, start, block = end - overlap, end - overlap // 2, following


def _events_of_window(side: Side, samples: Samples, rate: int, window: _Window) -> Iterator[_Event]:
    for is_copy, spans in ((True, find_duplicates(samples, rate)), (False, find_gaps(samples, rate))):
        for cut in _cuts(spans, window.position):
            if window.start <= cut.start < window.end:
                yield _Event(side, cut, is_copy)
    if window.start == 0:  # the party began later than the other one
        silent = int(np.argmax(samples != 0)) // MIXMONITOR_FRAME
        for start in range(0, silent * MIXMONITOR_FRAME, MIXMONITOR_FRAME):
            yield _Event(side, Cut(start, start + MIXMONITOR_FRAME), is_copy=False)


def _order(event: _Event) -> tuple[int, bool]:
    """Return the key by which events are sorted: a copy comes before the silence beside it."""
    return event.cut.end, not event.is_copy


def _cuts(spans: Spans, position: int) -> Iterator[Cut]:
    end = 0
    for start, length in zip(spans.starts.tolist(), spans.lengths.tolist(), strict=True):
        if start >= end:
            end = start + length
            yield Cut(position + start, position + end)


@dataclass(slots=True)
class _Copy:
    """A copy by which its side is still ahead, for ``frames`` of it."""

    cut: Cut
    frames: int
    is_cut: bool = False


class _Matching:
    """Matches copies of one side with silence, or copies, of the other one. Lengths are in frames.

    A copy waits for ``max_wait``: later silence has another cause, and the copy has replaced a packet that was lost.
    """

    def __init__(self, max_ahead: int, max_wait: int) -> None:
        self._max_ahead = max_ahead
        self._max_wait = max_wait
        self._ahead: dict[Side, deque[_Copy]] = {side: deque() for side in Side}
        self._cuts: dict[Side, list[Cut]] = {side: [] for side in Side}
        self._found = self._matched = 0

    def add_copy(self, side: Side, cut: Cut) -> None:
        """Add a copy: its side is ahead by it, or less behind."""
        length = cut.end - cut.start
        self._found += length
        self._forget(cut.start - self._max_wait)
        taken = self._take(side.other, length)
        copy = _Copy(cut, length - taken)
        self._matched += taken
        if taken:
            self._cut_out(side, copy)
        ahead = self._ahead[side]
        if copy.frames:
            ahead.append(copy)
        while sum(each.frames for each in ahead) > self._max_ahead:
            ahead.popleft()  # as much of this side was lost, or the copy replaced a lost packet

    def add_gap(self, side: Side, cut: Cut) -> None:
        """Add silence: it is cut as far as the other side is ahead."""
        self._forget(cut.start - self._max_wait)
        taken = self._take(side.other, cut.end - cut.start)
        if taken:
            self._cuts[side].append(Cut(cut.start, cut.start + taken))

    def _forget(self, position: int) -> None:
        """Forget the copies before a position."""
        for ahead in self._ahead.values():
            while ahead and ahead[0].cut.start < position:
                ahead.popleft()

    def _take(self, side: Side, length: int) -> int:
        """Cut copies by which a side is ahead, up to a length; return how much less it is ahead."""
        ahead, remaining = self._ahead[side], length
        while ahead and remaining:
            copy = ahead[0]
            self._cut_out(side, copy)
            taken = min(copy.frames, remaining)
            copy.frames -= taken
            remaining -= taken
            if not copy.frames:
                ahead.popleft()
        self._matched += length - remaining
        return length - remaining

    def _cut_out(self, side: Side, copy: _Copy) -> None:
        if not copy.is_cut:
            copy.is_cut = True
            self._cuts[side].append(copy.cut)

    def finish(self) -> Mapping[Side, list[Cut]]:
        """Return the cuts, with the copies by which a side is ahead at the end."""
        if not self._matched or self._matched < (self._found - self._max_ahead) / 2:
            return {}
        for side, ahead in self._ahead.items():
            for copy in ahead:
                self._cut_out(side, copy)
        return {side: sorted(cuts) for side, cuts in self._cuts.items() if cuts}
