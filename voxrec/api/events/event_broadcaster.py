"""Distributes events of calls and Recordings to the subscribers of /events (Server-Sent Events, HTML standard 9.2).

PostgreSQL notifies every daemon of new events. A daemon reads each event once for all its subscribers and buffers the
most recent ones. A subscriber is only a position (the id of the last event sent), so a slow client costs no memory
beyond the bytes in transit: once it falls behind the buffer, its events are read from PostgreSQL. The ResponseWriter
disconnects a client that stops reading; it can resume from its last event.
"""

from collections.abc import Callable
from datetime import datetime
from typing import Final, Protocol

import msgspec
from twisted.application.service import Service
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxrec.api.events.event_buffer import EncodedEvent, EventBuffer
from voxrec.api.events.subscriber import RETRY_DELAY, EventFilter, Subscriber
from voxrec.deferreds import SingleFlight
from voxrec.errors import StoreUnavailable, Unavailable
from voxrec.model import Event, ListeningEvent
from voxrec.store.events import RetainedRange
from voxrec.web.sse import encode_event, encode_retry

_BATCH_SIZE: Final = 100  # events read, or sent, at once
_RECONNECTION_TIME: Final = 2000  # milliseconds before a disconnected client reconnects


class EventRepository(Protocol):
    """The stored events. Every method raises StoreUnavailable if PostgreSQL does not respond."""

    async def retained_range(self) -> RetainedRange:
        """Return the ids of the oldest and the newest stored event."""

    async def after(self, last: int, limit: int, /) -> list[Event]:
        """Return at most ``limit`` events with ids greater than ``last``, oldest first."""


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
        self._buffer = EventBuffer()
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
    ) -> Subscriber:
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
            self._buffer.restart(retained.newest)
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

    async def events_after(self, last_id: int) -> list[EncodedEvent]:
        """Return the next events after ``last_id``, oldest first, at most one batch; empty if there are none yet."""
        if last_id >= self._buffer.newest:
            return []
        if self._buffer.covers(last_id):
            return self._buffer.after(last_id, _BATCH_SIZE)
        return [EncodedEvent.of(event) for event in await self._repository.after(last_id, _BATCH_SIZE)]

    def unsubscribe(self, subscriber: Subscriber) -> None:
        """Remove a subscriber, if it has not been removed yet."""
        if subscriber in self._subscribers:
            self._subscribers.discard(subscriber)
            if not self._subscribers:
                self._buffer.restart(self._buffer.newest)
                self._on_active_change(False)

    async def _fetch(self) -> None:
        if not self._subscribers:
            return
        newest = self._buffer.newest
        try:
            events = await self._repository.after(newest, _BATCH_SIZE)
        except StoreUnavailable:
            # not deferreds.retry: the attempts must end with the last subscriber
            await deferLater(self._clock, RETRY_DELAY)
            self._fetching.request()
            return
        if newest != self._buffer.newest:  # the buffer was started anew for other subscribers
            self._fetching.request()
        elif events:
            self._fetching.request()  # there may be more than one batch
            self._buffer.append(events)
            for subscriber in tuple(self._subscribers):
                subscriber.notify()

    def _fetch_failed(self, failure: Failure) -> None:
        self._log.failure("Reading events failed; retrying at the next notification", failure)


def _reset_frame(last_id: int) -> bytes:
    """Encode a `reset` event. It has no id, so that a client that is disconnected now resumes from the same id."""
    return encode_event("reset", b'{"type":"reset","lastEventId":%d}' % last_id)
