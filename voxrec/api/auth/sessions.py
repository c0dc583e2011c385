"""/session and /sessions: signing in and out, the current client, and the list of sessions."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from voxrec.api.auth.own_password import OwnPassword, changed_meanwhile, require_user
from voxrec.api.auth.password_sign_in import Credentials, PasswordSignIn, SessionWithRecoveryCodes
from voxrec.api.auth.passwords import Passwords
from voxrec.api.auth.second_factor_codes import CodeChallenge, CodeEntry
from voxrec.api.auth.session_starter import SessionStarter
from voxrec.errors import Conflict, InvalidInput, NotFound
from voxrec.model import Role, Session
from voxrec.model.fields import Timestamp, doc
from voxrec.model.user import Password, password_errors
from voxrec.store.sessions import SessionFilter, Sessions
from voxrec.store.sign_in import SignIn
from voxrec.web.auth import Principal
from voxrec.web.body import JsonBody
from voxrec.web.errors import NotAllowed, NotAuthenticated, SignInExpired, TooManyAttempts
from voxrec.web.pagination import LINK, PAGINATION, Paginator
from voxrec.web.parameters import uuid
from voxrec.web.request import Request
from voxrec.web.response import Response, json_response, no_content
from voxrec.web.route import Route
from voxrec.web.session_cookie import SessionCookie

_FILTERS: Final = {"userId": uuid("Only sessions of this user.")}
_PASSWORDS: Final = frozenset({"currentPassword", "newPassword"})
_CODE: Final = frozenset({"ticket", "code"})


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
    session_id: Annotated[UUID | None, doc("Id of the session. Null for tokens.")]
    expires_at: Annotated[Timestamp | None, doc("Time at which the token or the session expires. Null: never.")]


class SessionRoutes:
    """Sessions of users, who sign in with a password, and a code if they have a second factor.

    A session is a cookie, which other sites cannot use to change anything.
    """

    def __init__(
        self,
        sessions: Sessions,
        sign_in: SignIn,
        passwords: Passwords,
        password_sign_in: PasswordSignIn,
        own_password: OwnPassword,
        starter: SessionStarter,
        cookie: SessionCookie,
        public_url: str,
    ) -> None:
        self._sessions = sessions
        self._sign_in = sign_in
        self._passwords = passwords
        self._password_sign_in = password_sign_in
        self._own_password = own_password
        self._starter = starter
        self._cookie = cookie
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
                *("PUT", "/session", None, self._start),
                body=JsonBody(Credentials, required=frozenset({"name", "password"}), secret=frozenset({"password"})),
                response_model=Session,
                responses={202: CodeChallenge},
                response_headers=("Set-Cookie",),
                errors=(NotAuthenticated, NotAllowed, TooManyAttempts),
                audited_by_handler=True,
                summary="Sign in",
                tag="sessions",
            ),
            Route(
                *("PUT", "/session/code", None, self._enter_code),
                body=JsonBody(CodeEntry, required=_CODE, secret=_CODE),
                response_model=SessionWithRecoveryCodes,
                response_headers=("Set-Cookie",),
                errors=(NotAuthenticated, SignInExpired, TooManyAttempts),
                audited_by_handler=True,
                summary="Enter the code of the second factor",
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
                response_headers=("Set-Cookie",),
                errors=(Conflict, TooManyAttempts),
                summary="Change the own password",
                tag="sessions",
            ),
            Route(
                *("GET", "/sessions", Role.READ, self._list),
                profile_scoped=True,
                response_model=list[Session],
                query=_FILTERS | PAGINATION,
                response_headers=LINK,
            ),
            Route(
                *("DELETE", "/sessions/<id>", Role.READ, self._end),
                profile_scoped=True,
                summary="End a session",
            ),
            Route(
                *("DELETE", "/sessions", Role.ADMIN, self._end_all),
                query=_FILTERS,
                summary="End all sessions",
            ),
        )

    async def _identify(self, request: Request) -> Response:
        principal = request.principal
        profile_ids = None if principal.profile_ids is None else tuple(sorted(principal.profile_ids))
        return json_response(
            Identity(
                name=principal.name,
                role=principal.role,
                profile_ids=profile_ids,
                token_id=principal.token_id,
                user_id=principal.user_id,
                session_id=principal.session_id,
                expires_at=principal.expires_at,
            )
        )

    async def _start(self, request: Request) -> Response:
        """The response sets a cookie, which browsers send with later requests.

        A user with a second factor, or whose role requires one, gets no session but a challenge (202); it is answered
        with `PUT /session/code`. Who enters wrong passwords has to wait before the next attempt (429).
        """
        return await self._password_sign_in.with_password(request)

    async def _enter_code(self, request: Request) -> Response:
        """Each code can be used once. After five wrong ones, the password has to be entered again."""
        return await self._password_sign_in.with_code(request)

    async def _sign_out(self, request: Request) -> Response:
        """The session ends, and the cookie is deleted."""
        require_user(request.principal)
        found = await self._sessions.find(self._cookie.value(request.headers))
        if found is not None:
            await self._sessions.delete(found.session.id)
        return replace(no_content(), headers=self._cookie.header("", 0))

    async def _change_password(self, request: Request) -> Response:
        """All sessions of the user end, and the response sets the cookie of a new one."""
        change: PasswordChange = request.body
        field_errors = password_errors("newPassword", change.new_password, request.principal.name)
        verified, errors = await self._own_password.check(request, change.current_password)
        if field_errors := errors + field_errors:
            raise InvalidInput("The password cannot be changed.", field_errors)
        new = self._starter.new_session(request, verified.user)
        hashed = await self._passwords.hash(change.new_password)
        if not await self._sign_in.with_new_password(new, verified, hashed):
            raise changed_meanwhile(verified.user)
        return replace(no_content(), headers=self._starter.set_cookie(new))

    async def _list(self, request: Request) -> Response:
        """Users get their own sessions, and administrators all. Sessions that have ended are not listed."""
        return await self._paginator.respond(request, _session_filter(request.principal, request.query))

    async def _end(self, request: Request) -> Response:
        """Users end their own sessions, and administrators any. Every node rejects its cookie within a second."""
        _require_user_or_administrator(request.principal)

        def require_own(session: Session) -> None:
            if request.principal.role is not Role.ADMIN and session.user_id != request.principal.user_id:
                raise NotFound(f"There is no session {session.id}.")

        await self._sessions.delete(request.id, require_own)
        return no_content()

    async def _end_all(self, request: Request) -> Response:
        """Every node rejects their cookies within a second. The session of the request ends, too."""
        await self._sessions.delete_all(request.query.get("userId"))
        return no_content()


def _require_user_or_administrator(principal: Principal) -> None:
    if principal.user_id is None and principal.role is not Role.ADMIN:
        raise NotAllowed(f"{principal.name!r} is a token, which has no sessions; the others require the role admin.")


def _session_filter(principal: Principal, query: Mapping[str, Any]) -> SessionFilter:
    """Return the filter of the sessions that a client may see. Raises NotAllowed."""
    _require_user_or_administrator(principal)
    user_id: UUID | None = query.get("userId")
    if principal.role is Role.ADMIN:
        return SessionFilter(user_id=user_id)
    if user_id not in (None, principal.user_id):
        raise NotAllowed("Only administrators may see the sessions of other users.")
    return SessionFilter(user_id=principal.user_id)
