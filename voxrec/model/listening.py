"""Live listening: persons who hear a call while it takes place."""

import enum
from datetime import datetime
from typing import Annotated
from uuid import UUID

from msgspec import Struct

from voxrec.model.fields import doc


class ListenSide(enum.StrEnum):
    """What a listener hears.

    - ``both``: two channels, the caller on the left and the far end on the right
    - ``caller``: one channel, the caller
    - ``callee``: one channel, the far end
    """

    BOTH = "both"
    CALLER = "caller"
    CALLEE = "callee"


class Listening(Struct, frozen=True, kw_only=True, rename="camel"):
    """A person who hears a live call, from the beginning of the audio until its end."""

    id: Annotated[UUID, doc("Id of the listening, and of its entry in the audit log.")]
    who: Annotated[str, doc("Name of the user or of the token.")]
    side: ListenSide
    started_at: Annotated[datetime, doc("Time at which the listening began.")]


class ListeningEventType(enum.StrEnum):
    """Type of an event of a listening."""

    JOINED = "listener.joined"
    LEFT = "listener.left"


class ListeningReport(Listening, frozen=True, kw_only=True, rename="camel"):
    """A listening and its end."""

    call_id: Annotated[UUID, doc("Id of the call.")]
    ended_at: Annotated[datetime | None, doc("Time at which the listening ended.")] = None
    seconds: Annotated[float | None, doc("Its duration in seconds.")] = None
    reason: Annotated[str | None, doc("Why it ended.")] = None


class ListeningEvent(Struct, frozen=True, kw_only=True, rename="camel"):
    """An event of a listening. It has no id and is not stored: clients that reconnect do not receive it again."""

    type: ListeningEventType
    at: Annotated[datetime, doc("Time of the event.")]
    profile_id: Annotated[UUID | None, doc("Id of the Profile of the call.")]
    data: ListeningReport
