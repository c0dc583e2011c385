"""Recordings: their state, timeline and verdict, and the names of the files of both parties."""

import enum
from typing import Final, Literal
from uuid import UUID

import msgspec
from msgspec import Struct

from voxrec.model.fields import Cause, Metadata, Seconds, Sha256, Text255, Timestamp, Uuid4


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
