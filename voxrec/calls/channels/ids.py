"""The ids of the channels, bridges and playbacks that voxrec creates in Asterisk.

An id contains the call and the role of the object, so that any voxrec process can tell from an event or an orphaned
object to which call it belongs.
"""

from typing import Final
from uuid import UUID

ANNOUNCEMENT: Final = "announcement"
"""Role of the announcement's playback."""
BRIDGE: Final = "bridge"
"""Role of the bridge."""
CALLER: Final = "caller"
"""Role of the channel of a caller whom voxrec calls."""
EARLY_MEDIA: Final = "early"
"""Role of the silent playback to the bridge during early media."""
PROGRESS: Final = "progress"
"""Role of the playback that tells the caller about early media."""
WAITING: Final = "waiting"
"""Role of the bridge in which the caller waits for the answer, in some versions of Asterisk."""
WHISPER: Final = "whisper"
"""Role of the snoop channel that plays beeps."""
_CONFIRMATION: Final = "confirm"
_LISTENING: Final = "listen"
_PREFIX: Final = "voxrec"
_LEG: Final = "leg"


def owned_id(call_id: UUID, role: str) -> str:
    """Return the id of an object of a call: ``voxrec-<call id>-<role>``."""
    return f"{_PREFIX}-{call_id}-{role}"


def owner_of(object_id: str) -> tuple[UUID, str] | None:
    """Return the call and the role in an id made by `owned_id`; None for any other id."""
    prefix, _, rest = object_id.partition("-")
    if prefix != _PREFIX or rest[36:37] != "-":
        return None
    try:
        return UUID(rest[:36]), rest[37:]
    except ValueError:
        return None


def leg_role(number: int) -> str:
    """Return the role of the outgoing leg with this number. The first leg is 1; every transfer adds another one."""
    return _LEG if number == 1 else f"{_LEG}{number}"


def is_leg(role: str) -> bool:
    """Return whether a role is that of an outgoing leg."""
    return role == _LEG or (role.startswith(_LEG) and role[len(_LEG) :].isdecimal())


def leg_number(channel: str) -> int:
    """Return the number of the outgoing leg with this channel id; 0 if it is no outgoing leg."""
    owner = owner_of(channel)
    return int(owner[1][len(_LEG) :] or 1) if owner is not None and is_leg(owner[1]) else 0


def confirmation_role(name: str) -> str:
    """Return the role of a snoop channel that plays a confirmation, and of its playback; ``name`` is unique."""
    return f"{_CONFIRMATION}-{name}"


def is_confirmation(role: str) -> bool:
    """Return whether a role is that of a confirmation."""
    return role.startswith(f"{_CONFIRMATION}-")


def listening_role(name: str) -> str:
    """Return the role of a channel or bridge that passes the audio of a call to listeners; ``name`` is unique."""
    return f"{_LISTENING}-{name}"


def is_listening(role: str) -> bool:
    """Return whether a role is that of a channel or bridge that passes the audio of a call to listeners."""
    return role.startswith(f"{_LISTENING}-")
