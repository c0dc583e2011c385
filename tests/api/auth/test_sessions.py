"""/session and /sessions: signing in and out, what a session permits, and how it ends."""

from contextlib import closing
from typing import Any, Final
from uuid import UUID

import psycopg2

from tests.api.rest_test_case import ClientResponse, RestTestCase
from tests.database import until
from tests.subtest import subtest
from tests.web.raw_connection import open_connection
from voxrec.api.auth.passwords import Passwords
from voxrec.errors import StoreUnavailable
from voxrec.web.password_throttle import PasswordThrottle

PASSWORD: Final = "correct horse battery staple"
_MATCHES: Final = Passwords.matches


class SessionTestCase(RestTestCase):
    async def add_user(self, name: str = "anna", role: str = "read", **fields: Any) -> UUID:
        body = {"name": name, "role": role, "password": PASSWORD, **fields}
        response = await self.request("PUT", "/users", json=body)
        self.assertEqual(response.status, 201, response.body)
        return UUID(response.json["id"])

    async def attempt(self, name: str = "anna", password: str = PASSWORD) -> ClientResponse:
        return await self.request("PUT", "/session", token="", json={"name": name, "password": password})

    async def sign_in(self, name: str = "anna", password: str = PASSWORD) -> str:
        """Sign in and return the value of the header Cookie."""
        response = await self.attempt(name, password)
        self.assertEqual(response.status, 200, response.body)
        return response.headers["set-cookie"].partition(";")[0]

    async def with_cookie(self, method: str, path: str, cookie: str, **options: Any) -> ClientResponse:
        headers = {"Cookie": cookie, **options.pop("headers", {})}
        return await self.request(method, path, token="", headers=headers, **options)


class SignInTests(SessionTestCase):
    async def test_a_session_identifies_its_user(self) -> None:
        user_id = await self.add_user(role="supervise")
        response = await self.attempt(" Anna ")
        self.assertEqual(response.status, 200, response.body)
        attributes = response.headers["set-cookie"].split("; ")[1:]
        self.assertEqual(attributes, ["Path=/", "Max-Age=43200", "HttpOnly", "SameSite=Lax", "Secure"])
        self.assertEqual(response.json["userId"], str(user_id))
        cookie = response.headers["set-cookie"].partition(";")[0]
        identity = (await self.with_cookie("GET", "/session", cookie)).json
        self.assertEqual((identity["name"], identity["role"], identity["userId"]), ("anna", "supervise", str(user_id)))
        self.assertEqual(identity["expiresAt"], response.json["expiresAt"])

    async def test_a_token_identifies_itself(self) -> None:
        identity = (await self.request("GET", "/session", token="provision")).json
        self.assertEqual(
            (identity["name"], identity["role"], identity["userId"]), ("the provision token", "provision", None)
        )

    async def test_wrong_name_and_wrong_password_have_the_same_answer(self) -> None:
        await self.add_user()
        answers = [await self.attempt("ben"), await self.attempt(password="wrong password")]
        self.assertEqual([answer.status for answer in answers], [401, 401])
        self.assertEqual(answers[0].json["detail"], answers[1].json["detail"])

    async def test_a_disabled_user_cannot_sign_in(self) -> None:
        user_id = await self.add_user()
        cookie = await self.sign_in()
        await self.request("POST", f"/users/{user_id}", json={"enabled": False})
        self.assertEqual((await self.attempt()).status, 401)
        self.assertEqual((await self.with_cookie("GET", "/session", cookie)).status, 401)
        await self.request("POST", f"/users/{user_id}", json={"enabled": True})
        self.assertEqual((await self.with_cookie("GET", "/session", cookie)).status, 401, "the session has ended")

    async def test_guessing_is_delayed(self) -> None:
        self.patch(PasswordThrottle, "FIRST_DELAY", 100.0)  # longer than hashing on a busy machine takes
        await self.add_user()
        statuses = [(await self.attempt(password=f"wrong {n}")).status for n in range(7)]
        self.assertEqual(statuses, [401] * PasswordThrottle.FREE_FAILURES + [429] * 2)
        refused = await self.attempt()
        self.assertEqual((refused.status, refused.json["code"]), (429, "too-many-attempts"))
        self.assertIn("retry-after", refused.headers)

    async def test_an_outage_of_postgresql_is_no_wrong_password(self) -> None:
        await self.add_user()

        async def fail(_name: str) -> None:
            raise StoreUnavailable("lost")

        patch = self.patch(self.users, "credentials", fail)
        for _ in range(PasswordThrottle.FREE_FAILURES + 1):
            self.assertEqual((await self.attempt()).status, 503)
        patch.restore()
        self.assertEqual((await self.attempt()).status, 200)

    async def test_only_the_hash_of_the_secret_is_stored(self) -> None:
        await self.add_user()
        secret = (await self.sign_in()).partition("=")[2]
        [(stored,)] = await self.pool.query("SELECT sessions::text FROM sessions")
        self.assertNotIn(secret.removeprefix("vxs_"), stored)

    async def test_the_audit_log_names_users_but_not_what_else_was_entered(self) -> None:
        user_id = await self.add_user()
        await self.attempt(name="my secret password")
        await self.attempt(password="wrong password")
        cookie = await self.sign_in()
        await self.with_cookie("DELETE", "/session", cookie)
        entries = [entry for entry in (await self.request("GET", "/audit")).json if entry["kind"] == "session"]
        self.assertEqual(
            [(entry["method"], entry["who"], entry["userId"], entry["outcome"]) for entry in reversed(entries)],
            [
                ("PUT", "anna", str(user_id), "refused"),
                ("PUT", "anna", str(user_id), "done"),
                ("DELETE", "anna", str(user_id), "done"),
            ],
        )

    async def test_browser_with_a_name_that_is_not_utf_8(self) -> None:
        await self.add_user()
        headers = {"User-Agent": b"caf\xe9 " + b"x" * 1000}
        body = {"name": "anna", "password": PASSWORD}
        response = await self.request("PUT", "/session", token="", json=body, headers=headers)
        self.assertEqual(response.status, 200, response.body)
        self.assertEqual(len(response.json["userAgent"]), 255)
        self.assertTrue(response.json["userAgent"].startswith("caf\\udce9 x"), response.json)


