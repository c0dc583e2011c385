"""Tokens made by REST: what they may be, what they open, and how soon they stop."""

from datetime import timedelta
from typing import Any, Final
from uuid import uuid4

from twisted.internet.task import Clock, deferLater

from tests.api.rest_test_case import CREATED_AT, PUBLIC_URL, ClientResponse, RestTestCase
from tests.database import DatabaseTestCase, reactor, until
from tests.subtest import subtest
from voxrec.api.authentication import StaticTokens, StoredTokens
from voxrec.errors import StoreUnavailable
from voxrec.model import RecordingState, Role, Token
from voxrec.postgres.listener import TOKENS_CHANNEL, Listener
from voxrec.store.tokens import SECRET_PREFIX, Tokens, generate_secret, hash_secret
from voxrec.web.auth import AccessControl, ChainAuthenticator
from voxrec.web.errors import NotAuthenticated
from voxrec.web.login_throttle import LoginThrottle

HOME: Final = "192.0.2.1"
LATER: Final = "2099-01-01T00:00:00Z"


class TokenRouteTests(RestTestCase):
    async def make(self, **given: Any) -> ClientResponse:
        return await self.request("PUT", "/tokens", json={"name": "crm", "role": "read", **given})

    async def test_its_life(self) -> None:
        made = await self.make(expiresAt=LATER)
        self.assertEqual(made.status, 201, made.body)
        token = made.json
        secret = token.pop("token")
        self.assertTrue(secret.startswith(SECRET_PREFIX))
        self.assertEqual(made.headers["location"], f"{PUBLIC_URL}/tokens/{token['id']}")
        self.assertEqual((token["name"], token["role"], token["profileIds"]), ("crm", "read", None))
        path = f"/tokens/{token['id']}"
        shown = await self.request("GET", path)
        self.assertEqual((shown.status, shown.json, shown.etag), (200, token, made.etag))
        self.assertEqual((await self.request("GET", "/tokens")).json, [token])
        self.assertEqual((await self.request("GET", "/profiles", token=secret)).status, 200)
        self.assertEqual((await self.request("PUT", "/profiles", token=secret, json={})).status, 403)
        lost = await self.request("DELETE", path, headers={"If-Match": '"other"'})
        self.assertEqual(lost.status, 412)
        self.assertEqual((await self.request("DELETE", path)).status, 204)
        for method in ("GET", "DELETE"):
            self.assertEqual((await self.request(method, path)).status, 404)
        self.assertEqual((await self.request("GET", "/tokens")).json, [])

    async def test_no_secret_is_stored(self) -> None:
        secret = (await self.make()).json["token"]
        [(stored,)] = await self.pool.query("SELECT tokens::text FROM tokens")
        self.assertNotIn(secret.removeprefix(SECRET_PREFIX), stored)
        [(hash_,)] = await self.pool.query("SELECT hash FROM tokens")
        self.assertEqual(bytes(hash_), hash_secret(secret))

    async def test_nonsense(self) -> None:
        known, unknown = str((await self.add_profile()).id), str(uuid4())
        table: tuple[tuple[dict[str, Any], list[str]], ...] = (
            ({"name": ""}, ["name"]),
            ({"name": " crm"}, ["name"]),
            ({"name": "c\nrm"}, ["name"]),
            ({"name": "crm\n"}, ["name"]),
            ({"name": "c\x1b[2Jrm"}, ["name"]),
            ({"name": None, "role": "root"}, ["name", "role"]),
            ({"expiresAt": "2020-01-01T00:00:00Z"}, ["expiresAt"]),
            ({"expiresAt": "2099-01-01T00:00:00"}, ["expiresAt"]),
            ({"profileIds": []}, ["profileIds"]),
            ({"profileIds": [known, unknown]}, ["profileIds"]),
            ({"profileIds": [known, known]}, ["profileIds"]),
            ({"profileIds": [known], "role": "admin"}, ["profileIds"]),
            ({"id": str(uuid4()), "createdAt": LATER, "revokedAt": None}, ["id", "createdAt", "revokedAt"]),
            ({"token": "vxr_mine"}, ["token"]),
        )
        for given, error_fields in table:
            with subtest(given):
                response = await self.make(**given)
                self.assertEqual((response.status, response.error_fields), (422, error_fields), response.body)
        missing = await self.request("PUT", "/tokens", json={})
        self.assertEqual((missing.status, missing.error_fields), (422, ["name", "role"]))
        self.assertEqual((await self.request("GET", "/tokens")).json, [])

    async def test_only_for_administrators(self) -> None:
        for method, path in (("GET", "/tokens"), ("PUT", "/tokens"), ("GET", f"/tokens/{uuid4()}"), ("GET", "/audit")):
            for role in ("read", "provision"):
                with subtest((method, path, role)):
                    self.assertEqual((await self.request(method, path, token=role, json={})).status, 403)

    async def test_pages(self) -> None:
        for _ in range(3):
            await self.make()
        first = await self.request("GET", "/tokens?limit=2")
        following = first.headers["link"].partition(">")[0].removeprefix(f"<{PUBLIC_URL}")
        second = await self.request("GET", following)
        whole = await self.request("GET", "/tokens")
        self.assertEqual(first.json + second.json, whole.json)


