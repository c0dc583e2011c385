"""Users: persons who sign in with a password or at an OpenID Connect provider, and their sessions."""

from typing import Annotated, Final
from uuid import UUID

from msgspec import Meta, Struct

from voxrec.error_codes import FieldErrorCode
from voxrec.errors import FieldError
from voxrec.model.fields import Timestamp, doc
from voxrec.model.token import Role, duplicate_profile_errors, name_errors

MIN_PASSWORD_LENGTH: Final = 12  # characters; longer than the 8 of NIST SP 800-63B: few users have a second factor
_MIN_NAME_IN_PASSWORD: Final = 4  # characters; shorter names occur in many good passwords

UserName = Annotated[
    str,
    Meta(
        pattern=r"^[a-z0-9][a-z0-9._@-]{0,63}$",
        description="Name to sign in with, and in the audit log: lower-case letters, digits and `._@-`.",
        examples=["anna.example"],
    ),
]
Password = Annotated[
    str,
    Meta(
        min_length=MIN_PASSWORD_LENGTH,
        max_length=1024,
        description="Password, of which only an Argon2id hash is stored.",
        examples=["correct horse battery staple"],
    ),
]


class User(Struct, frozen=True, kw_only=True, rename="camel"):
    """A person who may sign in, with a name and a password or at the OpenID Connect provider."""

    id: Annotated[UUID, doc("Id of the user.")]
    name: UserName
    role: Role
    profile_ids: Annotated[
        Annotated[tuple[UUID, ...], Meta(min_length=1, max_length=1000)] | None,
        doc("Profiles to which the user is restricted. Null: all Profiles."),
    ] = None
    enabled: Annotated[bool, doc("Whether the user may sign in. Disabling a user ends all sessions of the user.")] = (
        True
    )
    issuer: Annotated[
        str | None,
        doc("The OpenID Connect provider at which the user signs in. Null: the user signs in with a password."),
    ] = None
    subject: Annotated[str | None, doc("Identifier of the user at that provider (claim `sub`).")] = None
    second_factor: Annotated[bool, doc("Whether the user enters a code besides the password.")] = False
    listen_live: Annotated[
        bool, doc("Whether the user may listen to live calls. No role includes this permission.")
    ] = False
    created_at: Annotated[Timestamp, doc("Time of creation.")]
    updated_at: Annotated[Timestamp, doc("Time of the last change.")]

    @property
    def is_local(self) -> bool:
        """Whether the user signs in with a password, and not at a provider."""
        return self.subject is None

    def field_errors(self) -> list[FieldError]:
        """Check what the types of the fields cannot express."""
        errors = name_errors(self.name)
        ids = self.profile_ids or ()
        if ids and self.role is Role.ADMIN:
            message = "not allowed for the role admin, which can change its own limits"
            errors.append(FieldError("profileIds", message, FieldErrorCode.ROLE_WITHOUT_LIMITS))
        return [*errors, *duplicate_profile_errors(ids)]


class Session(Struct, frozen=True, kw_only=True, rename="camel"):
    """A session of a user, from signing in until signing out, without the secret in its cookie."""

    id: Annotated[UUID, doc("Id of the session.")]
    user_id: Annotated[UUID, doc("The user who signed in.")]
    created_at: Annotated[Timestamp, doc("Time at which the user signed in.")]
    last_used_at: Annotated[Timestamp, doc("Time of the last request, accurate to a minute.")]
    expires_at: Annotated[Timestamp, doc("Time at which the session ends, however much it is used.")]
    address: Annotated[str, doc("IP address from which the user signed in.")]
    user_agent: Annotated[str, doc("The browser, as it describes itself.")]


def password_errors(key: str, password: str, name: str) -> list[FieldError]:
    """Return what is wrong with a new password of the user ``name``, apart from its length; ``key`` is its field."""
    if len(name) >= _MIN_NAME_IN_PASSWORD and name in password.lower():
        return [FieldError(key, "must not contain the name of the user", FieldErrorCode.CONTAINS_NAME)]
    return []
