"""The composed REST application: roles, common headers, methods and errors of every route."""

import json
from dataclasses import dataclass
from typing import Any, Final
from uuid import UUID, uuid4

from twisted.web.resource import Resource

from tests.api import rest_test_case
from tests.api.rest_test_case import PROMPT_ID, RestTestCase
from tests.database import until
from tests.subtest import subtest
from tests.web.raw_connection import open_connection, send_raw
from voxrec.model import RecordingState

UNKNOWN: Final = "00000000-0000-4000-8000-000000000000"
PROFILE: Final = "11111111-1111-4111-8111-111111111111"
RECORDING: Final = "22222222-2222-4222-8222-222222222222"
PENDING: Final = "33333333-3333-4333-8333-333333333333"
TOKENS: Final = ("read", "supervise", "provision", "admin")


@dataclass(frozen=True)
class Row:
    """One request: the lowest role that is allowed (empty: none), and the status and media type of the response.

    ``route_role`` is the role that the route requires, if the fields in ``json`` require a higher one.
    """

    method: str
    path: str
    role: str
    status: int
    json: Any = None
    media_type: str = "application/json"
    route_role: str = ""


ROWS: Final = (
    Row("GET", "/profiles", "read", 200),
    Row("HEAD", "/profiles", "read", 200),
    Row("PUT", "/profiles", "provision", 201, {}),
    Row("GET", f"/profiles/{PROFILE}", "read", 200),
    Row("HEAD", f"/profiles/{PROFILE}", "read", 200),
    Row("POST", f"/profiles/{PROFILE}", "provision", 200, {"record": True}),
    Row("GET", "/recordings", "read", 200),
    Row("HEAD", "/recordings", "read", 200),
    Row("PUT", "/recordings", "provision", 201, {"profileId": PROFILE}),
    Row("GET", f"/recordings/{RECORDING}", "read", 200),
    Row("HEAD", f"/recordings/{RECORDING}", "read", 200),
    Row("POST", f"/recordings/{RECORDING}", "provision", 200, {"metadata": {"a": 1}}, route_role="supervise"),
    Row("GET", f"/profiles/{PROFILE}/recordings", "read", 200),
    Row("HEAD", f"/profiles/{PROFILE}/recordings", "read", 200),
    Row("PUT", f"/profiles/{PROFILE}/recordings", "provision", 201, {}),
    Row("GET", f"/profiles/{PROFILE}/recordings/{RECORDING}", "read", 200),
    Row("HEAD", f"/profiles/{PROFILE}/recordings/{RECORDING}", "read", 200),
    Row(
        "POST",
        f"/profiles/{PROFILE}/recordings/{RECORDING}",
        "provision",
        200,
        {"legalHold": False},
        route_role="supervise",
    ),
    Row("GET", f"/recordings/{RECORDING}/audio", "read", 200, media_type="audio/wav"),
    Row("HEAD", f"/recordings/{RECORDING}/audio", "read", 200, media_type="audio/wav"),
    Row("GET", "/health/live", "", 200),
    Row("HEAD", "/health/live", "", 200),
    Row("GET", "/health/ready", "", 200),
    Row("HEAD", "/health/ready", "", 200),
    # last, because other rows need these resources
    Row("DELETE", f"/profiles/{PROFILE}/recordings/{PENDING}", "provision", 204, media_type=""),
    Row("DELETE", f"/recordings/{RECORDING}", "provision", 204, media_type=""),
    Row("DELETE", f"/profiles/{PROFILE}", "provision", 204, media_type=""),
)
COMMON_HEADERS: Final = {
    "server": "voxrec",
    "x-content-type-options": "nosniff",
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "referrer-policy": "no-referrer",
}


