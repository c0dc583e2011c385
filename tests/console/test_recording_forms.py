"""The forms on the page of a Recording: what REST rejects is shown at its field, with what was entered."""

import re
from uuid import UUID

from tests.console.console_test_case import ConsoleTestCase
from tests.console.form_controls import Controls
from tests.subtest import subtest

TEXT = 10_001 * "x"


class RecordingFormTests(ConsoleTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.recording = await self.add_audio(b"audio")
        self.path = f"/console/recordings/{self.recording.id}"
        self.cookie = await self.signed_in("provision")

    async def rejected(self, form: str, field: str, message: str, **fields: str) -> str:
        """Send a form; check that ``field`` is marked, with ``message``, in a form that is open; return the page."""
        response = await self.submit(f"{self.path}/{form}", self.cookie, **fields)
        body = response.body.decode()
        self.assertEqual(response.status, 422, body)
        page = Controls(body)
        (control,) = page.invalid()
        self.assertEqual((control["form"], control["name"]), (f"{self.path}/{form}", field))
        self.assertEqual(control["open"], "True")
        self.assertIn("autofocus", control)
        described_by = str(control["aria-describedby"]).split()[0]
        found = re.search(f'<span class="error" id="{described_by}">(.*?)</span>', body)
        self.assertRegex(found[1] if found else "", message)
        self.assertEqual(len(page.ids), len({*page.ids}), "duplicate ids")
        return body

    async def test_link(self) -> None:
        for field, value, message in (
            ("days", "3000", "more than 90 days from now"),
            ("days", "0", "must be in the future"),
            ("days", "99999", "."),
            ("days", "²", "."),
            ("maxUses", "0", "."),
            ("maxUses", "many", "."),
            ("maxUses", 5000 * "9", "."),
            ("description", 256 * "d", "."),
        ):
            with subtest((field, value)):
                fields = {"description": "for the <lawyer>", "days": "7", "maxUses": "3", field: value}
                body = await self.rejected("links", field, message, **fields)
                for name, entered in fields.items():
                    escaped = entered.replace("<", "&lt;").replace(">", "&gt;")
                    self.assertIn(f'name="{name}"', body)
                    self.assertIn(f'value="{escaped}"', body)
        links = (await self.request("GET", f"/recordings/{self.recording.id}/links")).json
        self.assertEqual(links, [])

    async def test_new_note(self) -> None:
        body = await self.rejected("notes", "position", ".", text="said <this>", position="later")
        self.assertIn(">said &lt;this&gt;</textarea>", body)
        self.assertIn('value="later"', body)
        body = await self.rejected("notes", "text", ".", text=TEXT, position="1.5")
        self.assertIn(f">{TEXT}</textarea>", body)
        self.assertIn('value="1.5"', body)

    async def test_changed_note(self) -> None:
        first, second = [await self.add_note(text) for text in ("first", "second")]
        body = await self.rejected(f"notes/{second}", "position", ".", text="other", position="-1")
        self.assertIn(">other</textarea>", body)
        self.assertIn(">first</textarea>", body, "the other note is shown as it is stored")
        await self.rejected(f"notes/{first}", "text", ".", text=" ")

    async def add_note(self, text: str) -> UUID:
        response = await self.request("POST", f"/recordings/{self.recording.id}/notes", json={"text": text})
        return UUID(response.json["id"])

    async def test_tags(self) -> None:
        tags = f"VIP, {65 * 'x'}"
        body = await self.rejected("tags", "tags", ".", tags=tags)
        self.assertIn(f'value="{tags}"', body)

    async def test_mail_to_an_invalid_address(self) -> None:
        body = await self.rejected("deliveries", "target", ".", target="nobody")
        self.assertIn('value="nobody"', body)

    async def test_reason_of_a_deletion(self) -> None:
        body = await self.rejected("delete", "reason", ".", reason=256 * "r")
        self.assertIn(256 * "r", body)
        self.assertEqual((await self.recordings.get(self.recording.id)).id, self.recording.id)

    async def test_the_list_that_led_to_the_page_is_kept(self) -> None:
        response = await self.submit(f"{self.path}/tags?search=anna", self.cookie, tags=65 * "x")
        self.assertEqual(response.status, 422)
        self.assertIn(f'action="{self.path}/tags?search=anna"', response.body.decode())

    async def test_an_object_that_does_not_exist_is_an_error_page(self) -> None:
        other = "/console/recordings/00000000-0000-4000-8000-000000000000/tags"
        response = await self.submit(other, self.cookie, tags="a")
        self.assertEqual(response.status, 404)
