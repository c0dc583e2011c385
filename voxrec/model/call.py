"""Live calls."""

import enum
from datetime import datetime
from uuid import UUID

import msgspec
from msgspec import Struct

from voxrec.model.fields import Text255
from voxrec.model.recording import RecordingState


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
