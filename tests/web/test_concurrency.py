"""Tests of voxrec.web.concurrency."""

from twisted.trial.unittest import SynchronousTestCase

from voxrec.web.concurrency import ConcurrencyLimit
from voxrec.web.errors import TooManyRequests


class ConcurrencyLimitTests(SynchronousTestCase):
    def test_each_client_has_its_own_limit(self) -> None:
        limit = ConcurrencyLimit(2, "conversions of this token")
        with limit.operation("a"), limit.operation("b"), limit.operation("a"):
            with self.assertRaises(TooManyRequests) as caught, limit.operation("a"):
                self.fail("the operation was permitted")
            self.assertIn("2 conversions of this token are in progress", caught.exception.detail)
            self.assertEqual(caught.exception.headers["Retry-After"], "1")
            with limit.operation("b"):
                pass
        with limit.operation("a"), limit.operation("a"):
            pass

    def test_a_failed_operation_has_ended(self) -> None:
        limit = ConcurrencyLimit(1, "conversions")
        for _ in range(3):
            with self.assertRaises(ValueError), limit.operation("a"):
                raise ValueError
