"""Signing in to the console at an OpenID Connect provider: users, roles, Profiles, refusals and signing out."""

import logging
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit
from uuid import uuid4

import treq
from oidc_provider_mock import User as ProviderUser
from oidc_provider_mock import run_server_in_thread
from twisted.internet.defer import Deferred

from tests.api.rest_test_case import PUBLIC_URL, ClientResponse
from tests.console.console_test_case import ConsoleTestCase
from tests.database import reactor, until
from tests.oidc.fake_provider import CLIENT_ID, CLIENT_SECRET, started_provider
from tests.subtest import subtest
from voxrec.api.auth.password_sign_in import SignInPolicy
from voxrec.api.auth.single_sign_on import IdentityProvider
from voxrec.console.sign_in import CALLBACK
from voxrec.model import Role
from voxrec.oidc.flow import AuthorizationFlow, ClientSettings
from voxrec.oidc.http import ProviderHttp
from voxrec.oidc.permissions import ClaimMapping
from voxrec.oidc.provider import Provider

BEGIN = "/console/sign-in/provider"
PROFILE_ID = uuid4()
MAPPING = ClaimMapping(
    roles={"listeners": Role.READ, "supervisors": Role.SUPERVISE, "admins": Role.ADMIN},
    profile_claim="groups",
    profiles={"listeners": (PROFILE_ID, uuid4()), "supervisors": None},
)


def identity_provider(issuer: str, mapping: ClaimMapping = MAPPING, timeout: float = 20.0) -> IdentityProvider:
    """Return the client of a provider."""
    http = ProviderHttp(reactor, timeout)
    client = ClientSettings(
        CLIENT_ID,
        CLIENT_SECRET,
        ("openid", "profile", "email"),
        f"{PUBLIC_URL}{CALLBACK}",
        f"{PUBLIC_URL}/console/signed-out",
    )
    flow = AuthorizationFlow(reactor, http, Provider(reactor, http, issuer), client, frozenset(mapping.claims))
    return IdentityProvider(flow, mapping, "Example & Co")


