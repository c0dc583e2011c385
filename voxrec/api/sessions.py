"""/session and /sessions: signing in and out, the current client, and the list of sessions."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Annotated, Any, Final
from uuid import UUID, uuid4

import msgspec
from msgspec import Meta, Struct
from twisted.logger import Logger

from voxrec.api.clock import UtcNow
from voxrec.api.passwords import Passwords
from voxrec.errors import Conflict, FieldError, InvalidInput
from voxrec.model import AuditEntry, AuditOutcome, Role, Session, User
from voxrec.model.fields import Timestamp, doc
from voxrec.model.user import Password, password_errors
from voxrec.sanitize import sanitize_line
from voxrec.store.audit import Audit
from voxrec.store.sessions import SESSION_PREFIX, SessionFilter, Sessions
from voxrec.store.tokens import generate_secret
from voxrec.store.transaction_hook import TransactionHook
from voxrec.store.users import Users
from voxrec.web.auth import Principal
from voxrec.web.body import JsonBody
from voxrec.web.errors import NotAuthenticated, TooManyAttempts
from voxrec.web.pagination import LINK, PAGINATION, Paginator
from voxrec.web.parameters import uuid
from voxrec.web.password_throttle import PasswordThrottle
from voxrec.web.request import Request
from voxrec.web.response import JSON, Response, no_content
from voxrec.web.route import Route
from voxrec.web.session_cookie import SessionCookie

_FILTERS: Final = {"userId": uuid("Only sessions of this user.")}
_PASSWORDS: Final = frozenset({"currentPassword", "newPassword"})
_MAX_USER_AGENT: Final = 255  # characters that are stored


class Credentials(Struct, frozen=True, kw_only=True, rename="camel"):
    """What a user enters to sign in."""

    name: Annotated[str, Meta(min_length=1, max_length=64, description="Name of the user, in any letter case.")]
    password: Annotated[str, Meta(min_length=1, max_length=1024)]


class PasswordChange(Struct, frozen=True, kw_only=True, rename="camel"):
    """A user's change of the own password."""

    current_password: Annotated[str, Meta(min_length=1, max_length=1024)]
    new_password: Password


class Identity(Struct, frozen=True, kw_only=True, rename="camel"):
    """The client that sent the request."""

    name: Annotated[str, doc("Name of the token or the user.")]
    role: Role
    profile_ids: Annotated[tuple[UUID, ...] | None, doc("Profiles to which it is restricted. Null: all Profiles.")]
    token_id: Annotated[UUID | None, doc("Id of the token. Null for a user and for the configured administrator.")]
    user_id: Annotated[UUID | None, doc("Id of the user who signed in. Null for tokens.")]
    expires_at: Annotated[Timestamp | None, doc("Time at which the token or the session expires. Null: never.")]


