"""Recordings over REST: creation, updates, deletion and filters, also at the paths of their Profile."""

from datetime import UTC, datetime, timedelta
from typing import Any, Final
from urllib.parse import quote
from uuid import UUID, uuid4

from tests.api.rest_test_case import CREATED_AT, PUBLIC_URL, ClientResponse, RestTestCase
from tests.subtest import subtest
from voxrec.model import JobKind, Profile, RecordingState
from voxrec.store.jobs import Jobs

UUID1: Final = "1b4e28ba-2fa1-11d2-883f-0016d3cca427"  # of version 1

FULL: Final = {
    "callId": "44444444-4444-4444-8444-444444444444",
    "format": "mp3",
    "channels": 2,
    "startedAt": "2025-01-31T09:30:00Z",
    "endedAt": "2025-01-31T09:31:00.5Z",
    "from": "+4930123456",
    "fromName": "Ada",
    "to": "+4940",
    "remoteSipUri": "sip:a@pbx.example",
    "hangupCause": 16,
    "metadata": {"z": 1, "a": [True]},
    "legalHold": True,
}

# the request body, and the fields that the problem document must name
INVALID: Final[tuple[tuple[dict[str, Any], set[str]], ...]] = (
    ({"colour": "red"}, {"colour"}),
    ({"id": UUID1}, {"id"}),
    ({"profileId": "7"}, {"profileId"}),
    ({"profileId": None}, {"profileId"}),
    ({"callId": "7"}, {"callId"}),
    ({"format": "xyz"}, {"format"}),
    ({"channels": 3}, {"channels"}),
    ({"startedAt": "yesterday"}, {"startedAt"}),
    ({"startedAt": "2025-01-31T09:30:00"}, {"startedAt"}),
    ({"startedAt": "2025-01-31T09:30:00Z", "endedAt": "2025-01-31T09:29:00Z"}, {"endedAt"}),
    ({"startedAt": "0001-01-01T00:00:00+00:01"}, {"startedAt"}),
    ({"endedAt": "9999-12-31T23:59:59-23:59"}, {"endedAt"}),
    ({"from": "x" * 256}, {"from"}),
    ({"to": "a\0"}, {"to"}),
    ({"hangupCause": 128}, {"hangupCause"}),
    ({"hangupCause": 10**12}, {"hangupCause"}),
    ({"hangupCause": -1}, {"hangupCause"}),
    ({"metadata": {"a": "x" * 8192}}, {"metadata"}),
    ({"metadata": None}, {"metadata"}),
    ({"legalHold": "yes"}, {"legalHold"}),
    *(
        ({key: None}, {key})
        for key in ("state", "duration", "size", "sha256", "timeline", "verdict", "expiresAt", "path", "createdAt")
    ),
    ({"audioUrl": "x"}, {"audioUrl"}),
)


class RecordingTestCase(RestTestCase):
    profile: Profile

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.profile = await self.add_profile()


