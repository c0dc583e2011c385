"""Prompts over REST: metadata, audio, and protection of prompts that Profiles refer to."""

import io
from typing import Any
from uuid import uuid4

import numpy as np
import soundfile
from twisted.internet.defer import Deferred, DeferredList

from tests.api.rest_test_case import PROMPT_ID, PUBLIC_URL, ClientResponse, RestTestCase
from tests.subtest import subtest
from voxrec.api.profiles.prompts import MAX_UPLOAD_SIZE
from voxrec.model import RecordPrompt


def make_audio(duration: float = 0.5, *, rate: int = 16000, channels: int = 1, container: str = "FLAC") -> bytes:
    file = io.BytesIO()
    time = np.arange(round(duration * rate)) / rate
    wave = np.stack([0.3 * np.sin(2 * np.pi * 440 * time)] * channels, axis=1)
    soundfile.write(file, wave, rate, format=container)
    return file.getvalue()


class PromptTests(RestTestCase):
    def path(self, suffix: str = "") -> str:
        return f"/prompts/{PROMPT_ID}{suffix}"

    async def upload(self, content: bytes, content_type: str = "audio/flac", **headers: str) -> ClientResponse:
        return await self.request(
            "PUT",
            self.path("/audio"),
            data=content,
            headers={"Content-Type": content_type, **headers},
            token="provision",
        )

    def assert_no_uploads_left(self) -> None:
        self.assertEqual([*self.upload_directory.glob("*")] if self.upload_directory.exists() else [], [])

    async def test_lifecycle(self) -> None:
        response = await self.request("PUT", "/prompts", json={"name": "Welcome"}, token="provision")
        self.assertEqual(response.status, 201)
        prompt = response.json
        self.assertEqual(response.headers["location"], f"{PUBLIC_URL}/prompts/{prompt['id']}")
        self.assertEqual(
            (prompt["name"], prompt["duration"], prompt["size"], prompt["sha256"]), ("Welcome", None, None, None)
        )
        path = f"/prompts/{prompt['id']}"
        self.assertEqual((await self.request("GET", f"{path}/audio")).status, 404)
        content = make_audio()
        uploaded = await self.request("PUT", f"{path}/audio", data=content, headers={"Content-Type": "audio/flac"})
        self.assertEqual((uploaded.status, uploaded.json["duration"], uploaded.json["size"]), (200, 0.5, len(content)))
        downloaded = await self.request("GET", f"{path}/audio", token="read")
        self.assertEqual((downloaded.status, downloaded.headers["content-type"]), (200, "audio/flac"))
        self.assertTrue(downloaded.body == content)
        self.assertEqual(downloaded.etag, f'"{uploaded.json["sha256"]}"')
        renamed = await self.request("PUT", path, json={"name": "Hello"}, headers={"If-Match": uploaded.etag})
        self.assertEqual((renamed.status, renamed.json["name"], renamed.json["size"]), (200, "Hello", len(content)))
        self.assertEqual((await self.request("PUT", path, json={}, headers={"If-Match": uploaded.etag})).status, 412)
        self.assertEqual({item["name"] for item in (await self.request("GET", "/prompts")).json}, {None, "Hello"})
        self.assertEqual((await self.request("DELETE", f"{path}/audio")).status, 204)
        self.assertEqual((await self.request("GET", path)).json["sha256"], None)
        self.assertEqual((await self.request("DELETE", f"{path}/audio")).status, 404)
        self.assertEqual((await self.request("DELETE", path)).status, 204)
        self.assertEqual((await self.request("GET", path)).status, 404)
        self.assert_no_uploads_left()

    async def test_ranges(self) -> None:
        content = make_audio()
        etag = f'"{(await self.upload(content)).json["sha256"]}"'
        for header, (start, end) in (
            ("bytes=0-", (0, len(content))),
            ("bytes=0-1", (0, 2)),
            ("bytes=-3", (len(content) - 3, len(content))),
        ):
            with subtest(header):
                response = await self.request("GET", self.path("/audio"), headers={"Range": header, "If-Range": etag})
                self.assertEqual(response.status, 206)
                self.assertEqual(response.headers["content-range"], f"bytes {start}-{end - 1}/{len(content)}")
                self.assertTrue(response.body == content[start:end])
        stale = await self.request("GET", self.path("/audio"), headers={"Range": "bytes=0-1", "If-Range": '"x"'})
        self.assertEqual((stale.status, len(stale.body)), (200, len(content)))
        beyond = await self.request("GET", self.path("/audio"), headers={"Range": f"bytes={len(content)}-"})
        self.assertEqual(beyond.status, 416)

    async def test_invalid_uploads(self) -> None:
        rows: tuple[tuple[str, bytes, dict[str, Any], int, str], ...] = (
            ("text", b"hello", {"content_type": "text/plain"}, 415, "unsupported-media-type"),
            ("compressed", make_audio(), {"Content-Encoding": "gzip"}, 415, "unsupported-media-type"),
            ("not audio", b"\0" * 5000, {}, 422, "not-audio"),
            ("empty", b"", {}, 422, "not-audio"),
            ("no samples", make_audio(0, container="WAV"), {}, 422, "not-audio"),
            ("truncated", make_audio(5)[:-3000], {}, 422, "not-audio"),
            ("truncated WAV", make_audio(container="WAV")[:-1000], {}, 422, "not-audio"),
            ("nine channels", make_audio(0.1, channels=9, container="WAV"), {}, 422, "not-audio"),
            ("unsupported sample rate", make_audio(10, rate=1000, container="WAV"), {}, 422, "not-audio"),
            ("too large", b"\0" * (MAX_UPLOAD_SIZE + 1), {}, 413, "too-large"),
        )
        for name, content, options, status, code in rows:
            with subtest(name):
                response = await self.upload(content, **options)
                self.assertEqual((response.status, response.json["code"]), (status, code), response.json)
                self.assert_no_uploads_left()
        self.assertIsNone((await self.prompts.get(PROMPT_ID)).sha256)

    async def test_decompression_bomb(self) -> None:
        silence = io.BytesIO()
        with soundfile.SoundFile(silence, "w", 48000, 1, format="FLAC", subtype="PCM_16") as sound:
            for _ in range(601):
                sound.write(np.zeros(48000, dtype=np.int16))
        content = silence.getvalue()
        self.assertLess(len(content), 200_000)
        response = await self.upload(content)
        self.assertEqual((response.status, response.json["code"]), (422, "not-audio"))
        self.assertIn("longer than 600 seconds", response.json["detail"])

    async def test_formats_of_libsndfile(self) -> None:
        for container in ("WAV", "AIFF", "OGG", "MP3", "AU"):
            with subtest(container):
                response = await self.upload(make_audio(container=container), "application/octet-stream")
                self.assertEqual(response.status, 200, response.json)
                self.assertAlmostEqual(response.json["duration"], 0.5, places=1)

    async def test_prompt_in_use_cannot_be_deleted(self) -> None:
        await self.upload(make_audio())
        created = await self.request(
            "PUT", "/profiles", json={"recordPrompt": "custom", "recordPromptCustomId": str(PROMPT_ID)}
        )
        for path in (self.path(), self.path("/audio")):
            with subtest(path):
                response = await self.request("DELETE", path)
                self.assertEqual((response.status, response.json["code"]), (409, "conflict"))
                self.assertIn(created.json["id"], response.json["detail"])
        self.assertEqual((await self.request("DELETE", f"/profiles/{created.json['id']}")).status, 204)
        self.assertEqual((await self.request("DELETE", self.path())).status, 204)

    async def test_concurrent_deletion_and_use(self) -> None:
        for attempt in range(10):
            prompt = (await self.request("PUT", "/prompts", json={})).json["id"]
            body = {"recordPrompt": "custom", "recordPromptCustomId": prompt}
            requests = [self.request("PUT", "/profiles", json=body), self.request("DELETE", f"/prompts/{prompt}")]
            results = await DeferredList([Deferred.fromCoroutine(request) for request in requests])
            put, delete = (response for _, response in results)
            with subtest((attempt, put, delete)):
                self.assertIn((put.status, delete.status), ((201, 409), (422, 204)))
        for profile in await self.profiles.all():
            if profile.record_prompt is RecordPrompt.CUSTOM and profile.record_prompt_custom_id is not None:
                await self.prompts.get(profile.record_prompt_custom_id)

    async def test_upload_requires_the_provision_role(self) -> None:
        self.assertEqual((await self.request("PUT", "/prompts", json={}, token="read")).status, 403)
        response = await self.request(
            "PUT", self.path("/audio"), data=make_audio(), headers={"Content-Type": "audio/flac"}, token="read"
        )
        self.assertEqual(response.status, 403)
        self.assert_no_uploads_left()

    async def test_client_generated_ids_and_read_only_fields(self) -> None:
        self.assertEqual((await self.request("PUT", "/prompts", json={"id": str(PROMPT_ID)})).status, 409)
        self.assertEqual((await self.request("PUT", "/prompts", json={"id": str(uuid4())})).status, 201)
        self.assertEqual(
            (await self.request("PUT", "/prompts", json={"id": str(uuid4()), "size": 1})).error_fields, ["size"]
        )
