"""Real calls through a real Asterisk: what the parties hear, what is recorded, and what callers are told."""

import os
from pathlib import Path
from typing import Any

from treq.client import HTTPClient
from twisted.web.client import Agent, HTTPConnectionPool

from tests.live.gateway import GatewayTestCase, shared_stack
from voxrec.ari.client import AriClient
from voxrec.ari.transport import HttpTransport
from voxrec.sandbox import demo_call, tones
from voxrec.sandbox.phone import Phone
from voxrec.sandbox.rootfs import ASTERISK_16, Recipe, asterisk_rootfs
from voxrec.sandbox.sipp import SippAnswerer
from voxrec.sandbox.stack import Stack

# Milliseconds of a tone that may be missing: a machine that is busy with the other tests may lose a packet of 20 ms.
SLACK = 50


def asterisk_of(stack: Stack, reactor: Any) -> AriClient:
    """A second client of the stack's Asterisk, to look at it beside voxrec."""
    http = HTTPClient(Agent(reactor, pool=HTTPConnectionPool(reactor, persistent=False)))
    asterisk = stack.asterisk
    way = HttpTransport(reactor, http, asterisk.ari_url, asterisk.ari_user, asterisk.ari_password, 10)
    return AriClient(way, "looker-on")


def beep_of(recipe: Recipe) -> tones.Samples:
    root = asterisk_rootfs(lambda _: None, recipe) or Path("/")
    # "en" is a link that only leads somewhere inside that root
    beep = next(path for path in root.glob("usr/share/asterisk/sounds/*/beep.wav") if path.exists())
    samples, _ = tones.load_audio(beep)
    return samples[:, 0]


