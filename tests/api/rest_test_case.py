"""A test case with the complete REST API on a real port, over a real database and a real archive."""

import hashlib
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, TypeVar
from uuid import UUID, uuid4

import msgspec
import numpy as np
import treq
from argon2 import PasswordHasher
from twisted.internet.address import IPv4Address
from twisted.internet.endpoints import TCP4ServerEndpoint
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.web.client import Agent
from twisted.web.resource import Resource

from tests.database import DatabaseTestCase, reactor, until
from voxrec.api.app import RestApp
from voxrec.api.audio.audio_conversion import ConversionBudget
from voxrec.api.audio.audio_uploads import EnqueueUpload
from voxrec.api.auth import passwords
from voxrec.api.auth.authenticators import StoredTokens
from voxrec.api.auth.password_sign_in import SignInPolicy
from voxrec.api.auth.single_sign_on import IdentityProvider
from voxrec.api.bulk.exports import ExportAccess
from voxrec.api.dependencies import Repositories, RestDependencies, RestSettings
from voxrec.api.events.event_broadcaster import EventBroadcaster
from voxrec.api.operations.health import Probe
from voxrec.archive.interface import StoredFile
from voxrec.archive.local import LocalArchive
from voxrec.calls.listening.frames import Frame
from voxrec.calls.listening.listener import Listener
from voxrec.config import Config
from voxrec.console.routes import console_routes
from voxrec.errors import Conflict, NotFound, OtherNode, VoxrecError
from voxrec.exports.files import ExportDirectory
from voxrec.mail.message import MessageDefaults
from voxrec.mail.preview import example_recording, preview
from voxrec.mail.templates import Texts
from voxrec.metrics import Metrics
from voxrec.model import (
    Call,
    CallState,
    CheckName,
    CheckState,
    EffectiveProfile,
    Listening,
    ListenSide,
    MailEncryption,
    PauseBehavior,
    Profile,
    ProfileCheck,
    ProfileCheckResult,
    Prompt,
    Recording,
    RecordingState,
    Token,
)
from voxrec.profile_check.effective import effective_settings
from voxrec.profile_check.encryption import EncryptionCheck
from voxrec.store.accesses import Accesses
from voxrec.store.audit import Audit
from voxrec.store.bulk_actions import BulkActions
from voxrec.store.delivery_history import DeliveryHistory
from voxrec.store.events import Events
from voxrec.store.exports import Exports
from voxrec.store.idempotency import Idempotency
from voxrec.store.jobs import Jobs
from voxrec.store.links import Links
from voxrec.store.nodes import Nodes
from voxrec.store.notes import Notes
from voxrec.store.profile_changes import ProfileChanges
from voxrec.store.profiles import Profiles
from voxrec.store.prompts import Prompts
from voxrec.store.recipient_certificates import RecipientCertificates
from voxrec.store.recording_counts import RecordingCounts
from voxrec.store.recordings import Recordings
from voxrec.store.search_index import index_new_recordings
from voxrec.store.second_factors import SecondFactors
from voxrec.store.sessions import Sessions
from voxrec.store.sign_in import SignIn
from voxrec.store.tokens import Tokens, generate_secret
from voxrec.store.users import Users
from voxrec.store.webhook_queue import Attempt
from voxrec.store.webhooks import Endpoint, Webhooks
from voxrec.web.auth import Authenticator, ChainAuthenticator, Principal, Role
from voxrec.web.dispatcher import MAX_REQUESTS_PER_TOKEN
from voxrec.web.errors import NotAuthenticated
from voxrec.web.site import RestSite

T = TypeVar("T")
CHEAP_HASHER: Final = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
"""Hashes passwords within a millisecond; the daemon's hasher takes 50 to 100 ms of CPU."""
PUBLIC_URL: Final = "https://rec.example"
BODY_LIMIT: Final = 20_000
AUDIO_LIMIT: Final = 2_000_000
CREATED_AT: Final = datetime(2026, 1, 31, 9, 30, tzinfo=UTC)
PROMPT_ID: Final = UUID("6a1b9f6e-0c5b-4f5e-8a58-6f0f7f3f2a10")


class RoleTokens:
    """An authenticator that knows one token for each role: the name of the role."""

    async def authenticate(self, token: str) -> Principal:
        try:
            return Principal(f"the {token} token", Role(token), listen_live=True)
        except ValueError:
            raise NotAuthenticated("This token is not valid.", "invalid_token") from None


