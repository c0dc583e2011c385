"""Tests of voxrec.web.conditions."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.subtest import subtest
from voxrec.web.conditions import Conditions, etag_of
from voxrec.web.errors import PreconditionFailed

TAG = etag_of(b"x")


class ConditionTests(SynchronousTestCase):
    def test_strong_tags(self) -> None:
        self.assertEqual(etag_of(b"x"), etag_of(b"x"))
        self.assertNotEqual(etag_of(b"x"), etag_of(b"y"))
        self.assertRegex(TAG, r'^"[0-9a-f]{32}"$')

    def test_if_match(self) -> None:
        for header, holds in (
            (None, True),
            ("", False),
            (" ", False),
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

    def test_characters_within_a_tag_are_no_mark_of_a_weak_one(self) -> None:
        self.assertFalse(Conditions(if_none_match=TAG.replace('"', '"W/', 1)).unchanged(TAG))

    def test_weak_tags(self) -> None:
        """A weak tag is equal to none by the strong comparison (RFC 9110 section 8.8.3.2)."""
        weak = f"W/{TAG}"
        for header in (TAG, weak):
            with subtest(header):
                self.assertTrue(Conditions(if_none_match=header).unchanged(weak))
                self.assertRaises(PreconditionFailed, Conditions(if_match=header).require, weak)
        Conditions(if_match="*").require(weak)

    @given(st.text(max_size=60))
    def test_only_what_names_the_tag_matches(self, header: str) -> None:
        conditions = Conditions(if_none_match=header)
        self.assertEqual(conditions.unchanged(TAG), header.strip() == "*" or TAG in header)
