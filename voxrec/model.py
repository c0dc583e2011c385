"""The shared vocabulary: what voxrec speaks about. Knows nobody.

The structs are also what REST shows (``rename="camel"``) and what the JSON Schema is made from, so that a constraint
stands in one place only: with the type.
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
PLAIN: Final = r"^[^\x00-\x20\x7f-\xa0](?:[^\x00-\x1f\x7f-\x9f]*[^\x00-\x20\x7f-\xa0])?$(?!\n)"  # no controls, trimmed
METADATA_LIMIT: Final = 8192  # bytes of JSON
_WEB = re.compile(r"^https?://[!-~]+$")
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")

# What ``faults()`` says of a Profile in words, JSON Schema says in ``extra_json_schema``.
_NO_NUL: Final = r"^[^\u0000]*$"  # PostgreSQL stores every character but this one
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
        description="One mail address, or several separated by commas.",
        examples=["desk@example.org, archive@example.org"],
        extra_json_schema={"pattern": rf"^\s*{_ADDRESS.pattern}\s*(?:,\s*{_ADDRESS.pattern}\s*)*$"},
    ),
]
RemoteSipUri = Annotated[
    str,
    Meta(
        max_length=sipuri.MAX_LENGTH,
        description="Whom to call: a SIP URI (RFC 3261 section 19.1.1), without headers.",
        examples=["sip:desk@pbx.example:5061;transport=tls"],
        extra_json_schema={"format": "sip-uri"},
    ),
]
WebhookUrl = Annotated[
    str,
    Meta(max_length=2048, examples=["https://crm.example/calls"], extra_json_schema={"pattern": _WEB.pattern}),
]
Numbers = Annotated[
    tuple[Annotated[str, Meta(pattern=E164, examples=["+4930123456"])], ...],
    Meta(
        description="Numbers (E.164) that also lead to this Profile, unique over all Profiles.",
        extra_json_schema={"uniqueItems": True},
    ),
]
Metadata = Annotated[
    dict[str, Any],
    Meta(description="Free, at most 8 KiB as JSON.", extra_json_schema={"examples": [{"customer": "42"}]}),
]
Moment = Annotated[datetime, Meta(tz=True)]
Seconds = Annotated[int, Meta(ge=0, le=86400)]
Limit = Annotated[int, Meta(ge=1, le=86400)]
KeyCode = Annotated[str, Meta(pattern=r"^[0-9*#]{1,8}$", description="Keys that a party presses.", examples=["*1"])]
Language = Annotated[
    str,
    Meta(
        pattern=r"^[A-Za-z]{2,3}([_-][A-Za-z0-9]{2,8})*$",
        max_length=20,
        description="The language of what the parties are told, where Asterisk's sounds have it.",
        examples=["de", "pt_BR"],
    ),
]
Cause = Annotated[int, Meta(description="A cause of Q.850.", extra_json_schema={"minimum": 0, "maximum": 127})]
Sha256 = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}$")]


class RecordChannels(enum.StrEnum):
    """What is stored: both sides mixed, or the caller on the left and the far end on the right."""

    MONO = "mono"
    DUAL = "dual"


class RecordPrompt(enum.StrEnum):
    """The announcement that both parties hear."""

    NONE = "none"
    DEFAULT = "default"
    CUSTOM = "custom"


class RecordingState(enum.StrEnum):
    """Where a Recording is on its way. The last three are final."""

    PENDING = "pending"  # made by REST, its audio is still to come
    RECORDING = "recording"
    PAUSED = "paused"
    PROCESSING = "processing"  # the call has ended, the leg files are being finished
    COMPLETED = "completed"
    FAILED = "failed"
    ABSENT = "absent"  # there is nothing worth keeping; the verdict says why

    @property
    def live(self) -> bool:
        """Whether a call is still feeding it."""
        return self in (RecordingState.RECORDING, RecordingState.PAUSED)


class Side(enum.StrEnum):
    """Whose voice: the caller's (left), or the far end's (right)."""

    CALLER = "caller"
    CALLEE = "callee"


def addresses(email: str | None) -> tuple[str, ...]:
    """The single addresses of a Profile's ``email``: one, or several separated by commas."""
    return tuple(filter(None, (part.strip() for part in (email or "").split(","))))


