"""Recordings: their state, timeline and verdict, and the names of the files of both parties."""

import enum
from datetime import datetime
from typing import Annotated, Final, Literal
from uuid import UUID

import msgspec
from msgspec import Struct

from voxrec.model.fields import Cause, Metadata, Seconds, Sha256, Tags, Text255, Timestamp, Uuid4, doc


class RecordingState(enum.StrEnum):
    """State of a Recording. The last three are final.

    - ``pending``: created by REST; its audio has not been uploaded yet
    - ``recording``: the call is in progress
    - ``paused``: the call is in progress, and its audio is not recorded
    - ``processing``: the call has ended; the audio file is being produced
    - ``completed``: the audio is stored
    - ``failed``: the audio could not be produced
    - ``absent``: no audio is stored; the verdict contains the reason
    """

    PENDING = "pending"
    RECORDING = "recording"
    PAUSED = "paused"
    PROCESSING = "processing"
    COMPLETED = "completed"
    FAILED = "failed"
    ABSENT = "absent"

    @property
    def live(self) -> bool:
        """Whether the call is in progress."""
        return self in (RecordingState.RECORDING, RecordingState.PAUSED)


class Side(enum.StrEnum):
    """A party of a call: the caller (left channel) or the far end (right channel)."""

    CALLER = "caller"
    CALLEE = "callee"

    @property
    def other(self) -> "Side":
        """The other party."""
        return Side.CALLEE if self is Side.CALLER else Side.CALLER


class PauseBehavior(enum.StrEnum):
    """How a Recording represents the time during which it was paused. No audio of that time is stored.

    - ``silence``: as silence; the Recording is as long as the call
    - ``skip``: not at all; the Recording is shorter than the call
    """

    SILENCE = "silence"
    SKIP = "skip"


