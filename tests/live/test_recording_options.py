"""The recording options of a Profile in real calls: pauses, DTMF codes, beeps, limits, hold, recording on demand."""

from typing import Any

from tests.live.live_test_case import RecordedCallTestCase, load_beep, shared_stack
from voxrec.sandbox import demo_call, tones
from voxrec.sandbox.phone import Phone
from voxrec.sandbox.rootfs import ASTERISK_16


class PauseTests(RecordedCallTestCase):
    async def test_pause_behavior_skip_removes_the_paused_time(self) -> None:
        stack, profile, caller, _ = await self.start_call(7.0)
        await self.sleep(2)
        path = await self.live_recording_path(stack, profile)
        await stack.request_json("POST", path, {"state": "paused", "pauseBehavior": "skip"})
        await self.sleep(3)
        await stack.request_json("POST", path, {"state": "recording"})
        recording, samples, rate = await self.finished_recording(stack, profile, caller)
        at = self.event_times(recording)
        paused = at["resumed"] - at["paused"]
        self.assertGreater(paused, 2.5)
        self.assertApproximates(len(samples) / rate, 7.0 - paused, 0.3)
        self.assert_tones(samples, rate, [(0.3, len(samples) / rate - 0.3)])
        self.assertTrue(recording["verdict"]["ok"], recording["verdict"])

    async def test_every_pause_of_a_recording_is_silent(self) -> None:
        stack, profile, caller, _ = await self.start_call(9.0)
        await self.sleep(1)
        path = await self.live_recording_path(stack, profile)
        for _ in range(3):
            await stack.request_json("POST", path, {"state": "paused"})
            await self.sleep(1)
            await stack.request_json("POST", path, {"state": "recording"})
            await self.sleep(1)
        recording, samples, rate = await self.finished_recording(stack, profile, caller)
        self.assert_paused(recording, samples, rate, 3)
        times = [0.2, *(moment for pause in self.pauses(recording) for moment in pause), len(samples) / rate - 0.2]
        audible = zip(times[::2], times[1::2], strict=True)
        self.assert_tones(samples, rate, [(start + 0.1, end - 0.3) for start, end in audible])

    async def test_a_pause_ends_after_resume_after_seconds(self) -> None:
        stack, profile, caller, _ = await self.start_call(6.0)
        await self.sleep(1)
        path = await self.live_recording_path(stack, profile)
        await stack.request_json("POST", path, {"state": "paused", "resumeAfter": 2})
        recording, samples, rate = await self.finished_recording(stack, profile, caller)
        by = {entry["event"]: entry.get("by") for entry in recording["timeline"]}
        at = self.event_times(recording)
        self.assertEqual((by["paused"], by["resumed"]), ("rest", "timer"))
        self.assertApproximates(at["resumed"] - at["paused"], 2.0, 0.1)
        self.assert_tones(samples, rate, [(0.3, at["paused"] - 0.1), (at["resumed"] + 0.1, 5.5)])

    async def test_either_party_pauses_and_resumes_with_dtmf_codes(self) -> None:
        stack, profile, caller, callee = await self.start_call(9.0, recordPauseCode="*1", recordResumeCode="*2")
        await self.sleep(1)
        await caller.send_dtmf("*1")
        await self.sleep(2)
        self.assertEqual(
            (await stack.request_json("GET", await self.live_recording_path(stack, profile)))["state"], "paused"
        )
        await callee.send_dtmf("*2")
        recording, samples, rate = await self.finished_recording(stack, profile, caller)
        pauses = [(entry["event"], entry["by"]) for entry in recording["timeline"] if entry["event"] != "dtmf"]
        self.assertEqual(pauses[1:3], [("paused", "caller"), ("resumed", "callee")])
        at = self.event_times(recording)
        paused_samples = samples[int((at["paused"] + 0.1) * rate) : int((at["resumed"] - 0.3) * rate)]
        self.assertEqual(abs(paused_samples).max(), 0.0)
        for dtmf_hz in (697, 770, 852, 941, 1209, 1336, 1477):
            self.assertEqual(
                tones.tone_intervals(samples[:, demo_call.LEFT], rate, dtmf_hz), [], f"{dtmf_hz} Hz is in the recording"
            )

    async def test_invalid_resume_after_is_rejected(self) -> None:
        stack, profile, caller, _ = await self.start_call(2.0)
        path = await self.live_recording_path(stack, profile)
        for body in ({"state": "recording", "resumeAfter": 3}, {"state": "paused", "resumeAfter": 0}):
            answer = await stack.request("POST", path, body)
            self.assertEqual(answer.status, 422, body)
            self.assertIn("resumeAfter", answer.body.decode())
        await self.finished_recording(stack, profile, caller)