class RouteTests(RestTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        await self.add_profile(id=UUID(PROFILE))
        await self.add_audio(b"RIFF", id=UUID(RECORDING), profile_id=UUID(PROFILE))
        await self.add_recording(id=UUID(PENDING), profile_id=UUID(PROFILE), state=RecordingState.PENDING)

    async def test_roles_status_and_media_type(self) -> None:
        for row in ROWS:
            for token in ("", *TOKENS):
                with subtest(f"{row.method} {row.path} as {token or 'anonymous'}"):
                    await self._check(row, token)

    async def _check(self, row: Row, token: str) -> None:
        if row.method == "DELETE" and token == "admin":
            return  # already deleted with the lower role
        options = {} if row.json is None else {"json": row.json}
        response = await self.request(row.method, row.path, token=token, **options)
        for name, value in COMMON_HEADERS.items():
            self.assertEqual(response.headers.get(name), value)
        if row.role and not token:
            self.assertEqual(response.status, 401)
            self.assertEqual(response.headers["www-authenticate"], 'Bearer realm="voxrec"')
        elif row.role and TOKENS.index(token) < TOKENS.index(row.role):
            self.assertEqual(response.status, 403)
            route_role = row.route_role or row.role
            required = route_role if TOKENS.index(token) < TOKENS.index(route_role) else row.role
            self.assertIn(f"requires the role {required}", response.json["detail"])
        else:
            self.assertEqual(response.status, row.status, response.body)
            self.assertEqual(response.headers.get("content-type", ""), row.media_type)
            return
        self.assertEqual(response.headers["content-type"], "application/problem+json")

    async def test_head_has_the_headers_of_get_and_no_body(self) -> None:
        for row in ROWS:
            if row.method == "HEAD":
                with subtest(row.path):
                    get, head = await self.request("GET", row.path), await self.request("HEAD", row.path)
                    self.assertEqual(head.body, b"")
                    self.assertEqual(get.headers.get("etag"), head.headers.get("etag"))

    async def test_options_and_methods_that_are_not_allowed(self) -> None:
        allowed: dict[str, set[str]] = {}
        for row in ROWS:
            allowed.setdefault(row.path, {"OPTIONS"}).add(row.method)
        # only DELETE is in the table for this Recording
        del allowed[f"/profiles/{PROFILE}/recordings/{PENDING}"]
        for path, methods in allowed.items():
            with subtest(path):
                refused = await self.request("PATCH", path)
                self.assertEqual((refused.status, refused.json["code"]), (405, "method-not-allowed"))
                options = await self.request("OPTIONS", path, token="")
                self.assertEqual((options.status, options.body), (204, b""))
                for response in (refused, options):
                    self.assertLessEqual(methods, set(response.headers["allow"].split(", ")))

    async def test_not_found(self) -> None:
        paths = (
            "/",
            "/nothing",
            "/profiles/",
            "//profiles",
            f"/profiles/{PROFILE}/",
            f"/profiles/{UNKNOWN}",
            f"/recordings/{UNKNOWN}",
            f"/recordings/{UNKNOWN}/audio",
            f"/profiles/{UNKNOWN}/recordings",
            f"/profiles/{UNKNOWN}/recordings/{RECORDING}",
            "/profiles/1",
            f"/profiles/{{{PROFILE}}}",
            f"/profiles/{PROFILE.replace('-', '')}",
            f"/profiles/urn:uuid:{PROFILE}",
            "/profiles/%00",
            "/profiles/%2e%2e%2e",
            f"/recordings/{PROFILE}%2faudio",
        )
        for path in paths:
            with subtest(path):
                response = await self.request("GET", path)
                self.assertEqual(
                    (response.status, response.json["status"], response.json["code"]), (404, 404, "not-found")
                )
                self.assertEqual(response.headers["content-type"], "application/problem+json")

    async def test_ids_are_case_insensitive(self) -> None:
        profile = await self.add_profile(id=UUID("abcdefab-cdef-4bcd-8bcd-abcdefabcdef"))
        self.assertEqual((await self.request("GET", f"/profiles/{str(profile.id).upper()}")).status, 200)

    async def test_undecodable_requests(self) -> None:
        requests = {
            "path": b"GET /profiles/%ff HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n",
            "host": b"GET /profiles HTTP/1.1\r\nHost: %b\r\nConnection: close\r\n\r\n" % (b"a" * 300),
            "raw host": b"GET /profiles HTTP/1.1\r\nHost: \xff\r\nConnection: close\r\n\r\n",
            "query": b"GET /profiles?number=%ff HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer read\r\n"
            b"Connection: close\r\n\r\n",
        }
        for name, request in requests.items():
            with subtest(name):
                head, _, body = (await send_raw(self.port, request)).partition(b"\r\n\r\n")
                self.assertTrue(head.startswith(b"HTTP/1.1 400 "), head)
                self.assertIn(b"application/problem+json", head)
                self.assertEqual(json.loads(body)["status"], 400)

    async def test_unexpected_error_is_reported_by_reference_only(self) -> None:
        async def failing(_prompt_id: UUID) -> bool:
            raise RuntimeError("a secret")

        self.patch(self.prompts, "exists", failing)
        self.site.resource = self.make_resource()
        response = await self.request(
            "PUT", "/profiles", json={"recordPrompt": "custom", "recordPromptCustomId": str(uuid4())}
        )
        self.assertEqual((response.status, response.json["code"]), (500, "internal"))
        self.assertNotIn(b"secret", response.body)
        self.assertNotIn(b"Traceback", response.body)
        self.assertEqual(len(response.json["reference"]), 12)
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 1)

    async def test_postgresql_unavailable(self) -> None:
        await self.pool.stopService()
        for method, path in (
            ("GET", "/profiles"),
            ("GET", "/profiles?limit=5"),
            ("GET", f"/profiles/{PROFILE}"),
            ("PUT", "/profiles"),
            ("POST", f"/profiles/{PROFILE}"),
            ("DELETE", f"/recordings/{RECORDING}"),
            ("GET", f"/recordings/{RECORDING}/audio"),
        ):
            with subtest(f"{method} {path}"):
                response = await self.request(method, path, json={})
                self.assertEqual((response.status, response.json["code"]), (503, "store-unavailable"))
                self.assertIn("retry-after", response.headers)
                self.assertNotIn("PostgreSQL", response.json["detail"])

    async def test_profile_with_an_existing_prompt(self) -> None:
        response = await self.request(
            "PUT", "/profiles", json={"recordPrompt": "custom", "recordPromptCustomId": str(PROMPT_ID)}
        )
        self.assertEqual(response.status, 201)


class RequestsPerTokenTests(RestTestCase):
    def make_resource(self) -> Resource:
        self.patch(rest_test_case, "MAX_REQUESTS_PER_TOKEN", 2)
        return super().make_resource()

    async def test_further_requests_are_refused(self) -> None:
        streams = [await open_connection(self.port) for _ in range(2)]
        for stream in streams:
            stream.transport.write(b"GET /events HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer read\r\n\r\n")
        await until(lambda: self.broadcaster.subscriber_count == 2)
        refused = await self.request("GET", "/profiles", token="read")
        self.assertEqual((refused.status, refused.json["code"]), (429, "too-many-requests"))
        self.assertEqual(refused.headers["retry-after"], "1")
        self.assertEqual((await self.request("GET", "/profiles", token="admin")).status, 200)
        self.assertEqual((await self.request("GET", "/health/live", token="")).status, 200)
        for stream in streams:
            stream.transport.loseConnection()
        await until(lambda: self.broadcaster.subscriber_count == 0)
        self.assertEqual((await self.request("GET", "/profiles", token="read")).status, 200)
