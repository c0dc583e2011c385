"""Tests of voxrec.audio.meter."""

import math

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from tests.audio.fixtures import RATE, SPEECH_AMPLITUDE, Samples, constant, g711, measure, silence, tone
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


class GapTests(SynchronousTestCase):
    """Frames of 160 zeros within audio."""

    def gaps(self, *gaps: tuple[int, int]) -> float:
        samples = constant(1000, 4)
        for start, end in gaps:
            samples[start:end] = 0
        return round(measure(samples).gap_seconds, 3)

    def test_whole_frames_of_at_most_a_tenth_of_a_second(self) -> None:
        self.assertEqual(self.gaps(), 0.0)
        self.assertEqual(self.gaps((160, 320)), 0.02)
        self.assertEqual(self.gaps((160, 320), (1600, 1920), (8000, 8800)), 0.16)
        self.assertEqual(self.gaps((8000, 8960)), 0.0)

    def test_zeros_that_mixmonitor_did_not_write(self) -> None:
        self.assertEqual(self.gaps((170, 330)), 0.0)  # no whole frame
        self.assertEqual(self.gaps((159, 320)), 0.0)
        self.assertEqual(self.gaps((160, 321)), 0.0)
        self.assertEqual(self.gaps((0, 320)), 0.0)  # the party had not begun
        self.assertEqual(self.gaps((31_840, 32_000)), 0.0)


class DuplicateTests(SynchronousTestCase):
    """Packets that were recorded twice."""

    def speech(self, seconds: float = 8.0) -> Samples:
        """Return noise as G.711 encodes it: from soft to loud."""
        noise = np.random.default_rng(3).standard_normal(round(seconds * RATE)) * np.geomspace(40, 8000, 8).repeat(RATE)
        return g711(np.clip(noise, -32768, 32767).astype(np.int16))

    def duplicated(self, packets: list[Samples], every: int) -> Samples:
        """Return the audio of ``packets``, each n-th of them twice."""
        return np.concatenate(
            [packet for number, packet in enumerate(packets) for _ in range(2 if number % every == 0 else 1)]
        )

    def test_packets_of_usual_durations(self) -> None:
        speech = self.speech()
        self.assertEqual(measure(speech).duplicate_seconds, 0.0)
        for ptime in (10, 20, 30, 40, 60):
            packets = np.split(speech, range(ptime * 8, len(speech), ptime * 8))[:-1]
            for every in (20, 3, 2, 1):
                with self.subTest(ptime=ptime, every=every):
                    copies = len(range(0, len(packets), every))
                    found = measure(self.duplicated(packets, every)).duplicate_seconds
                    self.assertEqual(round(found, 3), round(copies * ptime / 1000, 3))

    def test_tones_and_silence_repeat_themselves(self) -> None:
        for frequency in (*range(50, 3401, 50), 350, 425, 440, 480, 620, 697, 1209, 941, 1633, 2100):
            pulses = np.concatenate([part for _ in range(8) for part in (tone(frequency, 0.1, 9000), silence(0.1))])
            for samples in (tone(frequency, 2, SPEECH_AMPLITUDE), pulses):
                self.assertEqual(measure(samples).duplicate_seconds, 0.0, frequency)
        speech = self.speech()
        speech[8000:9600] = 0
        speech[16_000:16_320] = 0  # two packets of silence
        speech[24_000:32_000] = 8
        self.assertEqual(measure(speech).duplicate_seconds, 0.0)

    def test_bursts_of_tones_of_two_periods(self) -> None:
        """Dialling, ringing, busy and special information tones, stuttered or cut, whose period is that of a packet."""
        noise = np.random.default_rng(4)
        single = [(frequency,) for frequency in range(25, 3401, 25)]
        pairs = [(350, 440), (400, 450), (440, 480), (480, 620), (950, 1400), (1700, 1300), (425, 475), (350, 450)]
        for codec in ("ALAW", "ULAW"):
            for amplitude in (300, SPEECH_AMPLITUDE, 9000):
                for frequencies in (*single, *pairs):
                    bursts = []
                    for milliseconds in (20, 22, 40, 43, 45, 60, 66, 80, 84, 90, 100, 120, 130, 135):
                        for before in (silence(0.06), noise.normal(0, 40, 480).astype(np.int16)):
                            parts = [tone(each, milliseconds / 1000, amplitude) for each in frequencies]
                            bursts += [before, np.sum(parts, axis=0, dtype=np.int16)]
                    found = measure(g711(np.concatenate(bursts), codec)).duplicate_seconds
                    self.assertEqual(found, 0.0, (codec, amplitude, frequencies))

    def test_a_quiet_line_with_hum(self) -> None:
        """Hum of the mains (50 Hz) has the period of a packet, and few values in A-law."""
        generator = np.random.default_rng(5)
        hum = 14 * np.sin(2 * np.pi * 50 * np.arange(32 * RATE) / RATE)
        speech = self.speech()
        for deviation in (0.0, 0.3, 1.0, 2.0, 4.0):
            for amplitude in (0.5, 1.0, 2.0, 4.0):
                line = amplitude * hum + generator.normal(0, deviation, len(hum))
                for codec in ("ALAW", "ULAW"):
                    samples = np.concatenate((speech, g711(np.rint(line).astype(np.int16), codec)))
                    self.assertEqual(measure(samples).duplicate_seconds, 0.0, (deviation, amplitude, codec))

    def test_quiet_lines_with_a_law_repeat_a_value(self) -> None:
        """A-law has no zero: a line without a signal has the value 8, or -8, with a few others."""
        speech = self.speech()
        line = np.full(8 * RATE, 8, dtype=np.int16)
        line[::340] = -8
        self.assertEqual(measure(np.concatenate((speech, line))).duplicate_seconds, 0.0)

    def test_text_telephones_send_short_tones(self) -> None:
        """Bits of 22 ms, as by ITU-T V.18 Annex A."""
        bits = [tone(frequency, 0.022, 9000) for frequency in (1400, 1800)]
        self.assertEqual(measure(np.concatenate(bits * 100)).duplicate_seconds, 0.0)

    def test_a_wideband_leg_with_packets_of_20_ms(self) -> None:
        speech = self.speech()
        packets = np.split(speech, range(320, len(speech), 320))
        self.assertEqual(round(measure(self.duplicated(packets, 10), 16_000).duplicate_seconds, 3), 0.4)


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
