"""The authorization code flow against a real HTTP server: what is sent, and every answer that is refused."""

import base64
import hmac
import time
from hashlib import sha256
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec
from joserfc import jws
from twisted.trial.unittest import TestCase
from twisted.web.server import Request

from tests.database import reactor
from tests.oidc.fake_provider import CLIENT_ID, CLIENT_SECRET, ec_key, rsa_key, started_provider
from tests.subtest import subtest
from voxrec.oidc.errors import ProviderSignInError, Reason
from voxrec.oidc.flow import LIFETIME, AuthorizationFlow, ClientSettings, PendingSignIn, SignedIn
from voxrec.oidc.http import ProviderHttp
from voxrec.oidc.id_token import CLOCK_LEEWAY
from voxrec.oidc.provider import Cached, Provider

REDIRECT_URI = "https://rec.example/console/sign-in/provider/callback"
DISCOVERY = "/.well-known/openid-configuration"


class FlowTestCase(TestCase):
    timeout = 60

    async def setUp(self) -> None:  # type: ignore[override]
        self.provider = await started_provider()
        self.flow = self.make_flow()

    async def tearDown(self) -> None:  # type: ignore[override]
        await self.provider.stop()

    def make_flow(
        self, timeout: float = 20.0, secret: str = CLIENT_SECRET, needed: Any = frozenset()
    ) -> AuthorizationFlow:
        http = ProviderHttp(reactor, timeout)
        settings = ClientSettings(CLIENT_ID, secret, ("openid", "email"), REDIRECT_URI, "https://rec.example/out")
        return AuthorizationFlow(reactor, http, Provider(reactor, http, self.provider.issuer), settings, needed)

    def valid_claims(self, nonce: str) -> dict[str, Any]:
        now = int(time.time())
        return {"iss": self.provider.issuer, "aud": CLIENT_ID, "sub": "7", "nonce": nonce, "iat": now, "exp": now + 300}

    async def begin(self) -> tuple[dict[str, str], PendingSignIn]:
        """Begin a sign-in; return the parameters of the authorization request, and what the browser keeps."""
        url, cookie = await self.flow.begin("/console/calls")
        self.assertTrue(url.startswith(f"{self.provider.issuer}/authorize?tenant=1&response_type=code&"), url)
        parameters = dict(parse_qsl(urlsplit(url).query))
        return parameters, self.flow.pending(cookie, parameters["state"])

    async def sign_in(self, changes: dict[str, Any] | None = None, **response: str) -> SignedIn:
        parameters, pending = await self.begin()
        claims = {**self.valid_claims(parameters["nonce"]), **(changes or {})}
        self.provider.claims = {name: value for name, value in claims.items() if value is not None}
        return await self.flow.complete(pending, {"code": "c", "state": pending.state, **response})

    async def refusal(self, changes: dict[str, Any] | None = None, **response: str) -> ProviderSignInError:
        try:
            await self.sign_in(changes, **response)
        except ProviderSignInError as error:
            return error
        raise self.failureException("the sign-in was accepted")


