"""Events of calls and Recordings."""

import enum
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from msgspec import Struct

from voxrec.model.fields import doc


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


_PARTIES: Final = ("from", "fromName", "to", "remoteSipUri")


class Event(Struct, frozen=True, kw_only=True, rename="camel"):
    """An event of a call or a Recording."""

    id: Annotated[int, doc("Id of the event. Ids increase in the order in which events are stored.")]
    type: EventType
    at: Annotated[datetime, doc("Time of the event. It can be slightly earlier than that of the preceding event.")]
    profile_id: Annotated[UUID | None, doc("Id of the Profile.")]
    data: Annotated[
        dict[str, Any],
        doc(
            "The Call, or a summary of the Recording. Numbers, names and SIP URIs of a Call are null once its "
            "Recording was deleted."
        ),
    ]

    def without_parties(self) -> "Event":
        """Return the event of a Call without its numbers, names and SIP URIs, as the database does."""
        return msgspec.structs.replace(self, data={**self.data, **dict.fromkeys(_PARTIES)})
