"""The routes of all resources, and the objects that several of them share."""

from collections.abc import Iterable, Iterator
from functools import partial
from itertools import chain

from twisted.internet.interfaces import IReactorTime

from voxrec.api.audio.audio_conversion import AudioConverter
from voxrec.api.audio.audio_downloads import AUDIO_PARAMETERS, AudioDownloadRoutes
from voxrec.api.audio.audio_uploads import AudioUploadRoutes
from voxrec.api.audio.peaks import PeaksRoutes
from voxrec.api.auth.passwords import Passwords
from voxrec.api.auth.sign_in_services import SignInServices
from voxrec.api.auth.tokens import TokenRoutes
from voxrec.api.bulk.bulk_actions import BulkActionRoutes
from voxrec.api.bulk.exports import ExportRoutes
from voxrec.api.calls.calls import CallRoutes
from voxrec.api.calls.listening import ListeningRoutes
from voxrec.api.deliveries.deliveries import DeliveryRoutes
from voxrec.api.deliveries.mail_preview import MailPreviewRoutes
from voxrec.api.deliveries.recipient_certificates import RecipientCertificateRoutes
from voxrec.api.deliveries.webhooks import WebhookRoutes
from voxrec.api.dependencies import Repositories, RestDependencies, RestSettings
from voxrec.api.events.events import EventRoutes
from voxrec.api.links.link_keys import LinkKeyRoutes
from voxrec.api.links.link_opening import LinkOpeningRoutes
from voxrec.api.links.links import LinkRoutes
from voxrec.api.operations.audit import AuditRoutes
from voxrec.api.operations.health import HealthRoutes
from voxrec.api.operations.jobs import JobRoutes
from voxrec.api.operations.metrics import MetricsRoutes
from voxrec.api.operations.nodes import NodeRoutes
from voxrec.api.profiles.profile_checks import ProfileCheckRoutes
from voxrec.api.profiles.profile_validation import ProfileValidator
from voxrec.api.profiles.profiles import ProfileRoutes
from voxrec.api.profiles.prompts import PromptRoutes
from voxrec.api.recordings.accesses import AccessLog, AccessRoutes
from voxrec.api.recordings.notes import NoteRoutes
from voxrec.api.recordings.recording_counts import RecordingCountRoutes
from voxrec.api.recordings.recording_neighbors import RecordingNeighborRoutes
from voxrec.api.recordings.recording_representation import recording_representation
from voxrec.api.recordings.recordings import RecordingRoutes
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
        self._downloads = self._build_downloads()
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
        yield ProfileCheckRoutes(
            self._clock,
            self._profiles,
            dependencies.check_profile,
            dependencies.effective_settings,
            dependencies.mail_recipients,
        ).routes()
        yield MailPreviewRoutes(self._profiles, self._recordings, dependencies.preview_mail, self._url).routes()
        yield PromptRoutes(repositories.prompts, self._url, self._now, dependencies.defer_to_audio_thread).routes()
        certificates = Scoped(repositories.recipient_certificates)
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
        yield AudioUploadRoutes(
            recordings,
            profiles,
            dependencies.archive,
            recording_representation(url),
            now,
            self._settings.audio_limit,
            dependencies.defer_to_thread,
            dependencies.defer_to_audio_thread,
            dependencies.enqueue_upload,
        ).routes()
        yield self._downloads.routes()
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
        yield WebhookRoutes(self._clock, self._webhooks, url, now, self._dependencies.send_test).routes()
        yield DeliveryRoutes(repositories.delivery_history, recordings, self._webhooks).routes()
        yield LinkRoutes(repositories.links, recordings, self._settings.link_lifetimes, url, now).routes()
        yield LinkOpeningRoutes(
            repositories.links,
            repositories.recordings,
            repositories.profiles,
            self._downloads.respond,
            AUDIO_PARAMETERS,
            LoginThrottle(self._clock),
            url,
            now,
        ).routes()

    def _access_resources(self) -> Iterator[Iterable[Route]]:
        repositories = self._repositories
        yield TokenRoutes(repositories.tokens, self._url, self._now).routes()
        yield self.sign_in.routes()
        yield LinkKeyRoutes(repositories.links, self._now).routes()
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

    def _build_downloads(self) -> AudioDownloadRoutes:
        settings, dependencies = self._settings, self._dependencies
        converter = AudioConverter(
            dependencies.archive,
            settings.upload_directory,
            dependencies.defer_to_audio_thread,
            settings.conversion_budget,
            dependencies.is_stopping,
        )
        return AudioDownloadRoutes(
            self._recordings,
            dependencies.archive,
            converter,
            AccessLog(self._repositories.accesses, self._now),
            dependencies.defer_to_thread,
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
