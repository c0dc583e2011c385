"""Tests of voxrec.web.auth."""

from typing import Final

from hypothesis import given
from hypothesis import strategies as st
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.api.rest_test_case import RoleTokens
from tests.subtest import subtest
from voxrec.web.auth import AccessControl, Authenticator, Principal, Role, bearer_token
from voxrec.web.errors import NotAllowed, NotAuthenticated, RestError, TooManyAttempts
from voxrec.web.login_throttle import LoginThrottle

ADDRESS: Final = "192.0.2.1"


class RoleTests(SynchronousTestCase):
    def test_error_names_the_required_role(self) -> None:
        error = self.assertRaises(NotAllowed, Principal("crm", Role.READ).require_role, Role.ADMIN)
        self.assertEqual(error.detail, "This request requires the role admin; 'crm' has the role read.")
        self.assertIn("insufficient_scope", error.headers["WWW-Authenticate"])


class BearerTokenTests(SynchronousTestCase):
    def test_token(self) -> None:
        for header in ("Bearer abc", "bearer  abc ", "BEARER abc"):
            with subtest(header):
                self.assertEqual(bearer_token(header), "abc")

    def test_no_token(self) -> None:
        for header in ("", "Bearer", "Bearer ", "Basic abc", "abc", "Bearerabc"):
            with subtest(header):
                error = self.assertRaises(NotAuthenticated, bearer_token, header)
                self.assertEqual(error.headers, {"WWW-Authenticate": 'Bearer realm="voxrec"'})

    @given(st.text(max_size=80))
    def test_arbitrary_header(self, header: str) -> None:
        try:
            token = bearer_token(header)
        except NotAuthenticated:
            return
        self.assertTrue(token)
        self.assertEqual(token, token.strip())
        self.assertTrue(header.strip().endswith(token))
        self.assertEqual(header.strip()[:7].lower(), "bearer ")

    @given(st.text(st.characters(codec="ascii", exclude_categories=("Cc", "Zs")), min_size=1), st.integers(1, 4))
    def test_arbitrary_token(self, token: str, spaces: int) -> None:
        self.assertEqual(bearer_token(f"Bearer{' ' * spaces}{token}"), token)


class AccessControlTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        authenticator: Authenticator = RoleTokens()
        self.access_control = AccessControl(authenticator, LoginThrottle(self.clock))

    def outcome(self, authorization: str, role: Role = Role.READ) -> str:
        """Return "admitted" or the error code."""
        admission = Deferred.fromCoroutine(
            self.access_control.admit(ADDRESS, "GET", {"authorization": authorization}, role)
        )
        result = self.successResultOf(admission.addErrback(lambda failure: failure.value))
        return result.code if isinstance(result, RestError) else "admitted"

    def test_admitted(self) -> None:
        self.assertEqual(self.outcome("Bearer admin", Role.ADMIN), "admitted")

    def test_refused(self) -> None:
        self.assertEqual(self.outcome("Bearer nobody"), "not-authenticated")
        self.assertEqual(self.outcome(""), "not-authenticated")
        self.assertEqual(self.outcome("Bearer read", Role.ADMIN), "not-allowed")

    def test_guessing_is_delayed(self) -> None:
        outcomes = [self.outcome(f"Bearer guess{n}") for n in range(8)]
        self.assertEqual(outcomes, ["not-authenticated"] * 6 + ["too-many-attempts"] * 2)
        self.clock.advance(1.1)
        self.assertEqual(self.outcome("Bearer guess"), "not-authenticated")

    def test_valid_token_is_never_refused_because_of_guesses(self) -> None:
        """Behind a NAT or a proxy, the address is that of others too."""
        for n in range(100):
            self.outcome(f"Bearer guess{n}")
            self.assertEqual(self.outcome("Bearer admin"), "admitted")
        self.assertEqual(self.outcome("Bearer read"), "admitted", "a token that was not used before")

    def test_missing_token_and_insufficient_role_are_no_failures(self) -> None:
        for _ in range(20):
            self.outcome("")
            self.outcome("Bearer read", Role.ADMIN)
        self.assertEqual(self.outcome("Bearer read"), "admitted")

    def test_errors_are_problems(self) -> None:
        for error, status in ((NotAuthenticated, 401), (NotAllowed, 403), (TooManyAttempts, 429)):
            self.assertTrue(issubclass(error, RestError))
            self.assertEqual(error.status, status)


