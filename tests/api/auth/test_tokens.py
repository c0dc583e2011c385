"""/tokens: creation, validation, retrieval and revocation."""

from typing import Any, Final
from uuid import uuid4

from tests.api.rest_test_case import PUBLIC_URL, ClientResponse, RestTestCase
from tests.subtest import subtest
from voxrec.store.tokens import SECRET_PREFIX, hash_secret

LATER: Final = "2099-01-01T00:00:00Z"


class TokenRouteTests(RestTestCase):
    async def create(self, **fields: Any) -> ClientResponse:
        return await self.request("PUT", "/tokens", json={"name": "crm", "role": "read", **fields})

    async def test_lifecycle(self) -> None:
        created = await self.create(expiresAt=LATER)
        self.assertEqual(created.status, 201, created.body)
        token = created.json
        secret = token.pop("token")
        self.assertTrue(secret.startswith(SECRET_PREFIX))
        self.assertEqual(created.headers["location"], f"{PUBLIC_URL}/tokens/{token['id']}")
        self.assertEqual((token["name"], token["role"], token["profileIds"]), ("crm", "read", None))
        path = f"/tokens/{token['id']}"
        retrieved = await self.request("GET", path)
        self.assertEqual((retrieved.status, retrieved.json, retrieved.etag), (200, token, created.etag))
        self.assertEqual((await self.request("GET", "/tokens")).json, [token])
        self.assertEqual((await self.request("GET", "/profiles", token=secret)).status, 200)
        self.assertEqual((await self.request("PUT", "/profiles", token=secret, json={})).status, 403)
        stale = await self.request("DELETE", path, headers={"If-Match": '"other"'})
        self.assertEqual(stale.status, 412)
        self.assertEqual((await self.request("DELETE", path)).status, 204)
        for method in ("GET", "DELETE"):
            self.assertEqual((await self.request(method, path)).status, 404)
        self.assertEqual((await self.request("GET", "/tokens")).json, [])

    async def test_times_are_returned_in_utc_and_within_the_years_that_can_be_read_again(self) -> None:
        created = await self.create(expiresAt="2099-01-01T00:30:00+02:00")
        self.assertEqual(created.json["expiresAt"], "2098-12-31T22:30:00Z")
        retrieved = await self.request("GET", f"/tokens/{created.json['id']}")
        self.assertEqual((retrieved.json["expiresAt"], retrieved.etag), (created.json["expiresAt"], created.etag))
        refused = await self.create(expiresAt="9999-12-31T23:59:59-00:01")  # the year 10000 in UTC
        self.assertEqual((refused.status, refused.error_fields), (422, ["expiresAt"]))
        self.assertEqual((await self.request("GET", "/tokens")).json, [retrieved.json])

    async def test_only_a_hash_of_the_secret_is_stored(self) -> None:
        secret = (await self.create()).json["token"]
        [(stored,)] = await self.pool.query("SELECT tokens::text FROM tokens")
        self.assertNotIn(secret.removeprefix(SECRET_PREFIX), stored)
        [(hash_,)] = await self.pool.query("SELECT hash FROM tokens")
        self.assertEqual(bytes(hash_), hash_secret(secret))

    async def test_invalid_fields(self) -> None:
        known, unknown = str((await self.add_profile()).id), str(uuid4())
        rows: tuple[tuple[dict[str, Any], list[str]], ...] = (
            ({"name": ""}, ["name"]),
            ({"name": " crm"}, ["name"]),
            ({"name": "c\nrm"}, ["name"]),
            ({"name": "crm\n"}, ["name"]),
            ({"name": "c\x1b[2Jrm"}, ["name"]),
            ({"name": None, "role": "root"}, ["name", "role"]),
            ({"expiresAt": "2020-01-01T00:00:00Z"}, ["expiresAt"]),
            ({"expiresAt": "2099-01-01T00:00:00"}, ["expiresAt"]),
            ({"profileIds": []}, ["profileIds"]),
            ({"profileIds": [known, unknown]}, ["profileIds"]),
            ({"profileIds": [known, known]}, ["profileIds"]),
            ({"profileIds": [known], "role": "admin"}, ["profileIds"]),
            ({"id": str(uuid4()), "createdAt": LATER, "revokedAt": None}, ["id", "createdAt", "revokedAt"]),
            ({"token": "vxr_mine"}, ["token"]),
        )
        for fields, error_fields in rows:
            with subtest(fields):
                response = await self.create(**fields)
                self.assertEqual((response.status, response.error_fields), (422, error_fields), response.body)
        missing = await self.request("PUT", "/tokens", json={})
        self.assertEqual((missing.status, missing.error_fields), (422, ["name", "role"]))
        self.assertEqual((await self.request("GET", "/tokens")).json, [])

    async def test_tokens_and_audit_log_require_the_admin_role(self) -> None:
        for method, path in (("GET", "/tokens"), ("PUT", "/tokens"), ("GET", f"/tokens/{uuid4()}"), ("GET", "/audit")):
            for role in ("read", "provision"):
                with subtest((method, path, role)):
                    self.assertEqual((await self.request(method, path, token=role, json={})).status, 403)

    async def test_pages(self) -> None:
        for _ in range(3):
            await self.create()
        first = await self.request("GET", "/tokens?limit=2")
        next_page = first.headers["link"].partition(">")[0].removeprefix(f"<{PUBLIC_URL}")
        second = await self.request("GET", next_page)
        complete = await self.request("GET", "/tokens")
        self.assertEqual(first.json + second.json, complete.json)
