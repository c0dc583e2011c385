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
from voxrec.errors import FieldFault

E164: Final = r"^\+[1-9][0-9]{1,14}$"  # ITU-T E.164: at most 15 digits
METADATA_LIMIT: Final = 8192  # bytes of JSON
_ADDRESS = re.compile(r"[A-Za-z0-9.!#$%&'*+/=?^_`{|}~-]+@[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")

Text255 = Annotated[str, Meta(max_length=255)]
Seconds = Annotated[int, Meta(ge=0, le=86400)]
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


class Profile(Struct, frozen=True, kw_only=True, rename="camel"):
    """Whom to call, and how to record, for one dialled id or number."""

    id: UUID
    name: Text255 | None = None
    email: Text255 | None = None
    remote_sip_uri: Text255 | None = None
    numbers: tuple[Annotated[str, Meta(pattern=E164)], ...] = ()
    record: bool = False
    record_format: Annotated[str, Meta(min_length=1, max_length=12)] = "wav"
    record_channels: RecordChannels = RecordChannels.MONO
    record_beep_at_start: bool = True
    record_beep_interval: Seconds = 0
    record_prompt: RecordPrompt = RecordPrompt.NONE
    record_prompt_custom_id: UUID | None = None
    webhook_url: Annotated[str, Meta(max_length=2048)] | None = None
    retention_days: Annotated[int, Meta(ge=1, le=36500)] | None = None
    metadata: dict[str, Any] = {}
    created_at: datetime
    updated_at: datetime

    def faults(self) -> list[FieldFault]:
        """What the types alone cannot say; empty where the Profile is sound."""
        return [fault for check in _PROFILE_CHECKS for fault in check(self)]


def _check_email(profile: Profile) -> list[FieldFault]:
    if profile.email is None:
        return []
    given = [part.strip() for part in profile.email.split(",")]
    return [
        FieldFault("email", f"{part!r} is not a mail address; one, or several separated by commas, are allowed")
        for part in given
        if not _ADDRESS.fullmatch(part)
    ]


def _check_remote_sip_uri(profile: Profile) -> list[FieldFault]:
    if profile.remote_sip_uri is None:
        return []
    try:
        sipuri.parse(profile.remote_sip_uri)
    except sipuri.SipUriError as error:
        return [FieldFault("remoteSipUri", f"{profile.remote_sip_uri!r} is not a SIP URI: it {error}")]
    return []


def _check_numbers(profile: Profile) -> list[FieldFault]:
    repeated = sorted({n for n in profile.numbers if profile.numbers.count(n) > 1})
    return [FieldFault("numbers", f"{number} stands in the list more than once") for number in repeated]


def _check_prompt(profile: Profile) -> list[FieldFault]:
    if (profile.record_prompt is RecordPrompt.CUSTOM) and profile.record_prompt_custom_id is None:
        return [FieldFault("recordPromptCustomId", "is required where recordPrompt is custom: the id of a prompt")]
    return []


def _check_webhook(profile: Profile) -> list[FieldFault]:
    if profile.webhook_url is None or re.fullmatch(r"https?://[!-~]+", profile.webhook_url):
        return []
    return [FieldFault("webhookUrl", f"{profile.webhook_url!r} is not a URL; http:// or https:// is allowed")]


def _check_metadata(profile: Profile) -> list[FieldFault]:
    return metadata_faults(profile.metadata)


def metadata_faults(metadata: dict[str, Any]) -> list[FieldFault]:
    """Whether free metadata is too large: at most 8 KiB as JSON."""
    size = len(msgspec.json.encode(metadata))
    if size <= METADATA_LIMIT:
        return []
    return [FieldFault("metadata", f"is {size} bytes as JSON; at most {METADATA_LIMIT} are allowed")]


_PROFILE_CHECKS: Final = (
    _check_email,
    _check_remote_sip_uri,
    _check_numbers,
    _check_prompt,
    _check_webhook,
    _check_metadata,
)


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
    bytes, ``hangup_cause`` a Q.850 cause code. ``path`` is relative to the archive and is not shown by REST.
    """

    id: UUID
    profile_id: UUID
    call_id: UUID | None = None
    state: RecordingState
    format: str = "wav"
    channels: Literal[1, 2] = 1
    started_at: datetime | None = None
    ended_at: datetime | None = None
    duration: float | None = None
    size: int | None = None
    sha256: Sha256 | None = None
    from_: Text255 | None = msgspec.field(default=None, name="from")
    from_name: Text255 | None = None
    to: Text255 | None = None
    remote_sip_uri: Text255 | None = None
    hangup_cause: int | None = None
    timeline: tuple[TimelineEntry, ...] = ()
    verdict: Verdict | None = None
    metadata: dict[str, Any] = {}
    legal_hold: bool = False
    expires_at: datetime | None = None
    path: str | None = None
    created_at: datetime
    updated_at: datetime


def leg_name(recording_id: UUID, side: Side) -> str:
    """The name under which Asterisk records one side, in its recording directory and without the suffix.

    Derived and never stored, so that a file tells whose it is even where no row and no event survived.
    """
    return f"voxrec-{recording_id}-{side}"


class JobKind(enum.StrEnum):
    """What the durable queue knows how to do."""

    FINISH = "finish"  # leg files to a completed Recording
    MAIL = "mail"  # a completed Recording to the Profile's mailboxes


class Job(Struct, frozen=True, kw_only=True, rename="camel"):
    """One step owed to a Recording. ``attempts`` counts those begun, this one included."""

    id: int
    kind: JobKind
    recording_id: UUID
    attempts: int
    due_at: datetime
    last_error: str | None = None
    dead: bool = False
