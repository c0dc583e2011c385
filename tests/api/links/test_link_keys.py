"""Tests of voxrec.api.links.link_keys: which links stay valid when their key is replaced."""

from datetime import UTC, datetime, timedelta
from typing import Any

from tests.api.links.test_links import LinkTestCase
from tests.api.rest_test_case import PUBLIC_URL


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
