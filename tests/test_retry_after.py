"""Tests of voxrec.retry_after."""

from datetime import UTC, datetime

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voxrec.retry_after import retry_after_seconds

NOW = datetime(2026, 5, 6, 12, tzinfo=UTC)
LIMIT = 3600.0


class RetryAfterTests(SynchronousTestCase):
    def test_seconds_and_dates(self) -> None:
        for value, expected in {
            "0": 0.0,
            " 120 ": 120.0,
            "1000000000": LIMIT,
            "9" * 5000: LIMIT,
            "Wed, 06 May 2026 12:10:00 GMT": 600.0,
            "Wed, 06 May 2026 12:10:00": 600.0,
            "Wed, 06 May 2026 14:10:00 +0200": 600.0,
            "Wed, 06 May 2026 11:00:00 GMT": 0.0,
            "Mon, 01 Jan 0001 00:00:00 +2359": 0.0,
            "Fri, 31 Dec 9999 23:59:59 GMT": LIMIT,
            "Fri, 31 Dec 9999 23:59:59 -2359": LIMIT,
        }.items():
            self.assertEqual(retry_after_seconds(value, NOW, LIMIT), expected, value)

    def test_what_is_neither_is_ignored(self) -> None:
        for value in (
            *("", "-5", "1e9", "1.5", "soon", "\u00b2", "Fri, 31 Dec 10000 00:00:00 GMT", "nan"),
            *("Fri, 31 Dec 1999 23:59:59 +999999999999999", f"Fri, {'9' * 30} Dec 1999 23:59:59 GMT"),
        ):
            self.assertIsNone(retry_after_seconds(value, NOW, LIMIT), value)

    @given(st.text())
    def test_arbitrary_values(self, value: str) -> None:
        seconds = retry_after_seconds(value, NOW, LIMIT)
        self.assertTrue(seconds is None or 0 <= seconds <= LIMIT)
