"""Calls through a real Asterisk: the audio of both parties, the recording and its mail, and the codes of rejections."""

import os
from typing import Any

from tests.live.live_test_case import LiveTestCase, load_beep, rootfs_of, shared_stack
from voxrec.sandbox import demo_call, tones
from voxrec.sandbox.phone import Phone
from voxrec.sandbox.rootfs import ASTERISK_16
from voxrec.sandbox.sipp import SippAnswerer
from voxrec.sandbox.stack import Stack

# Milliseconds of a tone that may be missing: on a busy machine single packets of 20 ms are lost.
MAX_GAP_MS = 50


class RecordedCallTests(LiveTestCase):
    """One call with announcement and beep, recorded in two channels and mailed."""

    async def test_a_call_with_all_options(self) -> None:
        stack = await shared_stack(self.recipe)
        profile, callee = await demo_call.create_profile_and_callee(
            stack,
            self.reactor,
            self.directory,
            email="a@example.test, b@example.test",
            record=True,
            recordChannels="dual",
            recordPrompt="default",
            recordBeepAtStart=True,
            metadata={"case": 7},
        )
        self.kill_at_end(callee)
        call = await demo_call.place_call(stack, self.reactor, self.directory, profile, callee, 6.0)
        recording = await stack.wait_for_recording(profile["id"])
        self.assertEqual(recording["state"], "completed", recording)
        self.assert_representation(recording, profile)
        self.assert_invite(call, recording)
        await self.assert_audio(stack, call, recording)
        await self.assert_mail(stack, recording)
        await self.assert_asterisk_is_idle(stack)

    def assert_representation(self, recording: dict[str, Any], profile: dict[str, Any]) -> None:
        fields = {name: recording[name] for name in ("from", "fromName", "to", "channels", "format", "hangupCause")}
        self.assertEqual(
            fields,
            {
                "from": "+4930901820",
                "fromName": "Alice Example",
                "to": profile["id"],
                "channels": 2,
                "format": "wav",
                "hangupCause": 16,
            },
        )
        self.assertEqual(recording["remoteSipUri"], profile["remoteSipUri"])
        self.assertEqual(recording["metadata"], {"case": 7})
        self.assertTrue(recording["verdict"]["ok"], recording["verdict"])
        self.assertEqual(
            [(entry["event"], entry.get("by")) for entry in recording["timeline"]],
            [
                ("answered", "callee"),
                ("announcement.started", None),
                ("announcement.finished", None),
                ("beep", None),
                ("hangup", "caller"),
            ],
        )

    def assert_invite(self, call: demo_call.CompletedCall, recording: dict[str, Any]) -> None:
        invite = call.callee.event("incoming")
        self.assertEqual((invite.number, invite.name), ("+4930901820", "Alice Example"))
        headers = {name.lower(): value for name, value in invite.headers.items()}
        self.assertEqual(headers["x-voxrec-dialled"], recording["to"])
        self.assertEqual(headers["x-voxrec-profile"], recording["profileId"])
        self.assertEqual(headers["x-voxrec-call"], recording["callId"])

    async def assert_audio(self, stack: Stack, call: demo_call.CompletedCall, recording: dict[str, Any]) -> None:
        response = await stack.request("GET", f"/recordings/{recording['id']}/audio")
        path = self.directory / "recording.wav"
        path.write_bytes(response.body)
        measurement = demo_call.measure_recording(path)
        self.assertEqual(measurement.problems(), [])
        connected = call.caller.event("disconnected").monotonic - call.caller.event("confirmed").monotonic
        self.assertApproximates(measurement.seconds, connected, 0.3)
        self.assertApproximates(measurement.seconds, recording["duration"], 0.001)
        beep = load_beep(self.recipe)
        recorded, rate = tones.load_audio(path)
        self.assertLess(
            tones.find_sound(beep, recorded[:, 1], rate).score,
            demo_call.MIN_MATCH_SCORE,
            "the beep is in the recording",
        )
        for phone, hz in ((call.caller, demo_call.CALLEE_HZ), (call.callee, demo_call.CALLER_HZ)):
            samples, rate = tones.load_audio(phone.received_audio)
            self.assertIsNotNone(
                demo_call.find_announcement(phone.received_audio, 0), f"{phone.name} received no announcement"
            )
            self.assertGreater(
                tones.find_sound(beep, samples[:, 0], rate).score,
                demo_call.MIN_MATCH_SCORE,
                f"{phone.name} received no beep",
            )
            self.assertGreater(len(samples) / rate, 5)
            self.assertLess(
                tones.missing_milliseconds(samples[:, 0], rate, hz, 0.5, len(samples) / rate - 0.5), 60, phone.name
            )

    async def assert_mail(self, stack: Stack, recording: dict[str, Any]) -> None:
        _, mail = await stack.wait_for_mail(recording["id"])
        self.assertEqual(mail["To"], "a@example.test, b@example.test")
        (attachment,) = mail.iter_attachments()
        audio = await stack.request("GET", f"/recordings/{recording['id']}/audio")
        self.assertEqual(attachment.get_payload(decode=True), audio.body)
        self.assertEqual(
            [part.get_content_type() for part in mail.walk()][1:6],
            ["multipart/alternative", "text/plain", "multipart/related", "text/html", "image/png"],
        )