class PauseOnAsterisk16Tests(PauseTests):
    """The same tests on Asterisk 16."""

    recipe = ASTERISK_16


class BeepTests(RecordedCallTestCase):
    async def record_with_beeps(self, seconds: float, **profile: Any) -> tuple[dict[str, Any], float]:
        """Record a call in which both parties hear beeps.

        Return the Recording and the match score of a beep on its far end's channel.
        """
        stack, profile_id, caller, callee = await self.start_call(seconds, **profile)
        recording, samples, rate = await self.finished_recording(stack, profile_id, caller)
        beep = load_beep(self.recipe)
        for phone in (caller, callee):
            received, received_rate = tones.load_audio(phone.received_audio)
            self.assertGreater(
                tones.find_sound(beep, received[:, 0], received_rate).score,
                demo_call.MIN_MATCH_SCORE,
                f"{phone.name} received no beep",
            )
        return recording, tones.find_sound(beep, samples[:, demo_call.RIGHT], rate).score

    async def test_beeps_are_in_the_recording_if_configured(self) -> None:
        _, score = await self.record_with_beeps(4.0, recordBeepAtStart=True, recordBeepInRecording=True)
        self.assertGreater(score, demo_call.MIN_MATCH_SCORE)

    async def test_beeps_repeat_at_the_interval_and_are_not_in_the_recording(self) -> None:
        recording, score = await self.record_with_beeps(7.0, recordBeepInterval=2)
        self.assertLess(score, demo_call.MIN_MATCH_SCORE)
        times = [entry["at"] for entry in recording["timeline"] if entry["event"] == "beep"]
        self.assertEqual(len(times), 3, recording["timeline"])
        for index, at in enumerate(times):
            self.assertApproximates(at - times[0], 2.0 * index, 0.1)


class BeepOnAsterisk16Tests(BeepTests):
    """The same tests on Asterisk 16."""

    recipe = ASTERISK_16


class LimitTests(RecordedCallTestCase):
    async def test_max_duration_ends_the_recording_but_not_the_call(self) -> None:
        stack, profile, caller, _ = await self.start_call(6.0, maxDurationSeconds=3)
        recording, samples, rate = await self.finished_recording(stack, profile, caller)
        talked = caller.event("disconnected").monotonic - caller.event("confirmed").monotonic
        self.assertApproximates(talked, 6.0, 0.5)
        self.assertApproximates(len(samples) / rate, 3.0, 0.2)
        self.assertEqual(recording["timeline"][-1]["event"], "recording.stopped")
        self.assertTrue(recording["verdict"]["ok"], recording["verdict"])

    async def test_max_call_seconds_ends_the_call(self) -> None:
        stack, profile, caller, _ = await self.start_call(20.0, maxCallSeconds=3)
        recording, _, _ = await self.finished_recording(stack, profile, caller)
        self.assertApproximates(recording["duration"], 3.0, 0.4)
        self.assertEqual(recording["timeline"][-1]["by"], "voxrec")

    async def test_a_recording_below_the_minimum_duration_is_not_kept(self) -> None:
        stack, profile, caller, _ = await self.start_call(2.0, minDurationSeconds=5, email="a@example.test")
        await caller.wait_until_ended(20)
        recording = await stack.wait_for_recording(profile)
        self.assertEqual(recording["state"], "absent")
        self.assertIn("minDurationSeconds", " ".join(recording["verdict"]["reasons"]))
        self.assertEqual((await stack.request("GET", f"/recordings/{recording['id']}/audio")).status, 404)
        await self.assert_asterisk_is_idle(stack)

    async def test_calls_beyond_max_calls_are_rejected_as_busy(self) -> None:
        stack, profile, caller, _ = await self.start_call(6.0, maxCalls=1)
        self.assertEqual(await self.place_sipp_call(stack, profile), 486)
        await self.finished_recording(stack, profile, caller)


