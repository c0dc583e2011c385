"""Two voxrec on one Asterisk: one is active, the other stands by and takes over."""

import signal
from typing import Any

import yaml

from tests.live.live_test_case import make_stack
from tests.live.node_stacks import NodesTestCase
from voxrec.sandbox.stack import Stack


class StandbyTests(NodesTestCase):
    async def start_pair(self) -> tuple[Stack, Stack]:
        """Start an active voxrec and its standby: one node, with one Asterisk and two data directories."""
        active = await self.start_node("berlin")
        settings: dict[str, Any] = yaml.safe_load(active.config_file.read_text())
        shared = ("asterisk", "database", "archive", "node", "mail")
        standby = make_stack({section: settings[section] for section in shared}, self.recipe)
        self.addCleanup(standby.stop_voxrec)
        standby.write_configuration()
        standby.launch_voxrec()

        async def stands_by() -> bool:
            return bool(standby.count_log_lines("standing by: another voxrec"))

        self.assertTrue(await standby.wait_until(stands_by, 20), standby.voxrec_log_tail())
        return active, standby

    async def start_call(self, active: Stack) -> str:
        answerer = await self.start_answerer(active)
        fields = {"remoteSipUri": answerer.uri, "record": True, "recordBeepAtStart": False}
        profile = await active.request_json("PUT", "/profiles", fields)
        self.caller = await self.start_calls(active, profile["id"], talk_seconds=12.0)

        async def talking() -> bool:
            return [call["state"] for call in await active.request_json("GET", "/calls")] == ["talking"]

        self.assertTrue(await active.wait_until(talking, 15))
        return str(profile["id"])

    async def assert_takes_over(self, standby: Stack, seconds: float) -> None:
        """Assert that the standby has the call within ``seconds``, and accepts calls."""
        started = self.reactor.seconds()

        async def has_call() -> bool:
            return bool(standby.count_log_lines("taken over, talking"))

        self.assertTrue(await standby.wait_until(has_call, 10), standby.voxrec_log_tail())
        self.assertLess(self.reactor.seconds() - started, seconds)
        await self.assert_ready(standby)

    async def assert_ready(self, stack: Stack) -> None:
        async def ready() -> bool:
            return await stack.readiness_status() == 200

        self.assertTrue(await stack.wait_until(ready, 5), stack.voxrec_log_tail())

    async def assert_recorded(self, standby: Stack, profile: str) -> None:
        self.assertEqual((await self.caller.finish()).succeeded, 1)
        recording = await standby.wait_for_recording(profile)
        self.assertEqual((recording["state"], recording["node"]), ("completed", "berlin"))
        self.assertIn("taken-over", self.events(recording))
        self.assertApproximates(recording["duration"], 12.0, 1.0)

    async def test_the_active_one_dies(self) -> None:
        active, standby = await self.start_pair()
        self.assertEqual((await active.readiness_status(), await standby.readiness_status()), (200, 503))
        profile = await self.start_call(active)
        active.kill_voxrec()
        await self.assert_takes_over(standby, 2.0)
        await self.assert_recorded(standby, profile)

    async def test_the_active_one_hangs_and_returns(self) -> None:
        """A stopped process cannot be told from a dead machine. When it continues, it stands by."""
        active, standby = await self.start_pair()
        profile = await self.start_call(active)
        active.signal_voxrec(signal.SIGSTOP)
        self.addCleanup(active.signal_voxrec, signal.SIGCONT)
        await self.assert_takes_over(standby, 3.0)
        active.signal_voxrec(signal.SIGCONT)

        async def stands_by() -> bool:
            return bool(active.count_log_lines("standing by: another voxrec"))

        self.assertTrue(await active.wait_until(stands_by, 5), active.voxrec_log_tail())
        self.assertEqual(standby.count_log_lines("has taken over the Stasis application"), 0)
        self.assertEqual((await active.readiness_status(), await standby.readiness_status()), (503, 200))
        await self.assert_recorded(standby, profile)
        standby.kill_voxrec()
        await self.assert_ready(active)
