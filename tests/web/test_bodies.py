"""What a body may be, and what a client must accept."""

from typing import Final

from tests.api.rest_test_case import BODY_LIMIT, RestTestCase
from tests.subtest import subtest
from tests.web.wire import connected, raw

JSON: Final = {"Content-Type": "application/json"}
REFUSED: Final[tuple[tuple[str, bytes, dict[str, str], int, str], ...]] = (
    ("not json", b"nonsense", JSON, 400, "bad-request"),
    ("empty", b"", JSON, 400, "bad-request"),
    ("cut", b'{"name": "x', JSON, 400, "bad-request"),
    ("two", b"{}{}", JSON, 400, "bad-request"),
    ("a comma too many", b'{"name": "x",}', JSON, 400, "bad-request"),
    ("not utf-8", b'{"name": "\xff"}', JSON, 400, "bad-request"),
    ("half a surrogate", b'{"name": "\\ud800"}', JSON, 400, "bad-request"),
    ("infinite", b'{"metadata": {"a": 1e999}}', JSON, 400, "bad-request"),
    ("NaN", b'{"metadata": {"a": NaN}}', JSON, 400, "bad-request"),
    ("deep", b'{"metadata":' + b"[" * 9000, JSON, 400, "bad-request"),
    ("an array", b"[]", JSON, 422, "invalid"),
    ("a string", b'"x"', JSON, 422, "invalid"),
    ("null", b"null", JSON, 422, "invalid"),
    ("a number", b"5", JSON, 422, "invalid"),
    ("no type", b"{}", {}, 415, "unsupported-media-type"),
    ("a form", b"name=x", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "unsupported-media-type"),
    ("a broken form", b"--", {"Content-Type": "multipart/form-data; boundary=x"}, 415, "unsupported-media-type"),
    ("text", b"{}", {"Content-Type": "text/plain"}, 415, "unsupported-media-type"),
    ("latin-1", b"{}", {"Content-Type": "application/json; charset=latin-1"}, 415, "unsupported-media-type"),
    ("gzip", b"{}", {**JSON, "Content-Encoding": "gzip"}, 415, "unsupported-media-type"),
    ("too long", b"{}" + b" " * BODY_LIMIT, JSON, 413, "too-large"),
)


class BodyTests(RestTestCase):
    async def test_refused(self) -> None:
        made = await self.add_profile()
        for what, body, headers, status, code in REFUSED:
            for method, path in (("PUT", "/profiles"), ("POST", f"/profiles/{made.id}"), ("PUT", "/recordings")):
                with subtest((what, method, path)):
                    response = await self.request(method, path, data=body, headers=headers)
                    self.assertEqual((response.status, response.json["code"]), (status, code), response.body)
                    self.assertEqual(response.headers["content-type"], "application/problem+json")
        self.assertEqual(await self.profiles.all(), [made])

    async def test_where_json_is_wrong_is_told(self) -> None:
        response = await self.request("PUT", "/profiles", data=b'{"name": "x",}', headers=JSON)
        self.assertIn("byte 13", response.json["detail"])

    async def test_taken(self) -> None:
        for kind in ("application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"'):
            with subtest(kind):
                response = await self.request("PUT", "/profiles", data=b" {} ", headers={"Content-Type": kind})
                self.assertEqual(response.status, 201, response.body)
        longest = b"{}" + b" " * (BODY_LIMIT - 2)
        self.assertEqual((await self.request("PUT", "/profiles", data=longest, headers=JSON)).status, 201)

    async def test_a_body_without_end_is_not_kept(self) -> None:
        wire = await connected(self.port)
        wire.transport.write(
            b"PUT /profiles HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer admin\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n"
        )
        for _ in range(50):
            wire.transport.write(b"2710\r\n" + b"x" * 10_000 + b"\r\n")
        wire.transport.write(b"0\r\n\r\n")
        answer = await wire.ended
        self.assertTrue(answer.startswith(b"HTTP/1.1 413 "), answer)

    async def test_a_length_that_is_told_and_too_long(self) -> None:
        request = (
            b"PUT /profiles HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer admin\r\nConnection: close\r\n"
            b"Content-Type: application/json\r\nContent-Length: 500000\r\n\r\n"
        )
        answer = await raw(self.port, request + b"x" * 500_000)
        self.assertTrue(answer.startswith(b"HTTP/1.1 413 "), answer)

    async def test_not_acceptable(self) -> None:
        for accept, status in (
            ("text/html", 406),
            ("application/json;q=0, */*", 406),
            ("application/xml, image/*", 406),
            ("application/json", 200),
            ("text/html, */*;q=0.1", 200),
            ("application/*", 200),
        ):
            with subtest(accept):
                response = await self.request("GET", "/profiles", headers={"Accept": accept})
                self.assertEqual(response.status, status)
        refused = await self.request("PUT", "/profiles", json={}, headers={"Accept": "text/html"})
        self.assertEqual((refused.status, refused.json["code"]), (406, "not-acceptable"))
        self.assertEqual(await self.profiles.all(), [])
