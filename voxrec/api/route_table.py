"""The routes of all resources, and the objects that several of them share."""

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain

from twisted.internet.interfaces import IReactorTime

from voxrec.api.accesses import AccessLog, AccessRoutes
from voxrec.api.audio import AUDIO_PARAMETERS, AudioRoutes
from voxrec.api.audio_conversion import AudioConverter
from voxrec.api.audit import AuditRoutes
from voxrec.api.bulk_actions import BulkActionRoutes
from voxrec.api.calls import CallRoutes
from voxrec.api.deliveries import DeliveryRoutes
from voxrec.api.dependencies import Repositories, RestDependencies, RestSettings
from voxrec.api.events import EventRoutes
from voxrec.api.exports import ExportRoutes
from voxrec.api.health import HealthRoutes
from voxrec.api.jobs import JobRoutes
from voxrec.api.link_opening import LinkOpeningRoutes
from voxrec.api.links import LinkRoutes
from voxrec.api.listening import ListeningRoutes
from voxrec.api.mail_preview import MailPreviewRoutes
from voxrec.api.metrics import MetricsRoutes
from voxrec.api.nodes import NodeRoutes
from voxrec.api.notes import NoteRoutes
from voxrec.api.passwords import Passwords
from voxrec.api.peaks import PeaksRoutes
from voxrec.api.profile_checks import ProfileCheckRoutes
from voxrec.api.profiles import ProfileRoutes
from voxrec.api.prompts import PromptRoutes
from voxrec.api.recipient_certificates import RecipientCertificateRoutes
from voxrec.api.recording_counts import RecordingCountRoutes
from voxrec.api.recording_neighbors import RecordingNeighborRoutes
from voxrec.api.recording_representation import recording_representation
from voxrec.api.recordings import RecordingRoutes
from voxrec.api.secret_rotation import SecretRotationRoutes
from voxrec.api.sign_in_services import SignInServices
from voxrec.api.tokens import TokenRoutes
from voxrec.api.validation import ProfileValidator
from voxrec.api.webhooks import WebhookRoutes
from voxrec.clock import utc_now
from voxrec.web.auth import AccessControl, Scoped
from voxrec.web.login_throttle import LoginThrottle
from voxrec.web.route import Route
from voxrec.web.session_cookie import SessionCookie


