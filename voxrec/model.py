"""The domain types that all packages share: Profile, Recording, Call, Event, Job, Prompt, Token, AuditEntry.

The REST API represents them as JSON with the same fields in camel case, and generates its JSON Schema and descriptions
from them: docstrings use the JSON names of fields, and a constraint is declared once, in the type of the field.
"""

import enum
import re
from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Meta, Struct

from voxrec import sipuri
from voxrec.errors import FieldError

E164: Final = r"^\+[1-9][0-9]{1,14}$"  # ITU-T E.164: at most 15 digits
# no control characters, no white space at the ends
TRIMMED_TEXT: Final = r"^[^\x00-\x20\x7f-\xa0](?:[^\x00-\x1f\x7f-\x9f]*[^\x00-\x20\x7f-\xa0])?$(?!\n)"
METADATA_LIMIT: Final = 8192  # bytes of JSON
_HTTP_URL = re.compile(r"^https?://[!-~]+$")
_MAIL_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")

# ``extra_json_schema`` expresses in JSON Schema what ``field_errors()`` checks.
_NO_NUL: Final = r"^[^\u0000]*$"  # PostgreSQL cannot store NUL
Text255 = Annotated[str, Meta(max_length=255, extra_json_schema={"pattern": _NO_NUL})]
Uuid4 = Annotated[
    UUID,
    Meta(
        extra_json_schema={
            "pattern": "^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-4[0-9a-fA-F]{3}-[89abAB][0-9a-fA-F]{3}-[0-9a-fA-F]{12}$"
        }
    ),
]
Email = Annotated[
    str,
    Meta(
        max_length=255,
        description="One email address, or several separated by commas.",
        examples=["desk@example.org, archive@example.org"],
        extra_json_schema={"pattern": rf"^\s*{_MAIL_ADDRESS.pattern}\s*(?:,\s*{_MAIL_ADDRESS.pattern}\s*)*$"},
    ),
]
RemoteSipUri = Annotated[
    str,
    Meta(
        max_length=sipuri.MAX_LENGTH,
        description="The SIP URI of the far end to call (RFC 3261 section 19.1.1), without headers.",
        examples=["sip:desk@pbx.example:5061;transport=tls"],
        extra_json_schema={"format": "sip-uri"},
    ),
]
WebhookUrl = Annotated[
    str,
    Meta(max_length=2048, examples=["https://crm.example/calls"], extra_json_schema={"pattern": _HTTP_URL.pattern}),
]
PhoneNumbers = Annotated[
    tuple[Annotated[str, Meta(pattern=E164, examples=["+4930123456"])], ...],
    Meta(
        description="Dialled numbers (E.164) that also select this Profile. A number belongs to one Profile only.",
        extra_json_schema={"uniqueItems": True},
    ),
]
Metadata = Annotated[
    dict[str, Any],
    Meta(
        description="Custom data of the client, at most 8 KiB as JSON.",
        extra_json_schema={"examples": [{"customer": "42"}]},
    ),
]
Timestamp = Annotated[datetime, Meta(tz=True)]
Seconds = Annotated[int, Meta(ge=0, le=86400)]
PositiveSeconds = Annotated[int, Meta(ge=1, le=86400)]
DtmfCode = Annotated[
    str, Meta(pattern=r"^[0-9*#]{1,8}$", description="DTMF digits that a party dials.", examples=["*1"])
]
Language = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z]{2,3}([_-][A-Za-z0-9]{2,8})*$",
        max_length=20,
        description="Language of the announcements, if Asterisk has its sounds in this language.",
        examples=["de", "pt_BR"],
    ),
]
Cause = Annotated[int, Meta(description="Q.850 cause code.", extra_json_schema={"minimum": 0, "maximum": 127})]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]


class RecordChannels(enum.StrEnum):
    """Audio channels of a Recording: both parties mixed, or the caller left and the far end right."""

    MONO = "mono"
    DUAL = "dual"


class RecordPrompt(enum.StrEnum):
    """The announcement that both parties hear before they are connected."""

    NONE = "none"
    DEFAULT = "default"
    CUSTOM = "custom"


class RecordingState(enum.StrEnum):
    """State of a Recording. ``completed``, ``failed`` and ``absent`` are final."""

    PENDING = "pending"  # created by REST; its audio has not been uploaded yet
    RECORDING = "recording"
    PAUSED = "paused"
    PROCESSING = "processing"  # the call has ended; the audio file is being produced
    COMPLETED = "completed"
    FAILED = "failed"
    ABSENT = "absent"  # no audio is stored; the verdict contains the reason

    @property
    def live(self) -> bool:
        """Whether the call is in progress."""
        return self in (RecordingState.RECORDING, RecordingState.PAUSED)


class Side(enum.StrEnum):
    """A party of a call: the caller (left channel) or the far end (right channel)."""

    CALLER = "caller"
    CALLEE = "callee"


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
        if not _MAIL_ADDRESS.fullmatch(address)
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
    if profile.webhook_url is None or _HTTP_URL.fullmatch(profile.webhook_url):
        return []
    return [FieldError("webhookUrl", f"invalid URL {profile.webhook_url!r}; expected an http:// or https:// URL")]


