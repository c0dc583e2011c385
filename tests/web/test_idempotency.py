"""Idempotency-Key: a creation asked for again gets the first answer, whatever dies in between."""

from typing import Any
from uuid import uuid4

from twisted.internet.defer import Deferred, DeferredList

from tests.api.rest_test_case import ClientResponse, RestTestCase
from tests.subtest import subtest
from voxrec.errors import StoreUnavailable
from voxrec.postgres.transaction import Transaction

SAME = ("content-type", "etag", "location")


class OnceTests(RestTestCase):
    async def put(self, path: str, key: str, body: dict[str, Any], token: str = "admin") -> ClientResponse:
        return await self.request("PUT", path, json=body, headers={"Idempotency-Key": key}, token=token)

    async def test_every_route_that_creates(self) -> None:
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
                for name in SAME:
                    self.assertEqual(again.headers.get(name), first.headers.get(name))
                self.assertEqual(len((await self.request("GET", path)).json), count)

    async def test_other_requests(self) -> None:
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

    async def test_a_refusal_leaves_the_key_free(self) -> None:
        self.assertEqual((await self.put("/profiles", "k", {"email": "nobody"})).status, 422)
        self.assertEqual((await self.put("/profiles", "k", {"email": "a@example.org"})).status, 201)

    async def test_all_at_once(self) -> None:
        body = {"id": str(uuid4()), "numbers": ["+4931"]}
        asked = [Deferred.fromCoroutine(self.put("/profiles", "k", body)) for _ in range(8)]
        responses = [response for _, response in await DeferredList(asked)]
        self.assertEqual({response.status for response in responses} - {201, 409}, set())
        self.assertIn(201, {response.status for response in responses})
        for response in responses:
            if response.status == 409:
                self.assertEqual(response.json["code"], "under-way")
        self.assertEqual(len(await self.profiles.all()), 1)

    async def test_two_daemons_at_once(self) -> None:
        other = self.make_resource()
        mine, self.site.resource = self.site.resource, other
        body = {"profileId": str((await self.add_profile()).id)}
        statuses = []
        for turn in range(10):
            second = Deferred.fromCoroutine(self.put("/recordings", f"k{turn}", body))
            self.site.resource = mine if turn % 2 else other
            first = Deferred.fromCoroutine(self.put("/recordings", f"k{turn}", body))
            statuses += [response.status for _, response in await DeferredList([first, second])]
        self.assertEqual(set(statuses) - {201, 409}, set())
        self.assertEqual(len(await self.recordings.page()), 10)

    async def test_a_crash_before_the_commit_leaves_nothing_and_after_it_everything(self) -> None:
        """The answer and the profile are one transaction: there is no third case."""
        real = Transaction.execute

        async def dies(transaction: Transaction, sql: str, params: Any = ()) -> int:
            done = await real(transaction, sql, params)
            if "INSERT INTO idempotency" in sql:
                raise StoreUnavailable("the process died here, before the commit")
            return done

        body = {"name": "once"}
        self.patch(Transaction, "execute", dies)
        self.assertEqual((await self.put("/profiles", "k", body)).status, 503)
        self.patch(Transaction, "execute", real)
        self.assertEqual(await self.pool.query("SELECT 1 FROM idempotency"), [])
        self.assertEqual(await self.profiles.all(), [])
        committed = await self.put("/profiles", "k", body)  # whose answer never arrives, say
        again = await self.put("/profiles", "k", body)
        self.assertEqual((again.status, again.body), (201, committed.body))
        self.assertEqual(len(await self.profiles.all()), 1)

    async def test_after_a_day_a_key_is_new(self) -> None:
        first = await self.put("/profiles", "k", {"name": "a"})
        await self.pool.execute("UPDATE idempotency SET created_at = created_at - interval '25 hours'")
        second = await self.put("/profiles", "k", {"name": "b"})
        self.assertEqual(second.status, 201)
        self.assertNotEqual(first.headers["location"], second.headers["location"])
        await self.pool.execute("UPDATE idempotency SET created_at = created_at - interval '25 hours'")
        self.assertEqual(await self.idempotency.delete_expired(), 1)

    async def test_what_is_done_to_the_resource_later_is_not_in_the_first_answer(self) -> None:
        first = await self.put("/profiles", "k", {"name": "a"})
        await self.request("DELETE", f"/profiles/{first.json['id']}")
        self.assertEqual((await self.put("/profiles", "k", {"name": "a"})).body, first.body)
