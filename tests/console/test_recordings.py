"""The list of Recordings with its filters."""

import csv
import html
import io
from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from tests.api.rest_test_case import CREATED_AT
from tests.console.console_test_case import ConsoleTestCase
from tests.console.form_controls import Controls
from tests.subtest import subtest
from voxrec.console import recording_list
from voxrec.model import RecordingState, Verdict


class ListTests(ConsoleTestCase):
    async def listed(self, cookie: str, **query: str) -> list[str]:
        """Return the names of the callers on the page."""
        response = await self.open(f"/console/recordings?{urlencode(query)}", cookie)
        self.assertEqual(response.status, 200, response.body)
        body = response.body.decode()
        return [name for name in ("Alice", "Bob", "Carol") if f">{name}" in body]

    async def test_check_boxes_say_which_recording_they_select(self) -> None:
        cookie = await self.signed_in()
        await self.add('Al "ice', from_="+4930111", to="+4930999", created_at=CREATED_AT - timedelta(hours=1))
        await self.add_recording(from_=None, to=None)
        body = html.unescape((await self.open("/console/recordings", cookie)).body.decode())
        for label in ('recording 2 on this page: Al "ice to +4930999', "recording 1 on this page: withheld to unknown"):
            self.assertIn(f'aria-label="Select {label}"', body)

    async def add(self, name: str, **fields: Any) -> None:
        await self.add_recording(from_name=name, **fields)

    async def test_filters(self) -> None:
        cookie = await self.signed_in()
        profile = await self.add_profile(name="Sales")
        await self.add("Alice", from_="+4930111", to="+4930999", profile_id=profile.id, tags=("VIP",))
        await self.add("Bob", from_="+4930222", to="+4930999", state=RecordingState.FAILED)
        await self.add("Carol", tags=("VIP", "complaint"), created_at=CREATED_AT - timedelta(days=1))
        for query, names in (
            ({}, ["Alice", "Bob", "Carol"]),
            ({"from": "+4930111"}, ["Alice"]),
            ({"to": "+4930999"}, ["Alice", "Bob"]),
            ({"state": "failed"}, ["Bob"]),
            ({"tag": "VIP"}, ["Alice", "Carol"]),
            ({"tag": " complaint , VIP,"}, ["Carol"]),
            ({"profile": str(profile.id)}, ["Alice"]),
            ({"first": "2026-01-31"}, ["Alice", "Bob"]),
            ({"last": "2026-01-30"}, ["Carol"]),
            # 9:30 UTC on the 31st is the 30th for a viewer ten hours west of UTC
            ({"last": "2026-01-30", "offset": "-600"}, ["Alice", "Bob", "Carol"]),
            ({"first": "2026-01-31", "offset": "-600"}, []),
            ({"first": "2026-01-31", "offset": "rubbish"}, ["Alice", "Bob"]),
        ):
            with subtest(query):
                self.assertEqual(await self.listed(cookie, **query), names)

    async def test_invalid_filters_are_shown_at_their_fields(self) -> None:
        cookie = await self.signed_in()
        for field, value in (
            ("min_duration", "soon"),
            ("max_duration", "1:x"),
            ("first", "2026-02-30"),
            ("last", "tomorrow"),
            ("tag", 65 * "x"),
            ("state", "good"),
            ("verdict", "good"),
            ("hold", "perhaps"),
        ):
            with subtest(field):
                response = await self.open(f"/console/recordings?{urlencode({field: value, 'from': '030'})}", cookie)
                self.assertEqual(response.status, 422, response.body)
                page = Controls(response.body.decode())
                (control,) = page.invalid()
                self.assertEqual((control["name"], control["open"]), (field, "True"))
                self.assertEqual(control.get("value", value), value)  # a select has no value of its own
                self.assertIn('value="030"', response.body.decode())

    async def test_an_invalid_cursor_or_profile_is_an_error(self) -> None:
        cookie = await self.signed_in()
        for query, status in (("cursor=x", 422), ("profile=sales", 404)):
            with subtest(query):
                response = await self.open(f"/console/recordings?{query}", cookie)
                self.assertEqual(response.status, status)
                self.assertIn(b'role="alert"' if status == 422 else b"Back", response.body)

    async def test_pages(self) -> None:
        cookie = await self.signed_in()
        for number in range(51):
            await self.add("Alice" if number == 50 else "Bob", created_at=CREATED_AT - timedelta(seconds=number))
        response = await self.open("/console/recordings?to=&from=", cookie)
        self.assertNotIn(b"Alice", response.body)
        link = response.body.decode().partition('rel="next" href="')[2].partition('"')[0].replace("&amp;", "&")
        response = await self.open(link, cookie)
        self.assertIn(b"Alice", response.body)
        self.assertNotIn(b'rel="next"', response.body)

    async def test_a_user_sees_only_the_permitted_profiles(self) -> None:
        own, other = await self.add_profile(name="Own"), await self.add_profile(name="Other")
        cookie = await self.signed_in(profileIds=[str(own.id)])
        await self.add("Alice", profile_id=own.id)
        await self.add("Bob", profile_id=other.id)
        self.assertEqual(await self.listed(cookie), ["Alice"])
        self.assertNotIn(b"Other", (await self.open("/console/recordings", cookie)).body)

    async def test_text_of_callers_is_escaped(self) -> None:
        cookie = await self.signed_in()
        await self.add("<script>alert(1)</script>")
        self.assertNotIn(b"<script>alert", (await self.open("/console/recordings", cookie)).body)

    async def test_further_filters(self) -> None:
        cookie = await self.signed_in()
        await self.add("Alice", duration=90.0, node="pbx-1", verdict=Verdict(ok=True))
        await self.add("Bob", duration=10.0, from_="+4930123456", verdict=Verdict(ok=False, reasons=("x",)))
        await self.add("Carol", legal_hold=True, metadata={"case": "Smith 4711"})
        for query, names in (
            ({"search": "ali"}, ["Alice"]),
            ({"search": "030 123-456"}, ["Bob"]),
            ({"search": "smith"}, ["Carol"]),
            ({"min_duration": "1:30"}, ["Alice"]),
            ({"max_duration": "89"}, ["Bob"]),
            ({"node": "pbx-1"}, ["Alice"]),
            ({"verdict": "problem"}, ["Bob"]),
            ({"hold": "true"}, ["Carol"]),
            ({"search": "bob", "sort": "longest"}, ["Bob"]),
        ):
            with subtest(query):
                self.assertEqual(await self.listed(cookie, **query), names)
        for invalid in ("search=-", "min_duration=long", "verdict=x", "hold=x", "sort=x"):
            with subtest(invalid):
                self.assertEqual((await self.open(f"/console/recordings?{invalid}", cookie)).status, 422)

    async def test_sorting(self) -> None:
        cookie = await self.signed_in()
        await self.add("Alice", duration=1.0)
        await self.add("Bob", duration=3.0)
        body = (await self.open("/console/recordings?sort=longest&search=a*b*", cookie)).body.decode()
        self.assertEqual(body.count("aria-sort"), 0, "nothing was found")
        body = (await self.open("/console/recordings?sort=longest&node=", cookie)).body.decode()
        self.assertLess(body.index("Bob"), body.index("Alice"))
        self.assertIn('aria-sort="descending"><a href="/console/recordings?sort=shortest"', body)

    async def test_links_to_recordings_keep_the_filter_and_lead_to_their_neighbors(self) -> None:
        cookie = await self.signed_in()
        stored = [
            await self.add_recording(from_name="Bob", created_at=CREATED_AT - timedelta(seconds=number))
            for number in range(3)
        ]
        await self.add("Alice", created_at=CREATED_AT - timedelta(seconds=0.5))
        first, middle, last = (f"/console/recordings/{each.id}?search=bob&amp;sort=oldest" for each in stored)
        self.assertIn(middle, (await self.open("/console/recordings?search=bob&sort=oldest", cookie)).body.decode())
        body = (await self.open(middle.replace("&amp;", "&"), cookie)).body.decode()
        self.assertIn(f'rel="prev" href="{last}"', body)
        self.assertIn(f'rel="next" href="{first}"', body)
        self.assertIn('href="/console/recordings?search=bob&amp;sort=oldest"', body)

    async def test_columns_are_remembered(self) -> None:
        cookie = await self.signed_in()
        await self.add("Alice", node="pbx-7", to="+4930999")
        self.assertNotIn(b"pbx-7", (await self.open("/console/recordings", cookie)).body)
        response = await self.submit("/console/recording-columns", cookie, column="node", search="alice")
        self.assertEqual((response.status, response.headers["location"]), (303, "/console/recordings?search=alice"))
        columns = response.headers["set-cookie"].partition(";")[0]
        body = (await self.open("/console/recordings", f"{cookie}; {columns}")).body
        self.assertIn(b"pbx-7", body)
        self.assertNotIn(b"<bdi>+4930999", body)
        body = (await self.open("/console/recordings", f"{cookie}; voxrec_columns=<x>.unknown")).body
        self.assertIn(b"<bdi>+4930999", body, "a cookie without known columns")

    async def test_csv(self) -> None:
        cookie = await self.signed_in()
        profile = await self.add_profile(name="=cmd")
        for number in range(3):
            await self.add("=SUM(A1)", profile_id=profile.id, tags=("a", "b"), metadata={"k": number}, duration=2.5)
        await self.add("Bob")
        self.patch(recording_list, "_CSV_PAGE", 2)
        response = await self.open("/console/recordings.csv?tag=a&sort=oldest", cookie)
        self.assertEqual(response.headers["content-type"], "text/csv; charset=utf-8; header=present")
        rows = [*csv.DictReader(io.StringIO(response.body.decode("utf-8-sig")))]
        self.assertEqual(len({row["id"] for row in rows}), 3)
        expected = {
            "fromName": "'=SUM(A1)",
            "profile": "'=cmd",
            "tags": "a,b",
            "metadata": '{"k":0}',
            "duration": "2.5",
            "legalHold": "false",
        }
        first = next(row for row in rows if row["metadata"] == '{"k":0}')
        self.assertEqual({key: first[key] for key in expected}, expected)
        refused = await self.open("/console/recordings.csv?first=yesterday", cookie)
        self.assertEqual((refused.status, refused.headers["content-type"]), (422, "text/html; charset=utf-8"))


