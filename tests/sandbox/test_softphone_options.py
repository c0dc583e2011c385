"""Tests of voxrec.sandbox.softphone_options: the arguments that voxrec.sandbox.phone passes are accepted."""

from pathlib import Path

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from voxrec.sandbox import tones
from voxrec.sandbox.phone import Phone
from voxrec.sandbox.softphone_options import option_parser


class ParserTests(SynchronousTestCase):
    def arguments(self, phone: Phone) -> list[str]:
        return phone.command[phone.command.index("voxrec.sandbox.softphone") + 1 :]

    def test_the_options_of_a_caller(self) -> None:
        directory = Path(self.mktemp())
        tone = tones.write_tone(directory / "tone.wav", 440, 1)
        phone = Phone.make_caller(
            Clock(),
            directory,
            "sip:desk@127.0.0.1",
            play=tone,
            play_once=True,
            seconds=2.5,
            cancel_after=1.0,
            headers=["X-One: 1", "X-Two: 2"],
            codec="g722,pcmu",
        )
        options = option_parser(None).parse_args(self.arguments(phone))
        self.assertEqual((options.role, options.to, options.port), ("call", "sip:desk@127.0.0.1", phone.port))
        self.assertEqual((options.seconds, options.cancel_after, options.play_once), (2.5, 1.0, True))
        self.assertEqual((options.header, options.codec), (["X-One: 1", "X-Two: 2"], "g722,pcmu"))
        self.assertEqual(options.record, str(phone.received_audio))

    def test_the_options_of_a_callee(self) -> None:
        phone = Phone.make_callee(
            Clock(), Path(self.mktemp()), ring_seconds=0.5, early_media=True, answer_code=486, hang_up_after=3
        )
        options = option_parser(None).parse_args(self.arguments(phone))
        self.assertEqual((options.role, options.ring_seconds, options.early_media), ("answer", 0.5, True))
        self.assertEqual((options.answer_code, options.seconds), (486, 3.0))
