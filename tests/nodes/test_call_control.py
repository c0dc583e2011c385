"""Tests of voxrec.nodes.call_control and messages: two nodes, a real PostgreSQL, and its notifications."""

from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID, uuid4

from msgspec.structs import replace
from twisted.internet.defer import Deferred
from twisted.internet.task import Clock

from tests.api.rest_test_case import FakeCallControl
from tests.database import DatabaseTestCase, reactor, until
from tests.store.samples import recording
from tests.store.test_nodes import call
from voxrec.errors import Conflict, NodeUnreachable, NotFound, OtherNode, Unavailable
from voxrec.model import Call, CallState, NodeStatus, PauseBehavior, RecordingState
from voxrec.nodes.call_control import LocalCallControl, NodesCallControl
from voxrec.nodes.membership import Membership
from voxrec.nodes.messages import REPLY_TIMEOUT, NodeMessages
from voxrec.postgres.listener import Listener
from voxrec.store.nodes import NODE_MESSAGES_CHANNEL, Nodes
from voxrec.store.recordings import Recordings


class FakeLocalCalls(FakeCallControl):
    """The calls of one node."""

    def list_calls(self) -> list[Call]:  # type: ignore[override]
        return list(self.calls)

    def get_call(self, call_id: UUID) -> Call:  # type: ignore[override]
        for each in self.calls:
            if each.id == call_id:
                return each
        raise NotFound(f"There is no live call {call_id} here.")

    def release(self, call_id: UUID) -> None:  # type: ignore[override]
        self.released.append(self.get_call(call_id).id)

    def record(self, call_id: UUID) -> Call:  # type: ignore[override]
        if self.get_call(call_id).recording_id is not None:
            raise Conflict(f"Call {call_id} was recorded already.")
        return replace(self.get_call(call_id), recording_id=UUID(int=7))

    def is_recording(self, recording_id: UUID) -> bool:
        return recording_id in self.recorded


