"""/events over a real connection, and the feed behind it with a clock."""

from datetime import timedelta
from typing import Any
from uuid import UUID, uuid4

import msgspec
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from tests.api.asking import BEGAN, RestTestCase
from tests.api.test_calls import call
from tests.database import reactor, until
from tests.web.wire import Wire, connected
from voxrec.api.events import HEARTBEAT, REMEMBERED, EventBroadcaster, EventFilter, Subscriber
from voxrec.errors import StoreUnavailable
from voxrec.model import Event, EventType
from voxrec.postgres.listener import Listener
from voxrec.store.events import EVENTS_CHANNEL, CallEvent, RetainedRange


def events_in(received: bytes) -> list[dict[str, Any]]:
    """What a stream has told, with the id that stands before it."""
    found = []
    for block in received.decode().replace("\r\n", "\n").split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.split("\n") if ": " in line)
        if "data" in lines and "event" in lines:
            found.append({"sse": lines.get("id"), "event": lines["event"], **msgspec.json.decode(lines["data"])})
    return found


class Source:
    """Events by hand; ``first`` is the oldest that is kept."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.first = 1
        self.down = False
        self.asked = 0

    def add(self, count: int = 1, type_: EventType = EventType.CALL_STARTED, profile_id: UUID | None = None) -> None:
        for _ in range(count):
            number = len(self.events) + 1
            self.events.append(Event(id=number, type=type_, at=BEGAN, profile_id=profile_id, data={}))

    async def retained_range(self) -> RetainedRange:
        if self.down:
            raise StoreUnavailable("down")
        return RetainedRange(self.first if self.events else 0, len(self.events))

    async def after(self, last: int, limit: int) -> list[Event]:
        self.asked += 1
        if self.down:
            raise StoreUnavailable("down")
        return self.events[max(last, self.first - 1) :][:limit]


class FeedTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.clock = Clock()
        self.source = Source()
        self.followed: list[bool] = []
        self.feed = EventBroadcaster(self.clock, self.source, self.followed.append)

    def follow(self, last: int | None = None, **wanted: Any) -> Subscriber:
        follower = self.successResultOf(Deferred.fromCoroutine(self.feed.follow(EventFilter(**wanted), last)))
        self.assertTrue(self.next(follower).startswith(b"retry: 2000\n\n"))
        return follower

    def waiting(self, follower: Subscriber) -> Deferred[bytes]:
        return Deferred.fromCoroutine(follower.__anext__())

    def next(self, follower: Subscriber) -> bytes:
        return self.successResultOf(self.waiting(follower))

    def ids(self, part: bytes) -> list[int]:
        return [event["id"] for event in events_in(part)]

    def leave(self, follower: Subscriber) -> None:
        self.successResultOf(Deferred.fromCoroutine(follower.aclose()))

    def test_from_now_on(self) -> None:
        self.source.add(3)
        follower = self.follow()
        part = self.waiting(follower)
        self.assertNoResult(part)
        self.source.add(2)
        self.feed.poke()
        self.assertEqual(self.ids(self.successResultOf(part)), [4, 5])

    def test_it_wants_to_hear_of_events_while_somebody_follows(self) -> None:
        one, another = self.follow(), self.follow()
        self.assertEqual(self.followed, [True])
        self.leave(one)
        self.leave(one)
        self.assertEqual(self.followed, [True])
        self.leave(another)
        self.assertEqual(self.followed, [True, False])
        self.leave(self.follow())
        self.assertEqual(self.followed, [True, False, True, False])

    def test_resuming_gives_exactly_what_is_missing(self) -> None:
        self.source.add(250)
        follower = self.follow(17)
        found: list[int] = []
        while len(found) < 233:
            found += self.ids(self.next(follower))
        self.assertEqual(found, list(range(18, 251)))
        self.source.add()
        self.feed.poke()
        self.assertEqual(self.ids(self.next(follower)), [251])

    def test_read_once_for_all(self) -> None:
        followers = [self.follow() for _ in range(100)]
        parts = [self.waiting(follower) for follower in followers]
        self.source.asked = 0
        self.source.add(3)
        self.feed.poke()
        self.assertEqual({self.successResultOf(part) for part in parts}, {self.frames(1, 3)})
        self.assertLessEqual(self.source.asked, 2)

    def frames(self, first: int, last: int) -> bytes:
        encoded = [(event.id, msgspec.json.encode(event)) for event in self.source.events[first - 1 : last]]
        return b"".join(b"id: %d\nevent: call.started\ndata: %s\n\n" % pair for pair in encoded)

    def test_one_that_falls_behind_loses_nothing(self) -> None:
        slow, quick = self.follow(), self.follow()
        found: list[int] = []
        for _ in range(REMEMBERED // 50 * 2):
            self.source.add(50)
            self.feed.poke()
            self.next(quick)
        while len(found) < 2 * REMEMBERED:
            found += self.ids(self.next(slow))
        self.assertEqual(found, list(range(1, 2 * REMEMBERED + 1)))

    def test_heartbeat(self) -> None:
        follower = self.follow()
        for _ in range(2):
            part = self.waiting(follower)
            self.clock.advance(HEARTBEAT - 0.1)
            self.assertNoResult(part)
            self.clock.advance(0.1)
            self.assertEqual(self.successResultOf(part), b":\n\n")

    def test_what_is_not_wanted_is_no_reason_to_be_silent(self) -> None:
        follower = self.follow(types={EventType.CALL_ENDED})
        part = self.waiting(follower)
        for _ in range(3):
            self.clock.advance(HEARTBEAT / 3)
            self.source.add()
            self.feed.poke()
        self.assertEqual(self.successResultOf(part), b":\n\n")

    def test_filters(self) -> None:
        mine = uuid4()
        ended = self.follow(types={EventType.CALL_ENDED})
        own = self.follow(profiles={mine})
        nothing = self.waiting(self.follow(profiles=frozenset()))
        self.source.add(1, EventType.CALL_STARTED, mine)
        self.source.add(1, EventType.CALL_ENDED, uuid4())
        self.source.add(1, EventType.CALL_ENDED, mine)
        self.feed.poke()
        self.assertEqual(self.ids(self.next(ended)), [2, 3])
        self.assertEqual(self.ids(self.next(own)), [1, 3])
        self.assertNoResult(nothing)

    def test_an_id_that_is_no_longer_kept(self) -> None:
        self.source.add(10)
        self.source.first = 6
        for last, reset in ((4, True), (5, False), (10, False), (11, True)):
            follower = self.successResultOf(Deferred.fromCoroutine(self.feed.follow(EventFilter(), last)))
            beginning = events_in(self.next(follower))
            expected = [{"sse": None, "event": "reset", "type": "reset", "lastEventId": last}] if reset else []
            self.assertEqual(beginning, expected, last)
            if reset:
                self.assertEqual(self.ids(self.next(follower)), [6, 7, 8, 9, 10])
            self.leave(follower)

    def test_resuming_before_there_was_anything(self) -> None:
        follower = self.follow(0)
        self.source.add()
        self.feed.poke()
        self.assertEqual(self.ids(self.next(follower)), [1])

    def test_postgresql_goes_and_comes(self) -> None:
        follower = self.follow()
        part = self.waiting(follower)
        self.source.down = True
        self.source.add()
        self.feed.poke()
        self.clock.pump([1] * 5)
        self.assertNoResult(part)
        failed = Deferred.fromCoroutine(self.feed.follow(EventFilter(), None))
        self.failureResultOf(failed, StoreUnavailable)
        self.source.down = False
        self.clock.advance(1)
        self.assertEqual(self.ids(self.successResultOf(part)), [1])

    def test_leaving_frees_everything(self) -> None:
        follower = self.follow()
        part = self.waiting(follower)
        follower.leave()
        self.failureResultOf(part, StopAsyncIteration)
        self.leave(follower)
        self.assertEqual((len(self.feed), self.clock.getDelayedCalls()), (0, []))
        self.source.asked = 0
        self.feed.poke()
        self.assertEqual(self.source.asked, 0)

    def test_all_leave_while_it_reads(self) -> None:
        first = self.follow()
        self.source.down = True
        self.source.add()
        self.feed.poke()
        self.leave(first)
        self.source.down = False
        second = self.follow(0)
        self.clock.advance(1)
        self.assertEqual(self.ids(self.next(second)), [1])
        part = self.waiting(second)
        self.source.add()
        self.feed.poke()
        self.assertEqual(self.ids(self.successResultOf(part)), [2])

    def test_dismissed_ones_come_again(self) -> None:
        part = self.waiting(self.follow())
        self.feed.dismiss()
        self.failureResultOf(part, StopAsyncIteration)
        self.source.add()
        self.assertEqual(self.ids(self.next(self.follow(0))), [1])

    def test_stopping_ends_the_streams(self) -> None:
        part = self.waiting(self.follow())
        self.successResultOf(Deferred.fromCoroutine(self.feed.stop()))
        self.failureResultOf(part, StopAsyncIteration)
        self.assertEqual(self.clock.getDelayedCalls(), [])


class EventsOverRest(RestTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        ready: Deferred[None] = Deferred()
        told = {EVENTS_CHANNEL: lambda _: self.feed.poke()}
        self.listener = Listener(reactor, self.dsn, told, lambda: ready.callback(None))
        self.listener.start()
        await ready

    async def tearDown(self) -> None:  # type: ignore[override]
        await self.feed.stop()
        await self.listener.stop()
        await until(lambda: len(self.feed) == 0)
        await super().tearDown()

    async def follow(self, path: str = "/events", token: str = "read", **headers: str) -> Wire:
        wire = await connected(self.port)
        self.addCleanup(self.hang_up, wire)
        lines = [f"GET {path} HTTP/1.1", "Host: a", f"Authorization: Bearer {token}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        wire.transport.write("\r\n".join([*lines, "", ""]).encode())
        await until(lambda: b"retry: 2000" in wire.received)
        return wire

    async def hang_up(self, wire: Wire) -> None:
        if not wire.ended.called:
            wire.transport.abortConnection()
            await wire.ended

    async def tell(self, *types: EventType, profile_id: UUID | None = None) -> None:
        one = call(profile_id=profile_id or uuid4())
        news = [CallEvent(type_, BEGAN + timedelta(seconds=n), one.profile_id, one) for n, type_ in enumerate(types)]
        await self.events.append(news)

    async def test_calls_and_recordings(self) -> None:
        wire = await self.follow()
        await self.tell(EventType.CALL_STARTED, EventType.CALL_ENDED)
        recording = await self.add_recording()
        await self.recordings.delete(recording.id)
        await until(lambda: len(events_in(wire.received)) == 4)
        told = events_in(wire.received)
        types = ["call.started", "call.ended", "recording.completed", "recording.deleted"]
        self.assertEqual([event["type"] for event in told], types)
        self.assertEqual([event["event"] for event in told], types)
        self.assertEqual([event["sse"] for event in told], [str(event["id"]) for event in told])
        self.assertEqual(told[1]["at"], "2026-01-31T09:30:01Z")
        self.assertEqual(told[0]["data"]["to"], "+4930222")
        self.assertEqual(told[2]["data"]["id"], str(recording.id))
        self.assertEqual(told[2]["profileId"], str(recording.profile_id))
        head = wire.received.partition(b"\r\n\r\n")[0].lower()
        for header in (b"content-type: text/event-stream", b"cache-control: no-store", b"x-accel-buffering: no"):
            self.assertIn(header, head)

    async def test_resuming(self) -> None:
        await self.tell(*[EventType.CALL_STARTED] * 5)
        ids = [event.id for event in await self.events.after(0, 10)]
        by_header = await self.follow(Last_Event_ID=str(ids[2]))
        by_query = await self.follow(f"/events?lastEventId={ids[1]}")
        both = await self.follow(f"/events?lastEventId={ids[1]}", Last_Event_ID=str(ids[3]))
        for wire, missing in ((by_header, ids[3:]), (by_query, ids[2:]), (both, ids[4:])):
            await until(lambda wire=wire, missing=missing: [e["id"] for e in events_in(wire.received)] == missing)  # type: ignore[misc]

    async def test_filters(self) -> None:
        mine = uuid4()
        wire = await self.follow(f"/events?profileId={mine}&type=call.answered,call.ended")
        await self.tell(EventType.CALL_ENDED)
        await self.tell(EventType.CALL_STARTED, EventType.CALL_ENDED, profile_id=mine)
        await until(lambda: events_in(wire.received))
        self.assertEqual([(e["type"], e["profileId"]) for e in events_in(wire.received)], [("call.ended", str(mine))])

    async def test_what_does_not_fit(self) -> None:
        reply = await self.ask("GET", "/events?type=call.lost&profileId=1&lastEventId=x&more=1")
        self.assertEqual((reply.status, reply.faulty), (422, ["type", "profileId", "lastEventId", "more"]))
        reply = await self.ask("GET", "/events", headers={"Last-Event-ID": "x"})
        self.assertEqual((reply.status, reply.faulty), (422, ["Last-Event-ID"]))
        reply = await self.ask("GET", "/events", headers={"Accept": "application/json"})
        self.assertEqual(reply.status, 406)
        self.assertEqual((await self.ask("GET", "/events", token="")).status, 401)

    async def test_head(self) -> None:
        reply = await self.ask("HEAD", "/events")
        self.assertEqual((reply.status, reply.headers["content-type"]), (200, "text/event-stream"))
        await until(lambda: len(self.feed) == 0)

    async def test_a_limited_token_hears_of_its_own(self) -> None:
        mine, other = (await self.add_profile()).id, uuid4()
        made = {"name": "mine", "role": "read", "profileIds": [str(mine)]}
        reply = await self.ask("PUT", "/tokens", json=made)
        self.assertEqual(reply.status, 201, reply.body)
        token = reply.json["token"]
        plain = await self.follow(token=token)
        asking = await self.follow(f"/events?profileId={mine},{other}", token=token)
        await self.tell(EventType.CALL_STARTED, profile_id=other)
        await self.tell(EventType.CALL_ENDED, profile_id=mine)
        for wire in (plain, asking):
            await until(lambda wire=wire: events_in(wire.received))  # type: ignore[misc]
            self.assertEqual([event["profileId"] for event in events_in(wire.received)], [str(mine)])

    async def test_a_client_that_vanishes_is_forgotten_at_once(self) -> None:
        wires = [await self.follow() for _ in range(20)]
        self.assertEqual(len(self.feed), 20)
        for wire in wires:
            await self.hang_up(wire)
        await until(lambda: len(self.feed) == 0, within=2)

    async def test_a_client_that_does_not_read_costs_little_and_loses_nothing(self) -> None:
        wire = await self.follow()
        wire.transport.pauseProducing()
        await self.pool.execute(
            "INSERT INTO events (type, at, data, stored_at) "
            "SELECT 'call.started', now(), jsonb_build_object('pad', repeat('x', 2000)), now() "
            "FROM generate_series(1, 5000)"
        )
        self.feed.poke()
        last = (await self.events.retained_range()).newest
        quick = await self.follow(f"/events?lastEventId={last - 1}")
        await until(lambda: events_in(quick.received))
        (channel,) = (c for c in self.channels() if c.transport.getPeer().port == wire.transport.getHost().port)
        buffered = len(channel.transport.dataBuffer) + sum(map(len, channel.transport._tempDataBuffer))
        self.assertLess(buffered, 1_000_000)
        wire.transport.resumeProducing()
        await until(lambda: wire.received.count(b"\nid: ") >= 5000, within=30)
        ids = [event["id"] for event in events_in(wire.received)]
        self.assertEqual(ids, list(range(last - 4999, last + 1)))

    def channels(self) -> list[Any]:
        return [reader.protocol for reader in reactor.getReaders() if hasattr(getattr(reader, "protocol", 0), "site")]  # type: ignore[attr-defined]
