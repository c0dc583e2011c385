"""The ids that voxrec gives to what it makes in Asterisk.

Each tells the call and the role, so that an event, a leftover channel or a file says whose it is to any voxrec that
meets it.
"""

from uuid import UUID

from voxrec.model import Side

_PREFIX = "voxrec"


def owned_id(call_id: UUID, role: str) -> str:
    """The id of a channel, bridge or playback of a call: ``voxrec-<call id>-<role>``."""
    return f"{_PREFIX}-{call_id}-{role}"


def owner_of(owned: str) -> tuple[UUID, str] | None:
    """The call and the role behind an id made by `owned_id`; None where the id is not one."""
    prefix, _, rest = owned.partition("-")
    if prefix != _PREFIX or rest[36:37] != "-":
        return None
    try:
        return UUID(rest[:36]), rest[37:]
    except ValueError:
        return None


def leg_role(number: int) -> str:
    """The role of a call's first outgoing channel, or of a later one, to which it was transferred."""
    return "leg" if number == 1 else f"leg{number}"


def is_leg(role: str) -> bool:
    """Whether this is the role of an outgoing channel."""
    return role == "leg" or (role.startswith("leg") and role[3:].isdecimal())


def leg_number(channel: str) -> int:
    """Which of a call's outgoing channels this id names, the first being 1; 0 where it names none."""
    owner = owner_of(channel)
    return int(owner[1][3:] or 1) if owner is not None and is_leg(owner[1]) else 0


def snoop_role(side: Side) -> str:
    """The role of the channel that one side is recorded from."""
    return f"snoop-{side}"


WHISPER = "whisper"
"""The role of the channel that beeps."""
