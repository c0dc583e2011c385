"""Tests of voxrec.store.nodes."""

from collections.abc import Collection
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from twisted.internet.defer import Deferred, gatherResults

from tests.database import DatabaseTestCase, reactor
from tests.store.samples import profile, recording
from voxrec.errors import NotFound
from voxrec.model import Call, CallState, NodeState, NodeStatus, RecordingState
from voxrec.postgres.pool import Pool
from voxrec.store.nodes import Nodes, Owner, Registration
from voxrec.store.recordings import Recordings

FIRST, SECOND, SPOOL, OTHER_SPOOL = (UUID(int=number) for number in range(1, 5))
PROFILE = UUID(int=9)


def call(**fields: Any) -> Call:
    return Call(
        **{
            "id": uuid4(),
            "profile_id": PROFILE,
            "state": CallState.TALKING,
            "age": 0.0,
            "to": "+4930222",
            "started_at": datetime.now(UTC),
            "node": "berlin",
            **fields,
        }
    )


class NodesTestCase(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.nodes = Nodes(self.pool)

    async def register(self, name: str = "berlin", instance: UUID = FIRST, spool: UUID | None = SPOOL) -> Any:
        return await self.nodes.heartbeat(name, instance, spool, NodeStatus(version="1", live_calls=3))

    async def expire(self, name: str) -> None:
        """Let the last heartbeat of a node be 7 s old."""
        await self.pool.execute("UPDATE nodes SET heartbeat_at = now() - interval '7 s' WHERE name = %s", (name,))

    async def states(self) -> dict[str, NodeState]:
        return {node.name: node.state for node in await self.nodes.list_all()}


class HeartbeatTests(NodesTestCase):
    async def test_a_node_is_listed_as_it_reports(self) -> None:
        self.assertEqual(await self.register(), Registration(draining=False, spool_id=SPOOL))
        (node,) = await self.nodes.list_all()
        self.assertEqual((node.name, node.state, node.version, node.live_calls), ("berlin", "running", "1", 3))
        self.assertLess(abs((node.last_heartbeat - datetime.now(UTC)).total_seconds()), 5)

    async def test_a_name_has_one_process(self) -> None:
        await self.register()
        self.assertIsNone(await self.register(instance=SECOND))
        self.assertIsNotNone(await self.register())
        await self.expire("berlin")
        self.assertIsNotNone(await self.register(instance=SECOND))
        self.assertIsNone(await self.register())

    async def test_the_next_process_of_a_stopped_node_does_not_wait(self) -> None:
        await self.register()
        await self.nodes.stop("berlin", FIRST)
        self.assertEqual(await self.states(), {"berlin": NodeState.STOPPED})
        self.assertIsNotNone(await self.register(instance=SECOND))

    async def test_the_stop_of_a_process_that_lost_the_name_has_no_effect(self) -> None:
        await self.register(instance=SECOND)
        await self.nodes.stop("berlin", FIRST)
        self.assertEqual(await self.states(), {"berlin": NodeState.RUNNING})

    async def test_another_disk_does_not_replace_that_of_the_node(self) -> None:
        await self.register(spool=None)
        await self.register()
        registration = await self.register(spool=OTHER_SPOOL)
        self.assertEqual(registration.spool_id, SPOOL)
        self.assertEqual(await self.nodes.other_name(SPOOL, "berlin"), None)
        self.assertEqual(await self.nodes.other_name(SPOOL, "munich"), "berlin")

    async def test_since_when_a_node_runs_with_another_disk(self) -> None:
        async def since() -> Any:
            return (await self.pool.query("SELECT new_spool_since FROM nodes"))[0][0]

        async def beat(spool: UUID | None, minute: int) -> None:
            first_seen = datetime(2026, 1, 1, 0, minute, tzinfo=UTC)
            await self.nodes.heartbeat("berlin", FIRST, spool, NodeStatus(), None, first_seen)

        await beat(SPOOL, 0)
        self.assertIsNone(await since())
        for spool, minute in ((OTHER_SPOOL, 1), (OTHER_SPOOL, 2), (None, 3), (OTHER_SPOOL, 4)):
            await beat(spool, minute)
            self.assertEqual((await since()).minute, 1)
        await beat(SPOOL, 5)
        self.assertIsNone(await since())

    async def test_a_node_without_heartbeats_is_unreachable(self) -> None:
        await self.register()
        await self.register("munich")
        await self.expire("berlin")
        self.assertEqual(await self.states(), {"berlin": NodeState.UNREACHABLE, "munich": NodeState.RUNNING})
        self.assertTrue(await self.nodes.has_peers("munich"))

    async def test_draining_outlasts_a_restart(self) -> None:
        await self.register()
        await self.nodes.set_draining("berlin", True)
        await self.nodes.stop("berlin", FIRST)
        self.assertEqual((await self.register(instance=SECOND)).draining, True)
        self.assertEqual(await self.states(), {"berlin": NodeState.DRAINING})
        await self.nodes.set_draining("berlin", False)
        self.assertEqual(await self.states(), {"berlin": NodeState.RUNNING})

    async def test_unknown_node(self) -> None:
        with self.assertRaisesRegex(NotFound, "no node nowhere"):
            await self.nodes.set_draining("nowhere", True)

    async def test_jobs_that_wait_for_a_node_are_counted(self) -> None:
        await self.register()
        ended = recording(id=uuid4(), state=RecordingState.PROCESSING, node="berlin")
        await Recordings(self.pool).record(ended)
        self.assertEqual([node.pending_jobs for node in await self.nodes.list_all()], [1])


class CallTests(NodesTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        await self.register("berlin")
        await self.register("munich")

    async def test_calls_of_other_nodes(self) -> None:
        first, second = call(), call(node="munich")
        await self.nodes.store_calls("berlin", [first], [])
        await self.nodes.store_calls("munich", [second], [])
        (found,) = await self.nodes.calls_of_others("munich")
        self.assertEqual((found.id, found.state, found.node), (first.id, CallState.TALKING, "berlin"))
        self.assertTrue(0 <= found.age < 5, found.age)
        self.assertEqual(await self.nodes.node_of_call(first.id), Owner("berlin", alive=True))
        self.assertIsNone(await self.nodes.node_of_call(uuid4()))

    async def test_changed_and_ended_calls(self) -> None:
        ringing, ended = call(state=CallState.RINGING), call()
        await self.nodes.store_calls("berlin", [ringing, ended], [])
        talking = call(id=ringing.id)
        await self.nodes.store_calls("berlin", [talking], [ended.id])
        states = [(each.id, each.state) for each in await self.nodes.calls_of_others("munich")]
        self.assertEqual(states, [(ringing.id, CallState.TALKING)])

    async def test_calls_of_an_unreachable_node_are_lost(self) -> None:
        live = call()
        await self.nodes.store_calls("berlin", [live], [])
        await self.expire("berlin")
        self.assertEqual([each.state for each in await self.nodes.calls_of_others("munich")], [CallState.LOST])
        self.assertEqual(await self.nodes.node_of_call(live.id), Owner("berlin", alive=False))
        self.assertTrue(await self.reserve(maximum=1))

    async def test_a_call_of_a_node_whose_clock_is_a_minute_fast_or_slow(self) -> None:
        """Whether the node reports, and whether its call counts, does not depend on its clock; an age is at least 0."""
        now = datetime.now(UTC)
        fast, slow = (call(started_at=now + timedelta(seconds=offset)) for offset in (60, -60))
        await self.nodes.store_calls("berlin", [fast, slow], [])
        found = {each.id: each for each in await self.nodes.calls_of_others("munich")}
        self.assertEqual({each.state for each in found.values()}, {CallState.TALKING})
        self.assertEqual(found[fast.id].age, 0.0)
        self.assertApproximates(found[slow.id].age, 60.0, 30.0)
        self.assertFalse(await self.reserve(maximum=2))

    async def reserve(
        self,
        reservation: UUID | None = None,
        *,
        node: str = "munich",
        maximum: int,
        own: int = 0,
        known: Collection[UUID] | None = (),
        settled: Collection[UUID] = (),
    ) -> bool:
        limited = profile(id=PROFILE, max_calls=maximum)
        return await self.nodes.reserve_call(reservation or uuid4(), node, limited, own, known, settled)

    async def test_calls_of_a_profile_are_counted(self) -> None:
        """Those of other nodes in the table, those of this one as it says."""
        own = call(node="munich")
        await self.nodes.store_calls("berlin", [call(), call(), call(profile_id=uuid4())], [])
        await self.nodes.store_calls("munich", [own], [])
        self.assertFalse(await self.reserve(maximum=3, own=1, known=[own.id]))
        self.assertTrue(await self.reserve(maximum=4, own=1, known=[own.id]))

    async def test_calls_that_begin_at_the_same_time(self) -> None:
        """Fifty requests of two nodes at once: exactly as many calls as the maximum permits."""
        pools = [Pool(reactor, self.dsn, size=8) for _ in range(2)]
        for pool in pools:
            pool.startService()
            self.addCleanup(pool.stopService)
        limited = profile(id=PROFILE, max_calls=7)
        requests = [
            Deferred.fromCoroutine(Nodes(pool).reserve_call(uuid4(), node, limited, 0, (), ()))
            for _ in range(25)
            for pool, node in zip(pools, ("berlin", "munich"), strict=True)
        ]
        self.assertEqual(sum(await gatherResults(requests)), 7)

    async def test_a_call_of_the_same_node_that_began_after_the_request_was_sent(self) -> None:
        """Its reservation has been replaced by its row meanwhile; the request counted neither."""
        newer = call(node="munich")
        await self.nodes.store_calls("munich", [newer], [])
        self.assertFalse(await self.reserve(maximum=1))
        self.assertTrue(await self.reserve(maximum=1, known=None), "rows of an earlier process are counted")

    async def test_a_reservation_becomes_a_call(self) -> None:
        first, began = uuid4(), call(node="munich")
        self.assertTrue(await self.reserve(first, maximum=2))
        self.assertFalse(await self.reserve(node="berlin", maximum=1), "the reservation is not counted")
        self.assertFalse(await self.reserve(maximum=1, own=1, known=[began.id], settled=[first]))
        self.assertTrue(await self.reserve(maximum=2, own=1, known=[began.id], settled=[first]), "it is counted twice")
        await self.pool.execute("DELETE FROM call_reservations WHERE id <> %s", (first,))
        await self.nodes.store_calls("munich", [began], [], [first])
        self.assertEqual(await self.pool.query("SELECT id FROM call_reservations"), [])
        self.assertFalse(await self.reserve(node="berlin", maximum=1), "the call is not counted")
        await self.nodes.store_calls("munich", [], [began.id])
        self.assertTrue(await self.reserve(node="berlin", maximum=1), "the call has ended")

    async def test_reservations_of_a_node_that_fails_are_released(self) -> None:
        self.assertTrue(await self.reserve(maximum=1))
        await self.expire("munich")
        self.assertTrue(await self.reserve(node="berlin", maximum=1))

    async def test_reservations_expire_and_a_new_process_deletes_its_own(self) -> None:
        self.assertTrue(await self.reserve(maximum=1))
        await self.pool.execute("UPDATE call_reservations SET reserved_at = now() - interval '11 s'")
        kept = uuid4()
        self.assertTrue(await self.reserve(kept, node="berlin", maximum=1))
        await self.nodes.delete_other_calls("munich", [])
        self.assertEqual(await self.pool.query("SELECT id FROM call_reservations"), [(kept,)])

    async def test_a_new_process_deletes_the_calls_that_ended_meanwhile(self) -> None:
        live, ended, other = call(), call(), call(node="munich")
        await self.nodes.store_calls("berlin", [live, ended], [])
        await self.nodes.store_calls("munich", [other], [])
        await self.nodes.delete_other_calls("berlin", [live.id])
        self.assertEqual([each.id for each in await self.nodes.calls_of_others("munich")], [live.id])
        self.assertEqual([each.id for each in await self.nodes.calls_of_others("berlin")], [other.id])

    async def test_node_of_a_recording(self) -> None:
        live = recording(id=uuid4(), state=RecordingState.RECORDING, node="berlin")
        await Recordings(self.pool).record(live)
        self.assertEqual(await self.nodes.node_of_recording(live.id), Owner("berlin", alive=True))
