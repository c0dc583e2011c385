"""Tests of voxrec.mailaddress: RFC 5321, and that every accepted address survives Python's and Twisted's parsers."""

import re
from email.headerregistry import Address
from email.message import EmailMessage
from email.policy import SMTP

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.mail.smtp import quoteaddr
from twisted.trial.unittest import SynchronousTestCase

from voxrec.mailaddress import MAX_LENGTH, PATTERN, MailAddressError, check_mail_address, is_mail_address

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
    ("\u00fc@example.org", "must be ASCII"),
    ("a@b\u00fccher.example", "write an international domain in its xn-- form"),
    ("a\0@example.org", "needs before the @"),
)


class MailAddressTests(SynchronousTestCase):
    def test_valid_addresses(self) -> None:
        for address in VALID:
            with self.subTest(address):
                check_mail_address(address)
                self.assertTrue(re.fullmatch(PATTERN, address))

    def test_invalid_addresses(self) -> None:
        for address, expected in INVALID:
            with self.subTest(address):
                error = self.assertRaises(MailAddressError, check_mail_address, address)
                self.assertIn(expected, str(error))
                self.assertEqual(re.fullmatch(PATTERN, address) is not None, len(address) > 254)

    @given(st.from_regex(PATTERN, fullmatch=True) | st.text(max_size=80) | st.from_regex(r"[!-~]{1,9}@[!-~]{1,9}"))
    @settings(derandomize=True, database=None, deadline=None, max_examples=400)
    def test_every_accepted_address_is_read_by_parsers_as_it_is(self, text: str) -> None:
        self.assertEqual(is_mail_address(text), re.fullmatch(PATTERN, text) is not None and len(text) <= MAX_LENGTH)
        if not is_mail_address(text):
            return
        self.assertEqual(quoteaddr(text), f"<{text}>".encode())
        self.assertEqual(Address(addr_spec=text).addr_spec, text)
        message = EmailMessage(policy=SMTP)
        message["To"] = f"{text}, other@example.org"
        self.assertIn(text.encode(), message.as_bytes().replace(b"\r\n ", b""))
        self.assertEqual([one.addr_spec for one in message["To"].addresses], [text, "other@example.org"])
