"""Download of a Recording's audio: whole files, ranges, conditions, and missing or damaged files."""

from pathlib import Path
from typing import Any, Final

from tests.api.rest_test_case import CREATED_AT, ClientResponse, RestTestCase
from tests.subtest import subtest
from tests.web.raw_connection import send_raw
from voxrec.api.audio.audio_files import AudioDamaged
from voxrec.model import Recording, RecordingState

CONTENT: Final = bytes(range(256)) * 2000
SIZE: Final = len(CONTENT)

# the Range header, and the part of the content that is sent; None: ignored; (): not satisfiable
RANGES: Final[tuple[tuple[str, tuple[int, ...] | None], ...]] = (
    ("bytes=0-0", (0, 1)),
    ("bytes=0-99", (0, 100)),
    ("bytes=100-", (100, SIZE)),
    ("bytes=-1", (SIZE - 1, SIZE)),
    ("bytes=-200000", (SIZE - 200000, SIZE)),
    ("Bytes=5-5", (5, 6)),
    (f"bytes={SIZE - 1}-", (SIZE - 1, SIZE)),
    (f"bytes=1-{SIZE * 2}", (1, SIZE)),
    ("bytes=131071-131072", (131071, 131073)),
    ("bytes=0-", (0, SIZE)),  # the whole file, which players request first
    (f"bytes=0-{SIZE - 1}", (0, SIZE)),
    (f"bytes=0-{SIZE + 5}", (0, SIZE)),
    (f"bytes=-{SIZE}", (0, SIZE)),
    (f"bytes=-{SIZE + 1}", (0, SIZE)),
    (f"bytes={SIZE}-", ()),
    (f"bytes={SIZE}-{SIZE + 1}", ()),
    ("bytes=-0", ()),
    ("bytes=2-1", None),
    ("bytes=", None),
    ("bytes=-", None),
    ("bytes=a-b", None),
    ("bytes=0-1,5-6", None),
    ("bytes=--5", None),
    ("bytes=+1-2", None),
    ("bytes=1-2x", None),
    ("items=0-1", None),
    ("0-1", None),
    ("bytes=0-" + "9" * 30, (0, SIZE)),
    ("bytes=" + "9" * 30 + "-", ()),
    ("bytes=0-" + "9" * 1001, None),
)


