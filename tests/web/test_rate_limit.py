"""Tests of voxrec.web.rate_limit."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from voxrec.web.errors import TooManyRequests
from voxrec.web.rate_limit import RateLimit


class RateLimitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.limit = RateLimit(self.clock, 2, 60.0, "tests")

    def test_each_client_has_its_own_limit(self) -> None:
        for client in ("a", "a", "b", "b"):
            self.limit.count(client)
        error = self.assertRaises(TooManyRequests, self.limit.count, "a")
        self.assertEqual((error.status, error.headers), (429, {"Retry-After": "60"}))

    def test_sliding_window(self) -> None:
        self.limit.count("a")
        self.clock.advance(40)
        self.limit.count("a")
        self.clock.advance(19)
        error = self.assertRaises(TooManyRequests, self.limit.count, "a")
        self.assertEqual(error.headers, {"Retry-After": "1"})
        self.clock.advance(1)
        self.limit.count("a")
        self.assertRaises(TooManyRequests, self.limit.count, "a")

    def test_memory_is_bounded(self) -> None:
        for client in range(10_050):
            self.limit.count(client)
        self.assertEqual(len(self.limit._times), 10_000)
