"""Tests of voxrec.audio.meter."""

import math

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from tests.audio.fixtures import RATE, SPEECH_AMPLITUDE, constant, measure, silence, tone
from voxrec.audio.meter import SPEECH_DBFS, WINDOW_SECONDS, frames_per_block


class SpeechTests(SynchronousTestCase):
    def test_speech_is_above_the_threshold(self) -> None:
        threshold = 10 ** (SPEECH_DBFS / 20) * 32768 * math.sqrt(2)
        self.assertEqual(measure(tone(400, 2, threshold * 1.1)).speech_seconds, 2.0)
        self.assertEqual(measure(tone(400, 2, threshold * 0.9)).speech_seconds, 0.0)

    def test_speech_is_counted_in_windows(self) -> None:
        samples = np.concatenate(
            (silence(1), tone(440, 0.5, SPEECH_AMPLITUDE), silence(60), tone(440, 0.25, SPEECH_AMPLITUDE))
        )
        # the second tone begins at the border of a window and ends within one
        self.assertEqual(round(measure(samples).speech_seconds, 2), 0.74)


class LevelTests(SynchronousTestCase):
    def test_digital_silence_has_no_level(self) -> None:
        self.assertIsNone(measure(silence(1)).level_dbfs)
        self.assertIsNone(measure(constant(-8, 1)).level_dbfs, "an idle A-law line")
        self.assertIsNotNone(measure(constant(9, 1)).level_dbfs)

    def test_level_is_that_of_the_whole_file(self) -> None:
        samples = np.concatenate((constant(1000, 40), silence(120)))
        level = measure(samples).level_dbfs
        assert level is not None
        self.assertEqual(round(level, 1), round(20 * math.log10(500 / 32768), 1))


class ClippingTests(SynchronousTestCase):
    def test_clipping_is_a_run_of_full_scale_samples(self) -> None:
        for value in (32767, -32768, 32124, -32124):
            for run, clipped in ((1, False), (2, False), (3, True)):
                with self.subTest(value=value, run=run):
                    samples = tone(440, 1, SPEECH_AMPLITUDE)
                    samples[500 : 500 + run] = value
                    samples[700 : 700 + min(run, 2)] = value
                    self.assertIs(measure(samples).clipped, clipped)

    def test_run_across_two_blocks_counts(self) -> None:
        border = frames_per_block(RATE)
        for start in (border - 3, border - 2, border - 1, border):
            with self.subTest(start):
                samples = silence(40)
                samples[start : start + 3] = 32767
                self.assertTrue(measure(samples).clipped)
        samples = silence(40)
        samples[border - 1 : border + 1] = 32767
        self.assertFalse(measure(samples).clipped)


class BlockTests(SynchronousTestCase):
    def test_blocks_are_half_a_minute_of_complete_windows(self) -> None:
        for rate in (8000, 11025, 16000, 44100):
            with self.subTest(rate):
                self.assertApproximates(frames_per_block(rate) / rate, 32, 0.2)
                self.assertEqual(frames_per_block(rate) % round(rate * WINDOW_SECONDS), 0)
