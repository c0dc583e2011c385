"""The state of the announcement of a recorded call."""

import enum
from typing import Final


class Announcement(enum.Enum):
    """How far the announcement of a recorded call has got."""

    NOT_REQUIRED = enum.auto()
    PENDING = enum.auto()
    PLAYING = enum.auto()
    FINISHED = enum.auto()
    FAILED = enum.auto()


UNFINISHED: Final = frozenset({Announcement.PENDING, Announcement.PLAYING})
"""The states in which the parties have not heard the whole announcement, but may still do."""
