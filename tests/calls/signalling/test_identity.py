"""Tests of voxrec.calls.signalling.identity."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voxrec.calls.signalling.identity import Identity, asserted_identity

SIP = '"Smith, \\"Jo\\"" <sip:+49301@ims.example;user=phone>'
TEL = "<tel:+49-30-1>"


class IdentityTests(SynchronousTestCase):
    def test_two_values_in_any_order_and_number_of_headers(self) -> None:
        for headers in ([f"{SIP}, {TEL}"], [f"{TEL},{SIP}"], [SIP, TEL], [TEL, SIP], [f"{SIP},{TEL},{SIP}"]):
            self.assertEqual(asserted_identity(headers), Identity("+49301", 'Smith, "Jo"'), headers)

    def test_single_values(self) -> None:
        expected = {
            TEL: Identity("+49301", ""),
            "tel:+49301;ext=5": Identity("+49301", ""),
            "sip:jo@ims.example;tag=x": Identity("jo", ""),
            "<sip:%2B49301@ims.example>": Identity("+49301", ""),
            "Jo Smith <sip:+49301;npdi:secret@ims.example>": Identity("+49301", "Jo Smith"),
            "<SIPS:a%40b@[2001:db8::1]:5061>": Identity("a@b", ""),
            '"\u00c5lice" <tel:+49301>': Identity("+49301", "\u00c5lice"),
            '"a<b>, c" <sip:d@e>': Identity("d", "a<b>, c"),
        }
        for header, identity in expected.items():
            self.assertEqual(asserted_identity([header]), identity, header)

    def test_number_of_the_tel_uri_if_the_sip_uri_has_none(self) -> None:
        self.assertEqual(asserted_identity(["Jo <sip:jo@ims.example>, <tel:+49301>"]), Identity("+49301", "Jo"))

    def test_no_identity(self) -> None:
        for header in (
            "",
            ",",
            "<",
            "<sip:@b>",
            "<sip:b>",
            "<tel:>",
            "<tel:;x>",
            "<mailto:a@b>",
            "x",
            '"a <sip:b@c>',
            "<sip:%0d%0aX@b>",
        ):
            self.assertIsNone(asserted_identity([header]), header)

    def test_control_characters_of_a_name(self) -> None:
        self.assertEqual(asserted_identity(['"a\x1b[2J" <sip:b@c>']), Identity("b", ""))

    @given(st.lists(st.text(), max_size=3))
    def test_any_text(self, headers: list[str]) -> None:
        identity = asserted_identity(headers)
        self.assertTrue(identity is None or (identity.number and identity.number.isprintable()))
