"""Tests of voxrec.api.links.link_opening, voxrec.api.links.link_pages and voxrec.languages."""

import hashlib
import re
from base64 import b64encode
from datetime import UTC, datetime, timedelta
from typing import Any

from msgspec.structs import replace
from twisted.trial.unittest import SynchronousTestCase

from tests.api.audio.audio_test_case import AudioTestCase, two_tones
from tests.api.rest_test_case import PUBLIC_URL, ClientResponse
from tests.subtest import subtest
from voxrec.api.links.link_opening import VISIT_DURATION
from voxrec.api.links.link_pages import LANGUAGES
from voxrec.audio.formats import FORMATS, PLAYABLE
from voxrec.model import Link, LinkOrigin, Recording, Verdict
from voxrec.store.links import Links, NewLink
from voxrec.web.login_throttle import LoginThrottle
from voxrec.web.proxies import TrustedProxies

AUDIO = two_tones()
USER_AGENT = "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"


class OpeningTestCase(AudioTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.profile = await self.add_profile(name="Front <desk>")
        self.recording = await self.add_audio(
            AUDIO,
            profile_id=self.profile.id,
            from_="+49123",
            from_name="Erna <b>Müller</b>",
            to="+49555",
            started_at=datetime(2026, 11, 23, 19, 31, tzinfo=UTC),
            duration=125.0,
            channels=2,
            verdict=Verdict(ok=True),
        )

    async def create(self, recording: Recording | None = None, **fields: Any) -> Link:
        defaults: dict[str, Any] = {
            "recording_id": (recording or self.recording).id,
            "origin": LinkOrigin.REST,
            "created_by": "crm",
            "expires_at": datetime.now(UTC) + timedelta(days=1),
        }
        return await self.links.create(NewLink(**{**defaults, **fields}))

    async def browse(self, method: str, path: str, cookie: str = "", **headers: str) -> ClientResponse:
        """Send a request as a browser does, without following a redirection."""
        sent = {"User-Agent": USER_AGENT, **({"Cookie": cookie} if cookie else {}), **headers}
        return await self.request(method, path, token="", headers=sent, allow_redirects=False)

    async def open(self, link: Link) -> str:
        """Open a link, and return the cookie of the visit."""
        response = await self.browse("POST", path_of(link))
        self.assertEqual(response.status, 303, response.body)
        self.assertEqual(response.headers["location"], path_of(link).removeprefix("/l/"))
        return response.headers["set-cookie"].partition(";")[0]

    async def uses(self, link: Link) -> int:
        return (await self.links.get(link.recording_id, link.id)).uses


def path_of(link: Link) -> str:
    assert link.url is not None
    return link.url.removeprefix(PUBLIC_URL)


class UseTests(OpeningTestCase):
    """What counts as a use."""

    async def test_retrieving_the_page_does_not(self) -> None:
        link = await self.create(max_uses=1)
        for method, headers in (
            ("HEAD", {}),
            ("GET", {}),
            ("GET", {"Purpose": "prefetch", "Sec-Purpose": "prefetch;prerender"}),
            ("GET", {"User-Agent": "BarracudaCentral"}),
        ):
            response = await self.browse(method, path_of(link), **headers)
            self.assertEqual(response.status, 200)
            text = response.body.decode()
            for secret in ("49123", "49555", "desk", str(self.recording.sha256), "<audio"):
                self.assertNotIn(secret, text)
        self.assertEqual(await self.uses(link), 0)
        await self.open(link)
        self.assertEqual(await self.uses(link), 1)

    async def test_one_visit_is_one_use(self) -> None:
        link = await self.create(max_uses=1)
        cookie = await self.open(link)
        for _ in range(2):
            self.assertIn("<audio", (await self.browse("GET", path_of(link), cookie)).body.decode())
        for start in (0, 1000, 2000):
            part = await self.browse("GET", f"{path_of(link)}/audio", cookie, Range=f"bytes={start}-{start + 99}")
            self.assertEqual((part.status, part.body), (206, AUDIO[start : start + 100]))
        again = await self.browse("POST", path_of(link), cookie)
        self.assertEqual((again.status, "set-cookie" in again.headers), (303, False))
        self.assertEqual(await self.uses(link), 1)

    async def test_another_browser_is_another_use(self) -> None:
        link = await self.create(max_uses=2)
        await self.open(link)
        self.assertIn("It can be opened once more.", (await self.browse("GET", path_of(link))).body.decode())
        await self.open(link)
        for method in ("GET", "POST"):
            used_up = await self.browse(method, path_of(link))
            self.assertEqual(used_up.status, 410)
            self.assertIn("opened as often as it can be", used_up.body.decode())
        self.assertEqual(await self.uses(link), 2)

    async def test_who_opened_a_link_that_is_used_up_can_still_listen(self) -> None:
        link = await self.create(max_uses=1)
        cookie = await self.open(link)
        self.assertEqual((await self.browse("GET", path_of(link), cookie)).status, 200)
        self.assertEqual((await self.browse("GET", f"{path_of(link)}/audio", cookie)).body, AUDIO)

    async def test_a_use_is_audited_without_the_secret(self) -> None:
        link = await self.create()
        await self.open(link)
        (use,) = (await self.request("GET", f"/recordings/{self.recording.id}/links/{link.id}/uses")).json
        self.assertEqual((use["address"], use["userAgent"]), ("127.0.0.1", USER_AGENT))
        (entry,) = (await self.request("GET", f"/audit?targetId={self.recording.id}")).json
        expected = {
            "who": "link",
            "address": "127.0.0.1",
            "userAgent": USER_AGENT,
            "method": "POST",
            "path": f"/recordings/{self.recording.id}/links/{link.id}",
            "outcome": "done",
        }
        self.assertEqual({key: entry[key] for key in expected}, expected)

    async def test_the_address_is_that_behind_a_trusted_proxy(self) -> None:
        self.site.trusted_proxies = TrustedProxies.parse(["127.0.0.1"])
        link = await self.create()
        await self.browse("POST", path_of(link), **{"X-Forwarded-For": "203.0.113.7"})
        (use,) = await self.links.uses(link.id).page()
        self.assertEqual(use.address, "203.0.113.7")

    async def test_no_use_no_entry_and_no_secret_in_the_audit_log(self) -> None:
        link = await self.create(max_uses=1)
        await self.open(link)
        await self.browse("POST", path_of(link))
        await self.browse("POST", f"{path_of(link)[:-1]}_")
        entries = (await self.request("GET", "/audit")).json
        self.assertEqual(len(entries), 1)
        self.assertNotIn("/l/", str(entries))


class VisitTests(OpeningTestCase):
    async def test_the_audio_needs_a_visit_of_this_link(self) -> None:
        link, other = await self.create(), await self.create()
        cookie = await self.open(other)
        for sent in ("", cookie, "voxrec-visit=abc", f"voxrec-visit={'A' * 48}"):
            response = await self.browse("GET", f"{path_of(link)}/audio", sent)
            self.assertEqual((response.status, response.headers["content-type"]), (403, "text/html; charset=utf-8"))
        self.assertEqual((await self.browse("GET", f"{path_of(other)}/audio", f"a=b; {cookie}; c=d")).body, AUDIO)

    async def test_a_visit_ends(self) -> None:
        link = await self.create(max_uses=1)
        cookie = await self.open(link)
        await self.pool.execute("UPDATE link_uses SET created_at = created_at - %s", (VISIT_DURATION,))
        self.assertEqual((await self.browse("GET", path_of(link), cookie)).status, 410)
        self.assertEqual((await self.browse("GET", f"{path_of(link)}/audio", cookie)).status, 410)

    async def test_expiry_revocation_and_deletion_end_a_visit(self) -> None:
        link = await self.create()
        cookie = await self.open(link)
        for statement, text in (
            ("UPDATE links SET expires_at = now()", "has expired"),
            ("UPDATE links SET expires_at = now() + interval '1 h', revoked_at = now()", "was revoked"),
            ("DELETE FROM recordings", "was deleted"),
        ):
            await self.pool.execute(statement)
            for path in (path_of(link), f"{path_of(link)}/audio"):
                response = await self.browse("GET", path, cookie)
                self.assertEqual(response.status, 410)
                self.assertIn(text, response.body.decode())
            self.assertEqual((await self.browse("POST", path_of(link))).status, 410)

    async def test_the_cookie(self) -> None:
        link = await self.create()
        header = (await self.browse("POST", path_of(link))).headers["set-cookie"]
        _, *attributes = header.split("; ")
        self.assertEqual(attributes, [f"Path={path_of(link)}", "Max-Age=14400", "HttpOnly", "SameSite=Lax", "Secure"])

    async def test_another_node_and_a_rotated_key(self) -> None:
        link = await self.create()
        cookie = await self.open(link)
        await self.pool.execute("UPDATE link_keys SET created_at = now() - interval '31 days'")
        await self.create()  # signed by a new key
        await Links(self.pool, PUBLIC_URL, timedelta(days=30)).delete_expired(timedelta(days=90))
        self.assertEqual((await self.browse("GET", f"{path_of(link)}/audio", cookie)).body, AUDIO)
        await self.open(link)


class ForgeryTests(OpeningTestCase):
    async def test_forged_links_all_look_the_same(self) -> None:
        token = path_of(await self.create())[3:]
        bodies = set()
        for forged in (f"{token[:-1]}{'A' if token[-1] != 'A' else 'B'}", "A" * 48, "x", f"{'A' * 6}{token[6:]}"):
            for method, suffix in (("GET", ""), ("POST", ""), ("GET", "/audio")):
                self.patch(LoginThrottle, "FREE_FAILURES", 1000)
                response = await self.browse(method, f"/l/{forged}{suffix}")
                self.assertEqual(response.status, 404)
                bodies.add(response.body)
        self.assertEqual(len(bodies), 1)
        self.assertIn(b"This link is not valid", bodies.pop())

    async def test_guessing_is_slowed_down_and_valid_links_work_meanwhile(self) -> None:
        link = await self.create()
        statuses = [(await self.browse("GET", f"/l/{number:048d}")).status for number in range(8)]
        self.assertEqual(statuses[:5], [404] * 5)
        self.assertEqual(statuses[-1], 429)
        throttled = await self.browse("GET", "/l/x", **{"Accept-Language": "de"})
        self.assertGreaterEqual(int(throttled.headers["retry-after"]), 1)
        self.assertIn("Zu viele ungültige Links", throttled.body.decode())
        self.assertEqual((await self.browse("GET", path_of(link))).status, 200)

    async def test_a_database_that_is_down(self) -> None:
        link = await self.create()
        await self.pool.stopService()
        response = await self.browse("GET", path_of(link))
        self.assertEqual((response.status, response.headers["content-type"]), (503, "text/html; charset=utf-8"))
        self.pool.startService()
        await self.pool.when_ready()


class PageTests(OpeningTestCase):
    async def page(self, recording: Recording | None = None, language: str = "en") -> str:
        link = await self.create(recording)
        cookie = await self.open(link)
        response = await self.browse("GET", path_of(link), cookie, **{"Accept-Language": language})
        self.assertEqual(response.status, 200)
        return response.body.decode()

    async def test_facts(self) -> None:
        page = await self.page()
        for text in (
            *("Erna &lt;b&gt;Müller&lt;/b&gt; (+49123) called +49555", "Front &lt;desk&gt;"),
            *("23 November 2026, 19:31 UTC", "2 min 5 s", "No problems were found."),
            *(hashlib.sha256(AUDIO).hexdigest(), "Download (WAV, 32.0 kB)"),
        ):
            self.assertIn(text, page)
        self.assertNotIn("<b>", page)

    async def test_german(self) -> None:
        page = await self.page(language="de-AT,en;q=0.5")
        for text in ('<html lang="de">', "hat +49555 angerufen", "23. November 2026, 19:31 UTC", "32,0 kB"):
            self.assertIn(text, page)

    async def test_a_problem_in_words(self) -> None:
        verdict = Verdict(ok=False, reasons=("one-way audio: callee silent", "truncated", "later reason"))
        recording = await self.add_audio(AUDIO, from_=None, to=None, verdict=verdict)
        page = await self.page(recording)
        problem = "There may be a problem: the called party is not heard; a part of the call is missing; later reason."
        self.assertEqual(page.count(problem), 2)
        self.assertIn("Number withheld called unknown", page)

    async def test_a_format_that_browsers_do_not_play(self) -> None:
        content = two_tones("WAV")[44:]  # not audio in this format, but as long as it is not decoded, no matter
        recording = await self.add_audio(content, format="gsm")
        page = await self.page(recording)
        self.assertIn('/audio?format=wav"', page)
        self.assertRegex(page, r'href="[^"?]*/audio" download')
        self.assertIn("Your browser cannot play the format of this recording (GSM).", page)

    async def test_headers(self) -> None:
        link = await self.create()
        cookie = await self.open(link)
        for sent in ("", cookie):
            response = await self.browse("GET", path_of(link), sent)
            headers = response.headers
            self.assertEqual(
                {name: headers[name] for name in ("cache-control", "referrer-policy", "x-robots-tag", "vary")},
                {
                    "cache-control": "no-store",
                    "referrer-policy": "no-referrer",
                    "x-robots-tag": "noindex, nofollow, noarchive",
                    "vary": "Accept-Language, Cookie",
                },
            )
            (style,) = re.findall(r"<style>(.*?)</style>", response.body.decode(), re.DOTALL)
            digest = b64encode(hashlib.sha256(style.encode()).digest()).decode()
            policy = headers["content-security-policy"]
            self.assertIn(f"default-src 'none'; style-src 'sha256-{digest}';", policy)
            self.assertNotIn("script-src", policy)
            self.assertNotIn("<script", response.body.decode())
            self.assertNotRegex(response.body.decode(), r'(?:src|href|action)="(?:https?:)?//')
        audio = await self.browse("GET", f"{path_of(link)}/audio", cookie)
        self.assertEqual(audio.headers["cache-control"], "no-store")
        self.assertEqual(
            audio.headers["content-disposition"], 'attachment; filename="2026-11-23T19-31-00Z_+49123_to_+49555.wav"'
        )

    async def test_addresses_are_relative_so_that_a_proxy_may_add_a_prefix(self) -> None:
        page = await self.page()
        (source,) = re.findall(r'<audio[^>]* src="([^"]+)"', page)
        self.assertRegex(source, r"^[A-Za-z0-9_-]{48}/audio$")


class AudioTests(OpeningTestCase):
    async def test_the_audio_is_complete_partial_or_converted(self) -> None:
        link = await self.create()
        cookie = await self.open(link)
        path = f"{path_of(link)}/audio"
        whole = await self.browse("GET", path, cookie)
        self.assertEqual((whole.status, whole.body, whole.headers["accept-ranges"]), (200, AUDIO, "bytes"))
        converted = await self.browse("GET", f"{path}?format=mp3", cookie)
        self.assertEqual((converted.status, converted.headers["content-type"]), (200, "audio/mpeg"))
        head = await self.browse("HEAD", path, cookie)
        self.assertEqual((head.status, head.headers["content-length"]), (200, str(len(AUDIO))))
        beyond = await self.browse("GET", path, cookie, Range="bytes=99999999-")
        self.assertEqual(beyond.status, 416)

    async def test_a_legal_hold_does_not_matter(self) -> None:
        await self.recordings.update(self.recording.id, lambda recording: replace(recording, legal_hold=True))
        link = await self.create()
        self.assertEqual((await self.browse("GET", f"{path_of(link)}/audio", await self.open(link))).body, AUDIO)


class LanguageTests(SynchronousTestCase):
    def test_choice(self) -> None:
        for header, expected in (
            ("", "en"),
            ("de", "de"),
            ("DE-ch", "de"),
            ("fr, de;q=0.3, en;q=0.2", "de"),
            ("en, de;q=0.9", "en"),
            ("fr", "en"),
            ("de;q=0", "en"),
            ("de;q=x", "en"),
            ("*, de;q=0.5", "en"),
            (",;=,", "en"),
            ("de," * 100_000, "de"),
        ):
            with subtest(header[:40]):
                self.assertEqual(LANGUAGES.choose(header).code, expected)

    def test_every_language_has_every_text_with_the_same_values(self) -> None:
        english = LANGUAGES.available["en"]

        def values(texts: Any) -> dict[str, list[str]]:
            return {key: sorted(set(re.findall(r"\{(\w+)\}", str(text)))) for key, text in texts.items()}

        self.assertEqual({*LANGUAGES.available}, {"en", "de"})
        for language in LANGUAGES.available.values():
            self.assertEqual(values(language.texts), values(english.texts))
            self.assertEqual(len(language.texts["months"]), 12)

    def test_formats_that_browsers_play_exist(self) -> None:
        self.assertLessEqual(PLAYABLE, {*FORMATS})