class RecordedCallOnAsterisk16Tests(RecordedCallTests):
    """The same tests on Asterisk 16, which accepts ARI commands over HTTP only."""

    recipe = ASTERISK_16

    async def test_the_version_is_16(self) -> None:
        stack = await shared_stack(self.recipe)
        self.assertTrue(stack.asterisk.version.startswith("16."))


class OtherCallTests(LiveTestCase):
    async def test_a_mono_recording_has_both_sides_in_one_channel(self) -> None:
        stack = await shared_stack(self.recipe)
        profile, callee = await demo_call.create_profile_and_callee(
            stack, self.reactor, self.directory, record=True, recordChannels="mono", recordBeepAtStart=False
        )
        self.kill_at_end(callee)
        await demo_call.place_call(stack, self.reactor, self.directory, profile, callee, 3.0)
        recording = await stack.wait_for_recording(profile["id"])
        self.assertEqual((recording["state"], recording["channels"]), ("completed", 1))
        audio = await stack.request("GET", f"/recordings/{recording['id']}/audio")
        path = self.directory / "mono.wav"
        path.write_bytes(audio.body)
        samples, rate = tones.load_audio(path)
        self.assertEqual(samples.shape[1], 1)
        for hz in (demo_call.CALLER_HZ, demo_call.CALLEE_HZ):
            self.assertLess(
                tones.missing_milliseconds(samples[:, 0], rate, hz, 0.3, len(samples) / rate - 0.3), MAX_GAP_MS
            )

    async def test_a_call_that_is_not_recorded_is_connected(self) -> None:
        stack = await shared_stack(self.recipe)
        profile, callee = await demo_call.create_profile_and_callee(
            stack, self.reactor, self.directory, record=False, recordPrompt="default"
        )
        self.kill_at_end(callee)
        call = await demo_call.place_call(stack, self.reactor, self.directory, profile, callee, 3.0)
        for phone, hz in ((call.caller, demo_call.CALLEE_HZ), (call.callee, demo_call.CALLER_HZ)):
            samples, rate = tones.load_audio(phone.received_audio)
            self.assertLess(
                tones.missing_milliseconds(samples[:, 0], rate, hz, 0.3, len(samples) / rate - 0.3), MAX_GAP_MS
            )
            self.assertIsNone(demo_call.find_announcement(phone.received_audio, 0))
        self.assertEqual(await stack.request_json("GET", f"/profiles/{profile['id']}/recordings"), [])
        await self.assert_asterisk_is_idle(stack)

    async def test_a_pause_is_silent_in_the_recording(self) -> None:
        stack = await shared_stack(self.recipe)
        profile, callee = await demo_call.create_profile_and_callee(
            stack, self.reactor, self.directory, record=True, recordChannels="dual", recordBeepAtStart=False
        )
        self.kill_at_end(callee)
        tone = tones.write_tone(self.directory / "caller.tone.wav", demo_call.CALLER_HZ, 1.0)
        caller = Phone.make_caller(
            self.reactor, self.directory, f"sip:{profile['id']}@{stack.sip_host_port}", play=tone, seconds=6.0
        )
        self.kill_at_end(caller)
        await caller.start()
        await caller.wait_for("confirmed")
        await self.sleep(1.5)
        (live,) = await stack.request_json("GET", f"/profiles/{profile['id']}/recordings")
        path = f"/recordings/{live['id']}"
        paused = await stack.request("POST", path, {"state": "paused"})
        self.assertEqual((paused.status, paused.json()["state"]), (200, "paused"))
        self.assertEqual(paused.headers["etag"], (await stack.request("GET", path)).headers["etag"])
        await self.sleep(2)
        resumed = await stack.request("POST", path, {"state": "recording"})
        self.assertEqual((resumed.status, resumed.json()["state"]), (200, "recording"))
        await caller.wait_until_ended(20)
        recording = await stack.wait_for_recording(profile["id"])
        self.assertEqual((await stack.request("POST", path, {"state": "paused"})).status, 409)
        at = self.event_times(recording)
        audio = self.directory / "paused.wav"
        audio.write_bytes((await stack.request("GET", f"{path}/audio")).body)
        samples, rate = tones.load_audio(audio)
        self.assertApproximates(len(samples) / rate, 6.0, 0.3)
        paused_samples = samples[int((at["paused"] + 0.1) * rate) : int((at["resumed"] - 0.3) * rate)]
        self.assertEqual(abs(paused_samples).max(), 0.0)
        for channel, hz in ((demo_call.LEFT, demo_call.CALLER_HZ), (demo_call.RIGHT, demo_call.CALLEE_HZ)):
            for start, end in ((0.3, at["paused"] - 0.1), (at["resumed"] + 0.1, len(samples) / rate - 0.3)):
                self.assertLess(
                    tones.missing_milliseconds(samples[:, channel], rate, hz, start, end), demo_call.TOLERATED_GAP_MS
                )

    async def test_the_far_end_hangs_up(self) -> None:
        stack = await shared_stack(self.recipe)
        callee = self.kill_at_end(await Phone.make_callee(self.reactor, self.directory, hang_up_after=2.0).start())
        profile = await stack.request_json("PUT", "/profiles", {"remoteSipUri": callee.uri, "record": True})
        caller = Phone.make_caller(self.reactor, self.directory, f"sip:{profile['id']}@{stack.sip_host_port}")
        self.kill_at_end(caller)
        await caller.start()
        end = await caller.wait_until_ended(20)
        self.assertEqual(end.code, 200)
        recording = await stack.wait_for_recording(profile["id"])
        self.assertEqual(recording["timeline"][-1]["by"], "callee")
        await self.assert_asterisk_is_idle(stack)

    async def test_ringing_and_early_media_reach_the_caller(self) -> None:
        stack = await shared_stack(self.recipe)
        tone = tones.write_tone(self.directory / "early.wav", demo_call.CALLEE_HZ, 1.0)
        callee = Phone.make_callee(self.reactor, self.directory, play=tone, ring_seconds=2.0, early_media=True)
        self.kill_at_end(await callee.start())
        profile = await stack.request_json("PUT", "/profiles", {"remoteSipUri": callee.uri})
        caller = Phone.make_caller(
            self.reactor, self.directory, f"sip:{profile['id']}@{stack.sip_host_port}", seconds=1.0
        )
        self.kill_at_end(caller)
        await caller.start()
        await caller.wait_until_ended(20)
        early, confirmed = caller.event("early-media"), caller.event("confirmed")
        self.assertGreater(confirmed.monotonic - early.monotonic, 1.5)
        samples, rate = tones.load_audio(caller.received_audio)
        first = tones.tone_intervals(samples[:, 0], rate, demo_call.CALLEE_HZ)[0][0]
        self.assertLess(first, 0.5)

    async def test_the_caller_cancels_while_the_far_end_rings(self) -> None:
        stack = await shared_stack(self.recipe)
        callee = self.kill_at_end(await Phone.make_callee(self.reactor, self.directory, ring_seconds=30).start())
        profile = await stack.request_json("PUT", "/profiles", {"remoteSipUri": callee.uri, "record": True})
        caller = Phone.make_caller(
            self.reactor, self.directory, f"sip:{profile['id']}@{stack.sip_host_port}", cancel_after=1.0
        )
        self.kill_at_end(caller)
        await caller.start()
        self.assertEqual((await caller.wait_until_ended(20)).code, 487)
        self.assertEqual((await callee.wait_until_ended(20)).code, 487)
        self.assertEqual(await stack.request_json("GET", f"/profiles/{profile['id']}/recordings"), [])
        await self.assert_asterisk_is_idle(stack)

    async def test_a_profile_is_found_by_id_and_by_number_with_and_without_plus(self) -> None:
        stack = await shared_stack(self.recipe)
        callee = SippAnswerer(self.reactor, self.directory / "desk", rootfs_of())
        await callee.start()
        self.addCleanup(callee.stop)
        number = f"+4930{int.from_bytes(os.urandom(3)):09d}"
        profile = await stack.request_json(
            "PUT", "/profiles", {"remoteSipUri": callee.uri, "numbers": [number], "record": True}
        )
        for dialled in (number, number[1:], profile["id"].upper()):
            self.assertEqual(await self.place_sipp_call(stack, dialled), 200, dialled)
        recordings = await stack.request_json("GET", f"/profiles/{profile['id']}/recordings")
        self.assertEqual({each["to"] for each in recordings}, {number, number[1:], profile["id"].upper()})


