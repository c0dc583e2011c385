"""The REST API: access control, middlewares, and the routes of the resources, the documentation and the console."""

from collections.abc import Collection
from functools import partial
from importlib.metadata import version
from typing import Final

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource

from voxrec.api.audit_middleware import AuditMiddleware
from voxrec.api.auth.authenticators import StoredSessions
from voxrec.api.deliveries.webhooks import WEBHOOK_OPERATIONS
from voxrec.api.dependencies import Repositories, RestDependencies, RestSettings
from voxrec.api.route_table import RouteTable
from voxrec.clock import utc_now
from voxrec.web.auth import AccessControl, CookieSessions
from voxrec.web.binding import call_handler
from voxrec.web.cors import Cors
from voxrec.web.dispatcher import UNMATCHED_PATH, Dispatcher
from voxrec.web.docs import DocsRoutes
from voxrec.web.idempotency import IdempotencyMiddleware
from voxrec.web.login_throttle import LoginThrottle
from voxrec.web.openapi import ApiInfo
from voxrec.web.root_resource import RootResource
from voxrec.web.route import Route
from voxrec.web.session_cookie import SessionCookie
from voxrec.web.site import UploadPolicy

_DESCRIPTION: Final = """\
voxrec answers calls from a SIP trunk, calls a SIP URI, connects both parties, and records the call.

Profiles define whom to call and how to record, for a dialled id or number. Recordings describe recorded and imported
calls, and lead to their audio. Prompts are custom announcements. Calls are the live calls of all nodes; events report
calls and recordings as they happen, and webhooks send them to other systems, signed and with retries. Jobs are the
pending and failed work for recordings, such as sending a mail. Users are persons who sign in with a password; programs
use tokens.

Requests and responses are JSON with names in camelCase. HEAD is supported wherever GET is. Responses with an `ETag`
support `If-None-Match` for retrieval and `If-Match` for conditional changes. Lists are complete unless `limit` is
given; the header `Link` then leads to the next page.

Every error is a problem document (RFC 9457) with a stable `code` for programs and a `detail` for people. If the input
is invalid, `errors` names every invalid field.\
"""


class RestApp:
    """The REST API."""

    def __init__(
        self,
        clock: IReactorTime,
        repositories: Repositories,
        settings: RestSettings,
        dependencies: RestDependencies,
    ) -> None:
        now = partial(utc_now, clock)
        url = settings.public_url.rstrip("/")
        cookie = SessionCookie(url)
        access_control = AccessControl(
            dependencies.authenticator,
            LoginThrottle(clock),
            CookieSessions(cookie, StoredSessions(repositories.sessions)),
        )
        auditing = AuditMiddleware(repositories.audit, now, call_handler)
        idempotency = IdempotencyMiddleware(
            repositories.idempotency, auditing.handle, dependencies.defer_to_audio_thread
        )
        self._cors = Cors(settings.cors_origins)
        self._route_table = RouteTable(clock, repositories, settings, dependencies, access_control, cookie)
        self._on_response = dependencies.metrics.requests.observe_rest_request
        self._dispatcher = Dispatcher(
            access_control,
            clock,
            idempotency.handle,
            upload_directory=settings.upload_directory,
            requests_per_token=settings.requests_per_token,
            on_response=self._on_response,
        )
        documentation = DocsRoutes(
            lambda: self.routes, ApiInfo("voxrec", version("voxrec"), _DESCRIPTION, url), WEBHOOK_OPERATIONS
        )
        console = dependencies.console_routes(
            access_control,
            self._dispatcher,
            cookie,
            now,
            settings.sign_in_policy,
            self._route_table.sign_in.single_sign_on,
        )
        for routes in (self._route_table, documentation.routes(), console):
            self._dispatcher.register(routes)

    def recheck_listeners(self) -> None:
        """End the streams of listeners to live calls who may not listen any more."""
        self._route_table.listening.recheck()

    def set_allowed_hosts(self, allowed_hosts: tuple[str, ...]) -> None:
        """Change the hosts that a Profile's remoteSipUri may name."""
        self._route_table.profile_validator.set_allowed_hosts(allowed_hosts)

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
        return RootResource(self._dispatcher.resource(), self._cors, self._on_response)

    def observe_refusal(self, method: str, status: int) -> None:
        """Count a request that a connection has refused, before it was complete."""
        self._on_response(UNMATCHED_PATH, method, status, 0.0)