class CreationTests(RecordingTestCase):
    async def create(self, **fields: Any) -> ClientResponse:
        return await self.request("PUT", "/recordings", json={"profileId": str(self.profile.id), **fields})

    async def test_defaults(self) -> None:
        response = await self.create()
        recording = response.json
        self.assertEqual(response.status, 201, response.body)
        self.assertEqual(response.headers["location"], f"{PUBLIC_URL}/recordings/{recording['id']}")
        self.assertEqual((recording["state"], recording["format"], recording["audioUrl"]), ("pending", "wav", None))
        self.assertNotIn("path", recording)

    async def test_every_field(self) -> None:
        recording_id = str(uuid4())
        response = await self.create(id=recording_id, **FULL)
        self.assertEqual(response.status, 201, response.body)
        retrieved = await self.request("GET", f"/recordings/{recording_id}")
        self.assertEqual((retrieved.body, retrieved.etag), (response.body, response.etag))
        self.assertEqual({key: retrieved.json[key] for key in FULL}, {**FULL, "endedAt": "2025-01-31T09:31:00.500000Z"})

    async def test_invalid_fields(self) -> None:
        of_profile = f"/profiles/{self.profile.id}/recordings"
        for body, error_fields in INVALID:
            with subtest(body):
                for response in (await self.create(**body), await self.request("PUT", of_profile, json=body)):
                    self.assertEqual((response.status, set(response.error_fields)), (422, error_fields), response.body)
        self.assertEqual(await self.recordings.page(), [])

    async def test_all_invalid_fields_are_reported_at_once(self) -> None:
        body = {
            "id": UUID1,
            "format": "xyz",
            "hangupCause": -1,
            "state": "completed",
            "startedAt": "2025-01-31T09:30:00",
        }
        response = await self.create(profileId=str(uuid4()), **body)
        self.assertEqual(set(response.error_fields), {"profileId", *body})

    async def test_end_at_or_before_the_beginning(self) -> None:
        started_at = "2025-01-31T09:30:00Z"
        self.assertEqual((await self.create(startedAt=started_at, endedAt=started_at)).status, 201)
        refused = await self.create(startedAt=started_at, endedAt="2025-01-31T09:29:59Z", hangupCause=128)
        codes = {error["field"]: (error["code"], error["params"]) for error in refused.json["errors"]}
        self.assertEqual(codes["endedAt"], ("earlier-than", {"other": "startedAt"}))
        self.assertEqual(codes.keys(), {"endedAt", "hangupCause"})

    async def test_profile_is_required_and_must_exist(self) -> None:
        missing = await self.request("PUT", "/recordings", json={})
        self.assertEqual((missing.status, missing.error_fields), (422, ["profileId"]))
        unknown = await self.create(profileId=str(uuid4()))
        self.assertEqual((unknown.status, unknown.error_fields), (422, ["profileId"]))

    async def test_expiry_follows_from_the_profile_and_the_time_of_the_call(self) -> None:
        kept = await self.add_profile()
        profile = await self.add_profile(retention_days=30)
        month = timedelta(days=30)
        for path in ("/recordings", f"/profiles/{profile.id}/recordings"):
            for age in (None, timedelta(days=29), timedelta(days=-5)):
                with subtest((path, age)):
                    body = {} if "profiles" in path else {"profileId": str(profile.id)}
                    if age is not None:
                        body["startedAt"] = (datetime.now(UTC) - age).isoformat()
                    created = await self.request("PUT", path, json=body)
                    self.assertEqual(created.status, 201, created.json)
                    stored = (await self.request("GET", created.headers["location"].removeprefix(PUBLIC_URL))).json
                    # a time in the future does not extend the period
                    began = min(
                        datetime.fromisoformat(stored[key] or stored["createdAt"]) for key in ("startedAt", "createdAt")
                    )
                    self.assertEqual(datetime.fromisoformat(stored["expiresAt"]), began + month)
        unlimited = await self.request("PUT", "/recordings", json={"profileId": str(kept.id)})
        self.assertIsNone(unlimited.json["expiresAt"])

    async def test_expired_import_is_refused_unless_it_has_a_legal_hold(self) -> None:
        profile = await self.add_profile(retention_days=30)
        began = datetime.now(UTC) - timedelta(days=30)
        expired = {"profileId": str(profile.id), "startedAt": began.isoformat()}
        refused = await self.request("PUT", "/recordings", json=expired)
        self.assertEqual((refused.status, refused.error_fields), (422, ["startedAt"]))
        held = await self.request("PUT", "/recordings", json={**expired, "legalHold": True})
        self.assertEqual(held.status, 201)
        self.assertEqual(datetime.fromisoformat(held.json["expiresAt"]), began + timedelta(days=30))

    async def test_duplicate_id_conflicts(self) -> None:
        existing = await self.add_recording()
        response = await self.create(id=str(existing.id))
        self.assertEqual((response.status, response.error_fields), (409, ["id"]))

    async def test_creation_at_the_path_of_a_profile(self) -> None:
        await self.add_recording()
        older = await self.add_recording(profile_id=self.profile.id)
        path = f"/profiles/{self.profile.id}/recordings"
        response = await self.request("PUT", path, json={"to": "+4940"})
        self.assertEqual(response.status, 201, response.body)
        new, old = response.json
        self.assertEqual((new["to"], old["id"]), ("+4940", str(older.id)))
        self.assertEqual(response.headers["location"], f"{PUBLIC_URL}/recordings/{new['id']}")
        self.assertEqual((await self.request("GET", path)).json, response.json)
        same = await self.request("PUT", path, json={"profileId": str(self.profile.id)})
        self.assertEqual(same.status, 201)
        other = await self.request("PUT", path, json={"profileId": str((await self.add_profile()).id)})
        self.assertEqual((other.status, other.error_fields), (422, ["profileId"]))
        unknown_profile = await self.request("PUT", f"/profiles/{uuid4()}/recordings", json={})
        self.assertEqual(unknown_profile.status, 404)


