"""Adds the silence of pauses during which Asterisk has written nothing.

During a pause MixMonitor writes silence. If it ends then, as with a channel that is replaced, the next one is started
only when the recording is resumed (`voxrec.calls.recording.monitor`), so that nothing that is said in the pause can be
recorded.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np

from voxrec.audio.formats import WAV
from voxrec.audio.pause_cuts import PAUSE_ENDS
from voxrec.audio.probe import probe
from voxrec.audio.reader import BLOCK_FRAMES, Samples, open_audio, read_blocks
from voxrec.audio.writer import write_audio
from voxrec.model import RECORDING_STARTED, RECORDING_STOPPED, RECORDING_SUSPENDED, Recording, Side
from voxrec.recordings.legs import Leg
from voxrec.recordings.work_files import WorkFiles

_ENDS: Final = PAUSE_ENDS | {RECORDING_STOPPED}


class Suspension(NamedTuple):
    """Silence that is missing at ``position`` of the files that Asterisk has written; both in seconds."""

    position: float
    duration: float


def fill_suspensions(recording: Recording, legs: Mapping[Side, Leg], work_files: WorkFiles) -> Mapping[Side, Leg]:
    """Return the legs with the silence that is missing, the same for both sides. Raises AudioError and OSError."""
    suspensions = find_suspensions(recording)
    if not suspensions:
        return legs
    return {side: _filled(side, leg, suspensions, work_files) for side, leg in legs.items()}


def find_suspensions(recording: Recording) -> list[Suspension]:
    """Return the suspensions of a Recording that has ended, in ascending order of their positions."""
    timeline = sorted(recording.timeline, key=lambda entry: entry.at)
    began = max((entry.at for entry in timeline if entry.event == RECORDING_STARTED), default=0.0)
    suspensions = []
    for index, entry in enumerate(timeline):
        if entry.event != RECORDING_SUSPENDED or entry.detail is None or entry.at < began:
            continue
        ends = (later.at for later in timeline[index:] if later.event in _ENDS)
        end = next(ends, recording.call_seconds)
        if end is not None and end > entry.at:
            suspensions.append(Suspension(float(entry.detail), end - entry.at))
    return sorted(suspensions)


def _filled(side: Side, leg: Leg, suspensions: Sequence[Suspension], work_files: WorkFiles) -> Leg:
    if leg.audio is None:
        return leg
    output = work_files.new(f"filled-{side}.wav")
    _fill(leg.audio, output, suspensions)
    return Leg(output, probe(output), leg.repaired, leg.unreadable)


def _fill(leg: Path, output: Path, suspensions: Sequence[Suspension]) -> None:
    with open_audio(leg) as reader:
        rate = reader.samplerate
        silences = [(round(one.position * rate), round(one.duration * rate)) for one in suspensions]
        write_audio(_insert(read_blocks(reader, leg), silences), output, rate, reader.channels, WAV)


def _insert(blocks: Iterable[Samples], silences: Sequence[tuple[int, int]]) -> Iterator[Samples]:
    """Yield the blocks with zeros at positions, each a frame and a number of frames; at the end if it is beyond."""
    remaining = list(silences)
    position, block = 0, np.zeros((0, 1), dtype=np.int16)
    for block in blocks:
        start = 0
        while remaining and remaining[0][0] < position + len(block):
            at, frames = remaining.pop(0)
            if at - position > start:
                yield block[start : at - position]
                start = at - position
            yield from _zeros(frames, block)
        yield block[start:]
        position += len(block)
    for _, frames in remaining:
        yield from _zeros(frames, block)


def _zeros(frames: int, like: Samples) -> Iterator[Samples]:
    for start in range(0, frames, BLOCK_FRAMES):
        yield np.zeros((min(BLOCK_FRAMES, frames - start), *like.shape[1:]), dtype=like.dtype)
