"""Tests of voxrec.sandbox.tones: the measurements are verified with known signals."""

import io
from pathlib import Path

import numpy as np
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voxrec.sandbox import tones

RATE = 8000


def tone(hz: float, seconds: float, level: float = 0.25) -> tones.Samples:
    samples: tones.Samples = level * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)
    return samples


def companded(samples: tones.Samples) -> tones.Samples:
    """Return the samples after encoding and decoding with G.711."""
    file = io.BytesIO()
    soundfile.write(file, np.clip(samples, -1, 1), RATE, format="WAV", subtype="ULAW")
    file.seek(0)
    decoded: tones.Samples = soundfile.read(file)[0]
    return decoded


def speech(seconds: float, seed: int) -> tones.Samples:
    """Return a signal as irregular as speech: smoothed noise with changing loudness."""
    random = np.random.default_rng(seed)
    noise = np.convolve(random.standard_normal(round(seconds * RATE)), np.ones(6) / 6, mode="same")
    syllables = np.repeat(random.uniform(0, 1, round(seconds * 5) + 1), RATE // 5)[: len(noise)]
    spoken: tones.Samples = 0.2 * noise * syllables
    return spoken


class FileTests(SynchronousTestCase):
    def test_a_tone_has_the_requested_length_rate_and_level(self) -> None:
        path = tones.write_tone(Path(self.mktemp()) / "tone.wav", 1000, 0.5, rate=16000, level_dbfs=-6)
        samples, rate = tones.load_audio(path)
        self.assertEqual((samples.shape, rate), ((8000, 1), 16000))
        self.assertAlmostEqual(float(np.max(samples)), 10 ** (-6 / 20), places=3)

    def test_a_mix_contains_each_tone(self) -> None:
        samples, rate = tones.load_audio(tones.write_tones(Path(self.mktemp()) / "tones.wav", [440, 880], 1))
        for hz in (440, 880):
            self.assertAlmostEqual(float(np.median(tones.tone_amplitude(samples[:, 0], rate, hz))), 0.25, places=1)

    def test_looping_leaves_no_gap(self) -> None:
        directory = Path(self.mktemp())
        source = tones.write_tone(directory / "tone.wav", 440, 1)
        samples, rate = tones.load_audio(tones.loop_to_length(source, directory / "long.wav", 3.5))
        self.assertEqual(len(samples), 4 * rate)
        self.assertEqual(tones.missing_milliseconds(samples[:, 0], rate, 440, 0.1, 3.9), 0)


class ToneAmplitudeTests(SynchronousTestCase):
    def test_other_tones_contribute_little(self) -> None:
        samples = tone(440, 1)
        self.assertAlmostEqual(float(np.median(tones.tone_amplitude(samples, RATE, 440))), 0.25, places=2)
        self.assertLess(float(np.median(tones.tone_amplitude(samples, RATE, 880))), 0.01)

    def test_there_is_one_value_per_millisecond(self) -> None:
        self.assertEqual(len(tones.tone_amplitude(tone(440, 0.25), RATE, 440)), 250)

    def test_companding_changes_little(self) -> None:
        level = np.median(tones.tone_amplitude(companded(tone(440, 1)), RATE, 440))
        self.assertAlmostEqual(float(level), 0.25, places=2)


class ToneIntervalTests(SynchronousTestCase):
    def test_each_interval_of_an_interrupted_tone_is_found(self) -> None:
        silence = np.zeros(RATE)
        samples = np.concatenate([silence, tone(440, 1), silence, tone(440, 0.5)])
        intervals = tones.tone_intervals(samples, RATE, 440)
        self.assertEqual(len(intervals), 2)
        for found, expected in zip(intervals, [(1.0, 2.0), (3.0, 3.5)], strict=True):
            np.testing.assert_allclose(found, expected, atol=0.012)

    def test_another_tone_is_not_found(self) -> None:
        self.assertEqual(tones.tone_intervals(companded(tone(880, 1)), RATE, 440)[1:-1], [])

    def test_silence_has_no_intervals(self) -> None:
        self.assertEqual(tones.tone_intervals(np.zeros(RATE), RATE, 440), [])


class MissingMillisecondsTests(SynchronousTestCase):
    @settings(deadline=None)
    @given(st.integers(min_value=15, max_value=500), st.integers(min_value=500, max_value=3000))
    def test_a_gap_is_measured_to_the_millisecond(self, milliseconds: int, at: int) -> None:
        samples = tone(440, 5)
        samples[at * 8 : (at + milliseconds) * 8] = 0
        measured = tones.missing_milliseconds(companded(samples), RATE, 440, 0.1, 4.9)
        self.assertLessEqual(abs(measured - milliseconds), 2)

    def test_a_complete_tone_has_no_gap(self) -> None:
        self.assertEqual(tones.missing_milliseconds(companded(tone(440, 2)), RATE, 440, 0.05, 1.95), 0)

    def test_silence_lacks_the_whole_interval(self) -> None:
        self.assertEqual(tones.missing_milliseconds(np.zeros(RATE), RATE, 440, 0.25, 0.75), 500)

    def test_the_part_after_the_last_sample_is_missing(self) -> None:
        # At the end only half of the window contains samples.
        self.assertLessEqual(abs(tones.missing_milliseconds(tone(440, 1), RATE, 440, 0.5, 1.5) - 500), 11)


class FindSoundTests(SynchronousTestCase):
    def test_the_position_is_exact(self) -> None:
        sound = speech(1.5, seed=1)
        channel = np.zeros(5 * RATE)
        channel[12345 : 12345 + len(sound)] += sound
        match = tones.find_sound(sound, channel, RATE)
        self.assertEqual(match.seconds * RATE, 12345)
        self.assertGreater(match.score, 0.9)

    def test_a_sound_is_found_under_a_louder_tone_after_companding(self) -> None:
        sound = speech(1.5, seed=1)
        channel = tone(440, 5, level=0.4)
        channel[12345 : 12345 + len(sound)] += 0.5 * sound
        match = tones.find_sound(sound, companded(channel), RATE)
        self.assertAlmostEqual(match.seconds, 12345 / RATE, places=3)
        self.assertGreater(match.score, 0.5)

    def test_another_sound_scores_low(self) -> None:
        for channel in (speech(5, seed=2), tone(440, 5), tone(440, 5) + speech(5, seed=3), np.zeros(5 * RATE)):
            self.assertLess(tones.find_sound(speech(1.5, seed=1), companded(channel), RATE).score, 0.2)

    def test_a_sound_longer_than_the_channel_is_not_found(self) -> None:
        self.assertEqual(tones.find_sound(speech(2, seed=1), speech(1, seed=1), RATE).score, 0)


class FindInterruptedSoundTests(SynchronousTestCase):
    def test_a_sound_with_delayed_packets(self) -> None:
        sound = speech(2, seed=1)
        channel = tone(440, 5, level=0.4)
        packet = RATE // 50
        for start, end, at in ((0, 40, 12000), (40, 70, 12000 + packet), (70, 100, 12000 + 3 * packet)):
            part = sound[start * packet : end * packet]
            channel[at + start * packet :][: len(part)] += 0.5 * part
        self.assertLess(tones.find_sound(sound, companded(channel), RATE).score, 0.5)
        match = tones.find_interrupted_sound(sound, companded(channel), RATE)
        self.assertAlmostEqual(match.seconds, 12000 / RATE, places=3)
        self.assertGreater(match.score, 0.6)

    def test_another_sound_scores_low(self) -> None:
        for channel in (speech(5, seed=2), tone(440, 5), tone(440, 5) + speech(5, seed=3), np.zeros(5 * RATE)):
            match = tones.find_interrupted_sound(speech(1.5, seed=1), companded(channel), RATE)
            self.assertLess(match.score, 0.2)


class SparklineTests(SynchronousTestCase):
    def test_one_line_per_channel(self) -> None:
        stereo = np.stack([tone(440, 1, 1.0), np.concatenate([np.zeros(RATE // 2), tone(440, 0.5, 1.0)])], axis=1)
        self.assertEqual(tones.sparkline(stereo, 4), "████\n  ██")

    def test_an_empty_file_is_a_blank_line(self) -> None:
        self.assertEqual(tones.sparkline(np.zeros((0, 1)), 3), "   ")
