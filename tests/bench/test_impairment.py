"""Tests of bench.impairment: the results as a section of the report."""

from dataclasses import replace
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from bench.fidelity import SCENARIOS
from bench.impairment import MEASURED, Outcome, Variant, section
from voxrec.sandbox.fidelity import HeardTrack, Track
from voxrec.sandbox.impaired_call import CallFidelity
from voxrec.sandbox.rootfs import ASTERISK_16, ASTERISK_22

TRACK = Track(sent=800, found=800, exact=800, displaced=0, offset=40.0, drift=0.0, snr_db=float("inf"))


def heard(found: int) -> HeardTrack:
    return HeardTrack(replace(TRACK, found=found), 20.0, 40.0)


class OutcomeTests(SynchronousTestCase):
    def outcome(self, **changes: Any) -> Outcome:
        complete = CallFidelity(heard_by_callee=heard(800), heard_by_caller=heard(800), left=TRACK, right=TRACK)
        return Outcome.of(replace(complete, **changes))

    def test_the_worse_side_counts(self) -> None:
        self.assertEqual(self.outcome(), (100.0, 0.0))
        self.assertEqual(self.outcome(left=replace(TRACK, found=760)), (95.0, 0.0))
        self.assertEqual(self.outcome(right=replace(TRACK, found=760, offset=10.0)), (95.0, 30.0))

    def test_what_the_other_party_did_not_hear_is_not_missing(self) -> None:
        lost = replace(TRACK, found=760)
        self.assertEqual(self.outcome(heard_by_callee=heard(760), left=lost), (100.0, 0.0))
        self.assertEqual(self.outcome(heard_by_caller=heard(760), left=lost), (95.0, 0.0))


class SectionTests(SynchronousTestCase):
    def test_all_scenarios_exist(self) -> None:
        self.assertLessEqual(set(MEASURED), SCENARIOS.keys())

    def test_variants_are_columns_and_the_worst_scenario_is_compared_with_the_target(self) -> None:
        good = {name: [Outcome(99.6, 12.0), Outcome(100.0, 4.0)] for name in MEASURED}
        bad = {**good, "5 % lost": [Outcome(99.2, 60.0)], "jitter 40 ms": [Outcome(88.0, 3.0), Outcome(86.0, 9.0)]}
        report = section({Variant("22", ASTERISK_22, jitter_buffer=True): good, Variant("16", ASTERISK_16): bad})
        recorded, offsets = report.tables
        self.assertEqual(recorded.columns[1:], ("22, jitter buffer", "16"))
        self.assertIn(("jitter 40 ms", "99.8 (99.6 to 100.0)", "87.0 (86.0 to 88.0)"), recorded.rows)
        self.assertIn(("5 % lost", "8 (4 to 12)", "60 (60 to 60)"), offsets.rows)
        self.assertEqual([target.met for target in report.targets], [True, True, False, False])
        self.assertIn("16: recorded (jitter 40 ms)", report.targets[2].goal)
        self.assertIn("16: displacement (5 % lost)", report.targets[3].goal)
