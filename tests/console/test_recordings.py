"""The pages of Recordings: the list with its filters, and one Recording."""

from datetime import timedelta
from typing import Any
from urllib.parse import urlencode

from tests.api.rest_test_case import CREATED_AT
from tests.console.console_test_case import ConsoleTestCase
from tests.subtest import subtest
from voxrec.model import RecordingState, TimelineEntry, Verdict


class ListTests(ConsoleTestCase):
    async def listed(self, cookie: str, **query: str) -> list[str]:
        """Return the names of the callers on the page."""
        response = await self.open(f"/console/recordings?{urlencode(query)}", cookie)
        self.assertEqual(response.status, 200, response.body)
        body = response.body.decode()
        return [name for name in ("Alice", "Bob", "Carol") if f"<td>{name}" in body]

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

    async def test_invalid_filters_name_the_field(self) -> None:
        cookie = await self.signed_in()
        for query in ("first=yesterday", "state=broken", "cursor=x", f"tag={'x' * 65}", "profile=sales"):
            with subtest(query):
                response = await self.open(f"/console/recordings?{query}", cookie)
                self.assertIn(response.status, (404, 422))
                self.assertIn(b"Back", response.body)

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


class RecordingPageTests(ConsoleTestCase):
    async def test_everything_about_a_recording(self) -> None:
        cookie = await self.signed_in("provision")
        profile = await self.add_profile(name="Sales")
        recording = await self.add_audio(
            b"audio",
            profile_id=profile.id,
            from_="+4930111",
            from_name="Alice",
            to="+4930999",
            channels=2,
            duration=75.0,
            timeline=(TimelineEntry(at=1.5, event="beep", by="caller"),),
            verdict=Verdict(ok=False, reasons=("one-way audio: callee silent",)),
        )
        body = (await self.open(f"/console/recordings/{recording.id}", cookie)).body.decode()
        for text in (
            *("<h1>Alice (+4930111) called +4930999</h1>", "the far end cannot be heard", "Sales", "1 min 15 s"),
            *(f'src="/recordings/{recording.id}/audio"', 'data-position="1.5"', "Set a legal hold", "Delete for good"),
            str(recording.sha256),
        ):
            with subtest(text):
                self.assertIn(text, body)

    async def test_a_format_that_browsers_do_not_play_is_converted(self) -> None:
        cookie = await self.signed_in()
        recording = await self.add_audio(b"audio", format="gsm")
        body = (await self.open(f"/console/recordings/{recording.id}", cookie)).body.decode()
        self.assertIn(f'src="/recordings/{recording.id}/audio?format=wav"', body)
        self.assertIn(f'href="/recordings/{recording.id}/audio" download', body)

    async def test_every_state_has_a_page(self) -> None:
        cookie = await self.signed_in()
        for state in RecordingState:
            with subtest(state):
                recording = await self.add_recording(state=state)
                response = await self.open(f"/console/recordings/{recording.id}", cookie, **{"Accept-Language": "de"})
                self.assertEqual(response.status, 200, response.body)

    async def test_a_listener_cannot_change_anything(self) -> None:
        cookie = await self.signed_in("supervise")
        recording = await self.add_recording()
        path = f"/console/recordings/{recording.id}"
        self.assertNotIn(b"Delete", (await self.open(path, cookie)).body)
        for action in ("hold", "delete"):
            with subtest(action):
                response = await self.submit(f"{path}/{action}", cookie, hold="true")
                self.assertEqual(response.status, 403)
                self.assertIn(b"You may not do this", response.body)
        self.assertFalse((await self.recordings.get(recording.id)).legal_hold)

    async def test_hold_and_deletion_are_audited_as_the_user(self) -> None:
        cookie = await self.signed_in("provision")
        recording = await self.add_recording()
        path = f"/console/recordings/{recording.id}"
        self.assertEqual((await self.submit(f"{path}/hold", cookie, hold="true")).headers["location"], path)
        self.assertTrue((await self.recordings.get(recording.id)).legal_hold)
        self.assertEqual((await self.submit(f"{path}/delete", cookie)).status, 409)
        await self.submit(f"{path}/hold", cookie, hold="false")
        response = await self.submit(f"{path}/delete", cookie, reason="a mistake")
        self.assertEqual(response.headers["location"], "/console/recordings")
        self.assertEqual((await self.open(path, cookie)).status, 404)
        entry = (await self.request("GET", "/audit?limit=1")).json[0]
        self.assertEqual(
            (entry["who"], entry["method"], entry["path"], entry["reason"], entry["address"]),
            ("anna", "DELETE", f"/recordings/{recording.id}", "a mistake", "127.0.0.1"),
        )

    async def test_pages_of_other_sites_cannot_delete(self) -> None:
        cookie = await self.signed_in("provision")
        recording = await self.add_recording()
        other = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        response = await self.submit(f"/console/recordings/{recording.id}/delete", cookie, headers=other)
        self.assertEqual(response.status, 403)
        await self.recordings.get(recording.id)