class SingleSignOnTestCase(ConsoleTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        self.provider = await started_provider()
        self.addCleanup(self.provider.stop)
        self.identity_provider = identity_provider(self.provider.issuer)
        await super().setUp()
        await self.add_profile(id=PROFILE_ID, name="Sales")

    async def begin(self, next_: str = "/console/calls") -> tuple[dict[str, str], str]:
        """Press the button; return the parameters of the authorization request and the cookie."""
        response = await self.open(f"{BEGIN}?{urlencode({'next': next_})}")
        self.assertEqual(response.status, 303, response.body)
        self.assertIn("HttpOnly; SameSite=Lax; Secure", response.headers["set-cookie"])
        self.assertTrue(response.headers["set-cookie"].startswith("__Host-voxrec_sign_in="))
        parameters = dict(parse_qsl(urlsplit(response.headers["location"]).query))
        return parameters, response.headers["set-cookie"].partition(";")[0]

    async def come_back(self, state: str, cookie: str, **parameters: str) -> ClientResponse:
        return await self.open(f"{CALLBACK}?{urlencode({'code': 'c', 'state': state, **parameters})}", cookie)

    def set_claims(self, nonce_: str, sub: str = "7", **claims: Any) -> None:
        now = int(time.time())
        self.provider.userinfo = {"sub": sub}
        own = {"iss": self.provider.issuer, "aud": CLIENT_ID, "sub": sub, "nonce": nonce_, "iat": now, "exp": now + 300}
        self.provider.claims = {"preferred_username": "Anna", "groups": ["supervisors"], **own, **claims}

    async def sign_in_at_provider(self, next_: str = "/console/calls", **claims: Any) -> ClientResponse:
        parameters, cookie = await self.begin(next_)
        self.set_claims(parameters["nonce"], **claims)
        return await self.come_back(parameters["state"], cookie)

    async def replace_provider(self, answer: Callable[..., Any], timeout: float) -> None:
        self.provider.answers = {"/.well-known/openid-configuration": answer}
        self.identity_provider = identity_provider(self.provider.issuer, timeout=timeout)
        self.site.resource = self.make_resource()

    async def session_cookie(self, **claims: Any) -> str:
        response = await self.sign_in_at_provider(**claims)
        self.assertEqual(response.status, 303, response.body)
        return response.headers["set-cookie"].partition(";")[0]

    async def identity(self, cookie: str) -> dict[str, Any]:
        identity: dict[str, Any] = (await self.with_cookie("GET", "/session", cookie)).json
        return identity

    async def last_entry(self) -> dict[str, Any]:
        entry: dict[str, Any] = (await self.request("GET", "/audit?limit=1")).json[0]
        return entry


class UserTests(SingleSignOnTestCase):
    async def test_a_user_is_created_and_roles_follow_the_claims(self) -> None:
        body = (await self.open("/console/sign-in?next=/console/calls")).body.decode()
        self.assertIn("Sign in at Example &amp; Co", body)
        self.assertIn(f'href="{BEGIN}?next=/console/calls"', body)
        response = await self.sign_in_at_provider()
        self.assertEqual((response.status, response.headers["location"]), (303, "/console/calls"), response.body)
        first = response.headers["set-cookie"].partition(";")[0]
        identity = await self.identity(first)
        self.assertEqual((identity["name"], identity["role"], identity["profileIds"]), ("anna", "supervise", None))
        user = (await self.request("GET", f"/users/{identity['userId']}")).json
        self.assertEqual((user["issuer"], user["subject"]), (self.provider.issuer, "7"))
        entry = await self.last_entry()
        self.assertEqual((entry["who"], entry["kind"], entry["outcome"]), ("anna", "session", "done"))
        second = await self.session_cookie(groups=["listeners", "others"], preferred_username="renamed")
        identity = await self.identity(second)
        self.assertEqual((identity["name"], identity["role"]), ("anna", "read"))
        self.assertEqual(identity["profileIds"], [str(PROFILE_ID)], "a Profile that does not exist is left out")
        self.assertEqual((await self.with_cookie("GET", "/session", first)).status, 401, "other permissions")
        third = await self.session_cookie(groups=["listeners"])
        self.assertEqual((await self.with_cookie("GET", "/session", second)).status, 200, "the same permissions")
        identity = await self.identity(third)
        admin = await self.session_cookie(groups=["admins", "listeners"])
        self.assertEqual((await self.identity(admin))["role"], "admin")
        self.assertEqual(len((await self.request("GET", "/users")).json), 1)

    async def test_refused_users(self) -> None:
        await self.add_user("ben")
        for claims, text, who in (
            ({"groups": ["others"]}, "have no permissions", "anna"),
            ({"groups": None}, "have no permissions", "anna"),
            ({"groups": {"admins": True}}, "have no permissions", "anna"),
            ({"preferred_username": "ben"}, "is that of another user", "identity provider"),
            ({"preferred_username": "\u0430dmin"}, None, ""),
            ({"preferred_username": "admin"}, "cannot be used", "identity provider"),
        ):
            with subtest(claims):
                response = await self.sign_in_at_provider(sub=str(claims), **claims)
                if text is None:
                    self.assertEqual(response.status, 303)
                    continue
                self.assertEqual(response.status, 403)
                self.assertIn(text, response.body.decode())
                self.assertNotIn("set-cookie", response.headers)
                entry = await self.last_entry()
                self.assertEqual((entry["who"], entry["outcome"], entry["path"]), (who, "refused", CALLBACK))
                self.assertTrue(entry["reason"])
        self.assertEqual((await self.attempt("ben")).status, 200)

    async def test_a_disabled_user(self) -> None:
        cookie = await self.session_cookie()
        user_id = (await self.identity(cookie))["userId"]
        await self.request("POST", f"/users/{user_id}", json={"enabled": False})
        self.assertEqual((await self.with_cookie("GET", "/session", cookie)).status, 401)
        response = await self.sign_in_at_provider(groups=["admins"])
        self.assertEqual(response.status, 403)
        self.assertIn(b"Your user is disabled", response.body)
        self.assertEqual((await self.last_entry())["who"], "anna")
        user = (await self.request("GET", f"/users/{user_id}")).json
        self.assertEqual((user["enabled"], user["role"]), (False, "supervise"))

    async def test_no_profile_that_exists(self) -> None:
        await self.request("DELETE", f"/profiles/{PROFILE_ID}")
        response = await self.sign_in_at_provider(groups=["listeners"])
        self.assertEqual(response.status, 403)
        self.assertIn(b"have no permissions", response.body)
        self.assertEqual((await self.request("GET", "/users")).json, [])

    async def test_users_of_the_provider_have_no_password(self) -> None:
        cookie = await self.session_cookie()
        user_id = (await self.identity(cookie))["userId"]
        for password in ("!", "of no user", "x"):
            self.assertEqual((await self.attempt("anna", password)).status, 401)
        response = await self.request("POST", f"/users/{user_id}", json={"password": "correct horse battery"})
        self.assertEqual((response.status, response.error_fields), (422, ["password"]))
        for body in ({"issuer": None}, {"subject": "8"}, {"secondFactor": True}):
            self.assertEqual((await self.request("POST", f"/users/{user_id}", json=body)).status, 422)
        body = {"currentPassword": "x", "newPassword": "another long password"}
        self.assertEqual((await self.with_cookie("POST", "/session/password", cookie, json=body)).status, 409)
        page = (await self.open("/console/account", cookie)).body.decode()
        self.assertIn("You sign in at the identity provider", page)
        self.assertNotIn("newPassword", page)
        admin = await self.session_cookie(sub="8", preferred_username="ada", groups=["admins"])
        page = (await self.open(f"/console/users/{user_id}", admin)).body.decode()
        self.assertIn(self.provider.issuer, page)
        self.assertNotIn("Set the password", page)
        self.assertIn("identity provider", (await self.open("/console/users", admin)).body.decode())


class ResponseTests(SingleSignOnTestCase):
    async def test_no_open_redirect(self) -> None:
        for target in (
            "https://evil.example",
            "//evil.example/console/",
            "/console/\\evil.example",
            "/console/\r\nX: y",
        ):
            with subtest(target):
                response = await self.sign_in_at_provider(target)
                self.assertEqual(response.headers["location"], "/console/recordings")

    async def test_replayed_and_foreign_responses(self) -> None:
        parameters, cookie = await self.begin()
        self.set_claims(parameters["nonce"])
        self.assertEqual((await self.come_back(parameters["state"], cookie)).status, 303)
        _, other_cookie = await self.begin()
        for state, given in (
            (parameters["state"], cookie),
            (parameters["state"], other_cookie),
            (parameters["state"], ""),
            ("", cookie),
        ):
            with subtest((state[:5], given[:40])):
                response = await self.come_back(state, given)
                self.assertEqual(response.status, 403)
                self.assertIn(b"has expired, was used already", response.body)
                entry = await self.last_entry()
                self.assertEqual((entry["who"], entry["outcome"]), ("identity provider", "refused"))
        self.assertEqual(len((await self.request("GET", "/sessions")).json), 1)

    async def test_the_user_declines(self) -> None:
        parameters, cookie = await self.begin()
        response = await self.come_back(parameters["state"], cookie, error="access_denied")
        self.assertEqual(response.status, 403)
        self.assertIn(b"declined or cancelled", response.body)

    async def test_answers_that_cannot_be_trusted(self) -> None:
        for change in ({"iss": "https://evil.example"}, {"nonce": "another"}, {"aud": "another"}, {"exp": 1}):
            with subtest(change):
                response = await self.sign_in_at_provider(**change)
                self.assertEqual(response.status, 403)
                self.assertIn(b"could not be verified", response.body)
        parameters, cookie = await self.begin()
        response = await self.come_back(parameters["state"], cookie, iss="https://evil.example")
        self.assertIn(b"could not be verified", response.body)
        self.assertIn("evil.example", (await self.last_entry())["reason"])

    async def test_failures_do_not_fill_the_audit_log(self) -> None:
        for _ in range(40):
            self.assertEqual((await self.come_back("x", "")).status, 403)
        entries = (await self.request("GET", "/audit")).json
        self.assertEqual(len([entry for entry in entries if entry["kind"] == "session"]), 30)


class OutageTests(SingleSignOnTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        await self.add_user("ben")

    async def test_a_provider_that_is_away_or_slow_does_not_block_others(self) -> None:
        await self.replace_provider(self.provider.hang, 20.0)
        waiting = treq.get(f"http://127.0.0.1:{self.port}{BEGIN}", allow_redirects=False, persistent=False)
        waiting.addErrback(lambda _: None)
        await self.sign_in("ben")
        self.assertEqual((await self.open("/console/sign-in")).status, 200)
        waiting.cancel()
        await self.replace_provider(self.provider.hang, 0.2)
        response = await self.open(BEGIN)
        self.assertEqual(response.status, 503)
        self.assertIn(b"Example &amp; Co does not respond", response.body)
        self.assertIn(b'name="password"', response.body, "local users can sign in")
        entry = await self.last_entry()
        self.assertEqual((entry["outcome"], entry["path"], entry["status"]), ("failed", BEGIN, 503))
        self.assertIn("no response within 0.2 s", entry["reason"])


class SignOutTests(SingleSignOnTestCase):
    async def test_users_of_a_provider_sign_out_there_too(self) -> None:
        self.provider.metadata["end_session_endpoint"] = f"{self.provider.issuer}/out?a=b"
        cookie = await self.session_cookie()
        response = await self.submit("/console/sign-out", cookie)
        self.assertEqual(response.status, 200, response.body)
        self.assertIn("Max-Age=0", response.headers["set-cookie"])
        body = response.body.decode()
        self.assertIn(f'content="0; url={self.provider.issuer}/out?a=b&amp;client_id=voxrec&amp;', body)
        self.assertIn("id_token_hint=ey", body)
        self.assertEqual((await self.open("/console/account", cookie)).status, 303)
        self.assertIn(b"You are signed out", (await self.open("/console/signed-out")).body)

    async def test_others_only_here(self) -> None:
        self.provider.metadata["end_session_endpoint"] = f"{self.provider.issuer}/out"
        response = await self.submit("/console/sign-out", await self.signed_in())
        self.assertEqual((response.status, response.headers["location"]), (303, "/console/sign-in"))

    async def test_a_provider_without_this(self) -> None:
        response = await self.submit("/console/sign-out", await self.session_cookie())
        self.assertEqual((response.status, response.headers["location"]), (303, "/console/sign-in"))

    async def test_the_session_ends_before_a_slow_provider_responds(self) -> None:
        cookie = await self.session_cookie()
        await self.replace_provider(self.provider.hang, 60.0)
        self.provider.requested.clear()
        response = Deferred.fromCoroutine(self.submit("/console/sign-out", cookie))
        await until(lambda: self.provider.requested)
        self.assertEqual((await self.open("/console/account", cookie)).status, 303)
        await self.provider.stop()
        self.assertEqual((await response).headers["location"], "/console/sign-in")


class PasswordPolicyTests(SingleSignOnTestCase):
    sign_in_policy = SignInPolicy(passwords="admin")

    async def test_only_administrators_have_passwords(self) -> None:
        await self.add_user("ben")
        await self.add_user("ada", "admin")
        self.assertEqual((await self.attempt("ben")).status, 403)
        self.assertEqual((await self.last_entry())["outcome"], "refused")
        self.assertEqual((await self.attempt("ben", "wrong")).status, 401)
        await self.sign_in("ada")
        body = (await self.open("/console/sign-in")).body
        self.assertIn(b"administrators only", body)
        response = await self.submit("/console/sign-in", name="ben", password="correct horse battery staple")
        self.assertEqual(response.status, 403)
        self.assertIn(b"Passwords are not accepted", response.body)


class NoPasswordTests(SingleSignOnTestCase):
    sign_in_policy = SignInPolicy(passwords="none")

    async def test_no_user_has_a_password(self) -> None:
        await self.add_user("ada", "admin")
        self.assertEqual((await self.attempt("ada")).status, 403)
        self.assertNotIn(b"password", (await self.open("/console/sign-in")).body)
        self.assertEqual((await self.sign_in_at_provider()).status, 303)


class IndependentProviderTests(ConsoleTestCase):
    """With a provider that others have written."""

    async def setUp(self) -> None:  # type: ignore[override]
        logging.getLogger("werkzeug").setLevel(logging.ERROR)
        users = [ProviderUser(sub="anna-id", claims={"preferred_username": "anna", "groups": ["supervisors"]})]
        server = run_server_in_thread(user_claims=users)
        port = server.__enter__().server_port
        self.addCleanup(server.__exit__, None, None, None)
        self.identity_provider = identity_provider(f"http://localhost:{port}")
        await super().setUp()

    async def test_sign_in_and_out(self) -> None:
        response = await self.open(f"{BEGIN}?next=/console/account")
        cookie = response.headers["set-cookie"].partition(";")[0]
        form = {"sub": "anna-id"}
        answer = await treq.post(response.headers["location"], data=form, allow_redirects=False, persistent=False)
        await treq.content(answer)
        [target] = answer.headers.getRawHeaders("location")
        self.assertTrue(target.startswith(f"{PUBLIC_URL}{CALLBACK}?"), target)
        response = await self.open(target.removeprefix(PUBLIC_URL), cookie)
        self.assertEqual((response.status, response.headers["location"]), (303, "/console/account"), response.body)
        session = response.headers["set-cookie"].partition(";")[0]
        self.assertIn(b"supervisor", (await self.open("/console/account", session)).body)
        replayed = await self.open(target.removeprefix(PUBLIC_URL), cookie)
        self.assertEqual(replayed.status, 403)
        response = await self.submit("/console/sign-out", session)
        self.assertIn(b"end_session", response.body)
