"""/jobs: what is owed can be seen, started again and given up, by those who may."""

from datetime import timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from tests.api.rest_test_case import CREATED_AT, PUBLIC_URL, ClientResponse, RestTestCase
from tests.subtest import subtest
from tests.web.test_pagination import NEXT
from voxrec.model import AuditOutcome, JobKind, Role, Token
from voxrec.store.deliveries import Deliveries, DeliveryState
from voxrec.store.tokens import generate_secret

AGAIN: Final = {"state": "pending"}
WRONG: Final = (
    ("state=done", ["state"]),
    ("state=", ["state"]),
    ("state=dead,", ["state"]),
    ("kind=webhook,mail,", ["kind"]),
    ("kind=polish", ["kind"]),
    ("recordingId=1", ["recordingId"]),
    ("recordingId=%7B5f0c1a52-8d0f-4c1b-9a3e-2b7d6f1c9e04%7D", ["recordingId"]),
    ("profileId=5f0c1a52-8d0f-4c1b-9a3e-2b7d6f1c9e04", ["profileId"]),
    ("limit=0", ["limit"]),
)


class JobTestCase(RestTestCase):
    async def add(self, kind: JobKind = JobKind.MAIL, of: UUID | None = None, **fields: Any) -> UUID:
        """A dead job, unless ``fields`` say something else."""
        told = {"kind": kind.value, "recording_id": of or uuid4(), "dead": True, "last_error": "550 never", **fields}
        names, places = ", ".join(told), ", ".join(["%s"] * len(told))
        rows = await self.pool.returning(
            f"INSERT INTO jobs ({names}) VALUES ({places}) RETURNING id",  # noqa: S608 - names of columns
            tuple(told.values()),
        )
        job_id: UUID = rows[0][0]
        return job_id

    async def secret(self, role: Role, *profile_ids: UUID) -> str:
        secret = generate_secret()
        limit = profile_ids or None
        await self.tokens.create(
            Token(id=uuid4(), name="t", role=role, profile_ids=limit, created_at=CREATED_AT), secret
        )
        return secret


class SeeingTests(JobTestCase):
    async def test_what_it_says(self) -> None:
        made = await self.add_recording()
        job_id = await self.add(of=made.id, attempts=3)
        shown = await self.request("GET", f"/jobs/{job_id}", token="read")
        told = shown.json
        self.assertEqual(
            {key: told[key] for key in told if not key.endswith("At")},
            {
                "id": str(job_id),
                "kind": "mail",
                "recordingId": str(made.id),
                "state": "dead",
                "attempts": 3,
                "lastError": "550 never",
            },
        )
        self.assertEqual((await self.request("GET", "/jobs", token="read")).json, [told])
        unchanged = await self.request("GET", f"/jobs/{job_id}", headers={"If-None-Match": shown.etag})
        self.assertEqual(unchanged.status, 304)

    async def test_filters(self) -> None:
        made = await self.add_recording()
        dead = await self.add(of=made.id)
        waiting = await self.add(JobKind.FINISH, dead=False)
        running = await self.add(JobKind.ERASE, dead=False, leased_until=CREATED_AT + timedelta(days=36500))
        done = await self.add(JobKind.FINISH, of=made.id, dead=False, done_at=CREATED_AT)
        for query, wanted in (
            ("", {dead, waiting, running}),
            ("?state=dead", {dead}),
            ("?state=pending,running", {waiting, running}),
            ("?kind=mail", {dead}),
            ("?kind=finish,erase", {waiting, running}),
            (f"?recordingId={made.id}", {dead}),
            (f"?recordingId={made.id}&state=pending", set()),
        ):
            with subtest(query):
                response = await self.request("GET", f"/jobs{query}")
                self.assertEqual({UUID(one["id"]) for one in response.json}, wanted)
        self.assertEqual((await self.request("GET", f"/jobs/{done}")).json["state"], "done")

    async def test_wrong_parameters(self) -> None:
        for query, fields in WRONG:
            with subtest(query):
                response = await self.request("GET", f"/jobs?{query}")
                self.assertEqual((response.status, response.error_fields), (422, fields), response.body)

    async def test_pages(self) -> None:
        made = [await self.add(created_at=CREATED_AT - timedelta(seconds=n)) for n in range(5)]
        found: list[str] = []
        following: str | None = "/jobs?state=dead&limit=2"
        while following:
            response = await self.request("GET", following)
            found += [one["id"] for one in response.json]
            link = NEXT.fullmatch(response.headers.get("link", ""))
            following = link[1].removeprefix(PUBLIC_URL) if link else None
        self.assertEqual(found, [str(one) for one in made])


