"""Tests of voxrec.web.ranges."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voxrec.web.errors import RangeNotSatisfiable
from voxrec.web.ranges import parse_range


class RangeTests(SynchronousTestCase):
    @given(st.text(max_size=40) | st.from_regex(r"bytes=[0-9]{0,4}-[0-9]{0,4}", fullmatch=True), st.integers(0, 3000))
    def test_lies_within(self, header: str, size: int) -> None:
        try:
            span = parse_range(header, size)
        except RangeNotSatisfiable as error:
            self.assertEqual(error.headers, {"Content-Range": f"bytes */{size}"})
            return
        if span is not None:
            self.assertGreater(span.length, 0)
            self.assertLessEqual(0, span.start)
            self.assertLessEqual(span.start + span.length, size)

    def test_positions_of_any_length(self) -> None:
        digits = "9" * 30
        span = parse_range(f"bytes=5-{digits}", 10)
        self.assertEqual(None if span is None else (span.start, span.length), (5, 5))
        span = parse_range(f"bytes=-{digits}", 10)
        self.assertEqual(None if span is None else (span.start, span.length), (0, 10))
        self.assertRaises(RangeNotSatisfiable, parse_range, f"bytes={digits}-", 10)

    @given(st.integers(0, 5000), st.integers(0, 5000), st.integers(1, 3000))
    def test_is_the_slice(self, first: int, last: int, size: int) -> None:
        content = bytes(n % 256 for n in range(size))
        wanted = content[first : last + 1]
        try:
            span = parse_range(f"bytes={first}-{last}", size)
        except RangeNotSatisfiable:
            self.assertGreaterEqual(first, size)
            return
        if span is None:
            self.assertGreater(first, last)
        else:
            self.assertEqual(content[span.start : span.start + span.length], wanted)
