"""Tests of voxrec.web.parameters."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.subtest import subtest
from voxrec.errors import InvalidValue
from voxrec.model import EventType
from voxrec.web.parameters import integer, one_of, some_of, text, timestamp, uuid, uuids


class ParameterTests(SynchronousTestCase):
    @given(st.integers())
    def test_integer(self, number: int) -> None:
        parameter = integer(1, 1000, "")
        try:
            self.assertEqual(parameter.parse(str(number)), number)
            self.assertTrue(1 <= number <= 1000)
        except ValueError:
            self.assertFalse(1 <= number <= 1000)

    @given(st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1), timezones=st.just(UTC)))
    def test_timestamp(self, moment: datetime) -> None:
        self.assertEqual(timestamp.parse(moment.isoformat()), moment)
        self.assertEqual(timestamp.parse(moment.isoformat().replace("+00:00", "Z")), moment)
        self.assertEqual(timestamp.parse(moment.isoformat().replace("+00:00", "z").replace("T", "t")), moment)
        self.assertEqual(timestamp.parse(f"{(moment + timedelta(hours=2)).isoformat()[:-6]}+02:00"), moment)

    def test_text(self) -> None:
        self.assertEqual(text.parse("a" * 255), "a" * 255)
        for wrong, code, params in (
            ("", "too-short", {"minimum": 1}),
            ("a" * 256, "too-long", {"maximum": 255}),
            ("\0" * 256, "too-long", {"maximum": 255}),
            ("a\0", "nul-character", {}),
        ):
            with subtest(wrong):
                error = self.assertRaises(InvalidValue, text.parse, wrong)
                self.assertEqual((error.code, error.params), (code, params))

    def test_timestamps_that_are_refused(self) -> None:
        for wrong, code in (
            ("", "not-a-timestamp"),
            ("2026-01-31T09:30:00 01:00", "not-a-timestamp"),
            ("2026-01-31T09:30:00", "no-utc-offset"),
            ("2026-01-31", "no-utc-offset"),
            ("0001-01-01T00:00:00+01:00", "not-a-timestamp"),  # a year that Python does not represent in UTC
        ):
            with subtest(wrong):
                self.assertEqual(self.assertRaises(InvalidValue, timestamp.parse, wrong).code, code)

    def test_one_of(self) -> None:
        parameter = one_of(["a", "b"], "", title="Letter")
        self.assertEqual(parameter.parse("a"), "a")
        self.assertEqual(str(self.assertRaises(ValueError, parameter.parse, "c")), "must be one of a, b")

    def test_some_of(self) -> None:
        parameter = some_of([*EventType], "", example="call.ended")
        self.assertEqual(
            parameter.parse("call.ended,call.answered"), (EventType("call.ended"), EventType("call.answered"))
        )
        pattern = parameter.schema["pattern"]
        self.assertRegex("call.ended,call.answered", pattern)
        for wrong in ("", "call.ended,", "callXended"):
            with subtest(wrong):
                self.assertRaises(ValueError, parameter.parse, wrong)
                self.assertNotRegex(wrong, pattern)

    def test_uuids(self) -> None:
        one, other = UUID(int=1), UUID(int=2)
        self.assertEqual(uuid("").parse(str(one)), one)
        self.assertEqual(uuids("").parse(f"{one},{other}"), {one, other})
        for wrong in ("", one.hex, f"{{{one}}}", f"{one},", f"urn:uuid:{one}"):
            with subtest(wrong):
                self.assertRaises(ValueError, uuid("").parse, wrong)
                self.assertRaises(ValueError, uuids("").parse, wrong)
