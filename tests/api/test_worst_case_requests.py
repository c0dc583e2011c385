"""No request occupies the reactor for long, which serves the calls too: the worst cases that fit each route's limits.

The requests are derived from the route table and the models, so that those of new routes are sent too. They come from a
thread; what is measured is the processor time that the reactor's thread needs for one turn, which does not depend on
other load of the machine. Meanwhile another connection asks for /health/live.
"""

import http.client
import time
from collections.abc import Iterator
from typing import Final
from uuid import uuid4

import msgspec
from twisted.internet.threads import deferToThread

from tests.api.rest_test_case import PROMPT_ID, RestTestCase
from tests.database import reactor
from voxrec.config import Rest
from voxrec.model.fields import MAX_NUMBERS
from voxrec.web.body import FileBody
from voxrec.web.json_input import MAX_VALUES
from voxrec.web.route import Route

MAX_TURN: Final = 0.05  # seconds
_ATTEMPTS: Final = 3  # the garbage collector may add to one
_HEADER_SIZE: Final = 15_000  # bytes, of 16 KiB
_BODY_SIZE: Final = Rest().body_limit
_COMMON_NAMES: Final = ("Accept", "Authorization", "Content-Encoding", "Content-Type", "Cookie", "Host", "Origin")
_FILLERS: Final = (
    "a",
    "1",
    ",",
    '"",',
    "a,",
    ";",
    " ",
    "/",
    "[",
    '{"a":',
    "%00",
    "-",
    "bytes=0-,",
    "application/json;q=0,",
)


