"""Audit entries: every change has one, and no change happens without one."""

import re
from collections.abc import Sequence
from typing import Any
from uuid import uuid4

from psycopg2.errors import CheckViolation

from tests.api.rest_test_case import RestTestCase
from tests.subtest import subtest
from voxrec.errors import StoreUnavailable
from voxrec.model import AuditEntry, AuditOutcome, RecordingState, Role, Token
from voxrec.store.tokens import generate_secret
from voxrec.web.body import FileBody
from voxrec.web.methods import SAFE_METHODS


class AuditMiddlewareTests(RestTestCase):
    async def entries(self) -> Sequence[AuditEntry]:
        return await self.audit.page()

    async def newest(self) -> AuditEntry:
        return (await self.entries())[0]

    async def test_who_changed_what_from_which_address(self) -> None:
        secret = generate_secret()
        token = await self.tokens.create(
            Token(id=uuid4(), name="crm", role=Role.PROVISION, created_at=(await self.add_profile()).created_at), secret
        )
        created = await self.request("PUT", "/profiles", token=secret, json={"name": "desk"})
        entry = await self.newest()
        self.assertEqual((entry.who, entry.token_id, entry.address), ("crm", token.id, "127.0.0.1"))
        self.assertEqual((entry.method, entry.path, entry.kind), ("PUT", "/profiles", "profile"))
        self.assertEqual((entry.outcome, entry.status, entry.fields), (AuditOutcome.DONE, 201, ()))
        self.assertEqual(str(entry.target_id), created.json["id"])

    async def test_outcomes_and_changed_fields(self) -> None:
        profile = await self.add_profile()
        recording = await self.add_recording(profile_id=profile.id, state=RecordingState.PENDING)
        p, r = f"/profiles/{profile.id}", f"/recordings/{recording.id}"
        rows: tuple[tuple[str, str, Any, AuditOutcome, int, tuple[str, ...]], ...] = (
            ("POST", p, {"record": True, "name": None}, AuditOutcome.DONE, 200, ("record",)),
            ("POST", p, {"metadata": {"pin": "secret-pin"}}, AuditOutcome.DONE, 200, ("metadata",)),
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
                entry = await self.newest()
                recorded = (entry.method, entry.path, entry.outcome, entry.status, entry.fields)
                self.assertEqual(recorded, (method, path, outcome, status, fields))
        self.assertEqual(len(await self.entries()), len(rows))
        [(stored,)] = await self.pool.query("SELECT string_agg(audit::text, ' ') FROM audit")
        self.assertNotIn("secret-pin", stored)

    async def test_secret_of_a_new_token_is_not_recorded(self) -> None:
        created = await self.request("PUT", "/tokens", json={"name": "crm", "role": "read"})
        response = await self.request("GET", "/audit")
        self.assertEqual(response.json[0]["targetId"], created.json["id"])
        self.assertNotIn(created.json["token"].encode(), response.body)

    async def test_reads_and_unauthorized_requests_have_no_entries(self) -> None:
        await self.request("GET", "/profiles")
        await self.request("PUT", "/profiles", token="", json={})
        await self.request("PUT", "/profiles", token="read", json={})
        self.assertEqual(await self.entries(), [])

    async def test_every_changing_route_is_audited(self) -> None:
        """New routes are audited too: entries are made by a middleware, not by handlers."""
        changing = [
            route
            for route in self.app.routes
            if route.method not in SAFE_METHODS and not isinstance(route.body, FileBody) and route.role is not None
        ]
        self.assertGreater(len(changing), 8)
        for route in changing:
            with subtest((route.method, route.path)):
                path = re.sub("<[a-zA-Z]+>", lambda _: str(uuid4()), route.path)
                before = len(await self.entries())
                await self.request(route.method, path, json={})
                self.assertEqual(len(await self.entries()), before + 1)

    async def test_no_change_if_the_entry_cannot_be_stored(self) -> None:
        profile = await self.add_profile()

        async def failing(_: AuditEntry) -> None:
            raise StoreUnavailable("gone")

        self.patch(self.audit, "begin", failing)
        response = await self.request("DELETE", f"/profiles/{profile.id}")
        self.assertEqual((response.status, response.json["code"]), (503, "store-unavailable"))
        self.assertEqual(await self.profiles.get(profile.id), profile)

    async def test_entry_whose_outcome_cannot_be_stored(self) -> None:
        async def failing(_: AuditEntry) -> None:
            raise StoreUnavailable("gone")

        profile = await self.add_profile()
        self.patch(self.audit, "end", failing)
        self.assertEqual((await self.request("DELETE", f"/profiles/{profile.id}")).status, 204)
        self.assertEqual((await self.newest()).outcome, AuditOutcome.BEGUN)
        self.assertEqual(len(self.flushLoggedErrors(StoreUnavailable)), 1)

    async def test_entry_in_the_transaction_of_the_change(self) -> None:
        profile = await self.add_profile()
        await self.pool.execute("ALTER TABLE audit ADD CONSTRAINT none CHECK (outcome <> 'done')")
        for method, path in (("PUT", "/profiles"), ("POST", f"/profiles/{profile.id}")):
            with subtest(method):
                self.assertEqual((await self.request(method, path, json={"name": "other"})).status, 500)
                entry = await self.newest()
                self.assertEqual((entry.method, entry.outcome, entry.status), (method, AuditOutcome.FAILED, 500))
        self.assertEqual(await self.profiles.all(), [profile])
        self.assertEqual(len(self.flushLoggedErrors(CheckViolation)), 2)

    async def test_entry_of_a_refused_request_that_cannot_be_stored(self) -> None:
        async def failing(_: AuditEntry) -> None:
            raise StoreUnavailable("gone")

        self.patch(self.audit, "begin", failing)
        self.assertEqual((await self.request("PUT", "/profiles", json={"record": 1})).status, 422)
        self.assertEqual(await self.entries(), [])
        self.assertEqual(len(self.flushLoggedErrors(StoreUnavailable)), 1)

    async def test_unexpected_errors_are_recorded_as_failed(self) -> None:
        async def failing(*_: object) -> None:
            raise KeyError("secret detail")

        self.patch(self.profiles, "create", failing)
        self.assertEqual((await self.request("PUT", "/profiles", json={})).status, 500)
        entry = await self.newest()
        self.assertEqual((entry.outcome, entry.status), (AuditOutcome.FAILED, 500))
        self.assertEqual(len(self.flushLoggedErrors(KeyError)), 1)