class PermissionTests(SessionTestCase):
    async def test_the_role_limits_a_session(self) -> None:
        profile = await self.add_profile()
        await self.add_user("anna", "read")
        await self.add_user("ben", "provision")
        for name, status in (("anna", 403), ("ben", 200)):
            with subtest(name):
                cookie = await self.sign_in(name)
                response = await self.with_cookie("POST", f"/profiles/{profile.id}", cookie, json={"record": True})
                self.assertEqual(response.status, status, response.body)

    async def test_a_session_is_limited_to_profiles(self) -> None:
        own, other = await self.add_profile(), await self.add_profile()
        await self.add_user(profileIds=[str(own.id)])
        cookie = await self.sign_in()
        self.assertEqual([p["id"] for p in (await self.with_cookie("GET", "/profiles", cookie)).json], [str(own.id)])
        self.assertEqual((await self.with_cookie("GET", f"/profiles/{other.id}", cookie)).status, 404)

    async def test_a_supervisor_controls_recordings_and_changes_nothing_else(self) -> None:
        recording = await self.add_recording()
        path = f"/recordings/{recording.id}"
        refused = await self.request("POST", path, token="supervise", json={"legalHold": True})
        self.assertEqual(refused.status, 403)
        not_live = await self.request("POST", path, token="supervise", json={"state": "paused"})
        self.assertEqual(not_live.status, 409, "the role suffices, but the Recording is not live")
        self.assertEqual((await self.request("POST", path, token="read", json={"state": "paused"})).status, 403)

    async def test_pages_of_other_sites_cannot_use_a_session(self) -> None:
        await self.add_user(role="admin")
        cookie = await self.sign_in()
        for headers in ({"Origin": "https://evil.example"}, {"Sec-Fetch-Site": "cross-site"}):
            with subtest(headers):
                response = await self.with_cookie("PUT", "/profiles", cookie, json={}, headers=headers)
                self.assertEqual((response.status, response.json["code"]), (403, "not-allowed"))
        own = {"Origin": "https://rec.example", "Sec-Fetch-Site": "same-origin"}
        self.assertEqual((await self.with_cookie("PUT", "/profiles", cookie, json={}, headers=own)).status, 201)

    async def test_a_token_has_precedence(self) -> None:
        await self.add_user(role="admin")
        cookie = await self.sign_in()
        response = await self.request("GET", "/session", token="read", headers={"Cookie": cookie})
        self.assertEqual(response.json["name"], "the read token")

    async def test_the_secret_of_a_session_is_no_token(self) -> None:
        await self.add_user(role="admin")
        secret = (await self.sign_in()).partition("=")[2]
        self.assertEqual((await self.request("GET", "/profiles", token=secret)).status, 401)


