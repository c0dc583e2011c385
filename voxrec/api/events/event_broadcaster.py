"""Distributes events of calls and Recordings to the subscribers of /events (Server-Sent Events, HTML standard 9.2).

PostgreSQL notifies every daemon of new events. A daemon reads each event once for all its subscribers and buffers the
most recent ones. A subscriber is only a position (the id of the last event sent), so a slow client costs no memory
beyond the bytes in transit: once it falls behind the buffer, its events are read from PostgreSQL. The ResponseWriter
disconnects a client that stops reading; it can resume from its last event.
"""

import math
from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Collection, Set
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Final, Protocol
from uuid import UUID

import msgspec
from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxrec.clock import utc_now
from voxrec.deferreds import AsyncEvent, SingleFlight
from voxrec.errors import StoreUnavailable, Unavailable
from voxrec.model import Event, EventType, ListeningEvent, ListeningEventType
from voxrec.store.events import RetainedRange
from voxrec.web.sse import HEARTBEAT, encode_event, encode_retry

HEARTBEAT_INTERVAL: Final = 15.0  # seconds of silence before a comment is sent, so that proxies keep the connection
BUFFER_SIZE: Final = 1000  # events
_BATCH_SIZE: Final = 100  # events read, or sent, at once
_RETRY_DELAY: Final = 1.0  # seconds after PostgreSQL failed
_RECONNECTION_TIME: Final = 2000  # milliseconds before a disconnected client reconnects


class EventRepository(Protocol):
    """The stored events. Every method raises StoreUnavailable if PostgreSQL does not respond."""

    async def retained_range(self) -> RetainedRange:
        """Return the ids of the oldest and the newest stored event."""

    async def after(self, last: int, limit: int, /) -> list[Event]:
        """Return at most ``limit`` events with ids greater than ``last``, oldest first."""


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


@dataclass(frozen=True, slots=True)
class BufferedEvent:
    """An event and its encoding for the stream."""

    event: Event
    frame: bytes

    @classmethod
    def of(cls, event: Event) -> "BufferedEvent":
        """Encode an event."""
        return cls(event, encode_event(event.type, msgspec.json.encode(event), event.id))


