"""/calls: representation, filters, hang-up and access."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

from tests.api.rest_test_case import CREATED_AT, RestTestCase
from voxrec.errors import Conflict, Unavailable
from voxrec.model import Call, CallState, RecordingState


def make_call(**fields: Any) -> Call:
    defaults: dict[str, Any] = {
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
    return Call(**{**defaults, **fields})


class CallRouteTests(RestTestCase):
    async def test_representation(self) -> None:
        live_call = make_call(recording_id=uuid4(), recording_state=RecordingState.RECORDING, node="berlin")
        self.call_control.calls = [live_call]
        response = await self.request("GET", f"/calls/{live_call.id}", token="read")
        self.assertEqual(response.status, 200)
        self.assertEqual(
            response.json,
            {
                "id": str(live_call.id),
                "profileId": str(live_call.profile_id),
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
                "sipStatus": None,
                "recordingId": str(live_call.recording_id),
                "recordingState": "recording",
                "node": "berlin",
                "listeners": None,
            },
        )

    async def test_unknown_call_is_not_found(self) -> None:
        for method in ("GET", "DELETE"):
            response = await self.request(method, f"/calls/{uuid4()}")
            self.assertEqual((response.status, response.json["code"]), (404, "not-found"))

    async def test_list_is_newest_first_in_pages(self) -> None:
        calls = [make_call(started_at=CREATED_AT - timedelta(seconds=n)) for n in range(5)]
        self.call_control.calls = [calls[2], *calls[3:], *calls[:2]]
        response = await self.request("GET", "/calls")
        self.assertEqual([item["id"] for item in response.json], [str(each.id) for each in calls])
        pages, path = [], "/calls?limit=2"
        while path:
            response = await self.request("GET", path)
            pages.append([item["id"] for item in response.json])
            path = response.headers.get("link", "").partition(";")[0].strip("<>").removeprefix("https://rec.example")
        ids = [str(each.id) for each in calls]
        self.assertEqual(pages, [ids[:2], ids[2:4], ids[4:]])

    async def test_list_is_empty_without_calls(self) -> None:
        self.assertEqual((await self.request("GET", "/calls")).json, [])

    async def test_filters(self) -> None:
        ringing, talking = make_call(state=CallState.RINGING), make_call()
        self.call_control.calls = [ringing, talking]
        for query, expected in (
            ("state=ringing", [ringing]),
            ("state=ringing,talking", [ringing, talking]),
            ("state=clearing", []),
            (f"profileId={talking.profile_id}", [talking]),
            (f"profileId={talking.profile_id}&state=ringing", []),
        ):
            response = await self.request("GET", f"/calls?{query}")
            self.assertEqual({item["id"] for item in response.json}, {str(each.id) for each in expected}, query)
        response = await self.request("GET", "/calls?state=busy&profileId=x&y=z")
        self.assertEqual((response.status, response.error_fields), (422, ["state", "profileId", "y"]))

    async def test_delete_hangs_up_with_the_provision_role(self) -> None:
        live_call = make_call()
        self.call_control.calls = [live_call]
        response = await self.request("DELETE", f"/calls/{live_call.id}", token="read")
        self.assertEqual((response.status, self.call_control.released), (403, []))
        response = await self.request("DELETE", f"/calls/{live_call.id}", token="provision")
        self.assertEqual((response.status, response.body, self.call_control.released), (204, b"", [live_call.id]))

    async def test_scoped_token_has_access_to_calls_of_its_profiles_only(self) -> None:
        own, other = make_call(profile_id=(await self.add_profile()).id), make_call()
        self.call_control.calls = [own, other]
        body = {"name": "own", "role": "provision", "profileIds": [str(own.profile_id)]}
        response = await self.request("PUT", "/tokens", json=body)
        self.assertEqual(response.status, 201, response.body)
        token = response.json["token"]
        response = await self.request("GET", "/calls", token=token)
        self.assertEqual([item["id"] for item in response.json], [str(own.id)])
        for method in ("GET", "DELETE"):
            response = await self.request(method, f"/calls/{other.id}", token=token)
            self.assertEqual(response.status, 404)
        response = await self.request("DELETE", f"/calls/{own.id}", token=token)
        self.assertEqual((response.status, self.call_control.released), (204, [own.id]))


class CallRequestTests(RestTestCase):
    async def test_request(self) -> None:
        profile = await self.add_profile()
        response = await self.request(
            "POST", f"/profiles/{profile.id}/calls", token="provision", json={"from": "sip:person@a.example"}
        )
        self.assertEqual((response.status, response.json["state"]), (201, "calling"))
        self.assertEqual(response.headers["location"], f"https://rec.example/calls/{response.json['id']}")
        self.assertEqual(response.json["profileId"], str(profile.id))

    async def test_repeated_request(self) -> None:
        profile = await self.add_profile()
        responses = [
            await self.request(
                "POST",
                f"/profiles/{profile.id}/calls",
                json={"from": "sip:person@a.example"},
                headers={"Idempotency-Key": "one-call"},
            )
            for _ in range(2)
        ]
        self.assertEqual({response.json["id"] for response in responses}, {str(self.call_control.calls[0].id)})
        self.assertEqual(len(self.call_control.calls), 1)

    async def test_invalid_requests(self) -> None:
        profile = await self.add_profile()
        for body in (
            {},
            {"from": None},
            {"from": "person"},
            {"from": "sip:a@b.example?x=y"},
            {"from": "sip:a@b", "to": 1},
        ):
            response = await self.request("POST", f"/profiles/{profile.id}/calls", json=body)
            self.assertEqual(response.status, 422, body)
        self.assertEqual(self.call_control.calls, [])

    async def test_access(self) -> None:
        body = {"from": "sip:person@a.example"}
        profile = await self.add_profile()
        for profile_id, token, status in ((profile.id, "read", 403), (profile.id, "", 401), (uuid4(), "admin", 404)):
            response = await self.request("POST", f"/profiles/{profile_id}/calls", token=token, json=body)
            self.assertEqual(response.status, status)

    async def test_refusals(self) -> None:
        profile = await self.add_profile()
        for error in (Conflict("The maximum is reached."), Unavailable("The node is draining.")):
            self.call_control.refusal = error
            response = await self.request(
                "POST", f"/profiles/{profile.id}/calls", json={"from": "sip:person@a.example"}
            )
            self.assertEqual((response.status, response.json["code"]), (error.status, error.code))
