"""/calls: what is shown of live calls, to whom, and how one is hung up."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

from tests.api.rest_test_case import CREATED_AT, RestTestCase
from voxrec.model import Call, CallState, RecordingState


def call(**fields: Any) -> Call:
    given: dict[str, Any] = {
        "id": uuid4(),
        "profile_id": uuid4(),
        "state": CallState.TALKING,
        "age": 12.5,
        "from_": "+4930111",
        "from_name": "Alice",
        "to": "+4930222",
        "remote_sip_uri": "sip:desk@host.example",
        "started_at": CREATED_AT,
        "answered_at": CREATED_AT + timedelta(seconds=2),
    }
    return Call(**{**given, **fields})


class CallsTests(RestTestCase):
    async def test_one(self) -> None:
        one = call(recording_id=uuid4(), recording_state=RecordingState.RECORDING)
        self.call_control.calls = [one]
        response = await self.request("GET", f"/calls/{one.id}", token="read")
        self.assertEqual(response.status, 200)
        self.assertEqual(
            response.json,
            {
                "id": str(one.id),
                "profileId": str(one.profile_id),
                "state": "talking",
                "age": 12.5,
                "from": "+4930111",
                "fromName": "Alice",
                "to": "+4930222",
                "remoteSipUri": "sip:desk@host.example",
                "startedAt": "2026-01-31T09:30:00Z",
                "answeredAt": "2026-01-31T09:30:02Z",
                "endedAt": None,
                "hangupCause": None,
                "hangupBy": None,
                "recordingId": str(one.recording_id),
                "recordingState": "recording",
            },
        )

    async def test_a_call_that_is_not_there(self) -> None:
        for method in ("GET", "DELETE"):
            response = await self.request(method, f"/calls/{uuid4()}")
            self.assertEqual((response.status, response.json["code"]), (404, "not-found"))

    async def test_newest_first_and_in_pages(self) -> None:
        calls = [call(started_at=CREATED_AT - timedelta(seconds=n)) for n in range(5)]
        self.call_control.calls = [calls[2], *calls[3:], *calls[:2]]
        response = await self.request("GET", "/calls")
        self.assertEqual([one["id"] for one in response.json], [str(one.id) for one in calls])
        found, path = [], "/calls?limit=2"
        while path:
            response = await self.request("GET", path)
            found.append([one["id"] for one in response.json])
            path = response.headers.get("link", "").partition(";")[0].strip("<>").removeprefix("https://rec.example")
        ids = [str(one.id) for one in calls]
        self.assertEqual(found, [ids[:2], ids[2:4], ids[4:]])

    async def test_none(self) -> None:
        self.assertEqual((await self.request("GET", "/calls")).json, [])

    async def test_filters(self) -> None:
        ringing, talking = call(state=CallState.RINGING), call()
        self.call_control.calls = [ringing, talking]
        for query, wanted in (
            ("state=ringing", [ringing]),
            ("state=ringing,talking", [ringing, talking]),
            ("state=clearing", []),
            (f"profileId={talking.profile_id}", [talking]),
            (f"profileId={talking.profile_id}&state=ringing", []),
        ):
            response = await self.request("GET", f"/calls?{query}")
            self.assertEqual({one["id"] for one in response.json}, {str(one.id) for one in wanted}, query)
        response = await self.request("GET", "/calls?state=busy&profileId=x&y=z")
        self.assertEqual((response.status, response.error_fields), (422, ["state", "profileId", "y"]))

    async def test_hanging_up(self) -> None:
        one = call()
        self.call_control.calls = [one]
        response = await self.request("DELETE", f"/calls/{one.id}", token="read")
        self.assertEqual((response.status, self.call_control.released), (403, []))
        response = await self.request("DELETE", f"/calls/{one.id}", token="provision")
        self.assertEqual((response.status, response.body, self.call_control.released), (204, b"", [one.id]))

    async def test_a_limited_token_sees_its_own(self) -> None:
        mine, other = call(profile_id=(await self.add_profile()).id), call()
        self.call_control.calls = [mine, other]
        made = {"name": "mine", "role": "provision", "profileIds": [str(mine.profile_id)]}
        response = await self.request("PUT", "/tokens", json=made)
        self.assertEqual(response.status, 201, response.body)
        token = response.json["token"]
        response = await self.request("GET", "/calls", token=token)
        self.assertEqual([one["id"] for one in response.json], [str(mine.id)])
        for method in ("GET", "DELETE"):
            response = await self.request(method, f"/calls/{other.id}", token=token)
            self.assertEqual(response.status, 404)
        response = await self.request("DELETE", f"/calls/{mine.id}", token=token)
        self.assertEqual((response.status, self.call_control.released), (204, [mine.id]))
