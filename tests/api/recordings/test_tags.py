"""Tags of Recordings in the REST API."""

from typing import Any
from urllib.parse import quote

from tests.api.rest_test_case import ClientResponse, RestTestCase
from tests.subtest import subtest


class TagTestCase(RestTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.recording = await self.add_recording()
        self.path = f"/recordings/{self.recording.id}"

    async def change(self, tags: Any, token: str = "supervise", **fields: Any) -> ClientResponse:
        return await self.request("POST", self.path, json={"tags": tags, **fields}, token=token)


class ChangeTests(TagTestCase):
    async def test_tags_are_sorted(self) -> None:
        self.assertEqual((await self.request("GET", self.path)).json["tags"], [])
        response = await self.change(["complaint", "VIP", "Ärger mit Post"])
        self.assertEqual((response.status, response.json["tags"]), (200, ["VIP", "complaint", "Ärger mit Post"]))
        stored = await self.request("GET", self.path)
        self.assertEqual((stored.json, stored.etag), (response.json, response.etag))
        again = await self.change(["Ärger mit Post", "VIP", "complaint"])
        self.assertEqual(again.json["updatedAt"], response.json["updatedAt"])
        self.assertEqual((await self.change([])).json["tags"], [])

    async def test_limits(self) -> None:
        many = sorted([f"{number:02}" for number in range(49)] + ["😀" * 64])
        self.assertEqual((await self.change(many)).json["tags"], many)
        for tags in (
            *(["x" * 65], [""], [" a"], ["a "], ["a\nb"], ["a\n"], ["a,b"], ["\x85"], ["a", "b", "a"], [1]),
            *(None, "a", {"a": 1}, [f"{number}" for number in range(51)]),
        ):
            with subtest(str(tags)[:60]):
                response = await self.change(tags)
                self.assertEqual((response.status, {*response.error_fields}), (422, {"tags"}), response.body)
        self.assertEqual((await self.request("GET", self.path)).json["tags"], many)
        self.assertEqual((await self.change(["a,b"] * 51)).error_fields, ["tags"])

    async def test_roles(self) -> None:
        self.assertEqual((await self.change(["a"], "read")).status, 403)
        self.assertEqual((await self.change(["a"], legalHold=True)).status, 403)
        self.assertEqual((await self.request("GET", self.path)).json["tags"], [])
        self.assertEqual((await self.change(["a"], "provision", legalHold=True)).status, 200)

    async def test_audit(self) -> None:
        await self.change(["confidential"])
        response = await self.request("GET", f"/audit?targetId={self.recording.id}", token="admin")
        self.assertEqual(response.json[0]["fields"], ["tags"])
        self.assertNotIn(b"confidential", response.body)

    async def test_versions(self) -> None:
        etag = (await self.request("GET", self.path)).etag
        await self.change(["a"])
        options: dict[str, Any] = {"json": {"tags": ["b"]}, "headers": {"If-Match": etag}}
        self.assertEqual((await self.request("POST", self.path, **options)).status, 412)

    async def test_import_with_tags(self) -> None:
        body = {"profileId": str((await self.add_profile()).id), "tags": ["b", "a"]}
        self.assertEqual((await self.request("PUT", "/recordings", json=body)).json["tags"], ["a", "b"])
        response = await self.request("PUT", "/recordings", json={**body, "tags": ["a", "a"]})
        self.assertEqual((response.status, response.error_fields), (422, ["tags"]))


class FilterTests(TagTestCase):
    async def listed(self, tags: str, path: str = "/recordings") -> list[list[str]]:
        response = await self.request("GET", f"{path}?tag={quote(tags)}", token="read")
        self.assertEqual(response.status, 200, response.body)
        return sorted(recording["tags"] for recording in response.json)

    async def test_all_of_several(self) -> None:
        await self.change(["a", "ü & b"])
        profile = await self.add_profile()
        await self.add_recording(tags=("a",), profile_id=profile.id)
        self.assertEqual(await self.listed("a"), [["a"], ["a", "ü & b"]])
        self.assertEqual(await self.listed("ü & b,a"), [["a", "ü & b"]])
        self.assertEqual(await self.listed("a,a,c"), [])
        self.assertEqual(await self.listed("a", f"/profiles/{profile.id}/recordings"), [["a"]])

    async def test_invalid_tags(self) -> None:
        for tags in ("", "a,", "a, b", "x" * 65, "a\n", "%00", ",".join(["x" * 60] * 17)):
            with subtest(tags):
                response = await self.request("GET", f"/recordings?tag={quote(tags, safe='%')}")
                self.assertEqual((response.status, response.error_fields), (422, ["tag"]))
