"""Tests of voxrec.api.audio.audio_conversion, over REST."""

import io
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import soundfile
from twisted.internet.task import deferLater

from tests.api.audio.audio_test_case import AudioTestCase, two_tones
from tests.api.rest_test_case import ClientResponse
from tests.audio.fixtures import amplitude_at
from tests.database import reactor, until
from tests.subtest import subtest
from tests.web.raw_connection import RawConnection, open_connection
from voxrec.api.audio import audio_conversion
from voxrec.api.audio.audio_conversion import ConversionBudget, _check_progress
from voxrec.audio import stream


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


class BudgetTests(AudioTestCase):
    """Conversions that take long, for clients that do not read, or leave."""

    conversion_budget = ConversionBudget(total=3, per_token=2, file_size=200_000)

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.recording = await self.add_audio(two_tones(seconds=600.0), channels=2, duration=600.0)

    async def start(self, query: str, token: str = "read") -> RawConnection:
        """Request a conversion, and read nothing of it."""
        connection = await open_connection(self.port)
        connection.transport.pauseProducing()
        path = f"/recordings/{self.recording.id}/audio?{query}"
        connection.transport.write(f"GET {path} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {token}\r\n\r\n".encode())
        return connection

    async def status(self, query: str, token: str) -> int:
        return (await self.request("GET", f"/recordings/{self.recording.id}/audio?{query}", token=token)).status

    def temporary_files(self) -> list[str]:
        return [name for name in self.files() if name.startswith("upload-")]

    async def test_streamed_formats_need_no_file_and_no_memory(self) -> None:
        parts: list[int] = []
        original = stream.convert_in_parts

        def counted(*args: Any) -> Iterator[bytes]:
            for part in original(*args):
                parts.append(len(part))
                self.assertEqual(self.temporary_files(), [])
                yield part

        self.patch(stream, "convert_in_parts", counted)
        client = await self.start("format=sln192&channel=mix")
        await until(lambda: sum(parts) > 1_000_000)
        await deferLater(reactor, 0.5)
        self.assertLess(sum(parts), 20_000_000)  # of 230 MB: what the buffers of both sockets hold
        client.transport.abortConnection()
        await until(lambda: self.site.connection_count == 0)
        produced = len(parts)
        await deferLater(reactor, 0.1)
        self.assertLessEqual(len(parts), produced + 1)

    async def test_an_abandoned_conversion_ends(self) -> None:
        self.patch(audio_conversion, "_check_progress", self.check_slowly)
        client = await self.start("format=flac&channel=mix")
        await until(self.temporary_files)
        client.transport.abortConnection()
        await until(lambda: not self.temporary_files())
        self.assertEqual(await self.status("format=ulaw&channel=mix", "read"), 200)

    def check_slowly(self, output: Path, _limit: int, require_client: Callable[[], None]) -> None:
        """Take as much time for each block as for a very long recording; called in a thread."""
        for _ in range(1000):
            time.sleep(0.01)
            _check_progress(output, 10**9, require_client)

    async def test_number_of_conversions(self) -> None:
        begun: list[object] = []
        original = stream.convert_in_parts

        def counted(*args: Any) -> Iterator[bytes]:
            begun.append(args)
            return original(*args)

        self.patch(stream, "convert_in_parts", counted)
        mine = [await self.start("format=sln192&channel=mix") for _ in range(2)]
        await until(lambda: len(begun) == 2)
        self.assertEqual(await self.status("format=ulaw&channel=mix", "read"), 429)
        self.assertEqual(await self.status("format=ulaw&channel=mix", "admin"), 200)
        before = len(begun)
        others = [await self.start("format=sln192&channel=mix", "admin")]
        await until(lambda: len(begun) > before)
        self.assertEqual(await self.status("format=ulaw&channel=mix", "provision"), 429)
        self.assertEqual(await self.status("format=wav", "read"), 200)  # the stored file
        for client in (*mine, *others):
            client.transport.abortConnection()
        await until(lambda: self.site.connection_count == 0)
        await deferLater(reactor, 0.2)
        self.assertEqual(await self.status("format=ulaw&channel=mix", "read"), 200)

    async def test_size_of_the_temporary_file(self) -> None:
        response = await self.request("GET", f"/recordings/{self.recording.id}/audio?format=flac")
        self.assertEqual((response.status, response.json["code"]), (413, "too-large"))
        self.assertIn("exceeds 200000 bytes. Request another format, such as wav", response.json["detail"])
        self.assertEqual(self.temporary_files(), [])
