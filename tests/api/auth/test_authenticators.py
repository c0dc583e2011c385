"""Tests of voxrec.api.auth.authenticators."""

from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.api.rest_test_case import CREATED_AT
from tests.database import DatabaseTestCase, reactor, until
from tests.subtest import subtest
from voxrec.api.auth.authenticators import StaticTokens, StoredTokens
from voxrec.errors import StoreUnavailable
from voxrec.model import Role, Token
from voxrec.postgres.listener import TOKENS_CHANNEL, Listener
from voxrec.store.tokens import SECRET_PREFIX, Tokens, generate_secret
from voxrec.web.auth import AccessControl, ChainAuthenticator, Principal
from voxrec.web.errors import NotAuthenticated
from voxrec.web.login_throttle import LoginThrottle

HOME: Final = "192.0.2.1"


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


class Daemon:
    """The authentication of one daemon: its cache of tokens, and its listener for notifications of PostgreSQL."""

    def __init__(self, clock: Clock, tokens: Tokens, dsn: str) -> None:
        self.stored = StoredTokens(clock, tokens)
        self.access_control = AccessControl(self.stored, LoginThrottle(clock))
        self.notifications = 0
        self.listener = Listener(reactor, dsn, {TOKENS_CHANNEL: self.notified}, self.stored.invalidate)

    def notified(self, payload: str) -> None:
        self.notifications += 1
        self.stored.invalidate(payload)

    async def accepts(self, secret: str) -> bool:
        try:
            await self.access_control.admit(HOME, "GET", {"authorization": f"Bearer {secret}"}, Role.READ)
        except NotAuthenticated:
            return False
        return True


class RevocationTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.tokens = Tokens(self.pool)
        self.secret = generate_secret()
        self.token = await self.tokens.create(
            Token(id=uuid4(), name="crm", role=Role.READ, created_at=CREATED_AT), self.secret
        )
        self.clock = Clock()
        self.daemons = [Daemon(self.clock, self.tokens, self.dsn) for _ in range(2)]

    async def tearDown(self) -> None:  # type: ignore[override]
        for daemon in self.daemons:
            await daemon.listener.stopService()
        await super().tearDown()

    async def test_revocation_reaches_every_daemon_at_once(self) -> None:
        for daemon in self.daemons:
            daemon.listener.startService()
        await until(lambda: all(daemon.listener.listening for daemon in self.daemons))
        for daemon in self.daemons:
            self.assertTrue(await daemon.accepts(self.secret))
        await self.tokens.revoke(self.token.id)
        await until(lambda: all(daemon.notifications for daemon in self.daemons))
        for daemon in self.daemons:  # the clock stands still: nothing that they remember is outdated
            self.assertFalse(await daemon.accepts(self.secret))

    async def test_revocation_takes_a_second_without_listeners(self) -> None:
        for daemon in self.daemons:
            self.assertTrue(await daemon.accepts(self.secret))
        await self.tokens.revoke(self.token.id)
        for seconds, accepted in ((0.9, True), (0.15, False)):
            self.clock.advance(seconds)
            self.assertEqual([await daemon.accepts(self.secret) for daemon in self.daemons], [accepted] * 2)

    async def test_token_read_before_an_invalidation_is_not_cached(self) -> None:
        [daemon, _] = self.daemons
        find = self.tokens.find

        async def find_before_revocation(secret_digest: bytes) -> Token | None:
            token = await find(secret_digest)
            await self.tokens.revoke(self.token.id)
            daemon.stored.invalidate()
            return token

        self.patch(self.tokens, "find", find_before_revocation)
        self.assertTrue(await daemon.accepts(self.secret))
        self.patch(self.tokens, "find", find)
        self.assertFalse(await daemon.accepts(self.secret))


class StoredTokensTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.clock = Clock()
        self.clock.advance(CREATED_AT.timestamp())
        self.tokens = Tokens(self.pool)
        self.stored = StoredTokens(self.clock, self.tokens)
        self.secret = generate_secret()

    async def add_token(self, **fields: Any) -> Token:
        defaults = {"id": uuid4(), "name": "crm", "role": Role.READ, "created_at": CREATED_AT}
        return await self.tokens.create(Token(**{**defaults, **fields}), self.secret)

    async def rejection(self, secret: str) -> str:
        with self.assertRaises(NotAuthenticated) as caught:
            await self.stored.authenticate(secret)
        self.assertIn('error="invalid_token"', caught.exception.headers["WWW-Authenticate"])
        return str(caught.exception)

    async def test_principal_of_a_token(self) -> None:
        token = await self.add_token(profile_ids=None)
        principal = await self.stored.authenticate(self.secret)
        self.assertEqual(
            (principal.name, principal.role, principal.profile_ids, principal.token_id),
            ("crm", Role.READ, None, token.id),
        )

    async def test_cached_token_expires_at_its_time(self) -> None:
        await self.add_token(expires_at=CREATED_AT + timedelta(seconds=0.5))
        await self.stored.authenticate(self.secret)
        self.clock.advance(0.5)
        self.assertEqual(await self.rejection(self.secret), "This token expired at 2026-01-31T09:30:00.500000Z.")

    async def test_text_that_is_not_a_secret_is_not_looked_up(self) -> None:
        await self.pool.stopService()
        for secret in (
            "",
            "admin",
            SECRET_PREFIX,
            f"{SECRET_PREFIX}{'x' * 42}",
            f"{SECRET_PREFIX}{'x' * 43}\n",
            f"{SECRET_PREFIX}{'ü' * 43}",
        ):
            with subtest(secret):
                self.assertEqual(await self.rejection(secret), "This token is not valid.")

    async def test_token_is_read_once_per_second(self) -> None:
        await self.add_token()
        find, lookups = self.tokens.find, []

        async def counting_find(secret_digest: bytes) -> Token | None:
            lookups.append(secret_digest)
            return await find(secret_digest)

        self.patch(self.tokens, "find", counting_find)
        for _ in range(10):
            await self.stored.authenticate(self.secret)
        self.assertEqual(len(lookups), 1)
        self.clock.advance(1.0)
        await self.stored.authenticate(self.secret)
        self.assertEqual(len(lookups), 2)

    async def test_only_configured_tokens_are_accepted_without_postgresql(self) -> None:
        await self.add_token()
        authenticator = ChainAuthenticator(StaticTokens({"admin": "configured"}), self.stored)
        self.assertEqual((await authenticator.authenticate(self.secret)).name, "crm")
        await self.pool.stopService()
        self.clock.advance(1.0)
        throttle = LoginThrottle(self.clock)
        access_control = AccessControl(authenticator, throttle)
        for _ in range(20):  # the token is not known to be wrong, so it is not throttled
            with self.assertRaises(StoreUnavailable):
                await access_control.admit(HOME, "GET", {"authorization": f"Bearer {self.secret}"}, Role.READ)
        self.assertEqual(
            (await access_control.admit(HOME, "GET", {"authorization": "Bearer configured"}, Role.ADMIN)).name, "admin"
        )
        with self.assertRaises(NotAuthenticated):
            await access_control.admit(HOME, "GET", {"authorization": "Bearer other"}, Role.READ)
        self.assertEqual(throttle._checks, {})
