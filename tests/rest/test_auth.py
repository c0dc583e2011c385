"""Tokens, roles, and who has to wait."""

from typing import Final

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.rest.asking import RoleTokens, case
from voxrec.rest.auth import Attempts, Authenticator, Gate, Principal, Role, StaticTokens, bearer
from voxrec.rest.problems import NotAllowed, NotAuthenticated, RestError, TooManyAttempts

HOME: Final = "192.0.2.1"


class RoleTests(SynchronousTestCase):
    def test_each_covers_those_before_it(self) -> None:
        covered = {(one, other) for one in Role for other in Role if one.covers(other)}
        admin, provision, read = Role.ADMIN, Role.PROVISION, Role.READ
        self.assertEqual(
            covered,
            {
                (admin, admin),
                (admin, provision),
                (admin, read),
                (provision, provision),
                (provision, read),
                (read, read),
            },
        )

    def test_the_refusal_names_what_is_needed(self) -> None:
        error = self.assertRaises(NotAllowed, Principal("crm", Role.READ).demand, Role.ADMIN)
        self.assertEqual(error.detail, "This needs the role admin; 'crm' has the role read.")
        self.assertIn("insufficient_scope", error.headers["WWW-Authenticate"])


class BearerTests(SynchronousTestCase):
    def test_token(self) -> None:
        for header in ("Bearer abc", "bearer  abc ", "BEARER abc"):
            with case(header):
                self.assertEqual(bearer(header), "abc")

    def test_none(self) -> None:
        for header in ("", "Bearer", "Bearer ", "Basic abc", "abc", "Bearerabc"):
            with case(header):
                error = self.assertRaises(NotAuthenticated, bearer, header)
                self.assertEqual(error.headers, {"WWW-Authenticate": 'Bearer realm="voxrec"'})


class StaticTokensTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.tokens = StaticTokens({"one": "first", "two": "sécond", "unset": ""})

    def ask(self, token: str) -> Principal:
        return self.successResultOf(Deferred.fromCoroutine(self.tokens.authenticate(token)))

    def test_known(self) -> None:
        self.assertEqual(self.ask("first"), Principal("one", Role.ADMIN))
        self.assertEqual(self.ask("sécond"), Principal("two", Role.ADMIN))

    def test_unknown(self) -> None:
        for token in ("", "firs", "first ", "FIRST", "one", "\udcff"):
            with case(token):
                failed = Deferred.fromCoroutine(self.tokens.authenticate(token))
                error = self.failureResultOf(failed, NotAuthenticated).value
                assert isinstance(error, NotAuthenticated)
                self.assertIn('error="invalid_token"', error.headers["WWW-Authenticate"])


class AttemptsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.attempts = Attempts(self.clock)

    def fail_from(self, address: str, times: int) -> None:
        for n in range(times):
            self.attempts.wrong(address, f"guess {n}")

    def waiting(self, address: str = HOME, token: str = "next") -> int:
        try:
            self.attempts.admit(address, token)
        except TooManyAttempts as error:
            return int(error.headers["Retry-After"])
        return 0

    def test_a_few_are_free(self) -> None:
        self.fail_from(HOME, Attempts.FREE)
        self.assertEqual(self.waiting(), 0)

    def test_then_twice_as_long_each_time(self) -> None:
        self.fail_from(HOME, Attempts.FREE)
        waits = []
        for _ in range(9):
            self.fail_from(HOME, 1)
            waits.append(self.waiting() - 1)
        self.assertEqual(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60])

    def test_the_wait_ends(self) -> None:
        self.fail_from(HOME, Attempts.FREE + 3)
        self.clock.advance(3.9)
        self.assertEqual(self.waiting(), 1)
        self.clock.advance(0.2)
        self.assertEqual(self.waiting(), 0)

    def test_an_address_is_forgotten(self) -> None:
        self.fail_from(HOME, 50)
        self.clock.advance(Attempts.FORGET + 1)
        self.fail_from(HOME, 1)
        self.assertEqual(self.waiting(), 0)

    def test_other_addresses_do_not_wait(self) -> None:
        self.fail_from(HOME, 50)
        self.assertEqual(self.waiting("192.0.2.2"), 0)

    def test_one_ipv6_network_is_one_client(self) -> None:
        self.fail_from("2001:db8::1", 50)
        self.assertGreater(self.waiting("2001:db8::ffff:2"), 0)
        self.assertEqual(self.waiting("2001:db8:0:1::1"), 0)

    def test_ipv4_in_ipv6_is_ipv4(self) -> None:
        self.fail_from(f"::ffff:{HOME}", 50)
        self.assertGreater(self.waiting(), 0)
        self.assertEqual(self.waiting("::ffff:192.0.2.2"), 0)

    def test_what_is_no_address_is_one_client(self) -> None:
        self.fail_from("unix", 50)
        self.assertGreater(self.waiting("unix"), 0)

    def test_a_good_token_goes_on_working(self) -> None:
        self.attempts.right(HOME, "good")
        self.fail_from(HOME, 50)
        self.assertEqual(self.waiting(token="good"), 0)
        self.assertGreater(self.waiting(token="bad"), 0)
        self.assertGreater(self.waiting("192.0.2.1", "good "), 0)

    def test_a_good_token_forgives_nothing(self) -> None:
        self.fail_from(HOME, 50)
        self.attempts.right(HOME, "good")
        self.assertGreater(self.waiting(), 0)

    def test_a_token_that_was_revoked_waits_like_others(self) -> None:
        self.attempts.right(HOME, "good")
        self.fail_from(HOME, 50)
        self.attempts.wrong(HOME, "good")
        self.assertGreater(self.waiting(token="good"), 0)

    def test_memory_is_bounded(self) -> None:
        for n in range(Attempts.LIMIT + 100):
            self.attempts.wrong(f"host {n}", "x")
            self.attempts.right(f"host {n}", "x")
        self.assertEqual((len(self.attempts._wrong), len(self.attempts._right)), (Attempts.LIMIT, Attempts.LIMIT))


class GateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        known: Authenticator = RoleTokens()
        self.gate = Gate(known, Attempts(self.clock))

    def knock(self, authorization: str, needed: Role = Role.READ) -> str:
        admitted = Deferred.fromCoroutine(self.gate.admit(HOME, authorization, needed))
        result = self.successResultOf(admitted.addErrback(lambda failure: failure.value))
        return result.code if isinstance(result, RestError) else "in"

    def test_in(self) -> None:
        self.assertEqual(self.knock("Bearer admin", Role.ADMIN), "in")

    def test_refused(self) -> None:
        self.assertEqual(self.knock("Bearer nobody"), "not-authenticated")
        self.assertEqual(self.knock(""), "not-authenticated")
        self.assertEqual(self.knock("Bearer read", Role.ADMIN), "not-allowed")

    def test_guessing_is_slowed(self) -> None:
        answers = [self.knock(f"Bearer guess{n}") for n in range(8)]
        self.assertEqual(answers, ["not-authenticated"] * 6 + ["too-many-attempts"] * 2)
        self.assertEqual(self.knock("Bearer admin"), "too-many-attempts")
        self.clock.advance(1.1)
        self.assertEqual(self.knock("Bearer admin"), "in")

    def test_neither_no_token_nor_a_small_role_counts(self) -> None:
        for _ in range(20):
            self.knock("")
            self.knock("Bearer read", Role.ADMIN)
        self.assertEqual(self.knock("Bearer read"), "in")

    def test_errors_are_problems(self) -> None:
        for kind, status in ((NotAuthenticated, 401), (NotAllowed, 403), (TooManyAttempts, 429)):
            self.assertTrue(issubclass(kind, RestError))
            self.assertEqual(kind.status, status)
