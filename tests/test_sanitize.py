"""Tests of voxrec.sanitize."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voxrec.sanitize import hide_addresses, sanitize_line


class SanitizeLineTests(SynchronousTestCase):
    def test_printable_text_is_unchanged(self) -> None:
        self.assertEqual(sanitize_line("250 2.0.0 Ok: queued as 4ZgÜ"), "250 2.0.0 Ok: queued as 4ZgÜ")

    def test_white_space_and_control_characters(self) -> None:
        self.assertEqual(sanitize_line(" a\r\n\tb\u00a0c\x1b[2J\0\ud800\u202e "), r"a b c\x1b[2J\x00\ud800\u202e")

    def test_long_text_is_shortened(self) -> None:
        self.assertEqual(sanitize_line("x" * 11, 10), "x" * 9 + "…")
        self.assertEqual(sanitize_line("x" * 10, 10), "x" * 10)

    @given(st.text(st.characters()), st.integers(1, 50))
    def test_arbitrary_text(self, text: str, limit: int) -> None:
        line = sanitize_line(text, limit)
        self.assertTrue(line.isprintable())
        self.assertLessEqual(len(line), limit)


class HideAddressesTests(SynchronousTestCase):
    def test_addresses_are_replaced(self) -> None:
        for text, expected in (
            ("550 5.1.1 <ann@example.org>: user unknown", "550 5.1.1 <address>: user unknown"),
            ("bob@example.org: 450 busy; carl+x@[192.0.2.1]: 550", "<address>: 450 busy; <address>: 550"),
            ("sip:+49305551234@192.0.2.1:5060 refused", "sip:<address>:5060 refused"),
            ("250 2.0.0 Ok: queued as 4ZgÜ", "250 2.0.0 Ok: queued as 4ZgÜ"),
            ("a @ b", "a @ b"),
        ):
            self.assertEqual(hide_addresses(text), expected)
