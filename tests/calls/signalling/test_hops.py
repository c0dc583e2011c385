"""Tests of voxrec.calls.signalling.hops: the limits of calls that come back, and what the far end is told."""

from uuid import UUID

from twisted.trial.unittest import SynchronousTestCase

from voxrec.calls.signalling.hops import NO_HOPS, Hops, check_hops, parse_hops

FIRST, SECOND, THIRD = (UUID(int=number) for number in (1, 2, 3))


class ParseTests(SynchronousTestCase):
    def test_headers_of_voxrec(self) -> None:
        self.assertEqual(parse_hops(f"{FIRST}, {SECOND}", "68"), Hops(profiles=(FIRST, SECOND), max_forwards=68))

    def test_headers_of_others_are_ignored(self) -> None:
        for path, max_forwards in (("", ""), ("a, ,b", "-1"), (";", "many"), ("\0", "1000"), ("x" * 9999, "+1")):
            self.assertEqual(parse_hops(path, max_forwards), NO_HOPS)
        self.assertEqual(parse_hops(f"x {FIRST},", "255"), Hops(profiles=(FIRST,)))

    def test_what_was_sent_is_read(self) -> None:
        headers = Hops(profiles=(FIRST,), max_forwards=1).headers(SECOND)
        received = parse_hops(headers["X-Voxrec-Path"], headers["Max-Forwards"])
        self.assertEqual(received, Hops(profiles=(FIRST, SECOND), max_forwards=0))
        self.assertEqual(received.headers(THIRD)["Max-Forwards"], "0")


class CheckTests(SynchronousTestCase):
    def status(self, hops: Hops, profile: UUID, max_passages: int = 2) -> int | None:
        limit = check_hops(hops, profile, max_passages)
        return None if limit is None else limit.status

    def test_a_call_that_comes_back_to_its_profile_is_a_loop(self) -> None:
        self.assertEqual(self.status(Hops(profiles=(FIRST,)), FIRST), 482)
        self.assertEqual(self.status(Hops(profiles=(FIRST, SECOND), max_forwards=0), FIRST), 482)

    def test_a_call_may_pass_through_several_profiles(self) -> None:
        self.assertIsNone(self.status(NO_HOPS, FIRST))
        self.assertIsNone(self.status(Hops(profiles=(FIRST,)), SECOND))
        self.assertEqual(self.status(Hops(profiles=(FIRST, SECOND)), THIRD), 483)
        self.assertEqual(self.status(Hops(profiles=(FIRST,)), SECOND, max_passages=1), 483)

    def test_max_forwards(self) -> None:
        self.assertIsNone(self.status(Hops(max_forwards=1), FIRST))
        self.assertEqual(self.status(Hops(max_forwards=0), FIRST), 483)
