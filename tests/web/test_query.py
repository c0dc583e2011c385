"""Tests of voxrec.web.query."""

from typing import Any, Final

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.subtest import subtest
from voxrec.api.recordings.recording_query import metadata_filter
from voxrec.errors import InvalidInput, InvalidValue
from voxrec.model import RecordingState
from voxrec.web.errors import BadRequest
from voxrec.web.pagination import cursor, limit
from voxrec.web.parameters import some_of, text, timestamp
from voxrec.web.query import QueryParameter, parse_query, query_items


class QueryTests(SynchronousTestCase):
    PARAMETERS: Final[dict[str, QueryParameter[Any]]] = {
        "limit": limit,
        "cursor": cursor,
        "state": some_of([*RecordingState], "", example="pending"),
        "since": timestamp,
        "q": metadata_filter,
        "from": text,
    }

    def test_undecodable_queries(self) -> None:
        for raw, problem in (
            (b"from=%ff", "not percent-encoded UTF-8"),
            (b"from=%ED%A0%80", "not percent-encoded UTF-8"),
            (b"&".join([b"limit=1"] * 101), "more than 100 parameters"),
        ):
            with subtest(raw[:20]):
                self.assertIn(problem, self.assertRaises(BadRequest, query_items, raw).detail)

    def test_repeated_parameters(self) -> None:
        items = [("limit", "1"), ("other", "x"), ("limit", "2"), ("since", ""), ("limit", "x"), ("other", "y")]
        error = self.assertRaises(InvalidInput, parse_query, items, self.PARAMETERS)
        reported = [(each.field, each.code) for each in error.field_errors]
        self.assertEqual(reported, [("limit", "duplicate"), ("other", "unknown-field"), ("since", "not-a-timestamp")])

    def test_codes_of_metadata(self) -> None:
        for text_, code in (
            ("", "wrong-type"),
            ("[]", "wrong-type"),
            ('{"a":', "wrong-type"),
            ('{"a":1,"a":2}', "duplicate"),
            ('{"a":"\\u0000"}', "nul-character"),
            ('{"a":"%s"}' % ("x" * 1000), "too-long"),
            ('{"a":' + "[" * 150 + "]" * 150 + "}", "too-deep"),
        ):
            with subtest(text_):
                self.assertEqual(self.assertRaises(InvalidValue, metadata_filter.parse, text_).code, code)
        nested = self.assertRaises(InvalidValue, metadata_filter.parse, '{"b":{"a":1,"a":1},"b":1}')
        self.assertIn("b, b.a", str(nested))

    def test_metadata(self) -> None:
        self.assertEqual(metadata_filter.parse('{"a":"\\\\u0000"}'), {"a": "\\u0000"})  # a backslash, not U+0000
        for text_ in ('{"a":"\\u0000"}', '{"a\\u0000":1}', '{"a":1,"a":2}', '{"b":{"a":1,"a":1}}', "[]", '{"a":' * 90):
            with subtest(text_):
                self.assertRaises(ValueError, metadata_filter.parse, text_)

    @given(st.binary(max_size=60))
    def test_arbitrary_bytes(self, raw: bytes) -> None:
        try:
            parse_query(query_items(raw), self.PARAMETERS)
        except InvalidInput as error:
            self.assertTrue(error.field_errors)
        except BadRequest:
            pass

    @given(st.lists(st.tuples(st.sampled_from([*PARAMETERS, "other"]), st.text(max_size=20)), max_size=5))
    def test_every_error_is_reported(self, items: list[tuple[str, str]]) -> None:
        names = [name for name, _ in items]
        try:
            values: dict[str, Any] = parse_query(items, self.PARAMETERS)
        except InvalidInput as error:
            reported = {field_error.field for field_error in error.field_errors}
            self.assertTrue(reported <= set(names))
            expected = {name for name in names if name == "other" or names.count(name) > 1}
            self.assertTrue(expected <= reported)
        else:
            self.assertEqual(set(values), set(names))

    def test_too_many_parameters(self) -> None:
        with self.assertRaises(BadRequest):
            query_items(b"&".join(b"a%d=1" % n for n in range(101)))

    def test_plus_is_a_space_and_utf8_is_decoded(self) -> None:
        self.assertEqual(query_items("a=b+c&d=é&e=%C3%A9".encode()), [("a", "b c"), ("d", "é"), ("e", "é")])
