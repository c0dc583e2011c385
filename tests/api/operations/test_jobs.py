"""/jobs: representation, filters, restart, deletion and access."""

from datetime import timedelta
from typing import Any, Final
from uuid import UUID, uuid4

from tests.api.rest_test_case import CREATED_AT, PUBLIC_URL, ClientResponse, RestTestCase
from tests.subtest import subtest
from tests.web.test_pagination import NEXT_LINK
from voxrec.model import AuditOutcome, JobKind, Role, Token
from voxrec.store.deliveries import Deliveries, DeliveryState
from voxrec.store.tokens import generate_secret

RESTART: Final = {"state": "pending"}
INVALID_QUERIES: Final = (
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
    async def add_job(self, kind: JobKind = JobKind.MAIL, recording_id: UUID | None = None, **fields: Any) -> UUID:
        """Insert a dead-lettered job, or one with other columns."""
        columns = {
            "kind": kind.value,
            "recording_id": recording_id or uuid4(),
            "dead": True,
            "last_error": "550 never",
            **fields,
        }
        names, placeholders = ", ".join(columns), ", ".join(["%s"] * len(columns))
        rows = await self.pool.returning(
            f"INSERT INTO jobs ({names}) VALUES ({placeholders}) RETURNING id",  # noqa: S608 - only column names
            tuple(columns.values()),
        )
        job_id: UUID = rows[0][0]
        return job_id

    async def create_token(self, role: Role, *profile_ids: UUID) -> str:
        secret = generate_secret()
        await self.tokens.create(
            Token(id=uuid4(), name="t", role=role, profile_ids=profile_ids or None, created_at=CREATED_AT), secret
        )
        return secret


class JobRetrievalTests(JobTestCase):
    async def test_representation(self) -> None:
        recording = await self.add_recording()
        job_id = await self.add_job(recording_id=recording.id, attempts=3)
        response = await self.request("GET", f"/jobs/{job_id}", token="read")
        job = response.json
        self.assertEqual(
            {key: job[key] for key in job if not key.endswith("At")},
            {
                "id": str(job_id),
                "kind": "mail",
                "recordingId": str(recording.id),
                "state": "dead",
                "attempts": 3,
                "lastError": "550 never",
                "node": None,
            },
        )
        self.assertEqual((await self.request("GET", "/jobs", token="read")).json, [job])
        unchanged = await self.request("GET", f"/jobs/{job_id}", headers={"If-None-Match": response.etag})
        self.assertEqual(unchanged.status, 304)

    async def test_filters(self) -> None:
        recording = await self.add_recording()
        dead = await self.add_job(recording_id=recording.id)
        waiting = await self.add_job(JobKind.FINISH, dead=False)
        running = await self.add_job(JobKind.ERASE, dead=False, leased_until=CREATED_AT + timedelta(days=36500))
        done = await self.add_job(JobKind.FINISH, recording_id=recording.id, dead=False, done_at=CREATED_AT)
        for query, expected in (
            ("", {dead, waiting, running}),
            ("?state=dead", {dead}),
            ("?state=pending,running", {waiting, running}),
            ("?kind=mail", {dead}),
            ("?kind=finish,erase", {waiting, running}),
            (f"?recordingId={recording.id}", {dead}),
            (f"?recordingId={recording.id}&state=pending", set()),
        ):
            with subtest(query):
                response = await self.request("GET", f"/jobs{query}")
                self.assertEqual({UUID(item["id"]) for item in response.json}, expected)
        self.assertEqual((await self.request("GET", f"/jobs/{done}")).json["state"], "done")

    async def test_invalid_parameters(self) -> None:
        for query, error_fields in INVALID_QUERIES:
            with subtest(query):
                response = await self.request("GET", f"/jobs?{query}")
                self.assertEqual((response.status, response.error_fields), (422, error_fields), response.body)

    async def test_pages(self) -> None:
        job_ids = [await self.add_job(created_at=CREATED_AT - timedelta(seconds=n)) for n in range(5)]
        found: list[str] = []
        next_page: str | None = "/jobs?state=dead&limit=2"
        while next_page:
            response = await self.request("GET", next_page)
            found += [item["id"] for item in response.json]
            link = NEXT_LINK.fullmatch(response.headers.get("link", ""))
            next_page = link[1].removeprefix(PUBLIC_URL) if link else None
        self.assertEqual(found, [str(job_id) for job_id in job_ids])


class UnconfirmedTests(JobTestCase):
    """A mail job that may have delivered its mail."""

    ANN: Final = "ann@example.org"

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.recording = await self.add_recording()
        self.deliveries = Deliveries(self.pool)
        await self.deliveries.record_unconfirmed(self.recording.id, self.ANN, "closed", 1, timedelta(minutes=30))
        self.job_id = await self.add_job(recording_id=self.recording.id, unconfirmed=True)

    async def statuses(self) -> list[str]:
        response = await self.request("GET", f"/recordings/{self.recording.id}/deliveries")
        return [delivery["status"] for delivery in response.json]

    async def test_filter(self) -> None:
        dead = await self.add_job()
        for state, expected in (("unconfirmed", [self.job_id]), ("dead", [dead])):
            response = await self.request("GET", f"/jobs?state={state}")
            self.assertEqual([(UUID(job["id"]), job["state"]) for job in response.json], [(expected[0], state)])
        self.assertEqual(await self.statuses(), ["unconfirmed"])

    async def test_confirmation(self) -> None:
        path = f"/jobs/{self.job_id}"
        response = await self.request("POST", path, json={"state": "done"})
        self.assertEqual((response.status, response.json["state"]), (200, "done"), response.body)
        self.assertEqual(await self.statuses(), ["delivered"])
        self.assertEqual((await self.request("POST", path, json={"state": "done"})).status, 409)
        (entry, *_) = await self.audit.page()
        self.assertEqual((entry.method, entry.target_id), ("POST", self.job_id))

    async def test_only_an_unconfirmed_job_can_be_confirmed(self) -> None:
        response = await self.request("POST", f"/jobs/{await self.add_job()}", json={"state": "done"})
        self.assertEqual(response.status, 409)
        self.assertIn("only an unconfirmed job", response.json["detail"])

    async def test_the_mail_is_sent_again(self) -> None:
        response = await self.request("POST", f"/jobs/{self.job_id}", json=RESTART)
        self.assertEqual((response.status, response.json["state"]), (200, "pending"))
        self.assertEqual(await self.deliveries.pending_recipients(self.recording.id, [self.ANN]), [self.ANN])

    async def test_it_is_given_up(self) -> None:
        self.assertEqual((await self.request("DELETE", f"/jobs/{self.job_id}")).status, 204)
        self.assertEqual(await self.statuses(), ["unconfirmed"])


class JobRestartTests(JobTestCase):
    async def restart(self, job_id: UUID, **options: Any) -> ClientResponse:
        return await self.request("POST", f"/jobs/{job_id}", **{"json": RESTART, **options})

    async def test_dead_lettered_mail_is_sent_again_to_refused_recipients(self) -> None:
        recording = await self.add_recording()
        deliveries = Deliveries(self.pool)
        await deliveries.record_reply(recording.id, "eve@example.org", DeliveryState.REFUSED, "550 never")
        job_id = await self.add_job(recording_id=recording.id, attempts=40)
        response = await self.restart(job_id)
        self.assertEqual((response.status, response.json["state"], response.json["attempts"]), (200, "pending", 0))
        self.assertEqual(response.etag, (await self.request("GET", f"/jobs/{job_id}")).etag)
        self.assertEqual(await deliveries.pending_recipients(recording.id, ["eve@example.org"]), ["eve@example.org"])
        ((job,), _) = await self.jobs.claim([JobKind.MAIL], timedelta(minutes=1))
        self.assertEqual((job.id, job.attempts), (job_id, 1))
        self.assertEqual((await self.restart(job_id)).status, 409, "it is running")

    async def test_completed_job_cannot_be_restarted(self) -> None:
        self.assertEqual((await self.restart(await self.add_job(dead=False, done_at=CREATED_AT))).status, 409)

    async def test_invalid_bodies(self) -> None:
        job_id = await self.add_job()
        for body, error_fields in (
            ({}, ["state"]),
            ({"state": "dead"}, ["state"]),
            ({"state": None}, ["state"]),
            ({"state": "pending", "attempts": 7}, ["attempts"]),
        ):
            with subtest(body):
                response = await self.restart(job_id, json=body)
                self.assertEqual((response.status, response.error_fields), (422, error_fields), response.body)
        self.assertEqual((await self.request("GET", f"/jobs/{job_id}")).json["state"], "dead")

    async def test_if_match(self) -> None:
        job_id = await self.add_job()
        etag = (await self.request("GET", f"/jobs/{job_id}")).etag
        self.assertEqual((await self.restart(job_id, headers={"If-Match": etag})).status, 200)
        for method in ("POST", "DELETE"):
            response = await self.request(method, f"/jobs/{job_id}", json=RESTART, headers={"If-Match": etag})
            self.assertEqual(response.status, 412)

    async def test_deletion_of_dead_lettered_jobs(self) -> None:
        job_id = await self.add_job()
        self.assertEqual((await self.request("DELETE", f"/jobs/{job_id}")).status, 204)
        self.assertEqual((await self.request("GET", f"/jobs/{job_id}")).status, 404)
        for undeletable in (await self.add_job(JobKind.FINISH), await self.add_job(dead=False)):
            self.assertEqual((await self.request("DELETE", f"/jobs/{undeletable}")).status, 409)

    async def test_restart_and_deletion_are_audited(self) -> None:
        job_id = await self.add_job()
        await self.restart(job_id)
        await self.request("DELETE", f"/jobs/{job_id}")
        self.assertEqual(
            [
                (entry.method, entry.kind, entry.target_id, entry.outcome, entry.status)
                for entry in await self.audit.page()
            ],
            [
                ("DELETE", "job", job_id, AuditOutcome.REFUSED, 409),
                ("POST", "job", job_id, AuditOutcome.DONE, 200),
            ],
        )


class JobAccessTests(JobTestCase):
    async def test_roles(self) -> None:
        for token, read_status, change_status in (("", 401, 401), ("read", 200, 403), ("provision", 200, 200)):
            with subtest(token):
                job_id = await self.add_job()
                self.assertEqual((await self.request("GET", "/jobs", token=token)).status, read_status)
                self.assertEqual((await self.request("GET", f"/jobs/{job_id}", token=token)).status, read_status)
                response = await self.request("POST", f"/jobs/{job_id}", token=token, json=RESTART)
                self.assertEqual(response.status, change_status)
        self.assertEqual((await self.request("DELETE", f"/jobs/{await self.add_job()}", token="read")).status, 403)

    async def test_scoped_token_has_access_to_jobs_of_its_profiles_only(self) -> None:
        profile = await self.add_profile()
        own = await self.add_job(recording_id=(await self.add_recording(profile_id=profile.id)).id)
        others = [await self.add_job(recording_id=(await self.add_recording()).id), await self.add_job(JobKind.ERASE)]
        secret = await self.create_token(Role.PROVISION, profile.id)
        for query in ("", "?limit=9"):
            self.assertEqual(
                [item["id"] for item in (await self.request("GET", f"/jobs{query}", token=secret)).json], [str(own)]
            )
        for other in others:
            for method in ("GET", "POST", "DELETE"):
                with subtest((method, other)):
                    options = {"json": RESTART} if method == "POST" else {}
                    self.assertEqual(
                        (await self.request(method, f"/jobs/{other}", token=secret, **options)).status, 404
                    )
        self.assertEqual((await self.request("POST", f"/jobs/{own}", token=secret, json=RESTART)).status, 200)