@dataclass(frozen=True)
class ClientResponse:
    """A response as the client received it, with its whole body."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return msgspec.json.decode(self.body)

    @property
    def error_fields(self) -> list[str]:
        """The fields named by a problem document."""
        problem = self.json
        return [error["field"] for error in problem.get("errors", [])] if isinstance(problem, dict) else []

    @property
    def etag(self) -> str:
        return self.headers["etag"]


async def no_statistics() -> None:
    pass


class FakeCallControl:
    """Live calls, newest first, and a record of what was requested for them."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.released: list[UUID] = []
        self.pauses: list[tuple[PauseBehavior, float | None]] = []
        self.recorded: dict[UUID, Recording] = {}
        self.refusal: VoxrecError | None = None
        self.other_node = ""

    async def list_calls(self) -> list[Call]:
        return list(self.calls)

    async def get_call(self, call_id: UUID) -> Call:
        for call in self.calls:
            if call.id == call_id:
                return call
        raise NotFound(f"There is no live call {call_id} here.")

    async def request(self, profile: Profile, uri: str, commit: Callable[[Call], Awaitable[None]]) -> Call:
        if self.refusal is not None:
            raise self.refusal
        fields = {"profile_id": profile.id, "to": str(profile.id), "started_at": CREATED_AT}
        call = Call(id=uuid4(), state=CallState.CALLING, age=0.0, from_=uri, **fields)  # type: ignore[arg-type]
        await commit(call)
        self.calls.insert(0, call)
        return call

    async def on_this_node(self, call_id: UUID, action: Callable[[], Awaitable[T]]) -> T:
        if self.other_node:
            raise OtherNode(f"Call {call_id} is a call of node {self.other_node}; send this request to that node.")
        return await action()

    async def release(self, call_id: UUID) -> None:
        self.released.append((await self.get_call(call_id)).id)

    async def record(self, call_id: UUID) -> Call:
        call = await self.get_call(call_id)
        if call.recording_id is not None:
            raise Conflict(f"Call {call_id} was recorded already.")
        return msgspec.structs.replace(call, recording_id=UUID(int=7), recording_state=RecordingState.RECORDING)

    async def pause(self, recording_id: UUID, behavior: PauseBehavior, seconds: float | None) -> Recording:
        self.pauses.append((behavior, seconds))
        return self._with_state(recording_id, RecordingState.PAUSED)

    async def resume(self, recording_id: UUID) -> Recording:
        return self._with_state(recording_id, RecordingState.RECORDING)

    def _with_state(self, recording_id: UUID, state: RecordingState) -> Recording:
        if recording_id not in self.recorded:
            raise Conflict(f"Recording {recording_id} belongs to no live call here.")
        recording = self.recorded[recording_id]
        return msgspec.structs.replace(recording, state=state, updated_at=recording.updated_at + timedelta(seconds=1))


class FakeNodeControl:
    """A record of the nodes that were to drain, or to accept calls again."""

    def __init__(self) -> None:
        self.changes: list[tuple[str, bool]] = []

    async def set_draining(self, name: str, draining: bool) -> None:
        self.changes.append((name, draining))


async def send_request(port: int, method: str, path: str, **options: Any) -> ClientResponse:
    """Send a request to a loopback port, on a connection of its own. ``options`` are those of treq."""
    headers = options.pop("headers", {})
    agent = Agent(reactor)  # without a connection pool
    response = await treq.request(
        method, f"http://127.0.0.1:{port}{path}", agent=agent, headers=headers, timeout=20, **options
    )
    last_values = {name.decode().lower(): values[-1].decode() for name, values in response.headers.getAllRawHeaders()}
    return ClientResponse(response.code, last_values, await treq.content(response))


