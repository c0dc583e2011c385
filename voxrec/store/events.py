"""Repository of events, and the queue through which calls append to it.

Events of Recordings are inserted by triggers, in the transaction that changes the Recording. A call must not wait for
PostgreSQL, so its events are queued in memory and inserted in the background. Events become visible in the order of
their ids; migration 0008 explains how.
"""

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Final, NamedTuple, Protocol
from uuid import UUID

import msgspec
from twisted.application.service import Service
from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IReactorTime
from twisted.internet.task import deferLater
from twisted.logger import Logger
from twisted.python.failure import Failure

from voxrec.clock import utc_now
from voxrec.deferreds import SingleFlight
from voxrec.errors import StoreUnavailable
from voxrec.model import Call, Event, EventType, ListeningEvent
from voxrec.postgres.pool import Pool
from voxrec.postgres.statement import PreparedStatement

EVENTS_CHANNEL: Final = "voxrec_events"
"""Notified when events were inserted; the payload is empty."""
LISTENING_CHANNEL: Final = "voxrec_listening"
"""Notified of events of listenings; the payload is the event."""
QUEUE_LIMIT: Final = 10_000  # events of calls that wait for PostgreSQL, at most
GATHER_DELAY: Final = 0.1  # seconds in which events are collected for one statement
_BATCH_SIZE: Final = 200  # events inserted with one statement, at most
_RETRY_DELAY: Final = 1.0  # seconds after PostgreSQL was unavailable
_FLUSH_TIMEOUT: Final = 5.0  # seconds that stopService waits for PostgreSQL

# An event that was inserted before its daemon crashed, or before the response of PostgreSQL was lost, is not repeated.
# OFFSET 0 makes PostgreSQL look up each event, instead of joining all of them while the table seems to be small.
_APPEND: Final = PreparedStatement("""
    SELECT voxrec_event(type, at, profile_id, data) FROM (
        SELECT type, at, profile_id, data
        FROM ROWS FROM (jsonb_to_recordset(%s::jsonb) AS (type text, at timestamptz, profile_id uuid, data jsonb))
            WITH ORDINALITY AS new (type, at, profile_id, data, position)
        WHERE NOT EXISTS (
            SELECT FROM events
            WHERE events.type LIKE 'call.%%' AND events.data ->> 'id' = new.data ->> 'id' AND events.type = new.type
              AND events.at = new.at
            OFFSET 0
        )
        ORDER BY position
    ) AS in_order
""")
# The newest of the expired events is retained, without the parties of its call: the oldest id then shows whether events
# after a given one were deleted.
_DELETE_OLD: Final = """
    WITH newest_expired AS (SELECT max(id) AS id FROM events WHERE stored_at < now() - %s),
    retained AS (
        UPDATE events SET data = voxrec_without_parties(data)
        FROM newest_expired
        WHERE events.id = newest_expired.id AND type LIKE 'call.%%' AND data <> voxrec_without_parties(data)
    )
    DELETE FROM events USING newest_expired WHERE events.id < newest_expired.id
"""
# A standby may not have received the last events of its former primary, nor the counter of their ids.
_SKIP_IDS: Final = """
    SELECT setval(sequence, nextval(sequence) + 100000)
    FROM CAST(pg_get_serial_sequence('events', 'id') AS regclass) AS sequence
"""


@dataclass(frozen=True, slots=True)
class CallEvent:
    """An event of a call that has not been inserted yet."""

    type: EventType
    at: datetime
    profile_id: UUID
    data: Call


class RetainedRange(NamedTuple):
    """The ids of the oldest and the newest event in the table; both are 0 if there never was one."""

    oldest: int
    newest: int


