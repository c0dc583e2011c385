"""Signing in with a password, and with a code as second factor: what is checked, limited and audited."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import timedelta
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from voxrec import totp
from voxrec.api.auth.passwords import Passwords
from voxrec.api.auth.second_factor_codes import (
    CodeChallenge,
    CodeEntry,
    accepted_code,
    new_enrolment,
    new_ticket,
    recovery_hashes,
)
from voxrec.api.auth.session_starter import SessionStarter
from voxrec.clock import UtcNow
from voxrec.error_codes import ProblemReason
from voxrec.model import AuditOutcome, Role, Session, User
from voxrec.model.fields import doc
from voxrec.store.audit import Audit
from voxrec.store.second_factors import Challenge, Enrolment, SecondFactors
from voxrec.store.sign_in import NewSession, SignIn
from voxrec.store.users import Users, VerifiedUser
from voxrec.web.errors import NotAllowed, NotAuthenticated, SignInExpired
from voxrec.web.password_throttle import PasswordThrottle
from voxrec.web.request import Request
from voxrec.web.response import Response, json_response

PasswordUse = Literal["all", "admin", "none"]
_CHALLENGE_LIFETIME: Final = timedelta(minutes=10)  # long enough to install an authenticator application
_WRONG_CODE: Final = "The code is wrong, or was used already. Wait for the next one."


class Credentials(Struct, frozen=True, kw_only=True, rename="camel"):
    """What a user enters to sign in."""

    name: Annotated[str, Meta(min_length=1, max_length=64, description="Name of the user, in any letter case.")]
    password: Annotated[str, Meta(min_length=1, max_length=1024)]


class SessionWithRecoveryCodes(Session, frozen=True, kw_only=True, rename="camel"):
    """A session that began with a code."""

    recovery_codes: Annotated[
        tuple[str, ...] | None,
        doc(
            "Recovery codes, each of which can be used once instead of a code. Null unless the code was the first one."
        ),
    ]


@dataclass(frozen=True, slots=True)
class SignInPolicy:
    """Which users may sign in with a password, and the roles that require a second factor."""

    passwords: PasswordUse = "all"
    second_factor_roles: Collection[Role] = ()

    def permits_password(self, user: User) -> bool:
        """Return whether a user may sign in with a password."""
        return self.passwords == "all" or (self.passwords == "admin" and user.role is Role.ADMIN)

    def requires_second_factor(self, role: Role) -> bool:
        """Return whether users with a role, who sign in with a password, need a second factor."""
        return role in self.second_factor_roles


class PasswordSignIn:
    """Signs users in who have entered a password, and a code if it is required."""

    def __init__(
        self,
        users: Users,
        second_factors: SecondFactors,
        sign_in: SignIn,
        audit: Audit,
        passwords: Passwords,
        throttle: PasswordThrottle,
        code_throttle: PasswordThrottle,
        starter: SessionStarter,
        policy: SignInPolicy,
        now: UtcNow,
    ) -> None:
        self._users = users
        self._second_factors = second_factors
        self._sign_in = sign_in
        self._audit = audit
        self._passwords = passwords
        self._throttle = throttle
        self._code_throttle = code_throttle
        self._starter = starter
        self._policy = policy
        self._now = now

    async def with_password(self, request: Request) -> Response:
        """Return a session (200), or a challenge to enter a code (202).

        Raises NotAuthenticated, TooManyAttempts, or NotAllowed if the settings do not permit passwords.
        """
        if self._policy.passwords == "none":
            detail = "Passwords are not accepted. Sign in at the identity provider."
            raise NotAllowed(detail, reason=ProblemReason.PASSWORDS_REFUSED)
        verified = await self._authenticate(request)
        user, _ = verified
        if not self._policy.permits_password(user):
            await self._audit.begin(self._starter.audit_entry(request, user, AuditOutcome.REFUSED, NotAllowed.status))
            detail = "Only administrators may sign in with a password. Sign in at the identity provider."
            raise NotAllowed(detail, reason=ProblemReason.PASSWORDS_REFUSED)
        if user.second_factor or self._policy.requires_second_factor(user.role):
            return await self._challenge(verified)
        new = self._starter.new_session(request, user)
        if not await self._sign_in.with_password(new, verified):
            raise _wrong_password()
        return self._starter.response(new, new.session)

    async def _authenticate(self, request: Request) -> VerifiedUser:
        credentials: Credentials = request.body
        name, address = credentials.name.strip().lower(), request.address
        user, hashed = await self._users.credentials(name)  # first: if it fails, no password was tried
        self._throttle.require_attempt(name, address)
        self._throttle.failed(name, address)  # unless it succeeds
        matches = await self._passwords.matches(credentials.password, hashed)
        if user is not None and hashed is not None and matches:
            self._throttle.succeeded(name, address)
            return VerifiedUser(user, hashed)
        if user is not None:
            await self._audit_refusal(request, user)
        raise _wrong_password()

    async def _audit_refusal(self, request: Request, user: User) -> None:
        entry = self._starter.audit_entry(request, user, AuditOutcome.REFUSED, NotAuthenticated.status)
        await self._audit.begin(entry)

    async def _challenge(self, verified: VerifiedUser) -> Response:
        user, _ = verified
        ticket, expires_at = new_ticket(), self._now() + _CHALLENGE_LIFETIME
        enrolment = None if user.second_factor else new_enrolment(user.name)
        secret = None if enrolment is None else enrolment.secret
        if not await self._second_factors.challenge(verified, ticket, expires_at, secret):
            raise _wrong_password()
        challenge = CodeChallenge(ticket=ticket, expires_at=expires_at, enrolment=enrolment)
        return json_response(challenge, 202)

    async def with_code(self, request: Request) -> Response:
        """Return the session of a user who has entered a code.

        Raises NotAuthenticated if the code is wrong, SignInExpired if the password has to be entered again, and
        TooManyAttempts.
        """
        entry: CodeEntry = request.body
        challenge = await self._second_factors.attempt(entry.ticket)
        if challenge is None:
            raise SignInExpired("The time to enter the code has passed, or it was used. Sign in again.")
        user = challenge.user
        self._code_throttle.require_attempt(user.name, request.address)
        self._code_throttle.failed(user.name, request.address)  # unless it succeeds
        new = self._starter.new_session(request, user)
        recovery_codes = await self._accept(challenge, entry, new)
        if recovery_codes is None:
            await self._audit_refusal(request, user)
            raise NotAuthenticated(_WRONG_CODE)
        self._code_throttle.succeeded(user.name, request.address)
        fields = {name: getattr(new.session, name) for name in Session.__struct_fields__}
        return self._starter.response(new, SessionWithRecoveryCodes(**fields, recovery_codes=recovery_codes or None))

    async def _accept(self, challenge: Challenge, entry: CodeEntry, new: NewSession) -> tuple[str, ...] | None:
        """Store the session if the code is right, and return new recovery codes, if any; None: it is wrong."""
        if challenge.secret is not None:
            step = totp.matching_step(challenge.secret, entry.code, self._now())
            if step is None:
                return None
            codes = totp.generate_recovery_codes()
            enrolment = Enrolment(challenge.secret, step, recovery_hashes(codes))
            return codes if await self._sign_in.with_enrolment(new, entry.ticket, enrolment) else None
        code = await accepted_code(self._second_factors, challenge.user.id, entry.code, self._now)
        if code is None or not await self._sign_in.with_code(new, entry.ticket, code):
            return None
        return ()


def _wrong_password() -> NotAuthenticated:
    return NotAuthenticated("The name or the password is wrong.")
