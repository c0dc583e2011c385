"""The daemon as an administrator meets it: what it says when something is missing, and how it stops.

A twistd that ends in order after SIGTERM does so by that signal, which systemd counts as clean.
"""

import json
import os
import signal
import socket
from pathlib import Path
from typing import Any

import yaml
from psycopg2.sql import SQL, Identifier

from tests.database import administer, cluster
from tests.live.gateway import GatewayTestCase, new_stack
from tests.live.test_calls import asterisk_of
from voxrec.sandbox import demo_call
from voxrec.sandbox.asterisk import free_port
from voxrec.sandbox.phone import Phone
from voxrec.sandbox.process import Process, with_parent_death_signal
from voxrec.sandbox.stack import Stack


class DaemonTestCase(GatewayTestCase):
    """A stack of the test's own."""

    def stack(self, **settings: dict[str, Any]) -> Stack:
        stack = new_stack(settings)
        self.addCleanup(stack.stop)
        return stack

    def amend(self, stack: Stack, section: str, **values: Any) -> None:
        """Change settings after the sandbox has written its own."""
        settings = yaml.safe_load(stack.config_file.read_text())
        settings.setdefault(section, {}).update(values)
        stack.config_file.write_text(yaml.safe_dump(settings))

    async def says(self, stack: Stack, text: str, seconds: float = 20) -> None:
        async def said() -> bool:
            return stack.count_log_lines(text) > 0

        self.assertTrue(await stack.wait_until(said, seconds), f"never said {text!r}:\n{stack.voxrec_log_tail()}")

    async def not_ready(self, stack: Stack, dependency: str) -> None:
        answer = await stack.request("GET", "/health/ready")
        self.assertEqual(answer.status, 503)
        self.assertIn(dependency, json.dumps(answer.json()))
        self.assertEqual((await stack.request("GET", "/health/live")).status, 200)


class MissingTests(DaemonTestCase):
    async def test_a_bad_configuration_ends_the_start_at_once(self) -> None:
        stack = self.stack()
        stack.config_file.parent.mkdir(parents=True, exist_ok=True)
        stack.config_file.write_text("asterisk: {pasword: x}\nmail: {port: 99999}\n")
        stack.launch_voxrec()
        self.assertEqual(await stack.wait_until_voxrec_ended(20), os.EX_CONFIG)
        self.assertIn("asterisk.pasword: unknown field", stack.voxrec_log_tail())
        self.assertIn("mail.port: invalid value 99999: Expected int <= 65535", stack.voxrec_log_tail())
        self.assertNotIn("Traceback", stack.voxrec_log_tail())

    async def test_a_wrong_ari_password_is_said_once_and_tried_again(self) -> None:
        stack = self.stack()
        await stack.start_dependencies()
        self.amend(stack, "asterisk", password="wrong")
        stack.launch_voxrec()
        await self.says(stack, "cannot open the event websocket")
        await self.sleep(3)
        self.assertEqual(stack.count_log_lines("cannot open the event websocket"), 1)
        self.assertEqual(stack.count_log_lines("[401]: Unauthorized"), 1, stack.voxrec_log_tail())
        self.assertTrue(stack.running)
        await self.not_ready(stack, "asterisk")

    async def test_asterisk_may_come_later_and_go(self) -> None:
        stack = self.stack()
        await stack.start_dependencies()
        await stack.asterisk.stop(self.reactor)
        stack.launch_voxrec()
        await self.says(stack, "cannot open the event websocket")
        await self.sleep(2)
        self.assertEqual(stack.count_log_lines("cannot open the event websocket"), 1)
        await self.not_ready(stack, "asterisk")
        await stack.asterisk.start(self.reactor)
        await stack.wait_until_ready()
        stack.asterisk.kill()
        await self.says(stack, "the event websocket closed")
        await stack.asterisk.start(self.reactor)
        await stack.wait_until_ready()

    async def test_a_port_that_is_taken_is_waited_for(self) -> None:
        stack = self.stack()
        await stack.start_dependencies()
        taken = socket.socket()
        self.addCleanup(taken.close)
        taken.bind(("127.0.0.1", int(stack.url.rpartition(":")[2])))
        taken.listen()
        stack.launch_voxrec()
        await self.says(stack, "REST: cannot listen; retrying every 5 s")
        taken.close()
        await stack.wait_until_ready()
        self.assertEqual(stack.count_log_lines("REST: cannot listen"), 1)

    async def test_a_database_that_refuses_is_said_once_and_waited_for(self) -> None:
        stack = self.stack(database={"dsn": "postgresql://nobody@127.0.0.1:1/none"})
        await stack.start_dependencies()
        stack.launch_voxrec()
        await self.says(stack, "REST: listening")
        await self.says(stack, "PostgreSQL: ")
        await self.sleep(6)
        self.assertEqual(stack.count_log_lines("PostgreSQL: "), 1)
        await self.not_ready(stack, "postgresql")
        answer = await stack.request("GET", "/profiles")
        self.assertEqual(answer.status, 503)
        self.assertEqual(answer.headers["content-type"], "application/problem+json")


class ConfiguredDatabaseTests(DaemonTestCase):
    async def test_a_server_of_the_users_own_serves_as_well(self) -> None:
        name = f"live_{os.urandom(4).hex()}"
        administer(SQL("CREATE DATABASE {}").format(Identifier(name)))
        stack = self.stack(database={"dsn": cluster().dsn(name)})
        await stack.start()
        self.assertFalse((stack.directory / "data" / "postgres").exists())
        profile, callee = await demo_call.create_profile_and_callee(stack, self.reactor, self.directory, record=True)
        self.phone(callee)
        await demo_call.place_call(stack, self.reactor, self.directory, profile, callee, 2.0)
        recording = await stack.wait_for_recording(profile["id"])
        self.assertEqual(recording["state"], "completed")
        self.assertEqual([each["id"] for each in await stack.request_json("GET", "/profiles")], [profile["id"]])


