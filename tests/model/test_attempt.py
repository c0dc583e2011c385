"""Tests of voxrec.model.attempt."""

from twisted.trial.unittest import SynchronousTestCase

from voxrec.model import Attempt


class AttemptTests(SynchronousTestCase):
    def test_parse_what_was_written(self) -> None:
        for attempt in (Attempt("d41d8cd98f00b204e9800998ecf8427e", 0), Attempt("A1", 12)):
            self.assertEqual(Attempt.parse(str(attempt)), attempt)

    def test_other_values_are_no_attempt(self) -> None:
        too_long = f"{65 * 'a'}/1"
        for value in ("", "/", "a/", "/1", "a/b", "a/-1", "a/1000", too_long, "a/1\n", "a b/1", "a/1/2", "a/\u0663"):
            self.assertIsNone(Attempt.parse(value), value)

    def test_a_later_attempt_supersedes_an_earlier_one_of_the_same_invite(self) -> None:
        self.assertTrue(Attempt("a", 2).supersedes(Attempt("a", 1)))
        for later, other in ((1, ("a", 1)), (0, ("a", 1)), (2, ("b", 1))):
            self.assertFalse(Attempt("a", later).supersedes(Attempt(*other)), other)
