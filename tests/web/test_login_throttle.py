"""Tests of voxrec.web.login_throttle."""

from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from voxrec.web.errors import NotAuthenticated, TooManyAttempts
from voxrec.web.login_throttle import LoginThrottle

ADDRESS: Final = "192.0.2.1"


class LoginThrottleTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.throttle = LoginThrottle(self.clock)

    def attempt(self, address: str, token: str) -> Exception | None:
        """Try a token, which is valid if it begins with "good". Return the error, if any."""

        async def authenticate(token: str) -> None:
            if not token.startswith("good"):
                raise NotAuthenticated("This token is not valid.")

        async def outcome() -> Exception | None:
            try:
                await self.throttle.attempt(address, token, authenticate)
            except Exception as error:
                return error
            return None

        return self.successResultOf(Deferred.fromCoroutine(outcome()))

    def record_failures(self, address: str, times: int) -> None:
        for n in range(times):
            while isinstance(self.attempt(address, f"guess {n}"), TooManyAttempts):
                self.clock.advance(1)

    def retry_after(self, address: str = ADDRESS) -> int:
        """Return the seconds that the client has to wait, or 0."""
        error = self.attempt(address, "next")
        return int(error.headers["Retry-After"]) if isinstance(error, TooManyAttempts) else 0

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

    def test_attempts_during_a_delay_do_not_prolong_it(self) -> None:
        self.record_failures(ADDRESS, LoginThrottle.FREE_FAILURES + 1)
        for _ in range(50):
            self.assertEqual(self.retry_after(), 2)
        self.clock.advance(1.1)
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

    def test_valid_token_is_accepted_during_a_delay(self) -> None:
        self.record_failures(ADDRESS, 20)
        for token in ("good", "good", "good and new"):
            self.assertIsNone(self.attempt(ADDRESS, token))
        self.assertGreater(self.retry_after(), 0, "a success does not reset the failures")

    def test_memory_is_bounded(self) -> None:
        for n in range(LoginThrottle.MAX_ENTRIES + 100):
            self.attempt(f"host {n}", "x")
            self.attempt(f"host {n}", "good")
        self.assertEqual(
            (len(self.throttle._failures), len(self.throttle._accepted)),
            (LoginThrottle.MAX_ENTRIES, LoginThrottle.MAX_ENTRIES),
        )