# gc=False: JSON makes no circles, and to look through every Profile in memory for some would stop everything
class Profile(Struct, frozen=True, kw_only=True, rename="camel", gc=False):
    """Whom to call, and how to record, for one dialled id or number."""

    id: Uuid4
    name: Text255 | None = None
    email: Email | None = None
    remote_sip_uri: RemoteSipUri | None = None
    numbers: Numbers = ()
    record: bool = False
    record_format: Annotated[str, Meta(min_length=1, max_length=12)] = "wav"
    record_channels: RecordChannels = RecordChannels.MONO
    record_beep_at_start: bool = True
    record_beep_interval: Seconds = 0
    record_beep_in_recording: bool = False
    record_prompt: RecordPrompt = RecordPrompt.NONE
    record_prompt_custom_id: Uuid4 | None = None
    record_prompt_required: bool = False
    record_pause_code: KeyCode | None = None
    record_resume_code: KeyCode | None = None
    max_duration_seconds: Limit | None = None
    min_duration_seconds: Seconds = 0
    max_call_seconds: Limit | None = None
    ring_timeout_seconds: Annotated[int, Meta(ge=1, le=600)] | None = None
    max_calls: Annotated[int, Meta(ge=1, le=100_000)] | None = None
    language: Language | None = None
    webhook_url: WebhookUrl | None = None
    retention_days: Annotated[int, Meta(ge=1, le=36500)] | None = None
    metadata: Metadata = {}
    created_at: Moment
    updated_at: Moment

    def field_errors(self) -> list[FieldError]:
        """What the types alone cannot say; empty where the Profile is sound."""
        return [fault for check in _PROFILE_CHECKS for fault in check(self)]


def _check_email(profile: Profile) -> list[FieldError]:
    if profile.email is None:
        return []
    given = [part.strip() for part in profile.email.split(",")]
    return [
        FieldError("email", f"{part!r} is not a mail address; one, or several separated by commas, are allowed")
        for part in given
        if not _ADDRESS.fullmatch(part)
    ]


def _check_remote_sip_uri(profile: Profile) -> list[FieldError]:
    if profile.remote_sip_uri is None:
        return []
    try:
        sipuri.parse(profile.remote_sip_uri)
    except sipuri.SipUriError as error:
        return [FieldError("remoteSipUri", f"{profile.remote_sip_uri!r} is not a SIP URI: it {error}")]
    return []


def _check_numbers(profile: Profile) -> list[FieldError]:
    repeated = sorted({n for n in profile.numbers if profile.numbers.count(n) > 1})
    return [
        *(FieldError("numbers", f"{number} stands in the list more than once") for number in repeated),
        # to Python, though not to JSON Schema, "$" is also where a line ends
        *(FieldError("numbers", f"{number!r} ends with a line feed") for number in profile.numbers if "\n" in number),
    ]


def _check_prompt(profile: Profile) -> list[FieldError]:
    if (profile.record_prompt is RecordPrompt.CUSTOM) and profile.record_prompt_custom_id is None:
        return [FieldError("recordPromptCustomId", "is required where recordPrompt is custom: the id of a prompt")]
    return []


def _check_codes(profile: Profile) -> list[FieldError]:
    if profile.record_resume_code is not None and profile.record_pause_code is None:
        return [FieldError("recordResumeCode", "resumes nothing without a recordPauseCode")]
    return []


def _check_lengths(profile: Profile) -> list[FieldError]:
    longest = profile.max_duration_seconds
    if longest is not None and profile.min_duration_seconds > longest:
        return [FieldError("minDurationSeconds", f"is more than maxDurationSeconds, which is {longest}")]
    return []


def _check_webhook(profile: Profile) -> list[FieldError]:
    if profile.webhook_url is None or _WEB.fullmatch(profile.webhook_url):
        return []
    return [FieldError("webhookUrl", f"{profile.webhook_url!r} is not a URL; http:// or https:// is allowed")]


