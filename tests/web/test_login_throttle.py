"""Tests of voxrec.web.login_throttle."""

from typing import Final

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from voxrec.web.errors import TooManyAttempts
from voxrec.web.login_throttle import LoginThrottle

ADDRESS: Final = "192.0.2.1"


class LoginThrottleTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.throttle = LoginThrottle(self.clock)

    def record_failures(self, address: str, times: int) -> None:
        for n in range(times):
            self.throttle.record_failure(address, f"guess {n}")

    def retry_after(self, address: str = ADDRESS, token: str = "next") -> int:
        """Return the seconds that the client has to wait, or 0."""
        try:
            self.throttle.require_permitted(address, token)
        except TooManyAttempts as error:
            return int(error.headers["Retry-After"])
        return 0

    def test_first_failures_cause_no_delay(self) -> None:
        self.record_failures(ADDRESS, LoginThrottle.FREE_FAILURES)
        self.assertEqual(self.retry_after(), 0)

    def test_delay_doubles_up_to_the_maximum(self) -> None:
        self.record_failures(ADDRESS, LoginThrottle.FREE_FAILURES)
        delays = []
        for _ in range(9):
            self.record_failures(ADDRESS, 1)
            delays.append(self.retry_after() - 1)
        self.assertEqual(delays, [1, 2, 4, 8, 16, 32, 60, 60, 60])

    def test_delay_ends(self) -> None:
        self.record_failures(ADDRESS, LoginThrottle.FREE_FAILURES + 3)
        self.clock.advance(3.9)
        self.assertEqual(self.retry_after(), 1)
        self.clock.advance(0.2)
        self.assertEqual(self.retry_after(), 0)

    def test_failures_are_forgotten_after_a_while(self) -> None:
        self.record_failures(ADDRESS, 50)
        self.clock.advance(LoginThrottle.RESET_AFTER + 1)
        self.record_failures(ADDRESS, 1)
        self.assertEqual(self.retry_after(), 0)

    def test_other_addresses_are_not_delayed(self) -> None:
        self.record_failures(ADDRESS, 50)
        self.assertEqual(self.retry_after("192.0.2.2"), 0)

    def test_ipv6_addresses_are_grouped_by_network(self) -> None:
        self.record_failures("2001:db8::1", 50)
        self.assertGreater(self.retry_after("2001:db8::ffff:2"), 0)
        self.assertEqual(self.retry_after("2001:db8:0:1::1"), 0)

    def test_ipv4_mapped_ipv6_address_is_an_ipv4_address(self) -> None:
        self.record_failures(f"::ffff:{ADDRESS}", 50)
        self.assertGreater(self.retry_after(), 0)
        self.assertEqual(self.retry_after("::ffff:192.0.2.2"), 0)

    def test_clients_without_ip_address_are_one_client(self) -> None:
        self.record_failures("unix", 50)
        self.assertGreater(self.retry_after("unix"), 0)

    def test_accepted_token_is_exempt(self) -> None:
        self.throttle.record_success(ADDRESS, "good")
        self.record_failures(ADDRESS, 50)
        self.assertEqual(self.retry_after(token="good"), 0)
        self.assertGreater(self.retry_after(token="bad"), 0)
        self.assertGreater(self.retry_after("192.0.2.1", "good "), 0)

    def test_success_does_not_reset_failures(self) -> None:
        self.record_failures(ADDRESS, 50)
        self.throttle.record_success(ADDRESS, "good")
        self.assertGreater(self.retry_after(), 0)

    def test_revoked_token_loses_its_exemption(self) -> None:
        self.throttle.record_success(ADDRESS, "good")
        self.record_failures(ADDRESS, 50)
        self.throttle.record_failure(ADDRESS, "good")
        self.assertGreater(self.retry_after(token="good"), 0)

    def test_memory_is_bounded(self) -> None:
        for n in range(LoginThrottle.MAX_ENTRIES + 100):
            self.throttle.record_failure(f"host {n}", "x")
            self.throttle.record_success(f"host {n}", "x")
        self.assertEqual(
            (len(self.throttle._failures), len(self.throttle._accepted)),
            (LoginThrottle.MAX_ENTRIES, LoginThrottle.MAX_ENTRIES),
        )
