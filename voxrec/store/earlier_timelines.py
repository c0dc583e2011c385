"""Restores what was in a timeline before its call was taken over by a process that could not read the Recording."""

from itertools import takewhile
from typing import Final

import msgspec

from voxrec.model import TAKEN_OVER, Recording, TimelineEntry

_TOLERANCE: Final = 0.01  # seconds by which the times of one entry differ, because they are rounded


def is_continuation(snapshot: Recording) -> bool:
    """Return whether the process that took the snapshot does not know what was before it has taken over the call."""
    return bool(snapshot.timeline) and snapshot.timeline[0].event == TAKEN_OVER


def with_earlier_timeline(snapshot: Recording, stored: Recording) -> Recording:
    """Return a continuation with what is stored of the Recording from before; it can be stored already itself."""
    if snapshot.started_at is None or stored.started_at is None:
        return snapshot
    offset = (snapshot.started_at - stored.started_at).total_seconds()  # that process knows the time of the files only
    continued = tuple(msgspec.structs.replace(entry, at=round(entry.at + offset, 3)) for entry in snapshot.timeline)
    taken_over_at = continued[0].at

    def is_earlier(entry: TimelineEntry) -> bool:
        return entry.event != TAKEN_OVER or abs(entry.at - taken_over_at) > _TOLERANCE

    earlier = takewhile(is_earlier, stored.timeline)
    return msgspec.structs.replace(
        snapshot,
        started_at=stored.started_at,
        expires_at=stored.expires_at,
        timeline=(*earlier, *continued),
    )