class RouteTable:
    """The routes of the REST API, without those of its documentation.

    ``profile_validator``, ``listening`` and ``sign_in`` are public because other parts of the API use them, too.
    """

    def __init__(
        self,
        clock: IReactorTime,
        repositories: Repositories,
        settings: RestSettings,
        dependencies: RestDependencies,
        access_control: AccessControl,
        cookie: SessionCookie,
    ) -> None:
        self._clock = clock
        self._now = partial(utc_now, clock)
        self._repositories = repositories
        self._settings = settings
        self._dependencies = dependencies
        self._url = settings.public_url.rstrip("/")
        self._profiles = Scoped(repositories.profiles)
        self._recordings = Scoped(repositories.recordings)
        self._webhooks = Scoped(repositories.webhooks)
        self._audio = self._build_audio()
        self.profile_validator = ProfileValidator(settings.allowed_hosts, settings.formats, repositories.prompts.exists)
        self.listening = ListeningRoutes(
            clock,
            dependencies.call_control,
            dependencies.listen,
            repositories.audit,
            access_control,
            self._now,
            dependencies.listening_enabled,
        )
        self.sign_in = self._build_sign_in(cookie)

    def __iter__(self) -> Iterator[Route]:
        """Return the routes, in the order of the OpenAPI document."""
        resources = chain(
            self._profile_resources(),
            self._recording_resources(),
            self._call_resources(),
            self._delivery_resources(),
            self._access_resources(),
            self._operation_resources(),
        )
        return chain.from_iterable(resources)

    def _profile_resources(self) -> Iterator[Iterable[Route]]:
        repositories, dependencies = self._repositories, self._dependencies
        yield ProfileRoutes(
            self._profiles, self.profile_validator, self._url, self._now, dependencies.profile_stored
        ).routes()
        certificates = Scoped(repositories.recipient_certificates)
        yield ProfileCheckRoutes(
            self._clock,
            self._profiles,
            certificates,
            dependencies.check_profile,
            dependencies.effective_settings,
            dependencies.mail_recipients,
        ).routes()
        yield MailPreviewRoutes(self._profiles, self._recordings, dependencies.preview_mail, self._url).routes()
        yield PromptRoutes(repositories.prompts, self._url, self._now, dependencies.defer_to_audio_thread).routes()
        yield RecipientCertificateRoutes(
            certificates, self._url, self._now, dependencies.defer_to_audio_thread
        ).routes()

    def _recording_resources(self) -> Iterator[Iterable[Route]]:
        repositories, dependencies = self._repositories, self._dependencies
        profiles, recordings, url, now = self._profiles, self._recordings, self._url, self._now
        yield RecordingRoutes(
            recordings, profiles, dependencies.call_control, self._settings.formats, url, now
        ).routes()
        yield RecordingNeighborRoutes(recordings).routes()
        yield RecordingCountRoutes(Scoped(repositories.recording_counts), now).routes()
        yield self._audio.routes()
        yield PeaksRoutes(recordings, dependencies.archive, dependencies.defer_to_audio_thread).routes()
        yield NoteRoutes(repositories.notes, recordings, url, now).routes()
        yield AccessRoutes(repositories.accesses, recordings, url).routes()
        yield BulkActionRoutes(
            Scoped(repositories.bulk_actions), recordings, profiles, dependencies.wake_bulk_actions, url, now
        ).routes()
        yield ExportRoutes(
            Scoped(repositories.exports),
            profiles,
            repositories.audit,
            dependencies.exports,
            url,
            now,
            dependencies.defer_to_thread,
        ).routes()

    def _call_resources(self) -> Iterator[Iterable[Route]]:
        yield CallRoutes(
            self._dependencies.call_control, self._profiles, self._repositories.idempotency, self._url
        ).routes()
        yield self.listening.routes()

    def _delivery_resources(self) -> Iterator[Iterable[Route]]:
        repositories, recordings, url, now = self._repositories, self._recordings, self._url, self._now
        yield WebhookRoutes(self._webhooks, url, now, self._dependencies.send_test).routes()
        yield DeliveryRoutes(repositories.delivery_history, recordings, self._webhooks).routes()
        yield LinkRoutes(repositories.links, recordings, self._settings.link_lifetimes, url, now).routes()
        yield LinkOpeningRoutes(
            repositories.links,
            repositories.recordings,
            repositories.profiles,
            self._audio.respond,
            AUDIO_PARAMETERS,
            LoginThrottle(self._clock),
            url,
            now,
        ).routes()

    def _access_resources(self) -> Iterator[Iterable[Route]]:
        repositories = self._repositories
        yield TokenRoutes(repositories.tokens, self._url, self._now).routes()
        yield self.sign_in.routes()
        yield SecretRotationRoutes(repositories.links, repositories.sessions, self._now).routes()
        yield AuditRoutes(repositories.audit, self._url).routes()

    def _operation_resources(self) -> Iterator[Iterable[Route]]:
        repositories, dependencies = self._repositories, self._dependencies
        yield JobRoutes(Scoped(repositories.jobs), self._url).routes()
        yield NodeRoutes(repositories.nodes, dependencies.node_control).routes()
        yield EventRoutes(dependencies.broadcaster).routes()
        yield MetricsRoutes(
            dependencies.metrics, dependencies.refresh_statistics, self._clock, self._settings.metrics_role
        ).routes()
        yield HealthRoutes(dependencies.probes, self._clock).routes()

    def _build_audio(self) -> AudioRoutes:
        settings, dependencies = self._settings, self._dependencies
        converter = AudioConverter(
            dependencies.archive,
            settings.upload_directory,
            dependencies.defer_to_audio_thread,
            settings.conversion_budget,
            dependencies.is_stopping,
        )
        return AudioRoutes(
            self._recordings,
            self._profiles,
            dependencies.archive,
            converter,
            recording_representation(self._url),
            self._now,
            settings.audio_limit,
            AccessLog(self._repositories.accesses, self._now),
            dependencies.defer_to_thread,
            dependencies.defer_to_audio_thread,
            dependencies.enqueue_upload,
        )

    def _build_sign_in(self, cookie: SessionCookie) -> SignInServices:
        repositories, settings, dependencies = self._repositories, self._settings, self._dependencies
        return SignInServices(
            self._clock,
            users=repositories.users,
            sessions=repositories.sessions,
            second_factors=repositories.second_factors,
            sign_in=repositories.sign_in,
            audit=repositories.audit,
            passwords=Passwords(dependencies.defer_to_password_thread),
            cookie=cookie,
            public_url=self._url,
            lifetime=settings.session_lifetime,
            policy=settings.sign_in_policy,
            provider=dependencies.identity_provider,
        )
