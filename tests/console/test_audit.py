"""The page of the audit log."""

from tests.console.console_test_case import ConsoleTestCase
from tests.subtest import subtest


class AuditPageTests(ConsoleTestCase):
    async def test_only_administrators(self) -> None:
        response = await self.open("/console/audit", await self.signed_in("provision"))
        self.assertEqual(response.status, 403)
        self.assertNotIn(b"/console/audit", response.body)

    async def test_entries_and_filters(self) -> None:
        cookie = await self.signed_in("admin")
        recording = await self.add_recording()
        await self.submit(f"/console/recordings/{recording.id}/delete", cookie, reason="<a mistake>")
        profile = await self.add_profile()
        await self.request("POST", f"/profiles/{profile.id}", token="provision", json={"name": "Sales"})
        body = (await self.open("/console/audit", cookie)).body.decode()
        for text in (
            *(f"DELETE /recordings/{recording.id}", "Reason: &lt;a mistake&gt;", f"POST /profiles/{profile.id}"),
            *("Changed: name", ">done<", "127.0.0.1", ">anna</a>", "the provision token"),
        ):
            with subtest(text):
                self.assertIn(text, body)
        self.assertIn(f'href="/console/profiles/{profile.id}">Page of the object', body)
        self.assertNotIn(f'href="/console/recordings/{recording.id}"', body)  # it was deleted
        of_recording, of_profile = f"<code>DELETE /recordings/{recording.id}", f"<code>POST /profiles/{profile.id}"
        for query, found in (
            ("who=anna", (True, False)),
            ("who=the+provision+token", (False, True)),
            ("path=/profiles", (False, True)),
            (f"targetId={recording.id}", (True, False)),
            ("first=2001-01-01", (True, True)),
            ("last=2001-01-01", (False, False)),
            ("first=2999-01-01&zone=60", (False, False)),
        ):
            with subtest(query):
                response = await self.open(f"/console/audit?{query}", cookie)
                self.assertEqual(response.status, 200, response.body)
                body = response.body.decode()
                self.assertEqual((of_recording in body, of_profile in body), found)

    async def test_messages_are_next_to_the_filters(self) -> None:
        cookie = await self.signed_in("admin")
        for query, field in (("targetId=%22x", "targetId"), ("first=yesterday", "first"), ("last=x", "last")):
            with subtest(query):
                response = await self.open(f"/console/audit?{query}", cookie)
                self.assertEqual(response.status, 422)
                self.assertIn(f'id="{field}-error"', response.body.decode())
        self.assertIn(b'value="yesterday"', (await self.open("/console/audit?first=yesterday", cookie)).body)

    async def test_pages(self) -> None:
        cookie = await self.signed_in("admin")
        profile = await self.add_profile()
        for number in range(51):
            await self.request("POST", f"/profiles/{profile.id}", json={"name": f"name {number}"})
        path = f"/console/audit?path=/profiles/{profile.id}"
        body = (await self.open(path, cookie)).body.decode()
        self.assertEqual(body.count("<code>POST"), 50)
        link = body.partition('rel="next" href="')[2].partition('"')[0].replace("&amp;", "&")
        body = (await self.open(link, cookie)).body.decode()
        self.assertEqual(body.count("<code>POST"), 1)
        self.assertNotIn('rel="next"', body)

    async def test_the_pages_of_objects(self) -> None:
        cookie = await self.signed_in("admin")
        recording = await self.add_recording()
        await self.submit(f"/console/recordings/{recording.id}/notes", cookie, text="a")
        webhook = (await self.request("PUT", "/webhooks", json={"url": "https://crm.example"})).json["id"]
        token = (await self.request("PUT", "/tokens", json={"name": "crm", "role": "read"})).json["id"]
        body = (await self.open("/console/audit", cookie)).body.decode()
        for page, linked in (
            (f"/console/recordings/{recording.id}", True),
            (f"/console/webhooks/{webhook}", True),
            (f"/console/tokens/{token}", False),
        ):
            with subtest(page):
                self.assertEqual(f'href="{page}"' in body, linked)
                if linked:
                    self.assertEqual((await self.open(page, cookie)).status, 200)
