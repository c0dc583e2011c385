"""/users: creation, validation, retrieval, update and deletion of users."""

from typing import Any, Final
from uuid import uuid4

from tests.api.rest_test_case import PUBLIC_URL, ClientResponse, RestTestCase
from tests.subtest import subtest

PASSWORD: Final = "correct horse battery staple"


class UserRouteTests(RestTestCase):
    async def create(self, **fields: Any) -> ClientResponse:
        return await self.request(
            "PUT", "/users", json={"name": "anna", "role": "read", "password": PASSWORD, **fields}
        )

    async def test_lifecycle(self) -> None:
        created = await self.create(role="supervise")
        self.assertEqual(created.status, 201, created.body)
        user, path = created.json, f"/users/{created.json['id']}"
        self.assertEqual(created.headers["location"], f"{PUBLIC_URL}{path}")
        self.assertEqual(
            (user["name"], user["role"], user["profileIds"], user["enabled"]), ("anna", "supervise", None, True)
        )
        self.assertNotIn("password", user)
        retrieved = await self.request("GET", path)
        self.assertEqual((retrieved.status, retrieved.json, retrieved.etag), (200, user, created.etag))
        self.assertEqual((await self.request("GET", "/users?name=anna")).json, [user])
        self.assertEqual((await self.request("GET", "/users?name=ben")).json, [])
        changed = await self.request("POST", path, json={"role": "read", "name": "anna"})
        self.assertEqual((changed.status, changed.json["role"]), (200, "read"))
        self.assertEqual((await self.request("POST", path, json={}, headers={"If-Match": created.etag})).status, 412)
        self.assertEqual((await self.request("DELETE", path, headers={"If-Match": created.etag})).status, 412)
        self.assertEqual((await self.request("DELETE", path)).status, 204)
        for method in ("GET", "DELETE"):
            self.assertEqual((await self.request(method, path)).status, 404)

    async def test_only_a_slow_hash_of_the_password_is_stored(self) -> None:
        await self.create()
        [(stored, password)] = await self.pool.query("SELECT users::text, password FROM users")
        self.assertNotIn("battery", stored)
        self.assertTrue(password.startswith("$argon2id$v=19$"), password)

    async def test_invalid_fields(self) -> None:
        profile, unknown = str((await self.add_profile()).id), str(uuid4())
        rows: tuple[tuple[dict[str, Any], list[str]], ...] = (
            ({"name": "Anna"}, ["name"]),
            ({"name": "an na"}, ["name"]),
            ({"name": "аnna"}, ["name"]),  # noqa: RUF001 - a Cyrillic letter
            ({"name": "admin"}, ["name"]),
            ({"name": ""}, ["name"]),
            ({"password": "sesame"}, ["password"]),
            ({"password": "my name is Anna"}, ["password"]),
            ({"password": None}, ["password"]),
            ({"role": "root"}, ["role"]),
            ({"profileIds": []}, ["profileIds"]),
            ({"profileIds": [profile, profile]}, ["profileIds"]),
            ({"profileIds": [unknown]}, ["profileIds"]),
            ({"profileIds": [profile], "role": "admin"}, ["profileIds"]),
            ({"id": str(uuid4()), "createdAt": "2026-01-01T00:00:00Z"}, ["id", "createdAt"]),
        )
        for fields, error_fields in rows:
            with subtest(fields):
                response = await self.create(**fields)
                self.assertEqual((response.status, response.error_fields), (422, error_fields), response.body)
                if isinstance(password := fields.get("password"), str):
                    self.assertNotIn(password.encode(), response.body)
        missing = await self.request("PUT", "/users", json={})
        self.assertEqual((missing.status, missing.error_fields), (422, ["name", "password", "role"]))
        self.assertEqual((await self.request("GET", "/users")).json, [])

    async def test_invalid_changes(self) -> None:
        path = f"/users/{(await self.create()).json['id']}"
        for fields, error_fields in (
            ({"name": "ben"}, ["name"]),
            ({"password": "sesame"}, ["password"]),
            ({"password": "my name is Anna"}, ["password"]),
            ({"profileIds": [str(uuid4())]}, ["profileIds"]),
        ):
            with subtest(fields):
                response = await self.request("POST", path, json=fields)
                self.assertEqual((response.status, response.error_fields), (422, error_fields), response.body)
        self.assertEqual((await self.request("POST", f"/users/{uuid4()}", json={"password": PASSWORD})).status, 404)

    async def test_a_name_is_unique(self) -> None:
        await self.create()
        response = await self.create()
        self.assertEqual((response.status, response.error_fields), (409, ["name"]))

    async def test_users_require_the_admin_role(self) -> None:
        for method, path in (("GET", "/users"), ("PUT", "/users"), ("GET", f"/users/{uuid4()}"), ("GET", "/sessions")):
            for role in ("read", "supervise", "provision"):
                with subtest((method, path, role)):
                    self.assertEqual((await self.request(method, path, token=role, json={})).status, 403)

    async def test_audit_names_the_changed_fields(self) -> None:
        path = f"/users/{(await self.create()).json['id']}"
        await self.request("POST", path, json={"role": "provision", "password": "another long password"})
        entries = (await self.request("GET", "/audit")).json
        self.assertEqual(
            [(entry["kind"], entry["fields"]) for entry in entries], [("user", ["role", "password"]), ("user", [])]
        )
