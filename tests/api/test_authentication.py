"""Tests of voxrec.api.authentication."""

from twisted.internet.defer import Deferred
from twisted.trial.unittest import SynchronousTestCase

from tests.subtest import subtest
from voxrec.api.authentication import StaticTokens
from voxrec.web.auth import Principal, Role
from voxrec.web.errors import NotAuthenticated


class StaticTokensTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.tokens = StaticTokens({"one": "first", "two": "sécond", "unset": ""})

    def authenticate(self, token: str) -> Principal:
        return self.successResultOf(Deferred.fromCoroutine(self.tokens.authenticate(token)))

    def test_valid_tokens(self) -> None:
        self.assertEqual(self.authenticate("first"), Principal("one", Role.ADMIN))
        self.assertEqual(self.authenticate("sécond"), Principal("two", Role.ADMIN))

    def test_invalid_tokens(self) -> None:
        for token in ("", "firs", "first ", "FIRST", "one", "\udcff"):
            with subtest(token):
                failed = Deferred.fromCoroutine(self.tokens.authenticate(token))
                error = self.failureResultOf(failed, NotAuthenticated).value
                assert isinstance(error, NotAuthenticated)
                self.assertIn('error="invalid_token"', error.headers["WWW-Authenticate"])
