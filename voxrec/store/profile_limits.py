"""The Profiles to which a token or a user is limited: they must exist when the limit is stored."""

from collections.abc import Collection
from typing import Final
from uuid import UUID

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
        field_errors = [FieldError("profileIds", f"there is no profile {profile_id}") for (profile_id,) in rows]
        raise InvalidInput(f"The {resource} would be limited to profiles that do not exist.", field_errors)
