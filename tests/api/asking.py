"""REST as a client meets it: a real port, the real store, the real archive."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec
import treq
from twisted.internet.address import IPv4Address
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.web.client import Agent
from twisted.web.resource import Resource

from tests.database import DatabaseTestCase, reactor
from voxrec.api.app import RestApp
from voxrec.api.events import EventBroadcaster
from voxrec.api.health import Probe
from voxrec.api.metrics import MetricsRoutes
from voxrec.api.validation import PromptExists
from voxrec.archive.interface import StoredFile
from voxrec.archive.local import LocalArchive
from voxrec.errors import Conflict, NotFound
from voxrec.metrics import Metrics
from voxrec.model import Call, PauseBehavior, Profile, Prompt, Recording, RecordingState
from voxrec.store.audit import Audit
from voxrec.store.events import Events
from voxrec.store.idempotency import Idempotency
from voxrec.store.jobs import Jobs
from voxrec.store.profiles import Profiles
from voxrec.store.prompts import Prompts
from voxrec.store.recordings import Recordings
from voxrec.store.tokens import Tokens
from voxrec.web.auth import Authenticator, ChainAuthenticator, Principal, Role, StoredTokens
from voxrec.web.problems import NotAuthenticated
from voxrec.web.request import Request
from voxrec.web.response import Response
from voxrec.web.route import Route
from voxrec.web.site import RestSite

PUBLIC_URL: Final = "https://rec.example"
BODY_LIMIT: Final = 20_000
AUDIO_LIMIT: Final = 2_000_000
BEGAN: Final = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
PROMPT: Final = UUID("6a1b9f6e-0c5b-4f5e-8a58-6f0f7f3f2a10")


class RoleTokens:
    """An authenticator that knows one token for each role: the role's name."""

    async def authenticate(self, token: str) -> Principal:
        try:
            return Principal(f"the {token} token", Role(token))
        except ValueError:
            raise NotAuthenticated("This token is not valid.", "invalid_token") from None


@dataclass(frozen=True)
class Reply:
    """An answer, read to its end."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def faulty(self) -> list[str]:
        """The fields that a problem names."""
        told = self.json
        return [error["field"] for error in told.get("errors", [])] if isinstance(told, dict) else []

    @property
    def etag(self) -> str:
        return self.headers["etag"]


async def unaudited(route: Route, ask: Request) -> Response:
    """What stands in for the ledger where there is no store."""
    return await route.handler(ask)


async def only_known_prompt(prompt: UUID) -> bool:
    return prompt == PROMPT


async def nothing_to_look_up() -> None:
    pass


class CallControl:
    """Live calls by hand, newest first."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.released: list[UUID] = []
        self.pauses: list[tuple[PauseBehavior, float | None]] = []
        self.recorded: dict[UUID, Recording] = {}

    def shown(self) -> list[Call]:
        return list(self.calls)

    def find(self, call_id: UUID) -> Call:
        for call in self.calls:
            if call.id == call_id:
                return call
        raise NotFound(f"There is no live call {call_id} here.")

    def release(self, call_id: UUID) -> None:
        self.released.append(self.find(call_id).id)

    def record(self, call_id: UUID) -> Call:
        call = self.find(call_id)
        if call.recording_id is not None:
            raise Conflict(f"Call {call_id} was recorded already.")
        return msgspec.structs.replace(call, recording_id=UUID(int=7), recording_state=RecordingState.RECORDING)

    async def pause(self, recording_id: UUID, behavior: PauseBehavior, seconds: float | None) -> Recording:
        self.pauses.append((behavior, seconds))
        return self._turned(recording_id, RecordingState.PAUSED)

    async def resume(self, recording_id: UUID) -> Recording:
        return self._turned(recording_id, RecordingState.RECORDING)

    def _turned(self, recording_id: UUID, state: RecordingState) -> Recording:
        if recording_id not in self.recorded:
            raise Conflict(f"Recording {recording_id} belongs to no live call here.")
        recording = self.recorded[recording_id]
        return msgspec.structs.replace(recording, state=state, updated_at=recording.updated_at + timedelta(seconds=1))


@contextmanager
def case(name: object) -> Iterator[None]:
    """One row of a table: what fails in it says which row it was."""
    try:
        yield
    except AssertionError as error:
        raise AssertionError(f"{name}: {error}") from error


async def exchange(port: int, method: str, path: str, **given: Any) -> Reply:
    """Ask the server on a loopback port."""
    headers = given.pop("headers", {})
    agent = Agent(reactor)  # keeps no connection
    response = await treq.request(
        method, f"http://127.0.0.1:{port}{path}", agent=agent, headers=headers, timeout=20, **given
    )
    shown = {name.decode().lower(): values[-1].decode() for name, values in response.headers.getAllRawHeaders()}
    return Reply(response.code, shown, await treq.content(response))


