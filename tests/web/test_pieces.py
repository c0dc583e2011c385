"""The small pieces by themselves: Accept, entity tags, ranges, parameters and cursors."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID, uuid4

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.subtest import subtest
from voxrec.cursor import Cursor
from voxrec.errors import InvalidInput
from voxrec.web import query
from voxrec.web.auth import Principal, Role
from voxrec.web.conditions import Conditions, etag_of
from voxrec.web.content_negotiation import accepts
from voxrec.web.problems import BadRequest, PreconditionFailed, RangeNotSatisfiable
from voxrec.web.ranges import span_of
from voxrec.web.request import Request

JSON = "application/json"
TAG = etag_of(b"x")


class AcceptTests(SynchronousTestCase):
    def test_table(self) -> None:
        for header, accepted in (
            ("", True),
            ("  ", True),
            ("*/*", True),
            ("application/json", True),
            ("APPLICATION/JSON", True),
            ("application/*;q=0.5", True),
            ("application/json; charset=utf-8; q=0.1", True),
            ("text/html, application/json", True),
            ("text/html, */*; q=0.01", True),
            ("text/html", False),
            ("application/problem+json", False),
            ("*/*;q=0", False),
            ("*/*, application/json;q=0", False),
            ("*/*, application/*;q=0", False),
            ("*/*;q=0, application/json", True),
            ("application/json;q=rubbish", False),
            (",", False),
            ("rubbish", False),
        ):
            with subtest(header):
                self.assertEqual(accepts(header, JSON), accepted)

    @given(st.text(max_size=60))
    def test_never_fails(self, header: str) -> None:
        accepts(header, JSON)


class ConditionTests(SynchronousTestCase):
    def test_strong_tags(self) -> None:
        self.assertEqual(etag_of(b"x"), etag_of(b"x"))
        self.assertNotEqual(etag_of(b"x"), etag_of(b"y"))
        self.assertRegex(TAG, r'^"[0-9a-f]{32}"$')

    def test_if_match(self) -> None:
        for header, holds in (
            ("", True),
            ("*", True),
            (TAG, True),
            (f'"a,b", {TAG}', True),
            (f"W/{TAG}", False),
            ('"other"', False),
            (TAG.strip('"'), False),
            (",", False),
        ):
            with subtest(header):
                try:
                    Conditions(if_match=header).require(TAG)
                    held = True
                except PreconditionFailed:
                    held = False
                self.assertEqual(held, holds)

    def test_if_none_match(self) -> None:
        for header, unchanged in (
            ("", False),
            ("*", True),
            (TAG, True),
            (f"W/{TAG}", True),
            (f'"x",{TAG}', True),
            ('"x"', False),
        ):
            with subtest(header):
                self.assertEqual(Conditions(if_none_match=header).unchanged(TAG), unchanged)

    @given(st.text(max_size=60))
    def test_only_what_names_the_tag_matches(self, header: str) -> None:
        conditions = Conditions(if_none_match=header)
        self.assertEqual(conditions.unchanged(TAG), header.strip() == "*" or TAG in header)


class RangeTests(SynchronousTestCase):
    @given(st.text(max_size=40) | st.from_regex(r"bytes=[0-9]{0,4}-[0-9]{0,4}", fullmatch=True), st.integers(0, 3000))
    def test_lies_within(self, header: str, size: int) -> None:
        try:
            span = span_of(header, size)
        except RangeNotSatisfiable as error:
            self.assertEqual(error.headers, {"Content-Range": f"bytes */{size}"})
            return
        if span is not None:
            self.assertGreater(span.length, 0)
            self.assertLessEqual(0, span.start)
            self.assertLessEqual(span.start + span.length, size)

    @given(st.integers(0, 5000), st.integers(0, 5000), st.integers(1, 3000))
    def test_is_the_slice(self, first: int, last: int, size: int) -> None:
        content = bytes(n % 256 for n in range(size))
        wanted = content[first : last + 1]
        try:
            span = span_of(f"bytes={first}-{last}", size)
        except RangeNotSatisfiable:
            self.assertGreaterEqual(first, size)
            return
        if span is None:
            self.assertGreater(first, last)
        else:
            self.assertEqual(content[span.start : span.start + span.length], wanted)


class CursorTests(SynchronousTestCase):
    @given(st.datetimes(timezones=st.just(UTC)), st.uuids())
    def test_there_and_back(self, moment: datetime, key: UUID) -> None:
        text = query.cursor_text(Cursor(moment, key))
        self.assertEqual(query.cursor(text), Cursor(moment, key))
        self.assertEqual(quote(text, safe=""), text)

    def test_other_offsets_are_the_same_moment(self) -> None:
        moment = datetime.fromisoformat("2026-01-31T10:30:00.000001+01:00")
        self.assertEqual(query.cursor(query.cursor_text(Cursor(moment, uuid4()))).created_at, moment)

    @given(st.text(max_size=40) | st.from_regex(r"[A-Za-z0-9_-]{32}", fullmatch=True))
    def test_rubbish(self, text: str) -> None:
        try:
            found = query.cursor(text)
        except ValueError as error:
            self.assertIn("is not a cursor", str(error))
        else:
            self.assertEqual(query.cursor_text(found), text)


class ParameterTests(SynchronousTestCase):
    READERS: Final = {
        "limit": query.limit,
        "cursor": query.cursor,
        "state": query.states,
        "since": query.moment,
        "q": query.metadata,
        "from": query.text,
    }

    def request(self, raw: bytes) -> Request:
        return Request(
            method="GET",
            path="/x",
            ids={},
            headers={},
            raw_query=raw,
            raw=b"",
            principal=Principal("x", Role.READ),
        )

    @given(st.binary(max_size=60))
    def test_bytes(self, raw: bytes) -> None:
        try:
            query.read(self.request(raw).query(), self.READERS)
        except InvalidInput as error:
            self.assertTrue(error.field_errors)
        except BadRequest:
            pass

    @given(st.lists(st.tuples(st.sampled_from([*READERS, "other"]), st.text(max_size=20)), max_size=5))
    def test_every_fault_is_told(self, parameters: list[tuple[str, str]]) -> None:
        names = [name for name, _ in parameters]
        try:
            values: dict[str, Any] = query.read(parameters, self.READERS)
        except InvalidInput as error:
            told = {fault.field for fault in error.field_errors}
            self.assertTrue(told <= set(names))
            expected = {name for name in names if name == "other" or names.count(name) > 1}
            self.assertTrue(expected <= told)
        else:
            self.assertEqual(set(values), set(names))

    @given(st.integers())
    def test_limit(self, number: int) -> None:
        try:
            self.assertEqual(query.limit(str(number)), number)
            self.assertTrue(1 <= number <= 1000)
        except ValueError:
            self.assertFalse(1 <= number <= 1000)

    @given(st.datetimes(min_value=datetime(2, 1, 1), max_value=datetime(9998, 1, 1), timezones=st.just(UTC)))
    def test_moment(self, moment: datetime) -> None:
        self.assertEqual(query.moment(moment.isoformat()), moment)
        self.assertEqual(query.moment(moment.isoformat().replace("+00:00", "Z")), moment)
        self.assertEqual(query.moment(f"{(moment + timedelta(hours=2)).isoformat()[:-6]}+02:00"), moment)

    def test_too_many(self) -> None:
        with self.assertRaises(BadRequest):
            self.request(b"&".join(b"a%d=1" % n for n in range(101))).query()

    def test_plus_is_a_space_and_utf8_is_read(self) -> None:
        self.assertEqual(self.request("a=b+c&d=é&e=%C3%A9".encode()).query(), [("a", "b c"), ("d", "é"), ("e", "é")])
