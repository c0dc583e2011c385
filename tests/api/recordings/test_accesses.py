"""The history of accesses: who has played or downloaded a Recording, once for each hearing."""

from datetime import timedelta
from typing import Any
from uuid import uuid4

from tests.api.rest_test_case import CREATED_AT, PUBLIC_URL, ClientResponse, RestTestCase
from tests.subtest import subtest
from voxrec.api.recordings import accesses
from voxrec.model import AccessPurpose, Recording, RecordingState, Role, Token
from voxrec.store.accesses import Accesses
from voxrec.store.tokens import generate_secret
from voxrec.web.auth import Principal
from voxrec.web.request import Request

CONTENT = b"0123456789"


class AccessTests(RestTestCase):
    recording: Recording

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.recording = await self.add_audio(CONTENT)

    async def audio(self, query: str = "", method: str = "GET", token: str = "read", **headers: str) -> ClientResponse:
        names = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.request(method, f"/recordings/{self.recording.id}/audio{query}", token=token, headers=names)

    async def accesses(self) -> list[dict[str, Any]]:
        response = await self.request("GET", f"/recordings/{self.recording.id}/accesses", token="provision")
        self.assertEqual(response.status, 200, response.body)
        found: list[dict[str, Any]] = response.json
        return found

    async def purposes(self) -> list[str]:
        return [access["purpose"] for access in reversed(await self.accesses())]

    async def test_an_access(self) -> None:
        self.assertEqual(await self.accesses(), [])
        response = await self.audio("?purpose=play", User_Agent="Browser\t1.0")
        self.assertEqual((response.status, response.body), (200, CONTENT))
        (access,) = await self.accesses()
        self.assertEqual(
            {name: access[name] for name in ("purpose", "who", "userId", "tokenId", "linkId", "address", "userAgent")},
            {
                "purpose": "play",
                "who": "the read token",
                "userId": None,
                "tokenId": None,
                "linkId": None,
                "address": "127.0.0.1",
                "userAgent": "Browser 1.0",
            },
        )
        (entry,) = (await self.request("GET", f"/audit?targetId={self.recording.id}")).json
        self.assertEqual(
            {name: entry[name] for name in ("id", "who", "method", "path", "kind", "outcome", "status", "access")},
            {
                "id": access["id"],
                "who": "the read token",
                "method": "GET",
                "path": f"/recordings/{self.recording.id}/audio",
                "kind": "recording audio",
                "outcome": "done",
                "status": 200,
                "access": "play",
            },
        )

    async def test_a_hearing_is_one_access_however_many_requests_it_takes(self) -> None:
        query = f"?purpose=play&hearing={uuid4()}"
        for part in ("bytes=0-", "bytes=5-", "bytes=2-3"):
            self.assertEqual((await self.audio(query, Range=part)).status, 206)
        await self.audio(query)
        self.assertEqual(await self.purposes(), ["play"])
        await self.audio(f"?purpose=play&hearing={uuid4()}", Range="bytes=0-")
        self.assertEqual(await self.purposes(), ["play", "play"])

    async def test_another_node_adds_nothing_to_a_hearing(self) -> None:
        query = f"?purpose=play&hearing={uuid4()}"
        await self.audio(query, Range="bytes=0-")
        self.patch(accesses, "_MAX_RECENT", 0)  # nothing is remembered, as on a node that has not served it
        await self.audio(f"?purpose=play&hearing={uuid4()}", Range="bytes=0-")
        for _ in range(2):
            await self.audio(query, Range="bytes=5-")
        self.assertEqual(await self.purposes(), ["play", "play"])

    async def test_an_id_does_not_hide_the_hearing_of_another_client(self) -> None:
        query = f"?purpose=play&hearing={uuid4()}"
        await self.audio(query)
        await self.audio(query, token="supervise")
        await self.audio(query, User_Agent="another browser")
        await self.audio(query.replace("play", "download"))
        self.assertEqual(len(await self.accesses()), 4)

    async def test_an_id_does_not_hide_a_hearing_on_another_day(self) -> None:
        now = [CREATED_AT]
        log = accesses.AccessLog(Accesses(self.pool), lambda: now[0])
        request = self.audio_request(uuid4())
        for hours in (0, 1, 24):
            now[0] = CREATED_AT + timedelta(hours=hours)
            await log.record(request, self.recording, 206)
        self.assertEqual(len(await self.accesses()), 2)

    def audio_request(self, hearing: object) -> Request:
        return Request(
            method="GET",
            path=f"/recordings/{self.recording.id}/audio",
            ids={"id": self.recording.id},
            headers={"range": "bytes=0-"},
            raw_query=b"",
            raw_body=b"",
            principal=Principal("anna", Role.READ),
            query={"purpose": AccessPurpose.PLAY, "hearing": hearing},
        )

    async def test_downloads_are_counted_each_and_their_parts_together(self) -> None:
        for _ in range(2):
            await self.audio()
        self.assertEqual(await self.purposes(), ["download", "download"])
        for part in ("bytes=0-4", "bytes=5-9"):
            await self.audio(Range=part)
        self.assertEqual(len(await self.accesses()), 3)

    async def test_what_a_browser_has_in_its_cache_is_heard_too(self) -> None:
        etag = (await self.audio(method="HEAD")).etag
        self.assertEqual(await self.accesses(), [])
        self.assertEqual((await self.audio(If_None_Match=etag)).status, 304)
        self.assertEqual(await self.purposes(), ["download"])

    async def test_what_is_refused_is_no_access(self) -> None:
        pending = await self.add_recording(state=RecordingState.PENDING)
        self.assertEqual((await self.request("GET", f"/recordings/{pending.id}/audio")).status, 409)
        self.assertEqual((await self.audio(Range="bytes=50-")).status, 416)
        self.assertEqual((await self.audio(If_Match='"other"')).status, 412)
        self.assertEqual((await self.audio(token="nobody")).status, 401)
        self.assertEqual((await self.audio("?purpose=link")).error_fields, ["purpose"])
        self.assertEqual((await self.audio("?hearing=mine")).error_fields, ["hearing"])
        self.assertEqual(await self.accesses(), [])
        self.assertEqual((await self.request("GET", f"/recordings/{pending.id}/accesses")).json, [])

    async def test_audio_is_not_sent_if_the_access_cannot_be_stored(self) -> None:
        await self.pool.execute("ALTER TABLE audit RENAME TO audit_gone")
        response = await self.audio()
        self.assertGreaterEqual(response.status, 500)
        self.assertNotIn(CONTENT, response.body)
        self.assertEqual(len(self.flushLoggedErrors()), 1)

    async def test_opened_links_are_accesses(self) -> None:
        link = (await self.request("POST", f"/recordings/{self.recording.id}/links", json={})).json
        path = link["url"].removeprefix(PUBLIC_URL)
        response = await self.request("POST", path, token="", allow_redirects=False)
        cookie = response.headers["set-cookie"].partition(";")[0]
        for _ in range(2):
            self.assertEqual(
                (await self.request("GET", f"{path}/audio", token="", headers={"Cookie": cookie})).status, 200
            )
        (access,) = await self.accesses()
        self.assertEqual((access["purpose"], access["who"], access["linkId"]), ("link", "link", link["id"]))
        await self.pool.execute("UPDATE audit SET access = NULL")  # as an earlier version has stored it
        (access,) = await self.accesses()
        self.assertEqual((access["purpose"], access["linkId"]), ("link", link["id"]))

    async def test_the_audit_log_keeps_accesses_of_deleted_recordings(self) -> None:
        await self.audio()
        await self.request("DELETE", f"/recordings/{self.recording.id}")
        self.assertEqual((await self.request("GET", f"/recordings/{self.recording.id}/accesses")).status, 404)
        entries = (await self.request("GET", f"/audit?targetId={self.recording.id}")).json
        self.assertEqual([entry["access"] for entry in entries], [None, "download"])

    async def test_pages(self) -> None:
        for _ in range(3):
            await self.audio()
        path, found = f"/recordings/{self.recording.id}/accesses?limit=2", []
        while path:
            page = await self.request("GET", path)
            found += page.json
            path = page.headers.get("link", "").partition(">")[0].removeprefix(f"<{PUBLIC_URL}")
        self.assertEqual(found, await self.accesses())
        self.assertEqual(len(found), 3)

    async def test_permissions(self) -> None:
        own = await self.add_audio(CONTENT, profile_id=(await self.add_profile()).id)
        secret, limited = generate_secret(), (own.profile_id,)
        await self.tokens.create(
            Token(id=uuid4(), name="limited", role=Role.PROVISION, profile_ids=limited, created_at=CREATED_AT), secret
        )
        for recording, name, status in (
            *((own, "read", 403), (own, "supervise", 403), (own, "provision", 200)),
            *((own, secret, 200), (self.recording, secret, 404)),
        ):
            with subtest(name):
                response = await self.request("GET", f"/recordings/{recording.id}/accesses", token=name)
                self.assertEqual(response.status, status)
