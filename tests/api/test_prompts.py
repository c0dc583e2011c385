"""Custom announcements over REST: from name to audio, and that none goes away while it is needed."""

import io
from typing import Any
from uuid import uuid4

import numpy as np
import soundfile
from twisted.internet.defer import Deferred, DeferredList

from tests.api.rest_test_case import PROMPT_ID, PUBLIC_URL, ClientResponse, RestTestCase
from tests.subtest import subtest
from voxrec.api.prompts import LARGEST
from voxrec.model import RecordPrompt


def audio(seconds: float = 0.5, *, rate: int = 16000, channels: int = 1, form: str = "FLAC") -> bytes:
    file = io.BytesIO()
    time = np.arange(round(seconds * rate)) / rate
    wave = np.stack([0.3 * np.sin(2 * np.pi * 440 * time)] * channels, axis=1)
    soundfile.write(file, wave, rate, format=form)
    return file.getvalue()


class PromptTests(RestTestCase):
    def path(self, below: str = "") -> str:
        return f"/prompts/{PROMPT_ID}{below}"

    async def upload(self, content: bytes, kind: str = "audio/flac", **headers: str) -> ClientResponse:
        return await self.request(
            "PUT", self.path("/audio"), data=content, headers={"Content-Type": kind, **headers}, token="provision"
        )

    def assert_nothing_spooled(self) -> None:
        self.assertEqual([*self.upload_directory.glob("*")] if self.upload_directory.exists() else [], [])

    async def test_from_name_to_audio_to_nothing(self) -> None:
        response = await self.request("PUT", "/prompts", json={"name": "Welcome"}, token="provision")
        self.assertEqual(response.status, 201)
        made = response.json
        self.assertEqual(response.headers["location"], f"{PUBLIC_URL}/prompts/{made['id']}")
        self.assertEqual((made["name"], made["duration"], made["size"], made["sha256"]), ("Welcome", None, None, None))
        path = f"/prompts/{made['id']}"
        self.assertEqual((await self.request("GET", f"{path}/audio")).status, 404)
        content = audio()
        put = await self.request("PUT", f"{path}/audio", data=content, headers={"Content-Type": "audio/flac"})
        self.assertEqual((put.status, put.json["duration"], put.json["size"]), (200, 0.5, len(content)))
        heard = await self.request("GET", f"{path}/audio", token="read")
        self.assertEqual((heard.status, heard.headers["content-type"]), (200, "audio/flac"))
        self.assertTrue(heard.body == content)
        self.assertEqual(heard.etag, f'"{put.json["sha256"]}"')
        named = await self.request("PUT", path, json={"name": "Hello"}, headers={"If-Match": put.etag})
        self.assertEqual((named.status, named.json["name"], named.json["size"]), (200, "Hello", len(content)))
        self.assertEqual((await self.request("PUT", path, json={}, headers={"If-Match": put.etag})).status, 412)
        self.assertEqual({one["name"] for one in (await self.request("GET", "/prompts")).json}, {None, "Hello"})
        self.assertEqual((await self.request("DELETE", f"{path}/audio")).status, 204)
        self.assertEqual((await self.request("GET", path)).json["sha256"], None)
        self.assertEqual((await self.request("DELETE", f"{path}/audio")).status, 404)
        self.assertEqual((await self.request("DELETE", path)).status, 204)
        self.assertEqual((await self.request("GET", path)).status, 404)
        self.assert_nothing_spooled()

    async def test_what_is_refused(self) -> None:
        rows: tuple[tuple[str, bytes, dict[str, Any], int, str], ...] = (
            ("text", b"hello", {"kind": "text/plain"}, 415, "unsupported-media-type"),
            ("compressed", audio(), {"Content-Encoding": "gzip"}, 415, "unsupported-media-type"),
            ("rubbish", b"\0" * 5000, {}, 422, "not-audio"),
            ("nothing", b"", {}, 422, "not-audio"),
            ("no sound in it", audio(0, form="WAV"), {}, 422, "not-audio"),
            ("cut", audio(5)[:-3000], {}, 422, "not-audio"),
            ("nine channels", audio(0.1, channels=9, form="WAV"), {}, 422, "not-audio"),
            ("a rate of no sound", audio(10, rate=1000, form="WAV"), {}, 422, "not-audio"),
            ("too large", b"\0" * (LARGEST + 1), {}, 413, "too-large"),
        )
        for name, content, given, status, code in rows:
            with subtest(name):
                response = await self.upload(content, **given)
                self.assertEqual((response.status, response.json["code"]), (status, code), response.json)
                self.assert_nothing_spooled()
        self.assertIsNone((await self.prompts.get(PROMPT_ID)).sha256)

    async def test_a_bomb_is_not_unpacked(self) -> None:
        silence = io.BytesIO()
        with soundfile.SoundFile(silence, "w", 48000, 1, format="FLAC", subtype="PCM_16") as sound:
            for _ in range(601):
                sound.write(np.zeros(48000, dtype=np.int16))
        content = silence.getvalue()
        self.assertLess(len(content), 200_000)
        response = await self.upload(content)
        self.assertEqual((response.status, response.json["code"]), (422, "not-audio"))
        self.assertIn("longer than 600 seconds", response.json["detail"])

    async def test_every_kind_that_libsndfile_reads(self) -> None:
        for form in ("WAV", "AIFF", "OGG", "MP3", "AU"):
            with subtest(form):
                response = await self.upload(audio(form=form), "application/octet-stream")
                self.assertEqual(response.status, 200, response.json)
                self.assertAlmostEqual(response.json["duration"], 0.5, places=1)

    async def test_a_prompt_in_use_stays(self) -> None:
        await self.upload(audio())
        made = await self.request(
            "PUT", "/profiles", json={"recordPrompt": "custom", "recordPromptCustomId": str(PROMPT_ID)}
        )
        for path in (self.path(), self.path("/audio")):
            with subtest(path):
                response = await self.request("DELETE", path)
                self.assertEqual((response.status, response.json["code"]), (409, "conflict"))
                self.assertIn(made.json["id"], response.json["detail"])
        self.assertEqual((await self.request("DELETE", f"/profiles/{made.json['id']}")).status, 204)
        self.assertEqual((await self.request("DELETE", self.path())).status, 204)

    async def test_no_race_leaves_a_profile_without_its_prompt(self) -> None:
        for turn in range(10):
            prompt = (await self.request("PUT", "/prompts", json={})).json["id"]
            body = {"recordPrompt": "custom", "recordPromptCustomId": prompt}
            asked = [self.request("PUT", "/profiles", json=body), self.request("DELETE", f"/prompts/{prompt}")]
            results = await DeferredList([Deferred.fromCoroutine(one) for one in asked])
            put, delete = (response for _, response in results)
            with subtest((turn, put, delete)):
                self.assertIn((put.status, delete.status), ((201, 409), (422, 204)))
        for profile in await self.profiles.all():
            if profile.record_prompt is RecordPrompt.CUSTOM and profile.record_prompt_custom_id is not None:
                await self.prompts.get(profile.record_prompt_custom_id)

    async def test_who_may(self) -> None:
        self.assertEqual((await self.request("PUT", "/prompts", json={}, token="read")).status, 403)
        response = await self.request(
            "PUT", self.path("/audio"), data=audio(), headers={"Content-Type": "audio/flac"}, token="read"
        )
        self.assertEqual(response.status, 403)
        self.assert_nothing_spooled()

    async def test_ids(self) -> None:
        self.assertEqual((await self.request("PUT", "/prompts", json={"id": str(PROMPT_ID)})).status, 409)
        self.assertEqual((await self.request("PUT", "/prompts", json={"id": str(uuid4())})).status, 201)
        self.assertEqual(
            (await self.request("PUT", "/prompts", json={"id": str(uuid4()), "size": 1})).error_fields, ["size"]
        )
