"""The password of the user who sends a request, which is asked for again before the own account changes."""

from uuid import UUID

from voxrec.api.auth.passwords import Passwords
from voxrec.error_codes import FieldErrorCode, ProblemReason
from voxrec.errors import Conflict, FieldError
from voxrec.model import User
from voxrec.store.users import Users, VerifiedUser
from voxrec.web.auth import Principal
from voxrec.web.password_throttle import PasswordThrottle
from voxrec.web.request import Request


class OwnPassword:
    """Checks the password of the user of a session: who finds an open page must not take over the account."""

    def __init__(self, users: Users, passwords: Passwords, throttle: PasswordThrottle) -> None:
        self._users = users
        self._passwords = passwords
        self._throttle = throttle

    async def check(self, request: Request, password: str) -> tuple[VerifiedUser, list[FieldError]]:
        """Return the user, and an error of the field ``currentPassword`` if the password is wrong.

        Raises Conflict for a token or a user without a password, and TooManyAttempts.
        """
        user = await self.user(request.principal)
        _, hashed = await self._users.credentials(user.name)
        verified = VerifiedUser(user, hashed or "")
        self._throttle.require_attempt(user.name, request.address)
        self._throttle.failed(user.name, request.address)  # unless it succeeds
        if not await self._passwords.matches(password, hashed):
            return verified, [FieldError("currentPassword", "is wrong", FieldErrorCode.WRONG_PASSWORD)]
        self._throttle.succeeded(user.name, request.address)
        return verified, []

    async def user(self, principal: Principal) -> User:
        """Return the user of a session. Raises Conflict for a token or a user without a password."""
        user = await self._users.get(require_user(principal))
        if not user.is_local:
            detail = f"{user.name!r} has no password here, but signs in at the identity provider {user.issuer}."
            raise Conflict(detail, reason=ProblemReason.NO_PASSWORD)
        return user


def changed_meanwhile(user: User) -> Conflict:
    """Return the error for a user who was changed while the own password was verified."""
    return Conflict(f"{user.name!r} was changed meanwhile. Try again.", reason=ProblemReason.CHANGED_MEANWHILE)


def require_user(principal: Principal) -> UUID:
    """Return the user of a session. Raises Conflict for a token."""
    if principal.user_id is None:
        detail = f"{principal.name!r} is a token, which has no session. Tokens are revoked instead."
        raise Conflict(detail, reason=ProblemReason.NO_SESSION)
    return principal.user_id
