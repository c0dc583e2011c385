"""The page for operators: numbers, jobs, nodes and dependencies."""

import re
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any
from urllib.parse import quote
from uuid import UUID

from tests.api.calls.test_calls import make_call
from tests.api.operations.test_jobs import JobTestCase
from tests.api.rest_test_case import CREATED_AT
from tests.console.console_test_case import ConsoleTestCase
from tests.subtest import subtest
from voxrec.console.days import start_of_day, today
from voxrec.model import CallState, JobKind, NodeStatus, RecordingState, Verdict
from voxrec.store.nodes import Nodes

PAGE = "/console/operations"


class OperationsTestCase(ConsoleTestCase, JobTestCase):
    async def page(self, cookie: str, **headers: str) -> str:
        response = await self.open(PAGE, cookie, **headers)
        self.assertEqual(response.status, 200, response.body)
        return response.body.decode()

    async def add_node(self, name: str = "pbx-1.example", **fields: Any) -> None:
        status = NodeStatus(version="1.2", asterisk_version="22.5.2", spool_free=10**9, **fields)
        await Nodes(self.pool).heartbeat(name, UUID(int=1), UUID(int=2), status)


class OperationsPageTests(OperationsTestCase):
    async def test_numbers_of_today(self) -> None:
        cookie = await self.signed_in()
        now = datetime.now(UTC)
        for state in (RecordingState.COMPLETED, RecordingState.COMPLETED, RecordingState.ABSENT):
            await self.add_recording(state=state, created_at=now)
        await self.add_recording(state=RecordingState.FAILED, created_at=now - timedelta(days=2))
        self.call_control.calls = [make_call(state=CallState.TALKING), make_call(state=CallState.TALKING)]
        body = await self.page(cookie)
        day = now.date().isoformat()
        self.assertIn(f"state=completed&amp;first={day}&amp;last={day}&amp;zone=", body)
        for row in (
            '">2</a></dd>',
            '<dt>absent</dt><dd class="number"><a'.replace("absent", "not stored"),
            '<dt>failed</dt><dd class="number">0</dd>',
            '<dt>talking</dt><dd class="number">2</dd>',
        ):
            with subtest(row):
                self.assertIn(row, body)

    async def test_a_recording_without_audio_has_its_reason(self) -> None:
        cookie = await self.signed_in()
        await self.add_recording(
            state=RecordingState.ABSENT,
            created_at=datetime.now(UTC),
            from_name="Alice",
            verdict=Verdict(ok=False, reasons=("disk-full", "shorter than minDurationSeconds (5 s)")),
        )
        body = await self.page(cookie)
        self.assertIn("Alice", body)
        self.assertIn("the disk was full; shorter than the minimum of the Profile (5 s)", body)

    async def test_dead_jobs_are_retried_and_deleted(self) -> None:
        cookie = await self.signed_in("provision")
        recording = await self.add_recording()
        retried = await self.add_job(recording_id=recording.id, last_error="550 <never>", attempts=7)
        deleted = await self.add_job()
        finish = await self.add_job(JobKind.FINISH)
        body = await self.page(cookie)
        self.assertIn("550 &lt;never&gt;", body)
        self.assertIn("send by mail", body)
        self.assertEqual(body.count('value="delete"'), 2, "a recording would remain unfinished without its job")
        for job_id, fields, after in (
            (retried, {}, "?done=job_restarted#queue"),
            (deleted, {"action": "delete"}, "?done=job_deleted#jobs"),
        ):
            response = await self.submit(f"{PAGE}/jobs/{job_id}", cookie, **fields)
            self.assertEqual((response.status, response.headers["location"]), (303, f"{PAGE}{after}"), response.body)
        jobs = {job["id"]: job["state"] for job in (await self.request("GET", "/jobs")).json}
        self.assertEqual(jobs, {str(retried): "pending", str(finish): "dead"})
        self.assertEqual((await self.submit(f"{PAGE}/jobs/{deleted}", cookie)).status, 404)

    async def test_unconfirmed_mails_are_confirmed_and_sent_again(self) -> None:
        cookie = await self.signed_in("provision")
        confirmed, repeated = [await self.add_job(unconfirmed=True) for _ in range(2)]
        body = await self.page(cookie)
        self.assertEqual(body.count("possibly delivered"), 2)
        self.assertEqual((body.count("It has arrived"), body.count("Send again")), (2, 2))
        for job_id, fields, after in (
            (confirmed, {"action": "confirm"}, "?done=job_confirmed#jobs"),
            (repeated, {}, "?done=job_restarted#queue"),
        ):
            response = await self.submit(f"{PAGE}/jobs/{job_id}", cookie, **fields)
            self.assertEqual((response.status, response.headers["location"]), (303, f"{PAGE}{after}"), response.body)
        jobs = {job["id"]: job["state"] for job in (await self.request("GET", "/jobs")).json}
        self.assertEqual(jobs, {str(repeated): "pending"})

    async def test_the_jobs_of_a_recording(self) -> None:
        cookie = await self.signed_in()
        recording = await self.add_recording()
        path = f"{PAGE}?recording={recording.id}"
        self.assertIn(f"{path}#jobs", (await self.open(f"/console/recordings/{recording.id}", cookie)).body.decode())
        body = (await self.open(path, cookie)).body.decode()
        self.assertIn("No job of this recording has failed for good.", body)
        self.assertIn("No job of this recording is in the queue.", body)
        await self.add_job(recording_id=recording.id, last_error="own dead")
        await self.add_job(JobKind.FINISH, recording_id=recording.id, dead=False, last_error="own waiting")
        await self.add_job(last_error="foreign")
        body = (await self.open(path, cookie)).body.decode()
        for text in ("own dead", "own waiting", f'href="/console/recordings/{recording.id}">{recording.id}<'):
            self.assertIn(text, body)
        self.assertNotIn("foreign", body)

    async def test_older_jobs(self) -> None:
        cookie = await self.signed_in()
        for number in range(21):
            created_at = CREATED_AT - timedelta(seconds=number)
            await self.add_job(last_error=f"dead {number}.", created_at=created_at)
            await self.add_job(dead=False, last_error=f"waiting {number}.", created_at=created_at)
        body = await self.page(cookie)
        links = re.findall(r'href="(/console/operations\?[^#]+)#', body)
        self.assertEqual(len(links), 2)
        for link, kind in zip(links, ("dead", "waiting"), strict=True):
            self.assertNotIn(f"{kind} 20.", body)
            response = await self.open(link, cookie)
            self.assertIn(f"{kind} 20.", response.body.decode())

    async def test_a_node_is_drained_by_an_administrator(self) -> None:
        await self.add_node(live_calls=3)
        administrator = await self.signed_in("admin")
        await self.add_user("ben", "provision")
        provisioner = await self.sign_in("ben")
        self.assertIn("Asterisk 22.5.2", await self.page(provisioner))
        self.assertNotIn("Drain<", await self.page(provisioner))
        self.assertIn("Drain<", await self.page(administrator))
        path = f"{PAGE}/nodes/pbx-1.example"
        self.assertEqual((await self.submit(path, provisioner, draining="true")).status, 403)
        self.assertEqual(self.node_control.changes, [])
        for draining in ("true", "false"):
            self.assertEqual((await self.submit(path, administrator, draining=draining)).status, 303)
        self.assertEqual(self.node_control.changes, [("pbx-1.example", True), ("pbx-1.example", False)])

    async def test_a_listener_sees_no_buttons(self) -> None:
        cookie = await self.signed_in()
        await self.add_node()
        job_id = await self.add_job()
        self.assertEqual((await self.page(cookie)).count("<form"), 1, "only signing out")
        for path in (f"{PAGE}/jobs/{job_id}", f"{PAGE}/nodes/pbx-1.example"):
            self.assertEqual((await self.submit(path, cookie)).status, 403)

    async def test_a_user_with_limits_sees_only_the_own_profiles(self) -> None:
        own, other = await self.add_profile(name="Own"), await self.add_profile(name="Other")
        cookie = await self.signed_in("provision", profileIds=[str(own.id)])
        await self.add_node()
        now = datetime.now(UTC)
        for profile in (own, other):
            recording = await self.add_recording(
                profile_id=profile.id, state=RecordingState.FAILED, created_at=now, from_name=f"of {profile.name}"
            )
            await self.add_job(recording_id=recording.id, last_error=f"error of {profile.name}")
        body = await self.page(cookie)
        self.assertIn("of Own", body)
        self.assertIn("error of Own", body)
        self.assertNotIn("of Other", body)
        self.assertNotIn("pbx-1", body)

    async def test_every_value_has_a_text(self) -> None:
        cookie = await self.signed_in("admin")
        for kind in JobKind:
            await self.add_job(kind)
            await self.add_job(kind, dead=False, last_error="voxrec was stopped")
        await self.add_node(problem="has not reported yet")
        await self.add_node("pbx-2.example", problem="the disk is full")
        for state in RecordingState:
            await self.add_recording(state=state, created_at=datetime.now(UTC))
        body = await self.page(cookie, **{"Accept-Language": "de"})
        self.assertIn("Betrieb", body)
        self.assertIn("the disk is full", body)
        self.assertIn("hat sich noch nicht gemeldet", body)
        self.assertIn("voxrec wurde beendet", body)


