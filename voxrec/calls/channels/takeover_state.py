"""What another process needs to take over a call, stored in variables of the call's channels.

A call therefore survives the loss of its process, and of the database.
"""

from datetime import datetime
from typing import Final, Self
from uuid import UUID

import msgspec

from voxrec.calls.call_data import CallData
from voxrec.calls.channels.ids import leg_number
from voxrec.calls.signalling.hops import NO_HOPS, Hops
from voxrec.model import Attempt, PauseBehavior, Profile

CALL_VARIABLE: Final = "VOXREC_CALL"
"""Variable of the outgoing leg, and of a caller whom voxrec calls, set when it is created: a `TakeoverState`."""
PAUSE_VARIABLE: Final = "VOXREC_PAUSE"
"""Variable of the caller's channel while its recording is to be paused: a `Pause`."""
ANNOUNCED_VARIABLE: Final = "VOXREC_ANNOUNCED"
"""Variable of the caller's channel: 1 if an announcement that the Profile requires was played completely."""
ANSWERED_VARIABLE: Final = "VOXREC_ANSWERED"
"""Variable of the caller's channel: the time of the answer in ISO 8601. Only for a call that is not recorded then."""
STOPPED_VARIABLE: Final = "VOXREC_STOPPED"
"""Variable of the caller's channel: the reason for which the recording was ended before the call."""
PLACED_VARIABLE: Final = "VOXREC_PLACED"
"""Variable of the channel of a caller whom voxrec has called: 1 from when its far end is called."""

CALLER_VARIABLES: Final = (ANNOUNCED_VARIABLE, ANSWERED_VARIABLE, STOPPED_VARIABLE, PLACED_VARIABLE)
"""The variables of the caller's channel, beside that of a pause, which are copied if Asterisk replaces the channel."""


class TakeoverState(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """One call: ``caller`` and ``leg`` are channel ids, ``profile`` is the Profile as it was when the call began.

    ``placeholder`` is the channel that a transfer put into the bridge; empty if ``leg`` is the first leg. ``invited``
    is the SIP URI of a caller whom voxrec has called; ``leg`` is empty until its far end is called. Each change
    of ``caller`` or ``leg`` increases ``generation``, so that the latest of several states is known; it is 0 in states
    of versions that do not follow replaced channels.
    """

    call_id: UUID
    recording_id: UUID
    caller: str
    leg: str
    number: str
    name: str
    dialled: str
    wideband: bool = False
    withheld: bool = True
    hops: Hops = NO_HOPS
    attempt: Attempt | None = None
    placeholder: str = ""
    invited: str = ""
    generation: int = 0
    started_at: datetime
    profile: Profile

    @classmethod
    def of_call(cls, call: CallData, *, leg: str = "", placeholder: str = "", generation: int = 0) -> Self:
        """Return the state of a call whose current leg is the channel ``leg``."""
        return cls(
            call_id=call.id,
            recording_id=call.recording_id,
            caller=call.inbound.channel,
            leg=leg,
            number=call.inbound.number,
            name=call.inbound.name,
            dialled=call.inbound.dialled,
            wideband=call.inbound.wideband,
            withheld=call.inbound.withheld,
            hops=call.inbound.hops,
            attempt=call.inbound.attempt,
            placeholder=placeholder,
            invited=call.inbound.invited,
            generation=generation,
            started_at=call.started_at,
            profile=call.profile,
        )


class Pause(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A pause of the recording, until ``until`` or until it is resumed."""

    behavior: PauseBehavior
    until: datetime | None = None


def encode(value: TakeoverState | Pause) -> str:
    """Return the value of the channel variable."""
    return msgspec.json.encode(value).decode()


def decode_takeover_state(value: str) -> TakeoverState | None:
    """Decode `CALL_VARIABLE`; None if it is something else, or from an incompatible version of voxrec."""
    try:
        return msgspec.json.decode(value, type=TakeoverState)
    except msgspec.DecodeError:
        return None


def generation_of(state: TakeoverState) -> int:
    """Return the generation of a state, also of one that another version of voxrec stored without it."""
    return state.generation or leg_number(state.leg)


def decode_pause(value: str) -> Pause | None:
    """Decode `PAUSE_VARIABLE`; None if it is something else."""
    try:
        return msgspec.json.decode(value, type=Pause)
    except msgspec.DecodeError:
        return None
