"""Tests of voxrec.nodes.membership, call_directory and spool_id, with a real PostgreSQL."""

import shutil
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import UUID

from twisted.internet.task import Clock
from twisted.logger import capturedLogs, formatEvent

from tests.database import DatabaseTestCase, until
from tests.store.test_nodes import call
from voxrec.deferreds import gather
from voxrec.model import Call, CallState, EventType, NodeStatus
from voxrec.nodes import former_instance as module
from voxrec.nodes.call_directory import CallDirectory
from voxrec.nodes.former_instance import replace_former_instance
from voxrec.nodes.membership import HEARTBEAT_INTERVAL, Membership
from voxrec.nodes.spool_id import read_or_create_spool_id
from voxrec.store.nodes import Nodes


class MembershipTestCase(DatabaseTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.clock = Clock()
        self.nodes = Nodes(self.pool)
        self.spool = self.make_directory()
        self.changes: list[str] = []
        self.ended: list[UUID] = []

    def make_directory(self) -> Path:
        directory = Path(self.mktemp())
        directory.mkdir()
        return directory

    async def start(
        self,
        name: str = "berlin",
        spool: Path | None = None,
        *,
        standby: bool = False,
        data: Path | None = None,
    ) -> Membership:
        async def replace_former(instance: UUID) -> UUID | None:
            if data is None:
                return None
            return replace_former_instance(data / "instance.json", data / "lock", instance)

        async def read_spool_id() -> UUID:
            return read_or_create_spool_id(spool or self.spool)

        async def former_ended(instance: UUID) -> None:
            self.ended.append(instance)

        membership = Membership(
            self.clock,
            self.nodes,
            name,
            lambda: NodeStatus(version="1", problem=membership.problem),
            read_spool_id,
            on_active=lambda active: self.changes.append(f"{name} {active=}"),
            on_draining=lambda draining: self.changes.append(f"{name} {draining=}"),
            is_standby=lambda: standby,
            replace_former_instance=replace_former,
            former_ended=former_ended,
        )
        membership.startService()
        self.addCleanup(membership.stopService)
        await membership.refreshed()
        return membership

    async def beat(self, *memberships: Membership) -> None:
        self.clock.advance(HEARTBEAT_INTERVAL)
        for membership in memberships:
            await membership.refreshed()


class FormerProcessTests(MembershipTestCase):
    """After a crash, the next process of the same data directory does not wait until the name is free."""

    def make_data_directory(self) -> Path:
        data = self.make_directory()
        (data / "lock").touch()
        return data

    async def test_a_killed_process_is_replaced_at_once(self) -> None:
        data = self.make_data_directory()
        before = await self.start(data=data)
        after = await self.start(data=data)
        self.assertTrue(after.active)
        await self.beat(after)
        self.assertEqual(self.ended, [before.instance], "once")

    async def test_a_copy_of_the_data_directory_waits(self) -> None:
        """As of a virtual machine: the original runs."""
        data, copy = self.make_data_directory(), self.make_directory() / "data"
        original = await self.start(data=data)
        shutil.copytree(data, copy)
        clone = await self.start(data=copy)
        self.assertFalse(clone.active)
        await self.beat(original, clone)
        self.assertEqual((original.active, clone.active), (True, False))
        self.assertEqual(self.ended, [])

    async def test_after_a_restart_of_the_machine(self) -> None:
        """The file may be that of another machine that uses the same network disk."""
        data = self.make_data_directory()
        await self.start(data=data)
        with patch.object(module, "_BOOT_ID", data / "boot"):
            (data / "boot").write_text("another boot\n")
            self.assertFalse((await self.start(data=data)).active)

    async def test_without_the_file_or_with_a_damaged_one(self) -> None:
        data = self.make_data_directory()
        await self.start(data=data)
        (data / "instance.json").write_text("{")
        self.assertFalse((await self.start(data=data)).active)
        (data / "lock").unlink()
        self.assertFalse((await self.start(data=data)).active)


class MembershipTests(MembershipTestCase):
    async def test_a_node_is_active_at_once(self) -> None:
        membership = await self.start()
        self.assertEqual((membership.active, membership.problem, membership.peers), (True, None, []))
        self.assertEqual(self.changes, ["berlin active=True"])
        self.assertEqual([node.problem for node in await self.nodes.list_all()], [None])

    async def test_a_node_is_alone_only_if_that_is_known(self) -> None:
        await self.pool.stopService()
        self.assertFalse((await self.start()).alone)

    async def test_nodes_know_each_other(self) -> None:
        berlin = await self.start()
        self.assertTrue(berlin.alone)
        munich = await self.start("munich", Path(self.mktemp()).parent)
        await self.beat(berlin, munich)
        self.assertEqual([node.name for node in berlin.peers], ["munich"])
        self.assertFalse(berlin.alone)
        await munich.stopService()
        await self.beat(berlin)
        self.assertEqual([(node.name, node.alive) for node in berlin.peers], [("munich", False)])
        self.assertEqual(berlin.unreachable, [], "a stopped node has not failed")

    async def test_two_processes_with_one_name(self) -> None:
        first = await self.start()
        with capturedLogs() as events:
            second = await self.start()
            for _ in range(5):
                await self.beat(first, second)
        self.assertEqual((first.active, second.active), (True, False))
        errors = [formatEvent(event) for event in events if event["log_level"].name == "error"]
        self.assertEqual(len(errors), 1, errors)
        self.assertIn("another voxrec uses the name berlin: set node.name", errors[0])
        await first.stopService()
        await self.beat(second)
        self.assertTrue(second.active)

    async def test_two_processes_with_one_name_that_start_at_the_same_time(self) -> None:
        """Exactly one gets it, and the other one does nothing that needs the disk."""
        both = await gather(self.start(), self.start())
        self.assertEqual(sorted(each.active for each in both), [False, True])
        for _ in range(5):
            await self.beat(*both)
        self.assertEqual(sorted(each.registered for each in both), [False, True])
        self.assertEqual(self.changes, ["berlin active=True"])

    async def test_two_nodes_that_start_at_the_same_time(self) -> None:
        """Each knows the other one after the next heartbeat at the latest."""
        both = await gather(self.start(), self.start("munich", self.make_directory()))
        await self.beat(*both)
        self.assertEqual([[node.name for node in each.peers] for each in both], [["munich"], ["berlin"]])
        self.assertEqual([(each.active, each.alone) for each in both], [(True, False), (True, False)])

    async def test_a_standby_waits_for_the_name_without_an_error(self) -> None:
        first = await self.start()
        with capturedLogs() as events:
            standby = await self.start(standby=True)
            for _ in range(5):
                await self.beat(first, standby)
        self.assertEqual((standby.active, [e for e in events if e["log_level"].name == "error"]), (False, []))
        await first.stopService()
        await self.beat(standby)
        self.assertTrue(standby.active)

    async def test_another_disk_is_not_taken_for_that_of_the_node(self) -> None:
        """As if its file system was not mounted: what is missing there is not without audio."""
        await (await self.start()).stopService()
        empty = self.make_directory()
        membership = await self.start(spool=empty)
        self.assertFalse(membership.active)
        self.assertIn("the recording directory is not that of node berlin", membership.problem or "")
        shutil.copy(self.spool / ".voxrec-node", empty)  # as if it was mounted now
        await self.beat(membership)
        self.assertTrue(membership.active)

    async def test_a_missing_directory(self) -> None:
        missing = Path(self.mktemp())
        membership = await self.start(spool=missing)
        self.assertEqual(membership.problem, "the recording directory is not available")
        shutil.copytree(self.spool, missing)
        await self.beat(membership)
        self.assertTrue(membership.active)

    async def test_a_renamed_node_is_reported(self) -> None:
        await (await self.start()).stopService()
        with capturedLogs() as events:
            await self.start("munich")
        self.assertIn(
            "set node.name to berlin, or run voxrec nodes rename berlin munich", str(list(map(formatEvent, events)))
        )

    async def test_draining(self) -> None:
        membership = await self.start()
        await self.nodes.set_draining("berlin", True)
        await self.beat(membership)
        await self.nodes.set_draining("berlin", False)
        await self.beat(membership)
        self.assertEqual(self.changes, ["berlin active=True", "berlin draining=True", "berlin draining=False"])


class CallDirectoryTests(MembershipTestCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        await self.start()
        self.live: list[Call] = []
        self.directory = CallDirectory(self.clock, self.nodes, "berlin", lambda: self.live)
        self.directory.is_needed = lambda: True
        self.directory.startService()
        self.addCleanup(self.directory.stopService)

    async def stored(self) -> list[Any]:
        return [(each.id, each.state) for each in await self.nodes.calls_of_others("munich")]

    async def write(self) -> None:
        self.clock.advance(0.05)
        await until(lambda: not self.directory._writer.running)

    async def test_an_event_stores_the_calls_soon(self) -> None:
        self.live = [call(state=CallState.RINGING)]
        self.directory.call_changed(EventType.CALL_RINGING, self.live[0])
        await self.write()
        self.assertEqual(await self.stored(), [(self.live[0].id, CallState.RINGING)])
        self.live = []
        self.directory.call_changed(EventType.CALL_ENDED, call())
        await self.write()
        self.assertEqual(await self.stored(), [])

    async def test_changes_without_an_event_are_stored_within_a_second(self) -> None:
        self.live = [call(state=CallState.ANNOUNCING)]
        self.clock.advance(1)
        await self.write()
        self.live = [call(id=self.live[0].id, state=CallState.TALKING)]
        self.clock.advance(1)
        await self.write()
        self.assertEqual(await self.stored(), [(self.live[0].id, CallState.TALKING)])

    async def test_calls_that_ended_while_no_process_ran_are_deleted(self) -> None:
        await self.nodes.store_calls("berlin", [call()], [])
        self.clock.advance(1)
        await self.write()
        self.assertEqual(await self.stored(), [])

    async def test_calls_are_stored_again_after_the_database_lost_them(self) -> None:
        self.live = [call()]
        self.clock.advance(1)
        await self.write()
        await self.pool.execute("DELETE FROM calls")
        self.directory.resynchronize()
        self.clock.advance(1)
        await self.write()
        self.assertEqual(await self.stored(), [(self.live[0].id, CallState.TALKING)])

    async def test_a_single_node_stores_nothing_until_there_is_another_one(self) -> None:
        self.directory.is_needed = lambda: False
        self.live = [call()]
        timers = list(self.clock.getDelayedCalls())
        self.directory.call_changed(EventType.CALL_STARTED, self.live[0])
        self.assertEqual(self.clock.getDelayedCalls(), timers)
        self.clock.advance(1)
        await self.write()
        self.assertEqual(await self.stored(), [])
        self.directory.is_needed = lambda: True
        self.clock.advance(1)
        await self.write()
        self.assertEqual(await self.stored(), [(self.live[0].id, CallState.TALKING)])