class UpdateTests(RecordingTestCase):
    async def test_metadata_and_legal_hold(self) -> None:
        recording = await self.add_recording(profile_id=self.profile.id)
        changes: tuple[dict[str, Any], ...] = (
            {"metadata": {"a": 1}},
            {"legalHold": True},
            {"metadata": {}},
            {"legalHold": False},
            {},
        )
        for path in (f"/recordings/{recording.id}", f"/profiles/{self.profile.id}/recordings/{recording.id}"):
            for change in changes:
                with subtest((path, change)):
                    before = await self.request("GET", path)
                    response = await self.request("POST", path, json=change, headers={"If-Match": before.etag})
                    self.assertEqual(response.status, 200, response.body)
                    after = {**response.json, "updatedAt": before.json["updatedAt"]}
                    self.assertEqual(after, {**before.json, **change})
                    stale = await self.request("POST", path, json={"metadata": {"b": 1}}, headers={"If-Match": '"x"'})
                    self.assertEqual(stale.status, 412)

    async def test_read_only_fields(self) -> None:
        recording = await self.add_recording(state=RecordingState.RECORDING)
        path = f"/recordings/{recording.id}"
        representation = (await self.request("GET", path)).json
        self.assertEqual((await self.request("POST", path, json=representation)).status, 200)
        for key in representation.keys() - {"metadata", "legalHold"}:
            with subtest(key):
                response = await self.request("POST", path, json={key: "completed"})
                self.assertEqual((response.status, response.error_fields), (422, [key]))
        response = await self.request("POST", path, json={"metadata": {"a": "x" * 8192}, "legalHold": 1, "path": "a"})
        self.assertEqual(set(response.error_fields), {"metadata", "legalHold", "path"})

    async def test_live_recording_is_paused_and_resumed(self) -> None:
        recording = await self.add_recording(state=RecordingState.RECORDING)
        self.call_control.recorded[recording.id] = recording
        path = f"/recordings/{recording.id}"
        for state in ("paused", "recording"):
            response = await self.request("POST", path, json={"state": state, "metadata": {"now": state}})
            self.assertEqual(
                (response.status, response.json["state"], response.json["metadata"]), (200, state, {"now": state})
            )
            self.assertEqual(response.etag, (await self.request("GET", path)).etag)

    async def test_recording_that_is_not_live_here_cannot_be_paused(self) -> None:
        elsewhere = await self.add_recording(state=RecordingState.RECORDING)
        finished = await self.add_recording(state=RecordingState.COMPLETED)
        for recording in (elsewhere, finished):
            response = await self.request("POST", f"/recordings/{recording.id}", json={"state": "paused"})
            self.assertEqual(response.status, 409)
            self.assertEqual((await self.recordings.get(recording.id)).state, recording.state)

    async def test_path_of_another_profile_is_not_found(self) -> None:
        recording = await self.add_recording(profile_id=self.profile.id)
        other = await self.add_profile()
        path = f"/profiles/{other.id}/recordings/{recording.id}"
        for method in ("GET", "POST", "DELETE"):
            with subtest(method):
                self.assertEqual((await self.request(method, path, json={})).status, 404)
        self.assertEqual(await self.recordings.get(recording.id), recording)

    async def test_if_none_match(self) -> None:
        recording = await self.add_recording()
        etag = (await self.request("GET", f"/recordings/{recording.id}")).etag
        response = await self.request("GET", f"/recordings/{recording.id}", headers={"If-None-Match": etag})
        self.assertEqual((response.status, response.body), (304, b""))


