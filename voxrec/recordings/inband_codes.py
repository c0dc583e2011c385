"""DTMF codes that a party has sent as tones in its audio although events were agreed (RFC 4733).

Asterisk looks for tones only in the audio of parties that agree to no events, so that nothing has paused the recording.
What such a code was to keep out is silenced when the Recording is finished: from the tones of the pause code to those
of the resume code, or to the end.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

import msgspec
import numpy as np

from voxrec.audio.dtmf import Digit, find_digits
from voxrec.audio.formats import WAV
from voxrec.audio.reader import Samples, open_audio, read_blocks
from voxrec.audio.writer import write_audio
from voxrec.model import Recording, Side, TimelineEntry
from voxrec.recordings.legs import Leg
from voxrec.recordings.work_files import WorkFiles

INBAND: Final = "in-band"
"""Detail of the entries of the timeline."""
_DIGIT_TIMEOUT: Final = 3.0  # seconds between two digits of one code, as in voxrec.calls.recording.dtmf
_EVENT_TOLERANCE: Final = 1.5  # seconds between the tones of a digit and its entry in the timeline


class InbandPause(NamedTuple):
    """A pause between two times in seconds; ``end`` None: to the end of the recording."""

    start: float
    by: Side
    end: float | None = None
    resumed_by: Side | None = None


class _Code(NamedTuple):
    start: float
    end: float
    side: Side
    pauses: bool
    resumes: bool


def silence_inband_pauses(
    recording: Recording, legs: Mapping[Side, Leg], work_files: WorkFiles
) -> tuple[Recording, Mapping[Side, Leg]]:
    """Return the Recording with the pauses in its timeline, and the legs without what was said in them.

    Without codes in the Recording, or in the audio, nothing is changed. Raises AudioError and OSError.
    """
    if recording.pause_code is None:
        return recording, legs
    audio = {side: leg.audio for side, leg in legs.items() if leg.audio is not None}
    digits = {side: _unreported(find_digits(path), side, recording.timeline) for side, path in audio.items()}
    pauses = find_pauses(digits, recording.pause_code, recording.resume_code)
    if not pauses:
        return recording, legs
    silenced = {side: _silenced(side, path, pauses, work_files) for side, path in audio.items()}
    timeline = sorted((*recording.timeline, *_entries(pauses)), key=lambda entry: entry.at)
    return (
        msgspec.structs.replace(recording, timeline=tuple(timeline)),
        {side: leg if leg.audio is None else _with_audio(leg, silenced[side]) for side, leg in legs.items()},
    )


def _with_audio(leg: Leg, path: Path) -> Leg:
    return Leg(path, leg.info, leg.repaired, leg.unreadable)


def _unreported(digits: Iterable[Digit], side: Side, timeline: Sequence[TimelineEntry]) -> list[Digit]:
    """Leave out the digits that Asterisk has reported during the call: they had their effect then."""
    reported = [entry.at for entry in timeline if entry.event == "dtmf" and entry.by == side]
    return [digit for digit in digits if all(abs(at - digit.end) > _EVENT_TOLERANCE for at in reported)]


def find_pauses(digits: Mapping[Side, Sequence[Digit]], pause_code: str, resume_code: str | None) -> list[InbandPause]:
    """Return the pauses that the parties' digits cause; one code alone pauses and resumes."""
    codes = [code for side in digits for code in _codes(digits[side], side, pause_code, resume_code or pause_code)]
    pauses: list[InbandPause] = []
    for code in sorted(codes):
        last = pauses[-1] if pauses and pauses[-1].end is None else None
        if last is None and code.pauses:
            pauses.append(InbandPause(code.start, code.side))
        elif last is not None and code.resumes:
            pauses[-1] = last._replace(end=code.end, resumed_by=code.side)
    return pauses


def _codes(digits: Sequence[Digit], side: Side, pause_code: str, resume_code: str) -> Iterator[_Code]:
    pressed: list[Digit] = []
    for digit in digits:
        if pressed and digit.start - pressed[-1].end > _DIGIT_TIMEOUT:
            pressed.clear()
        pressed.append(digit)
        text = "".join(one.digit for one in pressed)
        # of codes that end with the same digits, the longest matches
        for code in sorted({pause_code, resume_code}, key=len, reverse=True):
            if text.endswith(code):
                start = pressed[-len(code)].start
                yield _Code(start, digit.end, side, code == pause_code, code == resume_code)
                pressed.clear()
                break


def _silenced(side: Side, path: Path, pauses: Iterable[InbandPause], work_files: WorkFiles) -> Path:
    output = work_files.new(f"silenced-{side}.wav")
    with open_audio(path) as reader:
        rate = reader.samplerate
        spans = [
            (round(pause.start * rate), None if pause.end is None else round(pause.end * rate)) for pause in pauses
        ]
        write_audio(_silence(read_blocks(reader, path), spans), output, rate, reader.channels, WAV)
    return output


def _silence(blocks: Iterable[Samples], spans: Sequence[tuple[int, int | None]]) -> Iterator[Samples]:
    position = 0
    for block in blocks:
        silenced = np.array(block)
        for start, end in spans:
            stop = len(block) if end is None else max(0, end - position)
            silenced[max(0, start - position) : stop] = 0
        position += len(block)
        yield silenced


def _entries(pauses: Iterable[InbandPause]) -> Iterator[TimelineEntry]:
    for pause in pauses:
        yield TimelineEntry(at=pause.start, event="paused", by=pause.by, detail=INBAND)
        if pause.end is not None:
            yield TimelineEntry(at=pause.end, event="resumed", by=pause.resumed_by, detail=INBAND)