class BulkActionTests(ConsoleTestCase):
    async def test_preview_and_confirmation(self) -> None:
        cookie = await self.signed_in("provision")
        await self.add_recording(from_name="Alice", tags=("old",))
        await self.add_recording(from_name="Bob", tags=("old",), legal_hold=True)
        await self.add_recording(from_name="Carol")
        response = await self.submit(
            "/console/bulk-actions", cookie, scope="all", tag="old", action="delete", reason="the end"
        )
        self.assertEqual(response.status, 303, response.body)
        path = response.headers["location"]
        body = (await self.open(path, cookie)).body.decode()
        for text in (
            "deleted for good: 1.",
            "skipped: 1;",
            "under a legal hold and must not be deleted",
            "Alice",
            "Bob",
        ):
            with subtest(text):
                self.assertIn(text, body)
        self.assertNotIn("Carol", body)
        self.assertEqual(len(await self.recordings.page()), 3)
        self.assertEqual((await self.submit(path, cookie)).headers["location"], path)
        body = (await self.open(path, cookie, **{"Accept-Language": "de"})).body.decode()
        self.assertIn("wartet", body)
        self.assertIn(f'<noscript><meta http-equiv="refresh" content="2; url={path}/progress"></noscript>', body)
        self.assertIn(f'id="bulk-action" data-progress="{path}/progress"', body)

    async def test_the_progress_does_not_prolong_the_session(self) -> None:
        cookie = await self.signed_in("provision")
        recording = await self.add_recording()
        fields = {"scope": "chosen", "action": "hold", "recording": str(recording.id)}
        path = (await self.submit("/console/bulk-actions", cookie, **fields)).headers["location"]
        await self.submit(path, cookie)
        for page, is_use in ((f"{path}/progress?state=pending", False), (path, True)):
            with subtest(page):
                await self.pool.execute("UPDATE sessions SET last_used_at = now() - interval '20 minutes'")
                response = await self.open(page, cookie)
                self.assertEqual(response.status, 200, response.body)
                [(used,)] = await self.pool.query("SELECT last_used_at > now() - interval '1 minute' FROM sessions")
                self.assertEqual(used, is_use)
        self.assertIn(
            f"{path}/progress?state=pending", (await self.open(f"{path}?state=pending", cookie)).body.decode()
        )

    async def test_chosen_recordings_and_cancellation(self) -> None:
        cookie = await self.signed_in("provision")
        chosen = await self.add_recording(from_name="Alice")
        await self.add_recording(from_name="Bob")
        response = await self.submit(
            "/console/bulk-actions", cookie, scope="chosen", action="hold", recording=str(chosen.id)
        )
        path = response.headers["location"]
        body = (await self.open(path, cookie)).body.decode()
        self.assertIn("Alice", body)
        self.assertNotIn("Bob", body)
        self.assertEqual(
            (await self.submit(path, cookie, cancel="true")).headers["location"],
            "/console/recordings?done=bulk_action_canceled",
        )
        self.assertEqual((await self.submit(path, cookie)).status, 409)

    async def test_nothing_chosen(self) -> None:
        cookie = await self.signed_in("provision")
        response = await self.submit("/console/bulk-actions", cookie, scope="chosen", action="hold", tag="old")
        self.assertEqual(response.status, 422)
        self.assertIn(b"No recording is selected", response.body)
        self.assertIn(b'href="/console/recordings?tag=old"', response.body)

    async def test_a_filter_that_is_not_a_number_does_not_select_everything(self) -> None:
        cookie = await self.signed_in("provision")
        await self.add_recording()
        for duration in ("nan", "1e999", "-inf", "x"):
            with subtest(duration):
                response = await self.submit(
                    "/console/bulk-actions", cookie, scope="all", action="delete", min_duration=duration
                )
                self.assertEqual(response.status, 422)

    async def test_a_listener_may_only_export(self) -> None:
        cookie = await self.signed_in("read")
        await self.add_recording()
        body = (await self.open("/console/recordings", cookie)).body.decode()
        self.assertIn('value="export"', body)
        self.assertNotIn('value="delete"', body)
        response = await self.submit("/console/bulk-actions", cookie, scope="all", action="delete")
        self.assertEqual(response.status, 403)


class ReturnedMailTests(ConsoleTestCase):
    async def test_the_reports_of_mail_servers(self) -> None:
        recording = await self.add_audio(b"RIFF")
        await self.pool.execute(
            """
            WITH delivery AS (
                INSERT INTO deliveries (recording_id, recipient, state, attempts, last_reply, bounced_attempt)
                VALUES (%s, 'desk@example.org', 'refused', 1, '250 queued', 1) RETURNING id
            )
            INSERT INTO delivery_reports (delivery_id, attempt, action, remote_mta, reply)
            SELECT id, 1, 'failed', 'mx.example.org', '550 <b>unknown</b>' FROM delivery
            """,
            (recording.id,),
        )
        cookie = await self.signed_in()
        page = (await self.open(f"/console/recordings/{recording.id}", cookie)).body.decode()
        self.assertIn("the mail was returned (mx.example.org): 550 &lt;b&gt;unknown", page)
        german = await self.open(f"/console/recordings/{recording.id}", cookie, **{"Accept-Language": "de"})
        self.assertIn("die Mail kam zurück (mx.example.org)", german.body.decode())
