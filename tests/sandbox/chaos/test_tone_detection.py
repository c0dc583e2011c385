"""Tests of voxrec.sandbox.chaos.tone_detection with generated tones."""

from pathlib import Path

import numpy as np
import soundfile
from twisted.trial.unittest import SynchronousTestCase

from voxrec.sandbox.chaos.phones import CALLEE_HZ, CALLER_HZ
from voxrec.sandbox.chaos.tone_detection import seconds_of_tone, tone_seconds_by_side
from voxrec.sandbox.tones import Samples


class ToneDetectionTests(SynchronousTestCase):
    def tone(self, hz: float, seconds: float) -> Samples:
        return 0.25 * np.sin(2 * np.pi * hz * np.arange(round(8000 * seconds)) / 8000)

    def test_a_gap_is_not_counted(self) -> None:
        samples = self.tone(CALLER_HZ, 3.0)
        samples[8000:12000] = 0
        self.assertAlmostEqual(seconds_of_tone(samples, 8000, CALLER_HZ), 2.5, delta=0.021)

    def test_another_tone_and_silence_do_not_count(self) -> None:
        self.assertEqual(seconds_of_tone(self.tone(CALLER_HZ, 1.0), 8000, CALLEE_HZ), 0.0)
        self.assertEqual(seconds_of_tone(np.zeros(8000), 8000, CALLER_HZ), 0.0)
        self.assertEqual(seconds_of_tone(np.zeros(0), 8000, CALLER_HZ), 0.0)

    def test_each_side_is_measured_on_its_own_channel(self) -> None:
        caller, callee = self.tone(CALLER_HZ, 2.0), self.tone(CALLEE_HZ, 2.0)
        callee[:8000] = 0
        path = Path(self.mktemp() + ".wav")
        soundfile.write(path, np.stack([caller, callee], axis=1), 8000)
        measured = tone_seconds_by_side(path)
        self.assertAlmostEqual(measured[0], 2.0, delta=0.001)
        self.assertAlmostEqual(measured[1], 1.0, delta=0.001)
