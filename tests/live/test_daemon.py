"""The daemon under twistd: missing dependencies, a configured database, and stopping.

After SIGTERM twistd stops in order and then ends by that signal, which systemd regards as a clean exit.
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
from tests.live.live_test_case import LiveTestCase, make_stack
from voxrec.sandbox import demo_call
from voxrec.sandbox.phone import Phone
from voxrec.sandbox.stack import Stack


class DaemonTestCase(LiveTestCase):
    """Each test has its own stack."""

    def make_stack(self, **settings: dict[str, Any]) -> Stack:
        stack = make_stack(settings)
        self.addCleanup(stack.stop)
        return stack

    def change_settings(self, stack: Stack, section: str, **values: Any) -> None:
        """Change settings in the file that the sandbox has written."""
        settings = yaml.safe_load(stack.config_file.read_text())
        settings.setdefault(section, {}).update(values)
        stack.config_file.write_text(yaml.safe_dump(settings))

    async def wait_for_log(self, stack: Stack, text: str, seconds: float = 20) -> None:
        async def logged() -> bool:
            return stack.count_log_lines(text) > 0

        self.assertTrue(await stack.wait_until(logged, seconds), f"{text!r} not logged:\n{stack.voxrec_log_tail()}")

    async def assert_not_ready(self, stack: Stack, dependency: str) -> None:
        response = await stack.request("GET", "/health/ready")
        self.assertEqual(response.status, 503)
        self.assertIn(dependency, json.dumps(response.json()))
        self.assertEqual((await stack.request("GET", "/health/live")).status, 200)


class MissingDependencyTests(DaemonTestCase):
    async def test_an_invalid_configuration_ends_the_process(self) -> None:
        stack = self.make_stack()
        stack.config_file.parent.mkdir(parents=True, exist_ok=True)
        stack.config_file.write_text("asterisk: {pasword: x}\nmail: {port: 99999}\n")
        stack.launch_voxrec()
        self.assertEqual(await stack.wait_until_voxrec_ended(20), os.EX_CONFIG)
        self.assertIn("asterisk.pasword: unknown field", stack.voxrec_log_tail())
        self.assertIn("mail.port: invalid value 99999: Expected int <= 65535", stack.voxrec_log_tail())
        self.assertNotIn("Traceback", stack.voxrec_log_tail())

    async def test_a_wrong_ari_password_is_logged_once_and_retried(self) -> None:
        stack = self.make_stack()
        await stack.start_dependencies()
        self.change_settings(stack, "asterisk", password="wrong")
        stack.launch_voxrec()
        await self.wait_for_log(stack, "cannot open the event websocket")
        await self.sleep(3)
        self.assertEqual(stack.count_log_lines("cannot open the event websocket"), 1)
        self.assertEqual(stack.count_log_lines("401 Authentication required"), 1, stack.voxrec_log_tail())
        self.assertTrue(stack.running)
        await self.assert_not_ready(stack, "asterisk")

    async def test_asterisk_may_start_later_and_restart(self) -> None:
        stack = self.make_stack()
        await stack.start_dependencies()
        await stack.asterisk.stop(self.reactor)
        stack.launch_voxrec()
        await self.wait_for_log(stack, "cannot open the event websocket")
        await self.sleep(2)
        self.assertEqual(stack.count_log_lines("cannot open the event websocket"), 1)
        await self.assert_not_ready(stack, "asterisk")
        await stack.asterisk.start(self.reactor)
        await stack.wait_until_ready()
        stack.asterisk.kill()
        await self.wait_for_log(stack, "the event websocket closed")
        await stack.asterisk.start(self.reactor)
        await stack.wait_until_ready()

    async def test_listening_is_retried_while_the_port_is_in_use(self) -> None:
        stack = self.make_stack()
        await stack.start_dependencies()
        blocker = socket.socket()
        self.addCleanup(blocker.close)
        blocker.bind(("127.0.0.1", int(stack.url.rpartition(":")[2])))
        blocker.listen()
        stack.launch_voxrec()
        await self.wait_for_log(stack, "REST: cannot listen; retrying every 5 s")
        blocker.close()
        await stack.wait_until_ready()
        self.assertEqual(stack.count_log_lines("REST: cannot listen"), 1)

    async def test_an_unreachable_database_is_logged_once_and_retried(self) -> None:
        stack = self.make_stack(database={"dsn": "postgresql://nobody@127.0.0.1:1/none"})
        await stack.start_dependencies()
        stack.launch_voxrec()
        await self.wait_for_log(stack, "REST: listening")
        await self.wait_for_log(stack, "PostgreSQL: ")
        await self.sleep(6)
        self.assertEqual(stack.count_log_lines("PostgreSQL: "), 1)
        await self.assert_not_ready(stack, "postgresql")
        response = await stack.request("GET", "/profiles")
        self.assertEqual(response.status, 503)
        self.assertEqual(response.headers["content-type"], "application/problem+json")


class ConfiguredDatabaseTests(DaemonTestCase):
    async def test_a_configured_database_server_is_used(self) -> None:
        name = f"live_{os.urandom(4).hex()}"
        administer(SQL("CREATE DATABASE {}").format(Identifier(name)))
        stack = self.make_stack(database={"dsn": cluster().dsn(name)})
        await stack.start()
        self.assertFalse((stack.directory / "data" / "postgres").exists())
        profile, callee = await demo_call.create_profile_and_callee(stack, self.reactor, self.directory, record=True)
        self.kill_at_end(callee)
        await demo_call.place_call(stack, self.reactor, self.directory, profile, callee, 2.0)
        recording = await stack.wait_for_recording(profile["id"])
        self.assertEqual(recording["state"], "completed")
        self.assertEqual([each["id"] for each in await stack.request_json("GET", "/profiles")], [profile["id"]])


class ReloadTests(DaemonTestCase):
    async def test_sighup_reloads_settings_and_an_invalid_file_changes_nothing(self) -> None:
        stack = self.make_stack()
        await stack.start()
        old_token, pid = stack.token, stack.pid
        stack.token = "replaced-" + os.urandom(16).hex()
        self.change_settings(stack, "rest", admin_token=stack.token, public_url="http://other.example")
        self.change_settings(stack, "calls", max_calls=1, allowed_hosts=["192.0.2.1"])
        self.change_settings(stack, "log", level="info", format="json")
        stack.signal_voxrec(signal.SIGHUP)
        await self.wait_for_log(
            stack, "changed: rest.admin_token, calls.max_calls, calls.allowed_hosts, log.level, log.format"
        )
        self.assertEqual(stack.count_log_lines("restart voxrec to apply the changed settings rest.public_url"), 1)
        self.assertEqual((await stack.request("GET", "/profiles")).status, 200)
        old = {"Authorization": f"Bearer {old_token}"}
        self.assertEqual((await stack.request("GET", "/profiles", headers=old)).status, 401)
        refused = await stack.request("PUT", "/profiles", {"remoteSipUri": "sip:x@127.0.0.1"})
        self.assertEqual(refused.status, 422)
        self.assertIn("not one of the allowed hosts", refused.body.decode())

        self.change_settings(stack, "calls", max_calls=-1, ring_timeout="soon")
        stack.signal_voxrec(signal.SIGHUP)
        await self.wait_for_log(stack, "calls.max_calls: invalid value -1")
        await self.wait_for_log(stack, "calls.ring_timeout: invalid value 'soon'")
        self.assertEqual((await stack.request("GET", "/profiles")).status, 200)
        self.assertEqual((stack.running, stack.pid), (True, pid))

    async def test_sighup_during_the_start_does_not_end_the_process(self) -> None:
        stack = self.make_stack()
        await stack.start_dependencies()
        stack.launch_voxrec()
        await self.wait_for_log(stack, "starting up")  # from here on, twistd runs the plugin
        stack.signal_voxrec(signal.SIGHUP)
        await stack.wait_until_ready()
        self.assertEqual(stack.count_log_lines("the settings were reloaded; changed: none"), 1)


class StopTests(DaemonTestCase):
    async def start_recorded_call(self, stack: Stack, seconds: float) -> tuple[dict[str, Any], Phone, Phone]:
        """Start the stack and a recorded call of ``seconds``; return the Profile, the caller and the callee."""
        await stack.start()
        profile, callee = await demo_call.create_profile_and_callee(
            stack, self.reactor, self.directory, record=True, recordChannels="dual"
        )
        self.kill_at_end(callee)
        caller = Phone.make_caller(
            self.reactor,
            self.directory,
            f"sip:{profile['id']}@{stack.sip_host_port}",
            play=self.directory / "desk.tone.wav",
            seconds=seconds,
        )
        self.kill_at_end(caller)
        await caller.start()
        await caller.wait_for("confirmed")
        return profile, caller, callee

    async def test_on_stop_end_waits_for_live_calls_and_rejects_new_ones(self) -> None:
        stack = self.make_stack(calls={"on_stop": "end", "grace": 30})
        profile, caller, _ = await self.start_recorded_call(stack, 5.0)
        stack.signal_voxrec(signal.SIGTERM)
        await self.sleep(0.5)
        self.assertEqual(await self.place_sipp_call(stack, profile["id"]), 503)
        self.assertTrue(stack.running)
        await caller.wait_until_ended(20)
        self.assertEqual(await stack.wait_until_voxrec_ended(20), -signal.SIGTERM)
        connected = caller.event("disconnected").monotonic - caller.event("confirmed").monotonic
        self.assertApproximates(connected, 5.0, 0.5)
        await stack.start_voxrec()
        recording = await stack.wait_for_recording(profile["id"])
        self.assertEqual(recording["state"], "completed")
        self.assertApproximates(recording["duration"], 5.0, 0.5)

    async def test_on_stop_end_hangs_up_calls_after_the_grace_period(self) -> None:
        stack = self.make_stack(calls={"on_stop": "end", "grace": 1})
        profile, caller, callee = await self.start_recorded_call(stack, 60.0)
        stack.signal_voxrec(signal.SIGTERM)
        await caller.wait_until_ended(10)
        await callee.wait_until_ended(10)
        self.assertEqual(await stack.wait_until_voxrec_ended(20), -signal.SIGTERM)
        await stack.start_voxrec()
        recording = await stack.wait_for_recording(profile["id"])
        self.assertEqual(recording["state"], "completed")
        self.assertEqual(recording["timeline"][-1]["by"], "voxrec")

    async def test_recordings_of_a_killed_asterisk_are_finished(self) -> None:
        stack = self.make_stack()
        profile, _, _ = await self.start_recorded_call(stack, 60.0)
        await self.sleep(4)
        stack.asterisk.kill()
        await self.sleep(1)
        await stack.asterisk.start(self.reactor)
        await stack.wait_until_ready()
        recording = await stack.wait_for_recording(profile["id"], 90)
        self.assertEqual(recording["state"], "completed")
        self.assertTrue(recording["verdict"]["repaired"], recording["verdict"])
        # Asterisk writes 32 KiB at a time: 2.05 s
        self.assertGreater(recording["duration"], 2)
        await self.assert_asterisk_is_idle(stack)

    async def test_postgresql_ends_when_voxrec_is_killed(self) -> None:
        stack = self.make_stack()
        await stack.start()
        cluster_directory = stack.directory / "data" / "postgres" / "cluster"
        self.assertNotEqual(_processes_in(cluster_directory), [])
        stack.kill_voxrec()

        async def gone() -> bool:
            return not _processes_in(cluster_directory)

        self.assertTrue(await stack.wait_until(gone, 30), "PostgreSQL still runs after voxrec was killed")


def _processes_in(directory: Path) -> list[str]:
    """Return the ids of the processes whose working directory this is, such as those of a PostgreSQL server."""
    processes = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").readlink() == directory:
                processes.append(process.name)
        except OSError:
            continue
    return processes
