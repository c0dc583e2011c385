"""Errors about the Profiles that other objects name: they must exist when the object is stored."""

from collections.abc import Collection
from typing import Final
from uuid import UUID

from voxrec.error_codes import FieldErrorCode
from voxrec.errors import FieldError, InvalidInput
from voxrec.postgres.transaction import Transaction

_SELECT_UNKNOWN_PROFILES: Final = """
    SELECT id FROM unnest(%s::uuid[]) WITH ORDINALITY AS requested (id, position)
    WHERE NOT EXISTS (SELECT FROM profiles WHERE profiles.id = requested.id)
    ORDER BY position
"""


async def require_profiles(transaction: Transaction, profile_ids: Collection[UUID] | None, resource: str) -> None:
    """Raise InvalidInput if the limit of a ``resource``, such as "token", names Profiles that do not exist."""
    rows = await transaction.query(_SELECT_UNKNOWN_PROFILES, (list(profile_ids or ()),))
    if rows:
        field_errors = [
            FieldError(
                *("profileIds", f"there is no profile {profile_id}"),
                FieldErrorCode.DOES_NOT_EXIST,
                {"value": str(profile_id)},
            )
            for (profile_id,) in rows
        ]
        raise InvalidInput(f"The {resource} would be limited to profiles that do not exist.", field_errors)


def unknown_profile(resource: str, profile_id: UUID | None) -> InvalidInput:
    """Return the error of a ``resource`` whose Profile does not exist, or that must have one."""
    if profile_id is None:
        message = "is required: the token is limited to some profiles"
        field_error = FieldError("profileId", message, FieldErrorCode.REQUIRED)
    else:
        message, params = f"profile {profile_id} does not exist", {"value": str(profile_id)}
        field_error = FieldError("profileId", message, FieldErrorCode.DOES_NOT_EXIST, params)
    return InvalidInput(f"The {resource} has an invalid profile.", [field_error])
