"""/users: creation, retrieval, update and deletion of users."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Final

import msgspec

from voxrec.api.auth.passwords import Passwords
from voxrec.api.resources import Representation, apply_update, initial_values
from voxrec.api.transaction_hooks import transaction_hook
from voxrec.clock import UtcNow
from voxrec.conversion import convert_fields
from voxrec.error_codes import FieldErrorCode
from voxrec.errors import Conflict, FieldError
from voxrec.model import Role, User
from voxrec.model.user import Password, password_errors
from voxrec.store.users import UserFilter, Users
from voxrec.web.body import BodySchema, JsonBody, PartialUpdateBody, decode_json_object
from voxrec.web.pagination import LINK, PAGINATION, Paginator
from voxrec.web.parameters import text
from voxrec.web.partial_update import PartialUpdate, require_no_errors
from voxrec.web.request import Request
from voxrec.web.response import Response, no_content
from voxrec.web.route import CONDITIONAL, ETAG, Route

_FILTERS: Final = {"name": text.described_as("Only the user with this name.")}
_SET_BY_VOXREC: Final = frozenset({"id", "issuer", "subject", "secondFactor", "createdAt", "updatedAt"})
_SECRET: Final = frozenset({"password"})
_REPRESENTATION: Final[Representation[User]] = Representation(msgspec.json.encode)


class UserWithPassword(User, frozen=True, kw_only=True, rename="camel"):
    """A user, and a new password."""

    password: Password

    def without_password(self) -> User:
        """Return the user that is stored and shown."""
        return User(**{name: getattr(self, name) for name in User.__struct_fields__})


@dataclass(frozen=True, slots=True)
class UserUpdate:
    """An update of a user: new values of fields, and a new password or None."""

    fields: PartialUpdate[User]
    password: str | None


class UserUpdateBody:
    """The request body of an update; the handler receives a `UserUpdate`."""

    schema = BodySchema(UserWithPassword, _SET_BY_VOXREC | {"name"})
    _fields = PartialUpdateBody(
        User, read_only=_SET_BY_VOXREC | {"name"}, validators=(lambda user, _: user.field_errors(),)
    )

    async def bind(self, request: Request) -> UserUpdate:
        """Return the update. Raises InvalidInput if the password is invalid."""
        document = decode_json_object(request)
        given = {key: document.pop(key) for key in _SECRET & document.keys()}
        values, field_errors = convert_fields(UserWithPassword, given, secret=_SECRET)
        require_no_errors(field_errors)
        return UserUpdate(await self._fields.bind_object(request, document), values.get("password"))


class UserRoutes:
    """Persons who sign in, with a password or at the OpenID Connect provider. Programs use tokens."""

    def __init__(self, users: Users, passwords: Passwords, public_url: str, now: UtcNow) -> None:
        self._users = users
        self._passwords = passwords
        self._public_url = public_url
        self._now = now
        self._paginator = Paginator(users, msgspec.json.encode, public_url)

    def routes(self) -> tuple[Route, ...]:
        """Return the routes."""
        with_representation = partial(
            Route, response_model=User, request_headers=CONDITIONAL, response_headers=ETAG, audit_in_transaction=True
        )
        return (
            Route(
                *("GET", "/users", Role.ADMIN, self._list),
                response_model=list[User],
                query=_FILTERS | PAGINATION,
                response_headers=LINK,
            ),
            Route(
                *("PUT", "/users", Role.ADMIN, self._create),
                body=JsonBody(
                    UserWithPassword,
                    read_only=_SET_BY_VOXREC,
                    secret=_SECRET,
                    required=frozenset({"name", "role", "password"}),
                    initial_values=self._initial_values,
                    validators=(_validate,),
                ),
                response_model=User,
                audit_in_transaction=True,
                response_headers=("ETag", "Location"),
                errors=(Conflict,),
            ),
            with_representation("GET", "/users/<id>", Role.ADMIN, self._get),
            with_representation("POST", "/users/<id>", Role.ADMIN, self._update, body=UserUpdateBody()),
            Route("DELETE", "/users/<id>", Role.ADMIN, self._delete, request_headers=CONDITIONAL),
        )

    async def _list(self, request: Request) -> Response:
        return await self._paginator.respond(request, UserFilter(name=request.query.get("name")))

    async def _create(self, request: Request) -> Response:
        new: UserWithPassword = request.body
        hashed = await self._passwords.hash(new.password)
        hook = transaction_hook(request, self._created)
        return self._created(await self._users.create(new.without_password(), hashed, hook))

    def _created(self, stored: User) -> Response:
        return _REPRESENTATION.created(stored, f"{self._public_url}/users/{stored.id}")

    def _initial_values(self) -> dict[str, Any]:
        # placeholders for required fields, so that a user without them can be checked for other errors too
        placeholders = {"name": "-", "role": Role.READ, "password": "a placeholder"}
        return {**initial_values(self._now), **placeholders}

    async def _get(self, request: Request) -> Response:
        return _REPRESENTATION.retrieved(request, await self._users.get(request.id))

    async def _update(self, request: Request) -> Response:
        """Fields that are not given are not changed.

        A new password, another role, other Profiles and `enabled: false` end the user's sessions, except for the one in
        which users change themselves.
        """
        update: UserUpdate = request.body
        hashed = None
        if update.password is not None:
            user = await self._users.get(request.id)
            require_no_errors(_own_password_errors(user) or password_errors("password", update.password, user.name))
            hashed = await self._passwords.hash(update.password)
        change = partial(self._apply_update, request, update)
        hook = transaction_hook(request, _REPRESENTATION.updated)
        kept_session = request.principal.session_id
        return _REPRESENTATION.updated(await self._users.update(request.id, change, hashed, hook, kept_session))

    def _apply_update(self, request: Request, update: UserUpdate, current: User) -> User:
        changed = apply_update(request, update.fields, current, _REPRESENTATION, self._now)
        if update.password is not None:
            request.audit_details.fields = (*request.audit_details.fields, "password")
        return changed

    async def _delete(self, request: Request) -> Response:
        """All sessions of the user end. The audit log keeps the name of the user."""
        await self._users.delete(request.id, partial(_REPRESENTATION.require_version, request))
        return no_content()


def _validate(user: UserWithPassword, values: Mapping[str, Any]) -> list[FieldError]:
    errors = user.field_errors()
    if "password" in values:
        errors += password_errors("password", user.password, user.name)
    return errors


def _own_password_errors(user: User) -> list[FieldError]:
    if user.is_local:
        return []
    message = f"not allowed: the user signs in at the identity provider {user.issuer}"
    return [FieldError("password", message, FieldErrorCode.SIGNS_IN_ELSEWHERE)]
