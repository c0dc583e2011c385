"""Tests of voxrec.api.deliveries.webhooks."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

from tests.api.rest_test_case import PUBLIC_URL, ClientResponse, RestTestCase
from voxrec.model import RecordingState

URL = "https://crm.example/calls?key=1"


class WebhookTestCase(RestTestCase):
    async def create(self, *, token: str = "provision", **fields: Any) -> ClientResponse:
        return await self.request("PUT", "/webhooks", json={"url": URL, **fields}, token=token)

    async def created(self, **fields: Any) -> Any:
        response = await self.create(**fields)
        self.assertEqual(response.status, 201, response.body)
        return response.json


class CrudTests(WebhookTestCase):
    async def test_creation_without_its_secret(self) -> None:
        response = await self.create(events=["recording.completed"], headers={"Authorization": "Bearer 1"})
        self.assertEqual(response.status, 201)
        document = response.json
        self.assertEqual(response.headers["location"], f"{PUBLIC_URL}/webhooks/{document['id']}")
        self.assertEqual(
            {key: document[key] for key in ("url", "events", "headers", "enabled", "profileId", "ofProfile")},
            {
                "url": URL,
                "events": ["recording.completed"],
                "headers": {"Authorization": "Bearer 1"},
                "enabled": True,
                "profileId": None,
                "ofProfile": False,
            },
        )
        self.assertNotIn(b"whsec_", response.body)
        self.assertEqual((await self.request("GET", f"/webhooks/{document['id']}")).json, document)
        self.assertEqual((await self.request("GET", "/webhooks")).json, [document])
        (entry,) = await self.audit.page()
        self.assertEqual((entry.kind, str(entry.target_id), entry.status), ("webhook", document["id"], 201))

    async def test_every_error_of_a_creation_is_reported(self) -> None:
        response = await self.create(
            url="ftp://crm.example",
            events=["recording.completed", "recording.completed"],
            headers={"Host": "x", "webhook-id": "1", "Content-Length": "0", "a b": "x", "x": "line\r\nbreak"},
            createdAt="2026-01-01T00:00:00Z",
        )
        self.assertEqual(response.status, 422)
        self.assertLessEqual({"url", "createdAt"}, set(response.error_fields), response.body)
        for headers in (
            {"Host": "x"},
            {"WebHook-Timestamp": "1"},
            {"transfer-encoding": "chunked"},
            {"A": "1", "a": "2"},
        ):
            refused = await self.create(headers=headers)
            self.assertEqual((refused.status, refused.error_fields), (422, ["headers"]), headers)

    async def test_urls(self) -> None:
        for url in (
            "https://user:secret@crm.example",
            "https://",
            "https://crm.example:0",
            "http://[::1",
            "mailto:x@y",
        ):
            refused = await self.create(url=url)
            self.assertEqual((refused.status, refused.error_fields), (422, ["url"]), url)
        refused = await self.request("PUT", "/webhooks", json={})
        self.assertEqual((refused.status, refused.error_fields), (422, ["url"]))

    async def test_the_profile_must_exist(self) -> None:
        refused = await self.create(profileId=str(uuid4()))
        self.assertEqual((refused.status, refused.error_fields), (422, ["profileId"]))

    async def test_change_and_deletion(self) -> None:
        document = await self.created()
        path = f"/webhooks/{document['id']}"
        changed = await self.request("POST", path, json={"enabled": False, "description": "CRM"})
        self.assertEqual((changed.status, changed.json["enabled"], changed.json["description"]), (200, False, "CRM"))
        self.assertNotEqual(changed.json["updatedAt"], document["updatedAt"])
        refused = await self.request("POST", path, json={"profileId": str(uuid4()), "ofProfile": True})
        self.assertEqual((refused.status, set(refused.error_fields)), (422, {"profileId", "ofProfile"}))
        stale = await self.request("POST", path, json={"enabled": True}, headers={"If-Match": '"old"'})
        self.assertEqual(stale.status, 412)
        self.assertEqual((await self.request("DELETE", path)).status, 204)
        self.assertEqual((await self.request("GET", path)).status, 404)

    async def test_enabling_clears_the_reason_of_the_failure(self) -> None:
        document = await self.created()
        await self.pool.execute("UPDATE webhooks SET enabled = FALSE, disabled_reason = 'x', failing_since = now()")
        changed = (await self.request("POST", f"/webhooks/{document['id']}", json={"enabled": True})).json
        self.assertEqual((changed["enabled"], changed["disabledReason"], changed["failingSince"]), (True, None, None))

    async def test_the_webhook_url_of_a_profile(self) -> None:
        profile = await self.add_profile(webhook_url="https://crm.example/hook")
        (document,) = (await self.request("GET", f"/webhooks?profileId={profile.id}")).json
        self.assertEqual((document["ofProfile"], document["profileId"]), (True, str(profile.id)))
        path = f"/webhooks/{document['id']}"
        changed = await self.request("POST", path, json={"events": ["call.ended"], "url": document["url"]})
        self.assertEqual((changed.status, changed.json["events"]), (200, ["call.ended"]))
        refused = await self.request("POST", path, json={"url": "https://other.example"})
        self.assertEqual((refused.status, refused.error_fields), (422, ["url"]))
        self.assertEqual((await self.request("DELETE", path)).status, 409)
        await self.request("POST", f"/profiles/{profile.id}", json={"webhookUrl": None})
        self.assertEqual((await self.request("GET", path)).status, 404)

    async def test_a_profile_with_a_password_in_its_url_is_refused(self) -> None:
        refused = await self.request("PUT", "/profiles", json={"webhookUrl": "https://u:p@crm.example"})
        self.assertEqual((refused.status, refused.error_fields), (422, ["webhookUrl"]))

    async def test_a_profile_whose_former_url_is_refused_now_can_be_changed(self) -> None:
        profile = await self.add_profile()
        await self.pool.execute(
            "UPDATE profiles SET webhook_url = 'http://u:p@crm.example/' WHERE id = %s", (profile.id,)
        )
        path = f"/profiles/{profile.id}"
        self.assertEqual((await self.request("POST", path, json={"name": "new"})).status, 200)
        refused = await self.request("POST", path, json={"webhookUrl": "http://u:p@crm.example/"})
        self.assertEqual((refused.status, refused.error_fields), (422, ["webhookUrl"]))

    async def test_idempotent_creation(self) -> None:
        options: Any = {"json": {"url": URL}, "headers": {"Idempotency-Key": "1"}}
        first, second = [await self.request("PUT", "/webhooks", **options) for _ in range(2)]
        self.assertEqual(first.json, second.json)
        await self.request("DELETE", f"/webhooks/{first.json['id']}")
        rows = await self.pool.query("SELECT body FROM idempotency")
        self.assertEqual(rows, [(None,)])


class AccessTests(WebhookTestCase):
    async def test_the_role_read_does_not_suffice(self) -> None:
        document = await self.created()
        for path in ("/webhooks", f"/webhooks/{document['id']}", f"/webhooks/{document['id']}/secret"):
            self.assertEqual((await self.request("GET", path, token="read")).status, 403)

    async def test_a_token_of_some_profiles(self) -> None:
        ours, theirs = await self.add_profile(), await self.add_profile()
        token = await self.scoped_token(ours.id)
        own = await self.created(token=token, profileId=str(ours.id))
        others = [await self.created(), await self.created(profileId=str(theirs.id))]
        self.assertEqual(
            [hook["id"] for hook in (await self.request("GET", "/webhooks", token=token)).json], [own["id"]]
        )
        for other in others:
            for method, path in (
                ("GET", ""),
                ("DELETE", ""),
                ("GET", "/secret"),
                ("POST", "/test"),
                ("GET", "/attempts"),
            ):
                response = await self.request(method, f"/webhooks/{other['id']}{path}", token=token)
                self.assertEqual(response.status, 404, (method, path))
        for fields in ({}, {"profileId": str(theirs.id)}):
            refused = await self.create(token=token, **fields)
            self.assertEqual((refused.status, refused.error_fields), (422, ["profileId"]))


class SecretTests(WebhookTestCase):
    async def test_rotation(self) -> None:
        path = f"/webhooks/{(await self.created())['id']}/secret"
        first = await self.request("GET", path)
        self.assertRegex(first.json["secret"], r"^whsec_[A-Za-z0-9+/]{43}=$")
        self.assertEqual(first.headers["cache-control"], "no-store")
        rotated = (await self.request("POST", path, json={})).json
        self.assertNotEqual(rotated["secret"], first.json["secret"])
        self.assertEqual(rotated["previousSecret"], first.json["secret"])
        expiry = datetime.fromisoformat(rotated["previousSecretExpiresAt"])
        self.assertLess(abs(expiry - datetime.now(UTC) - timedelta(days=1)), timedelta(minutes=1))
        self.assertEqual((await self.request("GET", path)).json, rotated)

    async def test_a_secret_of_the_client(self) -> None:
        path = f"/webhooks/{(await self.created())['id']}/secret"
        secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
        rotated = await self.request("POST", path, json={"secret": secret, "overlapSeconds": 0})
        self.assertEqual(rotated.json, {"secret": secret, "previousSecret": None, "previousSecretExpiresAt": None})
        for weak in ("secret", "whsec_c2hvcnQ=", "whsec_" + "A" * 33, f"{secret}\n"):
            refused = await self.request("POST", path, json={"secret": weak})
            self.assertEqual((refused.status, refused.error_fields), (422, ["secret"]), weak)


class RequestTests(WebhookTestCase):
    async def test_a_test_message(self) -> None:
        document = await self.created(headers={"X-Key": "1"}, enabled=False)
        response = await self.request("POST", f"/webhooks/{document['id']}/test")
        self.assertEqual(
            (response.status, response.json),
            (200, {"delivered": False, "status": 503, "reply": "maintenance", "seconds": 0.25}),
        )
        (endpoint,) = self.tested
        self.assertEqual((endpoint.url, endpoint.headers), (URL, {"X-Key": "1"}))
        self.assertEqual(len(endpoint.secrets), 1)

    async def test_test_messages_are_limited(self) -> None:
        path = f"/webhooks/{(await self.created())['id']}/test"
        statuses = [(await self.request("POST", path, token="provision")).status for _ in range(21)]
        self.assertEqual(statuses, [200] * 20 + [429])
        self.assertEqual(len(self.tested), 20)
        self.assertEqual((await self.request("POST", path)).status, 200)  # another token

    async def test_attempts_newest_first_in_pages(self) -> None:
        document = await self.created()
        recording = await self.add_recording(state=RecordingState.FAILED)
        await self.pool.execute(
            """
            INSERT INTO webhook_attempts (delivery_id, webhook_id, created_at, seconds, status, reply)
            SELECT id, webhook_id, now() + number * interval '1 minute', 0.5, 500 + number, 'busy'
            FROM webhook_deliveries, generate_series(0, 2) AS number
            """
        )
        path = f"/webhooks/{document['id']}/attempts"
        attempts = (await self.request("GET", path)).json
        self.assertEqual([attempt["status"] for attempt in attempts], [502, 501, 500])
        self.assertEqual(attempts[0]["recordingId"], str(recording.id))
        self.assertEqual((attempts[0]["event"], attempts[0]["reply"]), ("recording.failed", "busy"))
        page = await self.request("GET", f"{path}?limit=2")
        self.assertEqual(page.json, attempts[:2])
        link = page.headers["link"].partition("<")[2].partition(">")[0].removeprefix(PUBLIC_URL)
        self.assertEqual((await self.request("GET", link)).json, attempts[2:])
        self.assertEqual((await self.request("GET", f"/webhooks/{uuid4()}/attempts")).status, 404)
