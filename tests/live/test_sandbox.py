"""The sandbox on itself: a real Asterisk, real phones, real sound. Needs a root file system (make sandbox)."""

import statistics
from pathlib import Path
from typing import cast

from twisted.internet import reactor as installed_reactor
from twisted.internet.task import deferLater
from twisted.trial.unittest import SkipTest, TestCase

from voxrec.sandbox import tones
from voxrec.sandbox.asterisk import SandboxAsterisk, SandboxReactor, baseline_extension
from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.phone import Phone
from voxrec.sandbox.process import wait_until
from voxrec.sandbox.rootfs import ASTERISK_22, Recipe, asterisk_rootfs
from voxrec.sandbox.sipp import SippAnswerer, SippCaller, SippResult

reactor = cast("SandboxReactor", installed_reactor)

CALLER_HZ, CALLEE_HZ, THIRD_HZ, HIGH_HZ = 440, 880, 1320, 6000
PROFILE_ID = "0b9d7e1a-2f9b-4d8f-9a63-6a7d2f0c1e11"
# A busy machine loses a packet (20 ms) now and then; sound that is not carried loses all of it.
BEARABLE_MILLISECONDS = 100


class SandboxTestCase(TestCase):
    timeout = 120
    recipe: Recipe = ASTERISK_22

    async def setUp(self) -> None:  # type: ignore[override]
        try:
            self.rootfs = asterisk_rootfs(lambda _line: None, self.recipe)
        except SandboxError as fault:
            raise SkipTest(fault.detail) from fault
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

    async def calling(self, extension: str, **how: object) -> Phone:
        phone = Phone.make_caller(reactor, self.directory, self.uri(extension), **how)  # type: ignore[arg-type]
        self.addCleanup(phone.kill)
        return await phone.start()

    async def answering(self, **how: object) -> Phone:
        phone = Phone.make_callee(reactor, self.directory, **how)  # type: ignore[arg-type]
        self.addCleanup(phone.kill)
        return await phone.start()

    async def sipp(self, target: str, *, count: int = 2, rate: float = 20, talk_seconds: float = 0.5) -> SippResult:
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

    async def sipp_answering(self, ring_seconds: float | None = 0.0, code: int = 200) -> SippAnswerer:
        answerer = SippAnswerer(reactor, self.directory / "answerer", self.rootfs, ring_seconds=ring_seconds, code=code)
        self.addCleanup(answerer.stop)
        await answerer.start()
        return answerer


class AnAsterisk(SandboxTestCase):
    async def test_it_answers_and_tells_its_version(self) -> None:
        self.assertRegex(self.asterisk.version, r"^\d+\.\d+")
        self.assertTrue(self.asterisk.recording_directory.is_dir())
        self.assertTrue(self.asterisk.sounds_directory.is_dir())

    async def test_several_at_once(self) -> None:
        other = await self.start_asterisk("other")
        self.assertNotEqual(other.ari_url, self.asterisk.ari_url)
        self.assertNotEqual(other.pid, self.asterisk.pid)

    async def test_killed_and_started_again_it_is_found_where_it_was(self) -> None:
        url, address, pid = self.asterisk.ari_url, self.asterisk.sip_address, self.asterisk.pid
        self.asterisk.kill()
        self.assertFalse(self.asterisk.running)
        await self.asterisk.restart(reactor)
        self.assertEqual((self.asterisk.ari_url, self.asterisk.sip_address), (url, address))
        self.assertNotEqual(self.asterisk.pid, pid)

    async def test_its_password_is_in_no_log(self) -> None:
        for path in (self.asterisk.directory / "log").iterdir():
            self.assertNotIn(self.asterisk.ari_password, path.read_text(errors="replace"))


