"""Tests of voxrec.api.bulk.exports. The file of an export is written by voxrec.exports."""

import hashlib
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from tests.api.rest_test_case import PUBLIC_URL, ClientResponse, RestTestCase
from tests.subtest import subtest
from voxrec.model import Export, Role

CONTENT = b"PK" + bytes(range(256)) * 10


class ExportTestCase(RestTestCase):
    async def create(self, body: Any = None, *, token: str = "read", **options: Any) -> ClientResponse:
        return await self.request("POST", "/exports", json={} if body is None else body, token=token, **options)

    async def complete(self, export_id: str, content: bytes = CONTENT, node: str = "here") -> Export:
        """Complete an export as the worker does."""
        export = await self.exports.get(UUID(export_id))
        self.export_access.directory.create()
        self.export_access.directory.file_of(export).write_bytes(content)
        await self.pool.execute(
            "UPDATE exports SET state = 'completed', size = %s, sha256 = %s, node = %s, finished_at = now(), "
            "expires_at = now() + interval '1 h' WHERE id = %s",
            (len(content), hashlib.sha256(content).hexdigest(), node, export_id),
        )
        return await self.exports.get(UUID(export_id))


class CreationTests(ExportTestCase):
    async def test_defaults(self) -> None:
        response = await self.create()
        self.assertEqual(response.status, 201, response.body)
        export = response.json
        self.assertEqual(response.headers["location"], f"{PUBLIC_URL}/exports/{export['id']}")
        expected = {"state": "pending", "format": "zip", "audio": True, "query": {}, "createdBy": "the read token"}
        self.assertEqual({key: export[key] for key in expected}, expected)
        self.assertEqual(len(self.exports_woken), 1)
        self.assertEqual((await self.request("GET", f"/exports/{export['id']}")).json, export)

    async def test_the_filter_is_that_of_the_list(self) -> None:
        profile = await self.add_profile()
        body = {
            "profileId": str(profile.id),
            "state": ["completed", "failed"],
            "from": "+4930",
            "to": "+4931",
            "since": "2026-01-01T00:00:00Z",
            "until": "2026-02-01T00:00:00Z",
            "q": {"customer": "42"},
            "tag": ["complaint", "VIP"],
            "search": "miller",
            "verdict": "ok",
            "minDuration": 1.5,
            "maxDuration": 60.0,
            "node": "pbx-1",
            "legalHold": False,
        }
        export = (await self.create({**body, "format": "tar", "audio": False, "description": "for the court"})).json
        self.assertEqual(export["query"], body)
        self.assertEqual((export["format"], export["audio"], export["description"]), ("tar", False, "for the court"))
        query = {name for name in body if name != "profileId"}
        (listed,) = [route for route in self.app.routes if (route.method, route.path) == ("GET", "/recordings")]
        self.assertEqual({*(listed.query or {})} - {"limit", "cursor", "sort", "id"}, query)

    async def test_errors_name_the_fields(self) -> None:
        rows: tuple[tuple[dict[str, Any], list[str]], ...] = (
            ({"format": "rar", "audio": "yes"}, ["audio", "format"]),
            ({"state": ["done"]}, ["state"]),
            ({"since": "2026-02-01T00:00:00Z", "until": "2026-01-01T00:00:00Z"}, ["until"]),
            ({"since": "yesterday"}, ["since"]),
            ({"q": {"a": "x" * 1000}}, ["q"]),
            ({"tag": ["a,b"]}, ["tag"]),
            ({"tag": ["a", "a"]}, ["tag"]),
            ({"tag": [f"{number}" for number in range(51)]}, ["tag"]),
            ({"tag": ["x" * 65]}, ["tag"]),
            ({"search": "-+-"}, ["search"]),
            ({"verdict": "none", "minDuration": -1}, ["minDuration", "verdict"]),
            ({"profileId": str(uuid4())}, ["profileId"]),
            ({"number": "+4930"}, ["number"]),
        )
        for body, fields in rows:
            with subtest(body):
                response = await self.create(body)
                self.assertEqual((response.status, sorted(response.error_fields)), (422, fields), response.body)

    async def test_a_repeated_request_creates_one_export(self) -> None:
        headers = {"Idempotency-Key": "1"}
        first, second = await self.create(headers=headers), await self.create(headers=headers)
        self.assertEqual(first.body, second.body)
        self.assertEqual(len((await self.request("GET", "/exports")).json), 1)

    async def test_too_many_unfinished_ones(self) -> None:
        for _ in range(3):
            self.assertEqual((await self.create()).status, 201)
        refused = await self.create()
        self.assertEqual((refused.status, refused.json["code"]), (429, "too-many-requests"))
        self.assertEqual(refused.headers["retry-after"], "60")

    async def test_audit(self) -> None:
        export = (await self.create()).json
        (entry,) = (await self.request("GET", "/audit")).json
        self.assertEqual((entry["kind"], entry["targetId"], entry["who"]), ("export", export["id"], "the read token"))


class ScopeTests(ExportTestCase):
    async def test_a_token_for_some_profiles(self) -> None:
        own, other = await self.add_profile(), await self.add_profile()
        secret = await self.scoped_token(own.id, role=Role.READ)
        both = await self.scoped_token(own.id, other.id, role=Role.READ)
        mine = (await self.create(token=secret)).json
        self.assertEqual(mine["profileIds"], [str(own.id)])
        of_both, of_all = (await self.create(token=both)).json, (await self.create()).json
        for token, visible in ((secret, [mine]), (both, [of_both, mine]), ("read", [of_all, of_both, mine])):
            listed = (await self.request("GET", "/exports", token=token)).json
            self.assertEqual([each["id"] for each in listed], [each["id"] for each in visible])
        for method, path in (("GET", ""), ("GET", "/file"), ("DELETE", "")):
            for hidden in (of_both, of_all):
                response = await self.request(method, f"/exports/{hidden['id']}{path}", token=secret)
                self.assertEqual((response.status, response.json["code"]), (404, "not-found"))
        foreign = await self.create({"profileId": str(other.id)}, token=secret)
        self.assertEqual((foreign.status, foreign.error_fields), (422, ["profileId"]))


