"""Tests of voxrec.ari.events. tests/calls/test_hostile.py decodes mutated messages of a real Asterisk."""

import json

from twisted.trial.unittest import SynchronousTestCase

from voxrec.ari.events import (
    CallerId,
    ChannelDestroyed,
    InvalidMessage,
    RestResponse,
    StasisStart,
    decode_message,
    handled_message_types,
)


class DecodeMessageTests(SynchronousTestCase):
    def decode(self, **message: object) -> object:
        return decode_message(json.dumps(message).encode())

    def test_an_event(self) -> None:
        event = self.decode(
            type="StasisStart",
            args=["incoming"],
            channel={"id": "1.1", "state": "Ring", "caller": {"number": "+4930111"}, "protocol_id": "ignored"},
        )
        assert isinstance(event, StasisStart)
        self.assertEqual((event.args, event.replace_channel), (("incoming",), None))
        self.assertEqual((event.channel.id, event.channel.caller), ("1.1", CallerId(number="+4930111")))

    def test_missing_optional_fields_have_defaults(self) -> None:
        event = self.decode(type="ChannelDestroyed", channel={"id": "1.1"})
        assert isinstance(event, ChannelDestroyed)
        self.assertEqual(event.cause, 0)

    def test_a_response(self) -> None:
        response = self.decode(type="RESTResponse", request_id="7", status_code=204)
        self.assertEqual(response, RestResponse("7", 204))

    def test_other_types_are_ignored(self) -> None:
        self.assertIsNone(self.decode(type="ChannelVarset", channel={"id": 5}))
        self.assertIsNone(self.decode())

    def test_invalid_messages(self) -> None:
        for data in (b"", b"{", b"\xff", b"[]", b'{"type": 1}', b'{"type": "StasisEnd"}', b"[" * 100_000):
            with self.subTest(data[:20]):
                self.assertRaises(InvalidMessage, decode_message, data)

    def test_the_handled_types_are_those_of_asterisk(self) -> None:
        self.assertIn("RESTResponse", handled_message_types())
        self.assertIn("ApplicationReplaced", handled_message_types())
        self.assertNotIn("ChannelVarset", handled_message_types())
