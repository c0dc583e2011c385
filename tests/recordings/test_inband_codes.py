"""Tests of voxrec.recordings.inband_codes: what a party has kept out of the recording by tones is not kept."""

import numpy as np
import soundfile
from numpy.typing import NDArray
from twisted.trial.unittest import SynchronousTestCase

from tests.audio.fixtures import RATE, tone
from tests.audio.test_dtmf import dtmf
from tests.recordings.finish_fixtures import FinishTestCase
from voxrec.audio.dtmf import Digit
from voxrec.model import RecordingState, Side, TimelineEntry
from voxrec.recordings.inband_codes import InbandPause, find_pauses


def digits(*pressed: tuple[float, str]) -> list[Digit]:
    return [Digit(at, round(at + 0.1, 3), digit) for at, digit in pressed]


class FindPausesTests(SynchronousTestCase):
    def test_pause_and_resume(self) -> None:
        caller = digits((1.0, "*"), (1.2, "1"), (5.0, "*"), (5.2, "2"))
        (pause,) = find_pauses({Side.CALLER: caller}, "*1", "*2")
        self.assertEqual(pause, InbandPause(1.0, Side.CALLER, 5.3, Side.CALLER))

    def test_one_code_does_both(self) -> None:
        caller = digits((1.0, "9"), (3.0, "9"), (5.0, "9"))
        self.assertEqual(
            find_pauses({Side.CALLER: caller}, "9", None),
            [InbandPause(1.0, Side.CALLER, 3.1, Side.CALLER), InbandPause(5.0, Side.CALLER)],
        )

    def test_either_party(self) -> None:
        pressed = {Side.CALLER: digits((1.0, "1")), Side.CALLEE: digits((4.0, "2"))}
        self.assertEqual(find_pauses(pressed, "1", "2"), [InbandPause(1.0, Side.CALLER, 4.1, Side.CALLEE)])

    def test_what_is_no_code(self) -> None:
        none: dict[Side, list[Digit]] = {Side.CALLER: []}
        for pressed in (
            {Side.CALLER: digits((1.0, "*"), (4.2, "1"))},  # too slow
            {Side.CALLER: digits((1.0, "*")), Side.CALLEE: digits((1.2, "1"))},
            {Side.CALLER: digits((1.0, "*"), (1.2, "2"))},  # there is nothing to resume
            none,
        ):
            self.assertEqual(find_pauses(pressed, "*1", "*2"), [])

    def test_pause_twice(self) -> None:
        caller = digits((1.0, "1"), (2.0, "1"), (3.0, "2"), (4.0, "2"))
        self.assertEqual(
            find_pauses({Side.CALLER: caller}, "1", "2"), [InbandPause(1.0, Side.CALLER, 3.1, Side.CALLER)]
        )


class FinishTests(FinishTestCase):
    SECONDS = 6

    def setUp(self) -> None:
        super().setUp()
        self.fixture.update_recording(pause_code="*1", resume_code="*2")

    def speech_with(self, pressed: dict[float, str]) -> NDArray[np.int16]:
        """Return a tone that stands for speech, except where digits are pressed."""
        samples = np.array(tone(300, self.SECONDS))
        for at, keys in pressed.items():
            tones = dtmf(keys).astype(np.int16)
            samples[round(at * RATE) : round(at * RATE) + len(tones)] = tones
        return samples

    def finished_audio(self) -> NDArray[np.int16]:
        done = self.run_job()
        self.assertEqual(done.state, RecordingState.COMPLETED)
        assert done.path is not None
        samples: NDArray[np.int16] = soundfile.read(self.fixture.root / done.path, dtype="int16")[0]
        return samples

    def assert_silent(self, samples: NDArray[np.int16], start: float, end: float) -> None:
        """Assert that both channels are silent between these seconds, and nowhere else."""
        for channel in (0, 1):
            silent = samples[round((start + 0.03) * RATE) : round((end - 0.03) * RATE), channel]
            self.assertEqual(np.abs(silent).max(), 0)
            before = samples[round((start - 0.1) * RATE) : round((start - 0.05) * RATE), channel]
            self.assertGreater(np.abs(before).max(), 0)
            after = samples[round((end + 0.05) * RATE) : round((end + 0.2) * RATE), channel]
            self.assertTrue(len(after) == 0 or np.abs(after).max() > 0)

    def test_both_sides_are_silent_from_code_to_code(self) -> None:
        self.fixture.write_legs(self.speech_with({2.0: "*1", 4.0: "*2"}), tone(880, self.SECONDS))
        self.assert_silent(self.finished_audio(), 2.0, 4.3)
        entries = [(round(one.at, 1), one.event, one.by, one.detail) for one in self.fixture.recordings.row.timeline]
        self.assertEqual(entries, [(2.0, "paused", "caller", "in-band"), (4.3, "resumed", "caller", "in-band")])

    def test_silence_to_the_end(self) -> None:
        self.fixture.write_legs(tone(880, self.SECONDS), self.speech_with({2.0: "*1"}))
        self.assert_silent(self.finished_audio(), 2.0, self.SECONDS)

    def test_digits_that_had_their_effect_in_the_call(self) -> None:
        """Asterisk has found the tones itself, or has made them of events."""
        reported = [TimelineEntry(at=at, event="dtmf", by=Side.CALLER) for at in (2.1, 2.3)]
        self.fixture.update_recording(timeline=tuple(reported))
        caller = self.speech_with({2.0: "*1"})
        self.fixture.write_legs(caller, tone(880, self.SECONDS))
        np.testing.assert_array_equal(self.finished_audio()[:, 0], caller)

    def test_profile_without_codes(self) -> None:
        self.fixture.update_recording(pause_code=None, resume_code=None)
        caller = self.speech_with({2.0: "*1"})
        self.fixture.write_legs(caller, tone(880, self.SECONDS))
        np.testing.assert_array_equal(self.finished_audio()[:, 0], caller)

    def test_only_one_leg(self) -> None:
        self.fixture.write_legs(self.speech_with({2.0: "*1"}))
        samples = self.finished_audio()
        self.assertEqual(np.abs(samples[round(2.1 * RATE) :]).max(), 0)
        self.assertGreater(np.abs(samples[:RATE, 0]).max(), 0)
