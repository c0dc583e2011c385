"""The page of one Recording: player, verdict, deliveries, links and accesses."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from uuid import UUID, uuid4

import msgspec

from tests.console.console_test_case import ConsoleTestCase
from tests.subtest import subtest
from voxrec.audio.formats import FORMATS, PLAYABLE
from voxrec.model import RecordingState, TimelineEntry, Verdict, Webhook
from voxrec.model.reasons import all_reasons

NOW = datetime(2026, 5, 4, 12, tzinfo=UTC)


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
            *("<h1>Alice (+4930111) called +4930999</h1>", "the called party is not heard", "Sales", "1 min 15 s"),
            *(f'src="/recordings/{recording.id}/audio?purpose=play&amp;hearing=', 'data-position="1.5"'),
            *("Set a legal hold", "Delete for good", "What to do: Listen to the called party", "left ↔ right"),
            str(recording.sha256),
        ):
            with subtest(text):
                self.assertIn(text, body)

    async def test_german_numbers_have_a_decimal_comma(self) -> None:
        cookie = await self.signed_in("supervise")
        recording = await self.add_audio(
            b"audio",
            duration=20.0,
            timeline=(TimelineEntry(at=1.5, event="beep"), TimelineEntry(at=2.25, event="dtmf")),
        )
        path = f"/console/recordings/{recording.id}"
        await self.submit(f"{path}/notes", cookie, text="a note", position="4.25")
        body = (await self.open(path, cookie, **{"Accept-Language": "de"})).body.decode()
        for text in (">1,50 s<", ">2,25 s<", 'data-position="4.25">4,25 s<', '<option value="1.25">1,25 '):
            with subtest(text):
                self.assertIn(text, body)
        self.assertEqual(re.findall(r">[^<]*\d\.\d+ (?:s|\u00d7)", body), [])

    async def test_a_format_that_browsers_do_not_play_is_converted(self) -> None:
        cookie = await self.signed_in()
        recording = await self.add_audio(b"audio", format="gsm")
        body = (await self.open(f"/console/recordings/{recording.id}", cookie)).body.decode()
        self.assertIn(f'src="/recordings/{recording.id}/audio?format=wav&amp;purpose=play', body)
        self.assertIn("Browsers do not play the stored format gsm", body)
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
        self.assertEqual(
            (await self.submit(f"{path}/hold", cookie, hold="true")).headers["location"], f"{path}?done=hold_set"
        )
        self.assertTrue((await self.recordings.get(recording.id)).legal_hold)
        self.assertEqual((await self.submit(f"{path}/delete", cookie)).status, 409)
        await self.submit(f"{path}/hold", cookie, hold="false")
        response = await self.submit(f"{path}/delete", cookie, reason="a mistake")
        self.assertEqual(response.headers["location"], "/console/recordings?done=recording_deleted")
        self.assertEqual((await self.open(path, cookie)).status, 404)
        entry = (await self.request("GET", "/audit?limit=1")).json[0]
        self.assertEqual(
            (entry["who"], entry["method"], entry["path"], entry["reason"], entry["address"]),
            ("anna", "DELETE", f"/recordings/{recording.id}", "a mistake", "127.0.0.1"),
        )

    async def test_forms_keep_the_list_that_led_to_the_page(self) -> None:
        cookie = await self.signed_in("provision")
        recording = await self.add_audio(b"audio", from_name="Alice")
        path, listed = f"/console/recordings/{recording.id}", "?search=alice&sort=oldest"
        body = (await self.open(f"{path}{listed}", cookie)).body.decode()
        actions = re.findall(rf'action="{path}/(\w+)(.*?)"', body)
        self.assertEqual({name for name, _ in actions}, {"tags", "hold", "delete", "links", "notes", "deliveries"})
        self.assertEqual({unescape(query) for _, query in actions}, {listed})
        for action, after in (
            ("hold", "&done=hold_released"),
            ("tags", "&done=tags_saved"),
            ("notes", "&done=note_added#notes"),
            ("links", "&done=link_created#links"),
        ):
            with subtest(action):
                response = await self.submit(f"{path}/{action}{listed}", cookie, text="a note")
                self.assertEqual(response.headers["location"], f"{path}{listed}{after}")
        response = await self.submit(f"{path}/hold?search=%0d%0aX: y", cookie)
        self.assertEqual(response.headers["location"], f"{path}?search=%0D%0AX%3A+y&done=hold_released")
        response = await self.submit(f"{path}/delete{listed}", cookie)
        self.assertEqual(response.headers["location"], f"/console/recordings{listed}&done=recording_deleted")

    async def test_pages_of_other_sites_cannot_delete(self) -> None:
        cookie = await self.signed_in("provision")
        recording = await self.add_recording()
        other = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        response = await self.submit(f"/console/recordings/{recording.id}/delete", cookie, headers=other)
        self.assertEqual(response.status, 403)
        await self.recordings.get(recording.id)

    async def test_every_reason_has_words_and_advice(self) -> None:
        cookie = await self.signed_in()
        recording = await self.add_recording(verdict=Verdict(ok=False, reasons=all_reasons()))
        for language in ("en", "de"):
            page = await self.open(f"/console/recordings/{recording.id}", cookie, **{"Accept-Language": language})
            items = re.findall(r"<li><strong>(.*?)</strong><br><span class=\"advice\">(.*?)</span>", page.body.decode())
            self.assertEqual(len(items), len(all_reasons()))
            for reason, (words, advice) in zip(all_reasons(), items, strict=True):
                with subtest(f"{language} {reason}"):
                    self.assertNotEqual(unescape(words), reason)
                    self.assertGreater(len(advice), 60)

    async def test_every_format_is_offered_in_one_that_browsers_play(self) -> None:
        cookie = await self.signed_in()
        for name in FORMATS:
            recording = await self.add_audio(b"audio", format=name)
            body = (await self.open(f"/console/recordings/{recording.id}", cookie)).body.decode()
            with subtest(name):
                urls = [unescape(url) for url in re.findall(r'<source src="(.*?)"', body)]
                self.assertEqual("format=" not in urls[0], name in PLAYABLE)
                self.assertIn("format=wav" if name == "flac" else "format=flac", urls[-1])
                self.assertEqual(len({*re.findall(r"hearing=([0-9a-f-]{36})", body)}), 1)

    async def test_events_are_where_they_are_in_the_audio(self) -> None:
        cookie = await self.signed_in()
        recording = await self.add_audio(
            b"audio",
            duration=20.0,
            timeline=(
                TimelineEntry(at=2.0, event="paused", detail="skip"),
                TimelineEntry(at=7.0, event="resumed"),
                TimelineEntry(at=10.0, event="paused", by="caller", detail="silence"),
                TimelineEntry(at=12.0, event="resumed"),
                TimelineEntry(at=13.0, event="later event", by="later party", detail="<detail>"),
            ),
        )
        body = (await self.open(f"/console/recordings/{recording.id}", cookie)).body.decode()
        self.assertIn("data-pauses='[[5.0, 7.0]]'", body)
        for text in (
            *('data-position="2.0" data-event="recording paused, left out of the audio" ', 'data-position="5.0"'),
            *('aria-label="10.00 s: recording paused, caller, as silence">10.00 s', "later event", "later party"),
            "&lt;detail&gt;",
        ):
            with subtest(text):
                self.assertIn(text, body)


class DeliveryTests(ConsoleTestCase):
    async def test_a_mail_is_sent_again_and_to_another_address(self) -> None:
        cookie = await self.signed_in("provision")
        recording = await self.add_audio(b"audio")
        path = f"/console/recordings/{recording.id}"
        self.assertIn(b"Send by mail", (await self.open(path, cookie)).body)
        response = await self.submit(f"{path}/deliveries", cookie, target="desk@example.org")
        self.assertEqual(
            (response.status, response.headers["location"]), (303, f"{path}?done=delivery_requested#deliveries")
        )
        (delivery,) = (await self.request("GET", f"/recordings/{recording.id}/deliveries")).json
        await self.pool.execute("UPDATE deliveries SET state = 'refused', last_reply = '550 <unknown>'")
        await self.pool.execute(
            "INSERT INTO mail_attempts (recording_id, recipient, state, reply) VALUES (%s, %s, 'refused', %s)",
            (recording.id, "desk@example.org", "550 <unknown>"),
        )
        body = (await self.open(path, cookie)).body.decode()
        for text in ("desk@example.org", "Attempts: 1", "550 &lt;unknown&gt;", "Send again", delivery["id"]):
            with subtest(text):
                self.assertIn(text, body)
        self.assertIn("550 &lt;unknown&gt;", body.partition('id="deliveries"')[2].partition("<details>")[0])
        self.assertIn("/console/certificates?search=desk%40example.org", body)
        await self.submit(f"{path}/deliveries", cookie, deliveryId=delivery["id"], target="")
        await self.submit(f"{path}/deliveries", cookie, deliveryId=delivery["id"], target=" other@example.org ")
        deliveries = (await self.request("GET", f"/recordings/{recording.id}/deliveries")).json
        self.assertEqual(
            [(each["target"], each["status"]) for each in deliveries],
            [("desk@example.org", "pending"), ("other@example.org", "pending")],
        )
        response = await self.submit(f"{path}/deliveries", cookie, target="nonsense")
        self.assertEqual(response.status, 422)
        self.assertIn(b"is not a mail address: the @ is missing", response.body)
        self.assertIn(b"data-deliveries-open", (await self.open(path, cookie)).body)

    async def test_a_webhook_receives_the_message_of_another(self) -> None:
        cookie = await self.signed_in("provision")
        profile = await self.add_profile()
        first = await self.add_webhook("https://user:secret@crm.example/hook?key=1", profile_id=profile.id)
        recording = await self.add_recording(profile_id=profile.id, state=RecordingState.RECORDING)
        await self.recordings.update(
            recording.id, lambda old: msgspec.structs.replace(old, state=RecordingState.COMPLETED)
        )
        second = await self.add_webhook("https://archive.example/")
        await self.add_webhook("https://foreign.example/", profile_id=(await self.add_profile()).id)
        path = f"/recordings/{recording.id}/deliveries"
        delivery = (await self.request("GET", path)).json[-1]
        self.assertEqual(delivery["webhookId"], str(first.id))
        body = (await self.open(f"/console/recordings/{recording.id}", cookie)).body.decode()
        self.assertIn(f'<option value="{second.id}">https://archive.example/</option>', body)
        self.assertNotIn("foreign.example", body)
        response = await self.submit(f"/console{path}", cookie, deliveryId=delivery["id"], target=str(second.id))
        self.assertEqual(response.status, 303, response.body)
        targets = {each["webhookId"] for each in (await self.request("GET", path)).json}
        self.assertEqual(targets, {str(first.id), str(second.id)})

    async def add_webhook(self, url: str, profile_id: UUID | None = None) -> Webhook:
        webhook = Webhook(id=uuid4(), url=url, profile_id=profile_id, created_at=NOW, updated_at=NOW)
        return await self.webhooks.create(webhook)

    async def test_listeners_see_deliveries_only(self) -> None:
        cookie = await self.signed_in("supervise")
        recording = await self.add_audio(b"audio")
        await self.request("POST", f"/recordings/{recording.id}/deliveries", json={"target": "desk@example.org"})
        path = f"/console/recordings/{recording.id}"
        body = (await self.open(path, cookie)).body
        self.assertIn(b"desk@example.org", body)
        for text in (b"Send again", b"Send by mail", b"Expiring links", b"Who played"):
            with subtest(text):
                self.assertNotIn(text, body)
        for action in ("deliveries", "links", f"links/{uuid4()}/revoke"):
            with subtest(action):
                self.assertEqual((await self.submit(f"{path}/{action}", cookie, target="a@example.org")).status, 403)
        self.assertEqual((await self.open(f"{path}/accesses", cookie)).status, 403)


class LinkTests(ConsoleTestCase):
    async def test_a_link_is_created_and_revoked(self) -> None:
        cookie = await self.signed_in("provision")
        recording = await self.add_audio(b"audio")
        path = f"/console/recordings/{recording.id}"
        response = await self.submit(f"{path}/links", cookie, description="<Ben>", days="2", maxUses="3")
        self.assertEqual((response.status, response.headers["location"]), (303, f"{path}?done=link_created#links"))
        (link,) = (await self.request("GET", f"/recordings/{recording.id}/links")).json
        self.assertEqual((link["description"], link["maxUses"], link["createdBy"]), ("<Ben>", 3, "anna"))
        lifetime = datetime.fromisoformat(link["expiresAt"]) - datetime.now(UTC)
        self.assertTrue(timedelta(days=1.9) < lifetime <= timedelta(days=2), lifetime)
        body = (await self.open(path, cookie)).body.decode()
        for text in ("&lt;Ben&gt;", f'value="{link["url"]}" readonly', "opened: 0 of 3", "valid until"):
            with subtest(text):
                self.assertIn(text, body)
        response = await self.submit(f"{path}/links/{link['id']}/revoke", cookie)
        self.assertEqual(response.headers["location"], f"{path}?done=link_revoked#links")
        body = (await self.open(path, cookie)).body.decode()
        self.assertIn("revoked", body)
        self.assertNotIn("readonly", body)


class AccessTests(ConsoleTestCase):
    async def test_hearings_are_listed_with_the_user(self) -> None:
        cookie = await self.signed_in("provision")
        recording = await self.add_audio(b"audio")
        path = f"/console/recordings/{recording.id}"
        body = (await self.open(path, cookie)).body.decode()
        self.assertIn("The recording has not been played or downloaded.", body)
        url = unescape(re.findall(r'<source src="(.*?)"', body)[0])
        for part in ("bytes=0-", "bytes=2-"):
            headers = {"Range": part, "User-Agent": "<Browser>"}
            self.assertEqual((await self.open(url, cookie, **headers)).status, 206)
        self.assertEqual((await self.open(f"/recordings/{recording.id}/audio", cookie)).status, 200)
        body = (await self.open(path, cookie)).body.decode()
        self.assertEqual(re.findall(r'<td data-label="What">(\w+)</td>', body), ["downloaded", "played"])
        for text in ("anna", "127.0.0.1", "&lt;Browser&gt;"):
            with subtest(text):
                self.assertIn(text, body)

    async def test_pages(self) -> None:
        cookie = await self.signed_in("provision")
        recording = await self.add_audio(b"audio")
        for _ in range(51):
            await self.open(f"/recordings/{recording.id}/audio", cookie)
        path = f"/console/recordings/{recording.id}"
        body = (await self.open(path, cookie)).body.decode()
        self.assertEqual(body.count("downloaded</td>"), 10)
        self.assertIn(f'href="{path}/accesses">All accesses', body)
        body = (await self.open(f"{path}/accesses", cookie)).body.decode()
        self.assertEqual(body.count("downloaded</td>"), 50)
        link = unescape(body.partition('rel="next" href="')[2].partition('"')[0])
        self.assertEqual((await self.open(link, cookie)).body.decode().count("downloaded</td>"), 1)