async def ready() -> str | None:
    return None


async def unreachable() -> str | None:
    return "PostgreSQL is unreachable"


class DependencyTests(OperationsTestCase):
    probes = MappingProxyType({"asterisk": ready, "postgresql": unreachable, "new": ready})

    async def test_dependencies_are_named(self) -> None:
        self.assertEqual((await self.request("GET", "/health/ready")).status, 503)
        cookie = await self.signed_in()
        self.assertIn("PostgreSQL ist nicht erreichbar", await self.page(cookie, **{"Accept-Language": "de"}))
        body = await self.page(cookie)
        for row in ("ready</span> Asterisk", "not ready</span> Database (PostgreSQL)<br>", "PostgreSQL is unreachable"):
            with subtest(row):
                self.assertIn(row, body)


class DayTests(ConsoleTestCase):
    def test_the_day_is_that_of_the_viewer(self) -> None:
        late = datetime(2026, 1, 31, 23, 30, tzinfo=UTC)
        for offset, day, start in (
            ("60", "2026-02-01", "2026-01-31T23:00:00Z"),
            ("-60", "2026-01-31", "2026-01-31T01:00:00Z"),
            ("", "2026-01-31", "2026-01-31T00:00:00Z"),
            ("--5", "2026-01-31", "2026-01-31T00:00:00Z"),
            ("9999", "2026-02-01", "2026-01-31T00:01:00Z"),
            ("1e9", "2026-01-31", "2026-01-31T00:00:00Z"),
            ("99999", "2026-01-31", "2026-01-31T00:00:00Z"),
            ("Europe/Berlin", "2026-02-01", "2026-01-31T23:00:00Z"),
            ("Pacific/Kiritimati", "2026-02-01", "2026-01-31T10:00:00Z"),
            ("Europe", "2026-01-31", "2026-01-31T00:00:00Z"),
            ("Europe/Nowhere", "2026-01-31", "2026-01-31T00:00:00Z"),
            ("../etc/passwd", "2026-01-31", "2026-01-31T00:00:00Z"),
        ):
            with subtest(offset):
                self.assertEqual((today(late, offset), start_of_day(day, offset)), (day, start))

    def test_days_of_the_other_half_of_the_year(self) -> None:
        for day, start in (
            ("2026-07-01", "2026-06-30T22:00:00Z"),
            ("2026-12-01", "2026-11-30T23:00:00Z"),
            ("0001-01-01", "0001-01-01"),
        ):
            self.assertEqual(start_of_day(day, "Europe/Berlin"), start)

    async def test_the_browser_reports_the_time_zone(self) -> None:
        cookie = await self.signed_in()
        await self.add_recording(created_at=datetime.now(UTC))
        for offset in ("60", "-600", "Europe/Berlin", "x", "--5", ""):
            with subtest(offset):
                response = await self.open(PAGE, f"{cookie}; voxrec_time_zone={offset}")
                self.assertEqual(response.status, 200)
                self.assertIn(f"zone={quote(offset, safe='')}", response.body.decode())
