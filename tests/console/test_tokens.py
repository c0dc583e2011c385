"""The pages for tokens."""

import re

from tests.console.test_users import UserPageTestCase
from tests.subtest import subtest


class TokenPageTests(UserPageTestCase):
    async def test_only_administrators(self) -> None:
        token = (await self.request("PUT", "/tokens", json={"name": "crm", "role": "read"})).json
        cookie = await self.signed_in("provision")
        for path in ("/console/tokens", "/console/tokens/new"):
            self.assertEqual((await self.open(path, cookie)).status, 403)
        for path in ("/console/tokens/new", f"/console/tokens/{token['id']}/revoke"):
            self.assertEqual((await self.submit(path, cookie, name="x", role="admin")).status, 403)
        self.assertEqual([each["name"] for each in (await self.request("GET", "/tokens")).json], ["crm"])

    async def test_the_secret_is_shown_once(self) -> None:
        cookie = await self.signed_in("admin")
        response = await self.submit("/console/tokens/new", cookie, name=" crm ", role="provision", scope="all")
        self.assertEqual(response.status, 201, response.body)
        self.assertEqual(response.headers["cache-control"], "no-store")
        match = re.search(r'id="secret" value="([^"]+)"', response.body.decode())
        assert match is not None
        identity = (await self.request("GET", "/session", token=match[1])).json
        self.assertEqual((identity["name"], identity["role"], identity["profileIds"]), ("crm", "provision", None))
        body = (await self.open("/console/tokens", cookie)).body.decode()
        self.assertIn("crm", body)
        self.assertNotIn(match[1], body)

    async def test_limits(self) -> None:
        cookie = await self.signed_in("admin")
        own, _ = await self.add_profile(name="Own"), await self.add_profile(name="Other")
        response = await self.submit_lists(
            "/console/tokens/new",
            cookie,
            *(("name", "crm"), ("role", "read"), ("scope", "some"), ("profileIds", str(own.id))),
            *(("expiresAt", "2999-12-31"), ("zone", "60"), ("listenLive", "true")),
        )
        self.assertEqual(response.status, 201, response.body)
        (token,) = (await self.request("GET", "/tokens")).json
        self.assertEqual((token["profileIds"], token["expiresAt"]), ([str(own.id)], "2999-12-31T23:00:00Z"))
        self.assertTrue(token["listenLive"])
        body = (await self.open("/console/tokens", cookie)).body.decode()
        self.assertIn(">Own</bdi></a></td>", body)

    async def test_messages_are_next_to_the_fields_and_entries_are_kept(self) -> None:
        cookie = await self.signed_in("admin")
        for field, fields in (
            ("name", {"name": "admin", "expiresAt": "2999-01-01"}),
            ("expiresAt", {"name": "crm", "expiresAt": "2001-01-01"}),
            ("expiresAt", {"name": "crm", "expiresAt": "tomorrow"}),
            ("profileIds", {"name": "crm", "expiresAt": "2999-01-01", "scope": "some"}),
        ):
            with subtest((field, fields)):
                response = await self.submit("/console/tokens/new", cookie, role="supervise", **fields)
                self.assertEqual(response.status, 422)
                body = response.body.decode()
                for text in (
                    *(f'id="{field}-error"', f'value="{fields["name"]}"', f'value="{fields["expiresAt"]}"'),
                    '<option value="supervise" selected>',
                ):
                    self.assertIn(text, body)
        self.assertEqual((await self.request("GET", "/tokens")).json, [])

    async def test_revoke(self) -> None:
        token = (await self.request("PUT", "/tokens", json={"name": "crm", "role": "read"})).json
        cookie = await self.signed_in("admin")
        response = await self.submit(f"/console/tokens/{token['id']}/revoke", cookie)
        self.assertEqual((response.status, response.headers["location"]), (303, "/console/tokens?done=token_revoked"))
        self.assertEqual((await self.request("GET", "/tokens")).json, [])
        self.assertIn(b"There are no tokens", (await self.open("/console/tokens", cookie)).body)
