"""The examples of the API guide and of the README get the responses that they show, from the real resources."""

import re
import subprocess
import wave
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from string import Template
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import SynchronousTestCase

from tests.api.rest_test_case import CREATED_AT, PUBLIC_URL, ClientResponse, RestTestCase, send_request
from tests.database import until
from tests.web.raw_connection import open_connection
from voxrec.model import Call, CallState, JobKind, RecordingState, TimelineEntry

ROOT: Final = Path(__file__).parents[2]
API_GUIDE: Final = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
README: Final = (ROOT / "README.md").read_text(encoding="utf-8")
_PART: Final = re.compile(r"^```(sh|http)\n(.*?)^```$|^% capture (\w+) (\S+)$", re.MULTILINE | re.DOTALL)
_ANYTHING: Final = "..."
_CHUNK_SIZE: Final = re.compile(r"[0-9a-f]*\r\n")
_CURL: Final = """curl() { printf '%s\\0' "$@"; }\n"""  # a shell function that prints its arguments


@dataclass(frozen=True, slots=True)
class Curl:
    """The arguments of one curl command that the guide uses."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    endless: bool = False


@dataclass(frozen=True, slots=True)
class Expected:
    """A response as the guide shows it."""

    status: int
    headers: Mapping[str, str]
    body: str


def parts(guide: str) -> Iterator[tuple[str, str, str]]:
    """Yield ("sh", command, ""), ("http", response, "") and ("capture", variable, path) in the guide's order."""
    for found in _PART.finditer(guide):
        kind, text, variable, path = found.groups()
        yield (kind, text, "") if kind else ("capture", variable, path)


def parse_curl(command: str, variables: Mapping[str, str], directory: Path) -> Curl:
    """Return what a curl command would send. The shell itself expands variables and quotes."""
    expanded = subprocess.run(
        ["bash", "-euc", _CURL + command], env=variables, cwd=directory, capture_output=True, check=True, text=True
    )
    method, url, headers, body, endless = "GET", "", dict[str, str](), b"", False
    arguments = iter(expanded.stdout.split("\0")[:-1])
    for argument in arguments:
        match argument:
            case "-N":
                endless = True
            case "-X":
                method = next(arguments)
            case "-H":
                name, _, value = next(arguments).partition(": ")
                headers[name] = value
            case "-d":
                body = next(arguments).encode()
            case "--data-binary":
                body = (directory / next(arguments).removeprefix("@")).read_bytes()
            case _ if argument.startswith("http"):
                url = argument
            case _:
                raise ValueError(f"the guide's test does not know curl {argument}")
    return Curl(method, url, headers, body, endless)


def parse_response(text: str, variables: Mapping[str, str]) -> Expected:
    head, _, body = Template(text).safe_substitute(variables).partition("\n\n")
    status_line, *lines = head.strip().splitlines()
    headers = dict(line.split(": ", 1) for line in lines)
    return Expected(int(status_line.split()[1]), headers, body.strip())


def matches(expected: Any, found: Any) -> bool:
    """Whether a value is as the guide shows it: "..." stands for anything, and as a key or last item for any others."""
    match expected:
        case dict():
            open_ended = _ANYTHING in expected
            shown = {key: value for key, value in expected.items() if key != _ANYTHING}
            return (
                isinstance(found, dict)
                and (shown.keys() <= found.keys() if open_ended else shown.keys() == found.keys())
                and all(matches(value, found[key]) for key, value in shown.items())
            )
        case [*items, "..."]:
            return isinstance(found, list) and len(found) >= len(items) and all(map(matches, items, found))
        case list():
            return isinstance(found, list) and len(found) == len(expected) and all(map(matches, expected, found))
        case str():
            pattern = ".*".join(map(re.escape, expected.split(_ANYTHING)))
            return isinstance(found, str) and re.fullmatch(pattern, found, re.DOTALL) is not None
        case _:
            return bool(expected == found)


class MatchingTests(SynchronousTestCase):
    """The comparison itself."""

    def test_values(self) -> None:
        self.assertTrue(matches({"a": 1, "...": "..."}, {"a": 1, "b": 2}))
        self.assertFalse(matches({"a": 1}, {"a": 1, "b": 2}))
        self.assertFalse(matches({"a": 1, "...": "..."}, {"b": 2}))
        self.assertTrue(matches(["x...", "..."], ["xy", 5]))
        self.assertFalse(matches(["x"], ["x", "y"]))
        self.assertFalse(matches("x...", "y"))
        self.assertFalse(matches(1, 2))


