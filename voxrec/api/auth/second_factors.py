"""/session/second-factor and /users/<id>/second-factor: time-based codes as second factor of users with a password."""

from datetime import timedelta
from typing import Annotated, Final

from msgspec import Meta, Struct

from voxrec import totp
from voxrec.api.auth.own_password import OwnPassword, changed_meanwhile
from voxrec.api.auth.password_sign_in import SignInPolicy
from voxrec.api.auth.second_factor_codes import CodeChallenge, CodeEntry, new_enrolment, new_ticket, recovery_hashes
from voxrec.clock import UtcNow
from voxrec.error_codes import FieldErrorCode, ProblemReason
from voxrec.errors import Conflict, FieldError, InvalidInput, NotFound
from voxrec.model import Role
from voxrec.model.fields import doc
from voxrec.store.second_factors import Enrolment, SecondFactors
from voxrec.store.users import Users, VerifiedUser
from voxrec.web.body import JsonBody
from voxrec.web.errors import TooManyAttempts
from voxrec.web.request import Request
from voxrec.web.response import Response, json_response, no_content
from voxrec.web.route import Route

_ENROLMENT_LIFETIME: Final = timedelta(minutes=30)
_CODE: Final = frozenset({"ticket", "code"})
_PASSWORD: Final = frozenset({"currentPassword"})


class PasswordConfirmation(Struct, frozen=True, kw_only=True, rename="camel"):
    """The password of the user, who changes the own second factor."""

    current_password: Annotated[str, Meta(min_length=1, max_length=1024)]


class SecondFactorState(Struct, frozen=True, kw_only=True, rename="camel"):
    """The second factor of the user."""

    enabled: Annotated[bool, doc("Whether the user enters a code besides the password.")]
    required: Annotated[bool, doc("Whether the settings require it for the role of the user.")]
    recovery_codes: Annotated[int, doc("Number of recovery codes that were not used.")]


class RecoveryCodes(Struct, frozen=True, kw_only=True, rename="camel"):
    """Recovery codes, each of which can be used once instead of a code. Only their hashes are stored."""

    recovery_codes: tuple[str, ...]