def _check_metadata(profile: Profile) -> list[FieldError]:
    return metadata_errors(profile.metadata)


def metadata_errors(metadata: dict[str, Any]) -> list[FieldError]:
    """Return an error if ``metadata`` is larger than `METADATA_LIMIT` bytes as JSON."""
    size = len(msgspec.json.encode(metadata))
    if size <= METADATA_LIMIT:
        return []
    return [FieldError("metadata", f"is {size} bytes as JSON; at most {METADATA_LIMIT} are allowed")]


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


class PauseBehavior(enum.StrEnum):
    """How a Recording represents the time during which it was paused. No audio of that time is stored."""

    SILENCE = "silence"  # as silence: the Recording is as long as the call
    SKIP = "skip"  # not at all: the Recording is shorter than the call


class TimelineEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event of a call, ``at`` seconds after the answer. ``by`` is the party that caused it, if known."""

    at: float
    event: str
    by: str | None = None
    detail: str | None = None


class SideVerdict(Struct, frozen=True, kw_only=True, rename="camel"):
    """Analysis of the audio of one party.

    ``speechSeconds`` is the time above the speech threshold; ``levelDbfs`` is the RMS level in dBFS, null for digital
    silence; ``clipped`` is true if samples reached full scale.
    """

    speech_seconds: float
    level_dbfs: float | None
    clipped: bool


class Verdict(Struct, frozen=True, kw_only=True, rename="camel"):
    """Result of the checks of a finished Recording.

    ``ok`` is true if there are no ``reasons``. ``repaired`` means that the header of an audio file had to be restored,
    ``truncated`` that the audio of a party is shorter than the call.
    """

    ok: bool
    reasons: tuple[str, ...] = ()
    caller: SideVerdict | None = None
    callee: SideVerdict | None = None
    repaired: bool = False
    truncated: bool = False


class Recording(Struct, frozen=True, kw_only=True, rename="camel"):
    """The recording of one call, or imported audio.

    ``from`` and ``fromName`` identify the caller, ``to`` is the dialled number or id. ``duration`` is in seconds,
    ``size`` in bytes, ``hangupCause`` is a Q.850 cause code. ``minDurationSeconds`` is the value of the Profile when
    the call began; shorter audio is not stored.
    """

    id: Uuid4
    profile_id: UUID
    call_id: UUID | None = None
    state: RecordingState
    format: str = "wav"
    channels: Literal[1, 2] = 1
    started_at: Timestamp | None = None
    ended_at: Timestamp | None = None
    duration: float | None = None
    size: int | None = None
    sha256: Sha256 | None = None
    from_: Text255 | None = msgspec.field(default=None, name="from")
    from_name: Text255 | None = None
    to: Text255 | None = None
    remote_sip_uri: Text255 | None = None
    hangup_cause: Cause | None = None
    timeline: tuple[TimelineEntry, ...] = ()
    verdict: Verdict | None = None
    metadata: Metadata = {}
    legal_hold: bool = False
    expires_at: Timestamp | None = None
    min_duration_seconds: Seconds = 0
    path: str | None = None  # relative to the archive; not part of the REST representation
    created_at: Timestamp
    updated_at: Timestamp


LEG_SUFFIXES: Final = ("wav", "wav16")  # of the files that Asterisk records: 16-bit samples at 8 kHz or 16 kHz


def leg_name(recording_id: UUID, side: Side) -> str:
    """Return the name of the file, without suffix, to which Asterisk records one party.

    It is derived from the id, so that a file can be attributed to its Recording without a row or an event.
    """
    return f"voxrec-{recording_id}-{side}"


class CallState(enum.StrEnum):
    """State of a live call."""

    NEW = "new"
    PLACING = "placing"  # the outgoing leg is being created
    RINGING = "ringing"  # the far end is being called
    CONNECTING = "connecting"  # the far end has answered; the recording is being started
    ANNOUNCING = "announcing"
    TALKING = "talking"
    CLEARING = "clearing"  # the call has ended; its channels are being hung up and its files closed
    OVER = "over"


class Call(Struct, frozen=True, kw_only=True, rename="camel"):
    """A live call.

    ``age`` is the number of seconds since the call arrived. ``from`` and ``fromName`` identify the caller, ``to`` is
    the dialled number or id; ``answeredAt`` is the time at which the far end answered. ``hangupCause`` (a Q.850 cause
    code) and ``hangupBy`` (``caller``, ``callee`` or ``voxrec``) are set when the call has ended.
    """

    id: UUID
    profile_id: UUID
    state: CallState
    age: float
    from_: Text255 | None = msgspec.field(default=None, name="from")
    from_name: Text255 | None = None
    to: Text255
    remote_sip_uri: Text255 | None = None
    started_at: datetime
    answered_at: datetime | None = None
    ended_at: datetime | None = None
    hangup_cause: int | None = None
    hangup_by: str | None = None
    recording_id: UUID | None = None
    recording_state: RecordingState | None = None

    @property
    def created_at(self) -> datetime:
        """The sort key of lists: the time at which the call arrived."""
        return self.started_at


class EventType(enum.StrEnum):
    """Type of an event of a call or a Recording."""

    CALL_STARTED = "call.started"
    CALL_RINGING = "call.ringing"
    CALL_ANSWERED = "call.answered"
    CALL_ENDED = "call.ended"
    RECORDING_PENDING = "recording.pending"
    RECORDING_STARTED = "recording.started"
    RECORDING_PAUSED = "recording.paused"
    RECORDING_RESUMED = "recording.resumed"
    RECORDING_PROCESSING = "recording.processing"
    RECORDING_COMPLETED = "recording.completed"
    RECORDING_FAILED = "recording.failed"
    RECORDING_ABSENT = "recording.absent"
    RECORDING_DELETED = "recording.deleted"


class Event(Struct, frozen=True, kw_only=True, rename="camel"):
    """An event of a call or a Recording.

    ``data`` is the Call, or a summary of the Recording. Ids increase in the order in which events are stored; ``at`` is
    the time of the event, which can be slightly earlier than that of the preceding event.
    """

    id: int
    type: EventType
    at: datetime
    profile_id: UUID | None
    data: dict[str, Any]


class JobKind(enum.StrEnum):
    """Kind of a job."""

    FINISH = "finish"  # produce the audio file of a Recording from the files of both parties
    MAIL = "mail"  # send a completed Recording to the email addresses of its Profile
    ERASE = "erase"  # delete the files of a deleted Recording


class JobState(enum.StrEnum):
    """State of a job."""

    PENDING = "pending"  # due now or later, not claimed
    RUNNING = "running"  # claimed by a worker
    DEAD = "dead"  # no further attempts; lastError contains the reason
    DONE = "done"


class Job(Struct, frozen=True, kw_only=True, rename="camel"):
    """A background task for a Recording: finish, mail or erase.

    ``attempts`` is the number of attempts that were started since the job was created or last restarted. ``dueAt`` is
    the time of the next attempt.
    """

    id: UUID
    kind: JobKind
    recording_id: UUID
    state: JobState
    attempts: int
    due_at: datetime
    last_error: str | None = None
    created_at: datetime
    path: str | None = None  # of the audio of a deleted Recording, relative to the archive; None for other kinds
    claims: int = 0  # the fencing token: a worker that lost its lease has an older value than the row


class Prompt(Struct, frozen=True, kw_only=True, rename="camel"):
    """A custom announcement.

    ``duration`` (seconds), ``size`` (bytes) and ``sha256`` are null until its audio is uploaded.
    """

    id: Uuid4
    name: Text255 | None = None
    created_at: datetime
    updated_at: datetime
    duration: float | None = None
    size: int | None = None
    sha256: Sha256 | None = None


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
    """An access token of the REST API, without its secret.

    ``profileIds`` restricts it to these Profiles; null means all Profiles. ``expiresAt`` null means that it never
    expires.
    """

    id: UUID
    name: Annotated[str, Meta(min_length=1, max_length=255, pattern=TRIMMED_TEXT)]
    role: Role
    profile_ids: Annotated[tuple[UUID, ...], Meta(min_length=1, max_length=1000)] | None = None
    expires_at: Timestamp | None = None
    created_at: Timestamp
    revoked_at: Timestamp | None = None

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
    duplicates = sorted({str(profile_id) for profile_id in ids if ids.count(profile_id) > 1})
    return [FieldError("profileIds", f"duplicate id {profile_id}") for profile_id in duplicates]


_TOKEN_CHECKS: Final = (_check_expiry, _check_profile_ids)


class AuditOutcome(enum.StrEnum):
    """Outcome of an audited change."""

    BEGUN = "begun"  # in progress, or interrupted with an unknown outcome
    DONE = "done"
    REFUSED = "refused"  # rejected; nothing was changed
    FAILED = "failed"


class AuditEntry(Struct, frozen=True, kw_only=True, rename="camel"):
    """An audited change: who made it, from which address, what it changed, and its outcome.

    ``who`` is the name of the token, ``admin`` for the configured administrator, or the operating system user that ran
    a command; ``tokenId`` is null in the last two cases. For a command, ``method`` is ``COMMAND`` and ``path`` is the
    command. ``kind`` is the type of the changed object, such as ``profile``, and ``targetId`` its id. ``fields`` are
    the names of the fields that an update changed, without their values. ``status`` is the HTTP status of the response.
    """

    id: UUID
    created_at: datetime
    who: str
    token_id: UUID | None = None
    address: str
    method: str
    path: str
    kind: str
    target_id: UUID | None = None
    outcome: AuditOutcome = AuditOutcome.BEGUN
    status: int | None = None
    fields: tuple[str, ...] = ()
