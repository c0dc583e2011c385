"""Live calls."""

import enum
from datetime import datetime
from typing import Annotated
from uuid import UUID

import msgspec
from msgspec import Struct

from voxrec.model.fields import RemoteSipUri, Text255, doc
from voxrec.model.listening import Listening
from voxrec.model.recording import RecordingState


class CallState(enum.StrEnum):
    """State of a live call.

    - ``new``: the call has arrived
    - ``calling``: the person who is to be connected with the far end is being called
    - ``placing``: the outgoing leg is being created
    - ``ringing``: the far end is being called
    - ``connecting``: the far end has answered; the recording is being started
    - ``announcing``: the announcement is being played
    - ``talking``: the parties are connected
    - ``clearing``: the call has ended; its channels are being hung up and its files closed
    - ``over``: nothing of the call is left
    - ``lost``: the node of the call is unreachable, so that its state is not known
    """

    NEW = "new"
    CALLING = "calling"
    PLACING = "placing"
    RINGING = "ringing"
    CONNECTING = "connecting"
    ANNOUNCING = "announcing"
    TALKING = "talking"
    CLEARING = "clearing"
    OVER = "over"
    LOST = "lost"


class CallRequest(Struct, frozen=True, kw_only=True, rename="camel"):
    """A call that a client requests: a person is called first, and then connected with the far end of a Profile."""

    from_: Annotated[RemoteSipUri, doc("SIP URI of the person who is called first.")] = msgspec.field(name="from")


class Call(Struct, frozen=True, kw_only=True, rename="camel"):
    """A live call."""

    id: Annotated[UUID, doc("Id of the call.")]
    profile_id: Annotated[UUID, doc("Id of the Profile that was dialled.")]
    state: CallState
    age: Annotated[float, doc("Seconds since the call arrived.")]
    from_: Annotated[Text255 | None, doc("Number of the caller, unless it is withheld.")] = msgspec.field(
        default=None, name="from"
    )
    from_name: Annotated[Text255 | None, doc("Display name of the caller.")] = None
    to: Annotated[Text255, doc("Dialled number or id.")]
    remote_sip_uri: Annotated[Text255 | None, doc("SIP URI of the far end.")] = None
    started_at: Annotated[datetime, doc("Time at which the call arrived.")]
    answered_at: Annotated[datetime | None, doc("Time at which the far end answered.")] = None
    ended_at: Annotated[datetime | None, doc("Time at which the call ended.")] = None
    hangup_cause: Annotated[int | None, doc("Q.850 cause code. Null until the call has ended.")] = None
    hangup_by: Annotated[
        str | None, doc("Who ended the call: caller, callee or voxrec. Null until the call has ended.")
    ] = None
    sip_status: Annotated[
        int | None,
        doc("SIP status with which a party refused the call. Null: it was not refused, or the status is not known."),
    ] = None
    recording_id: Annotated[UUID | None, doc("Id of the Recording, if the call is recorded.")] = None
    recording_state: RecordingState | None = None
    node: Annotated[Text255 | None, doc("Name of the node that handles the call.")] = None
    listeners: Annotated[
        tuple[Listening, ...] | None,
        doc("Who listens to the call. Null in events, and for clients without the role `supervise`."),
    ] = None

    @property
    def created_at(self) -> datetime:
        """The sort key of lists: the time at which the call arrived."""
        return self.started_at
