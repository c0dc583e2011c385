"""Tests of voxrec.recordings.suspensions: silence of pauses during which Asterisk has written nothing."""

from datetime import timedelta
from pathlib import Path
from uuid import UUID

import numpy as np
import soundfile
from twisted.trial.unittest import SynchronousTestCase

from tests.calls.fake_asterisk import NOW
from voxrec.audio.probe import probe
from voxrec.model import Recording, RecordingState, Side, TimelineEntry
from voxrec.recordings.legs import Leg
from voxrec.recordings.suspensions import Suspension, fill_suspensions, find_suspensions
from voxrec.recordings.work_files import WorkFiles

_RATES = {Side.CALLER: 8000, Side.CALLEE: 16000}


def ended(*timeline: tuple[float, str, str | None]) -> Recording:
    """Return a Recording of 60 s with these events: their time, name and detail."""
    return Recording(
        id=UUID(int=1),
        profile_id=UUID(int=2),
        call_id=UUID(int=3),
        state=RecordingState.PROCESSING,
        started_at=NOW,
        ended_at=NOW + timedelta(seconds=60),
        created_at=NOW,
        updated_at=NOW,
        timeline=tuple(TimelineEntry(at=at, event=event, detail=detail) for at, event, detail in timeline),
    )


class SuspensionTests(SynchronousTestCase):
    def test_end(self) -> None:
        suspended = (5.0, "recording.suspended", "4.9")
        for later, end in (
            ((8.0, "resumed", None), 8.0),
            ((9.0, "hangup", None), 9.0),
            ((7.0, "recording.stopped", None), 7.0),
            ((8.0, "beep", None), 60.0),
        ):
            self.assertEqual(find_suspensions(ended(suspended, later)), [Suspension(4.9, end - 5.0)])

    def test_several(self) -> None:
        recording = ended(
            (2.0, "recording.suspended", "1.9"),
            (2.0, "paused", "skip"),
            (4.0, "resumed", None),
            (6.0, "recording.suspended", "3.8"),
            (7.0, "resumed", None),
        )
        self.assertEqual(find_suspensions(recording), [Suspension(1.9, 2.0), Suspension(3.8, 1.0)])

    def test_before_the_files_began(self) -> None:
        recording = ended((2.0, "recording.suspended", "0"), (4.0, "resumed", None), (5.0, "recording.started", None))
        self.assertEqual(find_suspensions(recording), [])

    def test_silence_is_added_to_both_sides_at_the_same_time(self) -> None:
        directory = Path(self.mktemp())
        directory.mkdir()
        legs, samples = {}, {}
        for side, rate in _RATES.items():
            path = directory / f"{side}.wav"
            samples[side] = np.arange(1, 4 * rate + 1).astype(np.int16) | 1
            soundfile.write(path, samples[side], rate)
            legs[side] = Leg(path, probe(path))
        recording = ended(
            (0.0, "recording.suspended", "0"),
            (0.5, "resumed", None),
            (2.0, "recording.suspended", "1.25"),
            (42.0, "resumed", None),  # more than one block
            (50.0, "recording.suspended", "4"),
        )
        with WorkFiles(directory / "work", recording.id) as work_files:
            filled = fill_suspensions(recording, legs, work_files)
            for side, rate in _RATES.items():
                audio = filled[side].audio
                assert audio is not None
                found, _ = soundfile.read(audio, dtype="int16")
                parts = [(0.5, None), (1.25, 0.0), (40.0, None), (2.75, 1.25), (10.0, None)]
                position = 0
                for seconds, start in parts:
                    part = found[position : position + round(seconds * rate)]
                    position += round(seconds * rate)
                    self.assertEqual(len(part), round(seconds * rate))
                    if start is None:
                        self.assertFalse(part.any())
                    else:
                        first = round(start * rate)
                        np.testing.assert_array_equal(part, samples[side][first : first + len(part)])
                self.assertEqual((len(found), filled[side].info), (position, probe(audio)))

    def test_nothing_is_copied_without_a_suspension(self) -> None:
        legs = {Side.CALLER: Leg(), Side.CALLEE: Leg()}
        with WorkFiles(Path(self.mktemp()), UUID(int=1)) as work_files:
            self.assertIs(fill_suspensions(ended((2.0, "paused", None)), legs, work_files), legs)