class SlowAuthenticator:
    """An authenticator that responds when a test says so."""

    def __init__(self) -> None:
        self.pending: list[tuple[str, Deferred[Principal]]] = []
        self.most = 0  # tokens that were checked at the same time

    async def authenticate(self, token: str) -> Principal:
        result: Deferred[Principal] = Deferred()
        self.pending.append((token, result))
        return await result

    def respond(self) -> None:
        """Accept the tokens that begin with "good", and reject the others."""
        while self.pending:
            self.most = max(self.most, len(self.pending))
            token, result = self.pending.pop(0)
            if token.startswith("good"):
                result.callback(Principal(token, Role.ADMIN))
            else:
                result.errback(NotAuthenticated("no"))


class ParallelAttemptsTests(SynchronousTestCase):
    """A client that tries many tokens at the same time."""

    def setUp(self) -> None:
        self.clock = Clock()
        self.authenticator = SlowAuthenticator()
        self.throttle = LoginThrottle(self.clock)
        self.access_control = AccessControl(self.authenticator, self.throttle)

    def outcomes(self, tokens: list[str], address: str = ADDRESS) -> list[str]:
        """Try all tokens before the first response; return each outcome."""
        outcomes: list[str] = []
        for token in tokens:
            admission = Deferred.fromCoroutine(
                self.access_control.admit(address, "GET", {"authorization": f"Bearer {token}"}, Role.READ)
            )
            admission.addCallbacks(
                lambda _: outcomes.append("admitted"), lambda failure: outcomes.append(failure.value.code)
            )
        self.authenticator.respond()
        return outcomes

    def test_they_are_checked_few_at_a_time(self) -> None:
        outcomes = self.outcomes([f"guess {n}" for n in range(50)])
        self.assertEqual(outcomes.count("not-authenticated"), LoginThrottle.FREE_FAILURES + 1)
        self.assertEqual(outcomes.count("too-many-attempts"), 50 - LoginThrottle.FREE_FAILURES - 1)
        self.assertEqual(self.authenticator.most, LoginThrottle.PARALLEL_CHECKS)

    def test_valid_token_among_them_is_accepted(self) -> None:
        outcomes = self.outcomes([*(f"guess {n}" for n in range(20)), "good"])
        self.assertEqual(outcomes.count("admitted"), 1)

    def test_token_that_was_accepted_before_does_not_wait_for_guesses(self) -> None:
        self.outcomes(["good"])
        for n in range(20):
            admission = Deferred.fromCoroutine(
                self.access_control.admit(ADDRESS, "GET", {"authorization": f"Bearer guess{n}"}, Role.READ)
            )
            admission.addErrback(lambda _: None)
        Deferred.fromCoroutine(self.access_control.admit(ADDRESS, "GET", {"authorization": "Bearer good"}, Role.READ))
        self.assertIn("good", [token for token, _ in self.authenticator.pending])
        self.authenticator.respond()

    def test_other_addresses_are_not_delayed(self) -> None:
        for n in range(20):
            admission = Deferred.fromCoroutine(
                self.access_control.admit(ADDRESS, "GET", {"authorization": f"Bearer {n}"}, Role.READ)
            )
            admission.addErrback(lambda _: None)
        self.assertEqual(self.outcomes(["good"], "192.0.2.2")[-1:], ["admitted"])

    def test_state_of_checks_is_removed(self) -> None:
        self.outcomes([f"{kind} {n}" for n in range(5) for kind in ("good", "guess")])
        self.assertEqual(self.throttle._checks, {})
