"""Validation of Profiles beyond their types: against the settings of this installation and the stored data."""

from collections.abc import Awaitable, Callable, Collection, Iterator, Mapping
from typing import Any
from uuid import UUID

from voxrec import sipuri
from voxrec.api.field_validation import format_errors, uuid4_errors
from voxrec.audio.formats import FORMATS
from voxrec.error_codes import FieldErrorCode
from voxrec.errors import FieldError
from voxrec.model import Profile, RecordChannels
from voxrec.web.request import Request

PromptExists = Callable[[UUID], Awaitable[bool]]


class ProfileValidator:
    """Validates fields of Profiles.

    Only the fields of a request are validated, so that a Profile stored under other settings can still be changed.
    """

    def __init__(self, allowed_hosts: tuple[str, ...], formats: Collection[str], prompt_exists: PromptExists) -> None:
        self._allowed_hosts = allowed_hosts
        self.formats = formats
        self._prompt_exists = prompt_exists

    def set_allowed_hosts(self, allowed_hosts: tuple[str, ...]) -> None:
        """Change the hosts that the remoteSipUri of a request may name."""
        self._allowed_hosts = allowed_hosts

    async def validate_values(self, request: Request, values: Mapping[str, Any]) -> list[FieldError]:
        """Return the errors in ``values``, which are of the right types, by attribute name."""
        field_errors = [
            *self._remote_sip_uri_errors(values),
            *format_errors("recordFormat", values.get("record_format"), self.formats),
            *uuid4_errors("id", values.get("id")),
            *_archive_errors(request, values),
        ]
        prompt_id = values.get("record_prompt_custom_id")
        if prompt_id_errors := uuid4_errors("recordPromptCustomId", prompt_id):
            return [*field_errors, *prompt_id_errors]
        if prompt_id is not None and not await self._prompt_exists(prompt_id):
            message, params = f"prompt {prompt_id} does not exist", {"value": str(prompt_id)}
            field_errors.append(FieldError("recordPromptCustomId", message, FieldErrorCode.DOES_NOT_EXIST, params))
        return field_errors

    def _remote_sip_uri_errors(self, values: Mapping[str, Any]) -> Iterator[FieldError]:
        try:
            host = sipuri.parse(values.get("remote_sip_uri") or "").host
        except sipuri.SipUriError:
            return  # Profile.field_errors reports it
        if not sipuri.is_host_allowed(host, self._allowed_hosts):
            message = f"host {host!r} is not one of the allowed hosts in the settings"
            yield FieldError("remoteSipUri", message, FieldErrorCode.HOST_NOT_ALLOWED)


def _archive_errors(request: Request, values: Mapping[str, Any]) -> list[FieldError]:
    """Return errors if a client that is limited to some Profiles names a bucket, which may be that of others."""
    if request.principal.profile_ids is None:
        return []
    return [
        FieldError(key, "may be set only by clients with access to all Profiles", FieldErrorCode.NOT_PERMITTED)
        for name, key in (("archive_bucket", "archiveBucket"), ("archive_prefix", "archivePrefix"))
        if values.get(name) is not None
    ]


def validate_profile(profile: Profile, values: Mapping[str, Any]) -> list[FieldError]:
    """Return the errors of a complete Profile; ``values`` are the attributes in the request."""
    # earlier versions stored webhookUrls that are not called; they must not prevent other changes
    unchanged = () if "webhook_url" in values else ("webhookUrl",)
    return [
        *(error for error in profile.field_errors() if error.field not in unchanged),
        *channel_errors(values, profile),
    ]


def channel_errors(names: Collection[str], profile: Profile) -> list[FieldError]:
    """Return the errors of a Profile that records two channels in a format that holds one.

    Nothing is reported unless ``names``, the attributes in the request, include one of the two fields.
    """
    audio_format = FORMATS.get(profile.record_format)
    if (
        not {"record_format", "record_channels"}.intersection(names)
        or audio_format is None
        or audio_format.channels > 1
        or profile.record_channels is not RecordChannels.DUAL
    ):
        return []
    allowed = [name for name, other in FORMATS.items() if other.channels > 1]
    return [
        FieldError(
            "recordFormat",
            f"{audio_format.name!r} holds one channel; with recordChannels dual, expected one of {', '.join(allowed)}",
            FieldErrorCode.ONE_CHANNEL_FORMAT,
            {"format": audio_format.name, "allowed": allowed},
        ),
        FieldError(
            "recordChannels",
            f"dual is not supported by recordFormat {audio_format.name!r}; expected mono",
            FieldErrorCode.ONE_CHANNEL_FORMAT,
            {"format": audio_format.name, "allowed": allowed},
        ),
    ]
