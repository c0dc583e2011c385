"""Tests of voxrec.api.recordings.notes."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from tests.api.rest_test_case import PUBLIC_URL, ClientResponse, RestTestCase
from tests.subtest import subtest
from voxrec.model import Recording, Role, Token
from voxrec.store.tokens import generate_secret


class NoteTestCase(RestTestCase):
    body_limit = 100_000

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.recording = await self.add_recording()
        self.path = f"/recordings/{self.recording.id}/notes"

    async def create(
        self, text: Any = "agrees", *, recording: Recording | None = None, token: str = "supervise", **fields: Any
    ) -> ClientResponse:
        path = f"/recordings/{(recording or self.recording).id}/notes"
        return await self.request("POST", path, json={"text": text, **fields}, token=token)

    async def created(self, text: str = "agrees", **fields: Any) -> Any:
        response = await self.create(text, **fields)
        self.assertEqual(response.status, 201, response.body)
        return response.json

    async def change(self, note: Any, token: str = "supervise", **fields: Any) -> ClientResponse:
        return await self.request("POST", f"{self.path}/{note['id']}", json=fields, token=token)

    async def stored_token(self, role: Role, *profile_ids: UUID) -> tuple[Token, str]:
        secret, now = generate_secret(), datetime.now(UTC)
        token = Token(id=uuid4(), name="crm", role=role, profile_ids=profile_ids or None, created_at=now)
        await self.tokens.create(token, secret)
        return token, secret


class CreationTests(NoteTestCase):
    async def test_note_with_author(self) -> None:
        token, secret = await self.stored_token(Role.SUPERVISE)
        response = await self.create("first line\nsecond", position=12.5, token=secret)
        note = response.json
        self.assertEqual(response.headers["location"], f"{PUBLIC_URL}{self.path}/{note['id']}")
        expected = {
            "recordingId": str(self.recording.id),
            "text": "first line\nsecond",
            "position": 12.5,
            "author": "crm",
            "tokenId": str(token.id),
            "userId": None,
        }
        self.assertEqual({key: note[key] for key in expected}, expected)
        self.assertEqual(note["createdAt"], note["updatedAt"])
        stored = await self.request("GET", f"{self.path}/{note['id']}", token="read")
        self.assertEqual((stored.json, stored.etag), (note, response.etag))

    async def test_limits(self) -> None:
        for text in ("x", "ü" * 9_000 + "x" * 1_000, " x "):
            self.assertEqual((await self.create(text, position=0)).json["text"], text)
        self.assertIsNone((await self.create(position=None)).json["position"])

    async def test_errors_name_the_fields(self) -> None:
        rows: tuple[tuple[dict[str, Any], list[str]], ...] = (
            ({}, ["text"]),
            ({"text": ""}, ["text"]),
            ({"text": " \n"}, ["text"]),
            ({"text": "x" * 10_001}, ["text"]),
            ({"text": "\0"}, ["text"]),
            ({"text": 1, "position": -0.1}, ["position", "text"]),
            ({"text": "x", "position": "1"}, ["position"]),
            ({"text": "x", "position": 1e7}, ["position"]),
            ({"text": "x", "author": "somebody else"}, ["author"]),
        )
        for body, fields in rows:
            with subtest(str(body)[:60]):
                response = await self.request("POST", self.path, json=body)
                self.assertEqual((response.status, sorted(response.error_fields)), (422, fields), response.body)

    async def test_unknown_recording(self) -> None:
        path = f"/recordings/{uuid4()}/notes"
        self.assertEqual((await self.request("POST", path, json={"text": "x"})).status, 404)
        self.assertEqual((await self.request("GET", path)).status, 404)


class ListTests(NoteTestCase):
    async def test_pages(self) -> None:
        notes = [await self.created(str(number)) for number in range(3)]
        await self.create("elsewhere", recording=await self.add_recording())
        first = await self.request("GET", f"{self.path}?limit=2", token="read")
        self.assertEqual(first.json, [notes[2], notes[1]])
        target = first.headers["link"].partition(">")[0].removeprefix(f"<{PUBLIC_URL}")
        self.assertEqual((await self.request("GET", target, token="read")).json, [notes[0]])


class ChangeTests(NoteTestCase):
    async def test_fields_that_are_not_given_are_kept(self) -> None:
        note = await self.created(position=3)
        changed = (await self.change(note, text="disagrees")).json
        self.assertEqual((changed["text"], changed["position"], changed["author"]), ("disagrees", 3, note["author"]))
        self.assertGreater(changed["updatedAt"], note["updatedAt"])
        self.assertIsNone((await self.change(note, position=None)).json["position"])
        self.assertEqual((await self.request("GET", f"{self.path}/{note['id']}")).json["text"], "disagrees")

    async def test_errors(self) -> None:
        note = await self.created()
        for fields in ({"text": " "}, {"text": None}, {"author": "x"}, {"position": -1}, {"text": "x" * 10_001}):
            with subtest(str(fields)[:60]):
                response = await self.change(note, **fields)
                self.assertEqual((response.status, response.error_fields), (422, list(fields)))

    async def test_versions(self) -> None:
        note = await self.created()
        path = f"{self.path}/{note['id']}"
        etag = (await self.request("GET", path)).etag
        await self.change(note, text="disagrees")
        headers = {"If-Match": etag}
        self.assertEqual((await self.request("POST", path, json={"text": "x"}, headers=headers)).status, 412)
        self.assertEqual((await self.request("DELETE", path, headers=headers)).status, 412)
        self.assertEqual((await self.request("GET", path)).json["text"], "disagrees")

    async def test_notes_of_others(self) -> None:
        """Also those of another token with the same name, as after its replacement."""
        (_, author), (_, other) = await self.stored_token(Role.SUPERVISE), await self.stored_token(Role.SUPERVISE)
        note = (await self.create(token=author)).json
        path = f"{self.path}/{note['id']}"
        for token in (other, "supervise"):
            for method, options in (("POST", {"json": {"text": "x"}}), ("DELETE", {})):
                response = await self.request(method, path, token=token, **options)
                self.assertEqual((response.status, response.json["code"]), (403, "not-allowed"), response.body)
        self.assertEqual((await self.request("GET", path)).json, note)
        self.assertEqual((await self.change(note, author, text="mine")).status, 200)
        changed = (await self.change(note, "provision", text="corrected")).json
        self.assertEqual((changed["author"], changed["tokenId"]), (note["author"], note["tokenId"]))
        self.assertEqual((await self.request("DELETE", path, token=author)).status, 204)
        self.assertEqual((await self.request("GET", path)).status, 404)

    async def test_a_role_that_only_reads(self) -> None:
        note = await self.created()
        self.assertEqual((await self.create(token="read")).status, 403)
        self.assertEqual((await self.change(note, "read", text="x")).status, 403)
        self.assertEqual((await self.request("DELETE", f"{self.path}/{note['id']}", token="read")).status, 403)

    async def test_a_token_for_some_profiles(self) -> None:
        own = await self.add_recording(profile_id=(await self.add_profile()).id)
        _, secret = await self.stored_token(Role.PROVISION, own.profile_id)
        self.assertEqual((await self.create(recording=own, token=secret)).status, 201)
        note = await self.created()
        for path in (f"{self.path}/{note['id']}", f"/recordings/{own.id}/notes/{note['id']}"):
            for method, options in (("GET", {}), ("POST", {"json": {"text": "x"}}), ("DELETE", {})):
                response = await self.request(method, path, token=secret, **options)
                self.assertEqual((response.status, response.json["code"]), (404, "not-found"))
        self.assertEqual((await self.request("GET", self.path, token=secret)).status, 404)


class PrivacyTests(NoteTestCase):
    async def test_the_audit_log_has_no_text(self) -> None:
        note = await self.created("confidential")
        await self.change(note, text="still confidential", position=1)
        await self.request("DELETE", f"{self.path}/{note['id']}", token="supervise")
        response = await self.request("GET", f"/audit?targetId={self.recording.id}", token="admin")
        self.assertNotIn(b"confidential", response.body)
        self.assertEqual(
            [(entry["method"], entry["kind"], entry["fields"], entry["status"]) for entry in response.json],
            [
                ("DELETE", "recording notes", [], 204),
                ("POST", "recording notes", ["text", "position"], 200),
                ("POST", "recording notes", [], 201),
            ],
        )

    async def test_deletion_of_the_recording_erases_notes_and_stored_responses(self) -> None:
        for number in range(2):
            headers = {"Idempotency-Key": f"create-{number}"}
            note = (await self.request("POST", self.path, json={"text": "confidential"}, headers=headers)).json
            headers = {"Idempotency-Key": f"change-{number}"}
            path = f"{self.path}/{note['id']}"
            await self.request("POST", path, json={"text": "still confidential"}, headers=headers)
        self.assertEqual(await self.count_stored(), (2, 4))
        await self.request("DELETE", path)
        self.assertEqual(await self.count_stored(), (1, 2))
        await self.recordings.delete(self.recording.id)
        self.assertEqual(await self.count_stored(), (0, 0))

    async def count_stored(self) -> tuple[int, int]:
        """Return the numbers of notes and of stored responses."""
        ((notes,),) = await self.pool.query("SELECT count(*) FROM notes")
        ((responses,),) = await self.pool.query("SELECT count(*) FROM idempotency WHERE body IS NOT NULL")
        return notes, responses
