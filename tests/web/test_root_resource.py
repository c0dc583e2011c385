"""Tests of voxrec.web.root_resource: requests that are refused before they are routed."""

import msgspec

from tests.api.rest_test_case import RestTestCase
from tests.metrics.samples import samples
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


class MetricsTests(RestTestCase):
    async def test_what_is_not_routed_is_counted(self) -> None:
        for request in (b"GET /x HTTP/1.1\r\n", b"brew /x HTTP/1.1\r\nHost: a\r\n", b"\xe4 x HTTP/1.1\r\nHost: a\r\n"):
            await send_raw(self.port, request + b"Connection: close\r\n\r\n")
        counted = samples(self.metrics, "voxrec_rest_requests_total")
        self.assertEqual(counted, {("GET", "unmatched", "400"): 1, ("other", "unmatched", "400"): 2})


class RequestLineTests(RestTestCase):
    async def respond(self, request_line: str) -> tuple[int, str]:
        """Return the status, and the detail of a problem."""
        response = await send_raw(
            self.port,
            f"{request_line} HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer admin\r\nConnection: close\r\n\r\n".encode(),
        )
        head, _, body = response.partition(b"\r\n\r\n")
        problem = msgspec.json.decode(body) if b"problem+json" in head else {}
        return int(head.split(b" ")[1]), problem.get("detail", "")

    async def test_methods_are_case_sensitive(self) -> None:
        for method in ("get", "Get", "head", "put", "G3T"):
            with subtest(method):
                status, detail = await self.respond(f"{method} /profiles")
                self.assertEqual(status, 400)
                self.assertIn("capital letters", detail)

    async def test_slashes_that_are_percent_encoded_do_not_divide_a_path(self) -> None:
        profile = await self.add_profile()
        for path in (f"/profiles%2F{profile.id}", f"/profiles/{profile.id}%2frecordings", "/nodes/a%2Fb"):
            with subtest(path):
                status, detail = await self.respond(f"GET {path}")
                self.assertEqual(status, 404)
                self.assertIn("slashes", detail)
        self.assertEqual((await self.respond(f"GET /%70rofiles/{profile.id}"))[0], 200)

    async def test_target_in_absolute_form(self) -> None:
        profile = await self.add_profile()
        for url, status in (
            (f"http://rec.example/profiles/{profile.id}", 200),
            ("HTTPS://rec.example:8443/profiles?limit=1", 200),
            ("http://rec.example/nothing", 404),
            ("http://rec.example", 404),
        ):
            with subtest(url):
                self.assertEqual((await self.respond(f"GET {url}"))[0], status)
