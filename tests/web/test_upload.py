"""The audio of imported Recordings: all of it or nothing, kept as it came, and given in other shapes."""

import hashlib
import io
from typing import Any

import numpy as np
import soundfile

from tests.api.rest_test_case import AUDIO_LIMIT, ClientResponse, RestTestCase
from tests.audio.fixtures import amplitude_at
from tests.database import until
from tests.subtest import subtest
from tests.web.wire import connected
from voxrec.model import Recording, RecordingState

RATE = 8000


def two_tones(form: str = "WAV", seconds: float = 1.0, rate: int = RATE, channels: int = 2) -> bytes:
    """440 Hz on the left, 1000 Hz on the right."""
    time = np.arange(round(seconds * rate)) / rate
    sides = [0.3 * np.sin(2 * np.pi * hertz * time) for hertz in (440, 1000, 1500)]
    file = io.BytesIO()
    soundfile.write(file, np.stack(sides[:channels], axis=1), rate, format=form)
    return file.getvalue()


class UploadTestCase(RestTestCase):
    async def pending(self) -> Recording:
        return await self.add_recording(state=RecordingState.PENDING)

    async def upload(
        self, recording: Recording, content: bytes, kind: str = "audio/wav", **given: Any
    ) -> ClientResponse:
        headers = {"Content-Type": kind, **given.pop("headers", {})}
        return await self.request("PUT", f"/recordings/{recording.id}/audio", data=content, headers=headers, **given)

    def files(self) -> list[str]:
        """What lies in the archive and on its way there."""
        roots = [self.archive._root, self.upload_directory]
        return sorted(path.name for root in roots if root.exists() for path in root.rglob("*") if path.is_file())


class UploadTests(UploadTestCase):
    async def test_it_is_kept_as_it_came(self) -> None:
        for form, name, suffix in (("WAV", "wav", "wav"), ("FLAC", "flac", "flac"), ("MP3", "mp3", "mp3")):
            with subtest(form):
                recording = await self.pending()
                content = two_tones(form)
                response = await self.upload(recording, content, "application/octet-stream")
                self.assertEqual(response.status, 200, response.json)
                told = {key: response.json[key] for key in ("state", "format", "channels", "size", "sha256")}
                digest = hashlib.sha256(content).hexdigest()
                self.assertEqual(
                    told,
                    {"state": "completed", "format": name, "channels": 2, "size": len(content), "sha256": digest},
                )
                self.assertAlmostEqual(response.json["duration"], 1.0, places=1)
                heard = await self.request("GET", f"/recordings/{recording.id}/audio")
                self.assertTrue(heard.body == content)
                self.assertIn(f'{recording.id}.{suffix}"', heard.headers["content-disposition"])
                again = await self.upload(recording, content)
                self.assertEqual((again.status, again.json["code"]), (409, "not-pending"))
        self.assertEqual(len(self.files()), 3)

    async def test_what_is_refused_leaves_nothing(self) -> None:
        recording = await self.pending()
        rows: tuple[tuple[str, bytes, dict[str, Any], int, str], ...] = (
            ("text", b"x", {"kind": "text/plain"}, 415, "unsupported-media-type"),
            ("rubbish", b"RIFF" + b"\0" * 999, {}, 422, "not-audio"),
            ("cut", two_tones("FLAC")[:-900], {}, 422, "not-audio"),
            ("three channels", two_tones(channels=3), {}, 422, "not-audio"),
            ("no known format", two_tones("AIFF"), {}, 422, "not-audio"),
            ("too large", b"\0" * (AUDIO_LIMIT + 1), {}, 413, "too-large"),
            ("another version", two_tones(), {"headers": {"If-Match": '"x"'}}, 412, "precondition-failed"),
            ("a reader's", two_tones(), {"token": "read"}, 403, "not-allowed"),
            ("nobody's", two_tones(), {"token": ""}, 401, "not-authenticated"),
        )
        for name, content, given, status, code in rows:
            with subtest(name):
                response = await self.upload(recording, content, **given)
                self.assertEqual((response.status, response.json["code"]), (status, code), response.json)
                self.assertEqual(self.files(), [])
        self.assertEqual((await self.recordings.get(recording.id)).state, RecordingState.PENDING)
        self.assertEqual((await self.upload(recording, two_tones())).status, 200)

    async def test_only_a_pending_one_takes_audio(self) -> None:
        for state in RecordingState:
            with subtest(state):
                response = await self.upload(await self.add_recording(state=state), two_tones())
                self.assertEqual(response.status, 200 if state is RecordingState.PENDING else 409)

    async def test_half_an_upload(self) -> None:
        recording = await self.pending()
        wire = await connected(self.port)
        wire.transport.write(
            f"PUT /recordings/{recording.id}/audio HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer admin\r\n"
            "Content-Type: audio/wav\r\nContent-Length: 500000\r\n\r\n".encode()
            + b"\0" * 200_000
        )
        await until(self.files)
        wire.transport.abortConnection()
        await wire.ended
        await until(lambda: not self.files())
        self.assertEqual((await self.recordings.get(recording.id)).state, RecordingState.PENDING)

    async def test_nothing_is_kept_for_who_may_not(self) -> None:
        recording = await self.pending()
        wire = await connected(self.port)
        wire.transport.write(
            f"PUT /recordings/{recording.id}/audio HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer wrong\r\n"
            "Content-Type: audio/wav\r\nContent-Length: 1000000\r\nConnection: close\r\n\r\n".encode()
        )
        await until(self.files)
        (spooled,) = self.upload_directory.iterdir()
        for _ in range(9):
            wire.transport.write(b"\0" * 100_000)
        wire.transport.write(b"\0" * 100_000)
        await wire.ended
        self.assertIn(b"401", wire.received)
        self.assertFalse(spooled.exists())


