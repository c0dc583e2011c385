"""Profiles: the far end of a call, and how the call is recorded."""

import enum
from datetime import datetime, timedelta
from typing import Annotated, Final

from msgspec import Meta, Struct

from voxrec import sipuri
from voxrec.clock import is_time_zone
from voxrec.error_codes import FieldErrorCode
from voxrec.errors import FieldError
from voxrec.mailaddress import MailAddressError, check_mail_address
from voxrec.model.fields import (
    MAX_NUMBERS,
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
    doc,
    duplicates,
    metadata_errors,
    url_errors,
)
from voxrec.model.recipient_certificate import MailEncryption


class RecordChannels(enum.StrEnum):
    """Audio channels of a Recording.

    - ``mono``: both parties mixed
    - ``dual``: the caller left, the far end right
    """

    MONO = "mono"
    DUAL = "dual"


class MailContent(enum.StrEnum):
    """What a mail about a Recording contains besides the facts.

    - ``attachment``: the audio; if it is too large, a smaller copy, or only a link
    - ``link``: a link
    - ``notice``: neither
    """

    ATTACHMENT = "attachment"
    LINK = "link"
    NOTICE = "notice"


class RecordPrompt(enum.StrEnum):
    """The announcement that both parties hear before they are connected.

    - ``none``: no announcement
    - ``default``: the sound in the settings
    - ``custom``: the Prompt ``recordPromptCustomId``
    """

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

    id: Annotated[Uuid4, doc("Id of the Profile, a UUID of version 4. A caller can dial it.")]
    name: Annotated[Text255 | None, doc("Name for people.")] = None
    email: Annotated[Email | None, doc("Recipients of the mail with each completed Recording. Null: no mail.")] = None
    mail_content: Annotated[MailContent, doc("Whether mails contain the audio or a link.")] = MailContent.ATTACHMENT
    mail_encryption: Annotated[
        MailEncryption | None, doc("When mails are encrypted to recipientCertificates. Null: as in the settings.")
    ] = None
    mail_template: Annotated[
        Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9_-]{0,62}$")] | None,
        doc("Name of the set of templates of mails: a directory in mail.templates. Null: those of the installation."),
    ] = None
    time_zone: Annotated[
        Annotated[str, Meta(min_length=1, max_length=64, extra_json_schema={"format": "time-zone"})] | None,
        doc("Time zone of the times in mails, such as Europe/Berlin. Null: the one in the settings."),
    ] = None
    remote_sip_uri: Annotated[
        RemoteSipUri | None, doc("SIP URI of the far end that voxrec calls. Null: callers receive 480.")
    ] = None
    numbers: PhoneNumbers = ()
    record: Annotated[bool, doc("Whether calls are recorded.")] = False
    record_format: Annotated[Annotated[str, Meta(min_length=1, max_length=12)], doc("Format of the stored audio.")] = (
        "wav"
    )
    record_channels: Annotated[RecordChannels, doc("Audio channels of the stored audio.")] = RecordChannels.MONO
    record_beep_at_start: Annotated[bool, doc("Whether both parties hear a beep when the recording starts.")] = True
    record_beep_interval: Annotated[Seconds, doc("Seconds between beeps during the recording. 0: none.")] = 0
    record_beep_in_recording: Annotated[
        bool, doc("Whether the beeps are also in the recorded audio of the far end.")
    ] = False
    record_prompt: Annotated[RecordPrompt, doc("Announcement before the parties are connected.")] = RecordPrompt.NONE
    record_prompt_custom_id: Annotated[Uuid4 | None, doc("Id of the Prompt to play if recordPrompt is custom.")] = None
    record_prompt_required: Annotated[
        bool, doc("Whether audio is discarded if the announcement could not be played completely.")
    ] = False
    record_prompt_on_transfer: Annotated[
        bool, doc("Whether parties that join a recorded call by a transfer hear the announcement, too.")
    ] = True
    record_pause_code: Annotated[
        DtmfCode | None, doc("DTMF code that pauses the recording, and resumes it if recordResumeCode is null.")
    ] = None
    record_resume_code: Annotated[DtmfCode | None, doc("DTMF code that resumes the recording.")] = None
    max_duration_seconds: Annotated[
        PositiveSeconds | None, doc("Duration after which the recording ends while the call continues. Null: no limit.")
    ] = None
    min_duration_seconds: Annotated[Seconds, doc("Duration below which audio is discarded.")] = 0
    max_call_seconds: Annotated[
        PositiveSeconds | None, doc("Duration after which voxrec ends a call. Null: the limit in the settings.")
    ] = None
    ring_timeout_seconds: Annotated[
        Annotated[int, Meta(ge=1, le=600)] | None,
        doc("Time that the far end may ring. Null: the limit in the settings."),
    ] = None
    max_calls: Annotated[
        Annotated[int, Meta(ge=1, le=100_000)] | None,
        doc("Number of simultaneous calls; further callers receive 486. Null: no limit."),
    ] = None
    language: Language | None = None
    webhook_url: Annotated[
        WebhookUrl | None, doc("URL that receives the events of this Profile: a webhook, listed in /webhooks.")
    ] = None
    retention_days: Annotated[
        Annotated[int, Meta(ge=1, le=36500)] | None, doc("Days after which a Recording is deleted. Null: never.")
    ] = None
    archive_bucket: Annotated[
        Annotated[str, Meta(pattern=r"^[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]$")] | None,
        doc("S3 bucket of the Recordings, if voxrec has an S3 archive. Null: the bucket in the settings."),
    ] = None
    archive_prefix: Annotated[
        Annotated[str, Meta(max_length=255, pattern=r"^([A-Za-z0-9!_.*'()-]+/)*$")] | None,
        doc(
            "What the keys of the Recordings in S3 begin with: names that end with a slash. Null: the prefix in the "
            "settings."
        ),
    ] = None
    metadata: Metadata = {}
    created_at: Annotated[Timestamp, doc("Time of creation.")]
    updated_at: Annotated[Timestamp, doc("Time of the last change.")]

    def field_errors(self) -> list[FieldError]:
        """Check what the types of the fields cannot express."""
        return [error for check in _PROFILE_CHECKS for error in check(self)]

    def expiry(self, began: datetime) -> datetime | None:
        """Return when the Recording of a call that began at this time expires; None: never."""
        return None if self.retention_days is None else began + timedelta(days=self.retention_days)


