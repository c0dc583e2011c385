"""Validation of fields that several resources have, beyond their types."""

from collections.abc import Collection, Mapping
from typing import Any
from uuid import UUID

from voxrec.error_codes import FieldErrorCode
from voxrec.errors import FieldError, NotFound
from voxrec.store.profiles import Profiles
from voxrec.web.auth import Scoped
from voxrec.web.request import Request


async def validate_id(_request: Request, values: Mapping[str, Any]) -> list[FieldError]:
    """Return an error if the client-generated id in a request is not random."""
    return uuid4_errors("id", values.get("id"))


def format_errors(field: str, name: str | None, formats: Collection[str]) -> list[FieldError]:
    """Return an error if an audio format is not one of ``formats``."""
    if name is None or name in formats:
        return []
    message = f"unknown format {name!r}; expected one of {', '.join(formats)}"
    return [FieldError(field, message, FieldErrorCode.NOT_ONE_OF, {"allowed": list(formats)})]


def uuid4_errors(field: str, value: UUID | None) -> list[FieldError]:
    """Return an error if a client-generated id is not random (RFC 9562 section 5.4).

    Other versions reveal when and where they were generated.
    """
    if value is None or value.version == 4:
        return []
    return [FieldError(field, "must be a UUID of version 4", FieldErrorCode.NOT_A_RANDOM_UUID)]


class ProfileExists:
    """Validates ``profileId``: the Profile exists and is visible to the client."""

    def __init__(self, profiles: Scoped[Profiles]) -> None:
        self._profiles = profiles

    async def __call__(self, request: Request, values: Mapping[str, Any]) -> list[FieldError]:
        """Return the error, if there is one."""
        profile_id: UUID | None = values.get("profile_id")
        if profile_id is None:
            return []
        try:
            await self._profiles.visible_to(request.principal).get(profile_id)
        except NotFound as error:
            params = {"value": str(profile_id)}
            return [FieldError("profileId", error.detail, FieldErrorCode.DOES_NOT_EXIST, params)]
        return []