class AudioDownloadTests(RestTestCase):
    recording: Recording

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.recording = await self.add_audio(CONTENT)
        self.etag = f'"{self.recording.sha256}"'

    async def download(self, method: str = "GET", **headers: str) -> ClientResponse:
        http_headers = {name.replace("_", "-"): value for name, value in headers.items()}
        return await self.request(method, f"/recordings/{self.recording.id}/audio", headers=http_headers, token="read")

    async def test_whole_file(self) -> None:
        response = await self.download()
        self.assertEqual(response.status, 200)
        self.assertTrue(response.body == CONTENT)
        expected = {
            "content-type": "audio/wav",
            "etag": self.etag,
            "accept-ranges": "bytes",
            "content-disposition": f'attachment; filename="{self.recording.id}.wav"',
            "cache-control": "private, no-cache",
            "x-content-type-options": "nosniff",
        }
        self.assertEqual({name: response.headers[name] for name in expected}, expected)

    async def test_ranges(self) -> None:
        for header, part in RANGES:
            with subtest(header):
                response = await self.download(Range=header)
                if part is None:
                    self.assertEqual((response.status, response.headers.get("content-range")), (200, None))
                    self.assertTrue(response.body == CONTENT)
                elif not part:
                    self.assertEqual((response.status, response.json["code"]), (416, "range-not-satisfiable"))
                    self.assertEqual(response.headers["content-range"], f"bytes */{SIZE}")
                else:
                    start, end = part
                    self.assertEqual(response.status, 206)
                    self.assertEqual(response.headers["content-range"], f"bytes {start}-{end - 1}/{SIZE}")
                    self.assertTrue(response.body == CONTENT[start:end])

    async def test_if_range(self) -> None:
        for value, status in (
            (self.etag, 206),
            ('"other"', 200),
            (f"W/{self.etag}", 200),
            ("Sat, 31 Jan 2026 09:30:00 GMT", 200),
        ):
            with subtest(value):
                self.assertEqual((await self.download(Range="bytes=0-1", If_Range=value)).status, status)
        beyond = await self.download(Range=f"bytes={SIZE}-", If_Range='"other"')
        self.assertEqual(beyond.status, 200)

    async def test_conditional_requests(self) -> None:
        for method in ("GET", "HEAD"):
            with subtest(method):
                unchanged = await self.download(method, If_None_Match=f'"x", W/{self.etag}')
                self.assertEqual((unchanged.status, unchanged.body, unchanged.etag), (304, b"", self.etag))
                self.assertEqual((await self.download(method, If_None_Match='"x"')).status, 200)
                self.assertEqual((await self.download(method, If_Match='"x"')).status, 412)
        self.assertEqual((await self.download(Range="bytes=0-1", If_None_Match=self.etag)).status, 304)

    async def test_head(self) -> None:
        request = (
            f"HEAD /recordings/{self.recording.id}/audio HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer read\r\n"
            "Range: bytes=0-1\r\nConnection: close\r\n\r\n"
        )
        head, _, body = (await send_raw(self.port, request.encode())).partition(b"\r\n\r\n")
        self.assertEqual(body, b"")
        self.assertIn(b"200 OK", head)
        self.assertIn(b"content-length: %d" % SIZE, head.lower())

    async def test_media_type_and_file_name_by_format(self) -> None:
        for name, media_type, suffix in (
            ("mp3", "audio/mpeg", "mp3"),
            ("opus", "audio/ogg; codecs=opus", "opus"),
            ("ulaw", "audio/basic", "ulaw"),
            ("g729", "application/octet-stream", "g729"),
        ):
            with subtest(name):
                self.recording = await self.add_audio(b"x", format=name)
                response = await self.download()
                self.assertEqual(response.headers["content-type"], media_type)
                self.assertIn(f'{self.recording.id}.{suffix}"', response.headers["content-disposition"])

    async def test_recordings_without_audio(self) -> None:
        for state in RecordingState:
            with subtest(state):
                self.recording = await self.add_recording(state=state)
                response = await self.download()
                final = state in (RecordingState.COMPLETED, RecordingState.FAILED, RecordingState.ABSENT)
                expected = (404, "not-found") if final else (409, "no-audio-yet")
                self.assertEqual((response.status, response.json["code"]), expected)

    async def test_unknown_query_parameter(self) -> None:
        response = await self.request("GET", f"/recordings/{self.recording.id}/audio?speed=2")
        self.assertEqual((response.status, response.error_fields), (422, ["speed"]))

    async def test_missing_or_damaged_files(self) -> None:
        stored = self.put_in_archive(b"short", self.recording.id, "wav")
        fields: tuple[dict[str, Any], ...] = (
            {"path": stored.path, "size": stored.size + 1, "sha256": stored.sha256},
            {"path": "2026/01/31/gone.wav", "size": 5, "sha256": stored.sha256},
            {"path": "../../etc/passwd", "size": 5},
            {"path": stored.path, "size": None},
        )
        for file_fields in fields:
            with subtest(file_fields):
                self.recording = await self.add_recording(**file_fields, created_at=CREATED_AT)
                for method in ("GET", "HEAD"):
                    response = await self.download(method)
                    self.assertEqual(response.status, 500)
                    self.assertNotIn(b"passwd", response.body)
                    self.assertEqual(len(self.flushLoggedErrors(AudioDamaged)), 1)
                self.assertEqual((await self.download()).json["code"], "audio-damaged")
                self.flushLoggedErrors(AudioDamaged)

    async def test_empty_file(self) -> None:
        self.recording = await self.add_audio(b"")
        response = await self.download()
        self.assertEqual((response.status, response.body), (200, b""))
        self.assertEqual((await self.download(Range="bytes=0-")).status, 416)

    async def test_file_descriptors_are_closed(self) -> None:
        before = count_open_descriptors()
        for _ in range(5):
            await self.download()
            await self.download("HEAD")
            await self.download(Range="bytes=0-1")
            await self.download(Range=f"bytes={SIZE}-")
        self.assertLess(count_open_descriptors(), before + 5)


def count_open_descriptors() -> int:
    return len([*Path("/proc/self/fd").iterdir()])
