"""Tests of voxrec.web.session_cookie."""

from typing import Final

from twisted.trial.unittest import SynchronousTestCase

from tests.subtest import subtest
from voxrec.web.errors import NotAllowed
from voxrec.web.session_cookie import SessionCookie

ORIGIN: Final = "https://rec.example"


class CookieTests(SynchronousTestCase):
    def test_attributes_with_https(self) -> None:
        header = SessionCookie(f"{ORIGIN}/").header("vxs_1", 60)["Set-Cookie"]
        self.assertEqual(header, "__Host-voxrec_session=vxs_1; Path=/; Max-Age=60; HttpOnly; SameSite=Lax; Secure")

    def test_attributes_without_https(self) -> None:
        header = SessionCookie("http://127.0.0.1:8080").header("", 0)["Set-Cookie"]
        self.assertEqual(header, "voxrec_session=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax")

    def test_value_among_other_cookies(self) -> None:
        cookie = SessionCookie("http://127.0.0.1:8080")
        for header, value in (
            ("voxrec_session=vxs_1", "vxs_1"),
            ("a=b; voxrec_session=vxs_1; c=d", "vxs_1"),
            ("a=b, voxrec_session=vxs_1", "vxs_1"),  # two headers
            ("xvoxrec_session=vxs_1", ""),
            ("voxrec_session", ""),
            ("", ""),
        ):
            with subtest(header):
                self.assertEqual(cookie.value({"cookie": header}), value)
        self.assertEqual(cookie.value({}), "")


class SameOriginTests(SynchronousTestCase):
    def refuses(self, method: str = "POST", **headers: str) -> bool:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        try:
            SessionCookie(ORIGIN).require_same_origin(method, {"host": "rec.example", **named})
        except NotAllowed:
            return True
        return False

    def test_pages_of_other_sites_cannot_change_anything(self) -> None:
        for method in ("POST", "PUT", "DELETE", "PATCH"):
            with subtest(method):
                self.assertTrue(self.refuses(method, sec_fetch_site="cross-site", origin="https://evil.example"))
                self.assertTrue(self.refuses(method, sec_fetch_site="same-site", origin="https://crm.rec.example"))
                self.assertTrue(self.refuses(method, origin="https://evil.example"))
                self.assertTrue(self.refuses(method, origin="https://rec.example:8443"))
                self.assertTrue(self.refuses(method, origin="null"))

    def test_own_pages_can(self) -> None:
        self.assertFalse(self.refuses(sec_fetch_site="same-origin", origin=ORIGIN))
        self.assertFalse(self.refuses(origin=ORIGIN))
        self.assertFalse(self.refuses(origin="http://localhost:8080", host="localhost:8080"))

    def test_programs_send_neither_header(self) -> None:
        self.assertFalse(self.refuses())

    def test_retrieval_is_not_restricted(self) -> None:
        self.assertFalse(self.refuses("GET", sec_fetch_site="cross-site"))
