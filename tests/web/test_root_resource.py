"""Tests of voxrec.web.root_resource: requests that are refused before they are routed."""

from tests.api.rest_test_case import RestTestCase
from tests.subtest import subtest
from tests.web.raw_connection import send_raw


class HostTests(RestTestCase):
    async def status(self, *headers: bytes, version: bytes = b"1.1") -> int:
        head = b"\r\n".join([b"GET /health/live HTTP/" + version, *headers, b"Connection: close", b"", b""])
        response = await send_raw(self.port, head)
        self.assertIn(b"application/", response)
        return int(response.split(b" ")[1])

    async def test_http_1_1_requires_one_valid_host(self) -> None:
        for headers in (
            *((), (b"Host: a", b"Host: a"), (b"Host: a b",), (b"Host: a/b",), (b"Host: a@b",), (b"Host: a:x",)),
            *((b"Host: a, b:1:2",), (b"Host: \xff",), (b"Host: [::1",), (b"Host: <script>",)),
        ):
            with subtest(headers):
                self.assertEqual(await self.status(*headers), 400)
        for host in (b"a", b"rec.example:8080", b"127.0.0.1:1", b"[::1]:8080", b"", b"my_host"):
            with subtest(host):
                self.assertEqual(await self.status(b"Host: " + host), 200)

    async def test_http_1_0(self) -> None:
        self.assertEqual(await self.status(version=b"1.0"), 200)
        self.assertEqual(await self.status(b"Host: a", version=b"1.0"), 200)
        self.assertEqual(await self.status(b"Host: a", b"Host: b", version=b"1.0"), 400)
