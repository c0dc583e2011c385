"""Tests of voxrec.bounce_address."""

from uuid import UUID

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voxrec.bounce_address import MAX_MAILBOX, BounceKey, BounceMailbox, BounceToken
from voxrec.mailaddress import check_mail_address

KEY = BounceKey(7, b"k" * 32)
DELIVERY = UUID("6f1d7c52-3f6e-4a77-9d0c-0d6a4d4b9f01")
MAILBOX = BounceMailbox.parse("bounces@voxrec.example")


def parse(address: str) -> BounceToken:
    token = MAILBOX.token_in(address)
    assert token is not None, address
    return token


class BounceAddressTests(SynchronousTestCase):
    def test_address(self) -> None:
        token = parse(MAILBOX.address(KEY.sign(DELIVERY, 3)))
        self.assertEqual((token.delivery_id, token.attempt, token.key_id), (DELIVERY, 3, 7))
        self.assertTrue(KEY.verify(token))

    def test_case_does_not_matter(self) -> None:
        """RFC 5321 section 2.4 says that it does, but not all mail servers keep it."""
        address = MAILBOX.address(KEY.sign(DELIVERY, 3))
        for changed in (address.upper(), address.title()):
            self.assertTrue(KEY.verify(parse(changed)))

    def test_other_addresses_have_no_token(self) -> None:
        token = KEY.sign(DELIVERY, 3)
        for address in (
            "bounces@voxrec.example",
            "bounces+@voxrec.example",
            f"bounces+{token[:-1]}@voxrec.example",
            f"bounces+{token}a@voxrec.example",
            f"bounces+{token}@voxrec.example.org",
            f"bounces-{token}@voxrec.example",
            f"postmaster+{token}@voxrec.example",
            f"bounces+{token[:-1]}1@voxrec.example",  # no character of base32
            f"bounces+{token}",
            "",
        ):
            self.assertIsNone(MAILBOX.token_in(address), address)

    def test_each_changed_character_invalidates_the_signature(self) -> None:
        text = KEY.sign(DELIVERY, 3)
        for position, character in enumerate(text):
            other = "b" if character == "a" else "a"
            token = BounceToken.parse(f"{text[:position]}{other}{text[position + 1 :]}")
            assert token is not None
            self.assertFalse(token.key_id == KEY.id and KEY.verify(token), position)

    def test_another_key_does_not_verify(self) -> None:
        token = BounceToken.parse(KEY.sign(DELIVERY, 3))
        assert token is not None
        self.assertFalse(BounceKey(7, b"x" * 32).verify(token))

    def test_the_longest_mailbox_makes_a_valid_address(self) -> None:
        mailbox = BounceMailbox.parse(f"{'b' * MAX_MAILBOX}@voxrec.example")
        check_mail_address(mailbox.address(KEY.sign(DELIVERY, 1)))

    def test_an_international_domain_is_sent_in_ascii(self) -> None:
        mailbox = BounceMailbox.parse("bounces@b\u00fccher.example")
        address = mailbox.address(KEY.sign(DELIVERY, 1))
        self.assertTrue(address.endswith("@xn--bcher-kva.example"), address)
        self.assertIsNotNone(mailbox.token_in(address))

    @given(st.uuids(), st.integers(1, 200_000), st.binary(min_size=32, max_size=32), st.integers(1, 65535))
    def test_any_token_is_verified(self, delivery_id: UUID, attempt: int, secret: bytes, key_id: int) -> None:
        key = BounceKey(key_id, secret)
        token = BounceToken.parse(key.sign(delivery_id, attempt))
        assert token is not None
        self.assertTrue(key.verify(token))
        self.assertEqual((token.delivery_id, token.attempt), (delivery_id, min(attempt, 65535)))