class Events:
    """The table of events. Methods raise StoreUnavailable while PostgreSQL cannot be reached."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def append(self, events: Sequence[CallEvent]) -> None:
        """Insert events in this order."""
        await self._pool.execute(_APPEND, (msgspec.json.encode(events).decode(),))

    async def announce(self, event: ListeningEvent) -> None:
        """Let the subscribers of all daemons know of a listening.

        Its events are not stored: a daemon of a version without them could not read the table any more.
        """
        await self._pool.query("SELECT pg_notify(%s, %s)", (LISTENING_CHANNEL, msgspec.json.encode(event).decode()))

    async def retained_range(self) -> RetainedRange:
        """Return the range of ids in the table."""
        (row,) = await self._pool.query("SELECT coalesce(min(id), 0), coalesce(max(id), 0) FROM events")
        return RetainedRange(*row)

    async def after(self, last_id: int, limit: int) -> list[Event]:
        """Return at most ``limit`` events after the one with the id ``last_id``, oldest first."""
        rows = await self._pool.query(
            "SELECT id, type, at, profile_id, data FROM events WHERE id > %s ORDER BY id LIMIT %s", (last_id, limit)
        )
        return [
            Event(id=id_, type=EventType(type_), at=at, profile_id=profile_id, data=data)
            for id_, type_, at, profile_id, data in rows
        ]

    async def skip_ids(self) -> None:
        """Let the next ids be greater than any that a former primary has assigned.

        Subscribers continue after the last id that they have received, and would miss events whose ids are lower.
        """
        await self._pool.returning(_SKIP_IDS)

    async def delete_older_than(self, age: timedelta) -> int:
        """Delete the events older than ``age`` except for the newest of them, and return how many were deleted."""
        return await self._pool.execute(_DELETE_OLD, (age,))


class EventSink(Protocol):
    """Where an EventQueue inserts: `Events`."""

    async def append(self, events: Sequence[CallEvent], /) -> None:
        """Insert events in this order."""


class EventFile(Protocol):
    """Where an EventQueue stores what PostgreSQL does not accept: `voxrec.journal.call_events.CallEventFile`."""

    def load(self) -> list[bytes]:
        """Return the lines that an earlier run left. Raises OSError."""

    async def append(self, lines: Sequence[bytes], /) -> None:
        """Write lines. Raises OSError."""

    async def clear(self) -> None:
        """Delete all lines. Raises OSError."""


class EventQueue(Service):
    """Events of calls until PostgreSQL has them.

    `append` never blocks. While the queue holds ``limit`` events, each new one replaces the oldest that is not being
    inserted. ``on_dropped`` receives the number of events lost. Events that PostgreSQL does not accept at once are
    written to ``file``, from which the next run continues.
    """

    name = "event queue"
    _log = Logger()

    def __init__(
        self,
        clock: IReactorTime,
        events: EventSink,
        file: EventFile,
        on_dropped: Callable[[int], None],
        limit: int = QUEUE_LIMIT,
    ) -> None:
        self._clock = clock
        self._events = events
        self._file = file
        self._in_file = 0  # events at the head of the queue that are in the file
        self._file_used = False
        self._on_dropped = on_dropped
        self._limit = limit
        self._queue: deque[CallEvent] = deque()
        self._writer = SingleFlight(self._write, self._write_failed)
        self._inserting = 0  # events at the head of the queue that are being inserted
        self._overflow_logged = False

    def __len__(self) -> int:
        return len(self._queue)

    def append(self, event: CallEvent) -> None:
        """Queue an event; it is inserted soon."""
        self._queue.append(event)
        if len(self._queue) > self._limit:
            self._drop_oldest()
        if not self._writer.running:  # a run in progress also inserts what is queued meanwhile
            self._writer.request()

    def call_changed(self, happened: EventType, call: Call) -> None:
        """Queue an event of a call with the current time."""
        self.append(CallEvent(happened, utc_now(self._clock), call.profile_id, call))

    def call_refused(self, cause: int) -> None:
        """Ignore a refused call: it has no events."""

    def startService(self) -> None:
        """Insert the events that an earlier run left in the file."""
        super().startService()
        try:
            lines = self._file.load()
        except OSError as error:
            self._log.error("events of calls cannot be read from the disk; they are lost: {error}", error=error)
            return
        events = [event for line in lines if (event := _decode(line)) is not None]
        if lines:
            self._queue.extendleft(reversed(events))
            self._in_file = len(events)
            self._file_used = True
            self._writer.request()

    def stopService(self) -> Deferred[None]:
        """Insert the remaining events, for a few seconds at most; write those that are left then to the file."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        timer = self._clock.callLater(_FLUSH_TIMEOUT, self._writer.cancel)
        await self._writer.wait()
        if timer.active():
            timer.cancel()
        self._inserting = 0
        if self._queue and await self._save():
            self._queue.clear()
        self._drop_all()

    def _drop_oldest(self) -> None:
        # Those being inserted may be in PostgreSQL already.
        del self._queue[self._inserting]
        self._in_file = max(0, self._in_file - 1)
        self._on_dropped(1)
        if not self._overflow_logged:
            self._overflow_logged = True
            self._log.error("{count} events of calls wait for PostgreSQL; dropping the oldest", count=self._limit)

    def _drop_all(self) -> None:
        if self._queue:
            self._on_dropped(len(self._queue))
            self._queue.clear()
        self._inserting = self._in_file = 0

    async def _write(self) -> None:
        """Insert what is queued. Not deferreds.retry: the batch may have changed when it tries again."""
        await deferLater(self._clock, GATHER_DELAY)
        while self._queue:
            batch = list(islice(self._queue, _BATCH_SIZE))
            self._inserting = len(batch)
            try:
                await self._events.append(batch)
            except StoreUnavailable:
                self._inserting = 0
                await self._save()
                await deferLater(self._clock, _RETRY_DELAY)
                continue
            for _ in batch:
                self._queue.popleft()
            self._in_file = max(0, self._in_file - len(batch))
            self._inserting = 0
            self._overflow_logged = False
        await self._clear_file()

    async def _save(self) -> bool:
        """Write the events that are not in the file; return whether that succeeded."""
        events = list(islice(self._queue, self._in_file, None))
        if not events:
            return True
        try:
            await self._file.append([msgspec.json.encode(event) for event in events])
        except OSError as error:
            self._log.error(
                "events of calls cannot be written to the disk; a crash would lose {count} of them: {error}",
                count=len(events),
                error=error,
            )
            return False
        self._file_used = True
        self._in_file = min(self._in_file + len(events), len(self._queue))
        return True

    async def _clear_file(self) -> None:
        if not self._file_used:
            return
        try:
            await self._file.clear()
            self._file_used = False
        except OSError as error:
            self._log.error("the file of call events cannot be deleted; it contains numbers: {error}", error=error)

    def _write_failed(self, failure: Failure) -> None:
        self._log.failure(
            "{count} events of calls could not be inserted; dropping them", failure, count=len(self._queue)
        )
        self._drop_all()
        Deferred.fromCoroutine(self._clear_file())  # the next run would fail too


def _decode(line: bytes) -> CallEvent | None:
    try:
        return msgspec.json.decode(line, type=CallEvent)
    except msgspec.MsgspecError:
        return None