class FileTests(ExportTestCase):
    async def test_download_whole_and_in_parts(self) -> None:
        export = await self.complete((await self.create()).json["id"])
        shown = (await self.request("GET", f"/exports/{export.id}")).json
        self.assertEqual(shown["fileUrl"], f"{PUBLIC_URL}/exports/{export.id}/file")
        path = f"/exports/{export.id}/file"
        whole = await self.request("GET", path, token="read")
        self.assertEqual((whole.status, whole.body, whole.headers["content-type"]), (200, CONTENT, "application/zip"))
        self.assertEqual(whole.headers["content-disposition"], f'attachment; filename="voxrec-export-{export.id}.zip"')
        rest = await self.request("GET", path, headers={"Range": "bytes=1000-", "If-Range": whole.etag})
        self.assertEqual((rest.status, rest.body), (206, CONTENT[1000:]))
        head = await self.request("HEAD", path)
        self.assertEqual((head.status, head.headers["content-length"]), (200, str(len(CONTENT))))
        unchanged = await self.request("GET", path, headers={"If-None-Match": whole.etag})
        self.assertEqual(unchanged.status, 304)
        beyond = await self.request("GET", path, headers={"Range": "bytes=99999-"})
        self.assertEqual(beyond.status, 416)
        entries = (await self.request("GET", f"/audit?targetId={export.id}")).json
        self.assertEqual(
            [(entry["method"], entry["status"]) for entry in entries],
            [("GET", 206), ("GET", 200), ("POST", 201)],
            "each request that was answered with a part of the file",
        )

    async def test_states_without_a_file(self) -> None:
        export_id = (await self.create()).json["id"]
        path = f"/exports/{export_id}/file"
        for state, status, code in (
            ("pending", 409, "export-not-ready"),
            ("running", 409, "export-not-ready"),
            ("failed", 410, "export-gone"),
            ("expired", 410, "export-gone"),
        ):
            await self.pool.execute("UPDATE exports SET state = %s", (state,))
            response = await self.request("GET", path)
            self.assertEqual((response.status, response.json["code"]), (status, code))
            self.assertIn(state, response.json["detail"])

    async def test_a_file_that_has_expired_before_the_hourly_clean_up(self) -> None:
        export = await self.complete((await self.create()).json["id"])
        await self.pool.execute("UPDATE exports SET expires_at = now()")
        response = await self.request("GET", f"/exports/{export.id}/file")
        self.assertEqual((response.status, response.json["code"]), (410, "export-gone"))
        self.assertIn("expired", response.json["detail"])

    async def test_a_file_on_another_node_or_lost(self) -> None:
        for node, status, code in (("there", 503, "node-unreachable"), ("here", 500, "export-damaged")):
            export = await self.complete((await self.create()).json["id"], node=node)
            self.export_access.directory.delete(export.id)
            response = await self.request("GET", f"/exports/{export.id}/file")
            self.assertEqual((response.status, response.json["code"]), (status, code))
            if node == "there":
                self.assertIn("'there'", response.json["detail"])
        self.flushLoggedErrors()

    async def test_a_truncated_file_is_not_sent(self) -> None:
        export = await self.complete((await self.create()).json["id"])
        self.export_access.directory.file_of(export).write_bytes(CONTENT[:-1])
        response = await self.request("GET", f"/exports/{export.id}/file")
        self.assertEqual((response.status, response.json["code"]), (500, "export-damaged"))
        self.flushLoggedErrors()


class DeletionTests(ExportTestCase):
    async def test_an_unfinished_one(self) -> None:
        export = (await self.create()).json
        self.assertEqual((await self.request("DELETE", f"/exports/{export['id']}", token="read")).status, 204)
        for method in ("DELETE", "GET"):
            self.assertEqual((await self.request(method, f"/exports/{export['id']}")).status, 404)

    async def test_one_of_others(self) -> None:
        path = f"/exports/{(await self.create(token='admin')).json['id']}"
        for token, status in (("read", 403), ("supervise", 403), ("provision", 204)):
            self.assertEqual((await self.request("DELETE", path, token=token)).status, status)

    async def test_the_file_is_deleted(self) -> None:
        export = await self.complete((await self.create()).json["id"])
        self.assertEqual((await self.request("DELETE", f"/exports/{export.id}")).status, 204)
        self.assertFalse(self.export_access.directory.file_of(export).exists())
        self.assertEqual((await self.request("GET", "/exports")).json, [])

    async def test_pages(self) -> None:
        ids = [(await self.create()).json["id"] for _ in range(3)]
        first = await self.request("GET", "/exports?limit=2")
        self.assertEqual([each["id"] for each in first.json], [ids[2], ids[1]])
        self.assertIn("cursor=", first.headers["link"])

    async def test_the_time_of_creation_is_that_of_the_database(self) -> None:
        export = (await self.create()).json
        age = datetime.now(UTC) - datetime.fromisoformat(export["createdAt"])
        self.assertLess(abs(age), timedelta(minutes=1))
