"""Bulk actions and exports belong to the token or user that created them, not to a later one of the same name."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

from tests.api.auth.test_sessions import SessionTestCase
from tests.api.rest_test_case import ClientResponse
from voxrec.model import Role, Token
from voxrec.store.tokens import generate_secret


class CreatorTestCase(SessionTestCase):
    async def post(self, credential: dict[str, str], path: str, body: Any, **headers: str) -> ClientResponse:
        return await self.request("POST", path, token="", json=body, headers={**credential, **headers})

    async def create(self, credential: dict[str, str], path: str, body: Any, **headers: str) -> Any:
        response = await self.post(credential, path, body, **headers)
        self.assertEqual(response.status, 201, response.body)
        return response.json

    async def statuses(self, credential: dict[str, str], action: Any, export: Any) -> list[int]:
        """Return the statuses of the requests that only the creator, or the role `provision`, may send."""
        path = f"/bulk-actions/{action['id']}"
        deleted = await self.request("DELETE", f"/exports/{export['id']}", token="", headers=credential)
        confirmed = await self.post(credential, path, {"state": "pending"})
        canceled = await self.post(credential, path, {"state": "canceled"})
        return [deleted.status, confirmed.status, canceled.status]


class TokenTests(CreatorTestCase):
    async def token(self) -> tuple[UUID, dict[str, str]]:
        token = Token(id=uuid4(), name="crm", role=Role.READ, created_at=datetime.now(UTC))
        secret = generate_secret()
        await self.tokens.create(token, secret)
        return token.id, {"Authorization": f"Bearer {secret}"}

    async def test_a_token_of_the_same_name_inherits_nothing(self) -> None:
        former_id, former = await self.token()
        action = await self.create(former, "/bulk-actions", {"action": "export"})
        export = await self.create(former, "/exports", {})
        for each in (action, export):
            self.assertEqual((each["tokenId"], each["userId"], each["createdBy"]), (str(former_id), None, "crm"))
        await self.tokens.revoke(former_id)
        _, later = await self.token()
        self.assertEqual(await self.statuses(later, action, export), [403, 403, 403])
        self.assertEqual((await self.bulk_actions.get(UUID(action["id"]))).state, "preview")

    async def test_the_creator_still_may(self) -> None:
        _, creator = await self.token()
        action = await self.create(creator, "/bulk-actions", {"action": "export"})
        self.assertEqual(
            await self.statuses(creator, action, await self.create(creator, "/exports", {})), [204, 200, 200]
        )

    async def test_exports_from_before_the_ids_belong_to_nobody_of_that_name(self) -> None:
        """The former version stores no ids, also while it runs beside this one."""
        await self.pool.execute(
            "INSERT INTO exports (created_by, format, audio, query) VALUES ('crm', 'zip', true, '{}')"
        )
        ((export_id,),) = await self.pool.query("SELECT id FROM exports")
        _, later = await self.token()
        path = f"/exports/{export_id}"
        self.assertEqual((await self.request("GET", path)).json["tokenId"], None)
        self.assertEqual((await self.request("DELETE", path, token="", headers=later)).status, 403)
        self.assertEqual((await self.request("DELETE", path, token="provision")).status, 204)


class UserTests(CreatorTestCase):
    async def user(self) -> tuple[UUID, dict[str, str]]:
        user_id = await self.add_user()
        return user_id, {"Cookie": await self.sign_in(), "Origin": "https://rec.example"}

    async def test_a_user_of_the_same_name_inherits_nothing(self) -> None:
        former_id, former = await self.user()
        action = await self.create(former, "/bulk-actions", {"action": "export"})
        key = {"Idempotency-Key": "the-key"}
        export = await self.create(former, "/exports", {}, **key)
        for each in (action, export):
            self.assertEqual((each["userId"], each["tokenId"], each["createdBy"]), (str(former_id), None, "anna"))
        self.assertEqual(await self.create(former, "/exports", {}, **key), export)
        await self.users.delete(former_id)
        _, later = await self.user()
        self.assertNotEqual((await self.create(later, "/exports", {}, **key))["id"], export["id"])
        self.assertEqual(await self.statuses(later, action, export), [403, 403, 403])
