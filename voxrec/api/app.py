"""The whole REST face: its rooms composed into one resource."""

from collections.abc import Collection, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Final

from klein.resource import KleinResource
from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import Request as HTTPRequest

from voxrec.api.audio import AudioRoutes
from voxrec.api.audio_conversion import AudioConverter
from voxrec.api.audit import AuditMiddleware, AuditRoutes
from voxrec.api.calls import CallControl, CallRoutes
from voxrec.api.clock import utc_now
from voxrec.api.event_broadcaster import EventBroadcaster
from voxrec.api.events import EventRoutes
from voxrec.api.health import HealthRoutes, Probe
from voxrec.api.jobs import JobRoutes
from voxrec.api.metrics import MetricsRoutes
from voxrec.api.peaks import PeaksRoutes
from voxrec.api.profiles import ProfileRoutes
from voxrec.api.prompts import PromptRoutes
from voxrec.api.recordings import RecordingRoutes
from voxrec.api.tokens import TokenRoutes
from voxrec.api.validation import ProfileValidator, PromptExists
from voxrec.archive.interface import Archive
from voxrec.errors import NotFound
from voxrec.store.audit import Audit
from voxrec.store.idempotency import Idempotency
from voxrec.store.jobs import Jobs
from voxrec.store.profiles import Profiles
from voxrec.store.prompts import Prompts
from voxrec.store.recordings import Recordings
from voxrec.store.tokens import Tokens
from voxrec.threads import DeferToThread
from voxrec.web.auth import AccessControl, Authenticator, Scoped
from voxrec.web.binding import call_handler
from voxrec.web.cors import Cors
from voxrec.web.dispatcher import Answered, Dispatcher, problem_response
from voxrec.web.docs import DocsRoutes
from voxrec.web.idempotency import IdempotencyMiddleware
from voxrec.web.login_throttle import LoginThrottle
from voxrec.web.openapi import ApiInfo
from voxrec.web.problems import BadRequest
from voxrec.web.site import UploadPolicy

_EVERYWHERE: Final = {
    b"Server": b"voxrec",
    b"Cache-Control": b"no-store",
    b"Content-Security-Policy": b"default-src 'none'; frame-ancestors 'none'",
    b"Cross-Origin-Resource-Policy": b"same-origin",
    b"Referrer-Policy": b"no-referrer",
    b"X-Content-Type-Options": b"nosniff",
    b"X-Frame-Options": b"DENY",
}
_DESCRIPTION: Final = """\
Profiles say whom to call and how to record; Recordings are what came of it.

Everything is JSON with names in camelCase, every error is a problem document (RFC 9457) with a stable `code`, and HEAD
goes wherever GET does. Lists are whole, or in pages where `limit` is given: then `Link` leads to the next page.\
"""
_ONLY_SECURE: Final = "max-age=31536000"  # seconds in which a browser comes by TLS alone