class StartingAgainTests(JobTestCase):
    async def again(self, job_id: UUID, **given: Any) -> ClientResponse:
        return await self.request("POST", f"/jobs/{job_id}", **{"json": AGAIN, **given})

    async def test_a_dead_mail(self) -> None:
        made = await self.add_recording()
        deliveries = Deliveries(self.pool)
        await deliveries.record_reply(made.id, "eve@example.org", DeliveryState.REFUSED, "550 never")
        job_id = await self.add(of=made.id, attempts=40)
        response = await self.again(job_id)
        self.assertEqual((response.status, response.json["state"], response.json["attempts"]), (200, "pending", 0))
        self.assertEqual(response.etag, (await self.request("GET", f"/jobs/{job_id}")).etag)
        self.assertEqual(await deliveries.pending_recipients(made.id, ["eve@example.org"]), ["eve@example.org"])
        ((job,), _) = await self.jobs.claim([JobKind.MAIL], timedelta(minutes=1))
        self.assertEqual((job.id, job.attempts), (job_id, 1))
        self.assertEqual((await self.again(job_id)).status, 409, "it is running")

    async def test_what_is_done_is_not_done_again(self) -> None:
        self.assertEqual((await self.again(await self.add(dead=False, done_at=CREATED_AT))).status, 409)

    async def test_only_that_can_be_asked(self) -> None:
        job_id = await self.add()
        for body, fields in (
            ({}, ["state"]),
            ({"state": "dead"}, ["state"]),
            ({"state": None}, ["state"]),
            ({"state": "pending", "attempts": 7}, ["attempts"]),
        ):
            with subtest(body):
                response = await self.again(job_id, json=body)
                self.assertEqual((response.status, response.error_fields), (422, fields), response.body)
        self.assertEqual((await self.request("GET", f"/jobs/{job_id}")).json["state"], "dead")

    async def test_somebody_was_quicker(self) -> None:
        job_id = await self.add()
        seen = (await self.request("GET", f"/jobs/{job_id}")).etag
        self.assertEqual((await self.again(job_id, headers={"If-Match": seen})).status, 200)
        for method in ("POST", "DELETE"):
            response = await self.request(method, f"/jobs/{job_id}", json=AGAIN, headers={"If-Match": seen})
            self.assertEqual(response.status, 412)

    async def test_given_up(self) -> None:
        job_id = await self.add()
        self.assertEqual((await self.request("DELETE", f"/jobs/{job_id}")).status, 204)
        self.assertEqual((await self.request("GET", f"/jobs/{job_id}")).status, 404)
        for refused in (await self.add(JobKind.FINISH), await self.add(dead=False)):
            self.assertEqual((await self.request("DELETE", f"/jobs/{refused}")).status, 409)

    async def test_both_are_in_the_audit(self) -> None:
        job_id = await self.add()
        await self.again(job_id)
        await self.request("DELETE", f"/jobs/{job_id}")
        self.assertEqual(
            [(one.method, one.kind, one.target_id, one.outcome, one.status) for one in await self.audit.page()],
            [
                ("DELETE", "job", job_id, AuditOutcome.REFUSED, 409),
                ("POST", "job", job_id, AuditOutcome.DONE, 200),
            ],
        )


class WhoMayTests(JobTestCase):
    async def test_roles(self) -> None:
        for token, seeing, changing in (("", 401, 401), ("read", 200, 403), ("provision", 200, 200)):
            with subtest(token):
                job_id = await self.add()
                self.assertEqual((await self.request("GET", "/jobs", token=token)).status, seeing)
                self.assertEqual((await self.request("GET", f"/jobs/{job_id}", token=token)).status, seeing)
                response = await self.request("POST", f"/jobs/{job_id}", token=token, json=AGAIN)
                self.assertEqual(response.status, changing)
        self.assertEqual((await self.request("DELETE", f"/jobs/{await self.add()}", token="read")).status, 403)

    async def test_limited_to_some_profiles(self) -> None:
        profile = await self.add_profile()
        mine = await self.add(of=(await self.add_recording(profile_id=profile.id)).id)
        others = [await self.add(of=(await self.add_recording()).id), await self.add(JobKind.ERASE)]
        secret = await self.secret(Role.PROVISION, profile.id)
        for query in ("", "?limit=9"):
            self.assertEqual(
                [one["id"] for one in (await self.request("GET", f"/jobs{query}", token=secret)).json], [str(mine)]
            )
        for other in others:
            for method in ("GET", "POST", "DELETE"):
                with subtest((method, other)):
                    given = {"json": AGAIN} if method == "POST" else {}
                    self.assertEqual((await self.request(method, f"/jobs/{other}", token=secret, **given)).status, 404)
        self.assertEqual((await self.request("POST", f"/jobs/{mine}", token=secret, json=AGAIN)).status, 200)
