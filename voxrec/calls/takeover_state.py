"""What a call needs to be taken over by another process, kept where the call lives: in variables of its channels.

So neither a process nor a database has to survive for a call to go on.
"""

from datetime import datetime
from typing import Final
from uuid import UUID

import msgspec

from voxrec.model import PauseBehavior, Profile

CALL: Final = "VOXREC_CALL"
"""On the outgoing channel, from its making on: a `TakeoverState`."""
PAUSE: Final = "VOXREC_PAUSE"
"""On the caller's channel, while its recording is paused: a `Pause`."""


class TakeoverState(msgspec.Struct, frozen=True, kw_only=True, rename="camel"):
    """Who calls whom by which rules: ``caller`` and ``leg`` are channels, the Profile is the one of the beginning.

    ``placeholder`` is the channel that a transfer left in the bridge; empty where there was none.
    """

    call_id: UUID
    recording_id: UUID
    caller: str
    leg: str
    number: str
    name: str
    dialled: str
    wideband: bool = False
    placeholder: str = ""
    started_at: datetime
    profile: Profile


class Pause(msgspec.Struct, frozen=True, kw_only=True, rename="camel", omit_defaults=True):
    """A pause that lasts until somebody ends it, or until ``until``.

    While it is not ``settled``, Asterisk is being asked to begin or to end it.
    """

    behavior: PauseBehavior
    until: datetime | None = None
    settled: bool = True


def written(what: TakeoverState | Pause) -> str:
    """The value of the variable."""
    return msgspec.json.encode(what).decode()


def read_memory(value: str) -> TakeoverState | None:
    """What `written` made of a Memory; None where it is something else, or of a voxrec too different."""
    try:
        return msgspec.json.decode(value, type=TakeoverState)
    except msgspec.DecodeError:
        return None


def read_pause(value: str) -> Pause | None:
    """What `written` made of a Pause; None where it is something else."""
    try:
        return msgspec.json.decode(value, type=Pause)
    except msgspec.DecodeError:
        return None
