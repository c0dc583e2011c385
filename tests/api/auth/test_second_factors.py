"""Codes as second factor: set-up, signing in with them, replay, recovery codes, removal, roles that require them."""

from datetime import UTC, datetime
from typing import Any

from pyotp import TOTP
from twisted.internet.defer import Deferred, gatherResults

from tests.api.auth.test_sessions import PASSWORD, SessionTestCase
from tests.api.rest_test_case import ClientResponse
from tests.subtest import subtest
from voxrec import totp
from voxrec.api.auth.password_sign_in import SignInPolicy
from voxrec.model import Role
from voxrec.store.second_factors import MAX_FAILURES
from voxrec.web.password_throttle import PasswordThrottle

PATH = "/session/second-factor"


class SecondFactorTestCase(SessionTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.moment = datetime.now(UTC)  # fixed, so that no time step ends within a test
        matching_step = totp.matching_step
        self.patch(totp, "matching_step", lambda secret, code, _now: matching_step(secret, code, self.moment))

    def code_at(self, secret: str, steps: int = 0) -> str:
        """Return the code that an authenticator application shows now, or some time steps of 30 s later."""
        return TOTP(secret).at(self.moment, counter_offset=steps)

    async def enrol(self, cookie: str) -> tuple[str, list[str]]:
        """Set up a second factor; return its secret and the recovery codes."""
        challenge = (await self.with_cookie("PUT", PATH, cookie, json={"currentPassword": PASSWORD})).json
        secret = challenge["enrolment"]["secret"]
        response = await self.confirm(cookie, challenge["ticket"], self.code_at(secret, -1))
        self.assertEqual(response.status, 200, response.body)
        return secret, response.json["recoveryCodes"]

    async def confirm(self, cookie: str, ticket: str, code: str) -> ClientResponse:
        return await self.with_cookie("POST", PATH, cookie, json={"ticket": ticket, "code": code})

    async def challenge(self, name: str = "anna") -> dict[str, Any]:
        response = await self.attempt(name)
        self.assertEqual(response.status, 202, response.body)
        self.assertNotIn("set-cookie", response.headers)
        document: dict[str, Any] = response.json
        return document

    async def enter(self, ticket: str, code: str) -> ClientResponse:
        return await self.request("PUT", "/session/code", token="", json={"ticket": ticket, "code": code})

    async def sign_in_with(self, code: str) -> ClientResponse:
        return await self.enter((await self.challenge())["ticket"], code)


class SignInTests(SecondFactorTestCase):
    async def test_a_code_is_required_and_cannot_be_replayed(self) -> None:
        await self.add_user()
        secret, _ = await self.enrol(await self.sign_in())
        challenge = await self.challenge()
        self.assertIsNone(challenge["enrolment"])
        for wrong in (
            "1",
            self.code_at(secret, -1),
            self.code_at(secret, 5),
            "x",
        ):
            with subtest(wrong):
                response = await self.enter(challenge["ticket"], wrong)
                self.assertEqual((response.status, response.json["code"]), (401, "not-authenticated"))
                self.assertNotIn("set-cookie", response.headers)
        code = self.code_at(secret)
        response = await self.enter(challenge["ticket"], f" {code[:3]} {code[3:]} ")
        self.assertEqual((response.status, response.json["recoveryCodes"]), (200, None), response.body)
        cookie = response.headers["set-cookie"].partition(";")[0]
        self.assertEqual((await self.with_cookie("GET", "/session", cookie)).json["name"], "anna")
        self.assertEqual(
            (await self.enter(challenge["ticket"], self.code_at(secret, 1))).json["code"], "sign-in-expired"
        )
        self.assertEqual((await self.sign_in_with(code)).status, 401, "the code was used")
        self.assertEqual((await self.sign_in_with(self.code_at(secret, 1))).status, 200)
        self.assertEqual((await self.sign_in_with(code)).status, 401, "an older code")

    async def test_a_recovery_code_can_be_used_once(self) -> None:
        await self.add_user()
        cookie = await self.sign_in()
        _, codes = await self.enrol(cookie)
        self.assertEqual((len(codes), len({*codes})), (10, 10))
        stored = await self.pool.query("SELECT recovery_codes::text FROM recovery_codes")
        self.assertNotIn(codes[0], str(stored))
        self.assertEqual((await self.sign_in_with(codes[0].lower().replace("-", " "))).status, 200)
        self.assertEqual((await self.sign_in_with(codes[0])).status, 401)
        state = (await self.with_cookie("GET", PATH, cookie)).json
        self.assertEqual(state, {"enabled": True, "required": False, "recoveryCodes": 9})

    async def test_a_recovery_code_of_another_user(self) -> None:
        await self.add_user()
        await self.add_user("ben")
        await self.enrol(await self.sign_in())
        _, codes = await self.enrol(await self.sign_in("ben"))
        self.assertEqual((await self.sign_in_with(codes[0])).status, 401)

    async def test_a_challenge_ends_after_wrong_codes_and_after_some_time(self) -> None:
        self.patch(PasswordThrottle, "FREE_FAILURES", 100)
        await self.add_user()
        secret, _ = await self.enrol(await self.sign_in())
        challenge = await self.challenge()
        for _ in range(MAX_FAILURES):
            self.assertEqual((await self.enter(challenge["ticket"], "x")).json["code"], "not-authenticated")
        self.assertEqual((await self.enter(challenge["ticket"], self.code_at(secret))).json["code"], "sign-in-expired")
        challenge = await self.challenge()
        await self.pool.execute("UPDATE code_challenges SET expires_at = expires_at - interval '10 minutes'")
        self.assertEqual((await self.enter(challenge["ticket"], self.code_at(secret))).json["code"], "sign-in-expired")
        self.assertEqual((await self.enter("vxc_unknown", self.code_at(secret))).json["code"], "sign-in-expired")
        self.assertEqual((await self.sign_in_with(self.code_at(secret))).status, 200)

    async def test_guessing_codes_is_delayed_and_affects_no_other_user(self) -> None:
        self.patch(PasswordThrottle, "FIRST_DELAY", 100.0)
        await self.add_user()
        await self.add_user("ben")
        secret, _ = await self.enrol(await self.sign_in())
        for _ in range(PasswordThrottle.FREE_FAILURES):
            self.assertEqual((await self.sign_in_with("x")).status, 401)
        refused = await self.sign_in_with(self.code_at(secret))
        self.assertEqual((refused.status, refused.json["code"]), (429, "too-many-attempts"))
        self.assertIn("codes", refused.json["detail"])
        self.assertEqual((await self.attempt("ben")).status, 200)

    async def test_wrong_codes_are_audited(self) -> None:
        user_id = await self.add_user()
        secret, _ = await self.enrol(await self.sign_in())
        ticket = (await self.challenge())["ticket"]
        await self.enter(ticket, "x")
        await self.enter(ticket, self.code_at(secret))
        entries = (await self.request("GET", "/audit?limit=2")).json
        self.assertEqual(
            [(entry["path"], entry["who"], entry["userId"], entry["outcome"]) for entry in entries],
            [("/session/code", "anna", str(user_id), outcome) for outcome in ("done", "refused")],
        )

    async def test_a_disabled_user_cannot_complete_the_sign_in(self) -> None:
        user_id = await self.add_user()
        secret, _ = await self.enrol(await self.sign_in())
        ticket = (await self.challenge())["ticket"]
        await self.request("POST", f"/users/{user_id}", json={"enabled": False})
        self.assertEqual((await self.enter(ticket, self.code_at(secret))).status, 401)

    async def test_a_change_of_the_user_ends_sign_ins_that_wait_for_a_code(self) -> None:
        """Who knew the former password, and waits with a ticket, must not sign in with it any more."""
        user_id = await self.add_user()
        secret, _ = await self.enrol(await self.sign_in())
        for method, path, body in (
            ("POST", f"/users/{user_id}", {"password": PASSWORD}),
            ("POST", f"/users/{user_id}", {"role": "supervise"}),
            ("DELETE", f"/sessions?userId={user_id}", None),
        ):
            with subtest(body):
                ticket = (await self.challenge())["ticket"]
                self.assertLess((await self.request(method, path, json=body)).status, 300)
                response = await self.enter(ticket, self.code_at(secret))
                self.assertEqual((response.status, response.json["code"]), (401, "sign-in-expired"))

    async def test_a_code_and_a_recovery_code_that_are_entered_twice_at_the_same_time(self) -> None:
        await self.add_user()
        secret, recovery_codes = await self.enrol(await self.sign_in())
        for code in (self.code_at(secret), recovery_codes[0]):
            with subtest(code):
                tickets = [(await self.challenge())["ticket"] for _ in range(4)]
                responses = await gatherResults([Deferred.fromCoroutine(self.enter(each, code)) for each in tickets])
                self.assertEqual(sorted(response.status for response in responses), [200, 401, 401, 401])


class AccountTests(SecondFactorTestCase):
    async def test_an_enrolment_is_confirmed_once(self) -> None:
        """Otherwise the recovery codes that one of two requests shows would be void."""
        await self.add_user()
        cookie = await self.sign_in()
        challenge = (await self.with_cookie("PUT", PATH, cookie, json={"currentPassword": PASSWORD})).json
        code = self.code_at(challenge["enrolment"]["secret"])
        both = [Deferred.fromCoroutine(self.confirm(cookie, challenge["ticket"], code)) for _ in range(2)]
        statuses = [response.status for response in await gatherResults(both)]
        self.assertEqual(sorted(statuses), [200, 409])
        self.assertEqual((await self.confirm(cookie, challenge["ticket"], code)).status, 409)
        self.assertEqual((await self.enter(challenge["ticket"], code)).json["code"], "sign-in-expired")

    async def test_setting_up_ends_other_sessions(self) -> None:
        user_id = await self.add_user()
        cookie, other = await self.sign_in(), await self.sign_in()
        await self.enrol(cookie)
        statuses = [(await self.with_cookie("GET", "/session", each)).status for each in (cookie, other)]
        self.assertEqual(statuses, [200, 401])
        self.assertTrue((await self.request("GET", f"/users/{user_id}")).json["secondFactor"])

    async def test_the_password_is_required(self) -> None:
        await self.add_user()
        cookie = await self.sign_in()
        for method, path in (("PUT", PATH), ("POST", f"{PATH}/remove"), ("POST", "/session/recovery-codes")):
            with subtest(path):
                response = await self.with_cookie(method, path, cookie, json={"currentPassword": "wrong"})
                self.assertEqual((response.status, response.error_fields), (422, ["currentPassword"]))

    async def test_a_wrong_first_code_stores_nothing(self) -> None:
        await self.add_user()
        cookie = await self.sign_in()
        challenge = (await self.with_cookie("PUT", PATH, cookie, json={"currentPassword": PASSWORD})).json
        response = await self.confirm(cookie, challenge["ticket"], "x")
        self.assertEqual((response.status, response.error_fields), (422, ["code"]))
        self.assertEqual((await self.attempt()).status, 200)

    async def test_a_ticket_of_another_user(self) -> None:
        await self.add_user()
        await self.add_user("ben")
        cookie, of_ben = await self.sign_in(), await self.sign_in("ben")
        challenge = (await self.with_cookie("PUT", PATH, of_ben, json={"currentPassword": PASSWORD})).json
        code = self.code_at(challenge["enrolment"]["secret"])
        self.assertEqual((await self.confirm(cookie, challenge["ticket"], code)).status, 409)

    async def test_replacement_and_removal(self) -> None:
        await self.add_user()
        cookie = await self.sign_in()
        first, first_codes = await self.enrol(cookie)
        second, codes = await self.enrol(cookie)
        self.assertEqual((await self.sign_in_with(self.code_at(first))).status, 401)
        self.assertEqual((await self.sign_in_with(first_codes[0])).status, 401)
        password = {"currentPassword": PASSWORD}
        new_codes = (await self.with_cookie("POST", "/session/recovery-codes", cookie, json=password)).json
        self.assertEqual((await self.sign_in_with(codes[0])).status, 401)
        self.assertEqual((await self.sign_in_with(new_codes["recoveryCodes"][0])).status, 200)
        self.assertEqual((await self.sign_in_with(self.code_at(second))).status, 200)
        self.assertEqual((await self.with_cookie("POST", f"{PATH}/remove", cookie, json=password)).status, 204)
        self.assertEqual((await self.attempt()).status, 200)
        self.assertEqual((await self.with_cookie("POST", f"{PATH}/remove", cookie, json=password)).status, 404)

    async def test_an_administrator_removes_it(self) -> None:
        user_id = await self.add_user()
        cookie = await self.sign_in()
        await self.enrol(cookie)
        path = f"/users/{user_id}/second-factor"
        for token, status in (("provision", 403), ("admin", 204), ("admin", 404)):
            self.assertEqual((await self.request("DELETE", path, token=token)).status, status)
        self.assertEqual((await self.with_cookie("GET", "/session", cookie)).status, 401)
        self.assertEqual((await self.attempt()).status, 200)

    async def test_tokens_have_none(self) -> None:
        self.assertEqual((await self.request("GET", PATH)).status, 409)


class RequiredTests(SecondFactorTestCase):
    sign_in_policy = SignInPolicy(second_factor_roles=frozenset({Role.ADMIN, Role.PROVISION}))

    async def test_it_is_set_up_at_the_next_sign_in(self) -> None:
        user_id = await self.add_user(role="provision")
        await self.add_user("ben")
        await self.sign_in("ben")
        challenge = await self.challenge()
        secret = challenge["enrolment"]["secret"]
        self.assertIn(f"secret={secret}", challenge["enrolment"]["uri"])
        self.assertEqual((await self.enter(challenge["ticket"], "x")).status, 401)
        self.assertNotEqual((await self.challenge())["enrolment"]["secret"], secret)
        response = await self.enter(challenge["ticket"], self.code_at(secret, -1))
        self.assertEqual((response.status, len(response.json["recoveryCodes"])), (200, 10))
        self.assertIsNone((await self.challenge())["enrolment"])
        self.assertEqual((await self.sign_in_with(self.code_at(secret))).status, 200)
        cookie = response.headers["set-cookie"].partition(";")[0]
        self.assertTrue((await self.with_cookie("GET", PATH, cookie)).json["required"])
        body = {"currentPassword": PASSWORD}
        self.assertEqual((await self.with_cookie("POST", f"{PATH}/remove", cookie, json=body)).status, 409)
        self.assertEqual((await self.request("DELETE", f"/users/{user_id}/second-factor")).status, 204)
        self.assertIsNotNone((await self.challenge())["enrolment"])

    async def test_a_thief_of_the_password_cannot_replace_a_new_second_factor(self) -> None:
        await self.add_user(role="provision")
        of_thief, of_user = await self.challenge(), await self.challenge()
        response = await self.enter(of_user["ticket"], self.code_at(of_user["enrolment"]["secret"]))
        self.assertEqual(response.status, 200, response.body)
        response = await self.enter(of_thief["ticket"], self.code_at(of_thief["enrolment"]["secret"]))
        self.assertEqual((response.status, response.json["code"]), (401, "sign-in-expired"))
        self.assertEqual((await self.sign_in_with(self.code_at(of_user["enrolment"]["secret"], 1))).status, 200)
        self.assertEqual((await self.pool.query("SELECT count(*) FROM recovery_codes")), [(10,)])