def _check_email(profile: Profile) -> list[FieldError]:
    errors = []
    for address in map(str.strip, profile.email.split(",") if profile.email is not None else ()):
        try:
            check_mail_address(address)
        except MailAddressError as error:
            errors.append(
                FieldError.of(
                    "email",
                    error,
                    f"invalid email address {address!r}: it {error}; expected one address, or several separated by "
                    "commas",
                )
            )
    return errors


def _check_remote_sip_uri(profile: Profile) -> list[FieldError]:
    if profile.remote_sip_uri is None:
        return []
    try:
        sipuri.parse(profile.remote_sip_uri)
    except sipuri.SipUriError as error:
        message = f"invalid SIP URI {profile.remote_sip_uri!r}: it {error}"
        return [FieldError.of("remoteSipUri", error, message)]
    return []


def _check_numbers(profile: Profile) -> list[FieldError]:
    if len(profile.numbers) > MAX_NUMBERS:
        message = f"has {len(profile.numbers)} numbers; at most {MAX_NUMBERS} are allowed"
        return [FieldError("numbers", message, FieldErrorCode.TOO_MANY, {"maximum": MAX_NUMBERS})]
    return [
        *(
            FieldError("numbers", f"duplicate number {number}", FieldErrorCode.DUPLICATE, {"value": number})
            for number in duplicates(profile.numbers)
        ),
        # in Python, unlike in JSON Schema, "$" also matches before a trailing line feed
        *(
            FieldError("numbers", f"{number!r} ends with a line feed", FieldErrorCode.WRONG_FORMAT, {"example": ""})
            for number in profile.numbers
            if "\n" in number
        ),
    ]


def _check_prompt(profile: Profile) -> list[FieldError]:
    if profile.record_prompt is RecordPrompt.CUSTOM and profile.record_prompt_custom_id is None:
        message = "required if recordPrompt is custom: the id of a prompt"
        return [FieldError("recordPromptCustomId", message, FieldErrorCode.REQUIRED)]
    return []


def _check_codes(profile: Profile) -> list[FieldError]:
    if profile.record_resume_code is not None and profile.record_pause_code is None:
        params = {"other": "recordPauseCode"}
        return [FieldError("recordResumeCode", "requires recordPauseCode", FieldErrorCode.REQUIRES, params)]
    return []


def _check_durations(profile: Profile) -> list[FieldError]:
    maximum = profile.max_duration_seconds
    if maximum is not None and profile.min_duration_seconds > maximum:
        message = f"is greater than maxDurationSeconds, which is {maximum}"
        params = {"other": "maxDurationSeconds", "maximum": maximum}
        return [FieldError("minDurationSeconds", message, FieldErrorCode.GREATER_THAN, params)]
    return []


def _check_webhook(profile: Profile) -> list[FieldError]:
    return [] if profile.webhook_url is None else url_errors("webhookUrl", profile.webhook_url)


def _check_line_ends(profile: Profile) -> list[FieldError]:
    # in Python, unlike in JSON Schema, "$" also matches before a trailing line feed
    return [
        FieldError(name, f"{value!r} ends with a line feed", FieldErrorCode.WRONG_FORMAT, {"example": ""})
        for name, value in (
            ("archiveBucket", profile.archive_bucket),
            ("archivePrefix", profile.archive_prefix),
            ("mailTemplate", profile.mail_template),
        )
        if value is not None and value.endswith("\n")
    ]


def _check_time_zone(profile: Profile) -> list[FieldError]:
    if profile.time_zone is None or is_time_zone(profile.time_zone):
        return []
    message = f"unknown time zone {profile.time_zone!r}; expected a name such as Europe/Berlin"
    return [FieldError("timeZone", message, FieldErrorCode.UNKNOWN_TIME_ZONE, {"value": profile.time_zone})]


def _check_metadata(profile: Profile) -> list[FieldError]:
    return metadata_errors(profile.metadata)


_PROFILE_CHECKS: Final = (
    _check_email,
    _check_time_zone,
    _check_remote_sip_uri,
    _check_numbers,
    _check_prompt,
    _check_codes,
    _check_durations,
    _check_webhook,
    _check_line_ends,
    _check_metadata,
)
