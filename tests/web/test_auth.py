"""Tokens, roles, and who has to wait."""

from typing import Final

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.api.rest_test_case import RoleTokens
from tests.subtest import subtest
from voxrec.web.auth import AccessControl, Authenticator, LoginThrottle, Principal, Role, StaticTokens, bearer
from voxrec.web.problems import NotAllowed, NotAuthenticated, RestError, TooManyAttempts

HOME: Final = "192.0.2.1"


class RoleTests(SynchronousTestCase):
    def test_each_covers_those_before_it(self) -> None:
        covered = {(one, other) for one in Role for other in Role if one.includes(other)}
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
        error = self.assertRaises(NotAllowed, Principal("crm", Role.READ).require, Role.ADMIN)
        self.assertEqual(error.detail, "This needs the role admin; 'crm' has the role read.")
        self.assertIn("insufficient_scope", error.headers["WWW-Authenticate"])


class BearerTests(SynchronousTestCase):
    def test_token(self) -> None:
        for header in ("Bearer abc", "bearer  abc ", "BEARER abc"):
            with subtest(header):
                self.assertEqual(bearer(header), "abc")

    def test_none(self) -> None:
        for header in ("", "Bearer", "Bearer ", "Basic abc", "abc", "Bearerabc"):
            with subtest(header):
                error = self.assertRaises(NotAuthenticated, bearer, header)
                self.assertEqual(error.headers, {"WWW-Authenticate": 'Bearer realm="voxrec"'})

    @given(st.text(max_size=80))
    def test_never_anything_else(self, header: str) -> None:
        try:
            token = bearer(header)
        except NotAuthenticated:
            return
        self.assertTrue(token)
        self.assertEqual(token, token.strip())
        self.assertTrue(header.strip().endswith(token))
        self.assertEqual(header.strip()[:7].lower(), "bearer ")

    @given(st.text(st.characters(codec="ascii", exclude_categories=("Cc", "Zs")), min_size=1), st.integers(1, 4))
    def test_every_token_comes_through(self, token: str, spaces: int) -> None:
        self.assertEqual(bearer(f"Bearer{' ' * spaces}{token}"), token)


class StaticTokensTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.tokens = StaticTokens({"one": "first", "two": "sécond", "unset": ""})

    def request(self, token: str) -> Principal:
        return self.successResultOf(Deferred.fromCoroutine(self.tokens.authenticate(token)))

    def test_known(self) -> None:
        self.assertEqual(self.request("first"), Principal("one", Role.ADMIN))
        self.assertEqual(self.request("sécond"), Principal("two", Role.ADMIN))

    def test_unknown(self) -> None:
        for token in ("", "firs", "first ", "FIRST", "one", "\udcff"):
            with subtest(token):
                failed = Deferred.fromCoroutine(self.tokens.authenticate(token))
                error = self.failureResultOf(failed, NotAuthenticated).value
                assert isinstance(error, NotAuthenticated)
                self.assertIn('error="invalid_token"', error.headers["WWW-Authenticate"])


class AttemptsTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.attempts = LoginThrottle(self.clock)

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
        self.fail_from(HOME, LoginThrottle.FREE)
        self.assertEqual(self.waiting(), 0)

    def test_then_twice_as_long_each_time(self) -> None:
        self.fail_from(HOME, LoginThrottle.FREE)
        waits = []
        for _ in range(9):
            self.fail_from(HOME, 1)
            waits.append(self.waiting() - 1)
        self.assertEqual(waits, [1, 2, 4, 8, 16, 32, 60, 60, 60])

    def test_the_wait_ends(self) -> None:
        self.fail_from(HOME, LoginThrottle.FREE + 3)
        self.clock.advance(3.9)
        self.assertEqual(self.waiting(), 1)
        self.clock.advance(0.2)
        self.assertEqual(self.waiting(), 0)

    def test_an_address_is_forgotten(self) -> None:
        self.fail_from(HOME, 50)
        self.clock.advance(LoginThrottle.FORGET + 1)
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
        for n in range(LoginThrottle.LIMIT + 100):
            self.attempts.wrong(f"host {n}", "x")
            self.attempts.right(f"host {n}", "x")
        self.assertEqual(
            (len(self.attempts._wrong), len(self.attempts._right)), (LoginThrottle.LIMIT, LoginThrottle.LIMIT)
        )


class GateTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        known: Authenticator = RoleTokens()
        self.gate = AccessControl(known, LoginThrottle(self.clock))

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


class SlowTokens:
    """An authenticator that answers when it is told to."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, Deferred[Principal]]] = []

    async def authenticate(self, token: str) -> Principal:
        answer: Deferred[Principal] = Deferred()
        self.asked.append((token, answer))
        return await answer

    def answer(self) -> None:
        """Each token is wrong, but the ones that are named good."""
        asked, self.asked = self.asked, []
        for token, answer in asked:
            if token.startswith("good"):
                answer.callback(Principal(token, Role.ADMIN))
            else:
                answer.errback(NotAuthenticated("no"))


class ParallelTests(SynchronousTestCase):
    """Who guesses many tokens at once."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.tokens = SlowTokens()
        self.attempts = LoginThrottle(self.clock)
        self.gate = AccessControl(self.tokens, self.attempts)

    def knock(self, tokens: list[str], address: str = HOME) -> list[str]:
        """What each is answered, all of them being sent before the first answer."""
        results: list[str] = []
        for token in tokens:
            admitted = Deferred.fromCoroutine(self.gate.admit(address, f"Bearer {token}", Role.READ))
            admitted.addCallbacks(lambda _: results.append("in"), lambda failure: results.append(failure.value.code))
        self.tokens.answer()
        return results

    def test_no_more_are_looked_at_than_one_after_the_other(self) -> None:
        answers = self.knock([f"guess {n}" for n in range(50)])
        self.assertEqual(answers.count("not-authenticated"), LoginThrottle.FREE + 1)
        self.assertEqual(answers.count("too-many-attempts"), 50 - LoginThrottle.FREE - 1)

    def test_after_a_wait_one_is_looked_at(self) -> None:
        self.knock([f"guess {n}" for n in range(50)])
        self.clock.advance(1.1)
        self.assertEqual(self.knock([f"again {n}" for n in range(50)]).count("not-authenticated"), 1)

    def test_one_token_many_times_is_one_attempt(self) -> None:
        self.assertEqual(self.knock(["good"] * 50), ["in"] * 50)
        self.assertEqual(self.knock(["good"] * 50), ["in"] * 50)

    def test_a_good_one_that_is_known_does_not_wait_for_guesses(self) -> None:
        self.knock(["good"])
        answers = self.knock([*(f"guess {n}" for n in range(20)), "good"])
        self.assertEqual(answers[-1], "in")

    def test_other_addresses_are_not_concerned(self) -> None:
        for n in range(20):
            Deferred.fromCoroutine(self.gate.admit(HOME, f"Bearer {n}", Role.READ)).addErrback(lambda _: None)
        self.assertEqual(self.knock(["good"], "192.0.2.2")[-1:], ["in"])

    def test_nothing_is_left(self) -> None:
        self.knock([f"{kind} {n}" for n in range(5) for kind in ("good", "guess")])
        self.assertEqual(self.attempts._pending, {})
