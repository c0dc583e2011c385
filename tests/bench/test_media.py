"""Tests of bench.media: the CPU of a call divided into its parts, and the results as a section of the report."""

from twisted.trial.unittest import TestCase

from bench.media import BRIDGE, DIAL, DUAL, LONG, MEASURED, MONO, SHORT, SPLIT, Comparison, Split, _difference, _section

PER_MINUTE, PER_CALL = 0.3, 0.006  # seconds of CPU, of MixMonitor


def cpu(seconds: float, *, per_minute: float = PER_MINUTE, per_call: float = PER_CALL) -> float:
    """Return the CPU of a call of ``seconds``."""
    return per_call + per_minute * seconds / 60


def comparison(seconds: float, factor: float, more_per_call: float, *, files: int = 80) -> Comparison:
    """Return two rounds of a variant; foreign load makes everything in the second one a third more expensive."""
    variant = cpu(seconds, per_minute=factor * PER_MINUTE, per_call=PER_CALL + more_per_call)
    return Comparison(cpu=[variant, variant * 4 / 3], base=[cpu(seconds), cpu(seconds) * 4 / 3], files=files)


class SplitTests(TestCase):
    def test_the_parts_of_a_call(self) -> None:
        split = Split(cpu(SHORT), cpu(LONG))
        self.assertAlmostEqual(split.per_minute, PER_MINUTE)
        self.assertAlmostEqual(split.per_call, PER_CALL)

    def test_the_ratio_does_not_depend_on_foreign_load(self) -> None:
        ratio = comparison(LONG, 1.05, 0.005).ratio
        self.assertAlmostEqual(ratio.low, ratio.high)
        self.assertAlmostEqual(ratio.median, (1.05 * PER_MINUTE + PER_CALL + 0.005) / (PER_MINUTE + PER_CALL))

    def test_the_difference_of_each_part(self) -> None:
        one_round = [comparison(seconds, 1.05, 0.005) for seconds in (SHORT, LONG)]
        for each in one_round:
            del each.cpu[1], each.base[1]
        ratio, difference = _difference(*one_round)
        self.assertAlmostEqual(ratio, 1.05)
        self.assertAlmostEqual(difference, 0.005)


class SectionTests(TestCase):
    def section_targets(self, factor: float) -> dict[str, bool]:
        results = {each: comparison(each[1], 1.0, 0.0) for each in MEASURED}
        results[DUAL, SHORT] = comparison(SHORT, factor, 0.005)
        results[DUAL, LONG] = comparison(LONG, factor, 0.005)
        return {target.goal: target.met for target in _section(results, 2).targets}

    def test_set_up_counts_in_calls_of_a_minute(self) -> None:
        self.assertEqual(
            self.section_targets(1.05),
            {
                "voxrec dual relative to MixMonitor, calls of 60 s: at most 1.08": True,
                "recordings with a gap, dual compared with MixMonitor: at most 0": True,
                "voxrec's recordings: at least 160": True,
            },
        )
        self.assertFalse(self.section_targets(1.07)["voxrec dual relative to MixMonitor, calls of 60 s: at most 1.08"])

    def test_a_missing_recording_misses_a_target(self) -> None:
        results = {each: comparison(each[1], 1.0, 0.0) for each in MEASURED}
        results[MONO, SHORT].files -= 1
        self.assertEqual([target.met for target in _section(results, 2).targets], [True, True, False])

    def test_every_variant_is_measured_with_short_calls(self) -> None:
        self.assertEqual({name for name, seconds in MEASURED if seconds == SHORT}, {DIAL, SPLIT, BRIDGE, MONO, DUAL})