class SessionRoutes:
    """Sessions of users, who sign in with a password.

    A session is a cookie, which other sites cannot use to change anything.
    """

    _log = Logger()

    def __init__(
        self,
        users: Users,
        sessions: Sessions,
        audit: Audit,
        passwords: Passwords,
        throttle: PasswordThrottle,
        cookie: SessionCookie,
        public_url: str,
        now: UtcNow,
        lifetime: timedelta,
    ) -> None:
        self._users = users
        self._sessions = sessions
        self._audit = audit
        self._passwords = passwords
        self._throttle = throttle
        self._cookie = cookie
        self._public_url = public_url
        self._now = now
        self._lifetime = lifetime
        self._paginator = Paginator(sessions, msgspec.json.encode, public_url)

    def routes(self) -> tuple[Route, ...]:
        """Return the routes."""
        return (
            Route(
                *("GET", "/session", Role.READ, self._identify),
                profile_scoped=True,
                response_model=Identity,
                summary="Get the client that sends the request",
                tag="sessions",
            ),
            Route(
                *("PUT", "/session", None, self._sign_in),
                body=JsonBody(Credentials, required=frozenset({"name", "password"}), secret=frozenset({"password"})),
                response_model=Session,
                response_headers=("Set-Cookie",),
                errors=(NotAuthenticated, TooManyAttempts),
                audited_by_handler=True,
                summary="Sign in",
                tag="sessions",
            ),
            Route(
                *("DELETE", "/session", Role.READ, self._sign_out),
                profile_scoped=True,
                response_headers=("Set-Cookie",),
                errors=(Conflict,),
                summary="Sign out",
                tag="sessions",
            ),
            Route(
                *("POST", "/session/password", Role.READ, self._change_password),
                profile_scoped=True,
                status=204,
                body=JsonBody(PasswordChange, required=_PASSWORDS, secret=_PASSWORDS),
                errors=(Conflict, TooManyAttempts),
                summary="Change the own password",
                tag="sessions",
            ),
            Route(
                *("GET", "/sessions", Role.ADMIN, self._list),
                response_model=list[Session],
                query=_FILTERS | PAGINATION,
                response_headers=LINK,
            ),
            Route("DELETE", "/sessions/<id>", Role.ADMIN, self._end, summary="End a session"),
        )

    async def _identify(self, request: Request) -> Response:
        principal = request.principal
        profile_ids = None if principal.profile_ids is None else tuple(sorted(principal.profile_ids))
        return _json(
            Identity(
                name=principal.name,
                role=principal.role,
                profile_ids=profile_ids,
                token_id=principal.token_id,
                user_id=principal.user_id,
                expires_at=principal.expires_at,
            )
        )

    async def _sign_in(self, request: Request) -> Response:
        """The response sets a cookie, which browsers send with later requests.

        Who enters wrong passwords has to wait before the next attempt (429).
        """
        credentials: Credentials = request.body
        user = await self._authenticate(request, credentials)
        now, secret = self._now(), generate_secret(SESSION_PREFIX)
        session = Session(
            id=uuid4(),
            user_id=user.id,
            created_at=now,
            last_used_at=now,
            expires_at=now + self._lifetime,
            address=request.address,
            user_agent=sanitize_line(request.headers.get("user-agent", ""), _MAX_USER_AGENT),
        )
        entry = self._audit_entry(request, user, AuditOutcome.DONE, 200, session.id)
        await self._sessions.create(session, secret, TransactionHook(audit_entry=lambda _: entry))
        headers = self._cookie.header(secret, int(self._lifetime.total_seconds()))
        return replace(_json(session), headers={"Content-Type": JSON, **headers})

    async def _authenticate(self, request: Request, credentials: Credentials) -> User:
        """Return the user with these credentials. Raises NotAuthenticated or TooManyAttempts."""
        name, address = credentials.name.strip().lower(), request.address
        user, hashed = await self._users.credentials(name)  # first: if it fails, no password was tried
        self._throttle.require_attempt(name, address)
        self._throttle.failed(name, address)  # unless it succeeds
        matches = await self._passwords.matches(credentials.password, hashed)
        if user is not None and matches:
            self._throttle.succeeded(name, address)
            return user
        if user is not None:
            await self._audit.begin(self._audit_entry(request, user, AuditOutcome.REFUSED, 401))
        raise NotAuthenticated("The name or the password is wrong.")

    def _audit_entry(
        self, request: Request, user: User, outcome: AuditOutcome, status: int, session_id: UUID | None = None
    ) -> AuditEntry:
        """Return the entry of an attempt to sign in as an existing user.

        A name that is not one of a user is not stored: people enter their password there by mistake.
        """
        return AuditEntry(
            id=uuid4(),
            created_at=self._now(),
            who=user.name,
            user_id=user.id,
            address=request.address,
            method=request.method,
            path=request.path,
            kind="session",
            target_id=session_id,
            outcome=outcome,
            status=status,
        )

    async def _sign_out(self, request: Request) -> Response:
        """The session ends, and the cookie is deleted."""
        _require_user(request.principal)
        found = await self._sessions.find(self._cookie.value(request.headers))
        if found is not None:
            await self._sessions.delete(found.session.id)
        return replace(no_content(), headers=self._cookie.header("", 0))

    async def _change_password(self, request: Request) -> Response:
        """All sessions of the user end, this one included."""
        change: PasswordChange = request.body
        name, user_id = request.principal.name, _require_user(request.principal)
        _, hashed = await self._users.credentials(name)
        self._throttle.require_attempt(name, request.address)
        self._throttle.failed(name, request.address)
        field_errors = password_errors("newPassword", change.new_password, name)
        if not await self._passwords.matches(change.current_password, hashed):
            field_errors.insert(0, FieldError("currentPassword", "is wrong"))
        else:
            self._throttle.succeeded(name, request.address)
        if field_errors:
            raise InvalidInput("The password cannot be changed.", field_errors)
        await self._users.set_password(user_id, await self._passwords.hash(change.new_password))
        return no_content()

    async def _list(self, request: Request) -> Response:
        """Sessions that have ended are not listed."""
        return await self._paginator.respond(request, _session_filter(request.query))

    async def _end(self, request: Request) -> Response:
        """Every node rejects its cookie within a second."""
        await self._sessions.delete(request.id)
        return no_content()


def _require_user(principal: Principal) -> UUID:
    """Return the user of a session. Raises Conflict for a token."""
    if principal.user_id is None:
        raise Conflict(f"{principal.name!r} is a token, which has no session. Tokens are revoked instead.")
    return principal.user_id


def _json(document: Struct) -> Response:
    return Response(200, {"Content-Type": JSON}, msgspec.json.encode(document))


def _session_filter(query: Mapping[str, Any]) -> SessionFilter:
    return SessionFilter(user_id=query.get("userId"))
