"""Live calls outlive the voxrec that began them: the next one goes on with them, and no second is missing."""

import signal
from typing import Any

from tests.live.gateway import GatewayTestCase, new_stack
from tests.live.test_calls import asterisk_of
from voxrec.sandbox import demo_call, tones
from voxrec.sandbox.phone import Phone
from voxrec.sandbox.rootfs import ASTERISK_16
from voxrec.sandbox.stack import Stack


class TakeOverTests(GatewayTestCase):
    """Each test ends or replaces the voxrec of a stack of its own at another moment of a call."""

    async def stack(self, **settings: dict[str, Any]) -> Stack:
        stack = new_stack(settings, self.recipe)
        self.addCleanup(stack.stop)
        await stack.start()
        return stack

    async def call(
        self, stack: Stack, seconds: float, *, ring: float = 0.2, **profile: Any
    ) -> tuple[str, Phone, Phone]:
        """Begin a call between two tones; give back the Profile's id, the caller and the far end."""
        played = tones.write_tone(self.directory / "desk.tone.wav", demo_call.CALLEE_HZ, 1.0)
        callee = await Phone.make_callee(
            self.reactor, self.directory, name="desk", play=played, ring_seconds=ring
        ).start()
        self.phone(callee)
        given = {"remoteSipUri": callee.uri, "record": True, "recordChannels": "dual", "recordBeepAtStart": False}
        made = await stack.request_json("PUT", "/profiles", {**given, **profile})
        tone = tones.write_tone(self.directory / "caller.tone.wav", demo_call.CALLER_HZ, 1.0)
        caller = Phone.make_caller(
            self.reactor,
            self.directory,
            f"sip:{made['id']}@{stack.sip_host_port}",
            name="caller",
            play=tone,
            seconds=seconds,
        )
        self.phone(caller)
        await caller.start()
        return made["id"], caller, callee

    async def replace(self, stack: Stack, *, away: float = 0.5) -> None:
        """Kill voxrec, and start another."""
        stack.kill_voxrec()
        await self.sleep(away)
        await stack.start_voxrec()

    async def assert_whole(self, stack: Stack, profile_id: str, caller: Phone, seconds: float) -> dict[str, Any]:
        """The call lasted as long as the caller wanted, and each of its seconds is in the recording."""
        await caller.wait_until_ended(30)
        talked = caller.event("disconnected").monotonic - caller.event("confirmed").monotonic
        self.assertApproximates(talked, seconds, 0.5)
        recording = await stack.wait_for_recording(profile_id, 60)
        self.assertEqual(recording["state"], "completed", recording)
        audio = self.directory / "recording.wav"
        audio.write_bytes((await stack.request("GET", f"/recordings/{recording['id']}/audio")).body)
        heard = demo_call.measure_recording(audio)
        self.assertApproximates(heard.seconds, talked, 0.3)
        self.assertLess(max(heard.caller_missing, heard.callee_missing), demo_call.TOLERATED_GAP_MS)
        await self.assert_nothing_left(stack, asterisk_of(stack, self.reactor))
        return recording

    async def test_killed_while_both_talk(self) -> None:
        stack = await self.stack()
        profile, caller, _ = await self.call(stack, 10.0, recordBeepInterval=3)
        await caller.wait_for("confirmed")
        await self.sleep(2)
        await self.replace(stack)
        recording = await self.assert_whole(stack, profile, caller, 10.0)
        events = [entry["event"] for entry in recording["timeline"]]
        self.assertEqual((events[0], events[-1]), ("answered", "hangup"))
        self.assertIn("taken-over", events)
        beeps = [entry["at"] for entry in recording["timeline"] if entry["event"] == "beep"]
        self.assertTrue(any(at > 5 for at in beeps), f"no beep after the restart: {recording['timeline']}")
        for at in beeps:
            self.assertLess(abs(at - 3 * round(at / 3)), 0.3, beeps)

    async def test_restarted_in_order_while_both_talk(self) -> None:
        stack = await self.stack()
        profile, caller, _ = await self.call(stack, 10.0)
        await caller.wait_for("confirmed")
        await self.sleep(2)
        stack.signal_voxrec(signal.SIGTERM)
        self.assertEqual(await stack.wait_until_voxrec_ended(20), -signal.SIGTERM)
        await stack.start_voxrec()
        await self.assert_whole(stack, profile, caller, 10.0)

    async def test_killed_while_it_rings(self) -> None:
        stack = await self.stack()
        profile, caller, callee = await self.call(stack, 4.0, ring=6.0)
        await callee.wait_for("incoming")
        await self.replace(stack, away=0.1)
        await caller.wait_for("confirmed", 30)
        await self.assert_whole(stack, profile, caller, 4.0)

    async def test_the_far_end_leaves_while_nobody_is_there(self) -> None:
        stack = await self.stack()
        profile, caller, callee = await self.call(stack, 30.0)
        await caller.wait_for("confirmed")
        await self.sleep(2)
        stack.kill_voxrec()
        await callee.hang_up()
        await self.sleep(0.5)
        await stack.start_voxrec()
        await caller.wait_until_ended(20)
        recording = await stack.wait_for_recording(profile, 60)
        self.assertEqual(recording["state"], "completed")
        self.assertGreater(recording["duration"], 1.5)
        await self.assert_nothing_left(stack, asterisk_of(stack, self.reactor))

    async def test_what_was_paused_stays_paused_and_resumes_in_time(self) -> None:
        stack = await self.stack()
        profile, caller, _ = await self.call(stack, 16.0)
        await caller.wait_for("confirmed")
        await self.sleep(1)
        (live,) = await stack.request_json("GET", f"/profiles/{profile}/recordings")
        path = f"/recordings/{live['id']}"
        await stack.request_json("POST", path, {"state": "paused", "resumeAfter": 8})
        await self.replace(stack)
        self.assertEqual((await stack.request_json("GET", path))["state"], "paused")
        await caller.wait_until_ended(40)
        recording = await stack.wait_for_recording(profile, 60)
        at = {entry["event"]: entry["at"] for entry in recording["timeline"]}
        self.assertApproximates(at["resumed"] - at["paused"], 8.0, 0.2)
        audio = self.directory / "paused.wav"
        audio.write_bytes((await stack.request("GET", f"{path}/audio")).body)
        samples, rate = tones.load_audio(audio)
        self.assertApproximates(len(samples) / rate, 16.0, 0.3)
        # a file begins a little after the answer, from which the timeline counts
        inside = samples[int((at["paused"] + 0.1) * rate) : int((at["resumed"] - 0.3) * rate)]
        self.assertEqual(abs(inside).max(), 0.0)
        for channel, hz in ((demo_call.LEFT, demo_call.CALLER_HZ), (demo_call.RIGHT, demo_call.CALLEE_HZ)):
            missing = tones.missing_milliseconds(
                samples[:, channel], rate, hz, at["resumed"] + 0.1, len(samples) / rate - 0.3
            )
            self.assertLess(missing, demo_call.TOLERATED_GAP_MS)

    async def test_killed_while_the_announcement_is_played(self) -> None:
        stack = await self.stack()
        profile, caller, _ = await self.call(stack, 10.0, recordPrompt="default", recordBeepAtStart=True)
        await caller.wait_for("confirmed")
        await self.sleep(0.5)
        await self.replace(stack, away=0.0)
        await self.assert_whole(stack, profile, caller, 10.0)


class TakeOverOn16Tests(TakeOverTests):
    """The same on the older Asterisk."""

    recipe = ASTERISK_16