class RestTestCase(DatabaseTestCase):
    """Each test has an empty REST of its own, listening."""

    timeout = 60
    cors_origins: tuple[str, ...] = ()

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.profiles = Profiles(self.pool)
        self.recordings = Recordings(self.pool)
        self.prompts = Prompts(self.pool)
        self.idempotency = Idempotency(self.pool)
        self.jobs = Jobs(self.pool)
        await self.prompts.create(Prompt(id=PROMPT, created_at=BEGAN, updated_at=BEGAN))
        self.tokens = Tokens(self.pool)
        self.audit = Audit(self.pool)
        self.authenticator: Authenticator = ChainAuthenticator(RoleTokens(), StoredTokens(reactor, self.tokens))
        self.archive = LocalArchive(self.made_directory())
        self.prompt_exists: PromptExists = only_known_prompt
        self.probes: dict[str, Probe] = {}
        self.work = self.made_directory() / ".work"
        self.switchboard = CallControl()
        self.events = Events(self.pool)
        self.feed = EventBroadcaster(reactor, self.events)
        self.metrics = Metrics("1.2.3")
        self.resource = self.made_resource()
        self.site = RestSite(self.resource, body_limit=BODY_LIMIT, reactor=reactor, intake=self.intake)
        self.listening = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(self.site)
        address = self.listening.getHost()
        if not isinstance(address, IPv4Address):
            raise TypeError(address)
        self.port = address.port

    def made_directory(self) -> Path:
        directory = Path(self.mktemp()).absolute()
        directory.mkdir(parents=True)
        return directory

    def made_resource(self) -> Resource:
        app = RestApp(
            reactor,
            self.profiles,
            self.recordings,
            self.archive,
            self.authenticator,
            self.tokens,
            self.audit,
            self.prompts,
            self.idempotency,
            self.jobs,
            public_url=f"{PUBLIC_URL}/",
            allowed_hosts=("*.example", "192.0.2.0/24"),
            formats=("wav", "mp3", "gsm"),
            prompt_exists=self.prompt_exists,
            probes=self.probes,
            body_limit=BODY_LIMIT,
            audio_limit=AUDIO_LIMIT,
            work=self.work,
            defer_to_thread=deferToThread,
            switchboard=self.switchboard,
            feed=self.feed,
            metrics=MetricsRoutes(self.metrics, nothing_to_look_up, reactor, Role.READ),
            answered=self.metrics.rest_answered,
            cors_origins=self.cors_origins,
        )
        self.intake = app.intake
        return app.resource()

    async def tearDown(self) -> None:  # type: ignore[override]
        await self.listening.stopListening()
        await deferLater(reactor, 0)
        await super().tearDown()

    async def ask(self, method: str, path: str, *, token: str = "admin", **given: Any) -> Reply:
        """Ask as the owner of a token; with an empty one, as nobody."""
        headers = dict(given.pop("headers", {}))
        if token:
            headers.setdefault("Authorization", f"Bearer {token}")
        return await exchange(self.port, method, path, headers=headers, **given)

    async def add_profile(self, **fields: Any) -> Profile:
        fields = {"id": uuid4(), "created_at": BEGAN, "updated_at": BEGAN, **fields}
        return await self.profiles.create(Profile(**fields))

    async def add_profiles(self, count: int) -> list[Profile]:
        """Newest first, a second apart."""
        return [
            await self.add_profile(name=f"number {n}", created_at=BEGAN - timedelta(seconds=n)) for n in range(count)
        ]

    async def add_recording(self, **fields: Any) -> Recording:
        defaults: dict[str, Any] = {
            "id": uuid4(),
            "profile_id": uuid4(),
            "state": RecordingState.COMPLETED,
            "created_at": BEGAN,
            "updated_at": BEGAN,
        }
        return await self.recordings.create(Recording(**{**defaults, **fields}))

    def archived(self, content: bytes, recording_id: UUID, suffix: str) -> StoredFile:
        source = self.made_directory() / "source"
        source.write_bytes(content)
        return self.archive.put(source, recording_id, BEGAN, suffix)

    async def add_audio(self, content: bytes, **fields: Any) -> Recording:
        """A completed Recording whose audio is in the archive."""
        recording_id = fields.get("id", uuid4())
        stored = self.archived(content, recording_id, fields.get("format", "wav"))
        made = {"id": recording_id, "path": stored.path, "size": stored.size, "sha256": stored.sha256}
        self.assertEqual(stored.sha256, hashlib.sha256(content).hexdigest())
        return await self.add_recording(**{**made, **fields})
