"""Live calls continue when voxrec is killed or restarted: the next process takes them over without loss of audio."""

import signal
from typing import Any

import yaml

from tests.live.live_test_case import PROFILE_SECONDS, LiveTestCase, make_stack
from tests.live.node_stacks import NodesTestCase
from voxrec.sandbox import demo_call, tones
from voxrec.sandbox.phone import Phone
from voxrec.sandbox.rootfs import ASTERISK_16
from voxrec.sandbox.sip_user_agent import SipUserAgent
from voxrec.sandbox.stack import Stack

CALL_SECONDS = 120.0
"""The longest duration of a call that a test ends once voxrec has taken it over, however long that takes."""
LIVE_STATES = ("recording", "paused")
PAUSE_SECONDS = 12.0
"""The duration of a pause in which voxrec is replaced."""


class TakeoverTestCase(LiveTestCase):
    """Calls on a stack whose voxrec is stopped or replaced."""

    async def start_stack(self, **settings: dict[str, Any]) -> Stack:
        stack = make_stack(settings, self.recipe)
        self.addCleanup(stack.stop)
        await stack.start()
        return stack

    async def start_call(
        self, stack: Stack, seconds: float, *, ring_seconds: float = 0.2, **profile: Any
    ) -> tuple[str, Phone, Phone]:
        """Start a call between two tones; return the Profile's id, the caller and the callee."""
        callee_tone = tones.write_tone(self.directory / "desk.tone.wav", demo_call.CALLEE_HZ, 1.0)
        callee = await Phone.make_callee(
            self.reactor, self.directory, name="desk", play=callee_tone, ring_seconds=ring_seconds
        ).start()
        self.kill_at_end(callee)
        defaults = {"remoteSipUri": callee.uri, "record": True, "recordChannels": "dual", "recordBeepAtStart": False}
        created = await stack.request_json("PUT", "/profiles", {**defaults, **profile})
        tone = tones.write_tone(self.directory / "caller.tone.wav", demo_call.CALLER_HZ, 1.0)
        caller = Phone.make_caller(
            self.reactor,
            self.directory,
            f"sip:{created['id']}@{stack.sip_host_port}",
            name="caller",
            play=tone,
            seconds=seconds,
        )
        self.kill_at_end(caller)
        await caller.start()
        return created["id"], caller, callee

    async def replace_voxrec(self, stack: Stack, *, pause: float = 0.5) -> None:
        """Kill voxrec, and start it again after ``pause`` seconds."""
        stack.kill_voxrec()
        await self.sleep(pause)
        await stack.start_voxrec()

    async def wait_until_talking(self, stack: Stack) -> None:
        """Wait until voxrec has taken over the call, in which the parties talk."""

        async def talking() -> bool:
            return [call["state"] for call in await stack.request_json("GET", "/calls")] == ["talking"]

        self.assertTrue(await stack.wait_until(talking, 30), "the call was not taken over")

    async def assert_ended(self, stack: Stack, profile_id: str, caller: Phone) -> dict[str, Any]:
        """Wait for the end of the call, save its audio as recording.wav, and return the completed Recording."""
        await caller.wait_until_ended(40)
        recording = await stack.wait_for_recording(profile_id, 60)
        self.assertEqual(recording["state"], "completed", recording)
        audio = await stack.request("GET", f"/recordings/{recording['id']}/audio")
        (self.directory / "recording.wav").write_bytes(audio.body)
        return recording

    async def wait_for_event(self, stack: Stack, profile: str, event: str, after: float = -1.0) -> None:
        """Wait until an event later than ``after`` is in the timeline of the Profile's Recording, or it has ended."""
        recordings: list[dict[str, Any]] = []

        def occurred(recording: dict[str, Any]) -> bool:
            return any(each["event"] == event and each["at"] > after for each in recording["timeline"])

        async def stored() -> bool:
            if await stack.readiness_status() is not None:
                recordings[:] = await stack.request_json("GET", f"/profiles/{profile}/recordings")
            return any(occurred(each) or each["state"] not in LIVE_STATES for each in recordings)

        self.assertTrue(await stack.wait_until(stored, 40), (event, recordings, stack.voxrec_log_tail()))

    async def assert_complete(self, stack: Stack, profile_id: str, caller: Phone) -> dict[str, Any]:
        """End the call after another second, assert that all of it was recorded, and return the Recording."""
        await self.sleep(1)
        self.assertFalse(caller.has_event("disconnected"), "the call has ended by itself")
        await caller.hang_up()
        recording = await self.assert_ended(stack, profile_id, caller)
        connected = caller.event("disconnected").monotonic - caller.event("confirmed").monotonic
        measurement = demo_call.measure_recording(self.directory / "recording.wav")
        self.assertApproximates(measurement.seconds, connected, 0.3)
        self.assertLess(max(measurement.caller_missing, measurement.callee_missing), demo_call.TOLERATED_GAP_MS)
        await self.assert_asterisk_is_idle(stack)
        return recording


