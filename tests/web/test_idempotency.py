"""Tests of voxrec.web.idempotency, over REST."""

from typing import Any
from uuid import uuid4

from twisted.internet.defer import Deferred, DeferredList

from tests.api.rest_test_case import PUBLIC_URL, ClientResponse, RestTestCase
from tests.subtest import subtest
from voxrec.errors import StoreUnavailable
from voxrec.postgres.transaction import Transaction

REPEATED_HEADERS = ("content-type", "etag", "location")


class IdempotencyTests(RestTestCase):
    async def put(self, path: str, key: str, body: dict[str, Any], token: str = "admin") -> ClientResponse:
        return await self.request("PUT", path, json=body, headers={"Idempotency-Key": key}, token=token)

    async def test_repeated_request_to_every_route_that_creates(self) -> None:
        profile = await self.add_profile()
        rows: tuple[tuple[str, dict[str, Any]], ...] = (
            ("/profiles", {"name": "once", "numbers": ["+4930"]}),
            ("/recordings", {"profileId": str(profile.id)}),
            (f"/profiles/{profile.id}/recordings", {"metadata": {"a": 1}}),
            ("/prompts", {"name": "once"}),
        )
        for path, body in rows:
            with subtest(path):
                first = await self.put(path, "the-key", body)
                self.assertEqual(first.status, 201, first.json)
                count = len((await self.request("GET", path)).json)
                again = await self.put(path, '"the-key"', body)
                self.assertEqual((again.status, again.body), (201, first.body))
                for name in REPEATED_HEADERS:
                    self.assertEqual(again.headers.get(name), first.headers.get(name))
                self.assertEqual(len((await self.request("GET", path)).json), count)

    async def test_repeated_change_is_not_made_twice(self) -> None:
        """The response was lost: without the key, If-Match would refuse the repetition with 412."""
        profile = (await self.request("PUT", "/profiles", json={"name": "a"})).json
        prompt = (await self.request("PUT", "/prompts", json={"name": "a"})).json
        for method, path in (("POST", f"/profiles/{profile['id']}"), ("PUT", f"/prompts/{prompt['id']}")):
            with subtest(path):
                etag = (await self.request("GET", path)).etag
                options: dict[str, Any] = {
                    "json": {"name": "b"},
                    "headers": {"Idempotency-Key": "change", "If-Match": etag},
                }
                first = await self.request(method, path, **options)
                again = await self.request(method, path, **options)
                self.assertEqual((first.status, again.status, again.body), (200, 200, first.body))
                self.assertEqual(again.etag, first.etag)
                self.assertEqual((await self.request("DELETE", path)).status, 204)
        self.assertEqual(await self.pool.query("SELECT body FROM idempotency WHERE body IS NOT NULL"), [])

    async def test_different_requests_with_one_key(self) -> None:
        first = await self.put("/profiles", "k", {"name": "a"})
        other = await self.put("/profiles", "k", {"name": "b"})
        self.assertEqual((other.status, other.json["code"]), (422, "idempotency-key-reused"))
        for response in (
            await self.put("/profiles", "k2", {"name": "a"}),
            await self.put("/profiles", "k", {"name": "a"}, token="provision"),
            await self.put("/prompts", "k", {"name": "a"}),
        ):
            self.assertEqual(response.status, 201)
            self.assertNotEqual(response.headers["location"], first.headers["location"])
        for key in ("", "é", "x" * 256, "a b"):
            with subtest(key):
                self.assertEqual((await self.put("/profiles", key, {"name": "a"})).status, 400)

    async def test_key_of_a_failed_request_can_be_used_again(self) -> None:
        self.assertEqual((await self.put("/profiles", "k", {"email": "nobody"})).status, 422)
        self.assertEqual((await self.put("/profiles", "k", {"email": "a@example.org"})).status, 201)

    async def test_concurrent_requests(self) -> None:
        body = {"id": str(uuid4()), "numbers": ["+4931"]}
        requests = [Deferred.fromCoroutine(self.put("/profiles", "k", body)) for _ in range(8)]
        responses = [response for _, response in await DeferredList(requests)]
        self.assertEqual({response.status for response in responses} - {201, 409}, set())
        self.assertIn(201, {response.status for response in responses})
        for response in responses:
            if response.status == 409:
                self.assertEqual(response.json["code"], "under-way")
        self.assertEqual(len(await self.profiles.all()), 1)

    async def test_concurrent_requests_to_two_daemons(self) -> None:
        second_resource = self.make_resource()
        first_resource, self.site.resource = self.site.resource, second_resource
        body = {"profileId": str((await self.add_profile()).id)}
        statuses = []
        for turn in range(10):
            second = Deferred.fromCoroutine(self.put("/recordings", f"k{turn}", body))
            self.site.resource = first_resource if turn % 2 else second_resource
            first = Deferred.fromCoroutine(self.put("/recordings", f"k{turn}", body))
            statuses += [response.status for _, response in await DeferredList([first, second])]
        self.assertEqual(set(statuses) - {201, 409}, set())
        self.assertEqual(len(await self.recordings.page()), 10)

    async def test_response_is_committed_with_the_change(self) -> None:
        """A crash before the commit leaves neither; after the commit, a repeated request gets the stored response."""
        execute = Transaction.execute

        async def crash(transaction: Transaction, sql: str, params: Any = ()) -> int:
            row_count = await execute(transaction, sql, params)
            if "INSERT INTO idempotency" in sql:
                raise StoreUnavailable("simulated crash before the commit")
            return row_count

        body = {"name": "once"}
        self.patch(Transaction, "execute", crash)
        self.assertEqual((await self.put("/profiles", "k", body)).status, 503)
        self.patch(Transaction, "execute", execute)
        self.assertEqual(await self.pool.query("SELECT 1 FROM idempotency"), [])
        self.assertEqual(await self.profiles.all(), [])
        committed = await self.put("/profiles", "k", body)  # the response may have been lost
        again = await self.put("/profiles", "k", body)
        self.assertEqual((again.status, again.body), (201, committed.body))
        self.assertEqual(len(await self.profiles.all()), 1)

    async def test_key_expires_after_a_day(self) -> None:
        first = await self.put("/profiles", "k", {"name": "a"})
        await self.pool.execute("UPDATE idempotency SET created_at = created_at - interval '25 hours'")
        second = await self.put("/profiles", "k", {"name": "b"})
        self.assertEqual(second.status, 201)
        self.assertNotEqual(first.headers["location"], second.headers["location"])
        await self.pool.execute("UPDATE idempotency SET created_at = created_at - interval '25 hours'")
        self.assertEqual(await self.idempotency.delete_expired(), 1)

    async def test_repeated_response_does_not_reflect_later_changes(self) -> None:
        first = await self.put("/profiles", "k", {"name": "a"})
        await self.request("POST", f"/profiles/{first.json['id']}", json={"name": "b"})
        self.assertEqual((await self.put("/profiles", "k", {"name": "a"})).body, first.body)

    async def test_response_is_erased_with_the_resource(self) -> None:
        profile = await self.add_profile()
        rows: tuple[tuple[str, dict[str, Any]], ...] = (
            ("/profiles", {"name": "secret"}),
            ("/recordings", {"profileId": str(profile.id), "fromName": "secret"}),
            (f"/profiles/{profile.id}/recordings", {"fromName": "secret"}),
            ("/prompts", {"name": "secret"}),
        )
        for path, body in rows:
            with subtest(path):
                created = await self.put(path, "k", body)
                other = await self.put(path, "other", body)
                location = created.headers["location"].removeprefix(PUBLIC_URL)
                self.assertEqual((await self.request("DELETE", location)).status, 204)
                again = await self.put(path, "k", body)
                self.assertEqual((again.status, again.json["code"]), (409, "deleted-since"))
                self.assertEqual((await self.request("GET", location)).status, 404)
                other_location = other.headers["location"].removeprefix(PUBLIC_URL)
                self.assertEqual((await self.put(path, "other", body)).status, 201)
                self.assertEqual((await self.request("DELETE", other_location)).status, 204)
        records = await self.pool.query("SELECT fingerprint, headers, body FROM idempotency")
        self.assertEqual(records, [("", {}, None)] * 8)
