"""The stream of one client of /events, and what it has subscribed to."""

import math
from collections import deque
from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final, Protocol
from uuid import UUID

from twisted.internet.interfaces import IReactorTime

from voxrec.api.events.event_buffer import EncodedEvent
from voxrec.clock import utc_now
from voxrec.deferreds import AsyncEvent
from voxrec.errors import StoreUnavailable
from voxrec.model import Event, EventType, ListeningEvent, ListeningEventType
from voxrec.web.sse import HEARTBEAT

HEARTBEAT_INTERVAL: Final = 15.0  # seconds of silence before a comment is sent, so that proxies keep the connection
MAX_ANNOUNCED: Final = 100  # events of listenings that wait for a slow client
RETRY_DELAY: Final = 1.0  # seconds after PostgreSQL failed


@dataclass(frozen=True, slots=True)
class EventFilter:
    """The events that a client subscribes to. No ``types``: all types. ``profile_ids`` None: all Profiles.

    ``with_listenings``: also the events of listenings.
    """

    types: Collection[EventType | ListeningEventType] = ()
    profile_ids: Collection[UUID] | None = None
    with_listenings: bool = False

    def matches(self, event: Event | ListeningEvent) -> bool:
        """Return whether the event passes the filter."""
        return (
            (not self.types or event.type in self.types)
            and (self.profile_ids is None or event.profile_id in self.profile_ids)
            and (self.with_listenings or isinstance(event, Event))
        )


class EventSource(Protocol):
    """What a subscriber reads from."""

    async def events_after(self, last_id: int, /) -> list[EncodedEvent]:
        """Return the next events after ``last_id``, oldest first; empty if there are none yet.

        Raises StoreUnavailable if PostgreSQL does not respond.
        """

    def unsubscribe(self, subscriber: "Subscriber", /) -> None:
        """Remove a subscriber, if it has not been removed yet."""


class Subscriber:
    """The event stream of one client: a response body that ends when the client or the daemon disconnects."""

    def __init__(
        self,
        source: EventSource,
        clock: IReactorTime,
        event_filter: EventFilter,
        last_id: int,
        preamble: bytes,
        expires_at: datetime | None = None,
    ) -> None:
        self._source = source
        self._clock = clock
        self._filter = event_filter
        self._last_id = last_id
        self._preamble = preamble
        self._expires_at = expires_at
        self._closed = False
        self._notified = AsyncEvent(clock)
        self._announced: deque[bytes] = deque(maxlen=MAX_ANNOUNCED)

    def __aiter__(self) -> "Subscriber":
        return self

    async def __anext__(self) -> bytes:
        """Return the next events, or a heartbeat after a silence of HEARTBEAT_INTERVAL."""
        preamble, self._preamble = self._preamble, b""
        if preamble:
            return preamble
        deadline = self._clock.seconds() + HEARTBEAT_INTERVAL
        while not self._ended:
            frames = await self._next_frames()
            if self._ended:
                break
            if frames:
                return frames
            if (remaining := deadline - self._clock.seconds()) <= 0:
                return HEARTBEAT
            await self._notified.wait(min(remaining, self._seconds_left))
        raise StopAsyncIteration

    @property
    def _ended(self) -> bool:
        """Whether the stream was closed, or the client's token has expired."""
        return self._closed or self._seconds_left <= 0

    @property
    def _seconds_left(self) -> float:
        """The time until the client's token expires."""
        return math.inf if self._expires_at is None else (self._expires_at - utc_now(self._clock)).total_seconds()

    async def aclose(self) -> None:
        """End the stream and unsubscribe."""
        self.close()
        self._source.unsubscribe(self)

    def close(self) -> None:
        """End the stream."""
        self._closed = True
        self.notify()

    def announce(self, event: ListeningEvent, frame: bytes) -> None:
        """Send an event that is not stored, if it passes the filter. A slow client loses the oldest of them."""
        if self._filter.matches(event):
            self._announced.append(frame)
            self.notify()

    def notify(self) -> None:
        """Look for new events."""
        self._notified.set()

    async def _next_frames(self) -> bytes:
        """Return the next events that match the filter, or nothing once all events were seen."""
        if self._announced:
            frames = b"".join(self._announced)
            self._announced.clear()
            return frames
        try:
            while not self._ended and (events := await self._source.events_after(self._last_id)):
                self._last_id = events[-1].event.id
                if matching := [encoded.frame for encoded in events if self._filter.matches(encoded.event)]:
                    return b"".join(matching)
        except StoreUnavailable:
            await self._notified.wait(RETRY_DELAY)
        return b""