class TakeoverTests(TakeoverTestCase):
    """Each test stops or replaces the voxrec of its own stack in another phase of a call."""

    async def test_killed_during_a_conversation(self) -> None:
        stack = await self.start_stack()
        profile, caller, _ = await self.start_call(stack, CALL_SECONDS, recordBeepInterval=3)
        await caller.wait_for("confirmed")
        await self.sleep(2)
        await self.replace_voxrec(stack)
        await self.wait_for_event(stack, profile, "taken-over")
        (live,) = await stack.request_json("GET", f"/profiles/{profile}/recordings")
        await self.wait_for_event(stack, profile, "beep", self.event_times(live)["taken-over"])
        recording = await self.assert_complete(stack, profile, caller)
        events = self.events(recording)
        self.assertEqual((events[0], events[-1]), ("answered", "hangup"))
        self.assertIn("taken-over", events)
        beeps = [entry["at"] for entry in recording["timeline"] if entry["event"] == "beep"]
        taken_over = self.event_times(recording)["taken-over"]
        self.assertTrue(any(at > taken_over for at in beeps), f"no beep after the restart: {recording['timeline']}")
        for at in beeps:
            self.assertLess(abs(at - 3 * round(at / 3)), 0.3, beeps)

    async def test_restarted_during_a_conversation(self) -> None:
        stack = await self.start_stack()
        profile, caller, _ = await self.start_call(stack, CALL_SECONDS)
        await caller.wait_for("confirmed")
        await self.sleep(2)
        stack.signal_voxrec(signal.SIGTERM)
        self.assertEqual(await stack.wait_until_voxrec_ended(20), -signal.SIGTERM)
        await stack.start_voxrec()
        await self.wait_until_talking(stack)
        await self.assert_complete(stack, profile, caller)

    async def test_killed_while_the_far_end_rings(self) -> None:
        stack = await self.start_stack()
        profile, caller, callee = await self.start_call(stack, CALL_SECONDS, ring_seconds=12.0)
        await callee.wait_for("incoming")
        await self.replace_voxrec(stack, pause=0.1)
        await caller.wait_for("confirmed", 30)
        await self.wait_until_talking(stack)
        await self.assert_complete(stack, profile, caller)

    async def test_the_far_end_hangs_up_while_voxrec_is_down(self) -> None:
        stack = await self.start_stack()
        profile, caller, callee = await self.start_call(stack, 30.0)
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
        await self.assert_asterisk_is_idle(stack)

    async def test_a_pause_continues_and_ends_in_time(self) -> None:
        stack = await self.start_stack()
        profile, caller, _ = await self.start_call(stack, CALL_SECONDS)
        await caller.wait_for("confirmed")
        await self.sleep(1)
        (live,) = await stack.request_json("GET", f"/profiles/{profile}/recordings")
        path = f"/recordings/{live['id']}"
        await stack.request_json("POST", path, {"state": "paused", "resumeAfter": PAUSE_SECONDS})
        await self.replace_voxrec(stack)
        self.assertEqual((await stack.request_json("GET", path))["state"], "paused")
        await self.wait_for_event(stack, profile, "resumed")
        await self.sleep(2)
        await caller.hang_up()
        recording = await self.assert_ended(stack, profile, caller)
        at = self.event_times(recording)
        self.assertApproximates(at["resumed"] - at["paused"], PAUSE_SECONDS, 0.2)
        samples, rate = tones.load_audio(self.directory / "recording.wav")
        self.assertApproximates(len(samples) / rate, at["hangup"], 0.3)
        # a file begins a little after the answer, from which the timeline counts
        paused_samples = samples[int((at["paused"] + 0.1) * rate) : int((at["resumed"] - 0.3) * rate)]
        self.assertEqual(abs(paused_samples).max(), 0.0)
        for channel, hz in ((demo_call.LEFT, demo_call.CALLER_HZ), (demo_call.RIGHT, demo_call.CALLEE_HZ)):
            missing = tones.missing_milliseconds(
                samples[:, channel], rate, hz, at["resumed"] + 0.1, len(samples) / rate - 0.3
            )
            self.assertLess(missing, demo_call.TOLERATED_GAP_MS)

    async def test_pauses_before_during_and_after_takeovers_are_silent(self) -> None:
        stack = await self.start_stack()
        profile, caller, _ = await self.start_call(stack, CALL_SECONDS)
        await caller.wait_for("confirmed")
        await self.sleep(1)
        (live,) = await stack.request_json("GET", f"/profiles/{profile}/recordings")
        path = f"/recordings/{live['id']}"
        for number in range(3):
            await stack.request_json("POST", path, {"state": "paused"})
            await self.sleep(1)
            if number == 1:
                await self.replace_voxrec(stack, pause=0.0)
                await self.wait_until_talking(stack)
            await stack.request_json("POST", path, {"state": "recording"})
            await self.sleep(1)
            if number == 0:
                await self.replace_voxrec(stack, pause=0.0)
                await self.wait_until_talking(stack)
        await caller.hang_up()
        recording = await self.assert_ended(stack, profile, caller)
        samples, rate = tones.load_audio(self.directory / "recording.wav")
        self.assert_paused(recording, samples, rate, 3)

    async def test_killed_during_the_announcement(self) -> None:
        stack = await self.start_stack()
        profile, caller, _ = await self.start_call(stack, CALL_SECONDS, recordPrompt="default", recordBeepAtStart=True)
        await caller.wait_for("confirmed")
        await self.sleep(0.5)
        await self.replace_voxrec(stack, pause=0.0)
        await self.wait_until_talking(stack)
        await self.assert_complete(stack, profile, caller)


