"""The link in a mail opens the recording without a token, and an export contains it, in a daemon as it is installed."""

import hashlib
import io
import re
import zipfile
from typing import Any

import treq
from twisted.web.http_headers import Headers

from tests.api.audio.audio_test_case import two_tones
from tests.live.live_test_case import LiveTestCase, shared_stack
from voxrec.sandbox.stack import Stack

AUDIO = two_tones()


class LinkAndExportTests(LiveTestCase):
    async def import_recording(self, stack: Stack) -> Any:
        """Return a completed Recording with AUDIO, of a new Profile."""
        profile = await stack.request_json("PUT", "/profiles", {"name": "Front desk"})
        recording = await stack.request_json("PUT", "/recordings", {"profileId": profile["id"], "from": "+4930901820"})
        response = await treq.put(
            f"{stack.url}/recordings/{recording['id']}/audio",
            data=AUDIO,
            headers=Headers({"Authorization": [f"Bearer {stack.token}"], "Content-Type": ["audio/wav"]}),
            persistent=False,
        )
        self.assertEqual(response.code, 200, await response.content())
        return await stack.request_json("GET", f"/recordings/{recording['id']}")

    async def browse(self, method: str, url: str, **headers: str) -> tuple[int, dict[str, str], bytes]:
        """Send a request without a token."""
        response = await treq.request(
            method,
            url,
            headers=Headers({name: [value] for name, value in headers.items()}),
            allow_redirects=False,
            persistent=False,
        )
        received = {name.decode().lower(): values[-1].decode() for name, values in response.headers.getAllRawHeaders()}
        return response.code, received, await response.content()

    async def test_the_link_in_a_mail(self) -> None:
        stack = await shared_stack()
        recording = await self.import_recording(stack)
        await stack.request_json("POST", f"/recordings/{recording['id']}/deliveries", {"target": "ann@example.test"})
        _, mail = await stack.wait_for_mail(recording["id"])
        text = mail.get_body(("plain",))
        assert text is not None
        found = re.search(rf"{re.escape(stack.url)}/l/[A-Za-z0-9_-]{{48}}", text.get_content())
        assert found is not None, text.get_content()
        url = found[0]
        status, _, page = await self.browse("GET", url)
        self.assertEqual((status, b"+4930901820" in page), (200, False))
        status, headers, _ = await self.browse("POST", url)
        self.assertEqual((status, headers["location"]), (303, url.rpartition("/")[2]))
        cookie = headers["set-cookie"].partition(";")[0]
        _, _, page = await self.browse("GET", url, Cookie=cookie)
        self.assertIn(b"+4930901820 called", page)
        status, _, part = await self.browse("GET", f"{url}/audio", Cookie=cookie, Range="bytes=100-199")
        self.assertEqual((status, part), (206, AUDIO[100:200]))
        (link,) = await stack.request_json("GET", f"/recordings/{recording['id']}/links")
        self.assertEqual((link["origin"], link["uses"]), ("mail", 1))
        await stack.request_json("DELETE", f"/recordings/{recording['id']}/links/{link['id']}")
        self.assertEqual((await self.browse("GET", f"{url}/audio", Cookie=cookie))[0], 410)

    async def test_an_export(self) -> None:
        stack = await shared_stack()
        recording = await self.import_recording(stack)
        export = await stack.request_json("POST", "/exports", {"profileId": recording["profileId"]})

        async def completed() -> bool:
            export.update(await stack.request_json("GET", f"/exports/{export['id']}"))
            return export["state"] not in ("pending", "running")

        self.assertTrue(await stack.wait_until(completed, 60), export)
        self.assertEqual((export["state"], export["error"]), ("completed", None))
        file = await stack.request("GET", export["fileUrl"].removeprefix(stack.url))
        self.assertEqual((file.status, hashlib.sha256(file.body).hexdigest()), (200, export["sha256"]))
        with zipfile.ZipFile(io.BytesIO(file.body)) as archive:
            self.assertIsNone(archive.testzip())
            (audio,) = [name for name in archive.namelist() if name.startswith("audio/")]
            self.assertEqual(archive.read(audio), AUDIO)
            self.assertIn(recording["id"].encode(), archive.read("recordings.jsonl"))
        await stack.request_json("DELETE", f"/exports/{export['id']}")
        self.assertEqual([*stack.archive_directory.glob(".exports/*")], [])
