"""The rules of a Profile, in real calls: pauses, keys, beeps, limits, hold, recording on demand. The audio decides."""

from collections.abc import Iterable
from typing import Any

from tests.live.gateway import GatewayTestCase, shared_stack
from tests.live.test_calls import asterisk_of, beep_of
from voxrec.sandbox import demo_call, tones
from voxrec.sandbox.phone import Phone
from voxrec.sandbox.rootfs import ASTERISK_16
from voxrec.sandbox.stack import Stack


class RuleTestCase(GatewayTestCase):
    """Calls between a caller's tone and a far end's."""

    async def call(self, seconds: float, **profile: Any) -> tuple[Stack, str, Phone, Phone]:
        """Begin a call; give back the Profile's id, the caller and the far end once both talk."""
        stack = await shared_stack(self.recipe)
        given = {"record": True, "recordChannels": "dual", "recordBeepAtStart": False}
        made, callee = await demo_call.create_profile_and_callee(
            stack, self.reactor, self.directory, **{**given, **profile}
        )
        self.phone(callee)
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
        await caller.wait_for("confirmed")
        return stack, made["id"], caller, callee

    async def live(self, stack: Stack, profile: str) -> str:
        """The path of the Profile's live Recording, once its row is there."""
        found: list[dict[str, Any]] = []

        async def is_there() -> bool:
            found[:] = await stack.request_json("GET", f"/profiles/{profile}/recordings")
            return bool(found)

        self.assertTrue(await stack.wait_until(is_there, 5), "no Recording")
        return f"/recordings/{found[0]['id']}"

    async def finished(self, stack: Stack, profile: str, caller: Phone) -> tuple[dict[str, Any], tones.Samples, int]:
        """The Recording once the call is over, with its audio."""
        await caller.wait_until_ended(60)
        recording = await stack.wait_for_recording(profile)
        self.assertEqual(recording["state"], "completed", recording)
        audio = self.directory / "recording.wav"
        audio.write_bytes((await stack.request("GET", f"/recordings/{recording['id']}/audio")).body)
        samples, rate = tones.load_audio(audio)
        await self.assert_nothing_left(stack, asterisk_of(stack, self.reactor))
        return recording, samples, rate

    def assert_tones(self, samples: tones.Samples, rate: int, spans: Iterable[tuple[float, float]]) -> None:
        """Both tones are there in each span, without a gap."""
        for start, end in spans:
            for channel, hz in ((demo_call.LEFT, demo_call.CALLER_HZ), (demo_call.RIGHT, demo_call.CALLEE_HZ)):
                missing = tones.missing_milliseconds(samples[:, channel], rate, hz, start, end)
                self.assertLess(missing, demo_call.TOLERATED_GAP_MS, f"{hz} Hz from {start} to {end}")


class PauseTests(RuleTestCase):
    async def test_skip_cuts_the_time_out(self) -> None:
        stack, profile, caller, _ = await self.call(7.0)
        await self.sleep(2)
        path = await self.live(stack, profile)
        await stack.request_json("POST", path, {"state": "paused", "pauseBehavior": "skip"})
        await self.sleep(3)
        await stack.request_json("POST", path, {"state": "recording"})
        recording, samples, rate = await self.finished(stack, profile, caller)
        at = {entry["event"]: entry["at"] for entry in recording["timeline"]}
        paused = at["resumed"] - at["paused"]
        self.assertGreater(paused, 2.5)
        self.assertApproximates(len(samples) / rate, 7.0 - paused, 0.3)
        self.assert_tones(samples, rate, [(0.3, len(samples) / rate - 0.3)])
        self.assertTrue(recording["verdict"]["ok"], recording["verdict"])

    async def test_it_resumes_by_itself(self) -> None:
        stack, profile, caller, _ = await self.call(6.0)
        await self.sleep(1)
        path = await self.live(stack, profile)
        await stack.request_json("POST", path, {"state": "paused", "resumeAfter": 2})
        recording, samples, rate = await self.finished(stack, profile, caller)
        by = {entry["event"]: entry.get("by") for entry in recording["timeline"]}
        at = {entry["event"]: entry["at"] for entry in recording["timeline"]}
        self.assertEqual((by["paused"], by["resumed"]), ("rest", "timer"))
        self.assertApproximates(at["resumed"] - at["paused"], 2.0, 0.1)
        self.assert_tones(samples, rate, [(0.3, at["paused"] - 0.1), (at["resumed"] + 0.1, 5.5)])

    async def test_either_party_pauses_and_resumes_with_keys(self) -> None:
        stack, profile, caller, callee = await self.call(9.0, recordPauseCode="*1", recordResumeCode="*2")
        await self.sleep(1)
        await caller.send_dtmf("*1")
        await self.sleep(2)
        self.assertEqual((await stack.request_json("GET", await self.live(stack, profile)))["state"], "paused")
        await callee.send_dtmf("*2")
        recording, samples, rate = await self.finished(stack, profile, caller)
        steered = [(entry["event"], entry["by"]) for entry in recording["timeline"] if entry["event"] != "dtmf"]
        self.assertEqual(steered[1:3], [("paused", "caller"), ("resumed", "callee")])
        at = {entry["event"]: entry["at"] for entry in recording["timeline"]}
        inside = samples[int((at["paused"] + 0.1) * rate) : int((at["resumed"] - 0.3) * rate)]
        self.assertEqual(abs(inside).max(), 0.0)
        for key_hz in (697, 770, 852, 941, 1209, 1336, 1477):
            self.assertEqual(
                tones.tone_intervals(samples[:, demo_call.LEFT], rate, key_hz), [], f"{key_hz} Hz of a key is heard"
            )

    async def test_asterisk_that_says_no_is_told(self) -> None:
        stack, profile, caller, _ = await self.call(2.0)
        path = await self.live(stack, profile)
        for given in ({"state": "recording", "resumeAfter": 3}, {"state": "paused", "resumeAfter": 0}):
            answer = await stack.request("POST", path, given)
            self.assertEqual(answer.status, 422, given)
            self.assertIn("resumeAfter", answer.body.decode())
        await self.finished(stack, profile, caller)


