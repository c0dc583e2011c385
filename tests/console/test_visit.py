"""What all pages share: errors, requests without a session, and what was done before."""

import re
from pathlib import Path

import voxrec.console
from tests.console.console_test_case import SAME_ORIGIN, ConsoleTestCase
from tests.subtest import subtest
from voxrec.console.rendering import LANGUAGES

UNKNOWN = "00000000-0000-4000-8000-000000000000"


class SessionEndTests(ConsoleTestCase):
    async def test_the_entries_of_a_form_are_kept_and_can_be_sent_again(self) -> None:
        await self.add_user("anna", "provision")
        recording = await self.add_recording()
        path = f"/console/recordings/{recording.id}/notes?search=a%26b"
        text = 'line 1\r\n<b>"line" 2</b>'
        response = await self.submit(path, "", text=text, position="1.5")
        self.assertEqual(response.status, 403)
        body = response.body.decode()
        for expected in (
            "Your session has ended",
            f'action="/console/recordings/{recording.id}/notes?search=a%26b"',
            '<input type="hidden" name="text" value="line 1\r\n&lt;b&gt;&#34;line&#34; 2&lt;/b&gt;">',
            '<input type="hidden" name="position" value="1.5">',
            'href="/console/sign-in?next=/console/signed-in" target="_blank"',
        ):
            with subtest(expected):
                self.assertIn(expected, body)
        self.assertNotIn("Passwords, codes", body)
        cookie = (await self.sign_in("anna")).partition(";")[0]
        self.assertIn(b"You are signed in", (await self.open("/console/signed-in", cookie)).body)
        self.assertEqual((await self.submit(path, cookie, text=text, position="1.5")).status, 303)
        (note,) = (await self.request("GET", f"/recordings/{recording.id}/notes")).json
        self.assertEqual(note["text"], text.replace("\r\n", "\n"))

    async def test_secrets_are_not_kept(self) -> None:
        secret = {"password": "a secret phrase", "certificate": "-----BEGIN PRIVATE KEY-----\na secret phrase"}
        response = await self.submit("/console/users/new", "", name="ben", role="read", **secret)
        body = response.body.decode()
        self.assertIn('name="name" value="ben"', body)
        self.assertNotIn("a secret phrase", body)
        self.assertIn("Passwords, codes and files are not kept", body)

    async def test_forms_of_other_sites_are_refused(self) -> None:
        headers = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        response = await self.submit("/console/users/new", "", headers, name="ben", role="admin")
        self.assertEqual(response.status, 403)
        self.assertNotIn(b'value="ben"', response.body)
        self.assertIn(b"</html>", response.body)

    async def test_forms_without_fields_lead_to_their_page(self) -> None:
        await self.add_user("anna", "provision")
        path = f"/console/recordings/{UNKNOWN}/links/{UNKNOWN}/revoke"
        response = await self.submit(path, "")
        self.assertEqual((response.status, response.headers["location"]), (303, f"/console/sign-in?next={path}"))
        cookie = (await self.sign_in("anna")).partition(";")[0]
        response = await self.open(path, cookie)
        self.assertEqual((response.status, response.headers["location"]), (303, f"/console/recordings/{UNKNOWN}"))


class OtherUserTests(ConsoleTestCase):
    """Tabs of a browser share the session: a page may be of another user than the one who sends its form."""

    async def test_nothing_is_done_in_the_name_of_another_user(self) -> None:
        cookie = await self.signed_in("provision")
        recording = await self.add_recording()
        path = f"/console/recordings/{recording.id}/notes?search=a"
        response = await self.submit(path, cookie, text="a <note>", _user=UNKNOWN)
        self.assertEqual(response.status, 409)
        body = response.body.decode()
        for expected in (
            "<h1>This browser is now signed in as anna</h1>",
            f'action="{path}"',
            '<input type="hidden" name="text" value="a &lt;note&gt;">',
            "Send the entries as anna",
        ):
            with subtest(expected):
                self.assertIn(expected, body)
        self.assertNotIn(UNKNOWN, body)
        self.assertEqual((await self.request("GET", f"/recordings/{recording.id}/notes")).json, [])
        user = (await self.open("/console/session", cookie)).json["user"]
        for fields in ({"_user": user}, {}):
            self.assertEqual((await self.submit(path, cookie, text="a", **fields)).status, 303)

    async def test_forms_without_fields(self) -> None:
        response = await self.submit(
            f"/console/calls/{UNKNOWN}/pause", await self.signed_in("supervise"), _user=UNKNOWN
        )
        self.assertEqual(response.status, 409)
        response = await self.submit(f"/console/recordings/{UNKNOWN}/links/{UNKNOWN}/revoke", "", _user=UNKNOWN)
        self.assertEqual(response.status, 303, "the page for signing in: there are no entries to keep")

    async def test_pages_name_their_user_for_scripts(self) -> None:
        cookie = await self.signed_in()
        session = (await self.open("/console/session", cookie)).json
        self.assertEqual(session["name"], "anna")
        self.assertIn(f'data-user="{session["user"]}"', (await self.open("/console/calls", cookie)).body.decode())


