"""What happens, in order: written with the change itself for Recordings, and from a queue for calls.

A Recording's events are made by triggers, in the transaction that changes it. A call must not wait for PostgreSQL, so
what it tells is queued here and written by and by. The migration says why ids are seen in order.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import Final, NamedTuple, Protocol
from uuid import UUID

import msgspec
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxrec.errors import StoreUnavailable
from voxrec.model import Call, Event, EventType
from voxrec.postgres.connection import Prepared
from voxrec.postgres.pool import Pool

EVENTS_CHANNEL: Final = "voxrec_events"  # says that there are new ones
QUEUED: Final = 10_000  # events of calls that wait for PostgreSQL at most
GATHER: Final = 0.05  # seconds in which what happens is written with one statement
_AT_ONCE: Final = 200  # with one statement at most
_PAUSE: Final = 1.0  # seconds after PostgreSQL has failed
_FLUSH: Final = 5.0  # seconds that stop() gives to the rest

_TELL: Final = Prepared("""
    SELECT voxrec_event(type, at, profile_id, data)
    FROM jsonb_to_recordset(%s::jsonb) AS told (type text, at timestamptz, profile_id uuid, data jsonb)
""")
# The last one that is too old stays, so that the oldest id tells whether something was removed behind a given one.
_FORGET: Final = "DELETE FROM events WHERE id < (SELECT max(id) FROM events WHERE stored_at < now() - %s)"


@dataclass(frozen=True, slots=True)
class CallEvent:
    """An event that is not yet written down."""

    type: EventType
    at: datetime
    profile_id: UUID
    data: Call


class RetainedRange(NamedTuple):
    """The ids of the oldest and the newest event that there are; both 0 where there was none yet."""

    oldest: int
    newest: int


class Events:
    """The events in PostgreSQL. Everything raises StoreUnavailable while it does not answer."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def append(self, news: Sequence[CallEvent]) -> None:
        """Write down what happened, in this order."""
        await self._pool.execute(_TELL, (msgspec.json.encode(news).decode(),))

    async def retained_range(self) -> RetainedRange:
        """What there is."""
        (row,) = await self._pool.query("SELECT coalesce(min(id), 0), coalesce(max(id), 0) FROM events")
        return RetainedRange(*row)

    async def after(self, last: int, limit: int) -> list[Event]:
        """At most ``limit`` of those behind the one with the id ``last``, oldest first."""
        rows = await self._pool.query(
            "SELECT id, type, at, profile_id, data FROM events WHERE id > %s ORDER BY id LIMIT %s", (last, limit)
        )
        return [
            Event(id=number, type=EventType(type_), at=at, profile_id=profile_id, data=data)
            for number, type_, at, profile_id, data in rows
        ]

    async def delete_older_than(self, age: timedelta) -> int:
        """Remove those that are older than ``age``, but for the last one of them; how many they were."""
        return await self._pool.execute(_FORGET, (age,))


class EventSink(Protocol):
    """Where a queue's events go: `Events`, or what a test puts in its place."""

    async def append(self, news: Sequence[CallEvent], /) -> None:
        """Write down what happened, in this order."""


class EventQueue:
    """What calls tell, until PostgreSQL has it. Never blocks: where it is full, the oldest is dropped, and counted."""

    _log = Logger()

    def __init__(
        self, clock: IReactorTime, events: EventSink, dropped: Callable[[int], None], limit: int = QUEUED
    ) -> None:
        self._clock = clock
        self._events = events
        self._dropped = dropped
        self._limit = limit
        self._waiting: deque[CallEvent] = deque()
        self._writer: Deferred[None] | None = None
        self._writing = 0  # how many of the first ones are under way
        self._full = False

    def __len__(self) -> int:
        return len(self._waiting)

    def append(self, news: CallEvent) -> None:
        """Have it written down soon."""
        self._waiting.append(news)
        if len(self._waiting) > self._limit:
            self._drop()
        if self._writer is None:
            self._writer = Deferred.fromCoroutine(self._write())
            self._writer.addErrback(self._failed).addCallback(self._rest)

    def call_changed(self, happened: EventType, call: Call) -> None:
        """Something happened to a call, just now."""
        self.append(CallEvent(happened, datetime.fromtimestamp(self._clock.seconds(), UTC), call.profile_id, call))

    def call_refused(self, cause: int) -> None:
        """There was no call, so there is no event."""

    async def stop(self) -> None:
        """Write down what is left, for a few seconds at most."""
        if self._writer is None:
            return
        over: Deferred[None] = Deferred()
        self._writer.addBoth(lambda _: over.callback(None))
        timer = self._clock.callLater(_FLUSH, self._writer.cancel)
        await over
        if timer.active():
            timer.cancel()

    def _drop(self) -> None:
        # not one that may have been written already
        del self._waiting[self._writing]
        self._dropped(1)
        if not self._full:
            self._full = True
            self._log.error("{count} events of calls wait for PostgreSQL; further ones are lost", count=self._limit)

    async def _write(self) -> None:
        await deferLater(self._clock, GATHER)
        while self._waiting:
            batch = list(islice(self._waiting, _AT_ONCE))
            self._writing = len(batch)
            try:
                await self._events.append(batch)
            except StoreUnavailable:
                self._writing = 0
                await deferLater(self._clock, _PAUSE)
                continue
            for _ in batch:
                self._waiting.popleft()
            self._writing = 0
            self._full = False

    def _failed(self, failure: Failure) -> None:
        if not failure.check(CancelledError):
            self._log.failure("events of calls could not be written down, and are lost", failure)
        self._dropped(len(self._waiting))
        self._waiting.clear()
        self._writing = 0

    def _rest(self, _: None) -> None:
        self._writer = None