class RequestTests(FlowTestCase):
    async def test_authorization_and_token_request(self) -> None:
        parameters, pending = await self.begin()
        self.assertEqual(
            (parameters["client_id"], parameters["redirect_uri"], parameters["scope"]),
            (CLIENT_ID, REDIRECT_URI, "openid email"),
        )
        self.provider.claims = self.valid_claims(parameters["nonce"])
        signed_in = await self.flow.complete(pending, {"code": "the code", "state": pending.state})
        self.assertEqual(signed_in.claims["sub"], "7")
        [(fields, authorization)] = self.provider.token_requests
        self.assertEqual(
            (fields["grant_type"], fields["code"], fields["redirect_uri"]),
            ("authorization_code", "the code", REDIRECT_URI),
        )
        digest = sha256(fields["code_verifier"].encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        self.assertEqual((parameters["code_challenge"], parameters["code_challenge_method"]), (challenge, "S256"))
        credentials = base64.b64decode(authorization.removeprefix("Basic ")).decode()
        self.assertEqual(credentials, "voxrec:a%20secret%3A%20with%20%25")

    async def test_every_sign_in_has_its_own_secrets(self) -> None:
        (first, _), (second, _) = await self.begin(), await self.begin()
        for name in ("state", "nonce", "code_challenge"):
            self.assertNotEqual(first[name], second[name])
            self.assertGreaterEqual(len(first[name]), 43)

    async def test_other_ways_to_authenticate_the_client(self) -> None:
        self.provider.metadata["token_endpoint_auth_methods_supported"] = ["client_secret_post"]
        await self.sign_in()
        fields, authorization = self.provider.token_requests[-1]
        self.assertEqual((fields["client_secret"], authorization), (CLIENT_SECRET, ""))
        self.flow = self.make_flow(secret="")
        await self.sign_in()
        fields, authorization = self.provider.token_requests[-1]
        self.assertEqual((fields["client_id"], authorization, "client_secret" in fields), (CLIENT_ID, "", False))

    async def test_claims_of_the_userinfo_endpoint(self) -> None:
        self.flow = self.make_flow(needed=frozenset({"groups"}))
        self.provider.userinfo = {"sub": "7", "groups": ["a"], "iss": "another"}
        signed_in = await self.sign_in()
        self.assertEqual((signed_in.claims["groups"], signed_in.claims["iss"]), (["a"], self.provider.issuer))
        await self.sign_in({"groups": []})
        self.assertEqual(self.provider.requested.count("/userinfo"), 1, "only if a claim is missing")
        self.provider.userinfo = {"sub": "8", "groups": ["admins"]}
        self.assertEqual((await self.refusal()).reason, Reason.INVALID_ANSWER)

    async def test_sign_out(self) -> None:
        self.assertIsNone(await self.flow.sign_out_url("token"))
        self.provider.metadata["end_session_endpoint"] = f"{self.provider.issuer}/out"
        url = await self.make_flow().sign_out_url("token")
        self.assertEqual(
            dict(parse_qsl(urlsplit(str(url)).query)),
            {"client_id": CLIENT_ID, "post_logout_redirect_uri": "https://rec.example/out", "id_token_hint": "token"},
        )


class ResponseTests(FlowTestCase):
    async def test_the_response_belongs_to_this_browser_and_is_not_late(self) -> None:
        _, cookie = await self.flow.begin("/console/calls")
        state = msgspec.json.decode(base64.urlsafe_b64decode(cookie + "=="))["state"]
        late = PendingSignIn(state=state, nonce="n", verifier="v", next="/", started_at=int(time.time()) - LIFETIME - 1)
        late_cookie = base64.urlsafe_b64encode(msgspec.json.encode(late)).decode()
        for given, given_state in (
            ("", state),
            (cookie, ""),
            (cookie, state[:-1]),
            (cookie, "\u00e9\ud800"),
            ("%%%", state),
            ("\u00e9", state),
            ("W10", state),
            ("W" * 4000, state),
            (late_cookie, state),
        ):
            with subtest((given[:20], given_state)):
                error = self.assertRaises(ProviderSignInError, self.flow.pending, given, given_state)
                self.assertIs(error.reason, Reason.EXPIRED)
        self.assertEqual(self.flow.pending(cookie, state).next, "/console/calls")

    async def test_a_response_that_comes_to_another_node_whose_clock_is_behind(self) -> None:
        for seconds, accepted in ((CLOCK_LEEWAY - 10, True), (CLOCK_LEEWAY + 10, False)):
            with subtest(seconds):
                ahead = PendingSignIn(
                    state="s", nonce="n", verifier="v", next="/", started_at=int(time.time()) + seconds
                )
                cookie = base64.urlsafe_b64encode(msgspec.json.encode(ahead)).decode()
                if accepted:
                    self.assertEqual(self.flow.pending(cookie, "s"), ahead)
                else:
                    self.assertRaises(ProviderSignInError, self.flow.pending, cookie, "s")

    async def test_another_issuer(self) -> None:
        """RFC 9207: the response of another provider must not lead to a request to this one (mix-up)."""
        error = await self.refusal(iss="https://evil.example")
        self.assertIs(error.reason, Reason.INVALID_ANSWER)
        self.assertEqual(self.provider.token_requests, [])
        await self.sign_in(iss=self.provider.issuer)
        self.provider.metadata["authorization_response_iss_parameter_supported"] = True
        self.flow = self.make_flow()
        self.assertIs((await self.refusal()).reason, Reason.INVALID_ANSWER)
        await self.sign_in(iss=self.provider.issuer)

    async def test_the_user_declined(self) -> None:
        error = await self.refusal(error="access_denied", error_description="no\r\nforged line")
        self.assertIs(error.reason, Reason.DECLINED)
        self.assertNotIn("\n", error.detail)
        self.assertIs((await self.refusal(code="")).reason, Reason.INVALID_ANSWER)
        self.assertEqual(self.provider.token_requests, [])

    async def test_a_code_that_was_used(self) -> None:
        def refuse(request: Request) -> bytes:
            request.setResponseCode(400)
            return b'{"error": "invalid_grant"}'

        self.provider.answers["/token"] = refuse
        error = await self.refusal()
        self.assertIs(error.reason, Reason.DECLINED)
        self.assertIn("'invalid_grant'", error.detail)


class IdTokenTests(FlowTestCase):
    async def test_claims_that_are_refused(self) -> None:
        now = int(time.time())
        refused: tuple[dict[str, Any], ...] = (
            {"iss": "https://evil.example"},
            {"iss": None},
            {"iss": [self.provider.issuer]},
            {"aud": "another"},
            {"aud": None},
            {"aud": []},
            {"aud": [CLIENT_ID, "another"]},
            {"azp": "another"},
            {"sub": None},
            {"sub": ""},
            {"sub": 7},
            {"sub": "x" * 256},
            {"sub": "a\0b"},
            {"exp": now - 61},
            {"exp": None},
            {"exp": "never"},
            {"exp": True},
            {"iat": now + 120},
            {"iat": None},
            {"nbf": now + 120},
            {"nonce": "another"},
            {"nonce": None},
            {"nonce": ["x"]},
        )
        for changes in refused:
            with subtest(changes):
                self.assertIs((await self.refusal(changes)).reason, Reason.INVALID_ANSWER)

    async def test_half_of_a_surrogate_pair(self) -> None:
        """JSON can contain it as an escape sequence, but neither UTF-8 nor PostgreSQL can."""
        parameters, pending = await self.begin()
        for changes in ({"sub": "X"}, {"nonce": "X"}):
            with subtest(changes):
                payload = msgspec.json.encode({**self.valid_claims(parameters["nonce"]), **changes})
                payload = payload.replace(b'"X"', b'"\\ud800"')
                key = self.provider.signing_key
                self.provider.id_token = jws.serialize_compact(self.provider.header, payload, key)
                with self.assertRaises(ProviderSignInError) as caught:
                    await self.flow.complete(pending, {"code": "c", "state": pending.state})
                self.assertIs(caught.exception.reason, Reason.INVALID_ANSWER)

    async def test_claims_that_are_accepted(self) -> None:
        now = int(time.time())
        accepted: tuple[dict[str, Any], ...] = (
            {"aud": [CLIENT_ID]},
            {"aud": [CLIENT_ID, "another"], "azp": CLIENT_ID},
            {"exp": now - 30, "iat": now + 30},
        )
        for changes in accepted:
            with subtest(changes):
                await self.sign_in(changes)

    async def test_algorithms_that_are_refused(self) -> None:
        parameters, pending = await self.begin()
        claims = self.valid_claims(parameters["nonce"])
        public = self.provider.keys[0].as_pem(private=False)

        def unsigned(header: dict[str, Any]) -> str:
            parts = (base64.urlsafe_b64encode(msgspec.json.encode(part)).rstrip(b"=") for part in (header, claims))
            return b".".join([*parts, b""]).decode()

        signed = unsigned({"alg": "HS256"}).rstrip(".")  # with the public key as the secret
        signature = base64.urlsafe_b64encode(hmac.digest(public, signed.encode(), "sha256")).rstrip(b"=").decode()
        confused = f"{signed}.{signature}"
        stranger = rsa_key("first")
        self.provider.header, self.provider.signing_key = {"alg": "RS256", "kid": "first"}, stranger
        forged = self.provider.token_for(**claims)
        own_key = {"alg": "RS256", "jwk": stranger.as_dict(private=False)}
        self.provider.header = own_key
        embedded = self.provider.token_for(**claims)
        for token in (
            unsigned({"alg": "none"}),
            unsigned({"alg": "None"}),
            unsigned({"alg": "RS256", "kid": "first"}),
            unsigned({"alg": ["RS256"]}),
            unsigned({}),
            confused,
            forged,
            embedded,
            forged[:-4] + "AAAA",
            "",
            "..",
            "a.b.c",
            "\u00e9.\ud7ff.x",
            "x" * 70_000,
            "[" * 60_000,
        ):
            with subtest(token[:60]):
                self.provider.id_token = token
                with self.assertRaises(ProviderSignInError) as caught:
                    await self.flow.complete(pending, {"code": "c", "state": pending.state})
                self.assertIs(caught.exception.reason, Reason.INVALID_ANSWER)

    async def test_key_rotation(self) -> None:
        self.patch(Cached, "MIN_REFRESH", 0.0)
        await self.sign_in()
        await self.sign_in()
        self.assertEqual(self.provider.requested.count("/keys"), 1, "keys are cached")
        new = ec_key("second")
        self.provider.keys, self.provider.signing_key = [new], new
        self.provider.header = {"alg": "ES256", "kid": "second"}
        await self.sign_in()
        self.assertEqual(self.provider.requested.count("/keys"), 2)
        replaced = ec_key("second")  # another key with the same id
        self.provider.keys, self.provider.signing_key = [replaced], replaced
        await self.sign_in()

    async def test_new_keys_at_another_place(self) -> None:
        self.patch(Cached, "MIN_REFRESH", 0.0)
        await self.sign_in()
        new = ec_key("second")
        self.provider.signing_key, self.provider.header = new, {"alg": "ES256", "kid": "second"}
        body = msgspec.json.encode({"keys": [new.as_dict(private=False)]})
        self.provider.metadata["jwks_uri"] = f"{self.provider.issuer}/keys/2"
        self.provider.answers = {"/keys": lambda _: b"", "/keys/2": lambda _: body}
        await self.sign_in()

    async def test_unknown_keys_do_not_cause_many_requests(self) -> None:
        await self.sign_in()
        self.provider.signing_key = rsa_key("unknown")
        self.provider.header = {"alg": "RS256", "kid": "unknown"}
        for _ in range(5):
            await self.refusal()
        self.assertLessEqual(self.provider.requested.count("/keys"), 2)

    async def test_keys_that_are_ignored(self) -> None:
        """Keys for encryption, of unknown types and malformed ones do not prevent the use of the others."""
        valid = self.provider.keys[0].as_dict(private=False)
        others: list[Any] = [
            *(None, 7, {}, {"kty": "LMS"}, {"kty": "RSA", "n": "!", "e": "AQAB"}, {"kty": "RSA", "kid": "first"}),
            *({**valid, "use": "enc"}, {"kty": "oct", "k": "AAAA", "kid": "first"}),
            {"kty": "EC", "crv": "P-256", "x": "AAAA", "y": "AAAA"},
        ]
        without_id = {name: value for name, value in valid.items() if name != "kid"}
        body = msgspec.json.encode({"keys": [*others, without_id]})
        self.provider.answers["/keys"] = lambda _: body
        await self.sign_in()


class HostileProviderTests(FlowTestCase):
    async def test_answers_that_are_refused(self) -> None:
        for path in (DISCOVERY, "/token", "/keys"):
            for body in (b"", b"<html>", b"[]", b"7", b'{"keys": 7}', b"\xff", b"[" * 100_000, b"x" * 300_000):
                with subtest((path, body[:10])):
                    self.provider.answers = {path: lambda _, body=body: body}  # type: ignore[misc]
                    self.flow = self.make_flow()
                    self.assertIs((await self.refusal()).reason, Reason.INVALID_ANSWER)

    async def test_endless_headers(self) -> None:
        def answer(request: Request) -> bytes:
            for number in range(400):
                request.setHeader(f"x-{number}", "y" * 1000)
            return b"{}"

        self.provider.answers[DISCOVERY] = answer
        self.assertIs((await self.refusal()).reason, Reason.INVALID_ANSWER)

    async def test_metadata_that_is_refused(self) -> None:
        for metadata in (
            {"issuer": "https://evil.example"},
            {"issuer": f"{self.provider.issuer}/"},
            {"token_endpoint": None},
            {"token_endpoint": "ftp://127.0.0.1/"},
            {"authorization_endpoint": "javascript:alert(1)"},
            {"authorization_endpoint": "https://a.example/\r\nSet-Cookie: a=b"},
            {"jwks_uri": "file:///etc/passwd"},
            {"end_session_endpoint": "data:text/html,x"},
            {"userinfo_endpoint": "https://["},
            {"authorization_endpoint": 7},
        ):
            with subtest(metadata):
                self.provider.metadata = metadata
                self.flow = self.make_flow()
                self.assertIs((await self.refusal()).reason, Reason.INVALID_ANSWER)

    async def test_redirects_are_not_followed(self) -> None:
        def redirect(request: Request) -> bytes:
            request.redirect(b"http://127.0.0.1:1/")
            return b""

        self.provider.answers["/token"] = redirect
        error = await self.refusal()
        self.assertIs(error.reason, Reason.INVALID_ANSWER)
        self.assertIn("status 302", error.detail)

    async def test_a_provider_that_is_away_or_slow(self) -> None:
        for path in (DISCOVERY, "/token", "/keys"):
            for answer in (self.provider.hang, self.provider.drip):
                with subtest((path, answer.__name__)):
                    self.provider.answers = {path: answer}
                    self.flow = self.make_flow(timeout=0.5)
                    self.assertIs((await self.refusal()).reason, Reason.UNAVAILABLE)

    async def test_errors_of_the_provider(self) -> None:
        def fail(request: Request) -> bytes:
            request.setResponseCode(503)
            return b"maintenance"

        self.provider.answers[DISCOVERY] = fail
        self.assertIs((await self.refusal()).reason, Reason.UNAVAILABLE)
        self.provider.answers.clear()
        self.assertIs((await self.refusal()).reason, Reason.UNAVAILABLE, "it is asked again only after some seconds")
        self.assertEqual(self.provider.requested, [DISCOVERY])
        self.patch(Cached, "MIN_REFRESH", 0.0)
        await self.sign_in()