class UnknownPageTests(ConsoleTestCase):
    async def test_addresses_of_forms_lead_to_their_pages(self) -> None:
        cookie = await self.signed_in("admin")
        for path, page in (
            (f"/console/profiles/{UNKNOWN}/test", f"/console/profiles/{UNKNOWN}"),
            (f"/console/recordings/{UNKNOWN}/notes/{UNKNOWN}/delete", f"/console/recordings/{UNKNOWN}"),
            (f"/console/calls/{UNKNOWN}/pause", "/console/calls"),
            (f"/console/operations/jobs/{UNKNOWN}", "/console/operations"),
            ("/console/account/second-factor/confirm", "/console/account"),
            ("/console/bulk-actions", "/console"),
            ("/console/sign-out", "/console"),
        ):
            with subtest(path):
                response = await self.open(path, cookie)
                self.assertEqual((response.status, response.headers.get("location")), (303, page))

    async def test_errors_are_pages(self) -> None:
        cookie = await self.signed_in("provision")
        large = {"text": "x" * 2_000_000}
        for response, status, text in (
            (await self.open("/console/nothing", cookie), 404, "This page does not exist"),
            (await self.open("/console/recordings/x/y/z", cookie), 404, "This page does not exist"),
            (await self.open("/console/recordings/not-an-id", cookie), 404, "This page does not exist"),
            (await self.submit("/console/recordings", cookie), 404, "This page does not exist"),
            (await self.open(f"/console/recordings?{'a=&' * 60}", cookie), 400, "The request could not be read"),
            (await self.submit(f"/console/recordings/{UNKNOWN}/notes", cookie, **large), 413, "More was sent than"),
            (
                await self.open("/console/nothing", cookie, **{"Accept-Language": "de"}),
                404,
                "Diese Seite gibt es nicht",
            ),
        ):
            with subtest((status, text)):
                self.assertEqual(response.status, status, response.body)
                self.assertEqual(response.headers["content-type"], "text/html; charset=utf-8")
                self.assertIn(text, response.body.decode())
                self.assertIn("default-src 'none'", response.headers["content-security-policy"])
                self.assertEqual(response.headers["referrer-policy"], "same-origin")

    async def test_an_error_leads_back_to_the_page_with_the_form(self) -> None:
        cookie = await self.signed_in("provision")
        form, page = f"/console/recordings/{UNKNOWN}/hold", f"/console/recordings/{UNKNOWN}?state=failed"
        origin = f"http://127.0.0.1:{self.port}"
        for referer, back in (
            (f"{origin}{page}", page),
            ("https://evil.example/console/calls", "/console/recordings"),
            (f"{origin}/docs", "/console/recordings"),
            ("http://[", "/console/recordings"),
            ("", "/console/recordings"),
        ):
            with subtest(referer):
                response = await self.submit(form, cookie, {**SAME_ORIGIN, "Referer": referer}, hold="true")
                self.assertIn(f'<a href="{back}">Back</a>', response.body.decode())

    async def test_errors_of_rest_are_documents(self) -> None:
        response = await self.request("GET", "/nothing")
        self.assertEqual(response.headers["content-type"], "application/problem+json")

    async def test_other_sites_cannot_send_forms_with_a_session(self) -> None:
        cookie = await self.signed_in("provision")
        headers = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}
        response = await self.submit(f"/console/recordings/{UNKNOWN}/hold", cookie, headers, hold="true")
        self.assertEqual((response.status, response.headers["content-type"]), (403, "text/html; charset=utf-8"))


class DoneTests(ConsoleTestCase):
    async def test_pages_say_what_was_done(self) -> None:
        cookie = await self.signed_in("provision")
        recording = await self.add_recording()
        path = f"/console/recordings/{recording.id}"
        response = await self.submit(f"{path}/hold?search=a", cookie, hold="true")
        self.assertEqual(response.headers["location"], f"{path}?search=a&done=hold_set")
        body = (await self.open(response.headers["location"], cookie)).body.decode()
        self.assertIn("The legal hold is set.</p>", body)
        self.assertNotIn("done=hold_set", body)  # in no link or form, so that it is said once
        response = await self.submit(f"{path}/notes?done=hold_set", cookie, text="a")
        self.assertEqual(response.headers["location"], f"{path}?done=note_added#notes")

    async def test_only_known_texts(self) -> None:
        cookie = await self.signed_in()
        for done in ("nothing", "<b>", "hold_set&done=x"):
            body = (await self.open(f"/console/calls?done={done}", cookie)).body.decode()
            self.assertNotIn('id="done"', body)

    def test_every_text_exists(self) -> None:
        sources = "".join(file.read_text() for file in Path(voxrec.console.__file__).parent.glob("*.py"))
        used = {*re.findall(r'(?:redirect_after|_changed)\((?:visit, )?"(\w+)"', sources)}
        used |= {*re.findall(r'to_recording\(visit, "(\w+)"', sources)}
        self.assertGreater(len(used), 20)
        for language in LANGUAGES.available.values():
            self.assertEqual([name for name in used if f"done_{name}" not in language.texts], [])
