"""GET /events over a real connection and a real database."""

from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any
from uuid import UUID, uuid4

from twisted.internet.defer import Deferred

from tests.api.calls.test_calls import make_call
from tests.api.events.event_streams import decode_events
from tests.api.rest_test_case import CREATED_AT, RestTestCase
from tests.database import reactor, until
from tests.web.raw_connection import RawConnection, open_connection
from voxrec.model import EventType, ListeningEvent, ListeningEventType, ListeningReport, ListenSide
from voxrec.postgres.listener import Listener
from voxrec.store.events import EVENTS_CHANNEL, LISTENING_CHANNEL, CallEvent


class EventStreamTests(RestTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        listening: Deferred[None] = Deferred()
        callbacks = {
            EVENTS_CHANNEL: lambda _: self.broadcaster.refresh(),
            LISTENING_CHANNEL: self.broadcaster.listening_announced,
        }
        self.listener = Listener(reactor, self.dsn, callbacks, lambda: listening.callback(None))
        self.listener.startService()
        await listening

    async def tearDown(self) -> None:  # type: ignore[override]
        self.broadcaster.stopService()
        await self.listener.stopService()
        await until(lambda: self.broadcaster.subscriber_count == 0)
        await super().tearDown()

    async def subscribe(self, path: str = "/events", token: str = "read", **headers: str) -> RawConnection:
        connection = await open_connection(self.port)
        self.addCleanup(self.disconnect, connection)
        lines = [f"GET {path} HTTP/1.1", "Host: a", f"Authorization: Bearer {token}"]
        lines += [f"{name.replace('_', '-')}: {value}" for name, value in headers.items()]
        connection.transport.write("\r\n".join([*lines, "", ""]).encode())
        await until(lambda: b"retry: 2000" in connection.received)
        return connection

    async def disconnect(self, connection: RawConnection) -> None:
        if not connection.closed.called:
            connection.transport.abortConnection()
            await connection.closed

    async def store_events(self, *types: EventType, profile_id: UUID | None = None) -> None:
        data = make_call(profile_id=profile_id or uuid4())
        events = [
            CallEvent(type_, CREATED_AT + timedelta(seconds=n), data.profile_id, data) for n, type_ in enumerate(types)
        ]
        await self.events.append(events)

    async def test_events_of_calls_and_recordings(self) -> None:
        connection = await self.subscribe()
        await self.store_events(EventType.CALL_STARTED, EventType.CALL_ENDED)
        recording = await self.add_recording()
        await self.recordings.delete(recording.id)
        await until(lambda: len(decode_events(connection.received)) == 4)
        events = decode_events(connection.received)
        types = ["call.started", "call.ended", "recording.completed", "recording.deleted"]
        self.assertEqual([event["type"] for event in events], types)
        self.assertEqual([event["event"] for event in events], types)
        self.assertEqual([event["sse_id"] for event in events], [str(event["id"]) for event in events])
        self.assertEqual(events[1]["at"], "2026-01-31T09:30:01Z")
        self.assertEqual(events[0]["data"]["to"], "+4930222")
        self.assertEqual(events[2]["data"]["id"], str(recording.id))
        self.assertEqual(events[2]["profileId"], str(recording.profile_id))
        head = connection.received.partition(b"\r\n\r\n")[0].lower()
        for header in (b"content-type: text/event-stream", b"cache-control: no-store", b"x-accel-buffering: no"):
            self.assertIn(header, head)

    async def test_listenings_are_announced_to_supervisors(self) -> None:
        supervisor = await self.subscribe(token="supervise")
        reader = await self.subscribe(token="read")
        ended = await self.subscribe("/events?type=listener.left", token="admin")
        report = ListeningReport(
            id=uuid4(), who="anna", side=ListenSide.BOTH, started_at=CREATED_AT, call_id=uuid4(), seconds=2.5
        )
        for type_ in ListeningEventType:
            event = ListeningEvent(type=type_, at=CREATED_AT, profile_id=uuid4(), data=report)
            await self.events.announce(event)
        await self.store_events(EventType.CALL_STARTED)
        await until(lambda: b"call.started" in reader.received and b"call.started" in supervisor.received)
        await until(lambda: b"listener.left" in ended.received)
        types = ["listener.joined", "listener.left", "call.started"]
        for connection, expected in ((supervisor, types), (reader, types[2:]), (ended, types[1:2])):
            received = decode_events(connection.received)
            self.assertEqual([each["event"] for each in received], expected)
        first = decode_events(supervisor.received)[0]
        self.assertEqual((first["data"]["who"], first["data"]["seconds"]), ("anna", 2.5))
        self.assertIsNone(first["sse_id"])

    def received_ids(self, connection: RawConnection, ids: list[int]) -> bool:
        return [event["id"] for event in decode_events(connection.received)] == ids

    async def test_resume_by_header_or_query_parameter(self) -> None:
        await self.store_events(*[EventType.CALL_STARTED] * 5)
        ids = [event.id for event in await self.events.after(0, 10)]
        by_header = await self.subscribe(Last_Event_ID=str(ids[2]))
        by_query = await self.subscribe(f"/events?lastEventId={ids[1]}")
        by_both = await self.subscribe(f"/events?lastEventId={ids[1]}", Last_Event_ID=str(ids[3]))
        for connection, missed in ((by_header, ids[3:]), (by_query, ids[2:]), (by_both, ids[4:])):
            await until(partial(self.received_ids, connection, missed))

    async def test_filters(self) -> None:
        profile_id = uuid4()
        connection = await self.subscribe(f"/events?profileId={profile_id}&type=call.answered,call.ended")
        await self.store_events(EventType.CALL_ENDED)
        await self.store_events(EventType.CALL_STARTED, EventType.CALL_ENDED, profile_id=profile_id)
        await until(lambda: decode_events(connection.received))
        self.assertEqual(
            [(event["type"], event["profileId"]) for event in decode_events(connection.received)],
            [("call.ended", str(profile_id))],
        )

    async def test_invalid_requests(self) -> None:
        response = await self.request("GET", "/events?type=call.lost&profileId=1&lastEventId=x&more=1")
        self.assertEqual((response.status, response.error_fields), (422, ["type", "profileId", "lastEventId", "more"]))
        response = await self.request("GET", "/events", headers={"Last-Event-ID": "x"})
        self.assertEqual((response.status, response.error_fields), (422, ["Last-Event-ID"]))
        response = await self.request("GET", "/events", headers={"Accept": "application/json"})
        self.assertEqual(response.status, 406)
        self.assertEqual((await self.request("GET", "/events", token="")).status, 401)

    async def test_head(self) -> None:
        response = await self.request("HEAD", "/events")
        self.assertEqual((response.status, response.headers["content-type"]), (200, "text/event-stream"))
        await until(lambda: self.broadcaster.subscriber_count == 0)

    async def test_scoped_token_receives_events_of_its_profiles_only(self) -> None:
        own, other = (await self.add_profile()).id, uuid4()
        body = {"name": "own", "role": "read", "profileIds": [str(own)]}
        response = await self.request("PUT", "/tokens", json=body)
        self.assertEqual(response.status, 201, response.body)
        token = response.json["token"]
        unfiltered = await self.subscribe(token=token)
        filtered = await self.subscribe(f"/events?profileId={own},{other}", token=token)
        await self.store_events(EventType.CALL_STARTED, profile_id=other)
        await self.store_events(EventType.CALL_ENDED, profile_id=own)
        for connection in (unfiltered, filtered):
            await until(lambda connection=connection: decode_events(connection.received))  # type: ignore[misc]
            self.assertEqual([event["profileId"] for event in decode_events(connection.received)], [str(own)])

    async def test_stream_ends_when_the_token_expires(self) -> None:
        expires_at = (datetime.now(UTC) + timedelta(seconds=1.5)).isoformat()
        body = {"name": "short", "role": "read", "expiresAt": expires_at}
        token = (await self.request("PUT", "/tokens", json=body)).json["token"]
        connection = await self.subscribe(token=token)
        await self.store_events(EventType.CALL_STARTED)
        await until(lambda: decode_events(connection.received))
        await until(lambda: self.broadcaster.subscriber_count == 0)
        await self.store_events(EventType.CALL_ENDED)
        self.assertEqual([event["type"] for event in decode_events(connection.received)], ["call.started"])
        self.assertEqual((await self.request("GET", "/events", token=token)).status, 401)

    async def test_disconnected_clients_are_unsubscribed_at_once(self) -> None:
        connections = [await self.subscribe() for _ in range(20)]
        self.assertEqual(self.broadcaster.subscriber_count, 20)
        for connection in connections:
            await self.disconnect(connection)
        await until(lambda: self.broadcaster.subscriber_count == 0)

    async def test_client_that_stops_reading_uses_little_memory_and_misses_no_event(self) -> None:
        connection = await self.subscribe()
        connection.transport.pauseProducing()
        await self.pool.execute(
            "INSERT INTO events (type, at, data, stored_at) "
            "SELECT 'call.started', now(), jsonb_build_object('pad', repeat('x', 2000)), now() "
            "FROM generate_series(1, 5000)"
        )
        self.broadcaster.refresh()
        last = (await self.events.retained_range()).newest
        fast = await self.subscribe(f"/events?lastEventId={last - 1}")
        await until(lambda: decode_events(fast.received))
        (channel,) = (c for c in self.channels() if c.transport.getPeer().port == connection.transport.getHost().port)
        buffered = len(channel.transport.dataBuffer) + sum(map(len, channel.transport._tempDataBuffer))
        self.assertLess(buffered, 1_000_000)
        connection.transport.resumeProducing()
        await until(lambda: connection.received.count(b"\nid: ") >= 5000, timeout=30)
        ids = [event["id"] for event in decode_events(connection.received)]
        self.assertEqual(ids, list(range(last - 4999, last + 1)))

    def channels(self) -> list[Any]:
        return [reader.protocol for reader in reactor.getReaders() if hasattr(getattr(reader, "protocol", 0), "site")]  # type: ignore[attr-defined]