class TimelineEntry(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """An event of a recorded call."""

    at: Annotated[float, doc("Seconds since the call was answered.")]
    event: Annotated[str, doc("What happened, such as answered, beep, paused or hangup.")]
    by: Annotated[str | None, doc("Party that caused the event, if known.")] = None
    detail: Annotated[str | None, doc("Further information, such as the reason of a failure.")] = None


class SideVerdict(Struct, frozen=True, kw_only=True, rename="camel"):
    """Analysis of the audio of one party."""

    speech_seconds: Annotated[float, doc("Time above the speech threshold, in seconds.")]
    level_dbfs: Annotated[float | None, doc("RMS level in dBFS. Null: digital silence.")]
    clipped: Annotated[bool, doc("Whether samples reached full scale.")]
    gap_seconds: Annotated[
        float,
        doc(
            "Silence that Asterisk recorded because audio of this party did not arrive in time, or because that of the "
            "other party arrived twice, in seconds."
        ),
    ] = 0.0
    duplicate_seconds: Annotated[
        float,
        doc(
            "Audio that Asterisk recorded twice, because its packets arrived twice (G.711 only), in seconds. Copies "
            "that had displaced the other party are removed."
        ),
    ] = 0.0


class RtpCounters(Struct, frozen=True, kw_only=True, rename="camel"):
    """What Asterisk has received from one party until the call ended, on all its channels as far as it is known."""

    packets_received: Annotated[int, doc("Number of RTP packets that Asterisk received, duplicates included.")]
    packets_lost: Annotated[int, doc("Number of RTP packets that were lost until the last RTCP report, every 5 s.")]
    max_jitter_ms: Annotated[float | None, doc("Greatest jitter (RFC 3550) in milliseconds. Null: not known.")] = None
    mean_jitter_ms: Annotated[float | None, doc("Mean jitter (RFC 3550) in milliseconds. Null: not known.")] = None

    @property
    def loss(self) -> float:
        """The fraction of the packets that was lost."""
        return self.packets_lost / max(1, self.packets_lost + self.packets_received)

    def __add__(self, other: "RtpCounters") -> "RtpCounters":
        """Return the counters of two channels together; the mean jitter is weighted by the packets."""
        maxima = [one.max_jitter_ms for one in (self, other) if one.max_jitter_ms is not None]
        means = [
            (one.mean_jitter_ms, max(1, one.packets_received))
            for one in (self, other)
            if one.mean_jitter_ms is not None
        ]
        weights = sum(packets for _, packets in means)
        return RtpCounters(
            packets_received=self.packets_received + other.packets_received,
            packets_lost=self.packets_lost + other.packets_lost,
            max_jitter_ms=max(maxima, default=None),
            mean_jitter_ms=round(sum(mean * packets for mean, packets in means) / weights, 1) if means else None,
        )


class RtpStatistics(Struct, frozen=True, kw_only=True, rename="camel"):
    """What Asterisk has received from the parties of a call. Null: not known."""

    caller: RtpCounters | None = None
    callee: RtpCounters | None = None


class Verdict(Struct, frozen=True, kw_only=True, rename="camel"):
    """Result of the checks of a finished Recording."""

    ok: Annotated[bool, doc("Whether there are no reasons.")]
    reasons: Annotated[tuple[str, ...], doc("What is wrong with the audio.")] = ()
    caller: SideVerdict | None = None
    callee: SideVerdict | None = None
    repaired: Annotated[bool, doc("Whether the header of an audio file had to be restored.")] = False
    truncated: Annotated[bool, doc("Whether the audio of a party is shorter than the call.")] = False
    excess_seconds: Annotated[
        float,
        doc("By how much the audio is longer than the call, because packets arrived twice or in bursts, in seconds."),
    ] = 0.0
    displacement_ms: Annotated[
        int | None,
        doc(
            "By how many milliseconds the parties may be displaced against each other, as far as Asterisk's statistics "
            "and the audio show it: without impairments the duration of a packet, usually 20, and 6 more for each "
            "minute, because clocks differ; at most 100. Null: not known."
        ),
    ] = None


class StoredObject(Struct, frozen=True, kw_only=True):
    """The object in S3 that contains the audio of a Recording."""

    bucket: Annotated[str, doc("Name of the bucket.")]
    key: Annotated[str, doc("Key of the object.")]
    version: Annotated[str | None, doc("Version of the object, in a versioned bucket.")] = None
    stored_at: Annotated[
        datetime | None,
        doc("Time at which the store confirmed the checksum. Null: only the local archive has the audio."),
    ] = None
    key_md5: Annotated[
        str | None,
        doc("Base64 of the MD5 of the customer's key (SSE-C), by which the key is found after a rotation."),
    ] = None


class Recording(Struct, frozen=True, kw_only=True, rename="camel"):
    """The recording of one call, or imported audio."""

    id: Annotated[Uuid4, doc("Id of the Recording, a UUID of version 4.")]
    profile_id: Annotated[UUID, doc("Id of the Profile of the call.")]
    call_id: Annotated[UUID | None, doc("Id of the call. Null for imported audio.")] = None
    state: RecordingState
    format: Annotated[str, doc("Format of the stored audio.")] = "wav"
    channels: Annotated[Literal[1, 2], doc("Number of audio channels.")] = 1
    started_at: Annotated[Timestamp | None, doc("Time at which the recording started.")] = None
    ended_at: Annotated[Timestamp | None, doc("Time at which the call ended.")] = None
    duration: Annotated[float | None, doc("Duration of the audio in seconds. Null until it is stored.")] = None
    size: Annotated[int | None, doc("Size of the audio file in bytes. Null until it is stored.")] = None
    sha256: Annotated[Sha256 | None, doc("SHA-256 digest of the audio file. Null until it is stored.")] = None
    from_: Annotated[Text255 | None, doc("Number of the caller, unless it is withheld.")] = msgspec.field(
        default=None, name="from"
    )
    from_name: Annotated[Text255 | None, doc("Display name of the caller.")] = None
    to: Annotated[Text255 | None, doc("Dialled number or id.")] = None
    remote_sip_uri: Annotated[Text255 | None, doc("SIP URI of the far end.")] = None
    hangup_cause: Cause | None = None
    node: Annotated[Text255 | None, doc("Name of the node that recorded the call. Null for imported audio.")] = None
    timeline: Annotated[tuple[TimelineEntry, ...], doc("Events of the call, in chronological order.")] = ()
    verdict: Annotated[Verdict | None, doc("Result of the checks of the audio. Null until it is finished.")] = None
    rtp_statistics: Annotated[
        RtpStatistics | None, doc("RTP packets of each party. Null: not known, or the call has not ended.")
    ] = None
    metadata: Metadata = {}
    tags: Tags = ()
    legal_hold: Annotated[bool, doc("Whether the Recording must not be deleted.")] = False
    expires_at: Annotated[Timestamp | None, doc("Time after which the Recording is deleted. Null: never.")] = None
    min_duration_seconds: Annotated[
        Seconds, doc("Value of the Profile when the call began; shorter audio is not stored.")
    ] = 0
    prompt_played: Annotated[
        bool | None,
        doc(
            "Whether the announcement that the Profile requires was played completely; unless it was, no audio is "
            "stored. Null: the Profile requires none."
        ),
    ] = None
    pause_code: str | None = None  # DTMF codes of the Profile when the call began; not part of the REST representation
    resume_code: str | None = None
    path: str | None = None  # relative to the archive; not part of the REST representation
    stored_object: StoredObject | None = None  # None: only in the local archive; not part of the REST representation
    created_at: Annotated[Timestamp, doc("Time of creation.")]
    updated_at: Annotated[Timestamp, doc("Time of the last change.")]

    @property
    def uploaded(self) -> bool:
        """Whether an S3 store has confirmed that it has the audio."""
        return self.stored_object is not None and self.stored_object.stored_at is not None

    @property
    def call_seconds(self) -> float | None:
        """The time from ``started_at`` to ``ended_at`` in seconds, if both are known."""
        if self.started_at is None or self.ended_at is None:
            return None
        return (self.ended_at - self.started_at).total_seconds()

    @property
    def end_observed(self) -> bool:
        """Whether a process has observed the end of the call, so that ``ended_at`` is its time."""
        return any(entry.event == HANGUP for entry in self.timeline)

    @property
    def reports_failure(self) -> bool:
        """Whether the timeline says that the call was not recorded, or not from its beginning."""
        return any(entry.event == RECORDING_FAILED and entry.by is None for entry in self.timeline)

    @property
    def lacks_required_prompt(self) -> bool:
        """Whether the Profile requires an announcement that the parties have not heard completely (so far)."""
        return self.prompt_played is False


HANGUP: Final = "hangup"
"""An event of the timeline: a party, or voxrec, has ended the call."""

ANNOUNCEMENT_FINISHED: Final = "announcement.finished"
"""An event of the timeline: the announcement was played completely."""

ANNOUNCEMENT_FAILED: Final = "announcement.failed"
"""An event of the timeline, and a reason of the verdict: the announcement was not played completely."""

TAKEN_OVER: Final = "taken-over"
"""An event of the timeline: another process of voxrec has the call from here on."""

RECORDING_STARTED: Final = "recording.started"
"""An event of the timeline: Asterisk began to record later than at the answer, because it could not before."""

RECORDING_FAILED: Final = "recording.failed"
"""An event of the timeline: the call, or the side ``by``, is not recorded; if ever, from `RECORDING_STARTED` on."""

RECORDING_STOPPED: Final = "recording.stopped"
"""An event of the timeline: the recording has ended, and the call continues."""
RECORDING_SUSPENDED: Final = "recording.suspended"
"""An event of the timeline: Asterisk writes nothing from here to the end of the pause, which silence replaces.

Its detail is the duration of the files up to here, in seconds.
"""

RECORDING_CONTINUED: Final = "recording.continued"
"""An event of the timeline: Asterisk records again, after `RECORDING_FAILED`; the time between is missing."""

NOT_BEGUN: Final = "voxrec ended before Asterisk had begun to record"
"""The detail of `RECORDING_FAILED` if the process that was to record could not say itself why it did not."""

LEG_SUFFIXES: Final = ("wav", "wav16")  # of the files that Asterisk records: 16-bit samples at 8 kHz or 16 kHz


def leg_name(recording_id: UUID, side: Side) -> str:
    """Return the name of the file, without suffix, to which Asterisk records one party.

    It is derived from the id, so that a file can be attributed to its Recording without a row or an event.
    """
    return f"voxrec-{recording_id}-{side}"