class RestApp:
    """REST over its collaborators.

    ``public_url`` is where clients reach it; ``formats`` are the known values of ``recordFormat``; ``probes`` ask each
    dependency how it is; ``body_limit`` and ``audio_limit`` are in bytes; ``work`` is a directory for files on their
    way, best on the archive's file system; ``answered`` counts answers; pages of ``cors_origins`` may use it all.
    """

    def __init__(
        self,
        clock: IReactorTime,
        profiles: Profiles,
        recordings: Recordings,
        archive: Archive,
        authenticator: Authenticator,
        tokens: Tokens,
        audit: Audit,
        prompts: Prompts,
        idempotency: Idempotency,
        jobs: Jobs,
        *,
        public_url: str,
        allowed_hosts: tuple[str, ...],
        formats: Collection[str],
        prompt_exists: PromptExists,
        probes: Mapping[str, Probe],
        body_limit: int,
        audio_limit: int,
        work: Path,
        defer_to_thread: DeferToThread,
        switchboard: CallControl,
        feed: EventBroadcaster,
        metrics: MetricsRoutes,
        answered: Answered,
        cors_origins: Collection[str] = (),
    ) -> None:
        now = utc_now(clock)
        self._cors = Cors(cors_origins)
        url = public_url.rstrip("/")
        info = ApiInfo("voxrec", version("voxrec"), _DESCRIPTION, url)
        seen_profiles, seen_recordings = Scoped(profiles), Scoped(recordings)
        rules = ProfileValidator(allowed_hosts, formats, prompt_exists)
        handled = IdempotencyMiddleware(idempotency, AuditMiddleware(audit, now, call_handler).handle).handle
        self._dispatcher = Dispatcher(
            AccessControl(authenticator, LoginThrottle(clock)), clock, handled, body_limit, work, answered
        )
        self._dispatcher.register(ProfileRoutes(seen_profiles, rules, url, now).routes())
        recording_routes = RecordingRoutes(seen_recordings, seen_profiles, switchboard, formats, url, now)
        self._dispatcher.register(recording_routes.routes())
        self._dispatcher.register(PromptRoutes(prompts, url, now, defer_to_thread).routes())
        show = recording_routes.representation
        self._dispatcher.register(
            AudioRoutes(
                seen_recordings,
                archive,
                AudioConverter(archive, work, defer_to_thread),
                show,
                now,
                audio_limit,
                defer_to_thread,
            ).routes()
        )
        self._dispatcher.register(PeaksRoutes(seen_recordings, archive, defer_to_thread).routes())
        self._dispatcher.register(TokenRoutes(tokens, url, now).routes())
        self._dispatcher.register(AuditRoutes(audit, url).routes())
        self._dispatcher.register(CallRoutes(switchboard, url).routes())
        self._dispatcher.register(JobRoutes(Scoped(jobs), url).routes())
        self._dispatcher.register(EventRoutes(feed).routes())
        self._dispatcher.register(metrics.routes())
        self._dispatcher.register(HealthRoutes(probes, clock).routes())
        self._dispatcher.register(DocsRoutes(lambda: self._dispatcher.routes, info).routes())

    @property
    def intake(self) -> UploadPolicy:
        """What a Site asks before it takes a file."""
        return self._dispatcher

    def resource(self) -> Resource:
        """What a Site serves."""
        return RootResource(self._dispatcher.resource(), self._cors)


class RootResource(Resource):
    """Sees to what Klein would answer before any route is looked for, and gives every answer its headers."""

    isLeaf = True  # noqa: N815 - Twisted's name

    def __init__(self, inner: KleinResource, cors: Cors) -> None:
        super().__init__()
        self._inner = inner
        self._cors = cors

    def render(self, request: HTTPRequest) -> object:
        """Hand over to Klein."""
        for name, value in _EVERYWHERE.items():
            request.setHeader(name, value)
        if request.isSecure():
            request.setHeader("Strict-Transport-Security", _ONLY_SECURE)
        if self._cors.admit(request):
            request.setResponseCode(204)
            return b""
        try:
            _require_address(request)
            return self._inner.render(request)
        except Exception as error:  # a Host that is none, say: Twisted would make a page of HTML of it
            answer = problem_response(error)
            request.setResponseCode(answer.status)
            for header, told in answer.headers.items():
                request.setHeader(header, told)
            return answer.body


def _require_address(request: HTTPRequest) -> None:
    if request.path.startswith(b"//"):  # Klein would drop the first slash, and one resource has one address
        raise NotFound("There is no such resource. Paths begin with one slash.")
    try:
        request.method.decode("ascii")
        request.path.decode("ascii")
        b"/".join(request.postpath or []).decode("utf-8")
        request.getRequestHostname().decode("ascii")
    except UnicodeDecodeError as error:
        raise BadRequest(
            "The method, the path or the host cannot be read: they are not UTF-8, percent-encoded."
        ) from error
