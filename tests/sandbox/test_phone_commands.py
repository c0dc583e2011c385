"""Tests of voxrec.sandbox.phone_commands: encoding and decoding."""

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from voxrec.sandbox.phone_commands import (
    CompleteTransfer,
    PhoneCommand,
    Reinvite,
    SendDtmf,
    StartConsultation,
    Transfer,
    decode_command,
    encode_command,
)


class EncodingTests(SynchronousTestCase):
    def test_each_command_is_one_line_and_decodes_to_itself(self) -> None:
        commands: tuple[PhoneCommand, ...] = (
            Reinvite(),
            Reinvite("inactive"),
            SendDtmf("*12#"),
            Transfer("sip:third@127.0.0.1"),
            StartConsultation("sip:third@127.0.0.1"),
            CompleteTransfer(),
        )
        for command in commands:
            line = encode_command(command)
            self.assertNotIn("\n", line)
            self.assertEqual(decode_command(line), command)

    def test_the_encoding_is_tagged_json(self) -> None:
        self.assertEqual(encode_command(SendDtmf("*1")), '{"command":"send-dtmf","digits":"*1"}')

    def test_invalid_commands_are_rejected(self) -> None:
        for line in (
            "",
            "hold",
            '{"command":"sing"}',
            '{"command":"reinvite","direction":"both"}',
            '{"command":"transfer"}',
        ):
            self.assertRaises(msgspec.DecodeError, decode_command, line)