class EndTests(SessionTestCase):
    async def test_sign_out(self) -> None:
        await self.add_user()
        cookie, other = await self.sign_in(), await self.sign_in()
        response = await self.with_cookie("DELETE", "/session", cookie)
        self.assertEqual(response.status, 204)
        self.assertIn("Max-Age=0", response.headers["set-cookie"])
        self.assertEqual((await self.with_cookie("GET", "/session", cookie)).status, 401)
        self.assertEqual((await self.with_cookie("GET", "/session", other)).status, 200)

    async def test_a_token_cannot_sign_out(self) -> None:
        self.assertEqual((await self.request("DELETE", "/session")).status, 409)
        body = {"currentPassword": "x", "newPassword": "another long password"}
        self.assertEqual((await self.request("POST", "/session/password", json=body)).status, 409)

    async def test_an_administrator_lists_and_ends_sessions(self) -> None:
        user_id = await self.add_user()
        cookie = await self.sign_in()
        [session] = (await self.request("GET", f"/sessions?userId={user_id}")).json
        self.assertEqual((session["userId"], session["address"]), (str(user_id), "127.0.0.1"))
        self.assertEqual((await self.request("DELETE", f"/sessions/{session['id']}")).status, 204)
        self.assertEqual((await self.request("GET", "/sessions")).json, [])
        self.assertEqual((await self.request("DELETE", f"/sessions/{session['id']}")).status, 404)
        self.assertEqual((await self.with_cookie("GET", "/session", cookie)).status, 401)

    async def test_idle_and_absolute_time_outs(self) -> None:
        await self.add_user()
        for column, change, status in (
            ("last_used_at", "- interval '29 minutes'", 200),
            ("last_used_at", "- interval '31 minutes'", 401),
            ("expires_at", "- interval '11 hours 59 minutes'", 200),
            ("expires_at", "- interval '12 hours'", 401),
        ):
            with subtest((column, change)):
                cookie = await self.sign_in()
                await self.pool.execute(f"UPDATE sessions SET {column} = {column} {change}")  # noqa: S608
                self.assertEqual((await self.with_cookie("GET", "/session", cookie)).status, status)
                await self.pool.execute("DELETE FROM sessions")

    async def test_use_prolongs_a_session(self) -> None:
        await self.add_user()
        cookie = await self.sign_in()
        for _ in range(3):
            await self.pool.execute("UPDATE sessions SET last_used_at = last_used_at - interval '20 minutes'")
            self.assertEqual((await self.with_cookie("GET", "/session", cookie)).status, 200)

    async def test_sessions_that_have_ended_are_deleted(self) -> None:
        """They are not worth a notification, for which all clients would have to be authenticated again."""
        await self.add_user()
        with closing(psycopg2.connect(self.dsn)) as connection:
            connection.autocommit = True
            connection.cursor().execute("LISTEN voxrec_tokens")
            for _ in range(3):
                await self.sign_in()
                await self.pool.execute("UPDATE sessions SET last_used_at = last_used_at - interval '1 hour'")
            connection.cursor().execute("SELECT 1")
            self.assertEqual(connection.notifies, [])
        [(count,)] = await self.pool.query("SELECT count(*) FROM sessions")
        self.assertEqual(count, 1)

    async def test_change_of_the_own_password(self) -> None:
        await self.add_user()
        cookie, other = await self.sign_in(), await self.sign_in()
        path, new = "/session/password", "another long password"
        for body, error_fields in (
            ({"currentPassword": "wrong", "newPassword": new}, ["currentPassword"]),
            ({"currentPassword": PASSWORD, "newPassword": "short"}, ["newPassword"]),
            ({"currentPassword": PASSWORD, "newPassword": "i am anna, i am"}, ["newPassword"]),
        ):
            with subtest(body):
                response = await self.with_cookie("POST", path, cookie, json=body)
                self.assertEqual((response.status, response.error_fields), (422, error_fields), response.body)
        body = {"currentPassword": PASSWORD, "newPassword": new}
        self.assertEqual((await self.with_cookie("POST", path, cookie, json=body)).status, 204)
        for each in (cookie, other):
            self.assertEqual((await self.with_cookie("GET", "/session", each)).status, 401)
        self.assertEqual((await self.attempt()).status, 401)
        await self.sign_in(password=new)

    async def test_deleting_a_user_ends_the_sessions(self) -> None:
        user_id = await self.add_user()
        cookie = await self.sign_in()
        self.assertEqual((await self.request("DELETE", f"/users/{user_id}")).status, 204)
        self.assertEqual((await self.with_cookie("GET", "/session", cookie)).status, 401)


