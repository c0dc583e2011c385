"""Authentication of requests by bearer token or session cookie, and what the role and the Profiles permit."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Generic, Protocol, Self, TypeVar
from uuid import UUID

from voxrec.error_codes import ProblemReason
from voxrec.model import Role as Role
from voxrec.model.principal_key import principal_key
from voxrec.web.errors import NotAllowed, NotAuthenticated, TooManyAttempts
from voxrec.web.login_throttle import LoginThrottle
from voxrec.web.session_cookie import SessionCookie

_INSUFFICIENT_SCOPE = {"WWW-Authenticate": 'Bearer realm="voxrec", error="insufficient_scope"'}  # RFC 6750 section 3.1


@dataclass(frozen=True, slots=True)
class Principal:
    """The client that a token identifies, or the user of a session.

    ``profile_ids`` None: the token is not limited to some Profiles. ``token_id`` None: it is not stored in PostgreSQL.
    ``user_id`` and ``session_id``: the user, if this is a session. ``expires_at`` None: the token does not expire.
    ``idle_ends_at``: the time at which the session ends unless it is used before.
    ``listen_live``: the principal may listen to live calls, which no role includes.
    """

    name: str
    role: Role
    profile_ids: frozenset[UUID] | None = None
    token_id: UUID | None = None
    expires_at: datetime | None = None
    user_id: UUID | None = None
    session_id: UUID | None = None
    idle_ends_at: datetime | None = None
    listen_live: bool = False

    @property
    def key(self) -> UUID | str:
        """What distinguishes the token or the user from others, see `principal_key`."""
        return principal_key(self.token_id, self.user_id, self.name)

    def may_access(self, profile_id: UUID | None) -> bool:
        """Return whether the principal may access what belongs to a Profile. None: to all Profiles."""
        return self.profile_ids is None or profile_id in self.profile_ids

    def require_role(self, role: Role) -> None:
        """Raise NotAllowed unless the principal's role includes ``role``."""
        if not self.role.includes(role):
            raise NotAllowed(
                f"This request requires the role {role}; {self.name!r} has the role {self.role}.",
                _INSUFFICIENT_SCOPE,
                reason=ProblemReason.ROLE_REQUIRED,
                params={"role": role.value},
            )

    def require_all_profiles(self) -> None:
        """Raise NotAllowed if the token is limited to some Profiles."""
        if self.profile_ids is not None:
            raise NotAllowed(
                f"{self.name!r} is limited to some profiles; this request requires access to all profiles.",
                _INSUFFICIENT_SCOPE,
                reason=ProblemReason.ALL_PROFILES_REQUIRED,
            )


class SupportsScoping(Protocol):
    """A repository of resources that belong to Profiles."""

    def scoped_to(self, profile_ids: frozenset[UUID] | None) -> Self:
        """Return a repository of the resources of these Profiles only. None: of all Profiles."""


R = TypeVar("R", bound=SupportsScoping)


class Scoped(Generic[R]):
    """Gives access to a repository only on behalf of a principal, so that no handler can forget a token's limit.

    Resources outside the limit do not exist for the principal (404, not 403), so that it does not learn about them.
    """

    def __init__(self, repository: R) -> None:
        self._repository = repository

    def visible_to(self, principal: Principal) -> R:
        """Return the repository of the resources that ``principal`` may access."""
        return self._repository.scoped_to(principal.profile_ids)


class Authenticator(Protocol):
    """Identifies the principal of a token."""

    async def authenticate(self, token: str) -> Principal:
        """Return the principal. Raises NotAuthenticated if the token is unknown, expired or revoked."""


class ChainAuthenticator:
    """Several authenticators, which are tried in order."""

    def __init__(self, *authenticators: Authenticator) -> None:
        *self._others, self._last = authenticators

    async def authenticate(self, token: str) -> Principal:
        """See `Authenticator`. Raises what the last authenticator raises."""
        for authenticator in self._others:
            try:
                return await authenticator.authenticate(token)
            except NotAuthenticated:
                continue
        return await self._last.authenticate(token)


class SessionAuthenticator(Authenticator, Protocol):
    """Identifies the user of a session by its secret, which counts as use of the session."""

    async def authenticate_in_background(self, secret: str) -> Principal:
        """Return the user as `authenticate` does, but do not prolong the session: no person has sent the request."""


@dataclass(frozen=True, slots=True)
class CookieSessions:
    """The sessions of users: the cookie that contains their secret, and what identifies the user of a secret."""

    cookie: SessionCookie
    authenticator: SessionAuthenticator

    def authenticate(self, background: bool) -> Callable[[str], Awaitable[Principal]]:
        """Return the function that identifies the user of a request, which a page may have sent by itself."""
        return self.authenticator.authenticate_in_background if background else self.authenticator.authenticate


class AccessControl:
    """Authenticates requests and checks roles; clients that guess tokens have to wait.

    Without ``sessions``, only tokens are accepted.
    """

    def __init__(
        self, authenticator: Authenticator, throttle: LoginThrottle, sessions: CookieSessions | None = None
    ) -> None:
        self._authenticator = authenticator
        self._throttle = throttle
        self._sessions = sessions

    async def admit(
        self, address: str, method: str, headers: Mapping[str, str], role: Role, *, background: bool = False
    ) -> Principal:
        """Return the principal of a request from ``address``; a token has precedence over a cookie.

        ``background``: pages send such requests by themselves, and they do not count as use of a session.

        Raises NotAuthenticated, TooManyAttempts, or NotAllowed if its role does not include ``role``, or if the request
        has a cookie, changes something, and comes from a page of another site.
        """
        secret, authenticate = self._credentials(method, headers, background)
        principal = await self._throttle.attempt(address, secret, authenticate)
        principal.require_role(role)
        return principal

    async def user_of_session(
        self, address: str, method: str, headers: Mapping[str, str], *, background: bool = False
    ) -> Principal | None:
        """Return the user whose session a page belongs to, or None. Raises NotAllowed as `admit` does."""
        if self._sessions is None or not (secret := self._sessions.cookie.value(headers)):
            return None
        self._sessions.cookie.require_same_origin(method, headers)
        try:
            return await self._throttle.attempt(address, secret, self._sessions.authenticate(background))
        except (NotAuthenticated, TooManyAttempts):
            return None

    def _credentials(
        self, method: str, headers: Mapping[str, str], background: bool
    ) -> tuple[str, Callable[[str], Awaitable[Principal]]]:
        authorization = headers.get("authorization", "")
        if self._sessions is not None and not authorization and (secret := self._sessions.cookie.value(headers)):
            self._sessions.cookie.require_same_origin(method, headers)
            return secret, self._sessions.authenticate(background)
        return bearer_token(authorization), self._authenticator.authenticate


def bearer_token(authorization: str) -> str:
    """Return the token in an Authorization header (RFC 6750 section 2.1). Raises NotAuthenticated without one."""
    scheme, _, token = authorization.strip().partition(" ")
    token = token.strip()
    if scheme.lower() != "bearer" or not token:
        raise NotAuthenticated("A token is required: Authorization: Bearer <token>.")
    return token
