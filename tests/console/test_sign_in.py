"""Signing in and out on the pages of the console."""

from tests.api.auth.test_sessions import PASSWORD
from tests.console.console_test_case import SAME_ORIGIN, ConsoleTestCase
from tests.subtest import subtest
from voxrec.web.password_throttle import PasswordThrottle


class SignInTests(ConsoleTestCase):
    async def test_pages_require_a_session(self) -> None:
        for path in (
            "/console/recordings",
            "/console/recordings/5f0c1a52-8d0f-4c1b-9a3e-2b7d6f1c9e04",
            "/console/calls",
        ):
            for cookie in ("", f"__Host-voxrec_session=vxs_{'x' * 43}"):
                with subtest((path, cookie)):
                    response = await self.open(path, cookie)
                    self.assertEqual(
                        (response.status, response.headers["location"]), (303, f"/console/sign-in?next={path}")
                    )
        response = await self.open("/console/recordings?from=%2B4930&cursor=a")
        self.assertEqual(
            response.headers["location"], "/console/sign-in?next=/console/recordings%3Ffrom%3D%252B4930%26cursor%3Da"
        )

    async def test_the_page_continues_where_the_user_wanted_to_go(self) -> None:
        await self.add_user()
        for target, continued in (
            ("/console/calls", "/console/calls"),
            ("", "/console/recordings"),
            ("//evil.example/console/", "/console/recordings"),
            ("https://evil.example", "/console/recordings"),
            ("/console/\\evil.example", "/console/recordings"),
            ("/console/\r\nSet-Cookie: a=b", "/console/recordings"),
        ):
            with subtest(target):
                response = await self.submit("/console/sign-in", name="anna", password=PASSWORD, next=target)
                self.assertEqual((response.status, response.headers["location"]), (303, continued))

    async def test_wrong_credentials(self) -> None:
        await self.add_user()
        for name, password in (("anna", "wrong"), ("<b>ben</b>", PASSWORD), ("", ""), ("x" * 100, "y")):
            with subtest(name):
                response = await self.submit("/console/sign-in", name=name, password=password)
                self.assertGreaterEqual(response.status, 400)
                self.assertIn(b"The name or the password is wrong.", response.body)
                self.assertNotIn(b"<b>", response.body)
                self.assertNotIn("set-cookie", response.headers)

    async def test_large_forms_of_strangers_are_not_read(self) -> None:
        """Decoding a megabyte takes half a second of the only thread, in which calls are controlled as well."""
        for path in ("/console/sign-in", "/console/sign-in/code", "/console/users/new"):
            response = await self.submit(path, name="a" * 65_536)
            self.assertEqual(response.status, 413)
            self.assertIn(b"More was sent than the installation permits", response.body)

    async def test_guessing_is_delayed(self) -> None:
        self.patch(PasswordThrottle, "FIRST_DELAY", 100.0)  # longer than hashing on a busy machine takes
        for number in range(PasswordThrottle.FREE_FAILURES):
            await self.submit("/console/sign-in", name="anna", password=str(number))
        response = await self.submit("/console/sign-in", name="anna", password="x")
        self.assertEqual(response.status, 429)
        self.assertIn(b"Too many wrong passwords were entered. Wait ", response.body)

    async def test_pages_of_other_sites_cannot_sign_a_user_in_or_out(self) -> None:
        cookie = await self.signed_in()
        other = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        response = await self.submit("/console/sign-in", headers=other, name="anna", password=PASSWORD)
        self.assertEqual(response.status, 403)
        self.assertEqual((await self.submit("/console/sign-out", cookie, headers=other)).status, 403)
        self.assertEqual((await self.open("/console/recordings", cookie)).status, 200)

    async def test_sign_out(self) -> None:
        cookie = await self.signed_in()
        response = await self.submit("/console/sign-out", cookie)
        self.assertEqual((response.status, response.headers["location"]), (303, "/console/sign-in"))
        self.assertIn("Max-Age=0", response.headers["set-cookie"])
        self.assertEqual((await self.open("/console/recordings", cookie)).status, 303)


class PageTests(ConsoleTestCase):
    async def test_language_and_headers(self) -> None:
        for language, text in (("de-AT,en;q=0.5", "Anmelden"), ("fr", "Sign in"), ("", "Sign in")):
            with subtest(language):
                headers = {"Accept-Language": language} if language else {}
                response = await self.open("/console/sign-in", **headers)
                self.assertEqual(response.status, 200)
                self.assertIn(text, response.body.decode())
                policy = response.headers["content-security-policy"]
                self.assertIn("default-src 'none'; script-src 'self'", policy)
                self.assertNotIn("unsafe", policy)

    async def test_assets(self) -> None:
        for name, media_type in (
            ("console.css", "text/css; charset=utf-8"),
            ("calls.js", "text/javascript; charset=utf-8"),
            ("wavesurfer.esm.js", "text/javascript; charset=utf-8"),
        ):
            with subtest(name):
                response = await self.open(f"/console/assets/{name}")
                self.assertEqual((response.status, response.headers["content-type"]), (200, media_type))
                headers = {"If-None-Match": response.etag}
                self.assertEqual((await self.open(f"/console/assets/{name}", **headers)).status, 304)
        for name in ("SHA256SUMS", "vendor", "none.js", "..%2f__init__.py"):
            with subtest(name):
                self.assertEqual((await self.open(f"/console/assets/{name}")).status, 404)

    async def test_the_console_is_not_part_of_the_api(self) -> None:
        paths = (await self.request("GET", "/openapi.json", token="")).json["paths"]
        self.assertEqual([path for path in paths if path.startswith("/console")], [])

    async def test_start(self) -> None:
        self.assertEqual((await self.open("/console")).headers["location"], "/console/recordings")

    async def test_qr_codes_are_drawn_only_for_users_whose_password_was_right(self) -> None:
        """A large one takes 0.1 s of the only thread, in which calls are controlled as well."""
        uri = "otpauth://totp/x?secret=" + 400 * "A"
        for ticket in ("", "x", 101 * "x"):
            with subtest(ticket):
                response = await self.submit("/console/sign-in/code", ticket=ticket, code="1", uri=uri)
                self.assertIn(response.status, (401, 422))
                self.assertNotIn(b"data:image", response.body)

    async def test_signing_in_needs_no_javascript(self) -> None:
        self.assertNotIn(b"onsubmit", (await self.open("/console/sign-in")).body)
        response = await self.submit("/console/sign-in", headers=SAME_ORIGIN, name="a", password="b")
        self.assertEqual(response.status, 401)