class LimitOnAsterisk16Tests(LimitTests):
    """The same tests on Asterisk 16."""

    recipe = ASTERISK_16


class OtherOptionTests(RecordedCallTestCase):
    async def test_without_a_required_announcement_no_recording_is_kept(self) -> None:
        stack = await shared_stack(self.recipe)
        prompt = await stack.request_json("PUT", "/prompts", {"name": "without audio"})
        _, profile, caller, _ = await self.start_call(
            3.0, recordPrompt="custom", recordPromptCustomId=prompt["id"], recordPromptRequired=True
        )
        await caller.wait_until_ended(20)
        recording = await stack.wait_for_recording(profile)
        self.assertEqual(recording["state"], "absent", recording)
        self.assertEqual(recording["verdict"]["reasons"], ["announcement.failed"])
        await self.assert_asterisk_is_idle(stack)

    async def test_recording_starts_on_demand(self) -> None:
        stack, profile, caller, _ = await self.start_call(6.0, record=False)
        (call,) = [call for call in await stack.request_json("GET", "/calls") if call["profileId"] == profile]
        await self.sleep(2)
        started = await stack.request_json("POST", f"/calls/{call['id']}", {"recording": True})
        self.assertEqual(started["recordingState"], "recording")
        again = await stack.request_json("POST", f"/calls/{call['id']}", {"recording": True})
        self.assertEqual(again["recordingId"], started["recordingId"])
        _, samples, rate = await self.finished_recording(stack, profile, caller)
        self.assertApproximates(len(samples) / rate, 4.0, 0.4)
        self.assert_tones(samples, rate, [(0.3, len(samples) / rate - 0.3)])

    async def test_the_recording_continues_during_hold(self) -> None:
        stack, profile, caller, callee = await self.start_call(10.0)
        await self.sleep(1)
        await callee.hold()
        await self.sleep(5.5)
        await callee.resume()
        recording, samples, rate = await self.finished_recording(stack, profile, caller)
        held = [(entry["event"], entry["by"]) for entry in recording["timeline"]][1:3]
        self.assertEqual(held, [("held", "callee"), ("unheld", "callee")])
        at = self.event_times(recording)
        self.assertApproximates(len(samples) / rate, 10.0, 0.3)
        missing = tones.missing_milliseconds(
            samples[:, demo_call.LEFT], rate, demo_call.CALLER_HZ, 0.3, len(samples) / rate - 0.3
        )
        self.assertLess(missing, 2 * demo_call.TOLERATED_GAP_MS)  # two re-INVITEs
        self.assert_tones(samples, rate, [(at["unheld"] + 0.5, len(samples) / rate - 0.3)])

    async def test_the_recording_continues_after_a_transfer_by_the_far_end(self) -> None:
        tone = tones.write_tone(self.directory / "third.tone.wav", 1500.0, 1.0)
        third = await Phone.make_callee(self.reactor, self.directory, name="third", play=tone).start()
        self.kill_at_end(third)
        stack, profile, caller, callee = await self.start_call(9.0)
        await self.sleep(2)
        await callee.transfer(third.uri)
        await third.wait_for("confirmed")
        (call,) = [call for call in await stack.request_json("GET", "/calls") if call["profileId"] == profile]
        self.assertEqual(call["remoteSipUri"], third.uri)
        recording, samples, rate = await self.finished_recording(stack, profile, caller)
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
        received, received_rate = tones.load_audio(third.received_audio)
        self.assertNotEqual(tones.tone_intervals(received[:, 0], received_rate, demo_call.CALLER_HZ), [])

    async def test_a_transfer_to_a_host_that_is_not_allowed_ends_the_call(self) -> None:
        stack, profile, caller, callee = await self.start_call(20.0)
        await self.sleep(1)
        await callee.transfer("sip:+49900190@192.0.2.99")
        recording, _, _ = await self.finished_recording(stack, profile, caller)
        self.assertIn("transfer.refused", self.events(recording))


class OtherOptionOnAsterisk16Tests(OtherOptionTests):
    """The same tests on Asterisk 16."""

    recipe = ASTERISK_16
