"""``voxrec backup`` of a running daemon with a real recording, and ``voxrec restore`` into a new installation."""

import hashlib
import subprocess
import sys
from pathlib import Path

from twisted.internet.threads import deferToThread

from tests.live.live_test_case import LiveTestCase, make_new_stack, make_stack
from voxrec.sandbox import demo_call
from voxrec.sandbox.stack import Stack


class BackupTests(LiveTestCase):
    async def voxrec(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run the command, as an operator does, without blocking the reactor."""
        command = [str(Path(sys.executable).with_name("voxrec")), *arguments]
        return await deferToThread(subprocess.run, command, capture_output=True, text=True, check=False)

    async def audio_hash(self, stack: Stack, recording_id: str) -> str:
        response = await stack.request("GET", f"/recordings/{recording_id}/audio")
        self.assertEqual(response.status, 200)
        return hashlib.sha256(response.body).hexdigest()

    async def test_a_restored_daemon_has_the_profiles_and_the_audio(self) -> None:
        stack, fresh = make_stack(), make_new_stack()
        self.addCleanup(fresh.stop)
        self.addCleanup(stack.stop)
        await stack.start()
        profile, callee = await demo_call.create_profile_and_callee(stack, self.reactor, self.directory, record=True)
        self.kill_at_end(callee)
        await demo_call.place_call(stack, self.reactor, self.directory, profile, callee, 2.0)
        recording = await stack.wait_for_recording(profile["id"])
        digest = await self.audio_hash(stack, recording["id"])
        self.assertEqual(digest, recording["sha256"])

        backup = str(self.directory / "backup")
        result = await self.voxrec("backup", backup, "--config", str(stack.config_file))
        self.assertEqual(result.returncode, 0, result.stderr)

        # the daemon that runs must not be overwritten, not even with the option
        result = await self.voxrec("restore", backup, "--overwrite", "--config", str(stack.config_file))
        self.assertEqual(result.returncode, 1)
        self.assertIn("in use by another voxrec process", result.stderr)

        await fresh.start_dependencies()
        result = await self.voxrec("restore", backup, "--config", str(fresh.config_file))
        self.assertEqual(result.returncode, 0, result.stderr)
        await fresh.start_voxrec()
        self.assertEqual(await fresh.request_json("GET", f"/profiles/{profile['id']}"), profile)
        self.assertEqual(await self.audio_hash(fresh, recording["id"]), digest)
        restored = await fresh.request_json("GET", f"/recordings/{recording['id']}")
        self.assertEqual(restored["verdict"], recording["verdict"])
        self.assertEqual(fresh.count_log_lines("Traceback"), 0)
