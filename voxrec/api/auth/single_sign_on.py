"""Sign-in at the OpenID Connect provider: users are created or updated, sessions begin, and failures are audited."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Final
from uuid import UUID, uuid4

from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from voxrec.api.auth.session_starter import SessionStarter
from voxrec.clock import UtcNow
from voxrec.errors import Conflict, InvalidInput
from voxrec.model import AuditEntry, AuditOutcome, User
from voxrec.oidc.errors import ProviderSignInError, Reason
from voxrec.oidc.flow import LIFETIME, AuthorizationFlow, PendingSignIn, SignedIn
from voxrec.oidc.permissions import ClaimMapping
from voxrec.store.audit import Audit
from voxrec.store.sessions import Sessions
from voxrec.store.sign_in import NewSession, SignIn
from voxrec.web.concurrency import ConcurrencyLimit
from voxrec.web.errors import TooManyRequests
from voxrec.web.login_throttle import source_of
from voxrec.web.rate_limit import RateLimit
from voxrec.web.request import Request
from voxrec.web.session_cookie import SessionCookie

_PROVIDER: Final = "identity provider"  # who the audit log names if the user is not known
_MAX_DETAIL: Final = 500  # characters in the audit log
_MAX_ID_TOKEN: Final = 16_384  # characters that are stored; a URL with a longer one is refused by many servers
_MAX_IN_PROGRESS: Final = 50  # sign-ins of one source at the same time: a slow provider must not collect requests
_MAX_REPORTED: Final = 30  # failures of one source within a minute that are audited and logged
_CLIENT_ERROR, _PROVIDER_FAILED = 403, 503


@dataclass(frozen=True, slots=True)
class IdentityProvider:
    """The provider of the settings. ``label`` is its name on the button for signing in."""

    flow: AuthorizationFlow
    mapping: ClaimMapping
    label: str


class SingleSignOn:
    """Begins and completes sign-ins at the provider.

    Neither depends on a secret of this daemon: a user may come back to another node.
    """

    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        provider: IdentityProvider,
        sign_in: SignIn,
        sessions: Sessions,
        audit: Audit,
        starter: SessionStarter,
        public_url: str,
        now: UtcNow,
    ) -> None:
        self._provider = provider
        self._sign_in = sign_in
        self._sessions = sessions
        self._audit = audit
        self._starter = starter
        self._cookie = SessionCookie(public_url, "voxrec_sign_in")
        self._now = now
        self._in_progress = ConcurrencyLimit(_MAX_IN_PROGRESS, "sign-ins of this address")
        self._reported = RateLimit(clock, _MAX_REPORTED, 60.0, "failed sign-ins")

    @property
    def label(self) -> str:
        """The name of the provider on the button for signing in."""
        return self._provider.label

    async def begin(self, request: Request, next_: str) -> tuple[str, Mapping[str, str]]:
        """Return the URL of the provider, and headers of the redirection to it.

        ``next_`` is the page to continue with, which has to be one of the console. Raises ProviderSignInError.
        """
        try:
            with self._in_progress.operation(source_of(request.address)):
                url, cookie = await self._provider.flow.begin(next_)
        except ProviderSignInError as error:
            await self._report(request, error)
            raise
        return url, self._cookie.header(cookie, LIFETIME)

    async def complete(self, request: Request, response: Mapping[str, str]) -> tuple[str, Mapping[str, str]]:
        """Return the page to continue with, and the header that sets the cookie of the new session.

        ``response`` are the parameters with which the provider sent the browser back. Raises ProviderSignInError.
        """
        try:
            with self._in_progress.operation(source_of(request.address)):
                pending = self._provider.flow.pending(self._cookie.value(request.headers), response.get("state", ""))
                signed_in = await self._provider.flow.complete(pending, response)
                new = await self._store(request, pending, signed_in)
        except ProviderSignInError as error:
            await self._report(request, error)
            raise
        return pending.next, self._starter.set_cookie(new)

    async def id_token(self, session_id: UUID | None) -> str | None:
        """Return the ID token of the user of a session; None if the user has signed in with a password."""
        return None if session_id is None else await self._sessions.id_token(session_id)

    async def sign_out_url(self, id_token: str) -> str | None:
        """Return the URL at which the user with an ID token signs out of the provider; None if it offers none."""
        try:
            return await self._provider.flow.sign_out_url(id_token if len(id_token) <= _MAX_ID_TOKEN else None)
        except ProviderSignInError as error:
            self._log.info("users are not signed out of the identity provider: {detail}", detail=error.detail)
            return None

    async def _store(self, request: Request, pending: PendingSignIn, signed_in: SignedIn) -> NewSession:
        user = self._user(signed_in)

        def begin(stored: User) -> NewSession:
            if not stored.enabled:
                raise ProviderSignInError(Reason.DISABLED, "the user is disabled", stored.name)
            return self._starter.new_session(request, stored)

        try:
            return await self._sign_in.at_provider(
                user, pending.state, timedelta(seconds=2 * LIFETIME), signed_in.id_token, begin
            )
        except Conflict as error:
            raise ProviderSignInError(Reason.NAME if error.field_errors else Reason.EXPIRED, error.detail) from error
        except InvalidInput as error:
            raise ProviderSignInError(Reason.NO_ROLE, error.detail, user.name) from error

    def _user(self, signed_in: SignedIn) -> User:
        """Return the user as the claims describe it. Raises ProviderSignInError."""
        claims, mapping, now = signed_in.claims, self._provider.mapping, self._now()
        name = mapping.name(claims)
        try:
            role = mapping.role(claims)
            profile_ids = mapping.profile_ids(claims, role)
        except ProviderSignInError as error:
            raise ProviderSignInError(error.reason, error.detail, name) from error
        user = User(
            id=uuid4(),
            name=name,
            role=role,
            profile_ids=profile_ids,
            issuer=str(claims["iss"]),
            subject=str(claims["sub"]),
            created_at=now,
            updated_at=now,
        )
        if field_errors := user.field_errors():
            raise ProviderSignInError(Reason.NAME, "; ".join(map(str, field_errors)))
        return user

    async def _report(self, request: Request, error: ProviderSignInError) -> None:
        """Store an audit entry, unless there were too many: requests that fail need no permission."""
        try:
            self._reported.count(source_of(request.address))
        except TooManyRequests:
            return
        failed = error.reason is Reason.UNAVAILABLE
        if failed or error.reason is Reason.INVALID_ANSWER:
            self._log.warn("a sign-in at the identity provider failed: {detail}", detail=error.detail)
        await self._audit.begin(
            AuditEntry(
                id=uuid4(),
                created_at=self._now(),
                who=error.user or _PROVIDER,
                address=request.address,
                method=request.method,
                path=request.path,
                kind="session",
                outcome=AuditOutcome.FAILED if failed else AuditOutcome.REFUSED,
                status=_PROVIDER_FAILED if failed else _CLIENT_ERROR,
                reason=error.detail[:_MAX_DETAIL],
            )
        )