class CallControlTests(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.nodes, self.recordings = Nodes(self.pool), Recordings(self.pool)
        self.local = {name: FakeLocalCalls() for name in ("berlin", "munich")}
        self.control = {name: self.make_control(name, reactor) for name in self.local}
        for name in self.local:
            await self.nodes.heartbeat(name, uuid4(), uuid4(), NodeStatus())

    def make_control(self, name: str, clock: Any) -> NodesCallControl:
        async def refreshed() -> None:
            pass

        peers = [SimpleNamespace(name=other, alive=True) for other in self.local if other != name]
        membership = cast("Membership", SimpleNamespace(node=name, peers=peers, refreshed=refreshed))
        local = cast("LocalCallControl", self.local[name])
        return NodesCallControl(clock, local, membership, self.nodes, self.recordings)

    @contextmanager
    def listening(self, name: str) -> Iterator[None]:
        received = self.control[name].messages.received
        listener = Listener(reactor, self.dsn, {NODE_MESSAGES_CHANNEL: received}, lambda: None)
        listener.startService()
        self.listeners = [*getattr(self, "listeners", []), listener]
        try:
            yield
        finally:
            listener.stopService()

    async def start_call(self, **fields: Any) -> Call:
        """Let berlin have a call."""
        live = call(**fields)
        self.local["berlin"].calls.append(live)
        await self.nodes.store_calls("berlin", [live], [])
        return live

    async def listen(self) -> None:
        await until(lambda: all(listener.listening for listener in self.listeners))

    async def test_calls_are_controlled_through_the_other_node(self) -> None:
        live = await self.start_call(state=CallState.RINGING)
        munich = self.control["munich"]
        with self.listening("berlin"), self.listening("munich"):
            await self.listen()
            self.assertEqual([each.id for each in await munich.list_calls()], [live.id])
            self.local["berlin"].calls = [replace(live, state=CallState.TALKING)]
            self.assertEqual((await munich.get_call(live.id)).state, CallState.TALKING)
            self.assertEqual((await munich.record(live.id)).recording_id, UUID(int=7))
            self.local["berlin"].calls = [replace(live, recording_id=UUID(int=7))]
            with self.assertRaisesRegex(Conflict, "was recorded already"):
                await munich.record(live.id)
            await munich.release(live.id)
            await munich.set_draining("berlin", True)
        self.assertEqual(self.local["berlin"].released, [live.id])

    async def test_what_only_the_node_of_a_call_can_do(self) -> None:
        live = await self.start_call()

        async def on(name: str) -> str:
            async def act() -> str:
                return str(self.local[name].get_call(live.id).id)

            return await self.control[name].on_this_node(live.id, act)

        self.assertEqual(await on("berlin"), str(live.id))
        with self.assertRaises(OtherNode) as refused:
            await on("munich")
        self.assertIn("node berlin", refused.exception.detail)
        self.local["berlin"].calls.clear()
        await self.nodes.delete_other_calls("berlin", ())
        for name in self.local:
            with self.assertRaises(NotFound):
                await on(name)

    async def test_recordings_are_paused_through_the_other_node(self) -> None:
        live = recording(id=uuid4(), state=RecordingState.RECORDING, node="berlin")
        await self.recordings.record(live)
        self.local["berlin"].recorded[live.id] = live
        munich = self.control["munich"]
        with self.listening("berlin"), self.listening("munich"):
            await self.listen()
            paused = await munich.pause(live.id, PauseBehavior.SKIP, 3.5)
            self.assertEqual((paused.state, paused.node), (RecordingState.PAUSED, "berlin"))
            self.assertEqual(self.local["berlin"].pauses, [(PauseBehavior.SKIP, 3.5)])
            self.local["berlin"].recorded.clear()
            with self.assertRaisesRegex(Conflict, "belongs to no live call"):
                await munich.resume(live.id)

    async def test_a_call_that_no_node_has(self) -> None:
        for request in (self.control["munich"].get_call, self.control["munich"].release):
            with self.assertRaises(NotFound):
                await request(uuid4())

    async def test_a_new_call_is_found_before_its_node_has_stored_it(self) -> None:
        live = call()
        self.local["berlin"].calls.append(live)
        with self.listening("berlin"), self.listening("munich"):
            await self.listen()
            reactor.callLater(0.05, self.nodes_store, live)
            self.assertEqual((await self.control["munich"].get_call(live.id)).id, live.id)

    def nodes_store(self, live: Call) -> None:
        self.stored = Deferred.fromCoroutine(self.nodes.store_calls("berlin", [live], []))

    async def test_an_unreachable_node(self) -> None:
        live = await self.start_call()
        await self.pool.execute("UPDATE nodes SET heartbeat_at = now() - interval '7 s' WHERE name = 'berlin'")
        munich = self.control["munich"]
        self.assertEqual((await munich.get_call(live.id)).state, CallState.LOST)
        self.assertEqual([each.state for each in await munich.list_calls()], [CallState.LOST])
        with self.assertRaisesRegex(NodeUnreachable, "berlin"):
            await munich.release(live.id)

    async def test_a_node_that_does_not_reply(self) -> None:
        clock = Clock()
        messages = NodeMessages(clock, self.nodes, "munich", {})
        request = Deferred.fromCoroutine(messages.request("berlin", "release", id=uuid4()))
        await until(clock.getDelayedCalls)
        clock.advance(REPLY_TIMEOUT)
        failure = self.failureResultOf(request, NodeUnreachable)
        self.assertIn("berlin", str(failure.value))

    async def test_calls_of_this_node_need_no_other_one(self) -> None:
        own = call(node="munich")
        self.local["munich"].calls.append(own)
        await self.pool.stopService()
        self.assertEqual(await self.control["munich"].list_calls(), [own])
        await self.control["munich"].release(own.id)
        self.assertEqual(self.local["munich"].released, [own.id])
        self.pool.startService()
        await self.pool.when_ready()

    async def test_a_newer_node_requests_what_this_version_does_not_know(self) -> None:
        with self.listening("berlin"), self.listening("munich"):
            await self.listen()
            with self.assertRaisesRegex(Unavailable, "does not know teleport"):
                await self.control["munich"].messages.request("berlin", "teleport")
