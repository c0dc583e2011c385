"""Sessions of users who have signed in, with their audit entries and cookies."""

from datetime import timedelta
from uuid import UUID, uuid4

from msgspec import Struct

from voxrec.clock import UtcNow
from voxrec.model import AuditEntry, AuditOutcome, Session, User
from voxrec.store.sessions import SESSION_PREFIX
from voxrec.store.sign_in import NewSession
from voxrec.store.tokens import generate_secret
from voxrec.web.request import Request
from voxrec.web.response import Response, json_response
from voxrec.web.session_cookie import SessionCookie


class SessionStarter:
    """Makes sessions for users who have signed in, and the responses that set their cookies."""

    def __init__(self, cookie: SessionCookie, now: UtcNow, lifetime: timedelta) -> None:
        self._cookie = cookie
        self._now = now
        self._lifetime = lifetime

    def new_session(self, request: Request, user: User) -> NewSession:
        """Return a session for the browser that has sent a request."""
        now = self._now()
        session = Session(
            id=uuid4(),
            user_id=user.id,
            created_at=now,
            last_used_at=now,
            expires_at=now + self._lifetime,
            address=request.address,
            user_agent=request.user_agent,
        )
        entry = self.audit_entry(request, user, AuditOutcome.DONE, 200, session.id)
        return NewSession(session, generate_secret(SESSION_PREFIX), entry)

    def audit_entry(
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

    def set_cookie(self, new: NewSession) -> dict[str, str]:
        """Return the header that gives a browser the secret of a session."""
        return self._cookie.header(new.secret, int(self._lifetime.total_seconds()))

    def response(self, new: NewSession, document: Struct) -> Response:
        """Return the response to a request that has begun a session."""
        return json_response(document, headers=self.set_cookie(new))