def _check_metadata(profile: Profile) -> list[FieldError]:
    return metadata_errors(profile.metadata)


def metadata_errors(metadata: dict[str, Any]) -> list[FieldError]:
    """Whether free metadata is too large: at most 8 KiB as JSON."""
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
    _check_lengths,
    _check_webhook,
    _check_metadata,
)


class PauseBehavior(enum.StrEnum):
    """What becomes of the time that a Recording is paused: nothing said in it is in any file."""

    SILENCE = "silence"  # it stays, silent: the length is the call's
    SKIP = "skip"  # it is cut out


class TimelineEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Something that happened in a call: ``at`` seconds after the answer, ``by`` whom where that is known."""

    at: float
    event: str
    by: str | None = None
    detail: str | None = None


class SideVerdict(Struct, frozen=True, kw_only=True, rename="camel"):
    """One side's audio: seconds above the speech threshold, RMS level in dBFS (None: digital silence), clipping."""

    speech_seconds: float
    level_dbfs: float | None
    clipped: bool


class Verdict(Struct, frozen=True, kw_only=True, rename="camel"):
    """What the finished audio looks like. ``ok`` where ``reasons`` is empty."""

    ok: bool
    reasons: tuple[str, ...] = ()
    caller: SideVerdict | None = None
    callee: SideVerdict | None = None
    repaired: bool = False
    truncated: bool = False


class Recording(Struct, frozen=True, kw_only=True, rename="camel"):
    """One recorded call: where it stands, what it holds, and what came of it.

    ``from_`` and ``from_name`` are the caller's, ``to`` is what was dialled; ``duration`` in seconds, ``size`` in
    bytes, ``hangup_cause`` a Q.850 cause code. ``min_duration_seconds`` is the Profile's as the call began: what is
    shorter is not kept. ``path`` is relative to the archive and is not shown by REST.
    """

    id: Uuid4
    profile_id: UUID
    call_id: UUID | None = None
    state: RecordingState
    format: str = "wav"
    channels: Literal[1, 2] = 1
    started_at: Moment | None = None
    ended_at: Moment | None = None
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
    expires_at: Moment | None = None
    min_duration_seconds: Seconds = 0
    path: str | None = None
    created_at: Moment
    updated_at: Moment


LEG_SUFFIXES: Final = ("wav", "wav16")  # of the file behind it: 16-bit samples at 8 or at 16 kHz


def leg_name(recording_id: UUID, side: Side) -> str:
    """The name under which Asterisk records one side, in its recording directory and without the suffix.

    Derived and never stored, so that a file tells whose it is even where no row and no event survived.
    """
    return f"voxrec-{recording_id}-{side}"


class CallState(enum.StrEnum):
    """How far a live call is."""

    NEW = "new"
    PLACING = "placing"  # the far end's channel is being made
    RINGING = "ringing"  # the far end is being called
    CONNECTING = "connecting"  # it has answered, and the recording begins
    ANNOUNCING = "announcing"
    TALKING = "talking"
    CLEARING = "clearing"  # it has ended, and its channels and files are being closed
    OVER = "over"


