"""The composition of the REST API: middleware, routes, and what they depend on."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from importlib.metadata import version
from pathlib import Path

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource

from voxrec.api.accesses import AccessLog, AccessRoutes
from voxrec.api.audio import AUDIO_PARAMETERS, AudioRoutes, EnqueueUpload
from voxrec.api.audio_conversion import AudioConverter, ConversionBudget
from voxrec.api.audit import AuditRoutes
from voxrec.api.audit_middleware import AuditMiddleware
from voxrec.api.authentication import StoredSessions
from voxrec.api.bulk_actions import BulkActionRoutes
from voxrec.api.calls import CallControl, CallRoutes
from voxrec.api.clock import UtcNow, utc_now
from voxrec.api.deliveries import DeliveryRoutes
from voxrec.api.description import DESCRIPTION
from voxrec.api.event_broadcaster import EventBroadcaster
from voxrec.api.events import EventRoutes
from voxrec.api.exports import ExportAccess, ExportRoutes
from voxrec.api.health import HealthRoutes, Probe
from voxrec.api.jobs import JobRoutes
from voxrec.api.link_opening import LinkOpeningRoutes
from voxrec.api.links import LinkLifetimes, LinkRoutes
from voxrec.api.listening import Listen, ListeningRoutes, no_listening
from voxrec.api.mail_preview import MailPreviewRoutes, PreviewMail
from voxrec.api.metrics import MetricsRoutes, RefreshStatistics
from voxrec.api.nodes import NodeControl, NodeRoutes
from voxrec.api.notes import NoteRoutes
from voxrec.api.passwords import Passwords
from voxrec.api.peaks import PeaksRoutes
from voxrec.api.profile_checks import CheckProfile, EffectiveSettings, ProfileCheckRoutes
from voxrec.api.profiles import ProfileObserver, ProfileRoutes
from voxrec.api.prompts import PromptRoutes
from voxrec.api.recording_counts import RecordingCountRoutes
from voxrec.api.recording_neighbors import RecordingNeighborRoutes
from voxrec.api.recording_representation import recording_representation
from voxrec.api.recordings import RecordingRoutes
from voxrec.api.secret_rotation import SecretRotationRoutes
from voxrec.api.sign_in import SignInPolicy
from voxrec.api.sign_in_services import SignInServices
from voxrec.api.single_sign_on import IdentityProvider, SingleSignOn
from voxrec.api.tokens import TokenRoutes
from voxrec.api.validation import ProfileValidator
from voxrec.api.webhooks import WEBHOOK_OPERATIONS, SendTest, WebhookRoutes
from voxrec.archive.interface import Archive
from voxrec.metrics import Metrics
from voxrec.model import Role
from voxrec.store.accesses import Accesses
from voxrec.store.audit import Audit
from voxrec.store.bulk_actions import BulkActions
from voxrec.store.delivery_history import DeliveryHistory
from voxrec.store.exports import Exports
from voxrec.store.idempotency import Idempotency
from voxrec.store.jobs import Jobs
from voxrec.store.links import Links
from voxrec.store.nodes import Nodes
from voxrec.store.notes import Notes
from voxrec.store.profiles import Profiles
from voxrec.store.prompts import Prompts
from voxrec.store.recording_counts import RecordingCounts
from voxrec.store.recordings import Recordings
from voxrec.store.second_factors import SecondFactors
from voxrec.store.sessions import Sessions
from voxrec.store.sign_in import SignIn
from voxrec.store.tokens import Tokens
from voxrec.store.users import Users
from voxrec.store.webhooks import Webhooks
from voxrec.threads import DeferToThread
from voxrec.web.auth import AccessControl, Authenticator, CookieSessions, Scoped
from voxrec.web.binding import call_handler
from voxrec.web.cors import Cors
from voxrec.web.dispatcher import MAX_REQUESTS_PER_TOKEN, Dispatcher
from voxrec.web.docs import DocsRoutes
from voxrec.web.idempotency import IdempotencyMiddleware
from voxrec.web.login_throttle import LoginThrottle
from voxrec.web.openapi import ApiInfo
from voxrec.web.root_resource import RootResource
from voxrec.web.route import Route
from voxrec.web.session_cookie import SessionCookie
from voxrec.web.site import UploadPolicy

ConsoleRoutesFactory = Callable[
    [AccessControl, Dispatcher, SessionCookie, UtcNow, SignInPolicy, SingleSignOn | None], Iterable[Route]
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Repositories:
    """The stored data."""

    profiles: Profiles
    recordings: Recordings
    recording_counts: RecordingCounts
    prompts: Prompts
    tokens: Tokens
    audit: Audit
    bulk_actions: BulkActions
    accesses: Accesses
    idempotency: Idempotency
    jobs: Jobs
    links: Links
    webhooks: Webhooks
    delivery_history: DeliveryHistory
    exports: Exports
    nodes: Nodes
    notes: Notes
    users: Users
    sessions: Sessions
    second_factors: SecondFactors
    sign_in: SignIn


@dataclass(frozen=True, slots=True, kw_only=True)
class RestSettings:
    """The settings of the REST API.

    - ``public_url``: the URL under which clients reach the API;
    - ``allowed_hosts``: the hosts that a Profile's remoteSipUri may name;
    - ``formats``: the audio formats that a Profile may record in;
    - ``body_limit``, ``audio_limit``: maximum size of a JSON body and of uploaded audio, in bytes;
    - ``upload_directory``: for uploads and converted audio, preferably on the file system of the archive;
    - ``metrics_role``: the role that /metrics requires; None: no token is required;
    - ``requests_per_token``: the maximum number of requests in progress;
    - ``conversion_budget``: what conversions of audio may use;
    - ``cors_origins``: the origins of web pages that may use the API;
    - ``link_lifetimes``: the time until expiring links expire;
    - ``session_lifetime``: the time after which a user has to sign in again;
    - ``sign_in_policy``: which users may sign in with a password, and which need a second factor.
    """

    public_url: str
    allowed_hosts: tuple[str, ...]
    formats: Collection[str]
    body_limit: int
    audio_limit: int
    upload_directory: Path
    metrics_role: Role | None = Role.READ
    requests_per_token: int = MAX_REQUESTS_PER_TOKEN
    conversion_budget: ConversionBudget = field(default_factory=ConversionBudget)
    cors_origins: Collection[str] = ()
    link_lifetimes: LinkLifetimes = field(default_factory=LinkLifetimes)
    session_lifetime: timedelta = timedelta(hours=12)
    sign_in_policy: SignInPolicy = field(default_factory=SignInPolicy)


@dataclass(frozen=True, slots=True, kw_only=True)
class RestDependencies:
    """The other parts of the daemon that the REST API uses.

    - ``probes``: the readiness probes by dependency;
    - ``profile_stored``: makes a new or changed Profile known to calls;
    - ``exports``: the files of exports, and their worker;
    - ``wake_bulk_actions``: wakes the worker of bulk actions;
    - ``send_test``: sends a test message to a webhook;
    - ``check_profile``, ``effective_settings``: see `voxrec.api.profile_checks`;
    - ``preview_mail``: returns the texts of a mail;
    - ``defer_to_password_thread``: runs a function in one of few threads, each of which needs 64 MiB;
    - ``enqueue_upload``: enqueues the upload of imported audio to S3, if that is the archive;
    - ``console_routes``: returns the routes of the web console;
    - ``identity_provider``: the OpenID Connect provider at which users of the console sign in;
    - ``listen``: begins to listen to a live call; ``listening_enabled``: whether the settings permit it.
    """

    archive: Archive
    authenticator: Authenticator
    broadcaster: EventBroadcaster
    call_control: CallControl
    node_control: NodeControl
    metrics: Metrics
    refresh_statistics: RefreshStatistics
    probes: Mapping[str, Probe]
    profile_stored: ProfileObserver
    exports: ExportAccess
    wake_bulk_actions: Callable[[], None]
    send_test: SendTest
    check_profile: CheckProfile
    effective_settings: EffectiveSettings
    preview_mail: PreviewMail
    defer_to_thread: DeferToThread
    defer_to_audio_thread: DeferToThread
    defer_to_password_thread: DeferToThread
    console_routes: ConsoleRoutesFactory
    identity_provider: IdentityProvider | None = None
    is_stopping: Callable[[], bool] = lambda: False
    enqueue_upload: EnqueueUpload | None = None
    listen: Listen = no_listening
    listening_enabled: Callable[[], bool] = lambda: False


class RestApp:
    """The REST API."""

    def __init__(
        self,
        clock: IReactorTime,
        repositories: Repositories,
        settings: RestSettings,
        dependencies: RestDependencies,
    ) -> None:
        now = utc_now(clock)
        url = settings.public_url.rstrip("/")
        archive, calls = dependencies.archive, dependencies.call_control
        defer_to_thread, defer_to_audio_thread = dependencies.defer_to_thread, dependencies.defer_to_audio_thread

        profiles, recordings = Scoped(repositories.profiles), Scoped(repositories.recordings)
        webhooks = Scoped(repositories.webhooks)
        validator = ProfileValidator(settings.allowed_hosts, settings.formats, repositories.prompts.exists)
        self._validator = validator
        converter = AudioConverter(
            archive,
            settings.upload_directory,
            defer_to_audio_thread,
            settings.conversion_budget,
            dependencies.is_stopping,
        )

        audio = AudioRoutes(
            recordings,
            profiles,
            archive,
            converter,
            recording_representation(url),
            now,
            settings.audio_limit,
            AccessLog(repositories.accesses, now),
            defer_to_thread,
            defer_to_audio_thread,
            dependencies.enqueue_upload,
        )

        auditing = AuditMiddleware(repositories.audit, now, call_handler)
        idempotency = IdempotencyMiddleware(repositories.idempotency, auditing.handle, defer_to_audio_thread)
        self._cors = Cors(settings.cors_origins)
        cookie, passwords = SessionCookie(url), Passwords(dependencies.defer_to_password_thread)
        sign_in = SignInServices(
            clock,
            users=repositories.users,
            sessions=repositories.sessions,
            second_factors=repositories.second_factors,
            sign_in=repositories.sign_in,
            audit=repositories.audit,
            passwords=passwords,
            cookie=cookie,
            public_url=url,
            lifetime=settings.session_lifetime,
            policy=settings.sign_in_policy,
            provider=dependencies.identity_provider,
        )
        access_control = AccessControl(
            dependencies.authenticator,
            LoginThrottle(clock),
            CookieSessions(cookie, StoredSessions(repositories.sessions)),
        )
        self._listening = ListeningRoutes(
            clock,
            calls,
            dependencies.listen,
            repositories.audit,
            access_control,
            now,
            dependencies.listening_enabled,
        )
        self._dispatcher = Dispatcher(
            access_control,
            clock,
            idempotency.handle,
            body_limit=settings.body_limit,
            upload_directory=settings.upload_directory,
            requests_per_token=settings.requests_per_token,
            on_response=dependencies.metrics.observe_rest_request,
        )
        for routes in (
            ProfileRoutes(profiles, validator, url, now, dependencies.profile_stored).routes(),
            ProfileCheckRoutes(clock, profiles, dependencies.check_profile, dependencies.effective_settings).routes(),
            MailPreviewRoutes(profiles, recordings, dependencies.preview_mail, url).routes(),
            RecordingRoutes(recordings, profiles, calls, settings.formats, url, now).routes(),
            RecordingNeighborRoutes(recordings).routes(),
            RecordingCountRoutes(Scoped(repositories.recording_counts), now).routes(),
            PromptRoutes(repositories.prompts, url, now, defer_to_audio_thread).routes(),
            audio.routes(),
            PeaksRoutes(recordings, archive, defer_to_audio_thread).routes(),
            TokenRoutes(repositories.tokens, url, now).routes(),
            sign_in.routes(),
            AuditRoutes(repositories.audit, url).routes(),
            CallRoutes(calls, profiles, repositories.idempotency, url).routes(),
            self._listening.routes(),
            JobRoutes(Scoped(repositories.jobs), url).routes(),
            WebhookRoutes(webhooks, url, now, dependencies.send_test).routes(),
            DeliveryRoutes(repositories.delivery_history, recordings, webhooks).routes(),
            ExportRoutes(
                Scoped(repositories.exports),
                profiles,
                repositories.audit,
                dependencies.exports,
                url,
                now,
                defer_to_thread,
            ).routes(),
            BulkActionRoutes(
                Scoped(repositories.bulk_actions), recordings, profiles, dependencies.wake_bulk_actions, url, now
            ).routes(),
            LinkRoutes(repositories.links, recordings, settings.link_lifetimes, url, now).routes(),
            SecretRotationRoutes(repositories.links, repositories.sessions, now).routes(),
            AccessRoutes(repositories.accesses, recordings, url).routes(),
            NoteRoutes(repositories.notes, recordings, url, now).routes(),
            LinkOpeningRoutes(
                repositories.links,
                repositories.recordings,
                repositories.profiles,
                audio.respond,
                AUDIO_PARAMETERS,
                LoginThrottle(clock),
                url,
                now,
            ).routes(),
            NodeRoutes(repositories.nodes, dependencies.node_control).routes(),
            EventRoutes(dependencies.broadcaster).routes(),
            MetricsRoutes(dependencies.metrics, dependencies.refresh_statistics, clock, settings.metrics_role).routes(),
            HealthRoutes(dependencies.probes, clock).routes(),
            DocsRoutes(
                lambda: self.routes, ApiInfo("voxrec", version("voxrec"), DESCRIPTION, url), WEBHOOK_OPERATIONS
            ).routes(),
        ):
            self._dispatcher.register(routes)
        self._dispatcher.register(
            dependencies.console_routes(
                access_control, self._dispatcher, cookie, now, settings.sign_in_policy, sign_in.single_sign_on
            )
        )

    def recheck_listeners(self) -> None:
        """End the streams of listeners to live calls who may not listen any more."""
        self._listening.recheck()

    def set_allowed_hosts(self, allowed_hosts: tuple[str, ...]) -> None:
        """Change the hosts that a Profile's remoteSipUri may name."""
        self._validator.set_allowed_hosts(allowed_hosts)

    def set_requests_per_token(self, limit: int) -> None:
        """Change the maximum number of requests of a token that are in progress."""
        self._dispatcher.set_requests_per_token(limit)

    def set_cors_origins(self, origins: Collection[str]) -> None:
        """Change the origins of web pages that may use the API."""
        self._cors.set_origins(origins)

    @property
    def routes(self) -> list[Route]:
        """The routes of the API, in the order of the OpenAPI document."""
        return [route for route in self._dispatcher.routes if route.documented]

    @property
    def all_routes(self) -> list[Route]:
        """The routes of the API and of the console."""
        return list(self._dispatcher.routes)

    @property
    def upload_policy(self) -> UploadPolicy:
        """Decides, for the site, which request bodies are stored in files, and whose."""
        return self._dispatcher

    def resource(self) -> Resource:
        """Return the resource that a site serves."""
        return RootResource(self._dispatcher.resource(), self._cors)
