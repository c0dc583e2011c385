"""The pages for users: their administration, and the own password."""

import html
import re
from urllib.parse import urlencode
from uuid import UUID

from tests.api.auth.test_sessions import PASSWORD
from tests.api.rest_test_case import ClientResponse
from tests.console.console_test_case import FORM, SAME_ORIGIN, ConsoleTestCase
from tests.subtest import subtest

NEW_PASSWORD = "a quite different phrase"
ADMIN_PAGES = ("/console/users", "/console/users/new")


class UserPageTestCase(ConsoleTestCase):
    async def submit_lists(self, path: str, cookie: str, *items: tuple[str, str]) -> ClientResponse:
        """Send a form in which fields may occur several times."""
        headers = {"Cookie": cookie, "Content-Type": FORM, **SAME_ORIGIN}
        data = urlencode(items).encode()
        return await self.request("POST", path, token="", headers=headers, data=data, allow_redirects=False)

    async def user(self, user_id: UUID | str) -> dict[str, object]:
        user: dict[str, object] = (await self.request("GET", f"/users/{user_id}")).json
        return user

    async def version(self, user_id: UUID) -> str:
        return (await self.request("GET", f"/users/{user_id}")).etag


class UserTests(UserPageTestCase):
    async def test_other_roles_are_refused_and_see_no_link(self) -> None:
        user_id = await self.add_user("ben", "read")
        cookie = await self.signed_in("provision")
        page = f"/console/users/{user_id}"
        for path in (*ADMIN_PAGES, page):
            with subtest(path):
                response = await self.open(path, cookie)
                self.assertEqual(response.status, 403)
                self.assertIn(b"requires the role administrator", response.body)
                self.assertNotIn(b"/console/users", response.body)
        for path in (
            "/console/users/new",
            page,
            *(f"{page}/{action}" for action in ("password", "sessions", "delete")),
        ):
            with subtest(path):
                response = await self.submit(path, cookie, name="carol", role="admin", password=NEW_PASSWORD)
                self.assertEqual(response.status, 403)
        self.assertEqual(len((await self.request("GET", "/users")).json), 2)
        self.assertEqual((await self.attempt("ben")).status, 200)

    async def test_list(self) -> None:
        cookie = await self.signed_in("admin")
        profiles = await self.add_profiles(5)
        await self.add_user("ben", "read", profileIds=[str(profile.id) for profile in profiles], enabled=False)
        body = (await self.open("/console/users", cookie)).body.decode()
        self.assertIn(f'<a href="/console/profiles/{profiles[0].id}"><bdi>number 0</bdi></a>', body)
        shown = re.sub("<[^>]*>", "", body)
        for text in ("ben", "listener", "number 0, number 1, number 2 and 2 more", "disabled", "all Profiles"):
            with subtest(text):
                self.assertIn(text, shown)

    async def test_pages_of_the_list(self) -> None:
        cookie = await self.signed_in("admin")
        await self.pool.execute(
            "INSERT INTO users (id, name, role, enabled, password, created_at, updated_at) SELECT gen_random_uuid(), "
            "'user' || n, 'read', TRUE, 'x', now() - n * interval '1 day', now() FROM generate_series(1, 50) AS n"
        )
        body = (await self.open("/console/users", cookie)).body.decode()
        self.assertNotIn(">user50<", body)
        link = body.partition('rel="next" href="')[2].partition('"')[0]
        body = (await self.open(link, cookie)).body.decode()
        self.assertIn(">user50<", body)
        self.assertNotIn('rel="next"', body)

    async def test_create(self) -> None:
        cookie = await self.signed_in("admin")
        own, other = await self.add_profile(name="Own"), await self.add_profile(name="Other")
        await self.add_profile(name="Third")
        response = await self.submit_lists(
            "/console/users/new",
            cookie,
            *(("name", " Ben "), ("password", PASSWORD), ("role", "supervise"), ("scope", "some")),
            *(("profileIds", str(own.id)), ("profileIds", str(other.id))),
        )
        self.assertEqual(
            (response.status, response.headers["location"]), (303, "/console/users?done=user_created"), response.body
        )
        (ben,) = (await self.request("GET", "/users?name=ben")).json
        self.assertEqual((ben["role"], {*ben["profileIds"]}), ("supervise", {str(own.id), str(other.id)}))
        await self.sign_in("ben")

    async def test_many_profiles(self) -> None:
        cookie = await self.signed_in("admin")
        ids = [str(profile.id) for profile in await self.add_profiles(60)]
        user_id = await self.add_user("ben", "read", profileIds=ids[:1])
        chosen = [("profileIds", profile_id) for profile_id in ids]
        fields = (("role", "read"), ("scope", "some"), ("enabled", "true"))
        response = await self.submit_lists(f"/console/users/{user_id}", cookie, *fields, *chosen)
        self.assertEqual(response.status, 303, response.body)
        self.assertEqual((await self.user(user_id))["profileIds"], ids)

    async def test_messages_are_next_to_the_fields_and_entries_are_kept(self) -> None:
        cookie = await self.signed_in("admin")
        profile = await self.add_profile(name="Own")
        response = await self.submit_lists(
            "/console/users/new",
            cookie,
            *(("name", "<b>ben"), ("password", "short"), ("role", "admin"), ("scope", "some")),
            ("profileIds", str(profile.id)),
        )
        body = response.body.decode()
        self.assertEqual(response.status, 422)
        for text in (
            *('value="&lt;b&gt;ben"', '<option value="admin" selected>', f'value="{profile.id}" checked'),
            *('id="name-error"', 'id="password-error"', 'aria-invalid="true"'),
        ):
            with subtest(text):
                self.assertIn(text, body)
        self.assertNotIn("short", body, "passwords are not repeated")
        response = await self.submit("/console/users/new", cookie, name="anna", role="read", password=PASSWORD)
        self.assertEqual(response.status, 409)
        self.assertIn(b'id="name-error"', response.body)

    async def test_no_chosen_profile_does_not_mean_all(self) -> None:
        cookie = await self.signed_in("admin")
        profile = await self.add_profile()
        user_id = await self.add_user("ben", "read", profileIds=[str(profile.id)])
        response = await self.submit(f"/console/users/{user_id}", cookie, role="read", scope="some", enabled="true")
        self.assertEqual(response.status, 422)
        self.assertIn(b'id="profileIds-error"', response.body)
        self.assertEqual((await self.user(user_id))["profileIds"], [str(profile.id)])

    async def test_change(self) -> None:
        cookie = await self.signed_in("admin")
        profile = await self.add_profile()
        user_id = await self.add_user("ben", "read", profileIds=[str(profile.id)])
        body = (await self.open(f"/console/users/{user_id}", cookie)).body.decode()
        self.assertIn(f'value="{profile.id}" checked', body)
        version = await self.version(user_id)
        self.assertIn(f'name="version" value="{html.escape(version).replace("&quot;", "&#34;")}"', body)
        self.assertNotIn('name="listenLive" value="true" checked', body)
        fields = {"role": "provision", "scope": "all", "listenLive": "true", "version": version}
        response = await self.submit(f"/console/users/{user_id}", cookie, **fields)
        location = f"/console/users/{user_id}?done=user_saved"
        self.assertEqual((response.status, response.headers["location"]), (303, location))
        self.assertIn(b"The change is saved", (await self.open(response.headers["location"], cookie)).body)
        user = await self.user(user_id)
        self.assertEqual((user["role"], user["profileIds"], user["enabled"]), ("provision", None, False))
        self.assertTrue(user["listenLive"])
        body = (await self.open(f"/console/users/{user_id}", cookie)).body.decode()
        self.assertIn('name="listenLive" value="true" checked', body)
        self.assertEqual((await self.attempt("ben")).status, 401)
        response = await self.submit(f"/console/users/{user_id}", cookie, **{**fields, "role": "read"})
        self.assertEqual(response.status, 412, "it was changed meanwhile")
        self.assertIn(b"Another user has changed this", response.body)
        kept = version.replace('"', "&#34;")
        self.assertIn(f'name="version" value="{kept}"', response.body.decode(), "sending it again changes nothing")
        self.assertEqual((await self.user(user_id))["role"], "provision")

    async def test_new_password(self) -> None:
        cookie = await self.signed_in("admin")
        user_id = await self.add_user("ben")
        path = f"/console/users/{user_id}/password"
        response = await self.submit(path, cookie, password="ben")
        self.assertEqual(response.status, 422)
        self.assertIn(b'id="password-error"', response.body)
        self.assertEqual((await self.submit(path, cookie, password=NEW_PASSWORD)).status, 303)
        await self.sign_in("ben", NEW_PASSWORD)

    async def test_sessions_are_ended(self) -> None:
        cookie = await self.signed_in("admin")
        user_id = await self.add_user("ben")
        sessions = [await self.sign_in("ben") for _ in range(3)]
        path = f"/console/users/{user_id}"
        ids = [session["id"] for session in (await self.request("GET", f"/sessions?userId={user_id}")).json]
        body = (await self.open(path, cookie)).body.decode()
        for session_id in ids:
            self.assertIn(session_id, body)
        await self.submit(f"{path}/sessions", cookie, session=ids[0])
        statuses = [(await self.with_cookie("GET", "/session", session)).status for session in sessions]
        self.assertEqual(statuses, [200, 200, 401])
        await self.submit(f"{path}/sessions", cookie)
        statuses = [(await self.with_cookie("GET", "/session", session)).status for session in sessions]
        self.assertEqual(statuses, [401] * 3)
        self.assertIn(b"not signed in", (await self.open(path, cookie)).body)

    async def test_delete(self) -> None:
        cookie = await self.signed_in("admin")
        user_id = await self.add_user("ben")
        self.assertIn(b"Delete this user", (await self.open(f"/console/users/{user_id}", cookie)).body)
        response = await self.submit(f"/console/users/{user_id}/delete", cookie)
        self.assertEqual(response.headers["location"], "/console/users?done=user_deleted")
        self.assertEqual((await self.open(f"/console/users/{user_id}", cookie)).status, 404)
        entry = (await self.request("GET", "/audit?limit=1")).json[0]
        self.assertEqual((entry["who"], entry["method"], entry["targetId"]), ("anna", "DELETE", str(user_id)))

    async def test_the_own_page_warns_and_has_no_deletion(self) -> None:
        cookie = await self.signed_in("admin")
        own_id = (await self.with_cookie("GET", "/session", cookie)).json["userId"]
        body = (await self.open(f"/console/users/{own_id}", cookie)).body
        self.assertIn(b"This is you", body)
        self.assertNotIn(b"/delete", body)


