"""Tests of voxrec.sandbox.chaos.schedule: the same seed is the same run, and every fault ends within it."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voxrec.sandbox.chaos.faults import EXCUSES, every_fault
from voxrec.sandbox.chaos.schedule import QUIET_SECONDS, Kind, plan_calls, plan_faults

KINDS = [fault.kind for fault in every_fault(disks=True)]
PARTS = {kind.name: kind.part for kind in KINDS}
seeds = st.integers(0, 10**6)
durations = st.floats(30, 1200)


class FaultPlanTests(SynchronousTestCase):
    @given(seeds, durations)
    def test_a_seed_is_a_plan(self, seed: int, duration: float) -> None:
        self.assertEqual(plan_faults(seed, duration, KINDS), plan_faults(seed, duration, KINDS))

    def test_another_seed_is_another_plan(self) -> None:
        plans = {tuple(plan_faults(seed, 300, KINDS)) for seed in range(20)}
        self.assertEqual(len(plans), 20)

    @given(seeds, durations)
    def test_every_fault_begins_and_ends_within_the_run(self, seed: int, duration: float) -> None:
        for strike in plan_faults(seed, duration, KINDS):
            self.assertGreaterEqual(strike.at, QUIET_SECONDS)
            self.assertLessEqual(strike.end, duration + 0.002)  # both are rounded to milliseconds

    @given(seeds, durations)
    def test_faults_of_one_part_leave_it_time_to_recover(self, seed: int, duration: float) -> None:
        strikes = plan_faults(seed, duration, KINDS)
        for part in set(PARTS.values()):
            own = [strike for strike in strikes if PARTS[strike.fault] == part]
            for earlier, later in pairwise(own):
                self.assertGreaterEqual(later.at - earlier.end, QUIET_SECONDS - 0.002)

    @given(seeds)
    def test_a_usual_run_has_nearly_every_kind(self, seed: int) -> None:
        missing = {kind.name for kind in KINDS} - {strike.fault for strike in plan_faults(seed, 300, KINDS)}
        self.assertLessEqual(len(missing), 4, missing)

    def test_a_part_that_stays_taken_loses_its_fault(self) -> None:
        kinds = [Kind(str(number), "one", 10, 10) for number in range(10)]
        strikes = plan_faults(1, 30, kinds)
        self.assertGreater(len(strikes), 1)
        self.assertLessEqual(len(strikes), 30 // (30 / 5 + QUIET_SECONDS))

    def test_names_are_unique_and_excuses_name_faults_that_there_are(self) -> None:
        self.assertEqual(len(PARTS), len(KINDS))
        self.assertLessEqual(frozenset().union(*EXCUSES), set(PARTS))


class CallPlanTests(SynchronousTestCase):
    def test_each_call_has_a_number_of_its_own_and_a_length_within_the_limits(self) -> None:
        calls = plan_calls(7, 500, 3, 15)
        self.assertEqual(len({call.number for call in calls}), 500)
        self.assertTrue(all(3 <= call.seconds <= 15 for call in calls))
        self.assertGreater(len({call.seconds for call in calls}), 20)

    def test_a_seed_is_a_plan(self) -> None:
        self.assertEqual(plan_calls(7, 50, 3, 15), plan_calls(7, 50, 3, 15))
        self.assertNotEqual(plan_calls(7, 50, 3, 15), plan_calls(8, 50, 3, 15))
