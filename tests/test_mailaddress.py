"""Tests of voxrec.mailaddress: RFC 5321, and that every accepted address survives Python's and Twisted's parsers."""

from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.mail.smtp import quoteaddr
from twisted.trial.unittest import SynchronousTestCase

from voxrec.mailaddress import (
    MAX_LENGTH,
    MailAddressError,
    check_mail_address,
    encode_mail_address,
    is_mail_address,
    mailbox_key,
    needs_smtputf8,
    spellings,
)

LONG_DOMAIN = ".".join(["d" * 63, "d" * 63, "d" * 50])
VALID = (
    "a@b",
    "desk@example.org",
    "voxrec@localhost",
    "a.b+c_d-e@sub.example.org",
    "!#$%&'*+-/?=^_`{|}~@example.org",
    "user?=x@example.org",
    f"{'x' * 64}@example.org",
    f"a@{'d' * 63}.example",
    f"{'x' * 64}@{LONG_DOMAIN}.{'e' * (MAX_LENGTH - 66 - len(LONG_DOMAIN))}",
    "a@xn--bcher-kva.example",
    "a@1and1.example",
    "a@0.example",
)
INVALID = (
    ("", "has no @"),
    ("desk", "has no @"),
    ("@example.org", "needs before the @"),
    ("a@", "needs a domain name"),
    ("a..b@example.org", "needs before the @"),
    (".a@example.org", "needs before the @"),
    ("a.@example.org", "needs before the @"),
    ("a b@example.org", "needs before the @"),
    ("a@b@example.org", "needs before the @"),
    ('"a b"@example.org', "quoted local parts are not supported"),
    ("a(comment)@example.org", "needs before the @"),
    ("Ann <ann@example.org>", "needs before the @"),
    ("ann@example.org>", "needs a domain name"),
    (f"{'x' * 65}@example.org", "has 65 octets before the @; at most 64 are allowed"),
    ("=?utf-8?q?ann?=@example.org", "must not contain =?"),
    ("x=?utf-8?b?YQ==?=@example.org", "must not contain =?"),
    ("a@.example.org", "needs a domain name"),
    ("a@example..org", "needs a domain name"),
    ("a@example.org.", "needs a domain name"),
    ("a@-example.org", "needs a domain name"),
    ("a@example-.org", "needs a domain name"),
    ("a@ex_ample.org", "needs a domain name"),
    ("a@example.org\n", "needs a domain name"),
    ("a@[192.0.2.1]", "needs a domain name"),
    ("a@[IPv6:2001:db8::1]", "needs a domain name"),
    ("a@192.0.2.1", "not an IP address"),
    ("a@42", "not an IP address"),
    (f"a@{'d' * 64}.example", "has a domain label of 64 octets; at most 63 are allowed"),
    (f"{'x' * 64}@{LONG_DOMAIN}.{'e' * (MAX_LENGTH - 65 - len(LONG_DOMAIN))}", "is 255 octets long; at most 254"),
    ("a\0@example.org", "needs before the @"),
    ("\u00fc\u00a0x@example.org", "needs before the @"),
    ("\u00fc\u202ex@example.org", "needs before the @"),
    ("\u037e@example.org", "needs before the @"),  # normalized, it is a semicolon
    ("\ud800@example.org", "needs before the @"),
    ("\u00fc" * 33 + "@example.org", "has 66 octets before the @; at most 64 are allowed"),
    ("a@b\u00fccher..example", "needs a valid international domain name"),
    ("a@\u2603.example", "needs a valid international domain name"),
    ("a@b\u00fc_cher.example", "needs a valid international domain name"),
    ("a@\u00fc\uff20x.example", "needs a valid international domain name"),
    ("a@\ud800.example", "needs a valid international domain name"),
    ("a@" + "\u00fc" * 64 + ".example", "needs a valid international domain name"),
    ("a@" + "\u00fc." * 128 + "example", "has a domain name of 263 characters; at most 254 are allowed"),
    ("a@b\u00fccher.42", "not an IP address"),
)
ENCODED = (
    ("ann@b\u00fccher.example", "ann@xn--bcher-kva.example"),
    ("Ann@B\u00dcCHER.Example", "Ann@xn--bcher-kva.example"),
    ("ann@stra\u00dfe.example", "ann@xn--strae-oqa.example"),
    ("ann@\u4f8b\u3048\u3002\u30c6\u30b9\u30c8", "ann@xn--r8jz45g.xn--zckzah"),
    ("M\u00fcller@Example.org", "M\u00fcller@Example.org"),
    ("Mu\u0308ller@b\u00fccher.example", "M\u00fcller@xn--bcher-kva.example"),
    ("\u7528\u6237@example.org", "\u7528\u6237@example.org"),
    ("\U0001f600@example.org", "\U0001f600@example.org"),
)
PATTERN = r"[!#-'*+/-9=?A-Z^-~.-]{1,70}@[A-Za-z0-9.-]{1,70}"


class MailAddressTests(SynchronousTestCase):
    def test_valid_addresses(self) -> None:
        for address in VALID:
            with self.subTest(address):
                check_mail_address(address)
                self.assertEqual(encode_mail_address(address), address)

    def test_invalid_addresses(self) -> None:
        for address, expected in INVALID:
            with self.subTest(address):
                error = self.assertRaises(MailAddressError, check_mail_address, address)
                self.assertIn(expected, str(error))
                self.assertFalse(is_mail_address(address))
                self.assertEqual(mailbox_key(address), address)

    def test_encoded_addresses(self) -> None:
        for address, encoded in ENCODED:
            with self.subTest(address):
                self.assertEqual(encode_mail_address(address), encoded)
                self.assertEqual(encode_mail_address(encoded), encoded)
                self.assertEqual(mailbox_key(address), encoded)
                self.assertEqual(needs_smtputf8(address), not encoded.isascii())

    def test_spellings(self) -> None:
        self.assertEqual(spellings("ann@example.org"), ["ann@example.org"])
        self.assertEqual(
            spellings("ann@B\u00fccher.example"),
            ["ann@B\u00fccher.example", "ann@xn--bcher-kva.example", "ann@b\u00fccher.example"],
        )
        for address in ("ann@xn--a.example", "x", "x" * 300, "a@b\u00fc_c.example", "@example.org"):
            self.assertEqual(spellings(address), [address])

    @given(
        st.from_regex(PATTERN, fullmatch=True)
        | st.text(max_size=80)
        | st.from_regex(r"[!-~]{1,9}@[!-~]{1,9}")
        | st.builds("{}@{}".format, st.text(min_size=1, max_size=9), st.text(min_size=1, max_size=9))
    )
    @settings(derandomize=True, database=None, deadline=None, max_examples=400)
    def test_every_accepted_address_is_read_by_parsers_as_it_is(self, text: str) -> None:
        if not is_mail_address(text):
            return
        encoded = encode_mail_address(text)
        self.assertLessEqual(len(encoded.encode()), MAX_LENGTH)
        self.assertEqual(encode_mail_address(encoded), encoded)
        self.assertIn(encoded, spellings(text))
        if not encoded.isascii():
            self.assertTrue(needs_smtputf8(text))
            return
        text = encoded
        self.assertEqual(quoteaddr(text), f"<{text}>".encode())
        self.assertEqual(Address(addr_spec=text).addr_spec, text)
        message = EmailMessage(policy=SMTP)
        message["To"] = f"{text}, other@example.org"
        self.assertIn(text.encode(), message.as_bytes().replace(b"\r\n ", b""))
        self.assertEqual([one.addr_spec for one in message["To"].addresses], [text, "other@example.org"])
