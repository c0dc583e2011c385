"""Recordings over REST: imported, shown, held, removed, alone and below their Profile."""

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

# what is given, and the fields that the answer must name
WRONG: Final[tuple[tuple[dict[str, Any], set[str]], ...]] = (
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
    async def create(self, **given: Any) -> ClientResponse:
        return await self.request("PUT", "/recordings", json={"profileId": str(self.profile.id), **given})

    async def test_little(self) -> None:
        response = await self.create()
        made = response.json
        self.assertEqual(response.status, 201, response.body)
        self.assertEqual(response.headers["location"], f"{PUBLIC_URL}/recordings/{made['id']}")
        self.assertEqual((made["state"], made["format"], made["audioUrl"]), ("pending", "wav", None))
        self.assertNotIn("path", made)

    async def test_every_field(self) -> None:
        chosen = str(uuid4())
        response = await self.create(id=chosen, **FULL)
        self.assertEqual(response.status, 201, response.body)
        shown = await self.request("GET", f"/recordings/{chosen}")
        self.assertEqual((shown.body, shown.etag), (response.body, response.etag))
        self.assertEqual({key: shown.json[key] for key in FULL}, {**FULL, "endedAt": "2025-01-31T09:31:00.500000Z"})

    async def test_what_is_wrong(self) -> None:
        below = f"/profiles/{self.profile.id}/recordings"
        for given, fields in WRONG:
            with subtest(given):
                for response in (await self.create(**given), await self.request("PUT", below, json=given)):
                    self.assertEqual((response.status, set(response.error_fields)), (422, fields), response.body)
        self.assertEqual(await self.recordings.page(), [])

    async def test_all_that_is_wrong_at_once(self) -> None:
        given = {
            "id": UUID1,
            "format": "xyz",
            "hangupCause": -1,
            "state": "completed",
            "startedAt": "2025-01-31T09:30:00",
        }
        response = await self.create(profileId=str(uuid4()), **given)
        self.assertEqual(set(response.error_fields), {"profileId", *given})

    async def test_the_profile_is_needed_and_must_exist(self) -> None:
        missing = await self.request("PUT", "/recordings", json={})
        self.assertEqual((missing.status, missing.error_fields), (422, ["profileId"]))
        unknown = await self.create(profileId=str(uuid4()))
        self.assertEqual((unknown.status, unknown.error_fields), (422, ["profileId"]))

    async def test_an_id_that_is_taken(self) -> None:
        taken = await self.add_recording()
        response = await self.create(id=str(taken.id))
        self.assertEqual((response.status, response.error_fields), (409, ["id"]))

    async def test_below_a_profile(self) -> None:
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
        nobody = await self.request("PUT", f"/profiles/{uuid4()}/recordings", json={})
        self.assertEqual(nobody.status, 404)


class ChangeTests(RecordingTestCase):
    async def test_metadata_and_hold(self) -> None:
        made = await self.add_recording(profile_id=self.profile.id)
        changes: tuple[dict[str, Any], ...] = (
            {"metadata": {"a": 1}},
            {"legalHold": True},
            {"metadata": {}},
            {"legalHold": False},
            {},
        )
        for path in (f"/recordings/{made.id}", f"/profiles/{self.profile.id}/recordings/{made.id}"):
            for given in changes:
                with subtest((path, given)):
                    before = await self.request("GET", path)
                    response = await self.request("POST", path, json=given, headers={"If-Match": before.etag})
                    self.assertEqual(response.status, 200, response.body)
                    after = {**response.json, "updatedAt": before.json["updatedAt"]}
                    self.assertEqual(after, {**before.json, **given})
                    lost = await self.request("POST", path, json={"metadata": {"b": 1}}, headers={"If-Match": '"x"'})
                    self.assertEqual(lost.status, 412)

    async def test_the_rest_is_not_for_clients(self) -> None:
        made = await self.add_recording(state=RecordingState.RECORDING)
        path = f"/recordings/{made.id}"
        shown = (await self.request("GET", path)).json
        self.assertEqual((await self.request("POST", path, json=shown)).status, 200)
        for key in shown.keys() - {"metadata", "legalHold"}:
            with subtest(key):
                response = await self.request("POST", path, json={key: "completed"})
                self.assertEqual((response.status, response.error_fields), (422, [key]))
        response = await self.request("POST", path, json={"metadata": {"a": "x" * 8192}, "legalHold": 1, "path": "a"})
        self.assertEqual(set(response.error_fields), {"metadata", "legalHold", "path"})

    async def test_a_live_one_is_paused_and_resumed(self) -> None:
        made = await self.add_recording(state=RecordingState.RECORDING)
        self.call_control.recorded[made.id] = made
        path = f"/recordings/{made.id}"
        for state in ("paused", "recording"):
            response = await self.request("POST", path, json={"state": state, "metadata": {"now": state}})
            self.assertEqual(
                (response.status, response.json["state"], response.json["metadata"]), (200, state, {"now": state})
            )
            self.assertEqual(response.etag, (await self.request("GET", path)).etag)

    async def test_one_that_cannot_be_paused_stays_as_it_is(self) -> None:
        elsewhere = await self.add_recording(state=RecordingState.RECORDING)
        finished = await self.add_recording(state=RecordingState.COMPLETED)
        for recording in (elsewhere, finished):
            response = await self.request("POST", f"/recordings/{recording.id}", json={"state": "paused"})
            self.assertEqual(response.status, 409)
            self.assertEqual((await self.recordings.get(recording.id)).state, recording.state)

    async def test_below_another_profile(self) -> None:
        made = await self.add_recording(profile_id=self.profile.id)
        other = await self.add_profile()
        path = f"/profiles/{other.id}/recordings/{made.id}"
        for method in ("GET", "POST", "DELETE"):
            with subtest(method):
                self.assertEqual((await self.request(method, path, json={})).status, 404)
        self.assertEqual(await self.recordings.get(made.id), made)

    async def test_if_none_match(self) -> None:
        made = await self.add_recording()
        etag = (await self.request("GET", f"/recordings/{made.id}")).etag
        response = await self.request("GET", f"/recordings/{made.id}", headers={"If-None-Match": etag})
        self.assertEqual((response.status, response.body), (304, b""))


class DeletionTests(RecordingTestCase):
    async def test_the_row_goes_and_the_files_are_owed(self) -> None:
        made = await self.add_audio(b"RIFF")
        self.assertEqual((await self.request("DELETE", f"/recordings/{made.id}")).status, 204)
        (job,) = await Jobs(self.pool).page()
        self.assertEqual((job.kind, job.recording_id, job.path), (JobKind.ERASE, made.id, made.path))
        self.assertEqual((await self.request("DELETE", f"/recordings/{made.id}")).status, 404)

    async def test_refused(self) -> None:
        for fields in (
            {"state": RecordingState.RECORDING},
            {"state": RecordingState.PAUSED},
            {"legal_hold": True},
        ):
            with subtest(fields):
                made = await self.add_audio(b"RIFF", **fields)
                response = await self.request("DELETE", f"/recordings/{made.id}")
                self.assertEqual((response.status, response.json["code"]), (409, "conflict"))
                self.assertEqual((await self.request("GET", f"/recordings/{made.id}/audio")).body, b"RIFF")

    async def test_if_match(self) -> None:
        made = await self.add_recording()
        path = f"/recordings/{made.id}"
        etag = (await self.request("GET", path)).etag
        self.assertEqual((await self.request("DELETE", path, headers={"If-Match": '"x"'})).status, 412)
        self.assertEqual((await self.request("DELETE", path, headers={"If-Match": etag})).status, 204)


class FilterTests(RecordingTestCase):
    async def test_each(self) -> None:
        wanted = await self.add_recording(
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
                    self.assertEqual([UUID(one["id"]) for one in response.json], [wanted.id])

    async def test_of_one_profile_only(self) -> None:
        await self.add_recording()
        self.assertEqual((await self.request("GET", f"/profiles/{self.profile.id}/recordings")).json, [])