class RestTestCase(DatabaseTestCase):
    """Each test has its own empty database and its own listening server."""

    timeout = 60
    cors_origins: tuple[str, ...] = ()
    body_limit = BODY_LIMIT
    max_unfinished_exports = 3
    conversion_budget = ConversionBudget()
    enqueue_upload: EnqueueUpload | None = None
    probes: Mapping[str, Probe] = MappingProxyType({})
    sign_in_policy = SignInPolicy()
    identity_provider: IdentityProvider | None = None

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.patch(passwords, "_HASHER", CHEAP_HASHER)
        self.patch(passwords, "_NO_HASH", CHEAP_HASHER.hash("of no user"))
        self.profiles = Profiles(self.pool, changes=ProfileChanges(reactor, self.pool))
        self.recordings = Recordings(self.pool)
        self.prompts = Prompts(self.pool)
        self.idempotency = Idempotency(self.pool)
        self.jobs = Jobs(self.pool)
        self.webhooks = Webhooks(self.pool)
        self.exports = Exports(self.pool, PUBLIC_URL)
        self.exports_woken: list[None] = []
        self.bulk_actions = BulkActions(self.pool)
        self.bulk_actions_woken: list[None] = []
        self.links = Links(self.pool, PUBLIC_URL, timedelta(days=30))
        self.users = Users(self.pool)
        self.sessions = Sessions(self.pool, timedelta(minutes=30))
        self.tested: list[Endpoint] = []
        await self.prompts.create(Prompt(id=PROMPT_ID, created_at=CREATED_AT, updated_at=CREATED_AT))
        self.tokens = Tokens(self.pool)
        self.audit = Audit(self.pool)
        self.stored_tokens = StoredTokens(reactor, self.tokens)
        self.authenticator: Authenticator = ChainAuthenticator(RoleTokens(), self.stored_tokens)
        self.archive = self.make_archive()
        self.upload_directory = self.make_directory() / ".work"
        self.call_control = FakeCallControl()
        self.listening_enabled = True
        self.listeners: list[Listener] = []
        self.node_control = FakeNodeControl()
        self.stored_profiles: list[Profile] = []
        self.events = Events(self.pool)
        self.broadcaster = EventBroadcaster(reactor, self.events)
        self.metrics = Metrics("1.2.3")
        self.resource = self.make_resource()
        self.site = RestSite(
            self.resource,
            body_limit=self.body_limit,
            reactor=reactor,
            upload_policy=self.app.upload_policy,
            on_refusal=self.app.observe_refusal,
        )
        self.listening = await TCP4ServerEndpoint(reactor, 0, interface="127.0.0.1").listen(self.site)
        address = self.listening.getHost()
        if not isinstance(address, IPv4Address):
            raise TypeError(address)
        self.port = address.port

    def make_archive(self) -> LocalArchive:
        return LocalArchive(self.make_directory())

    def make_directory(self) -> Path:
        directory = Path(self.mktemp()).absolute()
        directory.mkdir(parents=True)
        return directory

    def make_resource(self) -> Resource:
        self.export_access = ExportAccess(
            ExportDirectory(self.make_directory()),
            lambda: self.exports_woken.append(None),
            "here",
            max_unfinished=self.max_unfinished_exports,
        )
        self.app = RestApp(
            reactor,
            Repositories(
                profiles=self.profiles,
                recordings=self.recordings,
                recording_counts=RecordingCounts(self.pool),
                prompts=self.prompts,
                recipient_certificates=RecipientCertificates(self.pool),
                tokens=self.tokens,
                audit=self.audit,
                accesses=Accesses(self.pool),
                exports=self.exports,
                bulk_actions=self.bulk_actions,
                idempotency=self.idempotency,
                jobs=self.jobs,
                links=self.links,
                notes=Notes(self.pool),
                webhooks=self.webhooks,
                delivery_history=DeliveryHistory(self.pool),
                nodes=Nodes(self.pool),
                users=self.users,
                sessions=self.sessions,
                second_factors=SecondFactors(self.pool),
                sign_in=SignIn(self.pool, self.sessions),
            ),
            RestSettings(
                public_url=f"{PUBLIC_URL}/",
                allowed_hosts=("*.example", "192.0.2.0/24"),
                formats=("wav", "mp3", "gsm"),
                audio_limit=AUDIO_LIMIT,
                upload_directory=self.upload_directory,
                requests_per_token=MAX_REQUESTS_PER_TOKEN,
                conversion_budget=self.conversion_budget,
                cors_origins=self.cors_origins,
                sign_in_policy=self.sign_in_policy,
            ),
            RestDependencies(
                archive=self.archive,
                authenticator=self.authenticator,
                broadcaster=self.broadcaster,
                call_control=self.call_control,
                node_control=self.node_control,
                metrics=self.metrics,
                refresh_statistics=no_statistics,
                probes=self.probes,
                profile_stored=self.stored_profiles.append,
                exports=self.export_access,
                wake_bulk_actions=lambda: self.bulk_actions_woken.append(None),
                send_test=self.send_test,
                check_profile=self.check_profile,
                effective_settings=self.effective_settings,
                mail_recipients=EncryptionCheck(
                    RecipientCertificates(self.pool), lambda: MailEncryption.OPTIONAL, lambda: datetime.now(UTC)
                ).recipients,
                preview_mail=self.preview_mail,
                defer_to_thread=deferToThread,
                defer_to_audio_thread=deferToThread,
                defer_to_password_thread=deferToThread,
                enqueue_upload=self.enqueue_upload,
                console_routes=console_routes,
                identity_provider=self.identity_provider,
                listen=self.listen_to_call,
                listening_enabled=lambda: self.listening_enabled,
            ),
        )
        return self.app.resource()

    async def listen_to_call(self, call_id: UUID, who: str, side: ListenSide, listening_id: UUID) -> Listener:
        listening = Listening(id=listening_id, who=who, side=side, started_at=CREATED_AT)
        listener = Listener(reactor, call_id, UUID(int=0), listening, self.listeners.remove)
        listener.rate = 8000
        self.listeners.append(listener)
        self.begin_to_talk(listener)
        return listener

    def begin_to_talk(self, listener: Listener) -> None:
        """Let a listener hear 20 ms of a call, which ends then."""
        listener.add(Frame(np.full(160, 1, dtype=np.int16), np.full(160, 2, dtype=np.int16)))
        listener.end("the call has ended")

    async def send_test(self, endpoint: Endpoint, _profile_id: UUID | None) -> Attempt:
        self.tested.append(endpoint)
        return Attempt(CREATED_AT, 0.25, 503, "maintenance")

    async def check_profile(self, profile: Profile) -> ProfileCheckResult:
        row = ProfileCheck(name=CheckName.ARCHIVE, state=CheckState.OK, detail="a file was written", seconds=0.5)
        return ProfileCheckResult(
            profile_id=profile.id, node="pbx-1", checked_at=CREATED_AT, state=CheckState.OK, checks=(row,)
        )

    async def preview_mail(self, profile: Profile, recording: Recording | None, url: str) -> Texts:
        shown = recording or example_recording(profile, CREATED_AT)
        return preview(profile, shown, url, MessageDefaults("voxrec@example.org", 1_000_000))

    def effective_settings(self, profile: Profile) -> EffectiveProfile:
        return effective_settings(profile, Config(), None, trusted=False)

    async def tearDown(self) -> None:  # type: ignore[override]
        await self.listening.stopListening()
        await until(lambda: self.site.connection_count == 0)
        await deferLater(reactor, 0)
        await super().tearDown()

    async def request(self, method: str, path: str, *, token: str = "admin", **options: Any) -> ClientResponse:
        """Send a request with a token, or without one if it is empty. ``options`` are those of treq."""
        headers = dict(options.pop("headers", {}))
        if token:
            headers.setdefault("Authorization", f"Bearer {token}")
        return await send_request(self.port, method, path, headers=headers, **options)

    async def scoped_token(self, *profile_ids: UUID, role: Role = Role.PROVISION) -> str:
        """Store a token with access to some Profiles only, and return its secret."""
        secret = generate_secret()
        token = Token(id=uuid4(), name="crm", role=role, profile_ids=profile_ids, created_at=datetime.now(UTC))
        await self.tokens.create(token, secret)
        return secret

    async def add_profile(self, **fields: Any) -> Profile:
        fields = {"id": uuid4(), "created_at": CREATED_AT, "updated_at": CREATED_AT, **fields}
        return await self.profiles.create(Profile(**fields))

    async def add_profiles(self, count: int) -> list[Profile]:
        """Add Profiles created one second apart, and return them newest first."""
        return [
            await self.add_profile(name=f"number {n}", created_at=CREATED_AT - timedelta(seconds=n))
            for n in range(count)
        ]

    async def add_recording(self, **fields: Any) -> Recording:
        defaults: dict[str, Any] = {
            "id": uuid4(),
            "profile_id": uuid4(),
            "state": RecordingState.COMPLETED,
            "created_at": CREATED_AT,
            "updated_at": CREATED_AT,
        }
        stored = await self.recordings.create(Recording(**{**defaults, **fields}))
        await index_new_recordings(self.pool)  # as the daemon does each second
        return stored

    def put_in_archive(self, content: bytes, recording_id: UUID, suffix: str) -> StoredFile:
        source = self.make_directory() / "source"
        source.write_bytes(content)
        return self.archive.put(source, recording_id, CREATED_AT, suffix)

    async def add_audio(self, content: bytes, **fields: Any) -> Recording:
        """Add a completed Recording with its audio in the archive."""
        recording_id = fields.get("id", uuid4())
        stored = self.put_in_archive(content, recording_id, fields.get("format", "wav"))
        file_fields = {"id": recording_id, "path": stored.path, "size": stored.size, "sha256": stored.sha256}
        self.assertEqual(stored.sha256, hashlib.sha256(content).hexdigest())
        return await self.add_recording(**{**file_fields, **fields})
