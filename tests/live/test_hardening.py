"""A recorded call under restrictions of the systemd unit that can be applied without systemd.

They apply to the embedded PostgreSQL and to all threads as well. Of ``SystemCallFilter``, the group @resources is
refused; not @privileged, which voxrec needs as root, as here, to run PostgreSQL as another account (see the same test
for an unprivileged account in tests.postgres.test_cluster).
"""

from pathlib import Path

from tests.live.live_test_case import LiveTestCase, make_new_stack
from tests.unit_restrictions import RESOURCES, restricted
from voxrec.sandbox import demo_call
from voxrec.sandbox.stack import Stack


class RestrictedStack(Stack):
    """A stack whose voxrec runs under the restrictions of the unit."""

    def daemon_command(self, config_file: Path) -> list[str]:
        return restricted(super().daemon_command(config_file), RESOURCES)


class HardeningTests(LiveTestCase):
    def process_status(self, stack: Stack) -> str:
        return Path(f"/proc/{stack.pid}/status").read_text()

    async def test_a_recorded_call_with_the_embedded_postgresql(self) -> None:
        stack = make_new_stack()
        stack.__class__ = RestrictedStack
        self.addCleanup(stack.stop)
        await stack.start()
        status = self.process_status(stack)
        self.assertIn("NoNewPrivs:\t1", status)
        self.assertIn("Seccomp:\t2", status)
        self.assertIn("Umask:\t0077", status)
        profile, callee = await demo_call.create_profile_and_callee(
            stack, self.reactor, self.directory, record=True, recordFormat="flac", recordChannels="dual"
        )
        self.kill_at_end(callee)
        await demo_call.place_call(stack, self.reactor, self.directory, profile, callee, 2.0)
        recording = await stack.wait_for_recording(profile["id"])
        self.assertEqual(recording["state"], "completed", recording["verdict"])
        for path in (f"/recordings/{recording['id']}/audio?format=opus", f"/recordings/{recording['id']}/peaks"):
            self.assertEqual((await stack.request("GET", path)).status, 200, path)
        self.assertEqual(stack.count_log_lines("Traceback"), 0, stack.voxrec_log_tail())
