"""Profiles: the far end of a call, and how the call is recorded."""

import enum
from typing import Annotated, Final

from msgspec import Meta, Struct

from voxrec import sipuri
from voxrec.errors import FieldError
from voxrec.model.fields import (
    HTTP_URL,
    MAIL_ADDRESS,
    DtmfCode,
    Email,
    Language,
    Metadata,
    PhoneNumbers,
    PositiveSeconds,
    RemoteSipUri,
    Seconds,
    Text255,
    Timestamp,
    Uuid4,
    WebhookUrl,
    metadata_errors,
)


class RecordChannels(enum.StrEnum):
    """Audio channels of a Recording: both parties mixed, or the caller left and the far end right."""

    MONO = "mono"
    DUAL = "dual"


class RecordPrompt(enum.StrEnum):
    """The announcement that both parties hear before they are connected."""

    NONE = "none"
    DEFAULT = "default"
    CUSTOM = "custom"


def mail_addresses(email: str | None) -> tuple[str, ...]:
    """Split the ``email`` of a Profile, which may contain several addresses separated by commas."""
    return tuple(filter(None, (part.strip() for part in (email or "").split(","))))


# gc=False: fields from JSON cannot form reference cycles, and a full collection that visits every cached Profile would
# block the reactor.
class Profile(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """The far end to call, and the recording settings, for a dialled Profile id or number."""

    id: Uuid4
    name: Text255 | None = None
    email: Email | None = None
    remote_sip_uri: RemoteSipUri | None = None
    numbers: PhoneNumbers = ()
    record: bool = False
    record_format: Annotated[str, Meta(min_length=1, max_length=12)] = "wav"
    record_channels: RecordChannels = RecordChannels.MONO
    record_beep_at_start: bool = True
    record_beep_interval: Seconds = 0
    record_beep_in_recording: bool = False
    record_prompt: RecordPrompt = RecordPrompt.NONE
    record_prompt_custom_id: Uuid4 | None = None
    record_prompt_required: bool = False
    record_pause_code: DtmfCode | None = None
    record_resume_code: DtmfCode | None = None
    max_duration_seconds: PositiveSeconds | None = None
    min_duration_seconds: Seconds = 0
    max_call_seconds: PositiveSeconds | None = None
    ring_timeout_seconds: Annotated[int, Meta(ge=1, le=600)] | None = None
    max_calls: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    language: Language | None = None
    webhook_url: WebhookUrl | None = None
    retention_days: Annotated[int, Meta(ge=1, le=36500)] | None = None
    metadata: Metadata = {}
    created_at: Timestamp
    updated_at: Timestamp

    def field_errors(self) -> list[FieldError]:
        """Check what the types of the fields cannot express."""
        return [error for check in _PROFILE_CHECKS for error in check(self)]


def _check_email(profile: Profile) -> list[FieldError]:
    if profile.email is None:
        return []
    return [
        FieldError("email", f"invalid email address {address!r}; expected one address, or several separated by commas")
        for address in map(str.strip, profile.email.split(","))
        if not MAIL_ADDRESS.fullmatch(address)
    ]


def _check_remote_sip_uri(profile: Profile) -> list[FieldError]:
    if profile.remote_sip_uri is None:
        return []
    try:
        sipuri.parse(profile.remote_sip_uri)
    except sipuri.SipUriError as error:
        return [FieldError("remoteSipUri", f"invalid SIP URI {profile.remote_sip_uri!r}: it {error}")]
    return []


def _check_numbers(profile: Profile) -> list[FieldError]:
    duplicates = sorted({number for number in profile.numbers if profile.numbers.count(number) > 1})
    return [
        *(FieldError("numbers", f"duplicate number {number}") for number in duplicates),
        # in Python, unlike in JSON Schema, "$" also matches before a trailing line feed
        *(FieldError("numbers", f"{number!r} ends with a line feed") for number in profile.numbers if "\n" in number),
    ]


def _check_prompt(profile: Profile) -> list[FieldError]:
    if profile.record_prompt is RecordPrompt.CUSTOM and profile.record_prompt_custom_id is None:
        return [FieldError("recordPromptCustomId", "required if recordPrompt is custom: the id of a prompt")]
    return []


def _check_codes(profile: Profile) -> list[FieldError]:
    if profile.record_resume_code is not None and profile.record_pause_code is None:
        return [FieldError("recordResumeCode", "requires recordPauseCode")]
    return []


def _check_durations(profile: Profile) -> list[FieldError]:
    maximum = profile.max_duration_seconds
    if maximum is not None and profile.min_duration_seconds > maximum:
        return [FieldError("minDurationSeconds", f"is greater than maxDurationSeconds, which is {maximum}")]
    return []


def _check_webhook(profile: Profile) -> list[FieldError]:
    if profile.webhook_url is None or HTTP_URL.fullmatch(profile.webhook_url):
        return []
    return [FieldError("webhookUrl", f"invalid URL {profile.webhook_url!r}; expected an http:// or https:// URL")]


def _check_metadata(profile: Profile) -> list[FieldError]:
    return metadata_errors(profile.metadata)


_PROFILE_CHECKS: Final = (
    _check_email,
    _check_remote_sip_uri,
    _check_numbers,
    _check_prompt,
    _check_codes,
    _check_durations,
    _check_webhook,
    _check_metadata,
)
