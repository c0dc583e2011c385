"""GET /audit: pages and filters."""

from tests.api.rest_test_case import PUBLIC_URL, RestTestCase
from tests.subtest import subtest


class AuditRouteTests(RestTestCase):
    async def test_list_is_newest_first_in_pages_with_filters(self) -> None:
        for n in range(5):
            await self.request("PUT", "/profiles", token="provision" if n % 2 else "admin", json={"name": str(n)})
        await self.request("PUT", "/recordings", json={})
        all_entries = (await self.request("GET", "/audit")).json
        self.assertEqual(len(all_entries), 6)
        self.assertEqual(all_entries, sorted(all_entries, key=lambda entry: entry["createdAt"], reverse=True))
        path, paged = "/audit?limit=4", []
        while path:
            page = await self.request("GET", path)
            paged += page.json
            path = page.headers.get("link", "").partition(">")[0].removeprefix(f"<{PUBLIC_URL}")
        self.assertEqual(paged, all_entries)
        timestamp = all_entries[2]["createdAt"]
        for query, expected in (
            ("who=the%20provision%20token", [entry for entry in all_entries if "provision" in entry["who"]]),
            ("who=nobody", []),
            ("path=/profiles", [entry for entry in all_entries if entry["path"] == "/profiles"]),
            ("path=/rec", [entry for entry in all_entries if entry["path"] == "/recordings"]),
            (f"since={timestamp}", all_entries[:3]),
            (f"until={timestamp}", all_entries[3:]),
            (f"targetId={all_entries[3]['targetId']}", all_entries[3:4]),
        ):
            with subtest(query):
                self.assertEqual((await self.request("GET", f"/audit?{query}")).json, expected)
        self.assertEqual((await self.request("GET", "/audit?since=now&what=x")).error_fields, ["since", "what"])