class RecordedCallTests(GatewayTestCase):
    """One conversation of two tones, with all that a Profile can ask for today."""

    async def test_a_whole_call(self) -> None:
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
        self.phone(callee)
        call = await demo_call.place_call(stack, self.reactor, self.directory, profile, callee, 6.0)
        recording = await stack.wait_for_recording(profile["id"])
        self.assertEqual(recording["state"], "completed", recording)
        self.check_row(recording, profile)
        self.check_far_end(call, recording)
        await self.check_audio(stack, call, recording)
        await self.check_mail(stack, recording)
        await self.assert_nothing_left(stack, asterisk_of(stack, self.reactor))

    def check_row(self, recording: dict[str, Any], profile: dict[str, Any]) -> None:
        shown = {name: recording[name] for name in ("from", "fromName", "to", "channels", "format", "hangupCause")}
        self.assertEqual(
            shown,
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

    def check_far_end(self, call: demo_call.CompletedCall, recording: dict[str, Any]) -> None:
        invite = call.callee.event("incoming")
        self.assertEqual((invite.number, invite.name), ("+4930901820", "Alice Example"))
        headers = {name.lower(): value for name, value in invite.headers.items()}
        self.assertEqual(headers["x-voxrec-dialled"], recording["to"])
        self.assertEqual(headers["x-voxrec-profile"], recording["profileId"])
        self.assertEqual(headers["x-voxrec-call"], recording["callId"])

    async def check_audio(self, stack: Stack, call: demo_call.CompletedCall, recording: dict[str, Any]) -> None:
        answer = await stack.request("GET", f"/recordings/{recording['id']}/audio")
        path = self.directory / "recording.wav"
        path.write_bytes(answer.body)
        heard = demo_call.measure_recording(path)
        self.assertEqual(heard.problems(), [])
        talked = call.caller.event("disconnected").monotonic - call.caller.event("confirmed").monotonic
        self.assertApproximates(heard.seconds, talked, 0.3)
        self.assertApproximates(heard.seconds, recording["duration"], 0.001)
        beep = beep_of(self.recipe)
        recorded, rate = tones.load_audio(path)
        self.assertLess(
            tones.find_sound(beep, recorded[:, 1], rate).score,
            demo_call.MIN_MATCH_SCORE,
            "the beep is in the recording",
        )
        for phone, hz in ((call.caller, demo_call.CALLEE_HZ), (call.callee, demo_call.CALLER_HZ)):
            samples, rate = tones.load_audio(phone.received_audio)
            self.assertIsNotNone(
                demo_call.find_announcement(phone.received_audio, 0), f"{phone.name} heard no announcement"
            )
            self.assertGreater(
                tones.find_sound(beep, samples[:, 0], rate).score,
                demo_call.MIN_MATCH_SCORE,
                f"{phone.name} heard no beep",
            )
            self.assertGreater(len(samples) / rate, 5)
            self.assertLess(
                tones.missing_milliseconds(samples[:, 0], rate, hz, 0.5, len(samples) / rate - 0.5), 60, phone.name
            )

    async def check_mail(self, stack: Stack, recording: dict[str, Any]) -> None:
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
    """The same on an Asterisk that takes commands over HTTP only."""

    recipe = ASTERISK_16

    async def test_commands_go_over_http(self) -> None:
        stack = await shared_stack(self.recipe)
        self.assertTrue(stack.asterisk.version.startswith("16."))


class OtherCallTests(GatewayTestCase):
    async def test_mono_is_both_voices_in_one_channel(self) -> None:
        stack = await shared_stack(self.recipe)
        profile, callee = await demo_call.create_profile_and_callee(
            stack, self.reactor, self.directory, record=True, recordChannels="mono", recordBeepAtStart=False
        )
        self.phone(callee)
        await demo_call.place_call(stack, self.reactor, self.directory, profile, callee, 3.0)
        recording = await stack.wait_for_recording(profile["id"])
        self.assertEqual((recording["state"], recording["channels"]), ("completed", 1))
        audio = await stack.request("GET", f"/recordings/{recording['id']}/audio")
        path = self.directory / "mono.wav"
        path.write_bytes(audio.body)
        samples, rate = tones.load_audio(path)
        self.assertEqual(samples.shape[1], 1)
        for hz in (demo_call.CALLER_HZ, demo_call.CALLEE_HZ):
            self.assertLess(tones.missing_milliseconds(samples[:, 0], rate, hz, 0.3, len(samples) / rate - 0.3), SLACK)

    async def test_a_profile_that_does_not_record_is_put_through(self) -> None:
        stack = await shared_stack(self.recipe)
        profile, callee = await demo_call.create_profile_and_callee(
            stack, self.reactor, self.directory, record=False, recordPrompt="default"
        )
        self.phone(callee)
        call = await demo_call.place_call(stack, self.reactor, self.directory, profile, callee, 3.0)
        for phone, hz in ((call.caller, demo_call.CALLEE_HZ), (call.callee, demo_call.CALLER_HZ)):
            samples, rate = tones.load_audio(phone.received_audio)
            self.assertLess(tones.missing_milliseconds(samples[:, 0], rate, hz, 0.3, len(samples) / rate - 0.3), SLACK)
            self.assertIsNone(demo_call.find_announcement(phone.received_audio, 0))
        self.assertEqual(await stack.request_json("GET", f"/profiles/{profile['id']}/recordings"), [])
        await self.assert_nothing_left(stack, asterisk_of(stack, self.reactor))

    async def test_what_is_said_while_paused_is_in_no_file(self) -> None:
        stack = await shared_stack(self.recipe)
        profile, callee = await demo_call.create_profile_and_callee(
            stack, self.reactor, self.directory, record=True, recordChannels="dual", recordBeepAtStart=False
        )
        self.phone(callee)
        tone = tones.write_tone(self.directory / "caller.tone.wav", demo_call.CALLER_HZ, 1.0)
        caller = Phone.make_caller(
            self.reactor, self.directory, f"sip:{profile['id']}@{stack.sip_host_port}", play=tone, seconds=6.0
        )
        self.phone(caller)
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
        at = {entry["event"]: entry["at"] for entry in recording["timeline"]}
        audio = self.directory / "paused.wav"
        audio.write_bytes((await stack.request("GET", f"{path}/audio")).body)
        samples, rate = tones.load_audio(audio)
        self.assertApproximates(len(samples) / rate, 6.0, 0.3)
        inside = samples[int((at["paused"] + 0.1) * rate) : int((at["resumed"] - 0.3) * rate)]
        self.assertEqual(abs(inside).max(), 0.0)
        for channel, hz in ((demo_call.LEFT, demo_call.CALLER_HZ), (demo_call.RIGHT, demo_call.CALLEE_HZ)):
            for start, end in ((0.3, at["paused"] - 0.1), (at["resumed"] + 0.1, len(samples) / rate - 0.3)):
                self.assertLess(
                    tones.missing_milliseconds(samples[:, channel], rate, hz, start, end), demo_call.TOLERATED_GAP_MS
                )

    async def test_the_far_end_hangs_up(self) -> None:
        stack = await shared_stack(self.recipe)
        callee = self.phone(await Phone.make_callee(self.reactor, self.directory, hang_up_after=2.0).start())
        profile = await stack.request_json("PUT", "/profiles", {"remoteSipUri": callee.uri, "record": True})
        caller = Phone.make_caller(self.reactor, self.directory, f"sip:{profile['id']}@{stack.sip_host_port}")
        self.phone(caller)
        await caller.start()
        end = await caller.wait_until_ended(20)
        self.assertEqual(end.code, 200)
        recording = await stack.wait_for_recording(profile["id"])
        self.assertEqual(recording["timeline"][-1]["by"], "callee")
        await self.assert_nothing_left(stack, asterisk_of(stack, self.reactor))

    async def test_ringing_and_early_media_reach_the_caller(self) -> None:
        stack = await shared_stack(self.recipe)
        tone = tones.write_tone(self.directory / "early.wav", demo_call.CALLEE_HZ, 1.0)
        callee = Phone.make_callee(self.reactor, self.directory, play=tone, ring_seconds=2.0, early_media=True)
        self.phone(await callee.start())
        profile = await stack.request_json("PUT", "/profiles", {"remoteSipUri": callee.uri})
        caller = Phone.make_caller(
            self.reactor, self.directory, f"sip:{profile['id']}@{stack.sip_host_port}", seconds=1.0
        )
        self.phone(caller)
        await caller.start()
        await caller.wait_until_ended(20)
        early, confirmed = caller.event("early-media"), caller.event("confirmed")
        self.assertGreater(confirmed.monotonic - early.monotonic, 1.5)
        samples, rate = tones.load_audio(caller.received_audio)
        first = tones.tone_intervals(samples[:, 0], rate, demo_call.CALLEE_HZ)[0][0]
        self.assertLess(first, 0.5)

    async def test_the_caller_gives_up_while_it_rings(self) -> None:
        stack = await shared_stack(self.recipe)
        callee = self.phone(await Phone.make_callee(self.reactor, self.directory, ring_seconds=30).start())
        profile = await stack.request_json("PUT", "/profiles", {"remoteSipUri": callee.uri, "record": True})
        caller = Phone.make_caller(
            self.reactor, self.directory, f"sip:{profile['id']}@{stack.sip_host_port}", cancel_after=1.0
        )
        self.phone(caller)
        await caller.start()
        self.assertEqual((await caller.wait_until_ended(20)).code, 487)
        self.assertEqual((await callee.wait_until_ended(20)).code, 487)
        self.assertEqual(await stack.request_json("GET", f"/profiles/{profile['id']}/recordings"), [])
        await self.assert_nothing_left(stack, asterisk_of(stack, self.reactor))

    async def test_a_number_leads_to_its_profile_with_and_without_the_plus(self) -> None:
        stack = await shared_stack(self.recipe)
        callee = SippAnswerer(self.reactor, self.directory / "desk", asterisk_rootfs(lambda _: None))
        await callee.start()
        self.addCleanup(callee.stop)
        number = f"+4930{int.from_bytes(os.urandom(3)):09d}"
        profile = await stack.request_json(
            "PUT", "/profiles", {"remoteSipUri": callee.uri, "numbers": [number], "record": True}
        )
        for dialled in (number, number[1:], profile["id"].upper()):
            self.assertEqual(await self.sipp_code(stack, dialled), 200, dialled)
        recordings = await stack.request_json("GET", f"/profiles/{profile['id']}/recordings")
        self.assertEqual({each["to"] for each in recordings}, {number, number[1:], profile["id"].upper()})


class OtherCallOn16Tests(OtherCallTests):
    """The same on the older Asterisk."""

    recipe = ASTERISK_16


class RefusalTests(GatewayTestCase):
    """Each way of not getting through, with the SIP status that the caller gets."""

    async def far_end(self, **how: Any) -> str:
        callee = SippAnswerer(self.reactor, self.directory / "desk", asterisk_rootfs(lambda _: None), **how)
        await callee.start()
        self.addCleanup(callee.stop)
        return callee.uri

    async def code_for(self, remote_sip_uri: str | None, **caller: Any) -> int:
        stack = await shared_stack(self.recipe)
        profile = await stack.request_json("PUT", "/profiles", {"remoteSipUri": remote_sip_uri, "record": True})
        code = await self.sipp_code(stack, profile["id"], **caller)
        self.assertEqual(await stack.request_json("GET", f"/profiles/{profile['id']}/recordings"), [])
        await self.assert_nothing_left(stack, asterisk_of(stack, self.reactor))
        return code

    async def test_the_far_ends_refusal_is_passed_back(self) -> None:
        for refused, told in ((486, 486), (480, 480), (404, 404), (503, 503), (403, 403), (603, 403)):
            uri = await self.far_end(code=refused)
            self.assertEqual(await self.code_for(uri), told, f"the far end said {refused}")

    async def test_no_answer_is_480(self) -> None:
        self.assertEqual(await self.code_for(await self.far_end(ring_seconds=None)), 480)

    async def test_an_unknown_profile_is_404(self) -> None:
        stack = await shared_stack(self.recipe)
        self.assertEqual(await self.sipp_code(stack, "6f1f4f7e-1111-4222-8333-444444444444"), 404)
        self.assertEqual(await self.sipp_code(stack, "+4999999999999"), 404)
        self.assertEqual(await self.sipp_code(stack, "nobody"), 404)

    async def test_a_profile_that_leads_nowhere_is_480(self) -> None:
        self.assertEqual(await self.code_for(None), 480)


class RefusalOn16Tests(RefusalTests):
    """The same on the older Asterisk."""

    recipe = ASTERISK_16
