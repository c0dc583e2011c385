"""Tests of voxrec.sandbox.chaos.schedule: repeatability, and limits of the scheduled faults."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voxrec.sandbox.chaos.faults import ALLOWED_EFFECTS, all_faults
from voxrec.sandbox.chaos.outages import TAKEOVER, TAKEOVER_WITHOUT_PROFILES, UNCONNECTED
from voxrec.sandbox.chaos.schedule import RECOVERY_SECONDS, FaultKind, plan_calls, plan_faults

KINDS = [fault.kind for fault in all_faults(include_full_disks=True)]
COMPONENTS = {kind.name: kind.component for kind in KINDS}
seeds = st.integers(0, 10**6)
durations = st.floats(30, 1200)


class FaultScheduleTests(SynchronousTestCase):
    @given(seeds, durations)
    def test_the_schedule_depends_only_on_the_seed(self, seed: int, duration: float) -> None:
        self.assertEqual(plan_faults(seed, duration, KINDS), plan_faults(seed, duration, KINDS))

    def test_different_seeds_have_different_schedules(self) -> None:
        schedules = {tuple(plan_faults(seed, 300, KINDS)) for seed in range(20)}
        self.assertEqual(len(schedules), 20)

    @given(seeds, durations)
    def test_every_fault_begins_and_ends_within_the_run(self, seed: int, duration: float) -> None:
        for scheduled in plan_faults(seed, duration, KINDS):
            self.assertGreaterEqual(scheduled.at, RECOVERY_SECONDS)
            self.assertLessEqual(scheduled.end, duration + 0.002)  # both are rounded to milliseconds

    @given(seeds, durations)
    def test_faults_of_one_component_leave_time_to_recover(self, seed: int, duration: float) -> None:
        scheduled_faults = plan_faults(seed, duration, KINDS)
        for component in set(COMPONENTS.values()):
            own = [scheduled for scheduled in scheduled_faults if COMPONENTS[scheduled.fault] == component]
            for earlier, later in pairwise(own):
                self.assertGreaterEqual(later.at - earlier.end, RECOVERY_SECONDS - 0.002)

    @given(seeds)
    def test_a_run_of_300_seconds_has_nearly_every_kind_of_fault(self, seed: int) -> None:
        missing = {kind.name for kind in KINDS} - {scheduled.fault for scheduled in plan_faults(seed, 300, KINDS)}
        self.assertLessEqual(len(missing), 4, missing)

    def test_a_fault_that_does_not_fit_is_left_out(self) -> None:
        kinds = [FaultKind(str(number), "one", 10, 10) for number in range(10)]
        scheduled_faults = plan_faults(1, 30, kinds)
        self.assertGreater(len(scheduled_faults), 1)
        self.assertLessEqual(len(scheduled_faults), 30 // (30 / 5 + RECOVERY_SECONDS))

    def test_names_are_unique_and_allowed_effects_name_existing_faults(self) -> None:
        self.assertEqual(len(COMPONENTS), len(KINDS))
        self.assertLessEqual(
            frozenset().union(*ALLOWED_EFFECTS), {*COMPONENTS, TAKEOVER, TAKEOVER_WITHOUT_PROFILES, UNCONNECTED}
        )


class CallScheduleTests(SynchronousTestCase):
    def test_each_call_has_a_unique_number_and_a_length_within_the_limits(self) -> None:
        calls = plan_calls(7, 500, 3, 15)
        self.assertEqual(len({call.number for call in calls}), 500)
        self.assertTrue(all(3 <= call.seconds <= 15 for call in calls))
        self.assertGreater(len({call.seconds for call in calls}), 20)

    def test_the_schedule_depends_only_on_the_seed(self) -> None:
        self.assertEqual(plan_calls(7, 50, 3, 15), plan_calls(7, 50, 3, 15))
        self.assertNotEqual(plan_calls(7, 50, 3, 15), plan_calls(8, 50, 3, 15))