class OwnSessionTests(SessionTestCase):
    async def test_users_list_and_end_their_own_sessions(self) -> None:
        profile = await self.add_profile()
        user_id, ben_id = await self.add_user(profileIds=[str(profile.id)]), await self.add_user("ben")
        cookie, other = await self.sign_in(), await self.sign_in()
        of_ben = await self.sign_in("ben")
        own_id = (await self.with_cookie("GET", "/session", cookie)).json["sessionId"]
        sessions = (await self.with_cookie("GET", "/sessions", cookie)).json
        self.assertEqual([session["userId"] for session in sessions], [str(user_id)] * 2)
        self.assertEqual((await self.with_cookie("GET", f"/sessions?userId={ben_id}", cookie)).status, 403)
        [other_id] = {session["id"] for session in sessions} - {own_id}
        ben_session = (await self.with_cookie("GET", "/session", of_ben)).json["sessionId"]
        self.assertEqual((await self.with_cookie("DELETE", f"/sessions/{ben_session}", cookie)).status, 404)
        self.assertEqual((await self.with_cookie("DELETE", f"/sessions/{other_id}", cookie)).status, 204)
        statuses = [(await self.with_cookie("GET", "/session", each)).status for each in (cookie, other, of_ben)]
        self.assertEqual(statuses, [200, 401, 200])
        for token, status in (("read", 403), ("provision", 403), ("admin", 200)):
            self.assertEqual((await self.request("GET", "/sessions", token=token)).status, status)
        self.assertEqual((await self.request("DELETE", f"/sessions/{own_id}", token="provision")).status, 403)

    async def test_other_permissions_end_the_sessions(self) -> None:
        profile = await self.add_profile()
        for change, status in (
            ({"role": "supervise"}, 401),
            ({"profileIds": [str(profile.id)]}, 401),
            ({"role": "read", "profileIds": None}, 200),
        ):
            with subtest(change):
                name = f"anna{len(change)}{status}{next(iter(change)).lower()}"
                user_id = await self.add_user(name)
                cookie = await self.sign_in(name)
                self.assertEqual((await self.request("POST", f"/users/{user_id}", json=change)).status, 200)
                self.assertEqual((await self.with_cookie("GET", "/session", cookie)).status, status)

    async def test_the_session_of_who_changes_the_own_role_remains(self) -> None:
        user_id = await self.add_user(role="admin")
        cookie, other = await self.sign_in(), await self.sign_in()
        await self.with_cookie("POST", f"/users/{user_id}", cookie, json={"role": "provision"})
        self.assertEqual((await self.with_cookie("GET", "/session", cookie)).json["role"], "provision")
        self.assertEqual((await self.with_cookie("GET", "/session", other)).status, 401)

    async def test_requests_of_pages_by_themselves_do_not_prolong_a_session(self) -> None:
        await self.add_user()
        cookie = await self.sign_in()
        for path, prolongs in (("/console/calls/table", False), ("/console/session", False), ("/console/calls", True)):
            with subtest(path):
                await self.pool.execute("UPDATE sessions SET last_used_at = now() - interval '20 minutes'")
                self.assertEqual((await self.with_cookie("GET", path, cookie)).status, 200)
                [(used,)] = await self.pool.query("SELECT last_used_at > now() - interval '1 minute' FROM sessions")
                self.assertEqual(used, prolongs)

    async def test_the_event_stream_does_not_prolong_a_session_and_ends_with_it(self) -> None:
        await self.add_user()
        cookie = await self.sign_in()
        await self.pool.execute("UPDATE sessions SET last_used_at = now() - interval '29 minutes 55 seconds'")
        connection = await open_connection(self.port)
        request = f"GET /events HTTP/1.1\r\nHost: a\r\nCookie: {cookie}\r\n\r\n"
        connection.transport.write(request.encode())
        await until(lambda: b"0\r\n\r\n" in connection.received)
        self.assertTrue(connection.received.startswith(b"HTTP/1.1 200 "), connection.received)
        self.assertEqual((await self.with_cookie("GET", "/events", cookie)).status, 401)
        connection.transport.abortConnection()

    async def test_how_long_the_session_lasts(self) -> None:
        await self.add_user()
        cookie = await self.sign_in()
        await self.pool.execute("UPDATE sessions SET last_used_at = now() - interval '20 minutes'")
        remaining = (await self.with_cookie("GET", "/console/session", cookie)).json
        self.assertTrue(remaining["idle"])
        self.assertTrue(540 < remaining["seconds"] <= 600, remaining)
        remaining = (await self.with_cookie("POST", "/console/session", cookie)).json
        self.assertTrue(1740 < remaining["seconds"] <= 1800, remaining)
        await self.pool.execute("UPDATE sessions SET expires_at = now() + interval '5 minutes'")
        remaining = (await self.with_cookie("GET", "/console/session", cookie)).json
        self.assertFalse(remaining["idle"])
        self.assertTrue(240 < remaining["seconds"] <= 300, remaining)


