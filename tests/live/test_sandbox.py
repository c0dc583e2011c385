"""Tests of the sandbox itself: Asterisk, phones and SIPp, without voxrec."""

import os
import statistics
from pathlib import Path
from typing import cast

from twisted.internet import reactor as installed_reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import SkipTest, TestCase

from voxrec.sandbox import tones
from voxrec.sandbox.asterisk import ASTERISK_ACCOUNT, SandboxAsterisk, SandboxReactor, baseline_extension
from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.phone import Phone
from voxrec.sandbox.process import wait_until
from voxrec.sandbox.rootfs import ASTERISK_22, Recipe, asterisk_rootfs
from voxrec.sandbox.sipp import SippAnswerer, SippCaller, SippResult

reactor = cast("SandboxReactor", installed_reactor)

CALLER_HZ, CALLEE_HZ, THIRD_HZ, HIGH_HZ = 440, 880, 1320, 6000
PROFILE_ID = "0b9d7e1a-2f9b-4d8f-9a63-6a7d2f0c1e11"
# On a busy machine single packets of 20 ms are lost; if a codec did not carry the tone, all of it would be missing.
TOLERATED_GAP_MS = 100


class SandboxTestCase(TestCase):
    timeout = 120
    recipe: Recipe = ASTERISK_22

    async def setUp(self) -> None:  # type: ignore[override]
        try:
            self.rootfs = asterisk_rootfs(lambda _line: None, self.recipe)
        except SandboxError as error:
            raise SkipTest(error.detail) from error
        self.directory = Path(self.mktemp())
        self.asterisk = await self.start_asterisk("asterisk")

    async def start_asterisk(self, name: str) -> SandboxAsterisk:
        asterisk = SandboxAsterisk(self.directory / name, self.rootfs)
        self.addCleanup(asterisk.stop, reactor)
        await asterisk.start(reactor)
        return asterisk

    def uri(self, extension: str) -> str:
        host, port = self.asterisk.sip_address
        return f"sip:{extension}@{host}:{port}"

    async def start_caller(self, extension: str, **options: object) -> Phone:
        phone = Phone.make_caller(reactor, self.directory, self.uri(extension), **options)  # type: ignore[arg-type]
        self.addCleanup(phone.kill)
        return await phone.start()

    async def start_callee(self, **options: object) -> Phone:
        phone = Phone.make_callee(reactor, self.directory, **options)  # type: ignore[arg-type]
        self.addCleanup(phone.kill)
        return await phone.start()

    async def run_sipp_caller(
        self, target: str, *, count: int = 2, rate: float = 20, talk_seconds: float = 0.5
    ) -> SippResult:
        caller = SippCaller(
            reactor,
            self.directory / "caller",
            self.rootfs,
            self.asterisk.sip_address,
            target,
            count=count,
            rate=rate,
            talk_seconds=talk_seconds,
        )
        self.addCleanup(caller.stop)
        return await caller.run()

    async def start_sipp_answerer(self, ring_seconds: float | None = 0.0, code: int = 200) -> SippAnswerer:
        answerer = SippAnswerer(reactor, self.directory / "answerer", self.rootfs, ring_seconds=ring_seconds, code=code)
        self.addCleanup(answerer.stop)
        await answerer.start()
        return answerer


class AsteriskTests(SandboxTestCase):
    async def test_it_starts_and_reports_its_version(self) -> None:
        self.assertRegex(self.asterisk.version, r"^\d+\.\d+")
        self.assertTrue(self.asterisk.recording_directory.is_dir())
        if os.geteuid() == 0:
            self.assertEqual(os.stat(f"/proc/{self.asterisk.pid}").st_uid, ASTERISK_ACCOUNT)  # noqa: PTH116

    async def test_several_instances_run_concurrently(self) -> None:
        other = await self.start_asterisk("other")
        self.assertNotEqual(other.ari_url, self.asterisk.ari_url)
        self.assertNotEqual(other.pid, self.asterisk.pid)

    async def test_a_restart_keeps_address_and_port(self) -> None:
        url, address, pid = self.asterisk.ari_url, self.asterisk.sip_address, self.asterisk.pid
        self.asterisk.kill()
        self.assertFalse(self.asterisk.running)
        await self.asterisk.restart(reactor)
        self.assertEqual((self.asterisk.ari_url, self.asterisk.sip_address), (url, address))
        self.assertNotEqual(self.asterisk.pid, pid)

    async def test_the_password_is_in_no_log(self) -> None:
        for path in (self.asterisk.directory / "log").iterdir():
            self.assertNotIn(self.asterisk.ari_password, path.read_text(errors="replace"))


