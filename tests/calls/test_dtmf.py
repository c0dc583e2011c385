"""Tests of voxrec.calls.dtmf, and of what the codes do in a call."""

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.calls.test_call_machine import talking
from tests.calls.test_call_recording import timeline
from voxrec.calls.dtmf import DtmfCodes
from voxrec.model import Side


class DtmfCodesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.matches: list[tuple[str, Side]] = []

    def make_codes(self, *codes: str) -> DtmfCodes:
        def matched(code: str) -> Callable[[Side], None]:
            return lambda side: self.matches.append((code, side))

        return DtmfCodes(self.clock, {code: matched(code) for code in codes})

    def test_code_behind_other_digits(self) -> None:
        codes = self.make_codes("*1")
        for digit in "55*1":
            codes.digit_received(Side.CALLER, digit)
        self.assertEqual(self.matches, [("*1", Side.CALLER)])

    def test_longest_code_matches(self) -> None:
        codes = self.make_codes("1", "*1", "9*1")
        for digit in "*19*1":
            codes.digit_received(Side.CALLEE, digit)
        self.assertEqual([code for code, _ in self.matches], ["*1", "9*1"])

    def test_timeout_between_digits(self) -> None:
        codes = self.make_codes("*1")
        for seconds, found in ((3.0, 1), (3.1, 1)):
            codes.digit_received(Side.CALLER, "*")
            self.clock.advance(seconds)
            codes.digit_received(Side.CALLER, "1")
            self.assertEqual(len(self.matches), found)

    def test_digits_of_different_parties_are_no_code(self) -> None:
        codes = self.make_codes("*1")
        codes.digit_received(Side.CALLER, "*")
        codes.digit_received(Side.CALLEE, "1")
        self.assertEqual(self.matches, [])

    def test_digit_belongs_to_one_code(self) -> None:
        codes = self.make_codes("11")
        for digit in "111":
            codes.digit_received(Side.CALLER, digit)
        self.assertEqual(len(self.matches), 1)


class CallTests(SynchronousTestCase):
    def test_same_code_toggles_the_pause(self) -> None:
        for fields in ({}, {"record_resume_code": "*1"}):
            fixture = talking(record_pause_code="*1", **fields)
            states = []
            for _ in range(3):
                for digit in "*1":
                    fixture.call.digit_received(Side.CALLEE, digit)
                states.append(fixture.recording.state.value)
            self.assertEqual(states, ["paused", "recording", "paused"])

    def test_timeline_does_not_contain_the_digit(self) -> None:
        fixture = talking(record_pause_code="*1")
        fixture.call.digit_received(Side.CALLER, "7")
        self.assertEqual(timeline(fixture)[-1], ("dtmf", None))

    def test_code_without_recording_changes_nothing(self) -> None:
        fixture = talking(record=False, record_pause_code="1")
        fixture.call.digit_received(Side.CALLER, "1")
        self.assertEqual(fixture.take_requests(), [])