class GuideTests(RestTestCase):
    """A page, from the first example to the last."""

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.directory = self.make_directory()
        self.audio = self.wav(self.directory / "recording.wav")

    async def test_api_guide(self) -> None:
        self.assertGreater(await self.check_examples(API_GUIDE), 20)

    async def test_readme(self) -> None:
        await self.add_contents((await self.add_profile()).id)
        self.assertEqual(await self.check_examples(README), 2)

    async def check_examples(self, page: str) -> int:
        """Execute the commands of a page, compare the responses, and return the number of those."""
        variables = {"TOKEN": "admin", "URL": PUBLIC_URL}
        reply: ClientResponse | None = None
        checked = 0
        for kind, text, path in parts(page):
            if kind == "sh":
                command = text
                reply = await self.execute(await deferToThread(parse_curl, text, variables, self.directory))
            elif kind == "http":
                assert reply is not None, "a response stands behind its request"
                self.compare(command, parse_response(text, variables), reply)
                checked += 1
            else:
                assert reply is not None, "a capture stands behind a response"
                variables[text] = _at(reply.json, path)
                if text == "PROFILE":
                    await self.add_contents(UUID(variables[text]))
        return checked

    async def execute(self, curl: Curl) -> ClientResponse:
        path = curl.url.removeprefix(PUBLIC_URL)
        self.assertNotEqual(path, curl.url)
        if curl.endless:
            return await self.receive_stream(path, curl.headers)
        return await send_request(self.port, curl.method, path, headers=dict(curl.headers), data=curl.body or None)

    async def receive_stream(self, path: str, headers: Mapping[str, str]) -> ClientResponse:
        """Return the beginning of a response that does not end, up to its first event."""
        connection = await open_connection(self.port)
        lines = [f"GET {path} HTTP/1.1", "Host: a", *(f"{name}: {value}" for name, value in headers.items())]
        connection.transport.write("\r\n".join([*lines, "", ""]).encode())
        await until(lambda: connection.received.count(b"\n\n") >= 2)
        connection.transport.abortConnection()
        await connection.closed
        head, _, chunks = connection.received.decode().partition("\r\n\r\n")
        status_line, *lines = head.split("\r\n")
        shown = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        body = "".join(line for line in chunks.splitlines(keepends=True) if not _CHUNK_SIZE.fullmatch(line))
        return ClientResponse(int(status_line.split()[1]), shown, body.encode())

    async def tearDown(self) -> None:  # type: ignore[override]
        self.broadcaster.stopService()
        await super().tearDown()

    def compare(self, command: str, expected: Expected, reply: ClientResponse) -> None:
        shown = f"{command}\n{reply.status} {dict(reply.headers)}\n{reply.body[:2000]!r}"
        self.assertEqual(expected.status, reply.status, shown)
        for name, value in expected.headers.items():
            self.assertTrue(matches(value, reply.headers.get(name.lower())), f"{name}: {shown}")
        if expected.headers.get("Content-Type") == "text/event-stream":
            self.assertTrue(matches(f"{expected.body}...", reply.body.decode()), shown)
        elif expected.body:
            self.assertTrue(matches(msgspec.json.decode(expected.body), reply.json), shown)

    async def add_contents(self, profile_id: UUID) -> None:
        """Add what the guide takes for granted: Recordings, a live call and a dead job."""
        common: dict[str, Any] = {
            "profile_id": profile_id,
            "channels": 2,
            "from_": "+4930901820",
            "to": "+4930123456",
            "started_at": CREATED_AT,
            "timeline": (TimelineEntry(at=0.0, event="answered", by="callee"),),
        }
        for age in (2, 1):
            completed = await self.add_audio(
                self.audio,
                **common,
                id=uuid4(),
                state=RecordingState.COMPLETED,
                duration=1.0,
                created_at=CREATED_AT - timedelta(minutes=age),
            )
        live = await self.add_recording(**common, state=RecordingState.RECORDING)
        self.call_control.recorded[live.id] = live
        call = Call(
            id=uuid4(),
            profile_id=profile_id,
            state=CallState.TALKING,
            age=3.0,
            from_="+4930901820",
            to="+4930123456",
            started_at=CREATED_AT,
        )
        self.call_control.calls.append(call)
        await self.enqueue((JobKind.MAIL, completed.id))
        await self.pool.execute("UPDATE jobs SET dead = true, last_error = '550 mailbox unavailable'")

    def wav(self, path: Path) -> bytes:
        """Write one second of silence in two channels."""
        with wave.open(str(path), "wb") as file:
            file.setnchannels(2)
            file.setsampwidth(2)
            file.setframerate(8000)
            file.writeframes(bytes(2 * 2 * 8000))
        return path.read_bytes()


def _at(value: Any, path: str) -> str:
    for step in path.split("."):
        value = value[int(step) if step.isdigit() else step]
    return str(value)
