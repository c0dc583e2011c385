"""Tests of voxrec.audio.verdict."""

import math

import msgspec
import numpy as np
from twisted.trial.unittest import SynchronousTestCase

from tests.audio.fixtures import RATE, SPEECH_AMPLITUDE, Samples, constant, measure, silence, tone
from voxrec.audio.displacement import surplus_seconds
from voxrec.audio.meter import Meter
from voxrec.audio.verdict import make_verdict
from voxrec.model import RtpCounters, RtpStatistics, Side, SideVerdict, Verdict

COUNTERS = RtpCounters(packets_received=300, packets_lost=0, max_jitter_ms=2.0, mean_jitter_ms=0.5)


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
        for count, frames, reasons in (
            (4, 1, []),
            (4, 2, []),
            (4, 3, ["gaps: caller"]),
            (5, 1, ["gaps: caller"]),
        ):
            samples = constant(1000, 3)
            for number in range(1, count + 1):
                samples[number * 1600 : number * 1600 + 160 * frames] = 0
            verdict = self.verdict(samples, constant(1000, 3))
            self.assertEqual(list(verdict.reasons), reasons)
            assert verdict.caller is not None
            self.assertEqual(verdict.caller.gap_seconds, round(count * frames * 0.02, 2))

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


class DisplacementTests(SynchronousTestCase):
    """Audio that was recorded at another time than it was heard."""

    def noise(self, seconds: float = 6.0, seed: int = 1) -> Samples:
        samples: Samples = np.random.default_rng(seed).normal(0, 3000, round(seconds * RATE)).astype(np.int16)
        return samples

    def verdict(
        self,
        caller: Samples,
        callee: Samples,
        observed: float | None = None,
        *,
        of_caller: RtpCounters = COUNTERS,
    ) -> Verdict:
        statistics = RtpStatistics(caller=of_caller, callee=COUNTERS)
        return make_verdict(measure(caller), measure(callee), observed, statistics, observed_duration=observed)

    def with_duplicates(self, samples: Samples, count: int) -> Samples:
        """Return audio in which the first packets are recorded twice."""
        packets = np.split(samples, range(160, len(samples), 160))
        return np.concatenate([*(np.tile(packet, 2) for packet in packets[:count]), *packets[count:]])

    def with_gaps(self, samples: Samples, count: int) -> Samples:
        """Return audio in which MixMonitor has inserted silence, of a frame each."""
        packets = np.split(samples, range(160, len(samples), 160))
        interrupted = [np.concatenate((packet, silence(0.02))) for packet in packets[:count]]
        return np.concatenate((*interrupted, *packets[count:]))

    def test_clean_calls_of_any_length(self) -> None:
        """The clocks of two telephones differ by up to 0.01 %: 6 ms a minute."""
        for seconds, displacement in ((1.0, None), (4.9, None), (5.0, 20), (60.0, 26), (300.0, 50), (1200.0, 100)):
            counters = msgspec.structs.replace(COUNTERS, packets_received=round(seconds * 50))
            meter = measure(self.noise(seconds))
            statistics = RtpStatistics(caller=counters, callee=counters)
            verdict = make_verdict(meter, meter, seconds, statistics, observed_duration=seconds + 0.05)
            self.assertEqual((verdict.reasons, verdict.excess_seconds), ((), 0.0))
            self.assertEqual(verdict.displacement_ms, displacement, "lost packets are counted every 5 s")

    def test_clocks_of_telephones_differ(self) -> None:
        caller = Meter(RATE)
        caller.feed(self.noise())
        for hours in (0.01, 1, 3, 24):
            for excess, surplus in ((0.0001, False), (0.0002, False), (0.009, False), (0.011, True)):
                caller.frames = round(hours * 3600 * RATE * (1 + excess))
                self.assertEqual(bool(surplus_seconds({Side.CALLER: caller}, hours * 3600.0)), surplus, excess)

    def test_a_busy_machine_makes_a_call_a_little_longer(self) -> None:
        caller = Meter(RATE)
        caller.feed(self.noise())
        caller.frames = round(901.3 * RATE)
        self.assertEqual(surplus_seconds({Side.CALLER: caller}, 900.0), {})

    def test_duplicates(self) -> None:
        for count, reasons in ((4, ()), (5, ("displaced: callee",))):
            verdict = self.verdict(self.noise(), self.with_duplicates(self.noise(seed=2), count))
            self.assertEqual(verdict.reasons, reasons)
            assert verdict.callee is not None
            self.assertEqual(verdict.callee.duplicate_seconds, count * 0.02)
        self.assertEqual(verdict.displacement_ms, 100)

    def test_silence_beside_duplicates_misses_nothing(self) -> None:
        caller, callee = self.with_gaps(self.noise(), 12), self.with_duplicates(self.noise(seed=2), 12)
        verdict = self.verdict(caller, callee, 6.0)
        self.assertEqual((verdict.reasons, verdict.excess_seconds), (("displaced: callee",), 0.24))
        assert verdict.caller is not None
        self.assertEqual(verdict.caller.gap_seconds, 0.24)
        missing = self.verdict(self.with_gaps(self.noise(), 22), callee, 6.0)
        self.assertEqual(missing.reasons, ("gaps: caller", "displaced: callee"))

    def test_audio_that_is_longer_than_the_call(self) -> None:
        other = self.noise(seed=2)
        for caller, observed, reasons in (
            (self.noise(), 5.79, ("displaced: caller", "displaced: callee")),
            (self.noise(), 5.81, ()),
            (self.noise(), None, ()),  # nobody has observed the end of the call
            (self.with_gaps(self.noise(5.8), 10), 5.79, ("displaced: callee",)),
        ):
            self.assertEqual(self.verdict(caller, other, observed).reasons, reasons, observed)

    def test_jitter(self) -> None:
        samples = self.noise()
        for mean, greatest, received, reasons, displacement in (
            (7.9, 20.0, 300, (), 20),
            (8.0, 20.0, 300, ("displaced: caller",), 52),
            (30.0, 60.0, 300, ("displaced: caller",), 100),
            (11.9, 20.0, 200, (), 30),  # packets of 30 ms change their order less easily
            (12.0, 20.0, 200, ("displaced: caller",), 78),
            (23.9, 60.0, 100, (), 60),
            (8.0, 20.0, 600, ("displaced: caller",), 52),
            (8.0, 20.0, 49, (), 20),
            (50.0, 626.0, 300, (), 20),  # the timestamps have jumped
            (5000.0, 6000.0, 300, (), 20),
            (None, 20.0, 300, (), 20),
        ):
            counters = RtpCounters(
                packets_received=received, packets_lost=0, max_jitter_ms=greatest, mean_jitter_ms=mean
            )
            verdict = self.verdict(samples, samples, of_caller=counters)
            self.assertEqual((verdict.reasons, verdict.displacement_ms), (reasons, displacement), (mean, greatest))

    def test_lost_packets_displace(self) -> None:
        for lost, displacement in ((0, 20), (1, 40), (3, 80), (9, 100)):
            counters = RtpCounters(packets_received=10_000, packets_lost=lost)
            verdict = self.verdict(self.noise(), self.noise(seed=2), of_caller=counters)
            self.assertEqual((verdict.reasons, verdict.displacement_ms), ((), displacement))

    def test_silence_shows_that_the_other_party_was_ahead(self) -> None:
        for gaps, displacement in ((0, 20), (1, 80), (4, 100)):
            verdict = self.verdict(self.with_gaps(self.noise(), gaps), self.noise(seed=2))
            self.assertEqual((verdict.reasons, verdict.displacement_ms), ((), displacement))

    def test_displacement_is_not_known_without_statistics(self) -> None:
        self.assertIsNone(make_verdict(measure(self.noise()), measure(self.noise()), 4.0).displacement_ms)
        half = RtpStatistics(caller=COUNTERS)
        self.assertIsNone(make_verdict(measure(self.noise()), measure(self.noise()), 4.0, half).displacement_ms)