class PauseOn16Tests(PauseTests):
    """The same on the older Asterisk."""

    recipe = ASTERISK_16


class BeepTests(RuleTestCase):
    async def beeps(self, seconds: float, **profile: Any) -> tuple[dict[str, Any], float]:
        """The Recording of a call with beeps, and how surely one is heard on the far end's channel of it."""
        stack, made, caller, callee = await self.call(seconds, **profile)
        recording, samples, rate = await self.finished(stack, made, caller)
        beep = beep_of(self.recipe)
        for phone in (caller, callee):
            heard, heard_rate = tones.load_audio(phone.received_audio)
            self.assertGreater(
                tones.find_sound(beep, heard[:, 0], heard_rate).score,
                demo_call.MIN_MATCH_SCORE,
                f"{phone.name}: no beep",
            )
        return recording, tones.find_sound(beep, samples[:, demo_call.RIGHT], rate).score

    async def test_they_can_be_in_the_recording(self) -> None:
        _, score = await self.beeps(4.0, recordBeepAtStart=True, recordBeepInRecording=True)
        self.assertGreater(score, demo_call.MIN_MATCH_SCORE)

    async def test_they_come_in_time_and_are_not_in_the_recording(self) -> None:
        recording, score = await self.beeps(7.0, recordBeepInterval=2)
        self.assertLess(score, demo_call.MIN_MATCH_SCORE)
        at = [entry["at"] for entry in recording["timeline"] if entry["event"] == "beep"]
        self.assertEqual(len(at), 3, recording["timeline"])
        for index, moment in enumerate(at):
            self.assertApproximates(moment - at[0], 2.0 * index, 0.1)


class BeepOn16Tests(BeepTests):
    """The same on the older Asterisk."""

    recipe = ASTERISK_16


class LimitTests(RuleTestCase):
    async def test_a_recording_ends_at_its_limit_and_the_call_goes_on(self) -> None:
        stack, profile, caller, _ = await self.call(6.0, maxDurationSeconds=3)
        recording, samples, rate = await self.finished(stack, profile, caller)
        talked = caller.event("disconnected").monotonic - caller.event("confirmed").monotonic
        self.assertApproximates(talked, 6.0, 0.5)
        self.assertApproximates(len(samples) / rate, 3.0, 0.2)
        self.assertEqual(recording["timeline"][-1]["event"], "recording.stopped")
        self.assertTrue(recording["verdict"]["ok"], recording["verdict"])

    async def test_a_call_ends_at_its_limit(self) -> None:
        stack, profile, caller, _ = await self.call(20.0, maxCallSeconds=3)
        recording, _, _ = await self.finished(stack, profile, caller)
        self.assertApproximates(recording["duration"], 3.0, 0.4)
        self.assertEqual(recording["timeline"][-1]["by"], "voxrec")

    async def test_a_short_one_is_not_kept(self) -> None:
        stack, profile, caller, _ = await self.call(2.0, minDurationSeconds=5, email="a@example.test")
        await caller.wait_until_ended(20)
        recording = await stack.wait_for_recording(profile)
        self.assertEqual(recording["state"], "absent")
        self.assertIn("minDurationSeconds", " ".join(recording["verdict"]["reasons"]))
        self.assertEqual((await stack.request("GET", f"/recordings/{recording['id']}/audio")).status, 404)
        await self.assert_nothing_left(stack, asterisk_of(stack, self.reactor))

    async def test_more_calls_than_a_profile_may_have_are_busy(self) -> None:
        stack, profile, caller, _ = await self.call(6.0, maxCalls=1)
        self.assertEqual(await self.sipp_code(stack, profile), 486)
        await self.finished(stack, profile, caller)


class LimitOn16Tests(LimitTests):
    """The same on the older Asterisk."""

    recipe = ASTERISK_16