class DeletionTests(RecordingTestCase):
    async def test_deletion_creates_a_job_to_erase_the_files(self) -> None:
        recording = await self.add_audio(b"RIFF")
        self.assertEqual((await self.request("DELETE", f"/recordings/{recording.id}")).status, 204)
        (job,) = await Jobs(self.pool).page()
        self.assertEqual((job.kind, job.recording_id, job.path), (JobKind.ERASE, recording.id, recording.path))
        self.assertEqual((await self.request("DELETE", f"/recordings/{recording.id}")).status, 404)

    async def test_reason_of_a_deletion_is_in_the_audit_log(self) -> None:
        for query, reason in (("", None), ("?reason=request%204711", "request 4711")):
            with subtest(query):
                recording = await self.add_recording(from_="+49301")
                self.assertEqual((await self.request("DELETE", f"/recordings/{recording.id}{query}")).status, 204)
                (entry,) = (await self.request("GET", f"/audit?targetId={recording.id}")).json
                self.assertEqual((entry["who"], entry["outcome"], entry["reason"]), ("the admin token", "done", reason))
                self.assertEqual((entry["method"], entry["path"]), ("DELETE", f"/recordings/{recording.id}"))

    async def test_live_or_held_recordings_cannot_be_deleted(self) -> None:
        for fields in (
            {"state": RecordingState.RECORDING},
            {"state": RecordingState.PAUSED},
            {"legal_hold": True},
        ):
            with subtest(fields):
                recording = await self.add_audio(b"RIFF", **fields)
                response = await self.request("DELETE", f"/recordings/{recording.id}")
                self.assertEqual((response.status, response.json["code"]), (409, "conflict"))
                self.assertEqual((await self.request("GET", f"/recordings/{recording.id}/audio")).body, b"RIFF")

    async def test_if_match(self) -> None:
        recording = await self.add_recording()
        path = f"/recordings/{recording.id}"
        etag = (await self.request("GET", path)).etag
        self.assertEqual((await self.request("DELETE", path, headers={"If-Match": '"x"'})).status, 412)
        self.assertEqual((await self.request("DELETE", path, headers={"If-Match": etag})).status, 204)


class FilterTests(RecordingTestCase):
    async def test_each_filter(self) -> None:
        expected = await self.add_recording(
            profile_id=self.profile.id,
            state=RecordingState.FAILED,
            from_="+4930",
            to="+4940",
            metadata={"customer": "42", "tags": ["a", "b"]},
        )
        await self.add_recording(created_at=CREATED_AT.replace(year=2025), metadata={"customer": "43"})
        queries = (
            "state=failed",
            "state=failed,absent",
            "from=%2B4930",
            "to=%2B4940",
            "since=2026-01-31T09:30:00Z",
            "since=2026-01-31T10:30:00%2B01:00&until=2026-01-31T09:30:00.000001Z",
            'q={"customer":"42"}',
            'q={"tags":["b"]}&state=failed',
        )
        for query in queries:
            for path in ("/recordings", f"/profiles/{self.profile.id}/recordings"):
                with subtest((path, query)):
                    response = await self.request("GET", f"{path}?{quote(query, safe='=&,:%')}")
                    self.assertEqual(response.status, 200, response.body)
                    self.assertEqual([UUID(item["id"]) for item in response.json], [expected.id])

    async def test_list_of_a_profile_has_only_its_recordings(self) -> None:
        await self.add_recording()
        self.assertEqual((await self.request("GET", f"/profiles/{self.profile.id}/recordings")).json, [])
