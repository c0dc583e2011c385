"""A withheld number is neither stored nor mailed nor logged, also if voxrec is restarted before it handles the call."""

import signal
from typing import Any, ClassVar

from tests.live.live_test_case import LiveTestCase, make_stack
from voxrec.sandbox import demo_call, tones
from voxrec.sandbox.observer import observe_asterisk
from voxrec.sandbox.phone import Phone
from voxrec.sandbox.rootfs import ASTERISK_16
from voxrec.sandbox.stack import Stack


class RestartTests(LiveTestCase):
    """voxrec is stopped when the INVITE arrives, and killed: its successor finds a caller that waits in Asterisk."""

    DIGITS: ClassVar = "49308888"
    NAME: ClassVar = "Alice Example"

    async def start_stack(self) -> Stack:
        stack = make_stack({}, self.recipe)
        self.addCleanup(stack.stop)
        await stack.start()
        return stack

    async def record_call(self, stack: Stack, *headers: str) -> dict[str, Any]:
        """Call a new Profile with an asserted number while voxrec is replaced, and return the Recording."""
        profile, callee = await demo_call.create_profile_and_callee(
            stack, self.reactor, self.directory, record=True, email="ann@example.org"
        )
        self.kill_at_end(callee)
        stack.signal_voxrec(signal.SIGSTOP)
        caller = Phone.make_caller(
            self.reactor,
            self.directory,
            f"sip:{profile['id']}@{stack.sip_host_port}",
            play=tones.write_tone(self.directory / "caller.wav", demo_call.CALLER_HZ, 1.0),
            seconds=1.5,
            number="anonymous",
            display_name="Anonymous",
            headers=[*headers, f'P-Asserted-Identity: "{self.NAME}" <sip:+{self.DIGITS}@pbx.example>'],
        )
        self.kill_at_end(caller)
        await caller.start()
        asterisk = observe_asterisk(stack, self.reactor)

        async def waits() -> bool:
            return [channel.state for channel in await asterisk.list_channels()] == ["Ring"]

        self.assertTrue(await stack.wait_until(waits, 30), "no caller in Asterisk")
        stack.kill_voxrec()
        await stack.start_voxrec()
        await caller.wait_for("confirmed", 30)
        await caller.wait_until_ended(30)
        recording = await stack.wait_for_recording(profile["id"])
        self.assertEqual(recording["state"], "completed")
        return recording

    async def test_presentation_is_read_from_the_channel(self) -> None:
        stack = await self.start_stack()
        recording = await self.record_call(stack, "Privacy: id")
        self.assertEqual((recording["from"], recording["fromName"]), (None, None))
        mail, _ = await stack.wait_for_mail(recording["id"])
        for text in (str(recording), mail.read_text(), stack.log_file.read_text()):
            self.assertNotIn(self.DIGITS, text)
            self.assertNotIn(self.NAME, text)
        # the same call without Privacy has a number, so it was the presentation that hid it
        recording = await self.record_call(stack)
        self.assertEqual((recording["from"], recording["fromName"]), (f"+{self.DIGITS}", self.NAME))
        self.assertNotIn(self.DIGITS, stack.log_file.read_text())


class RestartOnAsterisk16Tests(RestartTests):
    """The same tests on Asterisk 16."""

    recipe = ASTERISK_16
