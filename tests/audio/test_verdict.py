"""Tests of voxrec.audio.verdict and of voxrec.audio.meter."""

import math

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

import voxrec.audio.meter as module
from tests.audio.tones import RATE, Samples, constant, silence, tone
from voxrec.audio.meter import Meter, block_of
from voxrec.audio.verdict import judge
from voxrec.model import SideVerdict, Verdict

SPEECH = 2300  # the amplitude of a tone of about -26 dBov, the level of speech on a telephone line


def heard(samples: Samples, rate: int = RATE) -> Meter:
    meter = Meter(rate)
    for start in range(0, len(samples), block_of(rate)):
        meter.feed(samples[start : start + block_of(rate)])
    return meter


class VerdictTests(SynchronousTestCase):
    def judged(self, caller: Samples | None, callee: Samples | None, call_duration: float | None = None) -> Verdict:
        left, right = (None if samples is None else heard(samples) for samples in (caller, callee))
        return judge(left, right, call_duration)

    def caller(self, samples: Samples) -> SideVerdict:
        side = self.judged(samples, None).caller
        assert side is not None
        return side

    def test_a_sound_call(self) -> None:
        verdict = self.judged(tone(440, 3, SPEECH), tone(880, 3, SPEECH), 3.4)
        level = round(20 * math.log10(SPEECH / math.sqrt(2) / 32768), 1)
        self.assertEqual(level, -26.1)
        side = SideVerdict(speech_seconds=3.0, level_dbfs=level, clipped=False)
        self.assertEqual(verdict, Verdict(ok=True, caller=side, callee=side))

    def test_reasons(self) -> None:
        talk, mute, none = tone(440, 3, SPEECH), silence(3), silence(0)
        for caller, callee, reasons in (
            (None, None, ["empty"]),
            (none, None, ["empty"]),
            (none, none, ["empty"]),
            (mute, mute, ["silent"]),
            (mute, None, ["silent"]),
            (mute, talk, ["one-way audio: caller silent"]),
            (talk, mute, ["one-way audio: callee silent"]),
            (None, talk, ["one-way audio: caller empty"]),
            (talk, none, ["one-way audio: callee empty"]),
        ):
            with self.subTest(reasons):
                verdict = self.judged(caller, callee, 3.0)
                self.assertEqual(list(verdict.reasons), reasons)
                self.assertFalse(verdict.ok)

    def test_an_empty_side_has_no_verdict(self) -> None:
        verdict = self.judged(silence(0), tone(440, 1, SPEECH))
        self.assertIsNone(verdict.caller)
        self.assertIsNotNone(verdict.callee)

    def test_speech_is_what_passes_the_threshold(self) -> None:
        at = 10 ** (module.SPEECH_DBFS / 20) * 32768 * math.sqrt(2)
        self.assertEqual(self.caller(tone(400, 2, at * 1.1)).speech_seconds, 2.0)
        self.assertEqual(self.caller(tone(400, 2, at * 0.9)).speech_seconds, 0.0)

    def test_speech_seconds_count_windows(self) -> None:
        samples = np.concatenate((silence(1), tone(440, 0.5, SPEECH), silence(60), tone(440, 0.25, SPEECH)))
        # the second stretch begins on a window and ends within one
        self.assertEqual(self.caller(samples).speech_seconds, 0.74)

    def test_a_click_is_not_speech(self) -> None:
        samples = silence(3)
        samples[8000:8040] = 20000
        self.assertEqual(self.judged(samples, samples).reasons, ("silent",))

    def test_noise_without_speech_is_silent_and_has_a_level(self) -> None:
        noise = np.random.default_rng(7).normal(0, 32, 3 * RATE).astype(np.int16)  # -60 dBov
        verdict = self.judged(noise, noise)
        self.assertEqual(verdict.reasons, ("silent",))
        assert verdict.caller is not None
        assert verdict.caller.level_dbfs is not None
        self.assertApproximates(verdict.caller.level_dbfs, -60, 0.5)

    def test_digital_silence_has_no_level(self) -> None:
        self.assertIsNone(self.caller(silence(1)).level_dbfs)
        self.assertIsNone(self.caller(constant(-8, 1)).level_dbfs, "an idle A-law line")
        self.assertIsNotNone(self.caller(constant(9, 1)).level_dbfs)

    def test_the_level_is_that_of_the_whole_file(self) -> None:
        samples = np.concatenate((constant(1000, 40), silence(120)))
        self.assertEqual(self.caller(samples).level_dbfs, round(20 * math.log10(500 / 32768), 1))

    def test_clipping_is_a_run_at_full_scale(self) -> None:
        for value in (32767, -32768, 32124, -32124):
            for run, clipped in ((1, False), (2, False), (3, True)):
                with self.subTest(value=value, run=run):
                    samples = tone(440, 1, SPEECH)
                    samples[500 : 500 + run] = value
                    samples[700 : 700 + min(run, 2)] = value
                    self.assertIs(self.caller(samples).clipped, clipped)

    def test_a_run_over_the_seam_of_two_blocks_counts(self) -> None:
        seam = block_of(RATE)
        for start in (seam - 3, seam - 2, seam - 1, seam):
            with self.subTest(start):
                samples = silence(40)
                samples[start : start + 3] = 32767
                self.assertTrue(self.caller(samples).clipped)
        samples = silence(40)
        samples[seam - 1 : seam + 1] = 32767
        self.assertFalse(self.caller(samples).clipped)

    def test_clipping_alone_is_no_reason(self) -> None:
        loud = tone(440, 3, 60000 / 2).clip(-20000, 20000) * 1
        loud[100:110] = 32767
        self.assertTrue(self.judged(loud, loud).ok)

    def test_truncated(self) -> None:
        full, short, cut = (tone(440, seconds, SPEECH) for seconds in (10, 9.0, 8.99))
        self.assertTrue(self.judged(full, short, 10.0).ok)
        for caller, callee, duration in ((full, cut, 10.0), (cut, full, None), (full, full, 11.1)):
            verdict = self.judged(caller, callee, duration)
            self.assertEqual((verdict.reasons, verdict.truncated), (("truncated",), True))

    def test_several_reasons(self) -> None:
        verdict = self.judged(tone(440, 3, SPEECH), silence(1), 3.0)
        self.assertEqual(verdict.reasons, ("one-way audio: callee silent", "truncated"))

    def test_other_rates(self) -> None:
        wide = heard(tone(440, 2, SPEECH, rate=16000), 16000)
        verdict = judge(wide, wide, 2.0)
        assert verdict.caller is not None
        self.assertEqual(verdict.caller.speech_seconds, 2.0)
        self.assertTrue(verdict.ok)

    def test_who_was_never_heard_is_empty(self) -> None:
        self.assertEqual(judge(Meter(RATE), None, 1.0).reasons, ("empty",))

    def test_blocks_are_half_a_minute_of_whole_windows(self) -> None:
        for rate in (8000, 11025, 16000, 44100):
            with self.subTest(rate):
                self.assertApproximates(block_of(rate) / rate, 32, 0.2)
                self.assertEqual(block_of(rate) % round(rate * module.WINDOW_SECONDS), 0)