class SecondFactorRoutes:
    """Time-based codes (RFC 6238) as second factor of users who sign in with a password."""

    def __init__(
        self,
        users: Users,
        second_factors: SecondFactors,
        own_password: OwnPassword,
        policy: SignInPolicy,
        now: UtcNow,
    ) -> None:
        self._users = users
        self._second_factors = second_factors
        self._own_password = own_password
        self._policy = policy
        self._now = now

    def routes(self) -> tuple[Route, ...]:
        """Return the routes."""
        password = JsonBody(PasswordConfirmation, required=_PASSWORD, secret=_PASSWORD)
        tag, path = "second-factor", "/session/second-factor"
        errors = (Conflict, TooManyAttempts)
        return (
            Route(
                *("GET", path, Role.READ, self._get),
                profile_scoped=True,
                response_model=SecondFactorState,
                errors=(Conflict,),
                summary="Get the own second factor",
                tag=tag,
            ),
            Route(
                *("PUT", path, Role.READ, self._begin),
                profile_scoped=True,
                body=password,
                response_model=CodeChallenge,
                errors=errors,
                summary="Begin to set up a second factor",
                tag=tag,
            ),
            Route(
                *("POST", path, Role.READ, self._confirm),
                profile_scoped=True,
                body=JsonBody(CodeEntry, required=_CODE, secret=_CODE),
                response_model=RecoveryCodes,
                errors=(Conflict,),
                summary="Confirm the second factor with its first code",
                tag=tag,
            ),
            Route(
                *("POST", f"{path}/remove", Role.READ, self._remove),
                profile_scoped=True,
                status=204,
                body=password,
                errors=(*errors, NotFound),
                summary="Remove the own second factor",
                tag=tag,
            ),
            Route(
                *("POST", "/session/recovery-codes", Role.READ, self._replace_codes),
                profile_scoped=True,
                body=password,
                response_model=RecoveryCodes,
                errors=errors,
                summary="Replace the own recovery codes",
                tag=tag,
            ),
            Route(
                *("DELETE", "/users/<id>/second-factor", Role.ADMIN, self._reset),
                summary="Remove the second factor of a user",
                tag=tag,
            ),
        )

    async def _get(self, request: Request) -> Response:
        user = await self._own_password.user(request.principal)
        return json_response(
            SecondFactorState(
                enabled=user.second_factor,
                required=self._policy.requires_second_factor(user.role),
                recovery_codes=await self._second_factors.recovery_code_count(user.id),
            )
        )

    async def _begin(self, request: Request) -> Response:
        """The new second factor, or the one that replaces the present one, is stored when its first code is entered."""
        verified = await self._verified_user(request)
        user, _ = verified
        enrolment, ticket, expires_at = new_enrolment(user.name), new_ticket(), self._now() + _ENROLMENT_LIFETIME
        if not await self._second_factors.challenge(verified, ticket, expires_at, enrolment.secret):
            raise changed_meanwhile(user)
        return json_response(CodeChallenge(ticket=ticket, expires_at=expires_at, enrolment=enrolment))

    async def _confirm(self, request: Request) -> Response:
        """All other sessions of the user end. The recovery codes are shown only once."""
        entry: CodeEntry = request.body
        user = await self._own_password.user(request.principal)
        challenge = await self._second_factors.attempt(entry.ticket)
        if challenge is None or challenge.secret is None or challenge.user.id != user.id:
            raise _enrolment_expired()
        step = totp.matching_step(challenge.secret, entry.code, self._now())
        if step is None:
            message = "is wrong; the clock of the device may differ"
            raise InvalidInput("The code is wrong.", [FieldError("code", message, FieldErrorCode.WRONG_CODE)])
        codes = totp.generate_recovery_codes()
        enrolment = Enrolment(challenge.secret, step, recovery_hashes(codes))
        if not await self._second_factors.store(user.id, entry.ticket, enrolment, request.principal.session_id):
            raise _enrolment_expired()
        return json_response(RecoveryCodes(recovery_codes=codes))

    async def _remove(self, request: Request) -> Response:
        """All other sessions of the user end. Refused (409) if the settings require a second factor for the role."""
        user, _ = await self._verified_user(request)
        if self._policy.requires_second_factor(user.role):
            detail = f"The role {user.role} requires a second factor."
            raise Conflict(detail, reason=ProblemReason.SECOND_FACTOR_REQUIRED)
        await self._second_factors.remove(user.id, request.principal.session_id)
        return no_content()

    async def _replace_codes(self, request: Request) -> Response:
        """The former recovery codes are void."""
        user, _ = await self._verified_user(request)
        if not user.second_factor:
            detail = "Recovery codes belong to a second factor; there is none."
            raise Conflict(detail, reason=ProblemReason.NO_SECOND_FACTOR)
        codes = totp.generate_recovery_codes()
        await self._second_factors.replace_recovery_codes(user.id, recovery_hashes(codes))
        return json_response(RecoveryCodes(recovery_codes=codes))

    async def _reset(self, request: Request) -> Response:
        """For a user who has lost the device and the recovery codes. All sessions of the user end."""
        user = await self._users.get(request.id)
        await self._second_factors.remove(user.id, request.principal.session_id)
        return no_content()

    async def _verified_user(self, request: Request) -> VerifiedUser:
        """Return the user. Raises InvalidInput if the password in the body is wrong."""
        confirmation: PasswordConfirmation = request.body
        verified, field_errors = await self._own_password.check(request, confirmation.current_password)
        if field_errors:
            raise InvalidInput("The password is wrong.", field_errors)
        return verified


def _enrolment_expired() -> Conflict:
    detail = "The time to confirm the second factor has passed, or it was confirmed. Begin again."
    return Conflict(detail, reason=ProblemReason.ENROLMENT_EXPIRED)
