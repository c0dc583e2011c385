"""The pages for webhooks."""

from typing import Any

from tests.console.console_test_case import SAME_ORIGIN
from tests.console.test_users import UserPageTestCase
from tests.subtest import subtest

URL = "https://crm.example/hook"


class WebhookPageTests(UserPageTestCase):
    async def add_webhook(self, **fields: Any) -> str:
        response = await self.request("PUT", "/webhooks", json={"url": URL, **fields})
        self.assertEqual(response.status, 201, response.body)
        return str(response.json["id"])

    async def webhook(self, webhook_id: str) -> dict[str, Any]:
        webhook: dict[str, Any] = (await self.request("GET", f"/webhooks/{webhook_id}")).json
        return webhook

    async def test_other_roles_are_refused_and_see_no_link(self) -> None:
        webhook_id = await self.add_webhook()
        cookie = await self.signed_in("supervise")
        page = f"/console/webhooks/{webhook_id}"
        for path in ("/console/webhooks", "/console/webhooks/new", page):
            response = await self.open(path, cookie)
            self.assertEqual(response.status, 403)
            self.assertNotIn(b"/console/webhooks", response.body)
        for path in ("/console/webhooks/new", page, *(f"{page}/{action}" for action in ("test", "secret", "delete"))):
            with subtest(path):
                self.assertEqual((await self.submit(path, cookie, url=URL)).status, 403)
        self.assertEqual(self.tested, [])
        await self.webhook(webhook_id)

    async def test_create_and_list(self) -> None:
        cookie = await self.signed_in("provision")
        profile = await self.add_profile(name="Sales")
        response = await self.submit_lists(
            "/console/webhooks/new",
            cookie,
            *(("url", URL), ("description", "CRM"), ("profileId", str(profile.id))),
            *(("events", "recording.completed"), ("events", "recording.failed")),
        )
        self.assertEqual(response.status, 303, response.body)
        (webhook,) = (await self.request("GET", "/webhooks")).json
        self.assertEqual(
            (webhook["url"], webhook["description"], webhook["profileId"], webhook["events"]),
            (URL, "CRM", str(profile.id), ["recording.completed", "recording.failed"]),
        )
        self.assertEqual((await self.open(response.headers["location"], cookie)).status, 200)
        body = (await self.open("/console/webhooks", cookie)).body.decode()
        for text in (URL, "CRM", "Sales", "recording.completed, recording.failed", ">works<"):
            with subtest(text):
                self.assertIn(text, body)

    async def test_messages_are_next_to_the_fields_and_entries_are_kept(self) -> None:
        cookie = await self.signed_in("provision")
        response = await self.submit("/console/webhooks/new", cookie, url="ftp://x", description="a", events="call.new")
        self.assertEqual(response.status, 422)
        body = response.body.decode()
        for text in ('id="url-error"', 'value="ftp://x"', 'value="a"'):
            with subtest(text):
                self.assertIn(text, body)

    async def test_a_limited_user_cannot_create_one_for_all_profiles(self) -> None:
        own = await self.add_profile(name="Own")
        cookie = await self.signed_in("provision", profileIds=[str(own.id)])
        body = (await self.open("/console/webhooks/new", cookie)).body
        self.assertNotIn(b"events of all Profiles", body)
        self.assertIn(b"Own", body)
        response = await self.submit("/console/webhooks/new", cookie, url=URL, profileId="")
        self.assertGreaterEqual(response.status, 400)
        self.assertEqual((await self.request("GET", "/webhooks")).json, [])

    async def test_change(self) -> None:
        cookie = await self.signed_in("provision")
        webhook_id = await self.add_webhook(headers={"Authorization": "Bearer x"})
        path = f"/console/webhooks/{webhook_id}"
        body = (await self.open(path, cookie)).body.decode()
        self.assertRegex(body, r'name="description" type="text" value=""')
        version = (await self.request("GET", f"/webhooks/{webhook_id}")).etag
        response = await self.submit(path, cookie, url=URL, description="CRM", version=version)
        self.assertEqual(response.status, 303, response.body)
        webhook = await self.webhook(webhook_id)
        self.assertEqual(
            (webhook["description"], webhook["enabled"], webhook["headers"]),
            ("CRM", False, {"Authorization": "Bearer x"}),
        )
        self.assertIn(b"This webhook is disabled", (await self.open(path, cookie)).body)
        response = await self.submit(path, cookie, url=URL, enabled="true", version=version)
        self.assertEqual(response.status, 412)
        kept = version.replace('"', "&#34;")
        self.assertIn(f'name="version" value="{kept}"', response.body.decode(), "sending it again changes nothing")
        self.assertFalse((await self.webhook(webhook_id))["enabled"])

    async def test_the_result_of_a_test(self) -> None:
        cookie = await self.signed_in("provision")
        webhook_id = await self.add_webhook()
        body = (await self.submit(f"/console/webhooks/{webhook_id}/test", cookie)).body
        self.assertIn(b"The test was not delivered. Status 503 after 0.25 s. maintenance", body)
        self.assertEqual([endpoint.url for endpoint in self.tested], [URL])
        headers = {**SAME_ORIGIN, "Accept-Language": "de"}
        body = (await self.submit(f"/console/webhooks/{webhook_id}/test", cookie, headers)).body
        self.assertIn(b"Status 503 nach 0,25 s.", body)

    async def test_the_secret_is_shown_on_request(self) -> None:
        cookie = await self.signed_in("provision")
        webhook_id = await self.add_webhook()
        secret = (await self.request("GET", f"/webhooks/{webhook_id}/secret")).json["secret"]
        self.assertNotIn(secret, (await self.open(f"/console/webhooks/{webhook_id}", cookie)).body.decode())
        response = await self.submit(f"/console/webhooks/{webhook_id}/secret", cookie)
        self.assertIn(secret, response.body.decode().replace("&#43;", "+"))
        self.assertEqual(response.headers["cache-control"], "no-store")

    async def test_delete(self) -> None:
        cookie = await self.signed_in("provision")
        webhook_id = await self.add_webhook()
        response = await self.submit(f"/console/webhooks/{webhook_id}/delete", cookie)
        self.assertEqual(response.headers["location"], "/console/webhooks?done=webhook_deleted")
        self.assertIn(b"There are no webhooks", (await self.open("/console/webhooks", cookie)).body)