class AccountTests(UserPageTestCase):
    async def change(self, cookie: str, current: str, new: str, repeated: str | None = None) -> ClientResponse:
        return await self.submit(
            "/console/account",
            cookie,
            currentPassword=current,
            newPassword=new,
            repeated=new if repeated is None else repeated,
        )

    async def test_every_role_changes_the_own_password(self) -> None:
        profile = await self.add_profile(name="Own")
        cookie = await self.signed_in(profileIds=[str(profile.id)])
        elsewhere = await self.sign_in()
        body = (await self.open("/console/account", cookie)).body
        self.assertIn(b"Own", body)
        response = await self.change(cookie, PASSWORD, NEW_PASSWORD)
        self.assertEqual(
            (response.status, response.headers["location"]), (303, "/console/account?done=password_changed")
        )
        for old in (cookie, elsewhere):
            self.assertEqual((await self.open("/console/account", old)).status, 303, "all sessions have ended")
        cookie = response.headers["set-cookie"].partition(";")[0]
        self.assertIn(b"The password is changed", (await self.open(response.headers["location"], cookie)).body)
        self.assertEqual([(await self.attempt(password=each)).status for each in (PASSWORD, NEW_PASSWORD)], [401, 200])

    async def test_messages(self) -> None:
        cookie = await self.signed_in()
        for current, new, repeated, fields in (
            (PASSWORD, NEW_PASSWORD, "another one", ["repeated"]),
            (PASSWORD, "short", "short", ["newPassword"]),
            (PASSWORD, "my name is anna", "my name is anna", ["newPassword"]),
            ("wrong", NEW_PASSWORD, NEW_PASSWORD, ["currentPassword"]),
        ):
            with subtest((current, new)):
                response = await self.change(cookie, current, new, repeated)
                self.assertEqual(response.status, 422)
                for field in ("currentPassword", "newPassword", "repeated"):
                    self.assertEqual(f'id="{field}-error"' in response.body.decode(), field in fields, field)
        self.assertEqual((await self.attempt()).status, 200, "nothing has changed")