class TakeoverWithoutManagerTests(TakeoverTestCase):
    """AMI is away when a call begins, and voxrec ends before it is back: the next process records the rest."""

    async def test_a_recording_that_was_only_due(self) -> None:
        stack, proxy = await self.start_stack_behind_proxy()
        port = proxy.listening_port
        for number in (signal.SIGKILL, signal.SIGTERM):
            await proxy.stop()
            profile, caller, callee = await self.start_call(stack, 90.0)
            await caller.wait_for("confirmed")
            await self.wait_for_event(stack, profile, "answered")
            stack.signal_voxrec(number)
            self.assertEqual(await stack.wait_until_voxrec_ended(20), -number)
            await self.launch_voxrec(stack)
            proxy.listen(self.reactor, port)
            await self.wait_for_event(stack, profile, "recording.started")
            await self.sleep(2.0)
            await caller.hang_up()
            recording = await self.assert_ended(stack, profile, caller)
            callee.kill()
            events, at = self.events(recording), self.event_times(recording)
            self.assertEqual(events[:2], ["answered", "recording.failed"], recording["timeline"])
            self.assertLess(events.index("taken-over"), events.index("recording.started"), recording["timeline"])
            samples, rate = tones.load_audio(self.directory / "recording.wav")
            self.assertApproximates(len(samples) / rate, at["hangup"] - at["recording.started"], 0.4)
            self.assertEqual(recording["verdict"]["reasons"], ["truncated"])

    async def launch_voxrec(self, stack: Stack) -> None:
        """Start voxrec, which is not ready without AMI, and wait until it has taken over the call."""
        before = stack.count_log_lines(": taken over, ")
        stack.launch_voxrec()

        async def taken_over() -> bool:
            return stack.count_log_lines(": taken over, ") > before

        self.assertTrue(await stack.wait_until(taken_over, 30), stack.voxrec_log_tail())


class TakeoverWithoutDatabaseTests(NodesTestCase):
    """voxrec is started again while PostgreSQL does not respond: the calls must not wait for it."""

    async def start_agent(self, stack: Stack) -> SipUserAgent:
        agent = SipUserAgent(stack.asterisk.sip_address)
        agent.listen(self.reactor)
        self.addCleanup(agent.stop)
        return agent

    async def assert_far_ends_hung_up(self, stack: Stack, far_end: SipUserAgent, count: int, seconds: float) -> None:
        async def hung_up() -> bool:
            return len(far_end.requests("BYE")) == count

        self.assertTrue(await stack.wait_until(hung_up, seconds), stack.voxrec_log_tail())

    async def test_callers_that_hang_up_before_and_during_the_takeover(self) -> None:
        stack = await self.start_node("berlin")
        far_end, first, second = [await self.start_agent(stack) for _ in range(3)]
        fields = {"remoteSipUri": f"sip:desk@{far_end.host_port}", "record": True}
        profile = await stack.request_json("PUT", "/profiles", fields)
        await self.sleep(PROFILE_SECONDS)
        for caller in (first, second):
            self.assertEqual((await caller.request(self.reactor, "INVITE", profile["id"])).status, 200)
        stack.kill_voxrec()
        first.hang_up()
        settings = yaml.safe_load(stack.config_file.read_text())
        settings["database"]["dsn"] = f"host={self.directory} dbname=none"
        stack.config_file.write_text(yaml.safe_dump(settings))
        connections = stack.count_log_lines("connected to Asterisk")
        stack.launch_voxrec()

        async def connected() -> bool:
            return stack.count_log_lines("connected to Asterisk") > connections

        self.assertTrue(await stack.wait_until(connected, 20), stack.voxrec_log_tail())
        await self.assert_far_ends_hung_up(stack, far_end, 1, 1.0)
        second.hang_up()
        await self.assert_far_ends_hung_up(stack, far_end, 2, 1.0)
        self.assertEqual(stack.count_log_lines(": taken over, "), 0)  # it still waits for PostgreSQL


class TakeoverOnAsterisk16Tests(TakeoverTests):
    """The same tests on Asterisk 16."""

    recipe = ASTERISK_16
