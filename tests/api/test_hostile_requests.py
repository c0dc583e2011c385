"""Requests with bytes that no client should send: each is answered, and none with 500."""

from typing import Final

import msgspec

from tests.api.rest_test_case import RestTestCase
from tests.subtest import subtest
from tests.web.raw_connection import send_raw

HEADERS: Final = (
    *("Accept", "Accept-Language", "Authorization", "Content-Encoding", "Content-Type", "Cookie", "Expect"),
    *("Idempotency-Key", "If-Match", "If-None-Match", "If-Range", "Last-Event-ID", "Origin", "Range", "Referer"),
    *("User-Agent", "X-Forwarded-For", "Access-Control-Request-Method"),
)
VALUES: Final = (b"", b"\xff", b"\xed\xa0\x80", b"a\x1bb", b'"', b"*, ;q=nan", b"a" * 9000)
SPECIFIC: Final = (
    *((b"Authorization", value) for value in (b"Bearer \xff", b"Bearer " + b"x" * 9000, b"Bearer a, Bearer b")),
    *((b"Range", value) for value in (b"bytes=-", b"bytes=\xff-", b"bytes=9-1", b"bytes=" + b"9" * 2000 + b"-")),
    *((b"If-None-Match", value) for value in (b"W/", b'W/"\xff"', b'"' * 5000)),
    *((b"Cookie", value) for value in (b"voxrec_session=\xff", b"__Host-voxrec_session=\xff; a", b"=;" * 2000)),
)
SEGMENTS: Final = (b"%00", b"%FF", b"%ED%A0%80", b"..", b"%2e%2e", b"%", b"%zz", b"a" * 9000, b"%F0%9F%93%9E", b"*")


class HostileRequestTests(RestTestCase):
    async def check(self, line: bytes, *headers: bytes) -> None:
        """Send a request, and check that the response is none to a defect, and a problem document if it is an error."""
        body = b"{}" if line.startswith(b"P") else b""
        lines = [line + b" HTTP/1.1", b"Host: a", b"Connection: close", *headers, b"Content-Length: %d" % len(body)]
        response = await send_raw(self.port, b"\r\n".join([*lines, b"", body]))
        head, _, content = response.partition(b"\r\n\r\n")
        status = int(head.split(b" ")[1])
        self.assertTrue(200 <= status < 500, response)
        if b"problem+json" in head and not line.startswith(b"HEAD"):
            self.assertEqual(msgspec.json.decode(content)["status"], status)

    async def check_header(self, name: bytes, value: bytes) -> None:
        token = () if name == b"Authorization" else (b"Authorization: Bearer admin",)
        for line in (b"POST /profiles/%s" % self.profile_id, b"GET /recordings/%s/audio" % self.recording_id):
            with subtest((line, name, value[:30])):
                await self.check(line, name + b": " + value, *token)

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.profile_id = str((await self.add_profile()).id).encode()
        self.recording_id = str((await self.add_audio(b"RIFF")).id).encode()

    async def test_headers(self) -> None:
        for name in HEADERS:
            for value in VALUES:
                await self.check_header(name.encode(), value)

    async def test_values_of_certain_headers(self) -> None:
        for name, value in SPECIFIC:
            await self.check_header(name, value)

    async def test_pages(self) -> None:
        for value in VALUES:
            for name in (b"Accept-Language", b"Cookie", b"User-Agent"):
                for line in (b"GET /l/x", b"POST /l/x", b"GET /console/recordings", b"GET /console/sign-in"):
                    with subtest((line, name, value[:30])):
                        await self.check(line, name + b": " + value)

    async def test_paths(self) -> None:
        for segment in SEGMENTS:
            for path in (
                *(b"/nodes/" + segment, b"/l/" + segment + b"/audio", b"/" + segment, b"/profiles/" + segment),
                *(b"/console/static/" + segment, b"/recordings/%s/%s" % (self.recording_id, segment)),
                *(b"/profiles?" + segment, b"/profiles?search=" + segment),
            ):
                with subtest(path[:60]):
                    await self.check(b"GET " + path, b"Authorization: Bearer admin")

    async def test_methods(self) -> None:
        for method in (b"HEAD", b"OPTIONS", b"TRACE", b"PATCH", b"CONNECT", b"PROPFIND", b"A" * 9000):
            for path in (b"/profiles", b"/nodes/%00", b"*", b"/", b"//profiles", b"rec.example:443"):
                with subtest((method[:10], path)):
                    await self.check(method + b" " + path, b"Authorization: Bearer admin")
