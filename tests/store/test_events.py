"""Tests of voxrec.store.events: events of triggers, of the queue, and their order under concurrent transactions."""

from collections.abc import Sequence
from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
import psycopg2
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock, deferLater
from twisted.trial.unittest import SynchronousTestCase

from tests.database import DatabaseTestCase, reactor, until
from tests.store.samples import NOON, recording
from voxrec.errors import StoreUnavailable
from voxrec.model import Call, CallState, EventType, Recording, RecordingState
from voxrec.postgres.listener import Listener
from voxrec.postgres.transaction import Transaction
from voxrec.store.events import EVENTS_CHANNEL, GATHER_DELAY, CallEvent, EventQueue, Events, RetainedRange
from voxrec.store.recordings import Recordings


def call_event(type_: EventType = EventType.CALL_STARTED, seconds: float = 0, **fields: Any) -> CallEvent:
    call = Call(
        id=uuid4(), profile_id=uuid4(), state=CallState.PLACING, age=0.0, to="+49301", started_at=NOON, **fields
    )
    return CallEvent(type_, NOON + timedelta(seconds=seconds), call.profile_id, call)


class EventsTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.events = Events(self.pool)
        self.recordings = Recordings(self.pool)

    async def types_and_ids(self) -> list[tuple[str, UUID]]:
        return [(event.type.value, UUID(event.data["id"])) for event in await self.events.after(0, 100)]

    async def test_appended_events(self) -> None:
        events = [
            call_event(EventType.CALL_STARTED),
            call_event(EventType.CALL_ENDED, 3, hangup_cause=17, from_="+4930"),
        ]
        await self.events.append(events)
        first, second = await self.events.after(0, 10)
        self.assertLess(first.id, second.id)
        self.assertEqual((first.type, first.at, first.profile_id), ("call.started", NOON, events[0].profile_id))
        self.assertEqual(second.at, NOON + timedelta(seconds=3))
        self.assertEqual(msgspec.convert(second.data, Call), events[1].data)
        self.assertEqual(await self.events.after(first.id, 10), [second])
        self.assertEqual(await self.events.after(0, 1), [first])
        self.assertEqual(await self.events.retained_range(), RetainedRange(first.id, second.id))

    async def test_a_repeated_event_is_inserted_once(self) -> None:
        """After a crash, or if the response of PostgreSQL was lost, the queue inserts events a second time."""
        first, second = call_event(), call_event(EventType.CALL_ENDED)
        await self.events.append([first])
        await self.events.append([first, second])
        self.assertEqual(len(await self.events.after(0, 10)), 2)

    async def test_empty_table(self) -> None:
        self.assertEqual(await self.events.retained_range(), RetainedRange(0, 0))
        self.assertEqual(await self.events.after(0, 10), [])

    async def test_events_of_a_recording(self) -> None:
        one = recording(call_id=uuid4(), started_at=NOON)
        await self.recordings.record(one)
        for state in (RecordingState.PAUSED, RecordingState.RECORDING, RecordingState.PROCESSING):
            one = msgspec.structs.replace(one, state=state, updated_at=one.updated_at + timedelta(seconds=1))
            await self.recordings.record(one)
            await self.recordings.record(one)  # repeated: no event
        await self.recordings.complete(
            msgspec.structs.replace(one, state=RecordingState.COMPLETED, duration=2.5, size=7)
        )
        await self.recordings.delete(one.id)
        events = await self.events.after(0, 100)
        names = ("started", "paused", "resumed", "processing", "completed", "deleted")
        self.assertEqual([event.type for event in events], [f"recording.{name}" for name in names])
        self.assertEqual({event.profile_id for event in events}, {one.profile_id})
        data = events[4].data
        self.assertEqual((data["id"], data["callId"]), (str(one.id), str(one.call_id)))
        self.assertEqual((data["state"], data["duration"], data["size"]), ("completed", 2.5, 7))
        self.assertEqual(msgspec.convert(data["startedAt"], type(NOON)), one.started_at)
        self.assertNotIn("from", data)

    async def test_failed_and_absent_recordings(self) -> None:
        for state in (RecordingState.FAILED, RecordingState.ABSENT):
            one = await self.recordings.create(recording(state=RecordingState.PENDING))
            await self.recordings.complete(msgspec.structs.replace(one, state=state))
        types = [type_ for type_, _ in await self.types_and_ids()]
        ends = ["recording.failed", "recording.pending", "recording.absent"]
        self.assertEqual(types, ["recording.pending", *ends])

    async def test_change_of_other_fields_is_no_event(self) -> None:
        one = await self.recordings.create(recording(state=RecordingState.COMPLETED))
        await self.recordings.update(one.id, lambda old: msgspec.structs.replace(old, legal_hold=True))
        self.assertEqual(await self.types_and_ids(), [("recording.completed", one.id)])

    async def test_rolled_back_change_is_no_event(self) -> None:
        async def work(transaction: Transaction) -> None:
            await transaction.execute("DELETE FROM recordings")
            raise ZeroDivisionError

        one = await self.recordings.create(recording(state=RecordingState.COMPLETED))
        await self.assertFailure(Deferred.fromCoroutine(self.pool.transaction(work)), ZeroDivisionError)
        self.assertEqual(await self.types_and_ids(), [("recording.completed", one.id)])

    async def test_ids_become_visible_in_order(self) -> None:
        """While the transaction with the lower id is open, the event of the other one must not be visible."""
        first, second = psycopg2.connect(self.dsn), psycopg2.connect(self.dsn)
        self.addCleanup(first.close)
        self.addCleanup(second.close)
        tell = "SELECT voxrec_event('call.started', now(), NULL, %s::jsonb)"
        first.cursor().execute(tell, ('{"n": 1}',))
        second_event = Deferred.fromCoroutine(self.append_second(tell))
        await deferLater(reactor, 0.3)
        self.assertEqual(await self.events.after(0, 10), [])
        self.assertNoResult(second_event)
        first.commit()
        await second_event
        self.assertEqual([event.data["n"] for event in await self.events.after(0, 10)], [1, 2])

    async def append_second(self, tell: str) -> None:
        await self.pool.execute(tell, ('{"n": 2}',))

    async def test_open_transaction_does_not_delay_others(self) -> None:
        """A trigger inserts at the commit, after the events that were inserted during the transaction."""
        one = await self.recordings.create(recording(state=RecordingState.COMPLETED))

        async def work(transaction: Transaction) -> None:
            await transaction.execute("DELETE FROM recordings WHERE id = %s", (one.id,))
            await self.events.append([call_event()])  # on another connection, without waiting

        await self.pool.transaction(work)
        types = [type_ for type_, _ in await self.types_and_ids()]
        self.assertEqual(types, ["recording.completed", "call.started", "recording.deleted"])

    async def test_deleting_old_events_retains_the_newest_of_them(self) -> None:
        await self.events.append([call_event() for _ in range(5)])
        ids = [event.id for event in await self.events.after(0, 10)]
        self.assertEqual(await self.events.delete_older_than(timedelta(days=7)), 0)
        await self.pool.execute("UPDATE events SET stored_at = now() - interval '8 days' WHERE id <= %s", (ids[2],))
        self.assertEqual(await self.events.delete_older_than(timedelta(days=7)), 2)
        self.assertEqual(await self.events.retained_range(), RetainedRange(ids[2], ids[4]))
        retained, *others = await self.events.after(0, 10)
        self.assertIsNone(retained.data["to"])
        self.assertEqual([event.data["to"] for event in others], ["+49301", "+49301"])
        self.assertEqual(await self.events.delete_older_than(timedelta(days=7)), 0)

    async def test_events_of_a_call_lose_the_parties_with_its_recording(self) -> None:
        one = await self.recordings.create(recording(call_id=uuid4(), state=RecordingState.COMPLETED))
        other = await self.recordings.create(recording(call_id=uuid4(), state=RecordingState.COMPLETED))
        for each in (one, other):
            await self.events.append([self.event_of(each, EventType.CALL_STARTED)])
        await self.recordings.delete(one.id)
        # the events of a call are queued: the last ones can be inserted after the deletion
        await self.events.append([self.event_of(each, EventType.CALL_ENDED) for each in (one, other)])
        data = [event.data for event in await self.events.after(0, 10) if event.type.startswith("call.")]
        self.assertEqual([entry["id"] for entry in data], [str(each.call_id) for each in (one, other, one, other)])
        for entry in (data[0], data[2]):
            self.assertEqual([entry[key] for key in ("from", "fromName", "to", "remoteSipUri")], [None] * 4)
            self.assertEqual(entry["state"], "placing")
        for entry in (data[1], data[3]):
            self.assertEqual((entry["from"], entry["fromName"], entry["to"]), ("+4930", "Alice", "+49301"))

    async def test_event_inserted_while_the_deletion_is_committed(self) -> None:
        """Whichever transaction gets the lock second removes the parties."""
        one = await self.recordings.create(recording(call_id=uuid4(), state=RecordingState.COMPLETED))
        inserting = psycopg2.connect(self.dsn)
        self.addCleanup(inserting.close)
        data = msgspec.json.encode(self.event_of(one, EventType.CALL_ENDED).data).decode()
        inserting.cursor().execute("SELECT voxrec_event('call.ended', now(), %s, %s)", (str(one.profile_id), data))
        deletion = Deferred.fromCoroutine(self.recordings.delete(one.id))
        await deferLater(reactor, 0.3)
        self.assertNoResult(deletion)
        inserting.commit()
        await deletion
        (event,) = [event for event in await self.events.after(0, 10) if event.type is EventType.CALL_ENDED]
        self.assertEqual((event.data["id"], event.data["from"], event.data["to"]), (str(one.call_id), None, None))

    def event_of(self, recorded: Recording, type_: EventType) -> CallEvent:
        event = call_event(type_, from_="+4930", from_name="Alice", remote_sip_uri="sip:bob@example.org")
        data = msgspec.structs.replace(
            event.data, id=recorded.call_id, profile_id=recorded.profile_id, recording_id=recorded.id
        )
        return CallEvent(type_, NOON, recorded.profile_id, data)

    async def test_notification(self) -> None:
        payloads: list[str] = []
        ready: Deferred[None] = Deferred()
        listener = Listener(reactor, self.dsn, {EVENTS_CHANNEL: payloads.append}, lambda: ready.callback(None))
        listener.startService()
        await ready
        await self.recordings.create(recording())
        await until(lambda: payloads == [""])
        await self.events.append([call_event(), call_event()])
        await until(lambda: payloads == ["", ""])
        await listener.stopService()