class EventBroadcaster(Service):
    """Reads new events once and passes them to all subscribers.

    While there are subscribers, call `refresh` on every notification of EVENTS_CHANNEL, and whenever its Listener
    recovers. Without subscribers the daemon need not listen to that channel; see `set_activity_callback`.
    """

    name = "event broadcaster"
    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        repository: EventRepository,
    ) -> None:
        self._clock = clock
        self._repository = repository
        self._on_active_change: Callable[[bool], object] = lambda _active: None
        self._buffer: deque[BufferedEvent] = deque()  # all events with ids in (_buffer_start, _newest]
        self._buffer_start = 0
        self._newest = 0
        self._subscribers: set[Subscriber] = set()
        self._fetching = SingleFlight(self._fetch, self._fetch_failed)
        self._stopped = False
        self._disconnections = 0

    def set_activity_callback(self, callback: Callable[[bool], object]) -> None:
        """Set the function to call before the first subscriber is added (True) and after the last has left (False)."""
        self._on_active_change = callback

    @property
    def subscriber_count(self) -> int:
        """The number of subscribers."""
        return len(self._subscribers)

    async def subscribe(
        self, event_filter: EventFilter, last_id: int | None, expires_at: datetime | None = None
    ) -> "Subscriber":
        """Return a stream of the events after ``last_id``, or of new events only if it is None.

        It ends at ``expires_at``, when the client's token expires, and whenever tokens change (`disconnect_all`).

        If ``last_id`` is older than the retained events, or was never assigned, the stream begins with a `reset` event,
        followed by all retained events. Raises Unavailable if the broadcaster is stopped, StoreUnavailable if
        PostgreSQL does not respond.
        """
        disconnections = self._disconnections
        retained = await self._repository.retained_range()
        if self._stopped:
            raise Unavailable("voxrec is stopping")
        preamble = [encode_retry(_RECONNECTION_TIME)]
        if last_id is None:
            last_id = retained.newest
        elif not retained.oldest - 1 <= last_id <= retained.newest:
            preamble.append(_reset_frame(last_id))
            last_id = 0
        if not self._subscribers:
            self._buffer.clear()
            self._buffer_start = self._newest = retained.newest
            self._on_active_change(True)
        subscriber = Subscriber(self, self._clock, event_filter, last_id, b"".join(preamble), expires_at)
        self._subscribers.add(subscriber)
        if disconnections != self._disconnections:  # the client was authenticated before tokens changed
            subscriber.close()
        self.refresh()  # an event may have been stored since the query
        return subscriber

    def refresh(self) -> None:
        """Read new events, if there are subscribers."""
        if self._subscribers:
            self._fetching.request()

    def listening_announced(self, payload: str) -> None:
        """Handle a notification of LISTENING_CHANNEL: pass the event on, which is stored nowhere."""
        event = msgspec.json.decode(payload, type=ListeningEvent)
        frame = encode_event(event.type, msgspec.json.encode(event))
        for subscriber in tuple(self._subscribers):
            subscriber.announce(event, frame)

    def disconnect_all(self) -> None:
        """End all streams, because tokens changed. Clients whose tokens are still valid reconnect and resume."""
        self._disconnections += 1
        for subscriber in tuple(self._subscribers):
            subscriber.close()

    def stopService(self) -> None:
        """End all streams and refuse new ones. Clients reconnect, to this daemon or to another."""
        super().stopService()
        self._stopped = True
        self.disconnect_all()
        self._fetching.cancel()

    async def events_after(self, last_id: int) -> list[BufferedEvent]:
        """Return the next events after ``last_id``, oldest first, at most one batch; empty if there are none yet."""
        if last_id >= self._newest:
            return []
        if last_id >= self._buffer_start:
            start = bisect_right(self._buffer, last_id, key=_event_id)
            return list(islice(self._buffer, start, start + _BATCH_SIZE))
        return [BufferedEvent.of(event) for event in await self._repository.after(last_id, _BATCH_SIZE)]

    def unsubscribe(self, subscriber: "Subscriber") -> None:
        """Remove a subscriber, if it has not been removed yet."""
        if subscriber in self._subscribers:
            self._subscribers.discard(subscriber)
            if not self._subscribers:
                self._buffer.clear()
                self._buffer_start = self._newest
                self._on_active_change(False)

    async def _fetch(self) -> None:
        if not self._subscribers:
            return
        newest = self._newest
        try:
            events = await self._repository.after(newest, _BATCH_SIZE)
        except StoreUnavailable:
            # not deferreds.retry: the attempts must end with the last subscriber
            await deferLater(self._clock, _RETRY_DELAY)
            self._fetching.request()
            return
        if newest != self._newest:  # the buffer was started anew for other subscribers
            self._fetching.request()
        elif events:
            self._fetching.request()  # there may be more than one batch
            self._append(events)

    def _append(self, events: list[Event]) -> None:
        self._buffer.extend(map(BufferedEvent.of, events))
        self._erase_parties({event.data.get("callId") for event in events if event.type is EventType.RECORDING_DELETED})
        self._newest = events[-1].id
        while len(self._buffer) > BUFFER_SIZE:
            self._buffer_start = self._buffer.popleft().event.id
        for subscriber in tuple(self._subscribers):
            subscriber.notify()

    def _erase_parties(self, call_ids: Set[str | None]) -> None:
        """Erase personal data of calls from the buffer: their Recordings were deleted."""
        if not call_ids - {None}:
            return
        self._buffer = deque(
            BufferedEvent.of(buffered.event.without_parties())
            if buffered.event.type.startswith("call.") and buffered.event.data.get("id") in call_ids
            else buffered
            for buffered in self._buffer
        )

    def _fetch_failed(self, failure: Failure) -> None:
        self._log.failure("Reading events failed; retrying at the next notification", failure)


class Subscriber:
    """The event stream of one client: a response body that ends when the client or the daemon disconnects."""

    def __init__(
        self,
        broadcaster: EventBroadcaster,
        clock: IReactorTime,
        event_filter: EventFilter,
        last_id: int,
        preamble: bytes,
        expires_at: datetime | None = None,
    ) -> None:
        self._broadcaster = broadcaster
        self._clock = clock
        self._filter = event_filter
        self._last_id = last_id
        self._preamble = preamble
        self._expires_at = expires_at
        self._closed = False
        self._notified = AsyncEvent(clock)
        self._announced: deque[bytes] = deque(maxlen=_BATCH_SIZE)

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
        self._broadcaster.unsubscribe(self)

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
            while not self._ended and (events := await self._broadcaster.events_after(self._last_id)):
                self._last_id = events[-1].event.id
                if matching := [buffered.frame for buffered in events if self._filter.matches(buffered.event)]:
                    return b"".join(matching)
        except StoreUnavailable:
            await self._notified.wait(_RETRY_DELAY)
        return b""


def _event_id(buffered: BufferedEvent) -> int:
    return buffered.event.id


def _reset_frame(last_id: int) -> bytes:
    """Encode a `reset` event. It has no id, so that a client that is disconnected now resumes from the same id."""
    return encode_event("reset", b'{"type":"reset","lastEventId":%d}' % last_id)
