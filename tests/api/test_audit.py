"""Every change leaves an entry, and there is no change without one."""

from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from psycopg2.errors import CheckViolation
from twisted.trial.unittest import SynchronousTestCase

from tests.api.rest_test_case import PUBLIC_URL, RestTestCase
from tests.subtest import subtest
from voxrec.api.audit import SAFE, _kind
from voxrec.errors import StoreUnavailable
from voxrec.model import AuditEntry, AuditOutcome, RecordingState, Role, Token
from voxrec.store.tokens import generate_secret
from voxrec.web.body import FileBody
from voxrec.web.dispatcher import Dispatcher


class KindTests(SynchronousTestCase):
    def test_table(self) -> None:
        for path, kind in (
            ("/profiles", "profile"),
            ("/profiles/<id>", "profile"),
            ("/profiles/<profileId>/recordings", "recording"),
            ("/profiles/<profileId>/recordings/<id>", "recording"),
            ("/recordings/<id>/audio", "recording audio"),
            ("/tokens/<id>", "token"),
        ):
            with subtest(path):
                self.assertEqual(_kind(path), kind)


class AuditTests(RestTestCase):
    async def entries(self) -> Sequence[AuditEntry]:
        return await self.audit.page()

    async def last(self) -> AuditEntry:
        return (await self.entries())[0]

    async def test_who_did_what_from_where(self) -> None:
        secret = generate_secret()
        token = await self.tokens.create(
            Token(id=uuid4(), name="crm", role=Role.PROVISION, created_at=(await self.add_profile()).created_at), secret
        )
        made = await self.request("PUT", "/profiles", token=secret, json={"name": "desk"})
        entry = await self.last()
        self.assertEqual((entry.who, entry.token_id, entry.address), ("crm", token.id, "127.0.0.1"))
        self.assertEqual((entry.method, entry.path, entry.kind), ("PUT", "/profiles", "profile"))
        self.assertEqual((entry.outcome, entry.status, entry.fields), (AuditOutcome.DONE, 201, ()))
        self.assertEqual(str(entry.target_id), made.json["id"])

    async def test_every_kind_of_change(self) -> None:
        profile = await self.add_profile()
        recording = await self.add_recording(profile_id=profile.id, state=RecordingState.PENDING)
        p, r = f"/profiles/{profile.id}", f"/recordings/{recording.id}"
        rows: tuple[tuple[str, str, Any, AuditOutcome, int, tuple[str, ...]], ...] = (
            ("POST", p, {"record": True, "name": None}, AuditOutcome.DONE, 200, ("record",)),
            ("POST", p, {"metadata": {"pin": "1234"}}, AuditOutcome.DONE, 200, ("metadata",)),
            ("POST", p, {}, AuditOutcome.DONE, 200, ()),
            ("POST", p, {"record": 1}, AuditOutcome.REFUSED, 422, ()),
            ("POST", f"/profiles/{recording.id}", {}, AuditOutcome.REFUSED, 404, ()),
            ("PUT", f"{p}/recordings", {}, AuditOutcome.DONE, 201, ()),
            ("POST", r, {"legalHold": True}, AuditOutcome.DONE, 200, ("legalHold",)),
            ("DELETE", r, None, AuditOutcome.REFUSED, 409, ()),
            ("DELETE", p, None, AuditOutcome.DONE, 204, ()),
        )
        for method, path, body, outcome, status, fields in rows:
            with subtest((method, path, body)):
                await self.request(method, path, **({} if body is None else {"json": body}))
                entry = await self.last()
                told = (entry.method, entry.path, entry.outcome, entry.status, entry.fields)
                self.assertEqual(told, (method, path, outcome, status, fields))
        self.assertEqual(len(await self.entries()), len(rows))
        [(stored,)] = await self.pool.query("SELECT string_agg(audit::text, ' ') FROM audit")
        self.assertNotIn("1234", stored)

    async def test_no_secret_of_a_token(self) -> None:
        made = await self.request("PUT", "/tokens", json={"name": "crm", "role": "read"})
        shown = await self.request("GET", "/audit")
        self.assertEqual(shown.json[0]["targetId"], made.json["id"])
        self.assertNotIn(made.json["token"].encode(), shown.body)

    async def test_reading_and_strangers_leave_nothing(self) -> None:
        await self.request("GET", "/profiles")
        await self.request("PUT", "/profiles", token="", json={})
        await self.request("PUT", "/profiles", token="read", json={})
        self.assertEqual(await self.entries(), [])

    async def test_no_route_is_left_out(self) -> None:
        """Also those that are yet to be written: it is the door that keeps the entries."""
        dispatcher = self.intake
        assert isinstance(dispatcher, Dispatcher)
        changing = [
            route for route in dispatcher.routes if route.method not in SAFE and not isinstance(route.body, FileBody)
        ]
        self.assertGreater(len(changing), 8)
        for route in changing:
            with subtest((route.method, route.path)):
                path = route.path.replace("<id>", str(uuid4())).replace("<profileId>", str(uuid4()))
                before = len(await self.entries())
                await self.request(route.method, path, json={})
                self.assertEqual(len(await self.entries()), before + 1)

    async def test_without_an_entry_nothing_is_changed(self) -> None:
        profile = await self.add_profile()

        async def failing(_: AuditEntry) -> None:
            raise StoreUnavailable("gone")

        self.patch(self.audit, "begin", failing)
        response = await self.request("DELETE", f"/profiles/{profile.id}")
        self.assertEqual((response.status, response.json["code"]), (503, "store-unavailable"))
        self.assertEqual(await self.profiles.get(profile.id), profile)

    async def test_an_entry_that_cannot_be_ended(self) -> None:
        async def failing(_: AuditEntry) -> None:
            raise StoreUnavailable("gone")

        profile = await self.add_profile()
        self.patch(self.audit, "end", failing)
        self.assertEqual((await self.request("DELETE", f"/profiles/{profile.id}")).status, 204)
        self.assertEqual((await self.last()).outcome, AuditOutcome.BEGUN)
        self.assertEqual(len(self.flushLoggedErrors(StoreUnavailable)), 1)

    async def test_an_entry_that_is_part_of_its_change(self) -> None:
        profile = await self.add_profile()
        await self.pool.execute("ALTER TABLE audit ADD CONSTRAINT none CHECK (outcome <> 'done')")
        for method, path in (("PUT", "/profiles"), ("POST", f"/profiles/{profile.id}")):
            with subtest(method):
                self.assertEqual((await self.request(method, path, json={"name": "other"})).status, 500)
                entry = await self.last()
                self.assertEqual((entry.method, entry.outcome, entry.status), (method, AuditOutcome.FAILED, 500))
        self.assertEqual(await self.profiles.all(), [profile])
        self.assertEqual(len(self.flushLoggedErrors(CheckViolation)), 2)

    async def test_an_entry_of_what_was_refused_that_cannot_be_written(self) -> None:
        async def failing(_: AuditEntry) -> None:
            raise StoreUnavailable("gone")

        self.patch(self.audit, "begin", failing)
        self.assertEqual((await self.request("PUT", "/profiles", json={"record": 1})).status, 422)
        self.assertEqual(await self.entries(), [])
        self.assertEqual(len(self.flushLoggedErrors(StoreUnavailable)), 1)

    async def test_what_fails(self) -> None:
        async def failing(*_: object) -> None:
            raise KeyError("secret detail")

        self.patch(self.profiles, "create", failing)
        self.assertEqual((await self.request("PUT", "/profiles", json={})).status, 500)
        entry = await self.last()
        self.assertEqual((entry.outcome, entry.status), (AuditOutcome.FAILED, 500))
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)

    async def test_a_list_newest_first_in_pages(self) -> None:
        for n in range(5):
            await self.request("PUT", "/profiles", token="provision" if n % 2 else "admin", json={"name": str(n)})
        await self.request("PUT", "/recordings", json={})
        whole = (await self.request("GET", "/audit")).json
        self.assertEqual(len(whole), 6)
        self.assertEqual(whole, sorted(whole, key=lambda one: one["createdAt"], reverse=True))
        path, seen = "/audit?limit=4", []
        while path:
            page = await self.request("GET", path)
            seen += page.json
            path = page.headers.get("link", "").partition(">")[0].removeprefix(f"<{PUBLIC_URL}")
        self.assertEqual(seen, whole)
        moment = whole[2]["createdAt"]
        for query, wanted in (
            ("who=the%20provision%20token", [one for one in whole if "provision" in one["who"]]),
            ("who=nobody", []),
            ("path=/profiles", [one for one in whole if one["path"] == "/profiles"]),
            ("path=/rec", [one for one in whole if one["path"] == "/recordings"]),
            (f"since={moment}", whole[:3]),
            (f"until={moment}", whole[3:]),
        ):
            with subtest(query):
                self.assertEqual((await self.request("GET", f"/audit?{query}")).json, wanted)
        self.assertEqual((await self.request("GET", "/audit?since=now&what=x")).error_fields, ["since", "what"])