class LimitedTokenTests(RestTestCase):
    """A token that is limited to one Profile, at every route there is."""

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.own = await self.add_profile(name="own")
        self.other = await self.add_profile(name="other", numbers=("+4930",))
        self.own_recording = await self.add_audio(b"RIFF", profile_id=self.own.id)
        self.other_recording = await self.add_audio(b"RIFF", profile_id=self.other.id)
        self.pending = await self.add_recording(profile_id=self.own.id, state=RecordingState.PENDING)
        token = Token(
            id=uuid4(), name="limited", role=Role.PROVISION, profile_ids=(self.own.id,), created_at=CREATED_AT
        )
        self.secret = generate_secret()
        await self.tokens.create(token, self.secret)

    async def limited(self, method: str, path: str, **given: Any) -> ClientResponse:
        return await self.request(method, path, token=self.secret, **given)

    async def test_lists_hold_what_is_its_own(self) -> None:
        for query in ("", "?limit=10"):
            profiles = await self.limited("GET", f"/profiles{query}")
            self.assertEqual([one["id"] for one in profiles.json], [str(self.own.id)])
            recordings = await self.limited("GET", f"/recordings{query}")
            self.assertEqual({one["profileId"] for one in recordings.json}, {str(self.own.id)})
            self.assertEqual(len(recordings.json), 2)
        self.assertEqual((await self.limited("GET", "/profiles?number=%2B4930")).json, [])

    async def test_its_own_is_open_and_others_are_not_there(self) -> None:
        rows: tuple[tuple[str, str, Any, int], ...] = (
            ("GET", "/profiles/{p}", None, 200),
            ("POST", "/profiles/{p}", {"record": True}, 200),
            ("GET", "/profiles/{p}/recordings", None, 200),
            ("PUT", "/profiles/{p}/recordings", {}, 201),
            ("GET", "/profiles/{p}/recordings/{r}", None, 200),
            ("POST", "/profiles/{p}/recordings/{r}", {"metadata": {"a": 1}}, 200),
            ("GET", "/recordings/{r}", None, 200),
            ("POST", "/recordings/{r}", {"metadata": {"a": 2}}, 200),
            ("GET", "/recordings/{r}/audio", None, 200),
            ("DELETE", "/profiles/{p}/recordings/{r}", None, 204),
            ("DELETE", "/profiles/{p}", None, 204),
        )
        for method, path, body, status in rows:
            given = {} if body is None else {"json": body}
            with subtest((method, path)):
                theirs = await self.limited(method, path.format(p=self.other.id, r=self.other_recording.id), **given)
                self.assertEqual((theirs.status, theirs.json["code"]), (404, "not-found"), theirs.body)
                self.assertEqual(theirs.error_fields, [])
                ours = await self.limited(method, path.format(p=self.own.id, r=self.own_recording.id), **given)
                self.assertEqual(ours.status, status, ours.body)
        theirs = await self.limited("DELETE", f"/recordings/{self.other_recording.id}")
        self.assertEqual(theirs.status, 404)
        self.assertEqual((await self.limited("DELETE", f"/recordings/{self.pending.id}")).status, 204)
        self.assertEqual(await self.profiles.get(self.other.id), self.other)
        self.assertEqual(await self.recordings.get(self.other_recording.id), self.other_recording)

    async def test_it_makes_recordings_of_its_own_profiles_only(self) -> None:
        theirs = await self.limited("PUT", "/recordings", json={"profileId": str(self.other.id)})
        self.assertEqual((theirs.status, theirs.error_fields), (422, ["profileId"]))
        ours = await self.limited("PUT", "/recordings", json={"profileId": str(self.own.id)})
        self.assertEqual(ours.status, 201, ours.body)

    async def test_it_makes_no_profiles(self) -> None:
        for body in ({}, {"id": str(self.own.id)}):
            response = await self.limited("PUT", "/profiles", json=body)
            self.assertEqual((response.status, response.json["code"]), (403, "not-allowed"))
            self.assertIn("limited to some profiles", response.json["detail"])

    async def test_what_does_not_honour_the_limit_is_closed(self) -> None:
        """Whoever adds a route and does not think of limited tokens has shut them out."""
        closed = [route for route in self.app.routes if route.role is not None and not route.profile_scoped]
        self.assertLessEqual({"/tokens", "/audit"}, {route.path for route in closed})
        await self.pool.execute("UPDATE tokens SET role = 'admin'")
        for route in closed:
            with subtest((route.method, route.path)):
                path = route.path.replace("<id>", str(self.own.id)).replace("<profileId>", str(self.own.id))
                response = await self.limited(route.method, path)
                self.assertEqual((response.status, response.json["code"]), (403, "not-allowed"), response.body)


