"""Tests of voxrec.web.read_only."""

from datetime import datetime
from typing import Any, Final
from uuid import UUID

from msgspec import Struct
from twisted.trial.unittest import SynchronousTestCase

from tests.subtest import subtest
from voxrec.web.read_only import is_repeated

TIME: Final = "2026-01-31T09:30:05.123456Z"


class Point(Struct, omit_defaults=True):
    at: float
    by: str | None = None


class IsRepeatedTests(SynchronousTestCase):
    def check(self, type_: Any, current: object, *, repeated: tuple[object, ...], changed: tuple[object, ...]) -> None:
        for sent in repeated:
            with subtest(sent):
                self.assertTrue(is_repeated(sent, current, type_))
        for sent in changed:
            with subtest(sent):
                self.assertFalse(is_repeated(sent, current, type_))

    def test_times_in_any_notation(self) -> None:
        self.check(
            datetime,
            TIME,
            repeated=(
                TIME,
                "2026-01-31T09:30:05.123456+00:00",  # Python: datetime.isoformat()
                "2026-01-31 09:30:05.123456+00:00",  # Python: str(datetime)
                "2026-01-31T09:30:05.123Z",  # JavaScript: Date.toISOString()
                "2026-01-31T09:30:05.123456000Z",  # Java: Instant
                "2026-01-31T09:30:05Z",  # Ruby: Time.iso8601
                "2026-01-31T09:30:05+00:00",  # PHP: DateTimeInterface::ATOM
                "2026-01-31T09:30:05.123456+0000",
                "2026-01-31t09:30:05.123456z",
                "2026-01-31T15:00:05.123456+05:30",
                "2026-01-30T23:30:05.123-10:00",
            ),
            changed=(
                "2026-01-31T09:30:05.123457Z",
                "2026-01-31T09:30:05.124Z",
                "2026-01-31T09:30:06.123456Z",
                "2026-01-31T09:30:04Z",
                "2026-01-31T09:30:05.123456+01:00",
                "2026-01-31T09:30:05.123456",  # no offset
                "2026-01-31",
                "now",
                "",
                None,
                1769851805,
            ),
        )

    def test_time_without_seconds(self) -> None:
        self.check(datetime, "2026-01-31T09:30:00Z", repeated=("2026-01-31T09:30Z",), changed=("2026-01-31T09:31Z",))

    def test_null_is_not_a_value(self) -> None:
        self.check(datetime | None, None, repeated=(None,), changed=(TIME, "", 0, False))
        self.check(datetime | None, TIME, repeated=(TIME,), changed=(None,))
        self.check(str | None, None, repeated=(None,), changed=("", "null"))

    def test_uuids_in_any_letter_case(self) -> None:
        current = "5f0c1a52-8d0f-4c1b-9a3e-2b7d6f1c9e04"
        self.check(UUID, current, repeated=(current, current.upper()), changed=(current[:-1] + "5", "", 1, None))

    def test_numbers(self) -> None:
        self.check(int, 44, repeated=(44, 44.0), changed=(45, 44.5, "44", True, None))
        self.check(float, 1.0, repeated=(1, 1.0), changed=(1.1, "1", True))
        self.check(bool, True, repeated=(True,), changed=(1, 1.0, "true"))

    def test_nested_values(self) -> None:
        self.check(
            tuple[Point, ...],
            [{"at": 1.0}, {"at": 2.5, "by": "caller"}],
            repeated=([{"at": 1, "by": None}, {"by": "caller", "at": 2.5}],),
            changed=([{"at": 1}], [{"at": 1}, {"at": 2.5}], [{"at": 1}, {"at": 3, "by": "caller"}], [], {}, None),
        )

    def test_values_of_any_type(self) -> None:
        self.check(Any, "https://rec.example/a", repeated=("https://rec.example/a",), changed=("", None, 1))