class Call(Struct, frozen=True, kw_only=True, rename="camel"):
    """One call as it stands now; ``age`` in seconds since it came in.

    ``from_`` and ``from_name`` are the caller's, ``to`` is what was dialled; ``answered_at`` is when the far end
    answered. ``hangup_cause`` (Q.850) and ``hangup_by`` (caller, callee or voxrec) are known once it has ended.
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
        """When it came in: what lists go by."""
        return self.started_at


class EventType(enum.StrEnum):
    """What can happen to a call or a Recording."""

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
    """Something that happened: to a Call, which ``data`` is, or to a Recording, of which ``data`` tells the essentials.

    Ids grow; ``at`` is when it happened, which for a call may be a moment before the event before it.
    """

    id: int
    type: EventType
    at: datetime
    profile_id: UUID | None
    data: dict[str, Any]


class JobKind(enum.StrEnum):
    """What the durable queue knows how to do."""

    FINISH = "finish"  # leg files to a completed Recording
    MAIL = "mail"  # a completed Recording to the Profile's mailboxes
    ERASE = "erase"  # the files of a Recording that was deleted


class JobState(enum.StrEnum):
    """How a job stands."""

    PENDING = "pending"  # it waits for its time, or for somebody to take it
    RUNNING = "running"  # somebody has it
    DEAD = "dead"  # it was given up; lastError says why
    DONE = "done"


class Job(Struct, frozen=True, kw_only=True, rename="camel"):
    """One step owed to a Recording. ``attempts`` counts those begun since it was last started by hand, if it was.

    ``path`` is where the audio of a deleted Recording is, relative to the archive; None in other jobs. ``claims`` is
    how often it was ever claimed: the fence that tells its holder from those who have lost it.
    """

    id: UUID
    kind: JobKind
    recording_id: UUID
    state: JobState
    attempts: int
    due_at: datetime
    last_error: str | None = None
    created_at: datetime
    path: str | None = None
    claims: int = 0


class Prompt(Struct, frozen=True, kw_only=True, rename="camel"):
    """A custom announcement; ``duration`` (s), ``size`` (bytes) and ``sha256`` are null until its audio is uploaded."""

    id: Uuid4
    name: Text255 | None = None
    created_at: datetime
    updated_at: datetime
    duration: float | None = None
    size: int | None = None
    sha256: Sha256 | None = None


class Role(enum.StrEnum):
    """What a token is for. Each role may do what the ones before it may."""

    READ = "read"
    PROVISION = "provision"
    ADMIN = "admin"

    def covers(self, needed: "Role") -> bool:
        """Whether what ``needed`` may do, this role may do."""
        roles = tuple(Role)
        return roles.index(self) >= roles.index(needed)


class Token(Struct, frozen=True, kw_only=True, rename="camel"):
    """Who may use REST, without the secret. ``profile_ids`` None: all Profiles; ``expires_at`` None: never."""

    id: UUID
    name: Annotated[str, Meta(min_length=1, max_length=255, pattern=PLAIN)]
    role: Role
    profile_ids: Annotated[tuple[UUID, ...], Meta(min_length=1, max_length=1000)] | None = None
    expires_at: Moment | None = None
    created_at: Moment
    revoked_at: Moment | None = None

    def field_errors(self) -> list[FieldError]:
        """What the types alone cannot say about a new one; empty where it makes sense."""
        return [fault for check in _TOKEN_CHECKS for fault in check(self)]


def _check_expiry(token: Token) -> list[FieldError]:
    if token.expires_at is None:
        return []
    if token.expires_at.tzinfo is None:
        return [FieldError("expiresAt", "has no offset from UTC, such as Z")]
    if token.expires_at <= token.created_at:
        return [FieldError("expiresAt", "is not in the future")]
    return []


def _check_limit(token: Token) -> list[FieldError]:
    given = token.profile_ids or ()
    if given and token.role is Role.ADMIN:
        return [FieldError("profileIds", "cannot limit a token of role admin, which makes tokens without a limit")]
    repeated = sorted({str(one) for one in given if given.count(one) > 1})
    return [FieldError("profileIds", f"{one} stands in the list more than once") for one in repeated]


_TOKEN_CHECKS: Final = (_check_expiry, _check_limit)


class AuditOutcome(enum.StrEnum):
    """What came of a change."""

    BEGUN = "begun"  # under way, or nobody knows
    DONE = "done"
    REFUSED = "refused"  # nothing was changed
    FAILED = "failed"


class AuditEntry(Struct, frozen=True, kw_only=True, rename="camel"):
    """One change: who did it from where, to what, and what came of it.

    ``token_id`` is None for the configured administrator (``who`` is ``admin``) and for a command, whose ``who`` is
    the user who ran it; ``method`` is then ``COMMAND`` and ``path`` the command. ``kind`` is the kind of thing that
    was changed (``profile``), ``target_id`` which; ``fields`` are the names of those that an update changed, never
    their values; ``status`` is the HTTP status that was answered.
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
