"""What happens, in order: by triggers, from the queue, and under transactions that overtake each other."""

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
from voxrec.model import Call, CallState, EventType, RecordingState
from voxrec.postgres.listener import Listener
from voxrec.postgres.transaction import Transaction
from voxrec.store.events import EVENTS_CHANNEL, GATHER_DELAY, CallEvent, EventQueue, Events, RetainedRange
from voxrec.store.recordings import Recordings


def news(type_: EventType = EventType.CALL_STARTED, seconds: float = 0, **fields: Any) -> CallEvent:
    call = Call(
        id=uuid4(), profile_id=uuid4(), state=CallState.PLACING, age=0.0, to="+49301", started_at=NOON, **fields
    )
    return CallEvent(type_, NOON + timedelta(seconds=seconds), call.profile_id, call)


class EventsTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.events = Events(self.pool)
        self.recordings = Recordings(self.pool)

    async def told(self) -> list[tuple[str, UUID]]:
        return [(event.type.value, UUID(event.data["id"])) for event in await self.events.after(0, 100)]

    async def test_what_calls_tell(self) -> None:
        given = [news(EventType.CALL_STARTED), news(EventType.CALL_ENDED, 3, hangup_cause=17, from_="+4930")]
        await self.events.append(given)
        first, second = await self.events.after(0, 10)
        self.assertLess(first.id, second.id)
        self.assertEqual((first.type, first.at, first.profile_id), ("call.started", NOON, given[0].profile_id))
        self.assertEqual(second.at, NOON + timedelta(seconds=3))
        self.assertEqual(msgspec.convert(second.data, Call), given[1].data)
        self.assertEqual(await self.events.after(first.id, 10), [second])
        self.assertEqual(await self.events.after(0, 1), [first])
        self.assertEqual(await self.events.retained_range(), RetainedRange(first.id, second.id))

    async def test_nothing_yet(self) -> None:
        self.assertEqual(await self.events.retained_range(), RetainedRange(0, 0))
        self.assertEqual(await self.events.after(0, 10), [])

    async def test_the_way_of_a_recording(self) -> None:
        one = recording(call_id=uuid4(), started_at=NOON)
        await self.recordings.record(one)
        for state in (RecordingState.PAUSED, RecordingState.RECORDING, RecordingState.PROCESSING):
            one = msgspec.structs.replace(one, state=state, updated_at=one.updated_at + timedelta(seconds=1))
            await self.recordings.record(one)
            await self.recordings.record(one)  # said again: nothing happens
        await self.recordings.complete(
            msgspec.structs.replace(one, state=RecordingState.COMPLETED, duration=2.5, size=7)
        )
        await self.recordings.delete(one.id)
        told = await self.events.after(0, 100)
        words = ("started", "paused", "resumed", "processing", "completed", "deleted")
        self.assertEqual([event.type for event in told], [f"recording.{word}" for word in words])
        self.assertEqual({event.profile_id for event in told}, {one.profile_id})
        data = told[4].data
        self.assertEqual((data["id"], data["callId"]), (str(one.id), str(one.call_id)))
        self.assertEqual((data["state"], data["duration"], data["size"]), ("completed", 2.5, 7))
        self.assertEqual(msgspec.convert(data["startedAt"], type(NOON)), one.started_at)
        self.assertNotIn("from", data)

    async def test_other_ends_of_a_recording(self) -> None:
        for state in (RecordingState.FAILED, RecordingState.ABSENT):
            one = await self.recordings.create(recording(state=RecordingState.PENDING))
            await self.recordings.complete(msgspec.structs.replace(one, state=state))
        types = [type_ for type_, _ in await self.told()]
        ends = ["recording.failed", "recording.pending", "recording.absent"]
        self.assertEqual(types, ["recording.pending", *ends])

    async def test_what_changes_no_state_is_no_event(self) -> None:
        one = await self.recordings.create(recording(state=RecordingState.COMPLETED))
        await self.recordings.update(one.id, lambda old: msgspec.structs.replace(old, legal_hold=True))
        self.assertEqual(await self.told(), [("recording.completed", one.id)])

    async def test_what_is_rolled_back_did_not_happen(self) -> None:
        async def work(transaction: Transaction) -> None:
            await transaction.execute("DELETE FROM recordings")
            raise ZeroDivisionError

        one = await self.recordings.create(recording(state=RecordingState.COMPLETED))
        await self.assertFailure(Deferred.fromCoroutine(self.pool.transaction(work)), ZeroDivisionError)
        self.assertEqual(await self.told(), [("recording.completed", one.id)])

    async def test_a_reader_never_meets_a_gap_that_is_filled_later(self) -> None:
        """The first of two takes its id and dawdles; the second one's event must not be seen before it."""
        first, second = psycopg2.connect(self.dsn), psycopg2.connect(self.dsn)
        self.addCleanup(first.close)
        self.addCleanup(second.close)
        tell = "SELECT voxrec_event('call.started', now(), NULL, %s::jsonb)"
        first.cursor().execute(tell, ('{"n": 1}',))
        overtaking = Deferred.fromCoroutine(self.overtake(tell))
        await deferLater(reactor, 0.3)
        self.assertEqual(await self.events.after(0, 10), [])
        self.assertNoResult(overtaking)
        first.commit()
        await overtaking
        self.assertEqual([event.data["n"] for event in await self.events.after(0, 10)], [1, 2])

    async def overtake(self, tell: str) -> None:
        await self.pool.execute(tell, ('{"n": 2}',))

    async def test_a_change_holds_nobody_up_before_its_commit(self) -> None:
        """A long transaction that has changed a Recording gets its event at the end, behind those told meanwhile."""
        one = await self.recordings.create(recording(state=RecordingState.COMPLETED))

        async def work(transaction: Transaction) -> None:
            await transaction.execute("DELETE FROM recordings WHERE id = %s", (one.id,))
            await self.events.append([news()])  # another connection, at once

        await self.pool.transaction(work)
        types = [type_ for type_, _ in await self.told()]
        self.assertEqual(types, ["recording.completed", "call.started", "recording.deleted"])

    async def test_the_old_are_forgotten_but_for_the_last(self) -> None:
        await self.events.append([news() for _ in range(5)])
        ids = [event.id for event in await self.events.after(0, 10)]
        self.assertEqual(await self.events.delete_older_than(timedelta(days=7)), 0)
        await self.pool.execute("UPDATE events SET stored_at = now() - interval '8 days' WHERE id <= %s", (ids[2],))
        self.assertEqual(await self.events.delete_older_than(timedelta(days=7)), 2)
        self.assertEqual(await self.events.retained_range(), RetainedRange(ids[2], ids[4]))
        self.assertEqual(await self.events.delete_older_than(timedelta(days=7)), 0)

    async def test_everybody_is_told(self) -> None:
        heard: list[str] = []
        ready: Deferred[None] = Deferred()
        listener = Listener(reactor, self.dsn, {EVENTS_CHANNEL: heard.append}, lambda: ready.callback(None))
        listener.startService()
        await ready
        await self.recordings.create(recording())
        await until(lambda: heard == [""])
        await self.events.append([news(), news()])
        await until(lambda: heard == ["", ""])
        await listener.stopService()


