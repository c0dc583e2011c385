"""Two voxrec on one Asterisk: one is active, the other stands by and takes over."""

import signal
from typing import Any

import yaml
from twisted.internet.defer import Deferred

from tests.cluster_template import copy_cluster
from tests.live.live_test_case import make_stack
from tests.live.node_stacks import NodesTestCase
from tests.temporary import temporary_directory
from voxrec.postgres.cluster import Cluster
from voxrec.sandbox.stack import Stack


class StandbyTests(NodesTestCase):
    async def start_pair(self) -> tuple[Stack, Stack]:
        """Start an active voxrec and its standby: one node, with one Asterisk and two data directories."""
        active = await self.start_node("berlin")
        return active, await self.start_standby(active)

    async def start_standby(self, active: Stack) -> Stack:
        standby = self.launch_standby(active)
        await self.wait_for_log(standby, "standing by: another voxrec", 60)
        return standby

    def launch_standby(self, active: Stack) -> Stack:
        settings: dict[str, Any] = yaml.safe_load(active.config_file.read_text())
        shared = ("asterisk", "database", "archive", "node", "mail")
        standby = make_stack({section: settings[section] for section in shared}, self.recipe)
        self.addCleanup(standby.stop_voxrec)
        standby.write_configuration()
        standby.launch_voxrec()
        return standby

    async def wait_for_log(self, stack: Stack, text: str, seconds: float, count: int = 1) -> None:
        async def logged() -> bool:
            return stack.count_log_lines(text) >= count

        self.assertTrue(await stack.wait_until(logged, seconds), stack.voxrec_log_tail())

    async def create_profile(self, active: Stack) -> str:
        answerer = await self.start_answerer(active)
        fields = {"remoteSipUri": answerer.uri, "record": True, "recordBeepAtStart": False}
        return str((await active.request_json("PUT", "/profiles", fields))["id"])

    async def start_call(self, active: Stack, profile: str, talk_seconds: float = 12.0) -> None:
        self.caller = await self.start_calls(active, profile, talk_seconds=talk_seconds)

        async def talking() -> bool:
            return [call["state"] for call in await active.request_json("GET", "/calls")] == ["talking"]

        self.assertTrue(await active.wait_until(talking, 15))

    async def assert_takes_over(self, standby: Stack, seconds: float) -> None:
        """Assert that the standby has the call within ``seconds``, and accepts calls."""
        started = self.reactor.seconds()
        await self.wait_for_log(standby, "taken over, talking", 10)
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
        profile = await self.create_profile(active)
        await self.start_call(active, profile)
        active.kill_voxrec()
        await self.assert_takes_over(standby, 2.0)
        await self.assert_recorded(standby, profile)

    async def test_the_active_one_is_stopped_for_good(self) -> None:
        """With ``on_stop: end`` calls end only if there is no standby."""
        active = await self.start_node("berlin", calls={"on_stop": "end", "grace": 30})
        standby = await self.start_standby(active)
        profile, other = [await self.create_profile(active) for _ in range(2)]
        await self.start_call(active, profile)
        stopped = Deferred.fromCoroutine(active.stop_voxrec())
        await self.assert_takes_over(standby, 3.0)
        await stopped
        self.assertEqual(await self.call_once(active, other), [200], "a new call is refused")
        await self.assert_recorded(standby, profile)

    async def test_the_active_one_hangs_and_returns(self) -> None:
        """A stopped process cannot be told from a dead machine. When it continues, it stands by."""
        active, standby = await self.start_pair()
        profile = await self.create_profile(active)
        await self.start_call(active, profile)
        active.signal_voxrec(signal.SIGSTOP)
        self.addCleanup(active.signal_voxrec, signal.SIGCONT)
        await self.assert_takes_over(standby, 3.0)
        active.signal_voxrec(signal.SIGCONT)
        await self.wait_for_log(active, "standing by: another voxrec", 5)
        self.assertEqual(standby.count_log_lines("has taken over the Stasis application"), 0)
        self.assertEqual((await active.readiness_status(), await standby.readiness_status()), (503, 200))
        await self.assert_recorded(standby, profile)
        standby.kill_voxrec()
        await self.assert_ready(active)

    def start_postgres(self) -> Cluster:
        """Start a PostgreSQL that the test can stop, for the nodes that are started from now on."""
        directory = temporary_directory("standby")
        copy_cluster(directory)
        postgres = Cluster(directory, {"fsync": "off"})
        self.addCleanup(postgres.stop)
        postgres.prepare()
        self.launch_postgres(postgres)
        self.dsn = postgres.dsn()
        return postgres

    def launch_postgres(self, postgres: Cluster) -> None:
        postgres.launch()
        postgres.wait_until_ready()

    async def call_once(self, stack: Stack, profile: str) -> list[int]:
        """Place a short call, and return the SIP statuses of its answers."""
        caller = await self.start_calls(stack, profile, talk_seconds=1.0)
        return list((await caller.finish()).codes)

    async def test_without_profiles_it_returns_the_calls(self) -> None:
        """It was never started before PostgreSQL is away; the active one dies, and returns with its snapshot."""
        postgres = self.start_postgres()
        active = await self.start_node("berlin")
        profile = await self.create_profile(active)
        snapshot = active.directory / "data" / "profiles.jsonl"

        async def is_saved() -> bool:
            return profile in snapshot.read_text()

        self.assertTrue(await active.wait_until(is_saved, 10))
        postgres.stop()
        standby = self.launch_standby(active)
        await self.start_call(active, profile, talk_seconds=90.0)
        answered = self.reactor.seconds()
        (call,) = await active.request_json("GET", "/calls")
        await self.wait_for_log(standby, "standing by: another voxrec", 30)
        active.kill_voxrec()
        await self.wait_for_log(standby, "taken over, talking", 15)
        self.assertEqual(await self.call_once(active, profile), [503])
        readiness = (await standby.request("GET", "/health/ready")).json()
        self.assertIn("no Profiles are known", readiness["dependencies"]["postgresql"]["detail"])

        active.launch_voxrec()
        await self.wait_for_log(active, "knows no Profiles; this one takes over", 15)
        self.assertEqual(await self.call_once(active, profile), [200])
        await self.wait_for_log(standby, "standing by: another voxrec", 10, count=2)
        self.assertFalse(postgres.running)
        for stack in (active, standby):
            self.assertEqual(stack.count_log_lines("reconciliation with Asterisk failed"), 0)
            self.assertEqual(stack.count_log_lines("another program has taken over"), 0)
        await self.wait_for_log(active, "taken over, talking", 10)

        self.launch_postgres(postgres)
        await self.assert_ready(active)
        self.assertEqual((await active.request("DELETE", f"/calls/{call['id']}")).status, 204)
        seconds = self.reactor.seconds() - answered
        await self.caller.finish()

        async def completed() -> bool:
            recordings = await active.request_json("GET", f"/profiles/{profile}/recordings")
            return [recording["state"] for recording in recordings] == ["completed"] * 2

        self.assertTrue(await active.wait_until(completed, 30), active.voxrec_log_tail())
        recording = await active.request_json("GET", f"/recordings/{call['recordingId']}")
        self.assertApproximates(recording["duration"], seconds, 2.0)
