"""Tests of voxrec.web.cors."""

from typing import Final

from tests.api.rest_test_case import RestTestCase

ORIGIN: Final = "https://app.example"


class DisabledTests(RestTestCase):
    async def test_no_headers(self) -> None:
        for method in ("GET", "OPTIONS"):
            headers = {"Origin": ORIGIN, "Access-Control-Request-Method": "GET"}
            response = await self.request(method, "/profiles", headers=headers)
            self.assertEqual([name for name in response.headers if name.startswith("access-control")], [])
            self.assertNotIn("vary", response.headers)


class ListedOriginsTests(RestTestCase):
    cors_origins = (ORIGIN, "http://localhost:5173")

    async def test_response(self) -> None:
        response = await self.request("GET", "/profiles", headers={"Origin": ORIGIN})
        self.assertEqual((response.status, response.headers["access-control-allow-origin"]), (200, ORIGIN))
        self.assertEqual(response.headers["vary"], "Origin")
        for name in ("ETag", "Link", "Location"):
            self.assertIn(name, response.headers["access-control-expose-headers"])

    async def test_problem(self) -> None:
        response = await self.request("GET", "/profiles", token="", headers={"Origin": ORIGIN})
        self.assertEqual((response.status, response.headers["access-control-allow-origin"]), (401, ORIGIN))

    async def test_preflight(self) -> None:
        headers = {"Origin": ORIGIN, "Access-Control-Request-Method": "PUT"}
        response = await self.request("OPTIONS", "/profiles", token="", headers=headers)
        self.assertEqual((response.status, response.body), (204, b""))
        self.assertEqual(response.headers["access-control-allow-origin"], ORIGIN)
        self.assertIn("PUT", response.headers["access-control-allow-methods"])
        for name in ("Authorization", "If-Match", "Idempotency-Key", "Last-Event-ID"):
            self.assertIn(name, response.headers["access-control-allow-headers"])

    async def test_other_origins(self) -> None:
        for origin in ("https://app.example.evil", "http://app.example", "null", "https://APP.example"):
            headers = {"Origin": origin, "Access-Control-Request-Method": "PUT"}
            for method in ("GET", "OPTIONS"):
                response = await self.request(method, "/profiles", headers=headers)
                self.assertNotIn("access-control-allow-origin", response.headers)
                self.assertEqual(response.headers["vary"], "Origin")

    async def test_request_without_origin(self) -> None:
        response = await self.request("GET", "/profiles")
        self.assertNotIn("access-control-allow-origin", response.headers)
        self.assertEqual(response.headers["vary"], "Origin")


class EveryOriginTests(RestTestCase):
    cors_origins = ("*",)

    async def test_any_origin(self) -> None:
        response = await self.request("GET", "/profiles", headers={"Origin": "https://anywhere.example"})
        self.assertEqual(response.headers["access-control-allow-origin"], "*")
        self.assertNotIn("vary", response.headers)
