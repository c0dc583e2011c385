"""The most recent events, encoded for the streams of all subscribers."""

from bisect import bisect_right
from collections import deque
from collections.abc import Sequence, Set
from dataclasses import dataclass
from itertools import islice
from typing import Final

import msgspec

from voxrec.model import Event, EventType
from voxrec.web.sse import encode_event

BUFFER_SIZE: Final = 1000  # events


@dataclass(frozen=True, slots=True)
class EncodedEvent:
    """An event and its encoding for the stream."""

    event: Event
    frame: bytes

    @classmethod
    def of(cls, event: Event) -> "EncodedEvent":
        """Encode an event."""
        return cls(event, encode_event(event.type, msgspec.json.encode(event), event.id))


class EventBuffer:
    """All events after a certain one, at most BUFFER_SIZE: the oldest ones are dropped for new ones."""

    def __init__(self) -> None:
        self._events: deque[EncodedEvent] = deque()
        self._start = 0
        self._newest = 0

    @property
    def newest(self) -> int:
        """The id of the newest event that the buffer has had; later ones have not been read yet."""
        return self._newest

    def restart(self, newest: int) -> None:
        """Drop all events, and continue after the one with the id ``newest``."""
        self._events.clear()
        self._start = self._newest = newest

    def append(self, events: Sequence[Event]) -> None:
        """Add the next events, oldest first, at least one.

        Those that say that a Recording was deleted erase the personal data of its call from the buffer.
        """
        self._events.extend(map(EncodedEvent.of, events))
        self._erase_parties({event.data.get("callId") for event in events if event.type is EventType.RECORDING_DELETED})
        self._newest = events[-1].id
        while len(self._events) > BUFFER_SIZE:
            self._start = self._events.popleft().event.id

    def covers(self, last_id: int) -> bool:
        """Return whether the buffer has all events after ``last_id``, up to the newest."""
        return last_id >= self._start

    def after(self, last_id: int, limit: int) -> list[EncodedEvent]:
        """Return at most ``limit`` events after ``last_id``, oldest first."""
        start = bisect_right(self._events, last_id, key=_event_id)
        return list(islice(self._events, start, start + limit))

    def _erase_parties(self, call_ids: Set[str | None]) -> None:
        """Erase personal data of calls: their Recordings were deleted."""
        if not call_ids - {None}:
            return
        self._events = deque(
            EncodedEvent.of(encoded.event.without_parties())
            if encoded.event.type.startswith("call.") and encoded.event.data.get("id") in call_ids
            else encoded
            for encoded in self._events
        )


def _event_id(encoded: EncodedEvent) -> int:
    return encoded.event.id