class ShakyEvents:
    """Takes what it is told, unless it is down."""

    def __init__(self) -> None:
        self.down = False
        self.broken = False
        self.answer: Deferred[None] | None = None
        self.batches: list[list[CallEvent]] = []

    async def append(self, given: Sequence[CallEvent]) -> None:
        if self.answer is not None:
            await self.answer
        if self.broken:
            raise ZeroDivisionError
        if self.down:
            raise StoreUnavailable("down")
        self.batches.append(list(given))


class EventQueueTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.events = ShakyEvents()
        self.dropped: list[int] = []
        self.queue = EventQueue(self.clock, self.events, self.dropped.append, limit=3)

    def tell(self, count: int) -> list[CallEvent]:
        given = [news() for _ in range(count)]
        for each in given:
            self.queue.append(each)
        return given

    def test_what_is_told_together_is_written_together(self) -> None:
        given = self.tell(3)
        self.assertEqual(self.events.batches, [])
        self.clock.advance(GATHER_DELAY)
        self.assertEqual(self.events.batches, [given])
        later = self.tell(1)
        self.clock.advance(GATHER_DELAY)
        self.assertEqual(self.events.batches, [given, later])
        self.assertEqual(len(self.queue), 0)

    def test_it_waits_for_postgresql(self) -> None:
        self.events.down = True
        given = self.tell(2)
        self.clock.pump([0, 1, 1])
        given += self.tell(1)
        self.events.down = False
        self.clock.advance(1)
        self.assertEqual(self.events.batches, [given])
        self.assertEqual(self.dropped, [])

    def test_it_is_bounded(self) -> None:
        self.events.down = True
        given = self.tell(5)
        self.clock.pump([0, 1])
        self.assertEqual((len(self.queue), sum(self.dropped)), (3, 2))
        self.events.down = False
        self.clock.advance(1)
        self.assertEqual(self.events.batches, [given[2:]])

    def test_what_is_being_written_is_not_dropped(self) -> None:
        self.events.answer = Deferred()
        given = self.tell(2)
        self.clock.advance(GATHER_DELAY)
        given += self.tell(3)
        self.assertEqual(self.dropped, [1, 1])
        answer, self.events.answer = self.events.answer, None
        answer.callback(None)
        self.assertEqual(self.events.batches, [given[:2], given[4:]])

    def test_a_defect_does_not_last(self) -> None:
        self.events.broken = True
        self.tell(2)
        self.clock.advance(GATHER_DELAY)
        self.assertEqual(self.dropped, [2])
        self.assertEqual(len(self.flushLoggedErrors(ZeroDivisionError)), 1)
        self.events.broken = False
        given = self.tell(1)
        self.clock.advance(GATHER_DELAY)
        self.assertEqual(self.events.batches, [given])

    def test_stopping_writes_the_rest(self) -> None:
        given = self.tell(2)
        stopped = self.queue.stopService()
        self.clock.advance(GATHER_DELAY)
        self.successResultOf(stopped)
        self.assertEqual(self.events.batches, [given])
        self.successResultOf(self.queue.stopService())

    def test_stopping_does_not_wait_for_ever(self) -> None:
        self.events.down = True
        self.tell(2)
        self.clock.advance(GATHER_DELAY)
        stopped = self.queue.stopService()
        self.clock.pump([1] * 5)
        self.successResultOf(stopped)
        self.assertEqual(self.dropped, [2])
        self.assertEqual(self.clock.getDelayedCalls(), [])