class Daemon:
    """What one daemon has of its own: its memory, and its ear for what PostgreSQL tells."""

    def __init__(self, tokens: Tokens, dsn: str) -> None:
        self.stored = StoredTokens(reactor, tokens)
        self.gate = AccessControl(self.stored, LoginThrottle(reactor))
        self.heard = 0
        self.listener = Listener(reactor, dsn, {TOKENS_CHANNEL: self.hear}, self.stored.invalidate)

    def hear(self, payload: str) -> None:
        self.heard += 1
        self.stored.invalidate(payload)

    async def lets_in(self, secret: str) -> bool:
        try:
            await self.gate.admit(HOME, f"Bearer {secret}", Role.READ)
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
        self.daemons = [Daemon(self.tokens, self.dsn) for _ in range(2)]

    async def tearDown(self) -> None:  # type: ignore[override]
        for daemon in self.daemons:
            await daemon.listener.stopService()
        await super().tearDown()

    async def test_on_every_daemon_at_once(self) -> None:
        for daemon in self.daemons:
            daemon.listener.startService()
        await until(lambda: all(daemon.listener.listening for daemon in self.daemons))
        for daemon in self.daemons:
            self.assertTrue(await daemon.lets_in(self.secret))
        begun = reactor.seconds()
        await self.tokens.revoke(self.token.id)
        await until(lambda: all(daemon.heard for daemon in self.daemons))
        for daemon in self.daemons:
            self.assertFalse(await daemon.lets_in(self.secret))
        self.assertLess(reactor.seconds() - begun, 0.9)

    async def test_within_a_second_where_nobody_listens(self) -> None:
        for daemon in self.daemons:
            self.assertTrue(await daemon.lets_in(self.secret))
        begun = reactor.seconds()
        await self.tokens.revoke(self.token.id)
        while any([await daemon.lets_in(self.secret) for daemon in self.daemons]):
            self.assertLess(reactor.seconds() - begun, 1.05)
            await deferLater(reactor, 0.01)

    async def test_what_was_asked_before_a_change_is_not_remembered_after_it(self) -> None:
        [daemon, _] = self.daemons
        find = self.tokens.find

        async def overtaken(secret_digest: bytes) -> Token | None:
            found = await find(secret_digest)
            await self.tokens.revoke(self.token.id)
            daemon.stored.invalidate()
            return found

        self.patch(self.tokens, "find", overtaken)
        self.assertTrue(await daemon.lets_in(self.secret))
        self.patch(self.tokens, "find", find)
        self.assertFalse(await daemon.lets_in(self.secret))


class StoredTokenTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.clock = Clock()
        self.clock.advance(CREATED_AT.timestamp())
        self.tokens = Tokens(self.pool)
        self.stored = StoredTokens(self.clock, self.tokens)
        self.secret = generate_secret()

    async def add(self, **given: Any) -> Token:
        fields = {"id": uuid4(), "name": "crm", "role": Role.READ, "created_at": CREATED_AT, **given}
        return await self.tokens.create(Token(**fields), self.secret)

    async def refused(self, secret: str) -> str:
        with self.assertRaises(NotAuthenticated) as caught:
            await self.stored.authenticate(secret)
        self.assertIn('error="invalid_token"', caught.exception.headers["WWW-Authenticate"])
        return str(caught.exception)

    async def test_whom_it_stands_for(self) -> None:
        token = await self.add(profile_ids=None)
        principal = await self.stored.authenticate(self.secret)
        self.assertEqual(
            (principal.name, principal.role, principal.profile_ids, principal.token_id),
            ("crm", Role.READ, None, token.id),
        )

    async def test_it_expires_to_the_second_also_where_it_is_remembered(self) -> None:
        await self.add(expires_at=CREATED_AT + timedelta(seconds=0.5))
        await self.stored.authenticate(self.secret)
        self.clock.advance(0.5)
        self.assertEqual(await self.refused(self.secret), "This token expired at 2026-01-31T09:30:00.500000Z.")

    async def test_what_is_no_token_of_ours_is_not_looked_for(self) -> None:
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
                self.assertEqual(await self.refused(secret), "This token is not valid.")

    async def test_it_is_asked_for_once_a_second(self) -> None:
        await self.add()
        find, asked = self.tokens.find, []

        async def counted(secret_digest: bytes) -> Token | None:
            asked.append(secret_digest)
            return await find(secret_digest)

        self.patch(self.tokens, "find", counted)
        for _ in range(10):
            await self.stored.authenticate(self.secret)
        self.assertEqual(len(asked), 1)
        self.clock.advance(1.0)
        await self.stored.authenticate(self.secret)
        self.assertEqual(len(asked), 2)

    async def test_without_postgresql_the_configured_one_alone_is_good(self) -> None:
        await self.add()
        both = ChainAuthenticator(StaticTokens({"admin": "configured"}), self.stored)
        self.assertEqual((await both.authenticate(self.secret)).name, "crm")
        await self.pool.stopService()
        self.clock.advance(1.0)
        attempts = LoginThrottle(self.clock)
        gate = AccessControl(both, attempts)
        for _ in range(20):  # it is nobody's wrong token, so nobody waits for it
            with self.assertRaises(StoreUnavailable):
                await gate.admit(HOME, f"Bearer {self.secret}", Role.READ)
        self.assertEqual((await gate.admit(HOME, "Bearer configured", Role.ADMIN)).name, "admin")
        with self.assertRaises(NotAuthenticated):
            await gate.admit(HOME, "Bearer other", Role.READ)
        self.assertEqual(attempts._pending, {})

    async def test_secrets_differ(self) -> None:
        self.assertEqual(len({generate_secret() for _ in range(1000)}), 1000)
        self.assertEqual(len(generate_secret()), len(SECRET_PREFIX) + 43)
