"""Tests of voxrec.ami.messages."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voxrec.ami.messages import AmiProtocolError, MessageDecoder, encode_action
from voxrec.errors import InvalidInput


def decode(data: bytes) -> list[dict[str, str]]:
    decoder = MessageDecoder()
    messages = [decoder.line_received(line) for line in data.split(b"\r\n")[:-1]]
    return [message for message in messages if message is not None]


class EncodeActionTests(SynchronousTestCase):
    def test_an_action(self) -> None:
        self.assertEqual(
            encode_action("StopMixMonitor", "id-1", {"Channel": "c", "MixMonitorID": ""}),
            b"Action: StopMixMonitor\r\nActionID: id-1\r\nChannel: c\r\nMixMonitorID: \r\n\r\n",
        )

    def test_control_characters_are_refused(self) -> None:
        for character in ("\r", "\n", "\r\nAction: Logoff", "\x00", "\x7f", "\x0b"):
            error = self.assertRaises(InvalidInput, encode_action, "Ping", "1", {"Channel": f"a{character}b"})
            self.assertEqual([each.field for each in error.field_errors], ["Channel"])

    def test_invalid_names_are_refused(self) -> None:
        for name in ("", "A b", "A:", "A\r\nB", "1"):
            self.assertRaises(InvalidInput, encode_action, "Ping", "1", {name: "x"})

    def test_a_line_that_asterisk_does_not_read_is_refused(self) -> None:
        longest = "x" * (1000 - len("Channel: \r\n"))
        encode_action("Ping", "1", {"Channel": longest})
        self.assertRaises(InvalidInput, encode_action, "Ping", "1", {"Channel": longest + "x"})
        self.assertRaises(InvalidInput, encode_action, "Ping", "1", {"Channel": "ä" * 500})  # bytes, not characters

    @given(st.dictionaries(st.from_regex(r"[A-Z][a-z]{1,8}", fullmatch=True), st.text(max_size=40), max_size=5))
    def test_what_is_encoded_is_one_message_with_these_fields(self, fields: dict[str, str]) -> None:
        try:
            data = encode_action("Ping", "1", fields)
        except InvalidInput:
            return
        (message,) = decode(data)
        for name, value in fields.items():
            self.assertEqual(message[name], value.lstrip(" "))


class MessageDecoderTests(SynchronousTestCase):
    def test_messages(self) -> None:
        self.assertEqual(
            decode(b"Response: Success\r\nActionID: 1\r\n\r\n\r\nEvent: Hangup\r\nUniqueid:7\r\nX: a: b\r\n\r\n"),
            [{"Response": "Success", "ActionID": "1"}, {"Event": "Hangup", "Uniqueid": "7", "X": "a: b"}],
        )

    def test_the_first_of_equal_names_counts(self) -> None:
        self.assertEqual(decode(b"Output: a\r\nOutput: b\r\n\r\n"), [{"Output": "a"}])

    def test_lines_without_a_colon_are_ignored(self) -> None:
        self.assertEqual(decode(b"Value: a\r\nrest of the value\r\n\r\n"), [{"Value": "a"}])

    def test_bytes_that_are_not_utf_8(self) -> None:
        self.assertEqual(decode(b"CallerIDName: \xff\r\n\r\n"), [{"CallerIDName": "\ufffd"}])

    def test_a_message_of_too_many_lines(self) -> None:
        decoder = MessageDecoder()
        for _ in range(256):
            self.assertIsNone(decoder.line_received(b"Output: x"))
        self.assertRaises(AmiProtocolError, decoder.line_received, b"Output: x")
