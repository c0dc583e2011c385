"""Tokens limited to some Profiles: what they give access to, on every route."""

from typing import Any
from uuid import uuid4

from tests.api.rest_test_case import CREATED_AT, ClientResponse, RestTestCase
from tests.subtest import subtest
from voxrec.model import RecordingState, Role, Token
from voxrec.store.tokens import generate_secret


class ScopedTokenTests(RestTestCase):
    """A token that is limited to one Profile, used for every route."""

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.own = await self.add_profile(name="own")
        self.other = await self.add_profile(name="other", numbers=("+4930",))
        self.own_recording = await self.add_audio(b"RIFF", profile_id=self.own.id)
        self.other_recording = await self.add_audio(b"RIFF", profile_id=self.other.id)
        self.pending = await self.add_recording(profile_id=self.own.id, state=RecordingState.PENDING)
        token = Token(
            id=uuid4(), name="limited", role=Role.PROVISION, profile_ids=(self.own.id,), created_at=CREATED_AT
        )
        self.secret = generate_secret()
        await self.tokens.create(token, self.secret)

    async def request_scoped(self, method: str, path: str, **options: Any) -> ClientResponse:
        return await self.request(method, path, token=self.secret, **options)

    async def test_lists_have_only_its_profiles_and_their_recordings(self) -> None:
        for query in ("", "?limit=10"):
            profiles = await self.request_scoped("GET", f"/profiles{query}")
            self.assertEqual([profile["id"] for profile in profiles.json], [str(self.own.id)])
            recordings = await self.request_scoped("GET", f"/recordings{query}")
            self.assertEqual({recording["profileId"] for recording in recordings.json}, {str(self.own.id)})
            self.assertEqual(len(recordings.json), 2)
        self.assertEqual((await self.request_scoped("GET", "/profiles?number=%2B4930")).json, [])

    async def test_resources_of_other_profiles_are_not_found(self) -> None:
        rows: tuple[tuple[str, str, Any, int], ...] = (
            ("GET", "/profiles/{p}", None, 200),
            ("POST", "/profiles/{p}", {"record": True}, 200),
            ("GET", "/profiles/{p}/recordings", None, 200),
            ("PUT", "/profiles/{p}/recordings", {}, 201),
            ("GET", "/profiles/{p}/recordings/{r}", None, 200),
            ("POST", "/profiles/{p}/recordings/{r}", {"metadata": {"a": 1}}, 200),
            ("GET", "/recordings/{r}", None, 200),
            ("POST", "/recordings/{r}", {"metadata": {"a": 2}}, 200),
            ("GET", "/recordings/{r}/audio", None, 200),
            ("DELETE", "/profiles/{p}/recordings/{r}", None, 204),
            ("DELETE", "/profiles/{p}", None, 204),
        )
        for method, path, body, status in rows:
            options = {} if body is None else {"json": body}
            with subtest((method, path)):
                other = await self.request_scoped(
                    method, path.format(p=self.other.id, r=self.other_recording.id), **options
                )
                self.assertEqual((other.status, other.json["code"]), (404, "not-found"), other.body)
                self.assertEqual(other.error_fields, [])
                own = await self.request_scoped(method, path.format(p=self.own.id, r=self.own_recording.id), **options)
                self.assertEqual(own.status, status, own.body)
        other = await self.request_scoped("DELETE", f"/recordings/{self.other_recording.id}")
        self.assertEqual(other.status, 404)
        self.assertEqual((await self.request_scoped("DELETE", f"/recordings/{self.pending.id}")).status, 204)
        self.assertEqual(await self.profiles.get(self.other.id), self.other)
        self.assertEqual(await self.recordings.get(self.other_recording.id), self.other_recording)

    async def test_cursors_of_another_token_or_list_give_no_access(self) -> None:
        """A cursor is only a position; what a page contains follows from the token and the list."""
        for _ in range(3):
            await self.add_recording(profile_id=self.other.id)
        for path in ("/recordings?limit=1", "/recordings?limit=1&sort=longest", "/profiles?limit=1"):
            link = (await self.request("GET", path)).headers["link"]
            cursor = link.partition("cursor=")[2].partition(">")[0]
            for other_path in (
                "/recordings?limit=10",
                "/recordings?limit=10&sort=longest",
                "/profiles?limit=10",
                "/audit?",
            ):
                with subtest((path, other_path)):
                    response = await self.request_scoped("GET", f"{other_path}&cursor={cursor}")
                    self.assertIn(response.status, (200, 403, 422), response.body)
                    if response.status == 200:
                        owners = {item.get("profileId", item["id"]) for item in response.json}
                        self.assertLessEqual(owners, {str(self.own.id)})

    async def test_recordings_can_be_created_for_its_profiles_only(self) -> None:
        other = await self.request_scoped("PUT", "/recordings", json={"profileId": str(self.other.id)})
        self.assertEqual((other.status, other.error_fields), (422, ["profileId"]))
        own = await self.request_scoped("PUT", "/recordings", json={"profileId": str(self.own.id)})
        self.assertEqual(own.status, 201, own.body)

    async def test_profiles_cannot_be_created(self) -> None:
        for body in ({}, {"id": str(self.own.id)}):
            response = await self.request_scoped("PUT", "/profiles", json=body)
            self.assertEqual((response.status, response.json["code"]), (403, "not-allowed"))
            self.assertIn("limited to some profiles", response.json["detail"])

    async def test_a_bucket_cannot_be_chosen(self) -> None:
        """It could be that of other Profiles."""
        body = {"archiveBucket": "records-of-others", "archivePrefix": "x/"}
        response = await self.request_scoped("POST", f"/profiles/{self.own.id}", json=body)
        self.assertEqual((response.status, response.error_fields), (422, ["archiveBucket", "archivePrefix"]))
        body_without = {"archiveBucket": None, "archivePrefix": None}
        response = await self.request_scoped("POST", f"/profiles/{self.own.id}", json=body_without)
        self.assertEqual(response.status, 200, response.body)
        self.assertEqual((await self.request("POST", f"/profiles/{self.own.id}", json=body)).status, 200)

    async def test_routes_that_do_not_support_scopes_are_forbidden(self) -> None:
        """This is the default for new routes."""
        unscoped = [route for route in self.app.routes if route.role is not None and not route.profile_scoped]
        self.assertLessEqual({"/tokens", "/audit"}, {route.path for route in unscoped})
        await self.pool.execute("UPDATE tokens SET role = 'admin'")
        for route in unscoped:
            with subtest((route.method, route.path)):
                path = route.path.replace("<id>", str(self.own.id)).replace("<profileId>", str(self.own.id))
                response = await self.request_scoped(route.method, path)
                self.assertEqual((response.status, response.json["code"]), (403, "not-allowed"), response.body)
