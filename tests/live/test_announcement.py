"""Live tests of the announcement: Asterisk runs as another account than voxrec, with the umask of the shipped unit."""

import os
from pathlib import Path
from typing import Any

from tests.live.live_test_case import LiveTestCase, make_stack, shared_stack
from voxrec.sandbox import demo_call, tones
from voxrec.sandbox.asterisk import ASTERISK_ACCOUNT
from voxrec.sandbox.phone import Phone
from voxrec.sandbox.rootfs import ASTERISK_16
from voxrec.sandbox.stack import UMASK, Stack


def mode(path: Path) -> str:
    return f"{path.stat().st_mode & 0o7777:o}"


def owner(path: str) -> int:
    return Path(path).stat().st_uid


class AnnouncementTests(LiveTestCase):
    async def test_asterisk_can_read_what_voxrec_wrote(self) -> None:
        stack = await shared_stack(self.recipe)
        self.assertIn(f"Umask:\t{UMASK:04o}", _read(f"/proc/{stack.pid}/status"))
        if owner("/proc/self") == 0:
            self.assertEqual(owner(f"/proc/{stack.asterisk.pid}"), ASTERISK_ACCOUNT)
        sounds = stack.asterisk.sounds_directory
        self.assertEqual((mode(sounds), mode(sounds / "announcement.wav")), ("755", "644"))
        self.assertEqual(await self.announcement_metrics(stack), {"playable": 1.0, "failed": 0.0})

    async def test_unreadable_announcement_is_reported_everywhere(self) -> None:
        if owner("/proc/self") != 0:
            self.skipTest("only root can run Asterisk as another account")
        stack = make_stack(recipe=self.recipe)
        self.addCleanup(stack.stop)
        await stack.start()
        stack.asterisk.sounds_directory.chmod(0o750)
        await stack.stop_voxrec()
        # the modes of another account's directory are not changed: an administrator may have chosen them
        _give_away(stack.asterisk.sounds_directory)
        stack.launch_voxrec()

        async def checked() -> bool:
            return stack.count_log_lines("Asterisk cannot play the announcement") == 1

        self.assertTrue(await stack.wait_until(checked, 60), stack.voxrec_log_tail())
        self.assertEqual(stack.count_log_lines(f"other accounts may not enter {stack.asterisk.sounds_directory}"), 1)
        not_ready: set[str] = set()

        async def nothing_else_is_missing() -> bool:  # PostgreSQL may still be starting
            readiness = await stack.request("GET", "/health/ready")
            self.assertEqual(readiness.status, 503)
            not_ready.clear()
            not_ready.update(name for name, state in readiness.json()["dependencies"].items() if not state["ready"])
            return not_ready == {"announcement"}

        self.assertTrue(await stack.wait_until(nothing_else_is_missing, 20), not_ready)

        recording = await self.recorded_call(stack)
        self.assertEqual(recording["state"], "completed")
        self.assertFalse(recording["verdict"]["ok"])
        self.assertEqual(recording["verdict"]["reasons"], ["announcement.failed"])
        self.assertIn("announcement.failed", self.events(recording))
        self.assertEqual(stack.count_log_lines("was not played completely; the recording continues"), 1)
        self.assertEqual(await self.announcement_metrics(stack), {"playable": 0.0, "failed": 1.0})
        await self.assert_asterisk_is_idle(stack)

    async def recorded_call(self, stack: Stack) -> Any:
        """Return the Recording of a call with an announcement."""
        profile, callee = await demo_call.create_profile_and_callee(
            stack, self.reactor, self.directory, record=True, recordPrompt="default", recordBeepAtStart=False
        )
        self.kill_at_end(callee)
        tone = tones.write_tone(self.directory / "caller.tone.wav", demo_call.CALLER_HZ, 1.0)
        uri = f"sip:{profile['id']}@{stack.sip_host_port}"
        caller = Phone.make_caller(self.reactor, self.directory, uri, name="caller", play=tone, seconds=3)
        self.kill_at_end(caller)
        await caller.start()
        await caller.wait_until_ended(60)
        return await stack.wait_for_recording(profile["id"])

    async def announcement_metrics(self, stack: Stack) -> dict[str, float]:
        return {
            "playable": await self.metric(stack, "voxrec_announcement_playable"),
            "failed": await self.metric(stack, "voxrec_announcements_failed_total"),
        }


class AnnouncementTestsWithAsterisk16(AnnouncementTests):
    recipe = ASTERISK_16


def _read(path: str) -> str:
    return Path(path).read_text()


def _give_away(directory: Path) -> None:
    """Change the owner of a directory and its files to neither voxrec nor Asterisk."""
    for path in (directory, *directory.iterdir()):
        os.chown(path, 64200, 64200)