class ConversionTests(UploadTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.recording = await self.add_audio(two_tones(), channels=2, duration=1.0)

    async def get(self, query: str, method: str = "GET", **headers: str) -> ClientResponse:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.request(method, f"/recordings/{self.recording.id}/audio?{query}", headers=named, token="read")

    async def test_formats(self) -> None:
        for name, container in (("flac", "FLAC"), ("ogg", "OGG"), ("opus", "OGG"), ("mp3", "MP3"), ("wav16", "WAV")):
            with subtest(name):
                response = await self.get(f"format={name}")
                self.assertEqual(response.status, 200, response.body[:300])
                info = soundfile.info(io.BytesIO(response.body))
                self.assertEqual((info.format, info.channels), (container, 2))
                self.assertAlmostEqual(info.duration, 1.0, places=1)
        self.assertEqual([name for name in self.files() if name.startswith("upload-")], [])

    async def test_channels(self) -> None:
        for channel, left, right in (("caller", True, False), ("callee", False, True), ("mix", True, True)):
            with subtest(channel):
                response = await self.get(f"channel={channel}")
                samples, rate = soundfile.read(io.BytesIO(response.body), dtype="int16", always_2d=True)
                self.assertEqual(samples.shape[1], 1)
                loud = [amplitude_at(samples[:, 0], hertz, rate) > 5000 for hertz in (440, 1000)]
                self.assertEqual(loud, [left, right])
                self.assertIn(f"-{channel}.wav", response.headers["content-disposition"])

    async def test_a_telephone_format_takes_one_channel_and_gives_it_back(self) -> None:
        for name, size in (("gsm", 1650), ("ulaw", 8000), ("g722", 8000), ("g726-32", 4020)):
            with subtest(name):
                response = await self.get(f"format={name}&channel=callee")
                self.assertEqual((response.status, len(response.body)), (200, size))
                self.assertIn(f'-callee.{name}"', response.headers["content-disposition"])
                self.recording = await self.add_audio(response.body, channels=1, duration=1.0, format=name)
                back = await self.get("format=wav")
                samples, rate = soundfile.read(io.BytesIO(back.body), dtype="int16")
                self.assertGreater(amplitude_at(samples, 1000, rate), 5000)
                self.recording = await self.add_audio(two_tones(), channels=2, duration=1.0)

    async def test_head_says_what_get_does(self) -> None:
        for query in ("format=flac", "channel=mix", "format=mp3&channel=caller", "format=wav"):
            with subtest(query):
                head, get = await self.get(query, "HEAD"), await self.get(query)
                for name in ("content-type", "etag", "content-disposition", "accept-ranges", "cache-control"):
                    self.assertEqual(head.headers[name], get.headers[name])
                self.assertEqual((head.status, head.body), (200, b""))

    async def test_a_conversion_has_a_weak_tag_and_no_ranges(self) -> None:
        response = await self.get("format=flac", Range="bytes=0-9")
        self.assertEqual((response.status, response.headers["accept-ranges"]), (200, "none"))
        self.assertTrue(response.etag.startswith('W/"'))
        self.assertEqual((await self.get("format=flac", If_None_Match=response.etag)).status, 304)
        self.assertEqual((await self.get("format=mp3", If_None_Match=response.etag)).status, 200)
        self.assertEqual((await self.get("format=wav", Range="bytes=0-9")).status, 206)

    async def test_wrong_parameters(self) -> None:
        for query, field in (("format=g729", "format"), ("channel=left", "channel"), ("format=g722", "channel")):
            with subtest(query):
                response = await self.get(query)
                self.assertEqual((response.status, response.error_fields), (422, [field]))
        self.recording = await self.add_audio(two_tones(channels=1))
        response = await self.get("channel=mix")
        self.assertEqual((response.status, response.error_fields), (422, ["channel"]))