class Sound(SandboxTestCase):
    async def talk(self, codec: str) -> None:
        rate = 16000 if codec == "g722" else 8000
        callee = await self.answering(
            play=tones.write_tone(self.directory / "desk.tone.wav", CALLEE_HZ, 1, rate=rate), codec=codec
        )
        caller = await self.calling(
            baseline_extension(callee.port),
            play=tones.write_tone(self.directory / "caller.tone.wav", CALLER_HZ, 1, rate=rate),
            seconds=4,
            codec=codec,
            display_name="Ann",
            number="+15550123",
        )
        self.assertEqual((await caller.wait_until_ended()).code, 200)
        await callee.wait_until_ended()
        for phone, heard_hz, own_hz in ((caller, CALLEE_HZ, CALLER_HZ), (callee, CALLER_HZ, CALLEE_HZ)):
            samples, heard_rate = tones.load_audio(phone.received_audio)
            self.assertEqual(heard_rate, rate)
            self.assertLess(tones.missing_milliseconds(samples[:, 0], rate, heard_hz, 0.3, 3.8), BEARABLE_MILLISECONDS)
            # Wide-band swings in for a few milliseconds, in which every frequency is heard.
            self.assertEqual(tones.tone_intervals(samples[rate // 2 :, 0], rate, own_hz), [])
        self.assertLess(caller.setup_seconds, 1)
        incoming = callee.event("incoming")
        self.assertEqual((incoming.number, incoming.name), ("+15550123", "Ann"))

    async def test_each_hears_the_other_without_a_gap(self) -> None:
        await self.talk("pcmu")

    async def test_a_law(self) -> None:
        await self.talk("pcma")

    async def test_wide_band(self) -> None:
        await self.talk("g722")

    async def test_wide_band_carries_what_a_telephone_does_not(self) -> None:
        tone = tones.write_tone(self.directory / "high.tone.wav", HIGH_HZ, 1, rate=16000)
        callee = await self.answering(play=tone, codec="g722")
        caller = await self.calling(baseline_extension(callee.port), codec="g722", seconds=2)
        await caller.wait_until_ended()
        samples, rate = tones.load_audio(caller.received_audio)
        self.assertLess(tones.missing_milliseconds(samples[:, 0], rate, HIGH_HZ, 0.3, 1.8), BEARABLE_MILLISECONDS)

    async def test_early_media_is_heard_before_the_answer(self) -> None:
        tone = tones.write_tone(self.directory / "desk.tone.wav", CALLEE_HZ, 1)
        callee = await self.answering(play=tone, ring_seconds=30, early_media=True)
        caller = await self.calling(baseline_extension(callee.port), cancel_after=2)
        self.assertEqual((await caller.wait_until_ended()).code, 487)
        self.assertEqual((await callee.wait_until_ended()).code, 487)
        self.assertFalse(caller.has_event("confirmed"))
        samples, rate = tones.load_audio(caller.received_audio)
        self.assertNotEqual(tones.tone_intervals(samples[:, 0], rate, CALLEE_HZ), [])


class Conduct(SandboxTestCase):
    """What phones do during a call; through the sandbox's Asterisk, and where it would step in, from phone to phone."""

    async def connected(self, *, direct: bool = False, **how: object) -> tuple[Phone, Phone]:
        callee = await self.answering(play=tones.write_tone(self.directory / "desk.tone.wav", CALLEE_HZ, 1), **how)
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

    def directions(self, phone: Phone) -> list[str]:
        return [event.direction for event in phone.events if event.event == "media"]

    async def hung_up(self, *phones: Phone) -> None:
        for phone in phones:
            await phone.hang_up()

    async def test_hold_and_resume(self) -> None:
        caller, callee = await self.connected(direct=True)
        await caller.hold()
        await caller.resume()
        await callee.hold("inactive")
        await callee.resume()
        await caller.reinvite()
        await self.hung_up(caller, callee)
        both = "sendrecv"
        self.assertEqual(self.directions(caller), [both, "sendonly", both, "inactive", both, both])
        self.assertEqual(self.directions(callee), [both, "recvonly", both, "inactive", both, both])

    async def test_on_hold_one_hears_nothing_and_is_heard_on(self) -> None:
        caller, callee = await self.connected()
        await caller.hold()
        held = caller.events[-1].monotonic
        await deferLater(reactor, 1)
        await caller.resume()
        resumed = caller.events[-1].monotonic
        await deferLater(reactor, 0.5)
        await self.hung_up(caller, callee)
        samples, rate = tones.load_audio(caller.received_audio)
        start = caller.event("media").monotonic
        silent = tones.missing_milliseconds(samples[:, 0], rate, CALLEE_HZ, 0.3, resumed - start + 0.4)
        # What its jitter buffer holds, and conceals with, sounds on for about 0.2 s after the other end is silent.
        self.assertLess(silent, (resumed - held) * 1000 + 2 * BEARABLE_MILLISECONDS)
        self.assertGreater(silent, (resumed - held) * 1000 - 400)
        samples, rate = tones.load_audio(callee.received_audio)
        self.assertLess(tones.missing_milliseconds(samples[:, 0], rate, CALLER_HZ, 0.3, 1.5), BEARABLE_MILLISECONDS)

    async def test_keys_pressed_arrive(self) -> None:
        caller, callee = await self.connected()
        await caller.send_dtmf("*12#")
        pressed = lambda: "".join(event.digits for event in callee.events if event.event == "digit")  # noqa: E731
        self.assertTrue(await wait_until(reactor, lambda: pressed() == "*12#", 5), pressed())
        self.assertFalse(caller.has_event("digit"))

    async def test_a_blind_transfer_leads_to_the_third(self) -> None:
        caller, callee = await self.connected()
        third = await self.answering(name="third")
        ended = await callee.transfer(self.uri(baseline_extension(third.port)))
        self.assertEqual(ended.code, 200)
        await third.wait_for("confirmed")
        self.assertEqual((await callee.wait_until_ended()).code, 200)
        await third.hang_up()
        self.assertEqual((await caller.wait_until_ended()).code, 200)

    async def test_a_transfer_to_nowhere_leaves_the_call_as_it_is(self) -> None:
        caller, callee = await self.connected()
        self.assertEqual((await callee.transfer(self.uri("nobody"))).code, 404)
        await callee.reinvite()
        self.assertFalse(caller.has_event("disconnected"))

    async def test_an_attended_transfer_joins_the_two(self) -> None:
        caller, callee = await self.connected()
        third = await self.answering(name="third", play=tones.write_tone(self.directory / "third.wav", THIRD_HZ, 1))
        await callee.hold()
        await callee.start_consultation(self.uri(baseline_extension(third.port)))
        self.assertEqual((await callee.complete_attended_transfer()).code, 200)
        await callee.wait_until_ended()
        await deferLater(reactor, 1)
        self.assertFalse(third.has_event("disconnected"))
        await self.hung_up(caller, third)
        samples, rate = tones.load_audio(caller.received_audio)
        self.assertNotEqual(tones.tone_intervals(samples[:, 0], rate, THIRD_HZ), [])

    async def test_what_cannot_be_done_is_refused(self) -> None:
        caller, _desk = await self.connected(direct=True)
        with self.assertRaisesRegex(SandboxError, "nobody is consulted"):
            await caller.complete_attended_transfer()

    async def test_a_frozen_phone_is_silent_and_goes_on_when_thawed(self) -> None:
        caller, callee = await self.connected(direct=True)
        callee.suspend_process()
        await deferLater(reactor, 1)
        callee.continue_process()
        await callee.reinvite()
        await self.hung_up(caller, callee)
        samples, rate = tones.load_audio(caller.received_audio)
        length = len(samples) / rate
        self.assertGreater(
            tones.missing_milliseconds(samples[:, 0], rate, CALLEE_HZ, 0, length), 1000 - BEARABLE_MILLISECONDS
        )

    async def test_the_preferred_codec_is_taken_where_both_have_it(self) -> None:
        caller, callee = await self.connected(direct=True, codec="g722,pcmu")
        await self.hung_up(caller, callee)
        answer = (self.directory / "desk.sip.log").read_text(errors="replace")
        self.assertIn("m=audio", answer)
        self.assertNotIn("G722", answer.partition("SIP/2.0 200")[2].partition("--end msg--")[0])

    async def test_a_codec_that_nobody_has_is_488(self) -> None:
        callee = await self.answering()
        caller = await self.calling(baseline_extension(callee.port), codec="gsm")
        self.assertEqual((await caller.wait_until_ended()).code, 488)


class Refusals(SandboxTestCase):
    async def test_what_is_no_number_of_ours_is_404(self) -> None:
        # One digit could be the beginning of a number: that must not become 484.
        for extension in ("nobody", "5"):
            self.assertEqual((await self.sipp(extension)).codes, {404: 2})

    async def test_while_voxrec_is_not_there_its_numbers_are_503(self) -> None:
        for extension in (PROFILE_ID, "+4930123456", "4930123456"):
            self.assertEqual((await self.sipp(extension)).codes, {503: 2})

    async def test_a_phone_that_refuses(self) -> None:
        callee = await self.answering(answer_code=486, ring_seconds=0.2)
        caller = await self.calling(baseline_extension(callee.port))
        self.assertEqual((await caller.wait_until_ended()).code, 486)
        self.assertTrue(caller.has_event("ringing"))

    async def test_hanging_up_from_outside_ends_the_call_on_both_sides(self) -> None:
        callee = await self.answering()
        caller = await self.calling(baseline_extension(callee.port))
        await caller.wait_for("confirmed")
        await callee.hang_up()
        self.assertEqual((await caller.wait_until_ended()).code, 200)
        self.assertTrue(callee.has_event("heard"))


class Load(SandboxTestCase):
    async def test_calls_are_counted_and_timed(self) -> None:
        answerer = await self.sipp_answering()
        result = await self.sipp(baseline_extension(answerer.port), count=20, rate=20, talk_seconds=1)
        self.assertEqual((result.placed, result.succeeded, result.failed), (20, 20, 0))
        self.assertEqual(len(result.response_seconds), 20)
        self.assertLess(statistics.median(result.response_seconds), 0.2)

    async def test_ringing_is_part_of_the_time(self) -> None:
        answerer = await self.sipp_answering(ring_seconds=0.5)
        result = await self.sipp(baseline_extension(answerer.port))
        self.assertGreater(min(result.response_seconds), 0.5)

    async def test_refusals_are_told_by_code(self) -> None:
        answerer = await self.sipp_answering(code=486)
        result = await self.sipp(baseline_extension(answerer.port))
        self.assertEqual((result.codes, result.succeeded, result.failed), ({486: 2}, 0, 2))

    async def test_a_phone_can_give_up_what_nobody_answers(self) -> None:
        answerer = await self.sipp_answering(ring_seconds=None)
        caller = await self.calling(baseline_extension(answerer.port), cancel_after=0.5)
        self.assertEqual((await caller.wait_until_ended()).code, 487)


class Endings(SandboxTestCase):
    async def test_what_is_killed_leaves_nothing(self) -> None:
        answerer = await self.sipp_answering()
        caller = await self.calling(baseline_extension(answerer.port))
        await caller.wait_for("confirmed")
        self.assertNotEqual(_processes_naming(self.directory), [])
        caller.kill()
        await answerer.stop()
        self.asterisk.kill()
        self.assertTrue(await wait_until(reactor, lambda: _processes_naming(self.directory) == [], 5))


def _processes_naming(directory: Path) -> list[str]:
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            # A program in a namespace has its directory as a mount, and nowhere on its command line.
            seen = (process / "mountinfo").read_text() + (process / "cmdline").read_text()
        except OSError:
            continue
        if str(directory.absolute()) in seen:
            found.append(seen)
    return found
