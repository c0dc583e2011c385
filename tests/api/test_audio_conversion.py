"""Tests of voxrec.api.audio_conversion, over REST."""

import io

import soundfile

from tests.api.audio_test_case import AudioTestCase, two_tones
from tests.api.rest_test_case import ClientResponse
from tests.audio.fixtures import amplitude_at
from tests.subtest import subtest


class ConversionTests(AudioTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.recording = await self.add_audio(two_tones(), channels=2, duration=1.0)

    async def get(self, query: str, method: str = "GET", **headers: str) -> ClientResponse:
        header_names = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.request(
            method, f"/recordings/{self.recording.id}/audio?{query}", headers=header_names, token="read"
        )

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

    async def test_telephone_formats_hold_one_channel(self) -> None:
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

    async def test_head(self) -> None:
        for query in ("format=flac", "channel=mix", "format=mp3&channel=caller", "format=wav"):
            with subtest(query):
                head, get = await self.get(query, "HEAD"), await self.get(query)
                for name in ("content-type", "etag", "content-disposition", "accept-ranges", "cache-control"):
                    self.assertEqual(head.headers[name], get.headers[name])
                self.assertEqual((head.status, head.body), (200, b""))

    async def test_weak_etag_and_no_ranges(self) -> None:
        response = await self.get("format=flac", Range="bytes=0-9")
        self.assertEqual((response.status, response.headers["accept-ranges"]), (200, "none"))
        self.assertTrue(response.etag.startswith('W/"'))
        self.assertEqual((await self.get("format=flac", If_None_Match=response.etag)).status, 304)
        self.assertEqual((await self.get("format=mp3", If_None_Match=response.etag)).status, 200)
        self.assertEqual((await self.get("format=wav", Range="bytes=0-9")).status, 206)

    async def test_invalid_parameters(self) -> None:
        for query, field in (("format=g729", "format"), ("channel=left", "channel"), ("format=g722", "channel")):
            with subtest(query):
                response = await self.get(query)
                self.assertEqual((response.status, response.error_fields), (422, [field]))
        self.recording = await self.add_audio(two_tones(channels=1))
        response = await self.get("channel=mix")
        self.assertEqual((response.status, response.error_fields), (422, ["channel"]))
