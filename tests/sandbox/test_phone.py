"""Tests of voxrec.sandbox.phone without a running phone: its command line and the parsing of its events."""

from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from voxrec.sandbox import tones
from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.phone import CODECS, LOOPED_AUDIO_SECONDS, Phone, PhoneEvent, encode_event, parse_codec_list


class CommandLineTests(SynchronousTestCase):
    def test_the_parent_death_signal_is_set(self) -> None:
        phone = Phone.make_callee(Clock(), Path(self.mktemp()))
        self.assertEqual(phone.command[:4], ["setpriv", "--pdeathsig", "KILL", "--"])

    def test_a_looped_file_is_extended_to_the_maximum_length(self) -> None:
        directory = Path(self.mktemp())
        tone = tones.write_tone(directory / "tone.wav", 440, 1)
        phone = Phone.make_caller(Clock(), directory, "sip:desk@127.0.0.1", play=tone)
        [argument] = [word for word in phone.command if word.startswith("--play=")]
        samples, rate = tones.load_audio(Path(argument.removeprefix("--play=")))
        self.assertEqual(len(samples), LOOPED_AUDIO_SECONDS * rate)

    def test_a_file_played_once_is_not_changed(self) -> None:
        tone = tones.write_tone(Path(self.mktemp()) / "tone.wav", 440, 1).absolute()
        phone = Phone.make_caller(Clock(), tone.parent, "sip:desk@127.0.0.1", play=tone, play_once=True)
        self.assertIn(f"--play={tone}", phone.command)
        self.assertIn("--play-once", phone.command)

    def test_codecs_keep_their_order_of_preference(self) -> None:
        self.assertEqual(parse_codec_list("g722,pcmu"), [CODECS["g722"], CODECS["pcmu"]])
        self.assertRaises(KeyError, parse_codec_list, "g722,opus")


class EventTests(SynchronousTestCase):
    def phone(self, text: str) -> Phone:
        directory = Path(self.mktemp())
        phone = Phone.make_caller(Clock(), directory, "sip:desk@127.0.0.1")
        (directory / "caller.log").write_text(text)
        return phone

    def test_events_are_parsed_and_timed(self) -> None:
        events = [
            PhoneEvent("invite-sent", 0, 5.0),
            PhoneEvent("ringing", 0, 5.1, 180),
            PhoneEvent("confirmed", 0, 5.25, 200),
        ]
        phone = self.phone("".join(f"{encode_event(event)}\n" for event in events))
        self.assertEqual(phone.events, events)
        self.assertEqual(phone.setup_seconds, 0.25)
        self.assertTrue(phone.has_event("ringing"))
        self.assertFalse(phone.has_event("disconnected"))

    def test_incomplete_lines_and_other_output_are_ignored(self) -> None:
        event = PhoneEvent("ready", 1, 2)
        phone = self.phone(f'Warning: something\n{encode_event(event)}\n{{"event":"conf')
        self.assertEqual(phone.events, [event])

    def test_a_missing_event_raises_an_error(self) -> None:
        with self.assertRaisesRegex(SandboxError, "caller: no event 'confirmed'"):
            self.phone("").event("confirmed")

    def test_a_phone_that_is_not_started_accepts_no_command(self) -> None:
        phone = Phone.make_callee(Clock(), Path(self.mktemp()))
        self.assertRaises(SandboxError, phone.suspend_process)
        self.failureResultOf(Deferred.fromCoroutine(phone.hold()), SandboxError)
