"""Tests of voxrec.sipuri: the examples of RFC 3261 section 19.1.3, and text that is unsafe in a dial string."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from voxrec.sipuri import SipUri, SipUriError, is_host_allowed, parse


class ParseTests(SynchronousTestCase):
    VALID = (
        ("sip:alice@atlanta.com", SipUri("sip", "alice", "atlanta.com", None, ())),
        (
            "sip:alice:secretword@atlanta.com;transport=tcp",
            SipUri("sip", "alice", "atlanta.com", None, (("transport", "tcp"),)),
        ),
        (
            "sip:+1-212-555-1212:1234@gateway.com;user=phone",
            SipUri("sip", "+1-212-555-1212", "gateway.com", None, (("user", "phone"),)),
        ),
        ("sips:1212@gateway.com", SipUri("sips", "1212", "gateway.com", None, ())),
        ("sip:alice@192.0.2.4", SipUri("sip", "alice", "192.0.2.4", None, ())),
        ("sip:alice;day=tuesday@atlanta.com", SipUri("sip", "alice;day=tuesday", "atlanta.com", None, ())),
        ("SIP:127.0.0.1:5070", SipUri("sip", None, "127.0.0.1", 5070, ())),
        ("sip:a@[2001:db8::1]:5060;lr", SipUri("sip", "a", "2001:db8::1", 5060, (("lr", None),))),
        ("sip:%61lice@ATLANTA.com.", SipUri("sip", "%61lice", "atlanta.com.", None, ())),
    )
    INVALID = (
        ("", "must begin with sip: or sips:"),
        ("alice@atlanta.com", "must begin with sip: or sips:"),
        ("tel:+49301234", "must begin with sip: or sips:"),
        ("sip:", "has no valid host"),
        ("sip:@b.com", "has no valid user part"),
        ("sip:a@b@c", "at most one @"),
        ("sip:a&b@c.com", "must not contain '&'"),
        ("sip:a,b@c.com", "must not contain ','"),
        ("sip:a b@c.com", "must not contain ' '"),
        ("sip:a@c.com\r\nX: y", r"must not contain '\r'"),
        ("sip:a@c.com\x00", r"must not contain '\x00'"),
        ("sip:a%0d%0aX@c.com", "escaped control character"),
        ("sip:ä@c.com", "must not contain 'ä'"),
        ("sip:a@1.2.3.400", "has no valid host"),
        ("sip:a@1.2.3", "has no valid host"),
        ("sip:a@-b.com", "has no valid host"),
        ("sip:a@b..com", "has no valid host"),
        ("sip:a@b/c", "has no valid host"),
        ("sip:a@[::1", "has no valid IPv6 address"),
        ("sip:a@[::g]", "has no valid IPv6 address"),
        ("sip:a@[::1]x", "has no valid IPv6 address"),
        ("sip:a@b.com:0", "has no valid port"),
        ("sip:a@b.com:65536", "has no valid port"),
        ("sip:a@b.com:", "has no valid port"),
        ("sip:a@b.com?Subject=x", "must not contain headers"),
        ("sip:a@b.com;method=REGISTER", "must not contain the method parameter"),
        ("sip:a@b.com;maddr=192.0.2.1", "must not contain the maddr parameter; permitted are"),
        ("sip:a@b.com;transport=udp;MADDR=192.0.2.1", "must not contain the MADDR parameter"),
        ("sip:a@b.com;%6daddr=192.0.2.1", "must not contain the %6daddr parameter"),
        ("sip:a@b.com;ttl=1", "must not contain the ttl parameter"),
        ("sip:a@b.com;x-unknown", "must not contain the x-unknown parameter"),
        ("sip:a@b.com;transport=udp;Transport=tcp", "contains a parameter more than once"),
        ("sip:a@b.com;transport=carrier-pigeon", "has no valid transport"),
        ("sip:a@b.com;transport", "has no valid transport"),
        ("sip:a@b.com;=x", "has no valid parameter"),
        ("sip:a@b.com;x=", "has no valid parameter"),
        ("sip:" + "a" * 250 + "@b.com", "at most 255 are allowed"),
    )  # fmt: skip

    def test_valid_uris(self) -> None:
        for text, expected in self.VALID:
            with self.subTest(text):
                self.assertEqual(parse(text), expected)

    def test_invalid_uris(self) -> None:
        for text, expected in self.INVALID:
            with self.subTest(text):
                self.assertIn(expected, str(self.assertRaises(SipUriError, parse, text)))

    @given(st.text() | st.from_regex(r"sips?:[ -~]+@[ -~]+", fullmatch=True))
    def test_a_valid_uri_has_no_separator_of_a_dial_string(self, text: str) -> None:
        try:
            parse(text)
        except SipUriError:
            return
        self.assertFalse(set(text) & set('&,"<>\\^`{|}# \t\r\n\x00'))
        self.assertTrue(text.isascii() and text.isprintable())


class IsHostAllowedTests(SynchronousTestCase):
    def test_names_domains_addresses_and_networks(self) -> None:
        rows = (
            ("anything.example", (), True),
            ("a.example", ("a.example",), True),
            ("A.Example.", ("a.example",), True),
            ("b.example", ("a.example",), False),
            ("x.a.example", ("*.a.example",), True),
            ("a.example", ("*.a.example",), False),
            ("xa.example", ("*.a.example",), False),
            ("10.1.2.3", ("10.0.0.0/8",), True),
            ("11.1.2.3", ("10.0.0.0/8",), False),
            ("10.1.2.3", ("10.1.2.3",), True),
            ("2001:db8::1", ("2001:db8::/32",), True),
            ("10.1.2.3", ("2001:db8::/32", "a.example"), False),
        )
        for host, allowed, expected in rows:
            with self.subTest(f"{host} {allowed}"):
                self.assertEqual(is_host_allowed(host, allowed), expected)