def repeated(unit: bytes, size: int) -> bytes:
    return unit * (size // len(unit))


def values_of_size(size: int) -> Iterator[bytes]:
    """Yield JSON values of about ``size`` bytes, each of which is the worst case for some way to process it."""
    few = min(size, MAX_VALUES * 9 // 10)  # values that are not too many
    yield b'"' + repeated(b"a", size - 2) + b'"'
    yield b'"' + repeated(b"\\u00e9", size - 2) + b'"'
    yield b'"' + repeated(b"1", size - 2) + b'"'
    yield repeated(b"9", size)
    yield b"1." + repeated(b"9", size - 2)
    yield b"[" + b",".join([b"9" * 999] * max(1, size // 1000)) + b"]"
    for unit in (b"[],", b"{},", b"1,", b'"",', b"1e-300,", b"[[[[]]]],"):
        yield b"[" + repeated(unit, size - 2) + b"1]"
        yield b"[" + repeated(unit, min(size - 2, few // unit.count(b"[") if b"[" in unit else few)) + b"1]"
    count = min(size // 18, MAX_VALUES * 9 // 10)
    yield b"[" + b",".join(b'"+49%011d"' % n for n in range(count)) + b"]"
    yield b"[" + b",".join([b'"+4930123456789"'] * count) + b"]"
    count = min(size // 40, 1000)
    yield b"[" + b",".join(b'"%s"' % str(uuid4()).encode() for _ in range(count)) + b"]"
    yield b"{" + b",".join(b'"%d":1' % n for n in range(min(size // 10, MAX_VALUES // 2))) + b"}"
    yield b"{" + b",".join(b'"%d":1' % n for n in range(size // 10)) + b"}"
    for levels in (90, 450, 940, size // 7):
        yield b"[" * levels + b"]" * levels
        yield b'{"a":' * levels + b"1" + b"}" * levels


def json_bodies(route: Route) -> Iterator[bytes]:
    """Yield bodies of the maximum size: a value for every field, and one for each field that is an array or object."""
    assert route.body is not None
    assert not isinstance(route.body, FileBody)
    schema = route.body.schema
    keys = [field.encode_name for field in msgspec.structs.fields(schema.model)]
    for value in values_of_size(_BODY_SIZE // len(keys) - 20):
        yield b"{" + b",".join(b'"%s":%s' % (key.encode(), value) for key in keys) + b"}"
    for value in values_of_size(_BODY_SIZE - 40):
        for key in _containers(schema.model):
            yield b'{"%s":%s}' % (key.encode(), value)


def _containers(model: type[msgspec.Struct]) -> list[str]:
    """Return the keys of the fields of a model that are arrays or objects."""
    (schema,), components = msgspec.json.schema_components([model])
    properties = components[schema["$ref"].rpartition("/")[2]]["properties"]
    return [
        key for key, value in properties.items() if '"array"' in str(msgspec.json.encode(value)) or key == "metadata"
    ]


class WorstCaseTests(RestTestCase):
    timeout = 300
    body_limit = _BODY_SIZE

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.profile = await self.add_profile()
        self.recording = await self.add_recording(profile_id=self.profile.id)
        self._longest = 0.0
        self._last = time.thread_time()
        self._ticking = True
        self._tick()

    async def tearDown(self) -> None:  # type: ignore[override]
        self._ticking = False
        await super().tearDown()

    def _tick(self) -> None:
        """Measure the processor time of each turn of the reactor."""
        now = time.thread_time()
        self._longest = max(self._longest, now - self._last)
        self._last = now
        if self._ticking:
            reactor.callLater(0, self._tick)

    def path_of(self, route: Route) -> str:
        id_ = {"profiles": self.profile.id, "recordings": self.recording.id, "prompts": PROMPT_ID}
        path = route.path.replace("<profileId>", str(self.profile.id))
        kind = "recordings" if "/recordings" in path else path.split("/")[1]
        return path.replace("<id>", str(id_.get(kind, PROMPT_ID)))

    async def assert_short_turns(
        self,
        method: str,
        path: str,
        body: bytes = b"",
        headers: dict[str, str] | None = None,
        largest_response: int = 300_000,
    ) -> None:
        for _ in range(_ATTEMPTS):
            self._longest = 0.0
            await deferToThread(self.exchange, method, path, body, headers or {}, largest_response)
            if self._longest < MAX_TURN:
                return
        self.fail(f"{method} {path[:60]} {headers or ''!s:.80} {body[:60]!r}: {self._longest * 1000:.0f} ms")

    def exchange(self, method: str, path: str, body: bytes, headers: dict[str, str], largest_response: int) -> None:
        """Send a request and, while it is processed, one for /health/live."""
        request = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        health = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        try:
            health.connect()
            request.putrequest(method, path, skip_host="Host" in headers, skip_accept_encoding=True)
            given = {"Authorization": "Bearer admin", "Content-Type": "application/json", **headers}
            for name, value in {**given, "Content-Length": str(len(body))}.items():
                request.putheader(name, value)
            request.endheaders(body)
            health.request("GET", "/health/live")
            self.assertEqual(health.getresponse().status, 200)
            response = request.getresponse()
            self.assertNotEqual(response.status, 500)
            if response.getheader("Content-Type") != "text/event-stream":
                self.assertLess(len(response.read()), largest_response)
        except (http.client.BadStatusLine, ConnectionError):
            pass  # the server has refused the head of the request
        finally:
            request.close()
            health.close()

    async def test_bodies(self) -> None:
        count = 0
        for body in values_of_size(_BODY_SIZE):
            await self.assert_short_turns("PUT", "/profiles", body)
        for route in self.app.routes:
            if route.body is not None and not isinstance(route.body, FileBody):
                count += 1
                for body in json_bodies(route):
                    await self.assert_short_turns(route.method, self.path_of(route), body)
        self.assertGreater(count, 5)

    async def test_uploads(self) -> None:
        audio = b"RIFF" + repeated(b"\xff", _BODY_SIZE)
        for route in self.app.routes:
            if isinstance(route.body, FileBody):
                await self.assert_short_turns(route.method, self.path_of(route), audio, {"Content-Type": "audio/wav"})

    async def test_queries(self) -> None:
        tested: set[int] = set()  # a parameter that several routes share is the same object
        for route in self.app.routes:
            path = self.path_of(route)
            for name, parameter in (route.query or {}).items():
                if id(parameter) not in tested:
                    tested.add(id(parameter))
                    for filler in _FILLERS:
                        await self.assert_short_turns(route.method, f"{path}?{name}={filler_text(filler)}")
        self.assertGreater(len(tested), 15)
        for query in (*map(filler_text, _FILLERS), "&".join(f"{n}=1" for n in range(2000))):
            await self.assert_short_turns("GET", f"/profiles?{query}")

    async def test_headers(self) -> None:
        tested: set[str] = set()
        for route in self.app.routes:
            for name in {*_COMMON_NAMES, "Idempotency-Key", *route.request_headers} - tested:
                if name == "Idempotency-Key" and not route.idempotent:
                    continue
                tested.add(name)
                for filler in _FILLERS:
                    value = (filler * (_HEADER_SIZE // len(filler))).strip()
                    await self.assert_short_turns(route.method, self.path_of(route), b"{}", {name: value})
        self.assertLess({*_COMMON_NAMES, "If-Match", "Range", "Last-Event-ID"}, tested)

    async def test_paths(self) -> None:
        for segment in ("/", "/a", "/%2f", "/profiles", "/profiles/", "/..", "/%e2%82%ac", "/<id>"):
            await self.assert_short_turns("GET", segment * (_HEADER_SIZE // len(segment)))

    async def test_lists(self) -> None:
        """Lists of the largest Profiles and Recordings."""
        metadata = {"a": "x" * 8000}
        for n in range(60):
            numbers = tuple(f"+49{n:04d}{m:07d}" for m in range(MAX_NUMBERS))
            await self.add_profile(numbers=numbers, metadata=metadata)
        for _ in range(300):
            await self.add_recording(profile_id=self.profile.id, metadata=metadata)
        for path in ("/profiles", "/recordings", f"/profiles/{self.profile.id}/recordings"):
            for query in ("", "?limit=1000"):
                await self.assert_short_turns("GET", path + query, largest_response=10_000_000)


def filler_text(filler: str) -> str:
    text = filler.replace("%00", "\0").replace(" ", "+")
    encoded = "".join(
        character if character.isalnum() or character in "+,-/=;" else f"%{ord(character):02x}" for character in text
    )
    return encoded * (_HEADER_SIZE // len(encoded))
