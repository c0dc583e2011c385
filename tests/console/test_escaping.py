"""Text of callers, users and clients never becomes markup of a page."""

import re
from pathlib import Path
from urllib.parse import quote

from twisted.trial.unittest import SynchronousTestCase

import voxrec.console
from tests.console.console_test_case import ConsoleTestCase
from tests.subtest import subtest
from voxrec.model import TimelineEntry, Verdict

DIRECTORY = Path(voxrec.console.__file__).parent
HOSTILE = "\"'><script>alert(1)</script>{{7*7}}"


class EscapingTests(ConsoleTestCase):
    async def test_hostile_text_on_every_page(self) -> None:
        await self.add_user("anna", "admin")
        cookie = (await self.sign_in("anna")).partition(";")[0]
        paths = await self.add_hostile_objects(cookie)
        for language in ("en", "de"):
            for path in paths:
                with subtest((path, language)):
                    headers = {"Accept-Language": language, "User-Agent": HOSTILE}
                    response = await self.open(path, cookie, **headers)
                    self.assertEqual(response.status, 200, response.body)
                    body = response.body.decode()
                    self.assertIn("script&gt;alert(1)", body.replace("\\u003c", "&lt;").replace("\\u003e", "&gt;"))
                    self.assertNotIn("<script>alert", body)
                    self.assertNotIn(HOSTILE[:3], body)

    async def add_hostile_objects(self, cookie: str) -> list[str]:
        """Add an object of each kind whose texts are hostile; return the paths of the pages that show them."""
        profile = await self.add_profile(name=HOSTILE, record=True, metadata={"key": HOSTILE})
        recording = await self.add_audio(
            b"audio",
            profile_id=profile.id,
            channels=2,
            duration=1.0,
            from_name=HOSTILE,
            from_=HOSTILE,
            to=HOSTILE,
            node=HOSTILE,
            tags=(HOSTILE.replace(",", ""),),
            timeline=(TimelineEntry(at=0.5, event=HOSTILE, by=HOSTILE, detail=HOSTILE),),
            verdict=Verdict(ok=False, reasons=(HOSTILE,)),
        )
        path = f"/console/recordings/{recording.id}"
        await self.submit(f"{path}/notes", cookie, text=HOSTILE)
        await self.submit(f"{path}/links", cookie, description=HOSTILE)
        await self.request("PUT", "/prompts", json={"name": HOSTILE})
        webhook = await self.request("PUT", "/webhooks", json={"url": "https://a.example", "description": HOSTILE})
        await self.request("PUT", "/tokens", json={"name": HOSTILE, "role": "read"})
        await self.request(
            "DELETE", f"/recordings/{(await self.add_recording()).id}?reason=%22%27%3E%3Cscript%3Ealert(1)"
        )
        await self.open(f"/recordings/{recording.id}/audio", cookie, **{"User-Agent": HOSTILE})
        return [
            *("/console/recordings", path, f"{path}/accesses", f"/console/profiles/{profile.id}", "/console/profiles"),
            *(f"/console/profiles/{profile.id}/edit", f"/console/webhooks/{webhook.json['id']}", "/console/webhooks"),
            *("/console/tokens", "/console/audit", f"/console/recordings?search={quote(HOSTILE)}"),
        ]


class SourceTests(SynchronousTestCase):
    def test_scripts_insert_no_markup(self) -> None:
        risky = re.compile(r"innerHTML|outerHTML =|insertAdjacentHTML|document\.write|\beval\(|new Function")
        found = {
            path.name: risky.findall(path.read_text())
            for path in (DIRECTORY / "assets").iterdir()
            if path.suffix == ".js"
        }
        self.assertGreater(len(found), 10)
        self.assertEqual({name for name, uses in found.items() if uses}, {"calls.js"})
        self.assertEqual(found["calls.js"], ["innerHTML"], "the table as the server has rendered it")

    def test_templates_escape_everything(self) -> None:
        sources = {path.name: path.read_text() for path in (DIRECTORY / "templates").iterdir()}
        unescaped = [
            (name, line.strip())
            for name, source in sources.items()
            for line in source.splitlines()
            if re.search(r"\|\s*safe\b|autoescape", line)
        ]
        self.assertEqual([name for name, _line in unescaped], ["recordings.html"], unescaped)  # a constant