class OtherCallOnAsterisk16Tests(OtherCallTests):
    """The same tests on Asterisk 16."""

    recipe = ASTERISK_16


class RejectionTests(LiveTestCase):
    """The SIP status that the caller receives for each reason of a rejection."""

    async def start_callee(self, **options: Any) -> str:
        callee = SippAnswerer(self.reactor, self.directory / "desk", rootfs_of(), **options)
        await callee.start()
        self.addCleanup(callee.stop)
        return callee.uri

    async def status_for(self, remote_sip_uri: str | None, **caller: Any) -> int:
        stack = await shared_stack(self.recipe)
        profile = await stack.request_json("PUT", "/profiles", {"remoteSipUri": remote_sip_uri, "record": True})
        status = await self.place_sipp_call(stack, profile["id"], **caller)
        self.assertEqual(await stack.request_json("GET", f"/profiles/{profile['id']}/recordings"), [])
        await self.assert_asterisk_is_idle(stack)
        return status

    async def test_the_far_ends_rejection_is_passed_to_the_caller(self) -> None:
        for rejection, expected in ((486, 486), (480, 480), (404, 404), (503, 503), (403, 403), (603, 603)):
            uri = await self.start_callee(code=rejection)
            self.assertEqual(await self.status_for(uri), expected, f"the far end sent {rejection}")

    async def test_no_answer_is_480(self) -> None:
        self.assertEqual(await self.status_for(await self.start_callee(ring_seconds=None)), 480)

    async def test_an_unknown_profile_is_404(self) -> None:
        stack = await shared_stack(self.recipe)
        self.assertEqual(await self.place_sipp_call(stack, "6f1f4f7e-1111-4222-8333-444444444444"), 404)
        self.assertEqual(await self.place_sipp_call(stack, "+4999999999999"), 404)
        self.assertEqual(await self.place_sipp_call(stack, "nobody"), 404)

    async def test_a_profile_without_a_far_end_is_480(self) -> None:
        self.assertEqual(await self.status_for(None), 480)


class RejectionOnAsterisk16Tests(RejectionTests):
    """The same tests on Asterisk 16."""

    recipe = ASTERISK_16