class RaceTests(SessionTestCase):
    """Changes of a user while a password of the user is verified, which takes a while."""

    def change_meanwhile(self, user_id: UUID, **change: Any) -> None:
        async def change_and_match(passwords: Passwords, password: str, hashed: str | None) -> bool:
            response = await self.request("POST", f"/users/{user_id}", json=change)
            self.assertEqual(response.status, 200, response.body)
            return await _MATCHES(passwords, password, hashed)

        self.patch(Passwords, "matches", change_and_match)

    async def test_signing_in(self) -> None:
        user_id = await self.add_user()
        for change in ({"password": "another good one"}, {"enabled": False}):
            with subtest(change):
                await self.request("POST", f"/users/{user_id}", json={"password": PASSWORD})
                self.change_meanwhile(user_id, **change)
                response = await self.attempt()
                self.assertEqual((response.status, response.headers.get("set-cookie")), (401, None))

    async def test_signing_in_does_not_wait_for_transactions_about_others(self) -> None:
        """They may have locked old sessions, which signing in deletes, and may wait for this transaction, too."""
        await self.add_user("ben")
        for column in ("expires_at", "last_used_at"):
            await self.sign_in("ben")
            await self.pool.execute(f"UPDATE sessions SET {column} = {column} - interval '30 days'")  # noqa: S608
        await self.add_user()
        with closing(psycopg2.connect(self.dsn)) as other, other.cursor() as cursor:
            cursor.execute("SELECT id FROM sessions FOR UPDATE")
            self.assertEqual(cursor.rowcount, 1)
            await self.sign_in()

    async def test_changing_the_own_password(self) -> None:
        """Who knows the former password must not undo what an administrator does about it."""
        user_id = await self.add_user()
        cookie = await self.sign_in()
        self.change_meanwhile(user_id, password="another good one")
        body = {"currentPassword": PASSWORD, "newPassword": "that of a thief"}
        response = await self.with_cookie("POST", "/session/password", cookie, json=body)
        self.assertEqual((response.status, response.headers.get("set-cookie")), (409, None))
        sessions = (await self.request("GET", f"/sessions?userId={user_id}")).json
        self.assertEqual(sessions, [])

    async def test_setting_up_a_second_factor(self) -> None:
        user_id = await self.add_user()
        cookie = await self.sign_in()
        self.change_meanwhile(user_id, password="another good one")
        response = await self.with_cookie("PUT", "/session/second-factor", cookie, json={"currentPassword": PASSWORD})
        self.assertEqual(response.status, 409)


class EndAllSessionsTests(SessionTestCase):
    async def test_all_sessions_end(self) -> None:
        await self.add_user()
        await self.add_user("ben")
        cookies = [await self.sign_in("anna"), await self.sign_in("ben")]
        self.assertEqual((await self.request("DELETE", "/sessions")).status, 204)
        for cookie in cookies:
            self.assertEqual((await self.with_cookie("GET", "/session", cookie)).status, 401)

    async def test_the_sessions_of_one_user_end(self) -> None:
        anna = await self.add_user()
        await self.add_user("ben")
        first, second, other = await self.sign_in("anna"), await self.sign_in("anna"), await self.sign_in("ben")
        self.assertEqual((await self.request("DELETE", f"/sessions?userId={anna}")).status, 204)
        statuses = [(await self.with_cookie("GET", "/session", cookie)).status for cookie in (first, second, other)]
        self.assertEqual(statuses, [401, 401, 200])
