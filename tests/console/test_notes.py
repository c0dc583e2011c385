"""Tags and notes on the page of a Recording."""

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from tests.console.console_test_case import ConsoleTestCase
from tests.subtest import subtest
from voxrec.console.notes import split_tags


class SplitTests(SynchronousTestCase):
    def test_tags(self) -> None:
        for text, tags in (("", []), (" , ", []), ("a", ["a"]), ("b , a b,,b", ["b", "a b"])):
            with subtest(text):
                self.assertEqual(split_tags(text), tags)


class NotesTestCase(ConsoleTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.recording = await self.add_audio(b"audio")
        self.path = f"/console/recordings/{self.recording.id}"

    async def body(self, cookie: str, **headers: str) -> str:
        response = await self.open(self.path, cookie, **headers)
        self.assertEqual(response.status, 200, response.body)
        return response.body.decode()

    async def notes(self) -> Any:
        return (await self.request("GET", f"/recordings/{self.recording.id}/notes")).json


class TagTests(NotesTestCase):
    async def test_change(self) -> None:
        cookie = await self.signed_in("supervise")
        response = await self.submit(f"{self.path}/tags", cookie, tags="VIP, R&D <1>")
        self.assertEqual((response.status, response.headers["location"]), (303, f"{self.path}?done=tags_saved"))
        self.assertEqual((await self.recordings.get(self.recording.id)).tags, ("R&D <1>", "VIP"))
        body = await self.body(cookie)
        self.assertIn('<a class="state" href="/console/recordings?tag=R%26D+%3C1%3E">R&amp;D &lt;1&gt;</a>', body)
        self.assertIn('value="R&amp;D &lt;1&gt;, VIP"', body)
        self.assertIn(b"R&amp;D", (await self.open("/console/recordings?tag=R%26D%20%3C1%3E", cookie)).body)
        await self.submit(f"{self.path}/tags", cookie, tags="")
        self.assertEqual((await self.recordings.get(self.recording.id)).tags, ())

    async def test_an_invalid_tag(self) -> None:
        response = await self.submit(f"{self.path}/tags", await self.signed_in("supervise"), tags="x" * 65)
        self.assertEqual(response.status, 422)
        self.assertIn(b"tags", response.body)

    async def test_a_listener_sees_tags(self) -> None:
        await self.request("POST", f"/recordings/{self.recording.id}", json={"tags": ["VIP"]})
        cookie = await self.signed_in()
        body = await self.body(cookie)
        self.assertIn(">VIP</a>", body)
        self.assertNotIn(f"{self.path}/tags", body)
        self.assertEqual((await self.submit(f"{self.path}/tags", cookie, tags="a")).status, 403)


class NoteTests(NotesTestCase):
    async def test_add_change_and_delete(self) -> None:
        cookie = await self.signed_in("supervise")
        path = f"{self.path}/notes"
        response = await self.submit(path, cookie, text="first\r\n<b>second</b> ", position="12.5")
        self.assertEqual((response.status, response.headers["location"]), (303, f"{self.path}?done=note_added#notes"))
        (note,) = await self.notes()
        self.assertEqual((note["text"], note["position"]), ("first\n<b>second</b>", 12.5))
        self.assertEqual(note["author"], "anna")
        body = await self.body(cookie)
        for text in (
            "anna · <time",
            "first\n&lt;b&gt;second&lt;/b&gt;</p>",
            'data-position="12.5">12.50 s',
            'value="12.5"',
        ):
            with subtest(text):
                self.assertIn(text, body)
        response = await self.submit(f"{path}/{note['id']}", cookie, text="changed", position="")
        self.assertEqual(response.status, 303)
        (changed,) = await self.notes()
        self.assertEqual((changed["text"], changed["position"]), ("changed", None))
        self.assertEqual((await self.submit(f"{path}/{note['id']}/delete", cookie)).status, 303)
        self.assertEqual(await self.notes(), [])
        entries = (await self.request("GET", f"/audit?targetId={self.recording.id}")).json
        self.assertEqual((entries[0]["who"], entries[0]["method"]), ("anna", "DELETE"))

    async def test_errors_name_the_field(self) -> None:
        cookie = await self.signed_in("supervise")
        for fields in ({"text": " "}, {"text": "x", "position": "later"}, {"text": "x", "position": "-1"}):
            with subtest(fields):
                response = await self.submit(f"{self.path}/notes", cookie, **fields)
                self.assertEqual(response.status, 422)
                self.assertIn([*fields][-1].encode(), response.body)
        for position in ("nan", "inf", "1e999"):
            with subtest(position):
                response = await self.submit(f"{self.path}/notes", cookie, text="x", position=position)
                self.assertEqual(response.status, 422, response.body)

    async def test_forms_are_for_those_who_may_use_them(self) -> None:
        await self.request("POST", f"/recordings/{self.recording.id}/notes", json={"text": "by a token"})
        (note,) = await self.notes()
        change, add = f'action="{self.path}/notes/{note["id"]}"', f'action="{self.path}/notes"'
        for role, forms in (("read", (False, False)), ("supervise", (True, False)), ("provision", (True, True))):
            with subtest(role):
                await self.pool.execute("DELETE FROM users")
                cookie = await self.signed_in(role)
                body = await self.body(cookie, **{"Accept-Language": "de"})
                self.assertIn("by a token", body)
                self.assertEqual((add in body, change in body), forms)
                response = await self.submit(f"{self.path}/notes/{note['id']}", cookie, text="changed")
                self.assertEqual(response.status, 303 if forms[1] else 403)

    async def test_pages_of_other_sites_cannot_write(self) -> None:
        cookie = await self.signed_in("provision")
        other = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        for action in ("notes", "tags"):
            response = await self.submit(f"{self.path}/{action}", cookie, headers=other, text="x", tags="x")
            self.assertEqual(response.status, 403)
        self.assertEqual(await self.notes(), [])
