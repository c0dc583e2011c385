"""Tests of voxrec.audio.displacement with what MixMonitor records of simulated calls."""

from collections.abc import Sequence
from typing import NamedTuple

from twisted.trial.unittest import SynchronousTestCase

from tests.audio.audiohook import AudioHook, Party, at_random, in_bursts, jitter, stalls
from tests.audio.displaced_calls import SimulatedCall

DISPLACED = ("displaced: caller",)
BOTH_DISPLACED = ("displaced: caller", "displaced: callee")
CALLEE = Party(phase=7.0)
MAX_QUEUE_MS = 80.0  # by which Asterisk 22 lets a party be ahead, and the time between two packets


class Case(NamedTuple):
    """A call, and the reasons of its verdict that concern displacement, with Asterisk 22."""

    caller: Party
    callee: Party = CALLEE
    reasons: Sequence[str] = ()
    has_state: bool = False


class SimulationTests(SynchronousTestCase):
    """Calls of 3 s and of a minute that the limits were not chosen with."""

    def check(self, *cases: Case, seconds: Sequence[float] = (3.0, 60.0)) -> None:
        for case in cases:
            for duration in seconds:
                for hook in (AudioHook(22), AudioHook(22, frame=1), AudioHook(16)):
                    call = SimulatedCall.of(case.caller, case.callee, duration, hook, has_state=case.has_state)
                    message = (
                        f"{case}, {duration} s, {hook}: {call.displacement.typical_maximum:.0f} ms, {call.verdict}"
                    )
                    self.assert_bound(call, message)
                    if hook.version == 22:
                        self.assert_verdict(call, case, duration, message)

    def assert_bound(self, call: SimulatedCall, message: str) -> None:
        """Assert that ``displacementMs`` is no less than the displacement, but for 10 ms of when packets are sent."""
        estimate = call.verdict.displacement_ms
        if estimate is not None:
            self.assertLessEqual(call.displacement.typical_maximum, estimate + 10.0, message)

    def assert_verdict(self, call: SimulatedCall, case: Case, duration: float, message: str) -> None:
        found = tuple(reason for reason in call.verdict.reasons if reason.startswith("displaced"))
        if duration >= 60.0:
            self.assertEqual(found, tuple(case.reasons), message)
        if not found:
            self.assertLessEqual(call.displacement.typical_maximum, MAX_QUEUE_MS, message)

    def test_clocks(self) -> None:
        """Clocks that differ by what telephones have are no reason."""
        self.check(*(Case(Party(ppm=ppm)) for ppm in (20.0, -20.0, 100.0, -100.0, 200.0, -200.0)))
        self.check(Case(Party(ppm=100.0)), Case(Party(ppm=-100.0)), seconds=(300.0,))

    def test_clocks_during_a_quarter_of_an_hour(self) -> None:
        """MixMonitor of Asterisk 22 lets them displace the sides by 60 ms, and then writes silence."""
        for ppm in (100.0, -100.0, 200.0, -200.0):
            call = SimulatedCall.of(Party(ppm=ppm), CALLEE, 900.0, AudioHook(22))
            self.assertEqual(call.verdict.reasons, (), ppm)
            self.assertLess(call.verdict.excess_seconds, 900.0 * 0.0003)
            self.assertGreater(call.displacement.typical_maximum, 50.0)
            self.assertLessEqual(call.displacement.typical_maximum, 65.0)
            self.assertEqual(call.verdict.displacement_ms, 100)

    def test_lost_packets(self) -> None:
        self.check(
            Case(Party(lost=at_random(0.001, 1))),
            Case(Party(lost=at_random(0.007, 2))),
            Case(Party(lost=at_random(0.03, 3)), Party(phase=13.0, lost=at_random(0.002, 4))),
            Case(Party(lost=in_bursts(0.005, 4.0, 5))),
            Case(Party(lost=in_bursts(0.02, 3.0, 6)), Party(phase=3.0, lost=in_bursts(0.02, 3.0, 7))),
        )

    def test_packets_of_other_durations(self) -> None:
        durations = ((10, 20), (30, 20), (40, 20), (60, 20), (30, 30), (60, 60), (10, 60))
        self.check(*(Case(Party(ptime), Party(other, phase=13.0)) for ptime, other in durations))

    def test_jitter(self) -> None:
        self.check(
            Case(Party(delays=jitter(5.0, 1))),
            Case(Party(delays=jitter(15.0, 2))),
            Case(Party(delays=jitter(35.0, 3)), reasons=DISPLACED),
            Case(Party(delays=jitter(35.0, 4)), Party(phase=3.0, delays=jitter(35.0, 5)), reasons=BOTH_DISPLACED),
        )

    def test_jitter_of_long_packets_does_not_change_their_order(self) -> None:
        for ptime, greatest in ((30, 25.0), (40, 30.0)):
            call = SimulatedCall.of(Party(ptime, delays=jitter(greatest, ptime)), CALLEE, 60.0, AudioHook(22))
            self.assertEqual(call.verdict.reasons, (), ptime)
            self.assertLessEqual(call.displacement.typical_maximum, ptime + 20.0)

    def test_packets_that_arrive_twice_with_a_codec_that_has_a_state(self) -> None:
        for share, reasons in ((0.005, ()), (0.03, DISPLACED), (0.2, DISPLACED)):
            call = SimulatedCall.of(Party(twice=at_random(share, 1)), CALLEE, 60.0, AudioHook(22), has_state=True)
            self.assertEqual(tuple(reason for reason in call.verdict.reasons), reasons, share)
            self.assertEqual(call.verdict.displacement_ms, 100)

    def test_a_machine_that_is_busy(self) -> None:
        for every, length, reasons in ((30_000.0, 120.0, ()), (60_000.0, 200.0, ()), (5000.0, 200.0, BOTH_DISPLACED)):
            caller, callee = (Party(phase=7.0 * seed, delays=stalls(every, length, seed)) for seed in (1, 2))
            call = SimulatedCall.of(caller, callee, 300.0, AudioHook(22))
            self.assertEqual(call.verdict.reasons, reasons, (every, length, call.verdict))
            self.assertEqual(call.verdict.displacement_ms, 100)
