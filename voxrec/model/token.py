"""Access tokens of the REST API, and their roles."""

import enum
from typing import Annotated, Final
from uuid import UUID

from msgspec import Meta, Struct

from voxrec.errors import FieldError
from voxrec.model.fields import TRIMMED_TEXT, Timestamp, doc, duplicates


class Role(enum.StrEnum):
    """Permissions of a token. ``provision`` includes ``read``; ``admin`` includes both."""

    READ = "read"
    PROVISION = "provision"
    ADMIN = "admin"

    def includes(self, required: "Role") -> bool:
        """Whether this role has all permissions of ``required``."""
        roles = tuple(Role)
        return roles.index(self) >= roles.index(required)


class Token(Struct, frozen=True, kw_only=True, rename="camel"):
    """An access token of the REST API, without its secret."""

    id: Annotated[UUID, doc("Id of the token.")]
    name: Annotated[
        str, Meta(min_length=1, max_length=255, pattern=TRIMMED_TEXT, description="Name of the client that uses it.")
    ]
    role: Role
    profile_ids: Annotated[
        Annotated[tuple[UUID, ...], Meta(min_length=1, max_length=1000)] | None,
        doc("Profiles to which the token is restricted. Null: all Profiles."),
    ] = None
    expires_at: Annotated[Timestamp | None, doc("Time at which the token expires. Null: never.")] = None
    created_at: Annotated[Timestamp, doc("Time of creation.")]
    revoked_at: Annotated[Timestamp | None, doc("Time at which the token was revoked.")] = None

    def field_errors(self) -> list[FieldError]:
        """Check what the types of the fields of a new token cannot express."""
        return [error for check in _TOKEN_CHECKS for error in check(self)]


def _check_expiry(token: Token) -> list[FieldError]:
    if token.expires_at is None:
        return []
    if token.expires_at.tzinfo is None:
        return [FieldError("expiresAt", "has no UTC offset, such as Z")]
    if token.expires_at <= token.created_at:
        return [FieldError("expiresAt", "is not in the future")]
    return []


def _check_profile_ids(token: Token) -> list[FieldError]:
    ids = token.profile_ids or ()
    if ids and token.role is Role.ADMIN:
        return [FieldError("profileIds", "not allowed for the role admin, which can create unrestricted tokens")]
    return [FieldError("profileIds", f"duplicate id {profile_id}") for profile_id in duplicates(ids)]


_TOKEN_CHECKS: Final = (_check_expiry, _check_profile_ids)