class OtherRuleTests(RuleTestCase):
    async def test_an_announcement_that_is_required_and_missing(self) -> None:
        stack = await shared_stack(self.recipe)
        prompt = await stack.request_json("PUT", "/prompts", {"name": "still without audio"})
        _, profile, caller, _ = await self.call(
            3.0, recordPrompt="custom", recordPromptCustomId=prompt["id"], recordPromptRequired=True
        )
        await caller.wait_until_ended(20)
        recording = await stack.wait_for_recording(profile)
        self.assertEqual(recording["state"], "absent", recording)
        self.assertEqual(recording["verdict"]["reasons"], ["announcement.failed"])
        await self.assert_nothing_left(stack, asterisk_of(stack, self.reactor))

    async def test_recording_begins_on_demand(self) -> None:
        stack, profile, caller, _ = await self.call(6.0, record=False)
        (call,) = [one for one in await stack.request_json("GET", "/calls") if one["profileId"] == profile]
        await self.sleep(2)
        begun = await stack.request_json("POST", f"/calls/{call['id']}", {"recording": True})
        self.assertEqual(begun["recordingState"], "recording")
        again = await stack.request_json("POST", f"/calls/{call['id']}", {"recording": True})
        self.assertEqual(again["recordingId"], begun["recordingId"])
        _, samples, rate = await self.finished(stack, profile, caller)
        self.assertApproximates(len(samples) / rate, 4.0, 0.4)
        self.assert_tones(samples, rate, [(0.3, len(samples) / rate - 0.3)])

    async def test_hold_keeps_the_recording_whole(self) -> None:
        stack, profile, caller, callee = await self.call(10.0)
        await self.sleep(1)
        await callee.hold()
        await self.sleep(5.5)
        await callee.resume()
        recording, samples, rate = await self.finished(stack, profile, caller)
        held = [(entry["event"], entry["by"]) for entry in recording["timeline"]][1:3]
        self.assertEqual(held, [("held", "callee"), ("unheld", "callee")])
        at = {entry["event"]: entry["at"] for entry in recording["timeline"]}
        self.assertApproximates(len(samples) / rate, 10.0, 0.3)
        missing = tones.missing_milliseconds(
            samples[:, demo_call.LEFT], rate, demo_call.CALLER_HZ, 0.3, len(samples) / rate - 0.3
        )
        self.assertLess(missing, 2 * demo_call.TOLERATED_GAP_MS)  # two re-INVITEs
        self.assert_tones(samples, rate, [(at["unheld"] + 0.5, len(samples) / rate - 0.3)])

    async def test_a_transfer_by_the_far_end_keeps_the_recording_whole(self) -> None:
        played = tones.write_tone(self.directory / "third.tone.wav", 1500.0, 1.0)
        third = await Phone.make_callee(self.reactor, self.directory, name="third", play=played).start()
        self.phone(third)
        stack, profile, caller, callee = await self.call(9.0)
        await self.sleep(2)
        await callee.transfer(third.uri)
        await third.wait_for("confirmed")
        (call,) = [one for one in await stack.request_json("GET", "/calls") if one["profileId"] == profile]
        self.assertEqual(call["remoteSipUri"], third.uri)
        recording, samples, rate = await self.finished(stack, profile, caller)
        entry = next(entry for entry in recording["timeline"] if entry["event"] == "transferred")
        self.assertEqual((entry["by"], entry["detail"]), ("callee", third.uri))
        seconds = len(samples) / rate
        self.assertApproximates(seconds, 9.0, 0.4)
        self.assertLess(
            tones.missing_milliseconds(samples[:, 0], rate, demo_call.CALLER_HZ, 0.3, seconds - 0.3),
            demo_call.TOLERATED_GAP_MS,
        )
        self.assertLess(
            tones.missing_milliseconds(samples[:, 1], rate, demo_call.CALLEE_HZ, 0.3, entry["at"] - 0.2),
            demo_call.TOLERATED_GAP_MS,
        )
        self.assertLess(
            tones.missing_milliseconds(samples[:, 1], rate, 1500.0, entry["at"] + 1.5, seconds - 0.3),
            demo_call.TOLERATED_GAP_MS,
        )
        heard, heard_rate = tones.load_audio(third.received_audio)
        self.assertNotEqual(tones.tone_intervals(heard[:, 0], heard_rate, demo_call.CALLER_HZ), [])

    async def test_a_transfer_to_a_host_that_may_not_be_called_ends_the_call(self) -> None:
        stack, profile, caller, callee = await self.call(20.0)
        await self.sleep(1)
        await callee.transfer("sip:+49900190@192.0.2.99")
        recording, _, _ = await self.finished(stack, profile, caller)
        self.assertIn("transfer.refused", [entry["event"] for entry in recording["timeline"]])


class OtherRuleOn16Tests(OtherRuleTests):
    """The same on the older Asterisk."""

    recipe = ASTERISK_16
