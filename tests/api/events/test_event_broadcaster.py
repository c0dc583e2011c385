"""EventBroadcaster and Subscriber, with a Clock and a fake repository."""

from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.api.events.event_streams import decode_events
from tests.api.rest_test_case import CREATED_AT
from voxrec.api.events.event_broadcaster import EventBroadcaster
from voxrec.api.events.event_buffer import BUFFER_SIZE
from voxrec.api.events.subscriber import HEARTBEAT_INTERVAL, EventFilter, Subscriber
from voxrec.errors import StoreUnavailable
from voxrec.model import Event, EventType
from voxrec.store.events import RetainedRange


class FakeEventRepository:
    """Events in memory; ``oldest`` is the id of the oldest retained one."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.oldest = 1
        self.unavailable = False
        self.query_count = 0

    def add(
        self,
        count: int = 1,
        type_: EventType = EventType.CALL_STARTED,
        profile_id: UUID | None = None,
        data: dict[str, Any] | None = None,
    ) -> None:
        for _ in range(count):
            event_id = len(self.events) + 1
            self.events.append(Event(id=event_id, type=type_, at=CREATED_AT, profile_id=profile_id, data=data or {}))

    async def retained_range(self) -> RetainedRange:
        if self.unavailable:
            raise StoreUnavailable("unavailable")
        return RetainedRange(self.oldest if self.events else 0, len(self.events))

    async def after(self, last: int, limit: int) -> list[Event]:
        self.query_count += 1
        if self.unavailable:
            raise StoreUnavailable("unavailable")
        return self.events[max(last, self.oldest - 1) :][:limit]


class EventBroadcasterTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.repository = FakeEventRepository()
        self.active_changes: list[bool] = []
        self.broadcaster = EventBroadcaster(self.clock, self.repository)
        self.broadcaster.set_activity_callback(self.active_changes.append)

    def subscribe(self, last_id: int | None = None, **criteria: Any) -> Subscriber:
        subscribing = Deferred.fromCoroutine(self.broadcaster.subscribe(EventFilter(**criteria), last_id))
        subscriber = self.successResultOf(subscribing)
        self.assertTrue(self.read(subscriber).startswith(b"retry: 2000\n\n"))
        return subscriber

    def start_reading(self, subscriber: Subscriber) -> Deferred[bytes]:
        return Deferred.fromCoroutine(subscriber.__anext__())

    def read(self, subscriber: Subscriber) -> bytes:
        return self.successResultOf(self.start_reading(subscriber))

    def ids(self, frames: bytes) -> list[int]:
        return [event["id"] for event in decode_events(frames)]

    def close(self, subscriber: Subscriber) -> None:
        self.successResultOf(Deferred.fromCoroutine(subscriber.aclose()))

    def frames(self, first: int, last: int) -> bytes:
        encoded = [(event.id, msgspec.json.encode(event)) for event in self.repository.events[first - 1 : last]]
        return b"".join(b"id: %d\nevent: call.started\ndata: %s\n\n" % pair for pair in encoded)

    def test_new_subscriber_receives_only_new_events(self) -> None:
        self.repository.add(3)
        subscriber = self.subscribe()
        reading = self.start_reading(subscriber)
        self.assertNoResult(reading)
        self.repository.add(2)
        self.broadcaster.refresh()
        self.assertEqual(self.ids(self.successResultOf(reading)), [4, 5])

    def test_buffered_events_of_a_call_lose_the_parties_with_its_recording(self) -> None:
        subscriber = self.subscribe()
        parties = {"from": "+4930", "fromName": "Alice", "to": "+49301", "remoteSipUri": "sip:bob@example.org"}
        for call_id in ("one", "other"):
            self.repository.add(data={"id": call_id, "state": "placing", **parties})
        self.broadcaster.refresh()
        self.assertIn(b"+4930", self.read(subscriber))
        self.repository.add(type_=EventType.RECORDING_DELETED, data={"id": "recording", "callId": "one"})
        self.broadcaster.refresh()
        # the repository of this test still has the parties: these events come from the buffer
        one, other, deleted = decode_events(self.read(self.subscribe(0)))
        self.assertEqual(one["data"], {"id": "one", "state": "placing", **dict.fromkeys(parties)})
        self.assertEqual(other["data"], {"id": "other", "state": "placing", **parties})
        self.assertEqual(deleted["type"], "recording.deleted")

    def test_active_changes_with_first_and_last_subscriber(self) -> None:
        first, second = self.subscribe(), self.subscribe()
        self.assertEqual(self.active_changes, [True])
        self.close(first)
        self.close(first)
        self.assertEqual(self.active_changes, [True])
        self.close(second)
        self.assertEqual(self.active_changes, [True, False])
        self.close(self.subscribe())
        self.assertEqual(self.active_changes, [True, False, True, False])

    def test_resumed_stream_has_every_missed_event_once(self) -> None:
        self.repository.add(250)
        subscriber = self.subscribe(17)
        received: list[int] = []
        while len(received) < 233:
            received += self.ids(self.read(subscriber))
        self.assertEqual(received, list(range(18, 251)))
        self.repository.add()
        self.broadcaster.refresh()
        self.assertEqual(self.ids(self.read(subscriber)), [251])

    def test_events_are_read_once_for_all_subscribers(self) -> None:
        subscribers = [self.subscribe() for _ in range(100)]
        readings = [self.start_reading(subscriber) for subscriber in subscribers]
        self.repository.query_count = 0
        self.repository.add(3)
        self.broadcaster.refresh()
        self.assertEqual({self.successResultOf(reading) for reading in readings}, {self.frames(1, 3)})
        self.assertLessEqual(self.repository.query_count, 2)

    def test_subscriber_behind_the_buffer_misses_no_event(self) -> None:
        slow, fast = self.subscribe(), self.subscribe()
        received: list[int] = []
        for _ in range(BUFFER_SIZE // 50 * 2):
            self.repository.add(50)
            self.broadcaster.refresh()
            self.read(fast)
        while len(received) < 2 * BUFFER_SIZE:
            received += self.ids(self.read(slow))
        self.assertEqual(received, list(range(1, 2 * BUFFER_SIZE + 1)))

    def test_heartbeat_after_silence(self) -> None:
        subscriber = self.subscribe()
        for _ in range(2):
            reading = self.start_reading(subscriber)
            self.clock.advance(HEARTBEAT_INTERVAL - 0.1)
            self.assertNoResult(reading)
            self.clock.advance(0.1)
            self.assertEqual(self.successResultOf(reading), b":\n\n")

    def test_events_outside_the_filter_do_not_delay_the_heartbeat(self) -> None:
        subscriber = self.subscribe(types={EventType.CALL_ENDED})
        reading = self.start_reading(subscriber)
        for _ in range(3):
            self.clock.advance(HEARTBEAT_INTERVAL / 3)
            self.repository.add()
            self.broadcaster.refresh()
        self.assertEqual(self.successResultOf(reading), b":\n\n")

    def test_filters_by_type_and_profile(self) -> None:
        profile_id = uuid4()
        ended = self.subscribe(types={EventType.CALL_ENDED})
        of_profile = self.subscribe(profile_ids={profile_id})
        of_no_profile = self.start_reading(self.subscribe(profile_ids=frozenset()))
        self.repository.add(1, EventType.CALL_STARTED, profile_id)
        self.repository.add(1, EventType.CALL_ENDED, uuid4())
        self.repository.add(1, EventType.CALL_ENDED, profile_id)
        self.broadcaster.refresh()
        self.assertEqual(self.ids(self.read(ended)), [2, 3])
        self.assertEqual(self.ids(self.read(of_profile)), [1, 3])
        self.assertNoResult(of_no_profile)

    def test_reset_if_last_id_is_not_retained(self) -> None:
        self.repository.add(10)
        self.repository.oldest = 6
        for last_id, reset in ((4, True), (5, False), (10, False), (11, True)):
            subscribing = Deferred.fromCoroutine(self.broadcaster.subscribe(EventFilter(), last_id))
            subscriber = self.successResultOf(subscribing)
            first_events = decode_events(self.read(subscriber))
            expected = [{"sse_id": None, "event": "reset", "type": "reset", "lastEventId": last_id}] if reset else []
            self.assertEqual(first_events, expected, last_id)
            if reset:
                self.assertEqual(self.ids(self.read(subscriber)), [6, 7, 8, 9, 10])
            self.close(subscriber)

    def test_resume_from_zero_before_the_first_event(self) -> None:
        subscriber = self.subscribe(0)
        self.repository.add()
        self.broadcaster.refresh()
        self.assertEqual(self.ids(self.read(subscriber)), [1])

    def test_reading_is_retried_while_postgresql_is_unavailable(self) -> None:
        subscriber = self.subscribe()
        reading = self.start_reading(subscriber)
        self.repository.unavailable = True
        self.repository.add()
        self.broadcaster.refresh()
        self.clock.pump([1] * 5)
        self.assertNoResult(reading)
        subscribing = Deferred.fromCoroutine(self.broadcaster.subscribe(EventFilter(), None))
        self.failureResultOf(subscribing, StoreUnavailable)
        self.repository.unavailable = False
        self.clock.advance(1)
        self.assertEqual(self.ids(self.successResultOf(reading)), [1])

    def test_closed_subscriber_leaves_nothing_behind(self) -> None:
        subscriber = self.subscribe()
        reading = self.start_reading(subscriber)
        subscriber.close()
        self.failureResultOf(reading, StopAsyncIteration)
        self.close(subscriber)
        self.assertEqual((self.broadcaster.subscriber_count, self.clock.getDelayedCalls()), (0, []))
        self.repository.query_count = 0
        self.broadcaster.refresh()
        self.assertEqual(self.repository.query_count, 0)

    def test_new_subscriber_while_a_read_for_former_ones_is_pending(self) -> None:
        first = self.subscribe()
        self.repository.unavailable = True
        self.repository.add()
        self.broadcaster.refresh()
        self.close(first)
        self.repository.unavailable = False
        second = self.subscribe(0)
        self.clock.advance(1)
        self.assertEqual(self.ids(self.read(second)), [1])
        reading = self.start_reading(second)
        self.repository.add()
        self.broadcaster.refresh()
        self.assertEqual(self.ids(self.successResultOf(reading)), [2])

    def test_stream_ends_when_the_token_expires(self) -> None:
        expires_at = datetime.fromtimestamp(20.0, UTC)
        subscribing = Deferred.fromCoroutine(self.broadcaster.subscribe(EventFilter(), None, expires_at))
        subscriber = self.successResultOf(subscribing)
        self.read(subscriber)
        reading = self.start_reading(subscriber)
        self.clock.advance(HEARTBEAT_INTERVAL)
        self.assertEqual(self.successResultOf(reading), b":\n\n")
        reading = self.start_reading(subscriber)
        self.clock.advance(4.9)
        self.assertNoResult(reading)
        self.clock.advance(0.1)
        self.failureResultOf(reading, StopAsyncIteration)

    def test_no_event_is_sent_after_the_token_has_expired(self) -> None:
        expires_at = datetime.fromtimestamp(20.0, UTC)
        subscribing = Deferred.fromCoroutine(self.broadcaster.subscribe(EventFilter(), 0, expires_at))
        subscriber = self.successResultOf(subscribing)
        self.read(subscriber)
        self.repository.add(3)
        self.broadcaster.refresh()
        self.clock.advance(20.0)  # meanwhile the client did not read
        self.failureResultOf(self.start_reading(subscriber), StopAsyncIteration)

    def test_tokens_that_change_during_the_subscription(self) -> None:
        answer: Deferred[RetainedRange] = Deferred()
        retained = self.successResultOf(Deferred.fromCoroutine(self.repository.retained_range()))
        self.patch(self.repository, "retained_range", lambda: answer)
        subscribing = Deferred.fromCoroutine(self.broadcaster.subscribe(EventFilter(), None))
        self.broadcaster.disconnect_all()
        answer.callback(retained)
        subscriber = self.successResultOf(subscribing)
        self.read(subscriber)
        self.failureResultOf(self.start_reading(subscriber), StopAsyncIteration)

    def test_clients_may_reconnect_after_disconnect_all(self) -> None:
        reading = self.start_reading(self.subscribe())
        self.broadcaster.disconnect_all()
        self.failureResultOf(reading, StopAsyncIteration)
        self.repository.add()
        self.assertEqual(self.ids(self.read(self.subscribe(0))), [1])

    def test_stop_ends_all_streams(self) -> None:
        reading = self.start_reading(self.subscribe())
        self.broadcaster.stopService()
        self.failureResultOf(reading, StopAsyncIteration)
        self.assertEqual(self.clock.getDelayedCalls(), [])
