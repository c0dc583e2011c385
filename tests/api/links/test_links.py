"""Tests of voxrec.api.links.links."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from tests.api.rest_test_case import PUBLIC_URL, ClientResponse, RestTestCase
from tests.subtest import subtest
from voxrec.model import Recording, RecordingState


def in_days(days: float) -> str:
    return (datetime.now(UTC) + timedelta(days=days)).isoformat()


class LinkTestCase(RestTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.recording = await self.add_audio(b"RIFF")

    async def create(
        self, body: Any = None, *, recording: Recording | None = None, token: str = "provision", **options: Any
    ) -> ClientResponse:
        path = f"/recordings/{(recording or self.recording).id}/links"
        return await self.request("POST", path, json={} if body is None else body, token=token, **options)

    async def created(self, body: Any = None) -> Any:
        response = await self.create(body)
        self.assertEqual(response.status, 201, response.body)
        return response.json


class CreationTests(LinkTestCase):
    async def test_defaults(self) -> None:
        response = await self.create()
        link = response.json
        self.assertEqual(
            response.headers["location"], f"{PUBLIC_URL}/recordings/{self.recording.id}/links/{link['id']}"
        )
        self.assertRegex(link["url"], rf"^{PUBLIC_URL}/l/[A-Za-z0-9_-]{{48}}$")
        expected = {"state": "active", "origin": "rest", "createdBy": "the provision token", "maxUses": None, "uses": 0}
        self.assertEqual({key: link[key] for key in expected}, expected)
        days = datetime.fromisoformat(link["expiresAt"]) - datetime.now(UTC)
        self.assertAlmostEqual(days / timedelta(days=1), 7, places=2)

    async def test_values(self) -> None:
        expires_at = in_days(89)
        link = await self.created({"description": "for the lawyer", "expiresAt": expires_at, "maxUses": 1})
        self.assertEqual((link["description"], link["maxUses"]), ("for the lawyer", 1))
        self.assertEqual(datetime.fromisoformat(link["expiresAt"]), datetime.fromisoformat(expires_at))

    async def test_errors_name_the_fields(self) -> None:
        rows: tuple[tuple[dict[str, Any], list[str]], ...] = (
            ({"expiresAt": in_days(-1)}, ["expiresAt"]),
            ({"expiresAt": in_days(91)}, ["expiresAt"]),
            ({"expiresAt": "tomorrow", "maxUses": 0}, ["expiresAt", "maxUses"]),
            ({"expiresAt": "2026-11-30T12:00:00"}, ["expiresAt"]),
            ({"maxUses": "1"}, ["maxUses"]),
            ({"maxUses": 1_000_001, "description": "x" * 256}, ["description", "maxUses"]),
            ({"uses": 1}, ["uses"]),
        )
        for body, fields in rows:
            with subtest(body):
                response = await self.create(body)
                self.assertEqual((response.status, sorted(response.error_fields)), (422, fields), response.body)

    async def test_a_recording_without_audio(self) -> None:
        pending = await self.add_recording(state=RecordingState.PENDING)
        absent = await self.add_recording(state=RecordingState.ABSENT)
        for recording, status, code in ((pending, 409, "no-audio-yet"), (absent, 404, "not-found")):
            response = await self.create(recording=recording)
            self.assertEqual((response.status, response.json["code"]), (status, code))

    async def test_a_repeated_request_creates_one_link(self) -> None:
        headers = {"Idempotency-Key": "1"}
        first = await self.create({"maxUses": 1}, headers=headers)
        self.assertEqual(first.status, 201)
        self.assertEqual((await self.create({"maxUses": 1}, headers=headers)).body, first.body)
        reused = await self.create({"maxUses": 2}, headers=headers)
        self.assertEqual((reused.status, reused.json["code"]), (422, "idempotency-key-reused"))
        self.assertEqual(len((await self.request("GET", f"/recordings/{self.recording.id}/links")).json), 1)
        await self.recordings.delete(self.recording.id)
        ((stored,),) = await self.pool.query("SELECT count(*) FROM idempotency WHERE body IS NOT NULL")
        self.assertEqual(stored, 0, "the stored response contains the URL")

    async def test_roles(self) -> None:
        link = await self.created()
        path = f"/recordings/{self.recording.id}/links"
        for method, suffix in (("GET", ""), ("GET", f"/{link['id']}"), ("DELETE", f"/{link['id']}")):
            response = await self.request(method, f"{path}{suffix}", token="read")
            self.assertEqual(response.status, 403)
        self.assertEqual((await self.create(token="read")).status, 403)

    async def test_a_token_for_some_profiles(self) -> None:
        own = await self.add_audio(b"RIFF", profile_id=(await self.add_profile()).id)
        secret = await self.scoped_token(own.profile_id)
        self.assertEqual((await self.create(recording=own, token=secret)).status, 201)
        link = await self.created()
        path = f"/recordings/{self.recording.id}/links"
        for method, suffix in (("POST", ""), ("GET", ""), ("GET", f"/{link['id']}"), ("DELETE", f"/{link['id']}")):
            options: dict[str, Any] = {"json": {}} if method == "POST" else {}
            response = await self.request(method, f"{path}{suffix}", token=secret, **options)
            self.assertEqual(response.status, 404, response.body)
        through_own = await self.request("DELETE", f"/recordings/{own.id}/links/{link['id']}", token=secret)
        self.assertEqual(through_own.status, 404)


class ListTests(LinkTestCase):
    async def test_list_and_get(self) -> None:
        links = [await self.created() for _ in range(3)]
        response = await self.request("GET", f"/recordings/{self.recording.id}/links?limit=2")
        self.assertEqual([link["id"] for link in response.json], [link["id"] for link in reversed(links[1:])])
        rest = await self.request("GET", response.headers["link"].partition(">")[0].removeprefix(f"<{PUBLIC_URL}"))
        self.assertEqual([link["id"] for link in rest.json], [links[0]["id"]])
        one = await self.request("GET", f"/recordings/{self.recording.id}/links/{links[0]['id']}")
        self.assertEqual(one.json, links[0])

    async def test_revocation_is_audited(self) -> None:
        link = await self.created()
        path = f"/recordings/{self.recording.id}/links/{link['id']}"
        self.assertEqual((await self.request("DELETE", path)).status, 204)
        self.assertEqual((await self.request("DELETE", path)).status, 204)
        revoked = (await self.request("GET", path)).json
        self.assertEqual((revoked["state"], revoked["url"]), ("revoked", None))
        entries = (await self.request("GET", f"/audit?targetId={self.recording.id}")).json
        self.assertEqual([entry["method"] for entry in entries], ["DELETE", "DELETE", "POST"])
        self.assertEqual({entry["kind"] for entry in entries}, {"recording links"})

    async def test_unknown_links(self) -> None:
        link = await self.created()
        other = await self.add_audio(b"RIFF")
        for path in (f"{other.id}/links/{link['id']}", f"{self.recording.id}/links/{uuid4()}"):
            for method, suffix in (("GET", ""), ("GET", "/uses"), ("DELETE", "")):
                response = await self.request(method, f"/recordings/{path}{suffix}")
                self.assertEqual((response.status, response.json["code"]), (404, "not-found"))
