"""A test case with the console, and a user who is signed in."""

from typing import Any
from urllib.parse import urlencode

from tests.api.auth.test_sessions import PASSWORD, SessionTestCase
from tests.api.rest_test_case import ClientResponse, send_request

FORM = "application/x-www-form-urlencoded"
SAME_ORIGIN = {"Origin": "https://rec.example", "Sec-Fetch-Site": "same-origin"}


class ConsoleTestCase(SessionTestCase):
    async def open(self, path: str, cookie: str = "", **headers: str) -> ClientResponse:
        """Return a page, or the redirection to another one."""
        return await send_request(self.port, "GET", path, headers={"Cookie": cookie, **headers}, allow_redirects=False)

    async def submit(self, path: str, cookie: str = "", headers: Any = SAME_ORIGIN, **fields: str) -> ClientResponse:
        """Send a form, and return the page or the redirection."""
        all_headers = {"Cookie": cookie, "Content-Type": FORM, **headers}
        body = urlencode(fields).encode()
        return await send_request(self.port, "POST", path, headers=all_headers, data=body, allow_redirects=False)

    async def signed_in(self, role: str = "read", **fields: Any) -> str:
        """Create a user with ``role``, and return the cookie of a session."""
        await self.add_user("anna", role, **fields)
        response = await self.submit("/console/sign-in", name="anna", password=PASSWORD)
        self.assertEqual(response.status, 303, response.body)
        return response.headers["set-cookie"].partition(";")[0]
