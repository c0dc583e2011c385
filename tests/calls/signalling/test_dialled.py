"""Tests of voxrec.calls.signalling.dialled."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voxrec.calls.signalling.dialled import dialled_numbers, subscriber_of, without_separators


class DialledTests(SynchronousTestCase):
    def test_forms_of_a_number(self) -> None:
        for user in (
            "+4930123",
            "+49-30.123",
            "(+49)30 123;npdi",
            "+4930123;npdi;rn=+4917012",
            "+4930123;phone-context=+1",
        ):
            self.assertEqual(dialled_numbers(user), ("+4930123",), user)

    def test_number_without_plus(self) -> None:
        self.assertEqual(dialled_numbers("4930123;isub=1"), ("4930123",))

    def test_local_number_of_a_prefix(self) -> None:
        for user in ("123;phone-context=+4930", "1-23;npdi;Phone-Context=+49(30)"):
            self.assertEqual(dialled_numbers(user), ("+4930123", "123"), user)

    def test_local_number_of_a_domain(self) -> None:
        self.assertEqual(dialled_numbers("123;phone-context=example.com"), ("123",))

    def test_what_is_no_number_loses_its_parameters_only(self) -> None:
        profile = "10000000-0000-4000-8000-00000000000a"
        self.assertEqual(dialled_numbers(f"{profile};npdi"), (profile,))
        for user in ("", "+", "-", "(", "*31#", "${X}", "\u0664\u0662", "12a", "1+2"):
            self.assertEqual(dialled_numbers(user), (user,), user)

    @given(st.text())
    def test_any_text(self, user: str) -> None:
        numbers = dialled_numbers(user)
        self.assertTrue(1 <= len(numbers) <= 2)
        self.assertFalse(any(";" in number for number in numbers))

    def test_subscriber_of_tel_uris(self) -> None:
        self.assertEqual(subscriber_of("TEL:123;phone-context=%2B49"), "123;phone-context=+49")
        self.assertEqual([subscriber_of("sip:1@b"), subscriber_of("")], [None, None])

    def test_separators(self) -> None:
        self.assertEqual(without_separators("+49 (30)-1.2"), "+493012")
