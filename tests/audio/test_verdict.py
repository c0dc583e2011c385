"""Tests of voxrec.audio.verdict."""

import math

import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from tests.audio.fixtures import RATE, SPEECH_AMPLITUDE, Samples, constant, measure, silence, tone
from voxrec.audio.meter import Meter
from voxrec.audio.verdict import make_verdict
from voxrec.model import RtpCounters, RtpStatistics, SideVerdict, Verdict


class VerdictTests(SynchronousTestCase):
    def verdict(self, caller: Samples | None, callee: Samples | None, call_duration: float | None = None) -> Verdict:
        left, right = (None if samples is None else measure(samples) for samples in (caller, callee))
        return make_verdict(left, right, call_duration)

    def caller_verdict(self, samples: Samples) -> SideVerdict:
        side = self.verdict(samples, None).caller
        assert side is not None
        return side

    def test_good_call(self) -> None:
        verdict = self.verdict(tone(440, 3, SPEECH_AMPLITUDE), tone(880, 3, SPEECH_AMPLITUDE), 3.4)
        level = round(20 * math.log10(SPEECH_AMPLITUDE / math.sqrt(2) / 32768), 1)
        self.assertEqual(level, -26.1)
        side = SideVerdict(speech_seconds=3.0, level_dbfs=level, clipped=False)
        self.assertEqual(verdict, Verdict(ok=True, caller=side, callee=side))

    def test_measurements_are_rounded(self) -> None:
        samples = np.concatenate(
            (silence(1), tone(440, 0.5, SPEECH_AMPLITUDE), silence(60), tone(440, 0.25, SPEECH_AMPLITUDE))
        )
        self.assertEqual(self.caller_verdict(samples).speech_seconds, 0.74)
        samples = np.concatenate((constant(1000, 40), silence(120)))
        self.assertEqual(self.caller_verdict(samples).level_dbfs, round(20 * math.log10(500 / 32768), 1))

    def test_reasons(self) -> None:
        speech, mute, empty = tone(440, 3, SPEECH_AMPLITUDE), silence(3), silence(0)
        for caller, callee, reasons in (
            (None, None, ["empty"]),
            (empty, None, ["empty"]),
            (empty, empty, ["empty"]),
            (mute, mute, ["silent"]),
            (mute, None, ["silent"]),
            (mute, speech, ["one-way audio: caller silent", "no signal: caller"]),
            (speech, mute, ["one-way audio: callee silent", "no signal: callee"]),
            (speech, constant(8, 3), ["one-way audio: callee silent"]),  # an idle line in A-law
            (speech, constant(-8, 3), ["one-way audio: callee silent"]),
            (None, speech, ["one-way audio: caller empty"]),
            (speech, empty, ["one-way audio: callee empty"]),
        ):
            with self.subTest(reasons):
                verdict = self.verdict(caller, callee, 3.0)
                self.assertEqual(list(verdict.reasons), reasons)
                self.assertFalse(verdict.ok)

    def test_packet_loss(self) -> None:
        speech = measure(tone(440, 3, SPEECH_AMPLITUDE))
        for received, lost, reasons in (
            (1000, 0, []),
            (1000, 9, []),
            (1000, 11, ["packet loss: callee"]),
            (10, 4, []),
            (0, 0, []),
        ):
            statistics = RtpStatistics(callee=RtpCounters(packets_received=received, packets_lost=lost))
            verdict = make_verdict(speech, speech, 3.0, statistics)
            self.assertEqual((list(verdict.reasons), verdict.ok), (reasons, not reasons))

    def test_gaps(self) -> None:
        for count, reasons in ((9, []), (10, ["gaps: caller"])):
            samples = constant(1000, 3)
            for number in range(1, count + 1):
                samples[number * 1600 : number * 1600 + 160] = 0
            verdict = self.verdict(samples, constant(1000, 3))
            self.assertEqual(list(verdict.reasons), reasons)
            assert verdict.caller is not None
            self.assertEqual(verdict.caller.gap_seconds, count * 0.02)

    def test_empty_side_has_no_verdict(self) -> None:
        verdict = self.verdict(silence(0), tone(440, 1, SPEECH_AMPLITUDE))
        self.assertIsNone(verdict.caller)
        self.assertIsNotNone(verdict.callee)

    def test_click_is_not_speech(self) -> None:
        samples = silence(3)
        samples[8000:8040] = 20000
        self.assertEqual(self.verdict(samples, samples).reasons, ("silent",))

    def test_noise_is_silent_and_has_a_level(self) -> None:
        noise = np.random.default_rng(7).normal(0, 32, 3 * RATE).astype(np.int16)  # -60 dBov
        verdict = self.verdict(noise, noise)
        self.assertEqual(verdict.reasons, ("silent",))
        assert verdict.caller is not None
        assert verdict.caller.level_dbfs is not None
        self.assertApproximates(verdict.caller.level_dbfs, -60, 0.5)

    def test_clipping_is_not_a_reason(self) -> None:
        loud = tone(440, 3, 60000 / 2).clip(-20000, 20000) * 1
        loud[100:110] = 32767
        self.assertTrue(self.verdict(loud, loud).ok)

    def test_truncated(self) -> None:
        full, short, truncated = (tone(440, seconds, SPEECH_AMPLITUDE) for seconds in (10, 9.0, 8.99))
        self.assertTrue(self.verdict(full, short, 10.0).ok)
        for caller, callee, duration in ((full, truncated, 10.0), (truncated, full, None), (full, full, 11.1)):
            verdict = self.verdict(caller, callee, duration)
            self.assertEqual((verdict.reasons, verdict.truncated), (("truncated",), True))

    def test_several_reasons(self) -> None:
        verdict = self.verdict(tone(440, 3, SPEECH_AMPLITUDE), silence(1), 3.0)
        self.assertEqual(verdict.reasons, ("one-way audio: callee silent", "no signal: callee", "truncated"))

    def test_other_sample_rate(self) -> None:
        meter = measure(tone(440, 2, SPEECH_AMPLITUDE, rate=16000), 16000)
        verdict = make_verdict(meter, meter, 2.0)
        assert verdict.caller is not None
        self.assertEqual(verdict.caller.speech_seconds, 2.0)
        self.assertTrue(verdict.ok)

    def test_meter_without_frames_is_empty(self) -> None:
        self.assertEqual(make_verdict(Meter(RATE), None, 1.0).reasons, ("empty",))