class StopTests(DaemonTestCase):
    async def talking(self, stack: Stack, seconds: float) -> tuple[dict[str, Any], Phone, Phone]:
        """A recorded call in which both parties talk; it ends by itself after so many seconds."""
        await stack.start()
        profile, callee = await demo_call.create_profile_and_callee(
            stack, self.reactor, self.directory, record=True, recordChannels="dual"
        )
        self.phone(callee)
        caller = Phone.make_caller(
            self.reactor,
            self.directory,
            f"sip:{profile['id']}@{stack.sip_host_port}",
            play=self.directory / "desk.tone.wav",
            seconds=seconds,
        )
        self.phone(caller)
        await caller.start()
        await caller.wait_for("confirmed")
        return profile, caller, callee

    async def test_live_calls_end_by_themselves_and_new_ones_are_sent_elsewhere(self) -> None:
        stack = self.stack(calls={"on_stop": "end", "grace": 30})
        profile, caller, _ = await self.talking(stack, 5.0)
        stack.signal_voxrec(signal.SIGTERM)
        await self.sleep(0.5)
        self.assertEqual(await self.sipp_code(stack, profile["id"]), 503)
        self.assertTrue(stack.running)
        await caller.wait_until_ended(20)
        self.assertEqual(await stack.wait_until_voxrec_ended(20), -signal.SIGTERM)
        talked = caller.event("disconnected").monotonic - caller.event("confirmed").monotonic
        self.assertApproximates(talked, 5.0, 0.5)
        await stack.start_voxrec()
        recording = await stack.wait_for_recording(profile["id"])
        self.assertEqual(recording["state"], "completed")
        self.assertApproximates(recording["duration"], 5.0, 0.5)

    async def test_calls_that_go_on_too_long_are_ended_and_kept(self) -> None:
        stack = self.stack(calls={"on_stop": "end", "grace": 1})
        profile, caller, callee = await self.talking(stack, 60.0)
        stack.signal_voxrec(signal.SIGTERM)
        await caller.wait_until_ended(10)
        await callee.wait_until_ended(10)
        self.assertEqual(await stack.wait_until_voxrec_ended(20), -signal.SIGTERM)
        await stack.start_voxrec()
        recording = await stack.wait_for_recording(profile["id"])
        self.assertEqual(recording["state"], "completed")
        self.assertEqual(recording["timeline"][-1]["by"], "voxrec")

    async def test_what_a_killed_asterisk_was_recording_is_finished(self) -> None:
        stack = self.stack()
        profile, _, _ = await self.talking(stack, 60.0)
        await self.sleep(4)
        stack.asterisk.kill()
        await self.sleep(1)
        await stack.asterisk.start(self.reactor)
        await stack.wait_until_ready()
        recording = await stack.wait_for_recording(profile["id"], 90)
        self.assertEqual(recording["state"], "completed")
        self.assertTrue(recording["verdict"]["repaired"], recording["verdict"])
        # Asterisk writes 32 KiB at a time, which is 2.05 s
        self.assertGreater(recording["duration"], 2)
        await self.assert_nothing_left(stack, asterisk_of(stack, self.reactor))

    async def test_of_two_on_one_application_the_first_gives_way_and_the_call_goes_on(self) -> None:
        name = f"live_{os.urandom(4).hex()}"
        administer(SQL("CREATE DATABASE {}").format(Identifier(name)))
        stack = self.stack(database={"dsn": cluster().dsn(name)})
        profile, caller, _ = await self.talking(stack, 8.0)
        second = self.second(stack)
        await self.says(stack, "another program took over the application")
        await self.not_ready(stack, "another program took over")
        await caller.wait_until_ended(20)
        talked = caller.event("disconnected").monotonic - caller.event("confirmed").monotonic
        self.assertApproximates(talked, 8.0, 0.5)
        recording = await stack.wait_for_recording(profile["id"])
        self.assertEqual(recording["state"], "completed")
        self.assertApproximates(recording["duration"], 8.0, 0.4)
        self.assertIn("taken over, talking", second.log_tail(200))
        self.assertEqual(stack.count_log_lines("Traceback"), 0)

    def second(self, stack: Stack) -> Process:
        """Another voxrec on the same database and application, as after a careless failover."""
        settings = yaml.safe_load(stack.config_file.read_text())
        settings["data_directory"] = str(stack.directory / "second")
        settings["rest"]["listen"] = f"tcp:{free_port(socket.SOCK_STREAM)}:interface=127.0.0.1"
        config = stack.directory / "second.yaml"
        config.write_text(yaml.safe_dump(settings))
        command = with_parent_death_signal(stack.daemon_command(config))
        second = Process(command, stack.directory / "second.log", directory=stack.directory)
        self.addCleanup(second.kill)
        return second

    async def test_nothing_outlives_it(self) -> None:
        stack = self.stack()
        await stack.start()
        cluster = stack.directory / "data" / "postgres" / "cluster"
        self.assertNotEqual(_working_in(cluster), [])
        stack.kill_voxrec()

        async def gone() -> bool:
            return not _working_in(cluster)

        self.assertTrue(await stack.wait_until(gone, 10), "PostgreSQL outlives a killed voxrec")


def _working_in(directory: Path) -> list[str]:
    """The processes that work in a directory, as all of a PostgreSQL server's do."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == directory:
                found.append(process.name)
        except OSError:
            continue
    return found
