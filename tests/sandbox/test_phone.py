"""Tests of voxrec.sandbox.phone that ring none: what is run, and what is read from it."""

from pathlib import Path

from twisted.internet.defer import Deferred
from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from voxrec.sandbox import tones
from voxrec.sandbox.errors import SandboxError
from voxrec.sandbox.phone import CODECS, ENDLESS_SECONDS, Phone, PhoneEvent, codecs_named, encode_event


class Commands(SynchronousTestCase):
    def test_it_dies_with_us(self) -> None:
        phone = Phone.answering(Clock(), Path(self.mktemp()))
        self.assertEqual(phone.command[:4], ["setpriv", "--pdeathsig", "KILL", "--"])

    def test_what_is_played_over_and_over_has_no_seam(self) -> None:
        directory = Path(self.mktemp())
        tone = tones.make_tone(directory / "tone.wav", 440, 1)
        phone = Phone.calling(Clock(), directory, "sip:desk@127.0.0.1", play=tone)
        [played] = [word for word in phone.command if word.startswith("--play=")]
        samples, rate = tones.load(Path(played.removeprefix("--play=")))
        self.assertEqual(len(samples), ENDLESS_SECONDS * rate)

    def test_what_is_played_once_is_played_as_it_is(self) -> None:
        tone = tones.make_tone(Path(self.mktemp()) / "tone.wav", 440, 1).absolute()
        phone = Phone.calling(Clock(), tone.parent, "sip:desk@127.0.0.1", play=tone, once=True)
        self.assertIn(f"--play={tone}", phone.command)
        self.assertIn("--once", phone.command)

    def test_codecs_keep_the_order_of_preference(self) -> None:
        self.assertEqual(codecs_named("g722,pcmu"), [CODECS["g722"], CODECS["pcmu"]])
        self.assertRaises(KeyError, codecs_named, "g722,opus")


class Events(SynchronousTestCase):
    def phone(self, text: str) -> Phone:
        directory = Path(self.mktemp())
        phone = Phone.calling(Clock(), directory, "sip:desk@127.0.0.1")
        (directory / "caller.log").write_text(text)
        return phone

    def test_from_invite_to_answer(self) -> None:
        told = [
            PhoneEvent("invite-sent", 0, 5.0),
            PhoneEvent("ringing", 0, 5.1, 180),
            PhoneEvent("confirmed", 0, 5.25, 200),
        ]
        phone = self.phone("".join(f"{encode_event(event)}\n" for event in told))
        self.assertEqual(phone.events, told)
        self.assertEqual(phone.setup_seconds, 0.25)
        self.assertTrue(phone.happened("ringing"))
        self.assertFalse(phone.happened("disconnected"))

    def test_a_line_still_being_written_and_words_of_the_program_are_no_events(self) -> None:
        event = PhoneEvent("ready", 1, 2)
        phone = self.phone(f'Warning: something\n{encode_event(event)}\n{{"event":"conf')
        self.assertEqual(phone.events, [event])

    def test_an_event_that_did_not_come_is_told_with_what_did(self) -> None:
        with self.assertRaisesRegex(SandboxError, "caller: no 'confirmed'"):
            self.phone("").event("confirmed")

    def test_a_phone_that_was_not_started_takes_no_orders(self) -> None:
        phone = Phone.answering(Clock(), Path(self.mktemp()))
        self.assertRaises(SandboxError, phone.freeze)
        self.failureResultOf(Deferred.fromCoroutine(phone.hold()), SandboxError)
