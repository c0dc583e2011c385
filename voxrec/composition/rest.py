"""The REST API: authentication, routes, the HTTP server and the broadcast of events."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final

from voxrec.api.app import RestApp
from voxrec.api.audio.audio_conversion import ConversionBudget
from voxrec.api.auth.authenticators import StaticTokens, StoredTokens
from voxrec.api.auth.password_sign_in import SignInPolicy
from voxrec.api.bulk.exports import ExportAccess
from voxrec.api.dependencies import Repositories, RestDependencies, RestSettings
from voxrec.api.events.event_broadcaster import EventBroadcaster
from voxrec.api.links.links import LinkLifetimes
from voxrec.api.operations.health import Probe
from voxrec.audio.formats import FORMATS
from voxrec.composition.database import Database
from voxrec.composition.environment import Environment
from voxrec.composition.exports import ExportServices
from voxrec.composition.monitoring import StatisticsRefresher
from voxrec.composition.profile_check import ProfileChecks, build_profile_checks
from voxrec.composition.readiness import (
    AmiProbe,
    AnnouncementProbe,
    ArchiveProbe,
    AsteriskProbe,
    DatabaseProbe,
    SpoolProbe,
)
from voxrec.composition.recordings import RecordingFiles
from voxrec.composition.sign_in import build_identity_provider
from voxrec.composition.subsystems import Subsystems
from voxrec.config import Config, Rest
from voxrec.console.routes import console_routes
from voxrec.model import Role
from voxrec.model.token import ADMINISTRATOR
from voxrec.postgres.listener import Listener
from voxrec.service_tree import OnDemandService, RetryingServerService
from voxrec.store.events import EVENTS_CHANNEL, LISTENING_CHANNEL
from voxrec.threads import WorkerThreads
from voxrec.web.auth import Authenticator, ChainAuthenticator
from voxrec.web.channel import Deadlines
from voxrec.web.connections import ConnectionLimits
from voxrec.web.proxies import TrustedProxies
from voxrec.web.site import RestSite

_AUDIO_THREADS: Final = 2  # each occupies one processor
_PASSWORD_THREADS: Final = 1  # occupies one processor and 64 MiB for each password


@dataclass(frozen=True)
class RestApi:
    """The HTTP server, and the services of /events.

    ``event_listener`` has a connection to PostgreSQL only while there are subscribers of /events. ``probes`` are those
    of /health/ready.
    """

    app: RestApp
    audio_threads: WorkerThreads
    password_threads: WorkerThreads
    server: RetryingServerService
    site: RestSite
    static_tokens: StaticTokens
    broadcaster: EventBroadcaster
    event_listener: OnDemandService
    stored_tokens: StoredTokens
    probes: Mapping[str, Probe]
    profile_checks: ProfileChecks

    def token_changed(self, token_id: str = "") -> None:
        """Authenticate all clients again: tokens were created or revoked, or such notifications may have been lost."""
        self.stored_tokens.invalidate(token_id)
        self.broadcaster.disconnect_all()
        self.app.recheck_listeners()

    def reconfigure(self, config: Config) -> None:
        """Apply changed settings, and read the TLS certificate again."""
        settings = config.rest
        if self.static_tokens.replace(_static_secrets(settings)):
            self.token_changed()
        self.app.set_allowed_hosts(config.calls.allowed_hosts)
        self.app.set_cors_origins(settings.cors_origins)
        self.app.set_requests_per_token(settings.requests_per_token)
        self.site.configure(
            _connection_limits(settings),
            _deadlines(settings),
            _trusted_proxies(settings),
            access_log=settings.access_log,
        )
        self.server.reload_certificate()
        self.profile_checks.config = config
        self.app.recheck_listeners()


def build_rest_api(env: Environment, subsystems: Subsystems) -> RestApi:
    """Build the routes, and the server that serves them."""
    settings, database = env.config.rest, subsystems.database
    broadcaster = EventBroadcaster(env.reactor, database.events)
    stored_tokens = StoredTokens(env.reactor, database.tokens)
    static_tokens = StaticTokens(_static_secrets(settings))
    audio_threads = WorkerThreads(env.reactor, "REST audio", _AUDIO_THREADS)
    password_threads = WorkerThreads(env.reactor, "REST passwords", _PASSWORD_THREADS)
    profile_checks = build_profile_checks(
        env, database, subsystems.files, subsystems.calls, subsystems.webhooks, audio_threads.defer
    )
    dependencies = _build_dependencies(
        env,
        subsystems,
        ChainAuthenticator(static_tokens, stored_tokens),
        broadcaster,
        profile_checks,
        audio_threads,
        password_threads,
    )
    app = RestApp(env.reactor, _repositories(database), _rest_settings(env, subsystems.files), dependencies)
    site = RestSite(
        app.resource(),
        body_limit=settings.body_limit,
        reactor=env.reactor,
        upload_policy=app.upload_policy,
        on_refusal=app.observe_refusal,
        connection_limits=_connection_limits(settings),
        deadlines=_deadlines(settings),
        trusted_proxies=_trusted_proxies(settings),
        access_log=settings.access_log,
    )
    return RestApi(
        app=app,
        audio_threads=audio_threads,
        password_threads=password_threads,
        server=RetryingServerService(env.reactor, settings.listen, site, "REST"),
        site=site,
        static_tokens=static_tokens,
        broadcaster=broadcaster,
        event_listener=_build_event_listener(env, database, broadcaster),
        stored_tokens=stored_tokens,
        probes=dependencies.probes,
        profile_checks=profile_checks,
    )


def _connection_limits(settings: Rest) -> ConnectionLimits:
    return ConnectionLimits(settings.connections, settings.connections_per_address)


def _trusted_proxies(settings: Rest) -> TrustedProxies:
    return TrustedProxies.parse(settings.trusted_proxies, settings.proxy_header)


def _deadlines(settings: Rest) -> Deadlines:
    return Deadlines(head=settings.head_timeout, body=settings.body_timeout, upload_rate=settings.upload_rate)


def _build_probes(env: Environment, subsystems: Subsystems) -> Mapping[str, Probe]:
    files, calls = subsystems.files, subsystems.calls
    return {
        "postgresql": DatabaseProbe(subsystems.database.pool, subsystems.profiles),
        "asterisk": AsteriskProbe(calls.session, lambda: calls.lease.standby),
        "ami": AmiProbe(calls.ami.connection),
        "announcement": AnnouncementProbe(calls.announcement_check),
        "archive": ArchiveProbe(
            env.config.archive_directory,
            files.work_directory,
            env.defer_to_thread,
            lambda: {} if files.s3 is None else files.s3.uploader.failures,
        ),
        "spool": SpoolProbe(files.spool, lambda: calls.disk_space.floor, env.defer_to_thread),
    }


def _repositories(database: Database) -> Repositories:
    return Repositories(
        profiles=database.profiles,
        recordings=database.recordings,
        recording_counts=database.recording_counts,
        prompts=database.prompts,
        recipient_certificates=database.recipient_certificates,
        tokens=database.tokens,
        audit=database.audit,
        accesses=database.accesses,
        exports=database.exports,
        bulk_actions=database.bulk_actions,
        idempotency=database.idempotency,
        jobs=database.jobs,
        links=database.links,
        webhooks=database.webhooks,
        delivery_history=database.delivery_history,
        nodes=database.nodes,
        notes=database.notes,
        users=database.users,
        sessions=database.sessions,
        second_factors=database.second_factors,
        sign_in=database.sign_in,
    )


def _build_dependencies(
    env: Environment,
    subsystems: Subsystems,
    authenticator: Authenticator,
    broadcaster: EventBroadcaster,
    profile_checks: ProfileChecks,
    audio_threads: WorkerThreads,
    password_threads: WorkerThreads,
) -> RestDependencies:
    database, files, calls = subsystems.database, subsystems.files, subsystems.calls
    statistics = StatisticsRefresher(
        env.metrics,
        database.pool,
        database.webhook_queue,
        database.exports,
        database.recipient_certificates,
        env.config.archive_directory,
        env.defer_to_thread,
    )
    return RestDependencies(
        archive=files.archive,
        enqueue_upload=files.s3.enqueue if files.s3 is not None and env.config.s3.uploads else None,
        authenticator=authenticator,
        broadcaster=broadcaster,
        call_control=subsystems.nodes.control,
        node_control=subsystems.nodes.control,
        metrics=env.metrics,
        refresh_statistics=statistics.refresh,
        probes=_build_probes(env, subsystems),
        profile_stored=subsystems.profiles.put,
        exports=_export_access(env, subsystems.exports),
        wake_bulk_actions=subsystems.bulk_actions.worker.wake,
        send_test=subsystems.webhooks.sender.send_test,
        check_profile=profile_checks.checker.check,
        effective_settings=profile_checks.effective,
        mail_recipients=profile_checks.encryption.recipients,
        preview_mail=subsystems.mailer.preview,
        defer_to_thread=env.defer_to_thread,
        defer_to_audio_thread=audio_threads.defer,
        defer_to_password_thread=password_threads.defer,
        console_routes=console_routes,
        identity_provider=build_identity_provider(env),
        is_stopping=lambda: not audio_threads.running,
        listen=calls.listening.listen,
        listening_enabled=lambda: calls.listening.settings.enabled,
    )


def _export_access(env: Environment, exports: ExportServices) -> ExportAccess:
    return ExportAccess(exports.directory, exports.worker.wake, env.config.node_name, env.config.exports.max_unfinished)


def _rest_settings(env: Environment, files: RecordingFiles) -> RestSettings:
    settings = env.config.rest
    return RestSettings(
        public_url=settings.public_url,
        allowed_hosts=env.config.calls.allowed_hosts,
        formats=FORMATS,
        audio_limit=settings.audio_limit,
        upload_directory=files.work_directory,
        metrics_role=None if settings.metrics == "open" else Role.READ,
        requests_per_token=settings.requests_per_token,
        conversion_budget=ConversionBudget(
            total=settings.conversions, per_token=settings.conversions_per_token, file_size=settings.conversion_size
        ),
        cors_origins=settings.cors_origins,
        link_lifetimes=LinkLifetimes(timedelta(days=env.config.links.days), timedelta(days=env.config.links.max_days)),
        session_lifetime=timedelta(seconds=settings.session_lifetime),
        sign_in_policy=SignInPolicy(settings.passwords, frozenset(map(Role, settings.second_factor))),
    )


def _static_secrets(settings: Rest) -> dict[str, str]:
    return {ADMINISTRATOR: settings.admin_token} if settings.admin_token else {}


def _build_event_listener(env: Environment, database: Database, broadcaster: EventBroadcaster) -> OnDemandService:
    def event_stored(_event_id: str) -> None:
        broadcaster.refresh()

    def activity_changed(active: bool) -> None:
        if active:
            listener.ensure_started()
        else:
            listener.ensure_stopped()

    listener = OnDemandService(
        "event listener",
        Listener(
            env.reactor,
            database.dsn,
            {EVENTS_CHANNEL: event_stored, LISTENING_CHANNEL: broadcaster.listening_announced},
            broadcaster.refresh,
            database.history,
        ),
    )
    broadcaster.set_activity_callback(activity_changed)
    return listener
