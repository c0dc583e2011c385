"""Tests of voxrec.api.secret_rotation."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.api.rest_test_case import PUBLIC_URL
from tests.api.test_links import LinkTestCase
from tests.api.test_sessions import SessionTestCase


class LinkKeyTests(LinkTestCase):
    async def rotate(self, body: Any) -> Any:
        response = await self.request("POST", "/link-keys", json=body)
        self.assertEqual(response.status, 200, response.body)
        return response.json

    async def page_status(self, link: Any) -> int:
        return (await self.request("GET", link["url"].removeprefix(PUBLIC_URL), token="")).status

    async def test_by_default_links_stay_valid(self) -> None:
        link = await self.created()
        self.assertEqual(await self.rotate({}), {"revokedLinks": 0})
        self.assertEqual(await self.page_status(link), 200)

    async def test_all_links_become_invalid(self) -> None:
        link = await self.created()
        self.assertEqual(await self.rotate({"revokeAll": True}), {"revokedLinks": 1})
        self.assertEqual(await self.page_status(link), 404)
        self.assertEqual(await self.page_status(await self.created()), 200)
        (entry, *_) = (await self.request("GET", "/audit?path=/link-keys")).json
        self.assertEqual((entry["method"], entry["kind"], entry["outcome"]), ("POST", "link-key", "done"))

    async def test_links_of_earlier_keys(self) -> None:
        link = await self.created()
        yesterday = (datetime.now(UTC) - timedelta(days=1)).isoformat()
        self.assertEqual(await self.rotate({"revokeBefore": yesterday}), {"revokedLinks": 0})
        self.assertEqual(await self.page_status(link), 200)

    async def test_invalid_requests(self) -> None:
        tomorrow = (datetime.now(UTC) + timedelta(days=1)).isoformat()
        for body, problem in (
            ({"revokeBefore": tomorrow}, "is in the future"),
            ({"revokeAll": True, "revokeBefore": "2026-01-01T00:00:00Z"}, "conflicts with revokeAll"),
        ):
            response = await self.request("POST", "/link-keys", json=body)
            self.assertEqual(response.status, 422, response.body)
            self.assertIn(problem, str(response.json))

    async def test_only_administrators(self) -> None:
        response = await self.request("POST", "/link-keys", json={"revokeAll": True}, token="provision")
        self.assertEqual(response.status, 403)


class SessionsTests(SessionTestCase):
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