class AudioTests(SandboxTestCase):
    async def assert_audio_in_both_directions(self, codec: str) -> None:
        rate = 16000 if codec == "g722" else 8000
        callee = await self.start_callee(
            play=tones.write_tone(self.directory / "desk.tone.wav", CALLEE_HZ, 1, rate=rate), codec=codec
        )
        caller = await self.start_caller(
            baseline_extension(callee.port),
            play=tones.write_tone(self.directory / "caller.tone.wav", CALLER_HZ, 1, rate=rate),
            seconds=4,
            codec=codec,
            display_name="Ann",
            number="+15550123",
        )
        self.assertEqual((await caller.wait_until_ended()).code, 200)
        await callee.wait_until_ended()
        for phone, received_hz, own_hz in ((caller, CALLEE_HZ, CALLER_HZ), (callee, CALLER_HZ, CALLEE_HZ)):
            samples, received_rate = tones.load_audio(phone.received_audio)
            self.assertEqual(received_rate, rate)
            self.assertLess(tones.missing_milliseconds(samples[:, 0], rate, received_hz, 0.3, 3.8), TOLERATED_GAP_MS)
            # The G.722 decoder needs some milliseconds to settle, during which every frequency is present.
            self.assertEqual(tones.tone_intervals(samples[rate // 2 :, 0], rate, own_hz), [])
        self.assertLess(caller.setup_seconds, 5)
        incoming = callee.event("incoming")
        self.assertEqual((incoming.number, incoming.name), ("+15550123", "Ann"))

    async def test_g711_mu_law(self) -> None:
        await self.assert_audio_in_both_directions("pcmu")

    async def test_g711_a_law(self) -> None:
        await self.assert_audio_in_both_directions("pcma")

    async def test_g722(self) -> None:
        await self.assert_audio_in_both_directions("g722")

    async def test_g722_carries_frequencies_above_the_telephone_band(self) -> None:
        tone = tones.write_tone(self.directory / "high.tone.wav", HIGH_HZ, 1, rate=16000)
        callee = await self.start_callee(play=tone, codec="g722")
        caller = await self.start_caller(baseline_extension(callee.port), codec="g722", seconds=2)
        await caller.wait_until_ended()
        samples, rate = tones.load_audio(caller.received_audio)
        self.assertLess(tones.missing_milliseconds(samples[:, 0], rate, HIGH_HZ, 0.3, 1.8), TOLERATED_GAP_MS)

    async def test_early_media_is_heard_before_the_answer(self) -> None:
        tone = tones.write_tone(self.directory / "desk.tone.wav", CALLEE_HZ, 1)
        callee = await self.start_callee(play=tone, ring_seconds=30, early_media=True)
        caller = await self.start_caller(baseline_extension(callee.port), cancel_after=2)
        self.assertEqual((await caller.wait_until_ended()).code, 487)
        self.assertEqual((await callee.wait_until_ended()).code, 487)
        self.assertFalse(caller.has_event("confirmed"))
        samples, rate = tones.load_audio(caller.received_audio)
        self.assertNotEqual(tones.tone_intervals(samples[:, 0], rate, CALLEE_HZ), [])


class PhoneTests(SandboxTestCase):
    """Phones during a call, through the sandbox's Asterisk or, where it would interfere, from phone to phone."""

    async def connect(self, *, direct: bool = False, **options: object) -> tuple[Phone, Phone]:
        callee = await self.start_callee(
            play=tones.write_tone(self.directory / "desk.tone.wav", CALLEE_HZ, 1), **options
        )
        caller = Phone.make_caller(
            reactor,
            self.directory,
            callee.uri if direct else self.uri(baseline_extension(callee.port)),
            play=tones.write_tone(self.directory / "caller.tone.wav", CALLER_HZ, 1),
        )
        self.addCleanup(caller.kill)
        await caller.start()
        await caller.wait_for("confirmed")
        await callee.wait_for("confirmed")
        return caller, callee

    def media_directions(self, phone: Phone) -> list[str]:
        return [event.direction for event in phone.events if event.event == "media"]

    async def hang_up(self, *phones: Phone) -> None:
        for phone in phones:
            await phone.hang_up()

    async def test_hold_and_resume(self) -> None:
        caller, callee = await self.connect(direct=True)
        await caller.hold()
        await caller.resume()
        await callee.hold("inactive")
        await callee.resume()
        await caller.reinvite()
        await self.hang_up(caller, callee)
        both = "sendrecv"
        self.assertEqual(self.media_directions(caller), [both, "sendonly", both, "inactive", both, both])
        self.assertEqual(self.media_directions(callee), [both, "recvonly", both, "inactive", both, both])

    async def test_hold_stops_the_audio_in_one_direction(self) -> None:
        caller, callee = await self.connect()
        await caller.hold()
        held = caller.events[-1].monotonic
        await deferLater(reactor, 1)
        await caller.resume()
        resumed = caller.events[-1].monotonic
        await deferLater(reactor, 0.5)
        await self.hang_up(caller, callee)
        samples, rate = tones.load_audio(caller.received_audio)
        start = caller.event("media").monotonic
        silent = tones.missing_milliseconds(samples[:, 0], rate, CALLEE_HZ, 0.3, resumed - start + 0.4)
        # The jitter buffer continues for about 0.2 s after the other end is silent.
        self.assertLess(silent, (resumed - held) * 1000 + 2 * TOLERATED_GAP_MS)
        self.assertGreater(silent, (resumed - held) * 1000 - 400)
        samples, rate = tones.load_audio(callee.received_audio)
        self.assertLess(tones.missing_milliseconds(samples[:, 0], rate, CALLER_HZ, 0.3, 1.5), TOLERATED_GAP_MS)

    async def test_dtmf_digits_arrive(self) -> None:
        caller, callee = await self.connect()
        await caller.send_dtmf("*12#")
        received = lambda: "".join(event.digits for event in callee.events if event.event == "digit")  # noqa: E731
        self.assertTrue(await wait_until(reactor, lambda: received() == "*12#", 5), received())
        self.assertFalse(caller.has_event("digit"))

    async def test_a_blind_transfer_connects_the_third_phone(self) -> None:
        caller, callee = await self.connect()
        third = await self.start_callee(name="third")
        ended = await callee.transfer(self.uri(baseline_extension(third.port)))
        self.assertEqual(ended.code, 200)
        await third.wait_for("confirmed")
        self.assertEqual((await callee.wait_until_ended()).code, 200)
        await third.hang_up()
        self.assertEqual((await caller.wait_until_ended()).code, 200)

    async def test_a_failed_transfer_keeps_the_call(self) -> None:
        caller, callee = await self.connect()
        self.assertEqual((await callee.transfer(self.uri("nobody"))).code, 404)
        await callee.reinvite()
        self.assertFalse(caller.has_event("disconnected"))

    async def test_an_attended_transfer_connects_the_two_others(self) -> None:
        caller, callee = await self.connect()
        third = await self.start_callee(name="third", play=tones.write_tone(self.directory / "third.wav", THIRD_HZ, 1))
        await callee.hold()
        await callee.start_consultation(self.uri(baseline_extension(third.port)))
        self.assertEqual((await callee.complete_attended_transfer()).code, 200)
        await callee.wait_until_ended()
        await deferLater(reactor, 1)
        self.assertFalse(third.has_event("disconnected"))
        await self.hang_up(caller, third)
        samples, rate = tones.load_audio(caller.received_audio)
        self.assertNotEqual(tones.tone_intervals(samples[:, 0], rate, THIRD_HZ), [])

    async def test_an_impossible_command_fails(self) -> None:
        caller, _desk = await self.connect(direct=True)
        with self.assertRaisesRegex(SandboxError, "there is no consultation call"):
            await caller.complete_attended_transfer()

    async def test_a_suspended_phone_is_silent_until_it_continues(self) -> None:
        caller, callee = await self.connect(direct=True)
        callee.suspend_process()
        await deferLater(reactor, 1)
        callee.continue_process()
        await callee.reinvite()
        await self.hang_up(caller, callee)
        samples, rate = tones.load_audio(caller.received_audio)
        length = len(samples) / rate
        self.assertGreater(
            tones.missing_milliseconds(samples[:, 0], rate, CALLEE_HZ, 0, length), 1000 - TOLERATED_GAP_MS
        )

    async def test_the_preferred_common_codec_is_used(self) -> None:
        caller, callee = await self.connect(direct=True, codec="g722,pcmu")
        await self.hang_up(caller, callee)
        trace = (self.directory / "desk.sip.log").read_text(errors="replace")
        self.assertIn("m=audio", trace)
        self.assertNotIn("G722", trace.partition("SIP/2.0 200")[2].partition("--end msg--")[0])

    async def test_no_common_codec_is_488(self) -> None:
        callee = await self.start_callee()
        caller = await self.start_caller(baseline_extension(callee.port), codec="gsm")
        self.assertEqual((await caller.wait_until_ended()).code, 488)


class RejectionTests(SandboxTestCase):
    async def test_an_unknown_extension_is_404(self) -> None:
        # A single digit could be the start of a number, but the response must not be 484.
        for extension in ("nobody", "5"):
            self.assertEqual((await self.run_sipp_caller(extension)).codes, {404: 2})

    async def test_without_voxrec_its_numbers_are_503(self) -> None:
        for extension in (PROFILE_ID, "+4930123456", "4930123456"):
            self.assertEqual((await self.run_sipp_caller(extension)).codes, {503: 2})

    async def test_a_phone_rejects_a_call(self) -> None:
        callee = await self.start_callee(answer_code=486, ring_seconds=0.2)
        caller = await self.start_caller(baseline_extension(callee.port))
        self.assertEqual((await caller.wait_until_ended()).code, 486)
        self.assertTrue(caller.has_event("ringing"))

    async def test_hang_up_ends_the_call_on_both_sides(self) -> None:
        callee = await self.start_callee()
        caller = await self.start_caller(baseline_extension(callee.port))
        await caller.wait_for("confirmed")
        await callee.hang_up()
        self.assertEqual((await caller.wait_until_ended()).code, 200)
        self.assertTrue(callee.has_event("recorded"))


class SippTests(SandboxTestCase):
    async def test_calls_are_counted_and_timed(self) -> None:
        answerer = await self.start_sipp_answerer()
        result = await self.run_sipp_caller(baseline_extension(answerer.port), count=20, rate=20, talk_seconds=1)
        self.assertEqual((result.placed, result.succeeded, result.failed), (20, 20, 0))
        self.assertEqual(len(result.response_seconds), 20)
        self.assertLess(statistics.median(result.response_seconds), 0.2)

    async def test_the_response_time_includes_ringing(self) -> None:
        answerer = await self.start_sipp_answerer(ring_seconds=0.5)
        result = await self.run_sipp_caller(baseline_extension(answerer.port))
        self.assertGreater(min(result.response_seconds), 0.5)

    async def test_rejections_are_counted_by_code(self) -> None:
        answerer = await self.start_sipp_answerer(code=486)
        result = await self.run_sipp_caller(baseline_extension(answerer.port))
        self.assertEqual((result.codes, result.succeeded, result.failed), ({486: 2}, 0, 2))

    async def test_a_caller_cancels_a_call_that_is_not_answered(self) -> None:
        answerer = await self.start_sipp_answerer(ring_seconds=None)
        caller = await self.start_caller(baseline_extension(answerer.port), cancel_after=0.5)
        self.assertEqual((await caller.wait_until_ended()).code, 487)


class CleanupTests(SandboxTestCase):
    async def test_killed_programs_leave_no_processes(self) -> None:
        answerer = await self.start_sipp_answerer()
        caller = await self.start_caller(baseline_extension(answerer.port))
        await caller.wait_for("confirmed")
        self.assertNotEqual(_processes_using(self.directory), [])
        caller.kill()
        await answerer.stop()
        self.asterisk.kill()
        self.assertTrue(await wait_until(reactor, lambda: _processes_using(self.directory) == [], 5))


def _processes_using(directory: Path) -> list[str]:
    processes = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            # A program in a mount namespace has its directory as a mount, and not on its command line.
            text = (process / "mountinfo").read_text() + (process / "cmdline").read_text()
        except OSError:
            continue
        if str(directory.absolute()) in text:
            processes.append(text)
    return processes
