"""Tests of voxrec.web.content_negotiation."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.subtest import subtest
from voxrec.web.content_negotiation import accepts
from voxrec.web.response import JSON


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
