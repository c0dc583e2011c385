"""Tests of voxrec.web.password_throttle."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from voxrec.web.errors import TooManyAttempts
from voxrec.web.password_throttle import PasswordThrottle

HOME = "192.0.2.1"
STRANGER = "198.51.100.7"


class PasswordThrottleTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.throttle = PasswordThrottle(self.clock)

    def wait(self, address: str = HOME, account: str = "anna") -> int:
        """Return the seconds to wait before the next attempt; 0 if it is permitted."""
        try:
            self.throttle.require_attempt(account, address)
        except TooManyAttempts as error:
            return int(error.headers["Retry-After"])
        return 0

    def fail(self, address: str = HOME, account: str = "anna") -> None:  # type: ignore[override]
        self.throttle.failed(account, address)

    def test_the_time_to_wait_doubles_up_to_a_limit(self) -> None:
        waits = []
        for _ in range(18):
            self.fail()
            waits.append(self.wait())
            self.clock.advance(waits[-1])
        self.assertEqual(waits, [0, 0, 0, 0, 2, 3, 5, 9, 17, 33, 65, 129, 257, *[301] * 5])

    def test_an_attempt_while_waiting_does_not_prolong_it(self) -> None:
        for _ in range(8):
            self.fail()
        for _ in range(50):
            self.wait()
        self.clock.advance(7.9)
        self.assertEqual(self.wait(), 1)
        self.clock.advance(0.1)
        self.assertEqual(self.wait(), 0)

    def test_a_stranger_delays_neither_the_same_account_elsewhere_nor_others(self) -> None:
        for _ in range(50):
            self.fail(STRANGER)
        self.assertGreater(self.wait(STRANGER), 0)
        self.assertEqual(self.wait(HOME), 0)
        self.assertEqual(self.wait(STRANGER, "ben"), 0)

    def test_many_strangers_exhaust_the_limit_of_an_account_except_where_its_user_signed_in(self) -> None:
        self.throttle.succeeded("anna", HOME)
        for number in range(PasswordThrottle.ACCOUNT_FAILURES):
            self.assertEqual(self.wait(f"203.0.113.{number}"), 0)
            self.fail(f"203.0.113.{number}")
        self.assertGreater(self.wait("203.0.113.200"), 3000)
        self.assertEqual(self.wait(HOME), 0)
        self.fail(HOME)
        self.assertEqual(self.wait(HOME), 0)
        self.clock.advance(PasswordThrottle.RESET_AFTER + 1)
        self.assertEqual(self.wait("203.0.113.200"), 0)

    def test_a_success_forgets_the_failures_of_its_source(self) -> None:
        for _ in range(4):
            self.fail()
        self.throttle.succeeded("anna", HOME)
        for _ in range(4):
            self.fail()
            self.assertEqual(self.wait(), 0)

    def test_successes_do_not_use_up_the_limit_of_the_account(self) -> None:
        for number in range(2 * PasswordThrottle.ACCOUNT_FAILURES):
            address = f"2001:db8:{number:x}::1"
            self.fail(address)
            self.throttle.succeeded("anna", address)
        self.assertEqual(self.wait("2001:db8:ffff::1"), 0)

    def test_addresses_of_one_ipv6_network_are_one_source(self) -> None:
        for number in range(10):
            self.fail(f"2001:db8::{number:x}")
        self.assertGreater(self.wait("2001:db8::ffff"), 0)

    def test_failures_are_forgotten_after_an_hour(self) -> None:
        for _ in range(20):
            self.fail()
        self.clock.advance(PasswordThrottle.RESET_AFTER + 1)
        self.fail()
        self.assertEqual(self.wait(), 0)

    def test_memory_is_bounded(self) -> None:
        self.patch(PasswordThrottle, "MAX_ENTRIES", 100)
        for number in range(500):
            self.fail(account=f"user{number}")
            self.throttle.succeeded(f"user{number}", STRANGER)
        for table in (self.throttle._of_source, self.throttle._of_account, self.throttle._known):
            self.assertLessEqual(len(table), 100)
