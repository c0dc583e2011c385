"""Calls that end before the parties have heard an announcement that their Profile requires.

Nothing of their audio is kept, whoever ends them, and also if voxrec or Asterisk is lost meanwhile.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.live.live_test_case import RecordedCallTestCase, make_stack, shared_stack
from voxrec.sandbox import tones
from voxrec.sandbox.phone import Phone
from voxrec.sandbox.rootfs import ASTERISK_16
from voxrec.sandbox.stack import Stack

_REQUIRED = {"recordPrompt": "default", "recordPromptRequired": True}


class RequiredAnnouncementTestCase(RecordedCallTestCase):
    async def assert_not_kept(self, stack: Stack, profile_id: str) -> dict[str, Any]:
        """Assert that the Recording of the only call to a Profile is absent, and that no file of it is left."""
        recording = await stack.wait_for_recording(profile_id)
        self.assertEqual((recording["state"], recording["promptPlayed"]), ("absent", False), recording)
        self.assertEqual(recording["verdict"]["reasons"], ["announcement.failed"])
        for resource in ("audio", "peaks", "peaks.png"):
            self.assertEqual((await stack.request("GET", f"/recordings/{recording['id']}/{resource}")).status, 404)
        await self.assert_asterisk_is_idle(stack)
        self.assertEqual(_files_below(stack.directory, recording["id"]), [])
        return recording

    async def wait_for_announcement(self, stack: Stack) -> None:
        """Wait until the announcement is being played to the parties of the only call."""

        async def announcing() -> bool:
            return [call["state"] for call in await stack.request_json("GET", "/calls")] == ["announcing"]

        self.assertTrue(await stack.wait_until(announcing, 30), "no announcement")
        await self.sleep(0.5)


class RequiredAnnouncementTests(RequiredAnnouncementTestCase):
    async def test_either_party_or_rest_ends_the_call_during_the_announcement(self) -> None:
        stack = await shared_stack(self.recipe)

        async def delete_call() -> None:
            for call in await stack.request_json("GET", "/calls"):
                await stack.request("DELETE", f"/calls/{call['id']}")

        ends: list[Callable[[Phone, Phone], Awaitable[object]]] = [
            lambda caller, _: caller.hang_up(),
            lambda _, callee: callee.hang_up(),
            lambda _caller, _callee: delete_call(),
        ]
        for end in ends:
            _, profile, caller, callee = await self.start_call(20.0, **_REQUIRED)
            await self.wait_for_announcement(stack)
            await end(caller, callee)
            await caller.wait_until_ended(10)
            recording = await self.assert_not_kept(stack, profile)
            self.assertEqual(self.events(recording)[-2:], ["announcement.failed", "hangup"])

    async def test_limits_that_are_reached_during_the_announcement(self) -> None:
        for limit in ("maxDurationSeconds", "maxCallSeconds"):
            stack, profile, caller, _ = await self.start_call(4.0, **_REQUIRED, **{limit: 1})
            await caller.wait_until_ended(10)
            recording = await self.assert_not_kept(stack, profile)
            talked = caller.event("disconnected").monotonic - caller.event("confirmed").monotonic
            # the duration of a call counts from its answer, not from the end of the announcement
            self.assertApproximates(talked, 1.0 if limit == "maxCallSeconds" else 4.0, 0.5)
            self.assertIn("announcement.failed", self.events(recording))
            self.assertNotIn("announcement.finished", self.events(recording))

    async def test_recording_is_kept_if_the_announcement_was_complete(self) -> None:
        stack, profile, caller, _ = await self.start_call(4.0, **_REQUIRED)
        recording, samples, rate = await self.finished_recording(stack, profile, caller)
        self.assertIs(recording["promptPlayed"], True)
        self.assertTrue(recording["verdict"]["ok"], recording["verdict"])
        self.assert_tones(samples, rate, [(self.event_times(recording)["announcement.finished"] + 0.2, 3.7)])


class RequiredAnnouncementOnAsterisk16Tests(RequiredAnnouncementTests):
    """The same tests on Asterisk 16."""

    recipe = ASTERISK_16


class LostAnnouncementTests(RequiredAnnouncementTestCase):
    """voxrec is killed, or Asterisk restarted, during an announcement. Each test has its own stack."""

    ANNOUNCEMENT_HZ = 1700.0

    async def stack_for_calls(self) -> Stack:
        self.stack = make_stack(recipe=self.recipe)
        self.addCleanup(self.stack.stop)
        await self.stack.start()
        return self.stack

    async def start_announced_call(self, announcement_seconds: float) -> tuple[Stack, str, Phone]:
        """Start a call that is in its announcement when this returns."""
        self.stack = await self.stack_for_calls()
        self.patch(self, "stack_for_calls", self.existing_stack)
        prompt = await self.install_prompt(self.stack, self.ANNOUNCEMENT_HZ, announcement_seconds)
        custom = {"recordPrompt": "custom", "recordPromptCustomId": prompt, "recordPromptRequired": True}
        _, profile, caller, _ = await self.start_call(60.0, **custom)
        await self.wait_for_announcement(self.stack)
        return self.stack, profile, caller

    async def existing_stack(self) -> Stack:
        return self.stack

    def heard(self, phone: Phone) -> float:
        """Return the seconds of the announcement that a party has heard."""
        received, rate = tones.load_audio(phone.received_audio)
        return sum(end - start for start, end in tones.tone_intervals(received[:, 0], rate, self.ANNOUNCEMENT_HZ))

    async def test_the_caller_hangs_up_while_voxrec_is_down(self) -> None:
        stack, profile, caller = await self.start_announced_call(6.0)
        stack.kill_voxrec()
        await caller.hang_up()
        await self.sleep(1)
        await stack.start_voxrec()
        await self.assert_not_kept(stack, profile)

    async def test_the_caller_hangs_up_after_the_announcement_was_taken_over(self) -> None:
        stack, profile, caller = await self.start_announced_call(40.0)
        stack.kill_voxrec()
        await stack.start_voxrec()
        await self.wait_for_announcement(stack)
        await caller.hang_up()
        recording = await self.assert_not_kept(stack, profile)
        self.assertIn("taken-over", self.events(recording))

    async def test_an_announcement_whose_end_voxrec_has_missed_is_played_again(self) -> None:
        seconds = 4.0
        stack, profile, caller = await self.start_announced_call(seconds)
        stack.kill_voxrec()
        await self.sleep(seconds)
        await stack.start_voxrec()

        async def talking() -> bool:
            return [call["state"] for call in await stack.request_json("GET", "/calls")] == ["talking"]

        self.assertTrue(await stack.wait_until(talking, 20), "the announcement has no end")
        await self.sleep(0.5)
        await caller.hang_up()
        recording, _, _ = await self.finished_recording(stack, profile, caller)
        self.assertIs(recording["promptPlayed"], True)
        self.assertApproximates(self.heard(caller), 2 * seconds, 0.5)

    async def test_asterisk_restarts(self) -> None:
        stack, profile, _ = await self.start_announced_call(6.0)
        await stack.asterisk.restart(self.reactor)
        await self.assert_not_kept(stack, profile)


class LostAnnouncementOnAsterisk16Tests(LostAnnouncementTests):
    """The same tests on Asterisk 16."""

    recipe = ASTERISK_16


def _files_below(directory: Path, recording_id: str) -> list[Path]:
    """Return the files with the id of a Recording in their name."""
    return [path for path in directory.rglob(f"*{recording_id}*") if path.is_file()]