class FakeEventSink:
    """A sink that fails on demand."""

    def __init__(self) -> None:
        self.unavailable = False
        self.raises = False
        self.delay: Deferred[None] | None = None
        self.batches: list[list[CallEvent]] = []

    async def append(self, events: Sequence[CallEvent]) -> None:
        if self.delay is not None:
            await self.delay
        if self.raises:
            raise ZeroDivisionError
        if self.unavailable:
            raise StoreUnavailable("unavailable")
        self.batches.append(list(events))


class FakeEventFile:
    """A file in memory. While ``full`` is true, it cannot be written."""

    def __init__(self) -> None:
        self.lines: list[bytes] = []
        self.full = False

    def load(self) -> list[bytes]:
        return list(self.lines)

    async def append(self, lines: Sequence[bytes]) -> None:
        if self.full:
            raise OSError("no space left on device")
        self.lines += lines

    async def clear(self) -> None:
        self.lines.clear()


class EventQueueTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.events = FakeEventSink()
        self.file = FakeEventFile()
        self.dropped: list[int] = []
        self.queue = self.make_queue()

    def make_queue(self) -> EventQueue:
        return EventQueue(self.clock, self.events, self.file, self.dropped.append, limit=3)

    def append(self, count: int) -> list[CallEvent]:
        events = [call_event() for _ in range(count)]
        for each in events:
            self.queue.append(each)
        return events

    def test_events_are_inserted_together(self) -> None:
        events = self.append(3)
        self.assertEqual(self.events.batches, [])
        self.clock.advance(GATHER_DELAY)
        self.assertEqual(self.events.batches, [events])
        later = self.append(1)
        self.clock.advance(GATHER_DELAY)
        self.assertEqual(self.events.batches, [events, later])
        self.assertEqual(len(self.queue), 0)

    def test_retry_while_postgresql_is_unavailable(self) -> None:
        self.events.unavailable = True
        events = self.append(2)
        self.clock.pump([0, 1, 1])
        events += self.append(1)
        self.events.unavailable = False
        self.clock.advance(1)
        self.assertEqual(self.events.batches, [events])
        self.assertEqual(self.dropped, [])

    def test_full_queue_drops_the_oldest(self) -> None:
        self.events.unavailable = True
        events = self.append(5)
        self.clock.pump([0, 1])
        self.assertEqual((len(self.queue), sum(self.dropped)), (3, 2))
        self.events.unavailable = False
        self.clock.advance(1)
        self.assertEqual(self.events.batches, [events[2:]])

    def test_events_being_inserted_are_not_dropped(self) -> None:
        self.events.delay = Deferred()
        events = self.append(2)
        self.clock.advance(GATHER_DELAY)
        events += self.append(3)
        self.assertEqual(self.dropped, [1, 1])
        delay, self.events.delay = self.events.delay, None
        delay.callback(None)
        self.assertEqual(self.events.batches, [events[:2], events[4:]])

    def test_unexpected_error_drops_the_queue(self) -> None:
        self.events.raises = True
        self.append(2)
        self.clock.advance(GATHER_DELAY)
        self.assertEqual(self.dropped, [2])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.events.raises = False
        events = self.append(1)
        self.clock.advance(GATHER_DELAY)
        self.assertEqual(self.events.batches, [events])

    def test_stop_inserts_the_rest(self) -> None:
        events = self.append(2)
        stopped = self.queue.stopService()
        self.clock.advance(GATHER_DELAY)
        self.successResultOf(stopped)
        self.assertEqual(self.events.batches, [events])
        self.successResultOf(self.queue.stopService())

    def test_stop_does_not_wait_forever(self) -> None:
        self.events.unavailable = True
        self.append(2)
        self.clock.advance(GATHER_DELAY)
        stopped = self.queue.stopService()
        self.clock.pump([1] * 5)
        self.successResultOf(stopped)
        self.assertEqual(self.dropped, [])
        self.assertEqual(len(self.file.lines), 2)
        self.assertEqual(self.clock.getDelayedCalls(), [])

    def test_the_next_run_inserts_what_postgresql_did_not_accept(self) -> None:
        """The daemon is killed while PostgreSQL is unavailable."""
        self.events.unavailable = True
        events = self.append(2)
        self.clock.advance(GATHER_DELAY)
        events += self.append(1)
        self.clock.advance(1)
        self.assertEqual(len(self.file.lines), 3)
        self.events.unavailable = False
        self.file.lines.append(b'{"type":"call.started","at')  # of an incomplete disk
        self.clock = Clock()
        queue = self.make_queue()
        queue.startService()
        self.clock.advance(GATHER_DELAY)
        self.assertEqual(self.events.batches, [events])
        self.assertEqual((self.file.lines, len(queue)), ([], 0))

    def test_the_file_is_deleted_when_postgresql_has_its_events(self) -> None:
        self.events.unavailable = True
        self.append(2)
        self.clock.pump([GATHER_DELAY, 1])
        self.assertEqual(len(self.file.lines), 2)
        self.events.unavailable = False
        self.clock.advance(1)
        self.assertEqual(self.file.lines, [])

    def test_events_are_not_lost_when_the_file_cannot_be_written(self) -> None:
        self.events.unavailable = self.file.full = True
        events = self.append(2)
        self.clock.pump([GATHER_DELAY, 1])
        self.events.unavailable = False
        self.clock.advance(1)
        self.assertEqual(self.events.batches, [events])
        self.assertEqual(len(self.flushLoggedErrors()), 0)

    def test_stop_drops_what_can_be_stored_nowhere(self) -> None:
        self.events.unavailable = self.file.full = True
        self.append(2)
        stopped = self.queue.stopService()
        self.clock.pump([GATHER_DELAY] + [1] * 6)
        self.successResultOf(stopped)
        self.assertEqual(self.dropped, [2])
