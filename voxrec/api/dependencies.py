"""What the REST API is built from: its settings, the repositories, and the other parts of the daemon that it uses."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

from voxrec.api.audio.audio_conversion import ConversionBudget
from voxrec.api.audio.audio_uploads import EnqueueUpload
from voxrec.api.auth.password_sign_in import SignInPolicy
from voxrec.api.auth.single_sign_on import IdentityProvider, SingleSignOn
from voxrec.api.bulk.exports import ExportAccess
from voxrec.api.calls.call_control import CallControl
from voxrec.api.calls.listening import Listen, no_listening
from voxrec.api.deliveries.mail_preview import PreviewMail
from voxrec.api.deliveries.webhooks import SendTest
from voxrec.api.events.event_broadcaster import EventBroadcaster
from voxrec.api.links.links import LinkLifetimes
from voxrec.api.operations.health import Probe
from voxrec.api.operations.metrics import RefreshStatistics
from voxrec.api.operations.nodes import NodeControl
from voxrec.api.profiles.profile_checks import CheckProfile, EffectiveSettings, MailRecipients
from voxrec.api.profiles.profiles import ProfileObserver
from voxrec.archive.interface import Archive
from voxrec.clock import UtcNow
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
from voxrec.store.recipient_certificates import RecipientCertificates
from voxrec.store.recording_counts import RecordingCounts
from voxrec.store.recordings import Recordings
from voxrec.store.second_factors import SecondFactors
from voxrec.store.sessions import Sessions
from voxrec.store.sign_in import SignIn
from voxrec.store.tokens import Tokens
from voxrec.store.users import Users
from voxrec.store.webhooks import Webhooks
from voxrec.threads import DeferToThread
from voxrec.web.auth import AccessControl, Authenticator
from voxrec.web.dispatcher import MAX_REQUESTS_PER_TOKEN, Dispatcher
from voxrec.web.route import Route
from voxrec.web.session_cookie import SessionCookie

ConsoleRoutesFactory = Callable[
    [AccessControl, Dispatcher, SessionCookie, UtcNow, SignInPolicy, SingleSignOn | None], Iterable[Route]
]
"""Returns the routes of the web console, which calls the API through the Dispatcher."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Repositories:
    """The stored data."""

    profiles: Profiles
    recordings: Recordings
    recording_counts: RecordingCounts
    prompts: Prompts
    recipient_certificates: RecipientCertificates
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
    - ``audio_limit``: maximum size of uploaded audio in bytes;
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
    - ``check_profile``, ``effective_settings``, ``mail_recipients``: see `voxrec.api.profiles.profile_checks`;
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
    mail_recipients: MailRecipients
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
