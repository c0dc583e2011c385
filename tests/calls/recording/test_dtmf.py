"""Tests of voxrec.calls.recording.dtmf: which digits are a code."""

from collections.abc import Callable

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from voxrec.calls.recording.dtmf import DtmfCodes
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

    def test_digits_of_a_party_that_has_left_are_forgotten(self) -> None:
        codes = self.make_codes("*1")
        for side in Side:
            codes.digit_received(side, "*")
        codes.forget(Side.CALLEE)
        for side in Side:
            codes.digit_received(side, "1")
        self.assertEqual(self.matches, [("*1", Side.CALLER)])
